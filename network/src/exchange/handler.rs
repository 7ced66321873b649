//! The exchanges of one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{AsyncWriteExt, FutureExt, StreamExt};
use libp2p::PeerId;
use libp2p::core::upgrade::NegotiationError;
use libp2p::swarm::SubstreamProtocol;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
    StreamUpgradeError,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, ConnectionId, Stream};
use proto::{Lane, Protocol};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::protocols::{Asked, Served};
use super::{Call, INBOUND_DATA_STREAMS, INBOUND_STREAMS, Shared, patience};
use crate::codec::FrameCodec;
use crate::event::InboundRequest;
use crate::handle::CallError;

pub(crate) struct Handler {
    peer: PeerId,
    connection: ConnectionId,
    shared: Shared,
    served: Served,
    calls: VecDeque<Call>,
    /// Both directions; those of the peer end with their protocol.
    exchanges: FuturesUnordered<BoxFuture<'static, Option<Protocol>>>,
    /// Streams of the peer in each protocol.
    serving: [usize; Protocol::ALL.len()],
}

impl Handler {
    pub(super) fn new(peer: PeerId, connection: ConnectionId, shared: Shared) -> Self {
        Self {
            peer,
            connection,
            served: Served::by(shared.side),
            shared,
            calls: VecDeque::new(),
            exchanges: FuturesUnordered::new(),
            serving: [0; Protocol::ALL.len()],
        }
    }

    /// Takes a stream of the peer, or closes it before anything of it is read.
    fn serve(&mut self, protocol: Protocol, stream: Stream) {
        if !self.shared.gatekeeper.is_served(&self.peer) {
            tracing::debug!(peer = %self.peer, ?protocol, "refused a stream: the peer is not served");
            return;
        }
        if !self.has_room(protocol) {
            tracing::debug!(peer = %self.peer, ?protocol, "refused a stream: too many are open");
            return;
        }
        self.serving[protocol as usize] += 1;
        let (peer, connection, shared) = (self.peer, self.connection, self.shared.clone());
        let exchange = async move {
            let answered = answer(peer, connection, protocol, stream, &shared);
            let error = match timeout(patience(protocol), answered).await {
                Ok(Ok(())) => return Some(protocol),
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            tracing::debug!(%peer, ?protocol, %error, "an inbound exchange failed");
            Some(protocol)
        };
        self.exchanges.push(exchange.boxed());
    }

    fn has_room(&self, protocol: Protocol) -> bool {
        let open = |one: Protocol| self.serving[one as usize];
        match protocol.lane() {
            Lane::Control => open(protocol) < INBOUND_STREAMS,
            Lane::Data => {
                let lane = Protocol::ALL
                    .into_iter()
                    .filter(|one| one.lane() == Lane::Data);
                lane.map(open).sum::<usize>() < INBOUND_DATA_STREAMS
            }
        }
    }

    fn ask(&mut self, call: Call, stream: Stream) {
        let (peer, connection) = (self.peer, self.connection);
        let signs = Arc::clone(&self.shared.signs);
        let Call {
            protocol,
            frame,
            reply,
            slot,
        } = call;
        let exchange = async move {
            let asked = ask(protocol, frame, stream);
            let outcome = match timeout(patience(protocol), asked).await {
                Ok(outcome) => outcome.map_err(|error| failure(&error)),
                Err(_) => Err(CallError::Timeout),
            };
            if outcome.is_ok() {
                signs.note(peer, connection);
            }
            let _ = reply.send(outcome); // whoever asked may have given up
            drop(slot);
            None
        };
        self.exchanges.push(exchange.boxed());
    }
}

async fn answer(
    peer: PeerId,
    connection: ConnectionId,
    protocol: Protocol,
    mut stream: Stream,
    shared: &Shared,
) -> io::Result<()> {
    let codec = FrameCodec::new(protocol);
    let request = codec.read(&mut stream).await?;
    shared.signs.note(peer, connection);
    let (channel, answer) = oneshot::channel();
    let answers = shared.answers.clone();
    let request = InboundRequest::new(peer, protocol, request, channel, answers);
    if shared.requests.try_send(request).is_err() {
        tracing::warn!(%peer, ?protocol, "dropped a request: too many are waiting");
    }
    // Nobody may be there to answer, or want to.
    let Ok((frame, _leaving)) = answer.await else {
        return stream.close().await;
    };
    codec.write(&mut stream, frame).await?;
    stream.close().await
}

async fn ask(protocol: Protocol, request: proto::Frame, mut stream: Stream) -> io::Result<Bytes> {
    let codec = FrameCodec::new(protocol);
    codec.write(&mut stream, request).await?;
    stream.close().await?;
    Ok(codec.read(&mut stream).await?.head)
}

fn failure(error: &io::Error) -> CallError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(NegotiationError::Failed) => CallError::Unsupported,
        _ => CallError::Io(error.to_string()),
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Call;
    type ToBehaviour = Infallible;
    type InboundProtocol = Served;
    type OutboundProtocol = Asked;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Call;

    fn listen_protocol(&self) -> SubstreamProtocol<Served> {
        SubstreamProtocol::new(self.served, ())
    }

    fn on_behaviour_event(&mut self, call: Call) {
        self.calls.push_back(call);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Asked, Call, Infallible>> {
        while let Poll::Ready(Some(ended)) = self.exchanges.poll_next_unpin(context) {
            if let Some(protocol) = ended {
                self.serving[protocol as usize] -= 1;
            }
        }
        match self.calls.pop_front() {
            Some(call) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Asked(call.protocol), call),
            }),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Served, Asked, (), Call>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => self.serve(protocol, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: call,
            }) => self.ask(call, stream),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: call, error }) => {
                let _ = call.reply.send(Err(match error {
                    StreamUpgradeError::Timeout => CallError::Timeout,
                    StreamUpgradeError::NegotiationFailed => CallError::Unsupported,
                    StreamUpgradeError::Io(error) => failure(&error),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}
