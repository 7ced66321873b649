//! Asks about each peer that comes in, when it has proven its identity and before anything else is set up for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::{PeerId, Transport};

use super::pending::KnownAddresses;
use super::{AddressBlock, Admission, Admitted};

/// Less than the 5 s after which a stranger has to be gone.
const DECIDE_WITHIN: Duration = Duration::from_secs(4);

type Connections = Boxed<(PeerId, StreamMuxerBox)>;

/// A peer that has proven its identity and may not connect.
#[derive(Debug, thiserror::Error)]
#[error("refused peer {peer}: {reason}")]
pub(super) struct Stranger {
    peer: PeerId,
    reason: String,
}

/// A transport that hands over only incoming connections of peers that are let in. Their roles are found in `admitted`.
///
/// The swarm refuses a connection of `local` to itself, and does not say so; nothing is kept for it.
pub(crate) fn admitting(
    transport: Connections,
    local: PeerId,
    admission: Arc<dyn Admission>,
    admitted: Arc<Admitted>,
    known: Arc<KnownAddresses>,
) -> Connections {
    let check = move |(peer, muxer): (PeerId, StreamMuxerBox), endpoint: ConnectedPoint| {
        let decision = match endpoint {
            ConnectedPoint::Listener { send_back_addr, .. } => {
                let from = AddressBlock::of(&send_back_addr);
                Some((admission.admit(peer, send_back_addr), from))
            }
            ConnectedPoint::Dialer { .. } => None,
        };
        let (admission, admitted) = (Arc::clone(&admission), Arc::clone(&admitted));
        let known = Arc::clone(&known);
        async move {
            let Some((decision, from)) = decision else {
                return Ok((peer, muxer));
            };
            let reason = match tokio::time::timeout(DECIDE_WITHIN, decision).await {
                Ok(Ok(roles)) => {
                    if peer != local {
                        admitted.add(peer, roles);
                    }
                    if let Some(from) = from
                        && admission.is_known(&peer)
                    {
                        known.note(from);
                    }
                    return Ok((peer, muxer));
                }
                Ok(Err(refusal)) => refusal.to_string(),
                Err(_) => "nobody could say in time whether it may come in".to_owned(),
            };
            Err(io::Error::other(Stranger { peer, reason }))
        }
    };
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's type is of a crate that we have no other use for"
    )]
    transport
        .and_then(check)
        .map_err(|error| error.into_inner())
        .boxed()
}
