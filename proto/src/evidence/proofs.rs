//! Checking proofs, and the verdicts over them: those that an owner asked for, and those that are kept of a node.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::check::peer;
use super::lie::{in_figures, in_judgement};
use super::{
    Checker, Finding, Found, Lie, OrderItem, Outcome, ProofItem, ProofMessage, Proofs, ProofsView,
};
use crate::{
    BlobId, DeleteOrder, ItemOutcome, Judgement, PeerId, ProofStatement, Question, SignedOrder,
    verify,
};

const NOT_SHOWN: &str = "no order is shown that excuses it";

/// One blob of a message whose signatures are all good.
struct Signed<'a> {
    statement: &'a ProofStatement,
    question: Question,
    judgement: Judgement,
}

impl<'a> Signed<'a> {
    fn at(statement: &'a ProofStatement, position: usize) -> Option<Self> {
        Some(Self {
            statement,
            question: statement.challenge.questions().nth(position)?,
            judgement: *statement.verdict.judgements.get(position)?,
        })
    }
}

/// Orders to delete that a node showed beside its answer, and who is known to be a coordinator: whoever has signed a
/// challenge of the evidence. Anybody can make a key and call it a coordinator's.
#[derive(Clone, Copy)]
struct Shown<'a> {
    orders: &'a [OrderItem],
    coordinators: &'a BTreeSet<PeerId>,
}

/// An order of this network to this node that takes the blob away.
fn orders_for(
    orders: &[OrderItem],
    statement: &ProofStatement,
    blob_id: BlobId,
) -> impl Iterator<Item = DeleteOrder> {
    let asked = statement.challenge.parties();
    let signed = orders.iter().map(SignedOrder::try_from);
    let signed = signed.filter_map(Result::ok).filter(move |signed| {
        let parties = signed.order.parties();
        signed.order.takes_away(&blob_id)
            && (parties.node, parties.network_id) == (asked.node, asked.network_id)
            && signed.verify().is_ok()
    });
    signed.map(|signed| signed.order)
}

