//! What is negotiated on a stream: one name when we open it; when the peer does, all that we serve to it.
//!
//! What the roles of a peer do not entitle it to is not offered to it: it hears what it would hear if we did not know
//! the protocol, and nothing of its stream is read.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::{Once, once};
use std::sync::Arc;

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::Stream;
use proto::{ProtocolSpec, Roles};

/// Asked for at every turn of a connection, and therefore no allocation.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    table: Arc<[ProtocolSpec]>,
    initiator: Roles,
}

impl Served {
    /// What of the table a peer with these roles may ask.
    pub(super) fn to(initiator: Roles, table: Arc<[ProtocolSpec]>) -> Self {
        Self { table, initiator }
    }
}

/// A protocol's name, and its place in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name {
    name: &'static str,
    at: usize,
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.name
    }
}

pub(crate) struct Names {
    served: Served,
    next: usize,
}

impl Iterator for Names {
    type Item = Name;

    fn next(&mut self) -> Option<Name> {
        let Served { table, initiator } = &self.served;
        let mut rest = table.iter().enumerate().skip(self.next);
        let (at, spec) = rest.find(|(_, spec)| spec.initiator.intersects(*initiator))?;
        self.next = at + 1;
        Some(Name {
            name: spec.name,
            at,
        })
    }
}

impl UpgradeInfo for Served {
    type Info = Name;
    type InfoIter = Names;

    fn protocol_info(&self) -> Names {
        Names {
            served: self.clone(),
            next: 0,
        }
    }
}

impl InboundUpgrade<Stream> for Served {
    type Output = (Stream, usize);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((stream, name.at)))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(pub(super) &'static str);

impl UpgradeInfo for Asked {
    type Info = &'static str;
    type InfoIter = Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        once(self.0)
    }
}

impl OutboundUpgrade<Stream> for Asked {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: &'static str) -> Self::Future {
        ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use proto::protocols;

    use super::*;

    fn offered(roles: Roles) -> Vec<&'static str> {
        let served = Served::to(roles, Arc::new(protocols::TABLE));
        served.protocol_info().map(|name| name.name).collect()
    }

    #[test]
    fn a_peer_is_offered_what_its_roles_may_ask_and_nothing_else() {
        let [hello, heartbeat, loss, ..] = protocols::TABLE.map(|spec| spec.name);
        assert_eq!(offered(Roles::NODE), [hello, heartbeat, loss]);
        assert_eq!(offered(Roles::COORDINATOR).len(), 5);
        assert_eq!(offered(Roles::COORDINATOR | Roles::NODE).len(), 8);
        assert!(offered(Roles::NONE).is_empty());
        assert!(offered(Roles::number(7)).is_empty());
    }
}
