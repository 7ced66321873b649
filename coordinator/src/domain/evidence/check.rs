//! Checking evidence with nothing but the receipts and the keys inside the peer ids: offline, and
//! without trusting the coordinator that handed it out.

use std::collections::{BTreeMap, BTreeSet};

use proto::{BlobId, ItemOutcome, NetworkId, PeerId, ProofSeed, ProofStatement, SignedReceipt};

use super::{Outcome, ProofItem, ProofMessage, Proofs, ReceiptItem, Receipts, signature};

/// Everything that was handed in, and what it is held against.
#[derive(Debug, Default)]
pub struct Evidence {
    pub receipts: Vec<Receipts>,
    pub proofs: Vec<Proofs>,
    /// The owner's own, if every proof has to answer it.
    pub seed: Option<ProofSeed>,
    /// Known from elsewhere, if the receipts are not to be believed about it.
    pub network_id: Option<NetworkId>,
}

/// What one proof is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The node that signed the receipt held the blob when it was asked.
    Proven,
    /// No proof, and why.
    NotProven(String),
    /// The coordinator calls it failed, and the node's signed proof is sound.
    Refuted,
}

#[derive(Debug, Default)]
pub struct Report {
    /// Chunk, peer, blob, and what was found. In the order in which they were handed in.
    pub findings: Vec<(Option<u32>, String, BlobId, Finding)>,
    /// For each chunk that has receipts: separate copies promised, and those proven.
    pub chunks: BTreeMap<u32, Copies>,
    /// What is wrong with the receipts themselves.
    pub bad_receipts: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    pub promised: usize,
    pub proven: usize,
}

impl Report {
    /// Every receipt is sound and everything that was promised is proven.
    pub fn is_complete(&self) -> bool {
        self.bad_receipts.is_empty()
            && !self.chunks.is_empty()
            && self
                .chunks
                .values()
                .all(|copies| copies.proven == copies.promised)
            && self.refuted() == 0
    }

    pub fn refuted(&self) -> usize {
        let refuted = |finding: &&(_, _, _, Finding)| finding.3 == Finding::Refuted;
        self.findings.iter().filter(refuted).count()
    }
}

type Holder = (PeerId, BlobId);

impl Evidence {
    pub fn check(&self) -> Report {
        let mut report = Report::default();
        let mut receipts = BTreeMap::<Holder, u32>::new();
        let mut owners = BTreeMap::<BlobId, PeerId>::new();
        for page in &self.receipts {
            for item in &page.items {
                match self.receipt(page.network_id, item) {
                    Ok(holder) => {
                        // Two nodes with one blob would share a copy and call it two.
                        if *owners.entry(item.blob_id).or_insert(holder.0) != holder.0 {
                            let text = format!(
                                "blob {} has two holders: no separate copies",
                                item.blob_id
                            );
                            report.bad_receipts.push(text);
                            continue;
                        }
                        if receipts.insert(holder, item.index).is_none() {
                            report.chunks.entry(item.index).or_default().promised += 1;
                        }
                    }
                    Err(reason) => report.bad_receipts.push(format!(
                        "chunk {}, node {}: {reason}",
                        item.index, item.peer_id
                    )),
                }
            }
        }
        let mut proven = BTreeSet::<Holder>::new();
        for proofs in &self.proofs {
            let statements: Vec<_> = proofs.messages.iter().map(statement).collect();
            for item in &proofs.items {
                let statement = item
                    .message
                    .and_then(|message| statements.get(message as usize));
                let finding = match statement {
                    Some(Ok(statement)) => self.item(item, statement, &receipts),
                    Some(Err(error)) => Err(error.clone()),
                    None => Err(format!("no message asked for it ({:?})", item.outcome)),
                };
                let finding = match finding {
                    Ok((holder, finding)) => {
                        if finding == Finding::Proven && proven.insert(holder) {
                            let index = receipts.get(&holder);
                            let copies = index.and_then(|index| report.chunks.get_mut(index));
                            copies.into_iter().for_each(|copies| copies.proven += 1);
                        }
                        finding
                    }
                    Err(reason) => Finding::NotProven(reason),
                };
                let peer = item.peer_id.clone();
                report
                    .findings
                    .push((item.index, peer, item.blob_id, finding));
            }
        }
        report
    }

