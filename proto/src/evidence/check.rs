//! Checking evidence with nothing but the receipts and the keys inside the peer ids: offline, and
//! without trusting the coordinator that handed it out.
//!
//! All receipts first, then the proofs, page by page: of a receipt is kept who promised which blob, of a
//! proof only that it was one. So memory follows the number of copies, not the length of the evidence.

use std::collections::{BTreeMap, BTreeSet};

use super::{Outcome, ProofItem, ProofMessage, Proofs, ReceiptItem, Receipts, signature};
use crate::{
    BlobId, DeleteOrder, ItemOutcome, Judgement, NetworkContext, NetworkId, PeerId, ProofSeed,
    ProofStatement, SignedOrder, SignedReceipt, verify,
};

/// What one proof is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The node that signed the receipt held the blob when it was asked.
    Proven,
    /// No proof, and why.
    NotProven(String),
    /// The coordinator calls it failed, and the node's signed proof is sound, or a coordinator has signed an order
    /// to delete the blob.
    Refuted,
}

/// What was found of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub index: Option<u32>,
    pub peer_id: String,
    pub blob_id: BlobId,
    pub finding: Finding,
}

/// Separate copies of one chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    pub promised: usize,
    pub proven: usize,
}

/// Who has signed for a blob.
#[derive(Debug, Clone, Copy)]
struct Promise {
    peer_id: PeerId,
    index: u32,
    stored_at_ms: u64,
    proven: bool,
}

/// Holds proofs against receipts.
#[derive(Debug, Default)]
pub struct Checker {
    /// The owner's own, if every proof has to answer it.
    seed: Option<ProofSeed>,
    /// Known from elsewhere, or from the first receipts.
    network_id: Option<NetworkId>,
    promises: BTreeMap<BlobId, Promise>,
    chunks: BTreeMap<u32, Copies>,
    bad_receipts: u64,
    refuted: u64,
}

impl Checker {
    pub fn new(seed: Option<ProofSeed>, network_id: Option<NetworkId>) -> Self {
        Self {
            seed,
            network_id,
            ..Self::default()
        }
    }