impl Checker {
    /// Checks proofs, one finding for each item. All receipts have to be in.
    pub fn proofs(&mut self, proofs: &Proofs) -> Vec<Found> {
        let statements: Vec<_> = proofs.messages.iter().map(message).collect();
        let sound = statements.iter().flatten();
        let coordinators = sound.map(|statement| statement.challenge.parties().coordinator);
        let coordinators: BTreeSet<PeerId> = coordinators.collect();
        let mut found = Vec::with_capacity(proofs.items.len());
        for item in &proofs.items {
            let place = item.message.map(|message| message as usize);
            let place = place.and_then(|at| Some((statements.get(at)?, proofs.messages.get(at)?)));
            let finding = match place {
                Some((Ok(statement), message)) => {
                    let shown = Shown {
                        orders: &message.orders,
                        coordinators: &coordinators,
                    };
                    self.item(item, statement, shown)
                }
                Some((Err(error), _)) => Err(error.clone()),
                None => Err(format!(
                    "nobody signs anything of it: {}",
                    item.outcome.name()
                )),
            };
            let finding = finding.unwrap_or_else(Finding::NotProven);
            match &finding {
                Finding::Proven => self.prove(item.blob_id),
                Finding::Refuted(_) => self.note_refuted(),
                Finding::Judged(_) => self.note_judged(),
                // Of a copy that was promised the proof is missing, which shows by itself.
                Finding::NotProven(_) if item.index.is_none() => self.note_bad(),
                Finding::NotProven(_) | Finding::Opened | Finding::Piece => {}
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

    /// Checks what is kept of a message to a node: all signatures, that what is said beside them is what is signed, and
    /// that the verdict fits its own figures, and its excuses the orders that the node showed. What the node sent when it failed is kept apart
    /// (`GET nodes/{id}/proofs/{challenge}`).
    pub fn verdict(&mut self, view: &ProofsView) -> Result<Vec<Found>, String> {
        let checked = self.signed_verdict(view);
        let statement = checked.inspect_err(|_| self.note_bad())?;
        let judgements = statement.verdict.judgements.iter();
        let items = judgements.zip(statement.challenge.items());
        let peer_id = statement.challenge.parties().node.to_string();
        let found = items.map(|(judgement, item)| {
            let finding = match in_figures(&statement, *judgement) {
                Some(lie) => {
                    self.note_refuted();
                    Finding::Refuted(lie)
                }
                None if *judgement == Judgement::Ordered
                    && orders_for(&view.orders, &statement, item.blob_id)
                        .next()
                        .is_none() =>
                {
                    self.note_bad();
                    Finding::NotProven(NOT_SHOWN.to_owned())
                }
                None => {
                    self.note_judged();
                    Finding::Judged(*judgement)
                }
            };
            Found {
                index: None,
                peer_id: peer_id.clone(),
                blob_id: item.blob_id,
                finding,
            }
        });
        Ok(found.collect())
    }

    fn signed_verdict(&mut self, view: &ProofsView) -> Result<ProofStatement, String> {
        let bytes = BASE64_STANDARD.decode(&view.statement);
        let bytes = bytes.map_err(|_| "the statement is not base64")?;
        let statement = ProofStatement::from_bytes(&bytes);
        let statement = statement.map_err(|error| format!("the statement is {error}"))?;
        statement.verify().map_err(|error| error.to_string())?;
        self.of_this_network(&statement)?;
        if statement.challenge.id() != view.challenge_id {
            return Err("the statement is about another challenge".to_owned());
        }
        let count = |wanted| {
            let judgements = statement.verdict.judgements.iter();
            judgements.filter(|judgement| **judgement == wanted).count()
        };
        for (judgement, told) in [
            (Judgement::Passed, view.passed),
            (Judgement::Failed, view.failed),
            (Judgement::Missed, view.missed),
            (Judgement::Busy, view.busy),
        ] {
            let (signed, name) = (count(judgement), Outcome::from(judgement).name());
            if signed != told as usize {
                return Err(format!(
                    "the answer says {told} {name}, and the coordinator has signed {signed}"
                ));
            }
        }
        Ok(statement)
    }

    fn of_this_network(&mut self, statement: &ProofStatement) -> Result<(), String> {
        let network_id = statement.challenge.parties().network_id;
        match *self.network_id.get_or_insert(network_id) == network_id {
            true => Ok(()),
            false => Err("it is of another network".to_owned()),
        }
    }

    fn item(
        &mut self,
        item: &ProofItem,
        statement: &ProofStatement,
        shown: Shown<'_>,
    ) -> Result<Finding, String> {
        let holder = peer(&item.peer_id)?;
        let position = item.position.ok_or("it has no place in its message")? as usize;
        let signed = Signed::at(statement, position);
        let signed = signed.ok_or("its message does not ask for it")?;
        self.asked(item, &signed, holder)?;
        let judged = Outcome::from(signed.judgement);
        if item.outcome != judged {
            return Err(format!(
                "it is called {}, and what the coordinator has signed is {}",
                item.outcome.name(),
                judged.name()
            ));
        }
        if let Some(lie) = in_figures(statement, signed.judgement) {
            return Ok(Finding::Refuted(lie));
        }
        let Some(answer) = &statement.answer else {
            return match item.index {
                None => Ok(Finding::Judged(signed.judgement)),
                Some(_) => Err(format!("the node gave no answer: {}", judged.name())),
            };
        };
        let said = item.answer().map_err(|error| error.to_string())?;
        let Some(said) = said else {
            return match (item.index, signed.judgement) {
                (None, Judgement::Ordered) => self.lacked(item, &signed, shown),
                // Of what did not fail nothing is kept but what was signed.
                (None, judged) if judged != Judgement::Failed => Ok(Finding::Judged(judged)),
                _ => Err("what the node answered is left out".to_owned()),
            };
        };
        let digest = said.digest(&statement.challenge, position);
        if digest.as_ref() != answer.item_digests.get(position) {
            return Err("it is not what the node signed".to_owned());
        }
        if let Some(lie) =
            in_judgement(statement, &signed.question, signed.judgement, &said.outcome)
        {
            return Ok(Finding::Refuted(lie));
        }
        if said.outcome == ItemOutcome::Missing {
            return self.lacked(item, &signed, shown);
        }
        self.worth(item, &signed, &said.outcome, holder)
    }

    /// Whether the message asks what the item says, and what it should.
    fn asked(
        &mut self,
        item: &ProofItem,
        signed: &Signed<'_>,
        holder: PeerId,
    ) -> Result<(), String> {
        let question = &signed.question;
        let same = (
            question.blob_id,
            question.length,
            question.seed,
            question.peer_id,
        ) == (item.blob_id, item.length, item.seed, holder)
            && question.difficulty.get() == item.difficulty;
        if !same {
            return Err("its message asks something else".to_owned());
        }
        if self.seed.is_some_and(|seed| seed != item.seed) {
            return Err("it answers another seed than yours".to_owned());
        }
        self.of_this_network(signed.statement)
    }

    /// What follows where the node says that it lacks the blob. An order to delete it that was given after it was stored
    /// makes that the fault of whoever gave it.
    fn lacked(
        &self,
        item: &ProofItem,
        signed: &Signed<'_>,
        shown: Shown<'_>,
    ) -> Result<Finding, String> {
        let promise = self.promises.get(&item.blob_id);
        let mut orders = orders_for(shown.orders, signed.statement, item.blob_id);
        if item.index.is_none() && promise.is_none() {
            // Nobody's file is asked about: since when the node had the blob is not known.
            return match signed.judgement {
                Judgement::Ordered if orders.next().is_none() => Err(NOT_SHOWN.to_owned()),
                judged => Ok(Finding::Judged(judged)),
            };
        }
        let order = orders.find(|order| {
            shown.coordinators.contains(&order.parties().coordinator)
                && promise.is_some_and(|promise| order.issued_at_ms() >= promise.stored_at_ms)
        });
        match (order, signed.judgement) {
            (Some(order), Judgement::Ordered) => Err(format!(
                "coordinator {} ordered the node to delete it (at {} ms): not the node's fault",
                order.parties().coordinator,
                order.issued_at_ms()
            )),
            (Some(_), judged) => Ok(Finding::Refuted(Lie::BlamedForOrder(judged))),
            (None, Judgement::Ordered) => Err(format!(
                "the node itself says: {:?}, and {NOT_SHOWN}",
                ItemOutcome::Missing
            )),
            (None, _) => Err(format!("the node itself says: {:?}", ItemOutcome::Missing)),
        }
    }

    /// What a node has signed is worth, when the verdict over it is right.
    fn worth(
        &self,
        item: &ProofItem,
        signed: &Signed<'_>,
        outcome: &ItemOutcome,
        holder: PeerId,
    ) -> Result<Finding, String> {
        let promise = self.promises.get(&item.blob_id);
        if item.index.is_none() && promise.is_none() {
            return Ok(Finding::Judged(signed.judgement)); // nobody's file is asked about
        }
        let ItemOutcome::Proven(proof) = outcome else {
            return Err(format!("the node itself says: {outcome:?}"));
        };
        // One that came too late is a proof all the same.
        verify(&signed.question, proof).map_err(|error| error.to_string())?;
        match promise.filter(|promise| promise.peer_id == holder) {
            Some(promise) if item.index.is_none_or(|claimed| claimed == promise.index) => {
                Ok(Finding::Proven)
            }
            Some(_) => Err("its receipt is for another chunk".to_owned()),
            None => Err("the proof is sound, but no receipt says whose blob it is".to_owned()),
        }
    }
}

/// A message, with every signature in it checked.
fn message(message: &ProofMessage) -> Result<ProofStatement, String> {
    let statement = ProofStatement::try_from(message);
    let statement = statement.map_err(|error| format!("its message is {error}"))?;
    statement.verify().map_err(|error| error.to_string())?;
    Ok(statement)
}
