//! The two streams of one connection: on one we ask, on the other we answer. Both are kept.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use libp2p::StreamProtocol;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
const PAYLOAD_BYTES: usize = 32;

/// Askers that wait for one pong at most; the oldest have given up long before.
const ASKERS: usize = 16;

/// What comes back has to be the same, so that nobody answers what he was not asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload(pub(super) [u8; PAYLOAD_BYTES]);

/// The connection is to be pinged now.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(super) payload: Payload,
    /// Who wants to know how long it took, from now on.
    pub(super) asker: Option<oneshot::Sender<Duration>>,
}

pub(crate) struct Handler {
    timeout: Duration,
    /// To be sent as soon as there is a stream that is not waiting for an answer.
    wanted: Option<Payload>,
    /// Since when they wait. While a ping is under way its pong is their answer: the peer was there after they asked.
    askers: Vec<(Instant, oneshot::Sender<Duration>)>,
    asking: Asking,
    answering: Option<BoxFuture<'static, io::Error>>,
}

enum Asking {
    NoStream,
    Opening,
    Idle(Stream),
    UnderWay(BoxFuture<'static, io::Result<(Stream, Duration)>>),
}

impl Handler {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            wanted: None,
            askers: Vec::new(),
            asking: Asking::NoStream,
            answering: None,
        }
    }
}

async fn ask<S>(
    mut stream: S,
    Payload(payload): Payload,
    within: Duration,
) -> io::Result<(S, Duration)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        stream.write_all(&payload).await?;
        stream.flush().await?;
        let sent = Instant::now();
        let mut answer = [0; PAYLOAD_BYTES];
        stream.read_exact(&mut answer).await?;
        match answer == payload {
            true => Ok((sent.elapsed(), stream)),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer to a ping is not what was sent",
            )),
        }
    };
    let (rtt, stream) = timeout(within, exchange).await??;
    Ok((stream, rtt))
}

/// Until the peer ends it or breaks it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Error {
    let mut payload = [0; PAYLOAD_BYTES];
    loop {
        let answered = async {
            stream.read_exact(&mut payload).await?;
            stream.write_all(&payload).await?;
            stream.flush().await
        };
        if let Err(error) = answered.await {
            return error;
        }
    }
}

type Upgrade = ReadyUpgrade<StreamProtocol>;

impl ConnectionHandler for Handler {
    type FromBehaviour = Ask;
    type ToBehaviour = Duration;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    /// Connections live until someone closes them; liveness is the peer policy's business.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn on_behaviour_event(&mut self, Ask { payload, asker }: Ask) {
        self.wanted = Some(payload);
        self.askers.retain(|(_, asker)| !asker.is_closed());
        if let Some(asker) = asker
            && self.askers.len() < ASKERS
        {
            self.askers.push((Instant::now(), asker));
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Upgrade, (), Duration>> {
        if let Some(answering) = &mut self.answering
            && let Poll::Ready(error) = answering.poll_unpin(context)
        {
            tracing::trace!(%error, "a peer pings no more over this stream");
            self.answering = None;
        }
        loop {
            match std::mem::replace(&mut self.asking, Asking::NoStream) {
                Asking::UnderWay(mut ping) => match ping.poll_unpin(context) {
                    Poll::Ready(Ok((stream, rtt))) => {
                        self.asking = Asking::Idle(stream);
                        for (since, asker) in self.askers.drain(..) {
                            let _ = asker.send(since.elapsed());
                        }
                        return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(rtt));
                    }
                    Poll::Ready(Err(error)) => tracing::debug!(%error, "a ping has failed"),
                    Poll::Pending => {
                        self.asking = Asking::UnderWay(ping);
                        return Poll::Pending;
                    }
                },
                Asking::Idle(stream) => match self.wanted.take() {
                    Some(payload) => {
                        let ping = ask(stream, payload, self.timeout);
                        self.asking = Asking::UnderWay(ping.boxed());
                    }
                    None => {
                        self.asking = Asking::Idle(stream);
                        return Poll::Pending;
                    }
                },
                Asking::NoStream if self.wanted.is_some() => {
                    self.asking = Asking::Opening;
                    let protocol = self.listen_protocol();
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                        protocol,
                    });
                }
                waiting @ (Asking::NoStream | Asking::Opening) => {
                    self.asking = waiting;
                    return Poll::Pending;
                }
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => self.answering = Some(answer(stream).boxed()),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                ..
            }) => self.asking = Asking::Idle(stream),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                // A peer that does not answer pings may still be heard; it is asked again in its turn.
                tracing::debug!(%error, "a ping finds no stream");
                self.wanted = None;
                self.askers.clear();
                self.asking = Asking::NoStream;
            }
            _ => {}
        }
    }
}