    /// For each chunk that has receipts, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Copies> {
        self.chunks.values().copied()
    }

    /// Proofs by which the coordinator itself is refuted.
    pub fn refuted(&self) -> u64 {
        self.refuted
    }

    /// Every receipt is sound and everything that was promised is proven.
    pub fn is_complete(&self) -> bool {
        self.bad_receipts == 0
            && self.refuted == 0
            && !self.chunks.is_empty()
            && self.chunks().all(|copies| copies.proven == copies.promised)
    }

    /// Takes receipts in; returns what is wrong with them.
    pub fn receipts(&mut self, page: &Receipts) -> Vec<String> {
        let network_id = *self.network_id.get_or_insert(page.network_id);
        let mut wrong = Vec::new();
        for item in &page.items {
            let promised = receipt(network_id, page.network_id, item);
            if let Err(reason) = promised.and_then(|peer_id| self.promise(peer_id, item)) {
                let (index, peer) = (item.index, &item.peer_id);
                wrong.push(format!("chunk {index}, node {peer}: {reason}"));
            }
        }
        self.bad_receipts += wrong.len() as u64;
        wrong
    }

    fn promise(&mut self, peer_id: PeerId, item: &ReceiptItem) -> Result<(), String> {
        match self.promises.get(&item.blob_id) {
            Some(before) if before.peer_id == peer_id => return Ok(()), // the same once more
            // Two nodes with one blob would share a copy and call it two.
            Some(_) => {
                let blob = item.blob_id;
                return Err(format!("blob {blob} has two holders: no separate copies"));
            }
            None => {}
        }
        let promise = Promise {
            peer_id,
            index: item.index,
            stored_at_ms: item.stored_at_ms,
            proven: false,
        };
        self.promises.insert(item.blob_id, promise);
        self.chunks.entry(item.index).or_default().promised += 1;
        Ok(())
    }

    /// Checks proofs, one finding for each item. All receipts have to be in.
    pub fn proofs(&mut self, proofs: &Proofs) -> Vec<Found> {
        let statements: Vec<_> = proofs.messages.iter().map(statement).collect();
        let sound = statements
            .iter()
            .filter_map(|statement| statement.as_ref().ok());
        let coordinators: BTreeSet<PeerId> = sound
            .map(|statement| statement.challenge.parties().coordinator)
            .collect();
        let mut found = Vec::with_capacity(proofs.items.len());
        for item in &proofs.items {
            let place = item.message.map(|message| message as usize);
            let statement =
                place.and_then(|at| Some((statements.get(at)?, proofs.messages.get(at)?)));
            let finding = match statement {
                Some((Ok(statement), message)) => {
                    self.item(item, statement, message, &coordinators)
                }
                Some((Err(error), _)) => Err(error.clone()),
                None => Err(format!("no message asked for it ({:?})", item.outcome)),
            };
            let finding = finding.unwrap_or_else(Finding::NotProven);
            match finding {
                Finding::Proven => self.count(item.blob_id),
                Finding::Refuted => self.refuted += 1,
                Finding::NotProven(_) => {}
            }
            found.push(Found {
                index: item.index,
                peer_id: item.peer_id.clone(),
                blob_id: item.blob_id,
                finding,
            });
        }
        found
    }

    fn count(&mut self, blob_id: BlobId) {
        let Some(promise) = self.promises.get_mut(&blob_id) else {
            return;
        };
        if !std::mem::replace(&mut promise.proven, true)
            && let Some(copies) = self.chunks.get_mut(&promise.index)
        {
            copies.proven += 1;
        }
    }

    /// The order to delete the blob that was shown for it, given after it was stored by a coordinator that has
    /// signed a challenge of this evidence: anybody can make a key and call it a coordinator's.
    fn order(
        &self,
        item: &ProofItem,
        holder: PeerId,
        message: &ProofMessage,
        coordinators: &BTreeSet<PeerId>,
    ) -> Option<DeleteOrder> {
        let stored_at_ms = self.promises.get(&item.blob_id)?.stored_at_ms;
        let orders = message.orders.iter().map(SignedOrder::try_from);
        let mut orders = orders.filter_map(Result::ok);
        let shown = orders.find(|signed| {
            let (order, parties) = (&signed.order, signed.order.parties());
            order.takes_away(&item.blob_id)
                && parties.node == holder
                && self.network_id == Some(parties.network_id)
                && coordinators.contains(&parties.coordinator)
                && order.issued_at_ms() >= stored_at_ms
                && signed.verify().is_ok()
        })?;
        Some(shown.order)
    }

    fn item(
        &self,
        item: &ProofItem,
        statement: &ProofStatement,
        message: &ProofMessage,
        coordinators: &BTreeSet<PeerId>,
    ) -> Result<Finding, String> {
        let (challenge, holder) = (&statement.challenge, peer(&item.peer_id)?);
        let position = item.position.ok_or("it has no place in its message")? as usize;
        let asked = challenge.items().get(position);
        let asked = asked.ok_or("its message does not ask for it")?;
        let same = (asked.blob_id, asked.length, asked.seed)
            == (item.blob_id, item.length, item.seed)
            && challenge.difficulty().get() == item.difficulty
            && challenge.parties().node == holder;
        if !same {
            return Err("its message asks something else".to_owned());
        }
        if self.seed.is_some_and(|seed| seed != item.seed) {
            return Err("it answers another seed than yours".to_owned());
        }
        let network_id = challenge.parties().network_id;
        if self
            .network_id
            .is_some_and(|expected| expected != network_id)
        {
            return Err("it is of another network than the receipts".to_owned());
        }
        let answer = item.answer().map_err(|error| error.to_string())?;
        let (Some(answer), Some(signed)) = (answer, &statement.answer) else {
            return Err(format!("the node gave no answer ({:?})", item.outcome));
        };
        if answer.digest(challenge, position).as_ref() != signed.item_digests.get(position) {
            return Err("it is not what the node signed".to_owned());
        }
        let judgement = statement.verdict.judgements.get(position);
        let ItemOutcome::Proven(proof) = answer.outcome else {
            if let Some(order) = self.order(item, holder, message, coordinators) {
                let blamed = [Some(&Judgement::Failed), Some(&Judgement::Missed)];
                if blamed.contains(&judgement) {
                    return Ok(Finding::Refuted);
                }
                let (coordinator, at) = (order.parties().coordinator, order.issued_at_ms());
                return Err(format!(
                    "coordinator {coordinator} ordered the node to delete it (at {at} ms): not the node's fault"
                ));
            }
            return Err(format!("the node itself says: {:?}", answer.outcome));
        };
        let question = challenge.questions().nth(position);
        let question = question.ok_or("its message does not ask for it")?;
        verify(&question, &proof).map_err(|error| error.to_string())?;
        if judgement.is_some_and(|judgement| Outcome::from(*judgement) == Outcome::Failed) {
            return Ok(Finding::Refuted);
        }
        let promise = self.promises.get(&item.blob_id);
        match promise.filter(|promise| promise.peer_id == holder) {
            Some(promise) if item.index.is_none_or(|claimed| claimed == promise.index) => {
                Ok(Finding::Proven)
            }
            Some(_) => Err("its receipt is for another chunk".to_owned()),
            None => Err("the proof is sound, but no receipt says whose blob it is".to_owned()),
        }
    }
}

/// Who has signed the receipt, if somebody has.
fn receipt(
    expected: NetworkId,
    network_id: NetworkId,
    item: &ReceiptItem,
) -> Result<PeerId, String> {
    if expected != network_id {
        return Err("the receipt is of another network".to_owned());
    }
    let peer_id = peer(&item.peer_id)?;
    let receipt = SignedReceipt {
        stored_at_ms: item.stored_at_ms,
        signature: signature(&item.signature).map_err(|error| error.to_string())?,
    };
    let context = NetworkContext {
        network_id,
        peer_id,
    };
    receipt
        .verify(context, item.blob_id, item.length)
        .map_err(|_| "the node has not signed this receipt".to_owned())?;
    Ok(peer_id)
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