    fn receipt(&self, network_id: NetworkId, item: &ReceiptItem) -> Result<Holder, String> {
        if self
            .network_id
            .is_some_and(|expected| expected != network_id)
        {
            return Err("the receipt is of another network".to_owned());
        }
        let peer_id = peer(&item.peer_id)?;
        let receipt = SignedReceipt {
            stored_at_ms: item.stored_at_ms,
            signature: signature(&item.signature).map_err(|error| error.to_string())?,
        };
        let context = proto::NetworkContext {
            network_id,
            peer_id,
        };
        receipt
            .verify(context, item.blob_id, item.length)
            .map_err(|_| "the node has not signed this receipt".to_owned())?;
        Ok((peer_id, item.blob_id))
    }

    fn item(
        &self,
        item: &ProofItem,
        statement: &ProofStatement,
        receipts: &BTreeMap<Holder, u32>,
    ) -> Result<(Holder, Finding), String> {
        let (challenge, holder) = (&statement.challenge, (peer(&item.peer_id)?, item.blob_id));
        let position = item.position.ok_or("it has no place in its message")? as usize;
        let asked = challenge.items().get(position);
        let asked = asked.ok_or("its message does not ask for it")?;
        let same = (asked.blob_id, asked.length, asked.seed)
            == (item.blob_id, item.length, item.seed)
            && challenge.difficulty().get() == item.difficulty
            && challenge.parties().node == holder.0;
        if !same {
            return Err("its message asks something else".to_owned());
        }
        if self.seed.is_some_and(|seed| seed != item.seed) {
            return Err("it answers another seed than yours".to_owned());
        }
        let network_id = challenge.parties().network_id;
        let expected = self.network_id;
        let expected = expected.or_else(|| self.receipts.first().map(|page| page.network_id));
        if expected.is_some_and(|expected| expected != network_id) {
            return Err("it is of another network than the receipts".to_owned());
        }
        let answer = item.answer().map_err(|error| error.to_string())?;
        let (Some(answer), Some(signed)) = (answer, &statement.answer) else {
            return Err(format!("the node gave no answer ({:?})", item.outcome));
        };
        if answer.digest(challenge, position).as_ref() != signed.item_digests.get(position) {
            return Err("it is not what the node signed".to_owned());
        }
        let ItemOutcome::Proven(proof) = answer.outcome else {
            return Err(format!("the node itself says: {:?}", answer.outcome));
        };
        let question = challenge.questions().nth(position);
        let question = question.ok_or("its message does not ask for it")?;
        proto::verify(&question, &proof).map_err(|error| error.to_string())?;
        let judgement = statement.verdict.judgements.get(position);
        if judgement.is_some_and(|judgement| Outcome::from(*judgement) == Outcome::Failed) {
            return Ok((holder, Finding::Refuted));
        }
        match receipts.get(&holder) {
            Some(index) if item.index.is_none_or(|claimed| claimed == *index) => {
                Ok((holder, Finding::Proven))
            }
            Some(_) => Err("its receipt is for another chunk".to_owned()),
            None => Err("the proof is sound, but no receipt says whose blob it is".to_owned()),
        }
    }
}

/// A message, with every signature in it checked.
fn statement(message: &ProofMessage) -> Result<ProofStatement, String> {
    let statement = ProofStatement::try_from(message);
    let statement = statement.map_err(|error| format!("its message is {error}"))?;
    statement.verify().map_err(|error| error.to_string())?;
    Ok(statement)
}

fn peer(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|_| format!("{text} is not a peer id"))
}
