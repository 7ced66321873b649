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
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
    StreamUpgradeError,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, ConnectionId, Stream, SubstreamProtocol,
};
use proto::{Lane, ProtocolSpec, Roles};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::protocols::{Asked, Served};
use super::{Call, CallError, INBOUND_DATA_STREAMS, INBOUND_STREAMS, Shared};
use crate::codec::FrameCodec;
use crate::event::InboundRequest;

pub(crate) struct Handler {
    peer: PeerId,
    connection: ConnectionId,
    shared: Shared,
    /// In which the peer was let in when this connection was set up.
    admitted: Roles,
    calls: VecDeque<Call>,
    /// Both directions; those of the peer end with the place of their protocol among those served.
    exchanges: FuturesUnordered<BoxFuture<'static, Option<usize>>>,
    /// Streams of the peer in each protocol served.
    serving: Box<[usize]>,
}

impl Handler {
    pub(super) fn new(peer: PeerId, connection: ConnectionId, shared: Shared) -> Self {
        Self {
            peer,
            connection,
            admitted: shared.admitted.roles(&peer),
            serving: vec![0; shared.served.len()].into(),
            shared,
            calls: VecDeque::new(),
            exchanges: FuturesUnordered::new(),
        }
    }

    /// Of the peer, now: they may change while it is connected.
    fn roles(&self) -> Roles {
        self.shared.admission.roles(&self.peer, self.admitted)
    }

    /// Takes a stream of the peer, or closes it before anything of it is read.
    fn serve(&mut self, at: usize, stream: Stream) {
        let Some(protocol) = self.shared.served.get(at).copied() else {
            return;
        };
        // It was offered when the stream came; the roles may have changed since.
        if !protocol.initiator.intersects(self.roles()) {
            tracing::debug!(peer = %self.peer, %protocol, "refused a stream: the peer has no role for it");
            return;
        }
        if !self.has_room(at, &protocol) {
            tracing::debug!(peer = %self.peer, %protocol, "refused a stream: too many are open");
            return;
        }
        self.serving[at] += 1;
        let (peer, connection, shared) = (self.peer, self.connection, self.shared.clone());
        let exchange = async move {
            let answered = answer(peer, connection, protocol, stream, &shared);
            let error = match timeout(protocol.timeout, answered).await {
                Ok(Ok(())) => return Some(at),
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            tracing::debug!(%peer, %protocol, %error, "an inbound exchange failed");
            Some(at)
        };
        self.exchanges.push(exchange.boxed());
    }

    fn has_room(&self, at: usize, protocol: &ProtocolSpec) -> bool {
        match protocol.lane {
            Lane::Control => self.serving[at] < INBOUND_STREAMS,
            Lane::Data => {
                let open = self.shared.served.iter().zip(&self.serving);
                let lane = open.filter(|(protocol, _)| protocol.lane == Lane::Data);
                lane.map(|(_, open)| open).sum::<usize>() < INBOUND_DATA_STREAMS
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
            let outcome = match timeout(protocol.timeout, asked).await {
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
    protocol: ProtocolSpec,
    mut stream: Stream,
    shared: &Shared,
) -> io::Result<()> {
    let codec = FrameCodec::new(&protocol);
    let request = codec.read(&mut stream).await?;
    shared.signs.note(peer, connection);
    let (channel, answer) = oneshot::channel();
    let answers = shared.answers.clone();
    let request = InboundRequest::new(peer, protocol, request, channel, answers);
    if shared.requests.try_send(request).is_err() {
        tracing::warn!(%peer, %protocol, "dropped a request: too many are waiting");
    }
    // Nobody may be there to answer, or want to.
    let Ok((frame, _leaving)) = answer.await else {
        return stream.close().await;
    };
    codec.write(&mut stream, frame).await?;
    stream.close().await
}

async fn ask(
    protocol: ProtocolSpec,
    request: proto::Frame,
    mut stream: Stream,
) -> io::Result<Bytes> {
    let codec = FrameCodec::new(&protocol);
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
        let served = Served::to(self.roles(), Arc::clone(&self.shared.served));
        SubstreamProtocol::new(served, ())
    }

    fn on_behaviour_event(&mut self, call: Call) {
        self.calls.push_back(call);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Asked, Call, Infallible>> {
        while let Poll::Ready(Some(ended)) = self.exchanges.poll_next_unpin(context) {
            if let Some(at) = ended {
                self.serving[at] -= 1;
            }
        }
        match self.calls.pop_front() {
            Some(call) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Asked(call.protocol.name), call),
            }),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Served, Asked, (), Call>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, at),
                ..
            }) => self.serve(at, stream),
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
