//! Preconditions, as the API's clients are told: what they mean is in [`gateway::validators`].

use api::problem::ProblemKind;
pub(super) use gateway::validators::{Validators, Verdict, is_conditional};
use model::file::File;

use super::problem::Problem;

/// A file never changes: its id is its entity tag.
pub(super) fn of(file: &File) -> Validators {
    Validators::new(file.id, file.completed_at)
}

pub(super) fn failed() -> Problem {
    Problem::new(
        ProblemKind::PreconditionFailed,
        "The file is not what the request's If-Match, If-None-Match or If-Unmodified-Since says. Nothing was \
         done; look at its ETag and Last-Modified, and ask again.",
    )
}
