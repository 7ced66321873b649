//! What is negotiated on a stream: one name when we open it, all that we serve when the peer does.

use std::array;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::iter::{Flatten, Once, once};

use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::Stream;
use proto::{Protocol, Side};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Name(pub(super) Protocol);

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.0.name()
    }
}

const COUNT: usize = Protocol::ALL.len();

/// Asked for at every turn of a connection, and therefore no allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served([Option<Name>; COUNT]);

impl Served {
    /// What peers may ask of this side.
    pub(super) fn by(side: Side) -> Self {
        Self(Protocol::ALL.map(|protocol| (protocol.initiator() != side).then_some(Name(protocol))))
    }
}

impl UpgradeInfo for Served {
    type Info = Name;
    type InfoIter = Flatten<array::IntoIter<Option<Name>, COUNT>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.into_iter().flatten()
    }
}

impl InboundUpgrade<Stream> for Served {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: Name) -> Self::Future {
        ready(Ok((stream, name.0)))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(pub(super) Protocol);

impl UpgradeInfo for Asked {
    type Info = Name;
    type InfoIter = Once<Name>;

    fn protocol_info(&self) -> Self::InfoIter {
        once(Name(self.0))
    }
}

impl OutboundUpgrade<Stream> for Asked {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: Name) -> Self::Future {
        ready(Ok(stream))
    }
}
