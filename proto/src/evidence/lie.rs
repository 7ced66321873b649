//! What a coordinator has signed and cannot be true, by its own signatures and those of a node.

use super::Outcome;
use crate::{BlobId, FileId, ItemOutcome, Judgement, ProofStatement, Question};

/// Where a coordinator is refuted, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    #[error("it signs that no usable answer came, and calls that {}", named(.0))]
    JudgedWithoutAnswer(Judgement),
    #[error(
        "it signs that the answer came after {elapsed_ms} ms of {deadline_ms}, and calls that missed"
    )]
    MissedInTime { elapsed_ms: u64, deadline_ms: u64 },
    #[error("it signs that the answer came too late, and calls that {}", named(.0))]
    LateAndGood(Judgement),
    #[error(
        "it calls {} what by the node's signed answer is {}",
        named(.judged), named(.due)
    )]
    Misjudged { judged: Judgement, due: Judgement },
    #[error("it calls {} what a coordinator had ordered the node to delete", named(.0))]
    BlamedForOrder(Judgement),
    #[error("under the key that it signed, the blob does not give the chunk that it signed")]
    OpensOtherwise,
    #[error("chunk {index} of file {file_id} has two contents by its signatures")]
    TwoContents { file_id: FileId, index: u32 },
    #[error("blob {blob_id} is two chunks by its signatures")]
    TwoPlaces { blob_id: BlobId },
}

fn named(judgement: &Judgement) -> &'static str {
    Outcome::from(*judgement).name()
}

/// By the figures of the verdict alone.
pub(super) fn in_figures(statement: &ProofStatement, judgement: Judgement) -> Option<Lie> {
    let verdict = &statement.verdict;
    match (&statement.answer, judgement) {
        (None, Judgement::Missed) => None,
        (None, judged) => Some(Lie::JudgedWithoutAnswer(judged)),
        (Some(_), Judgement::Missed) if !verdict.is_late() => Some(Lie::MissedInTime {
            elapsed_ms: verdict.elapsed_ms,
            deadline_ms: verdict.deadline_ms,
        }),
        (Some(_), judged @ (Judgement::Passed | Judgement::Busy)) if verdict.is_late() => {
            Some(Lie::LateAndGood(judged))
        }
        (Some(_), _) => None,
    }
}

/// By what the node has signed. Whether an order excuses a blob that it lacks is seen apart.
pub(super) fn in_judgement(
    statement: &ProofStatement,
    question: &Question,
    judged: Judgement,
    outcome: &ItemOutcome,
) -> Option<Lie> {
    if (judged, outcome) == (Judgement::Ordered, &ItemOutcome::Missing) {
        return None;
    }
    let due = Judgement::due(question, outcome, statement.verdict.is_late());
    (judged != due).then_some(Lie::Misjudged { judged, due })
}
