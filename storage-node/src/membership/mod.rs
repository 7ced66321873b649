//! Belonging to a network: becoming a node of it, knowing its coordinators, and reporting to them.
//!
//! | file | what for |
//! |---|---|
//! | `registration` | how a data directory becomes a node: identity, network document, credentials |
//! | `coordinator_api` | the coordinator's HTTP API, as far as a node needs it |
//! | `document` | follows the signed network document: who the coordinators are, and where |
//! | `coordinators` | how the node stands with each of them |
//! | `lifecycle` | what the node does at present, as its heartbeats say |
//! | `link` | `hello` on each new connection, then heartbeats |
//! | `ledger_days` | the ledger's heads that coordinators have told, kept as evidence |

mod coordinator_api;
mod coordinators;
mod document;
mod ledger_days;
mod lifecycle;
mod link;
mod registration;

pub(crate) use coordinator_api::{ApiError, Applicant, CoordinatorApi, reason};
pub(crate) use coordinators::{CoordinatorStatus, Coordinators, DRAINED, DRAINING};
pub(crate) use document::DocumentFollower;
#[cfg(test)]
pub(crate) use ledger_days::Contradiction;
pub(crate) use ledger_days::{LedgerDays, LedgerEvidence};
pub(crate) use lifecycle::Lifecycle;
pub(crate) use link::Link;
pub(crate) use registration::{Candidate, Terms, register_once};
