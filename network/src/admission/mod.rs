//! Who may connect, and in which roles: what a peer may ask of us follows from them.
//!
//! What is known before the handshake (the address) is judged before it, in a [behaviour](behaviour), and while it is under
//! way newer ones may take its [place](pending); what is known behind it (the identity) where the transport hands the connection over, in a [`handshake`]. A connection that is
//! refused at either place has never reached the protocols.
//!
//! Rejected: asking about the identity in a behaviour of the swarm too. There a decision that waits for a database
//! would hold up the event loop.

mod address_block;
mod admitted;
mod allow_list;
pub(crate) mod behaviour;
pub(crate) mod handshake;
pub(crate) mod pending;
mod refusals;

use std::fmt;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use libp2p::{Multiaddr, PeerId};
use proto::Roles;

pub(crate) use self::address_block::AddressBlock;
pub(crate) use self::admitted::Admitted;
pub use self::allow_list::{AllowList, AuthMode};
pub use self::refusals::{RefusalReason, Refusals};

/// Why a peer may not connect, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// Decides who may connect and what each peer is.
pub trait Admission: fmt::Debug + Send + Sync + 'static {
    /// Decides on a peer that has proven its identity and comes from this address: the roles in which it is let in.
    /// Asked once for each incoming connection; a decision that takes more than a few seconds is a refusal.
    fn admit(&self, peer: PeerId, from: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>>;

    /// The roles of a connected peer now. `admitted` are those in which it was let in, none where it was we who
    /// dialled. Asked for every stream, so the answer has to be at hand.
    fn roles(&self, _peer: &PeerId, admitted: Roles) -> Roles {
        admitted
    }

    /// Whether this is a peer that the program counts on: the address that it comes from has room of its own for
    /// handshakes from then on. Asked of those that were let in.
    fn is_known(&self, _peer: &PeerId) -> bool {
        false
    }

    /// Whether discovery may open a connection to this peer. Dials that the program asks for are not
    /// subject to this.
    fn may_be_visited(&self, _peer: &PeerId) -> bool {
        true
    }
}

/// No questions asked: everybody may connect and has these roles.
#[derive(Debug, Clone, Copy)]
pub struct Everyone(pub Roles);

impl Admission for Everyone {
    fn admit(&self, _: PeerId, _: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        ready(Ok(self.0)).boxed()
    }

    fn roles(&self, _: &PeerId, _: Roles) -> Roles {
        self.0
    }
}
