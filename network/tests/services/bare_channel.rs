//! A peer that speaks nothing behind the secured channel but yamux, written by hand.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::{
    InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo, Version,
};
use libp2p::{Multiaddr, PeerId, Transport, identity::Keypair, noise, tcp};

use crate::support::soon;

pub(crate) struct BareChannel {
    pub id: PeerId,
    channel: SubstreamBox,
}

impl BareChannel {
    pub(crate) async fn dial(addr: Multiaddr) -> Self {
        let keypair = Keypair::generate_ed25519();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::new())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(HandWritten)
            .boxed();
        let how = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let (_, mut muxer) = soon(transport.dial(addr, how).unwrap()).await.unwrap();
        let channel = poll_fn(|context| muxer.poll_outbound_unpin(context));
        Self {
            id: keypair.public().to_peer_id(),
            channel: channel.await.unwrap(),
        }
    }

    /// Opens streams and says nothing on them, without regard for what comes back.
    pub(crate) async fn open_streams(&mut self, count: u32) {
        const WINDOW_UPDATE: u8 = 1;
        const SYN: u8 = 1;
        for number in 0..count {
            let mut header = [0, WINDOW_UPDATE, 0, SYN, 0, 0, 0, 0, 0, 0, 0, 0];
            header[4..8].copy_from_slice(&(2 * number + 1).to_be_bytes());
            // Whoever hangs up does not read to the end.
            if self.channel.write_all(&header).await.is_err() {
                return;
            }
        }
        let _ = self.channel.flush().await;
    }

    pub(crate) async fn until_closed(&mut self) {
        let mut bytes = [0; 1024];
        let closed = async { while self.channel.read(&mut bytes).await.is_ok_and(|n| n > 0) {} };
        soon(closed).await;
    }
}

/// Says that it speaks yamux, and hands out the channel as it is.
#[derive(Clone)]
struct HandWritten;

impl UpgradeInfo for HandWritten {
    type Info = &'static str;
    type InfoIter = [&'static str; 1];

    fn protocol_info(&self) -> Self::InfoIter {
        ["/yamux/1.0.0"]
    }
}

impl<C> InboundConnectionUpgrade<C> for HandWritten {
    type Output = WholeChannel<C>;
    type Error = Infallible;
    type Future = Ready<Result<WholeChannel<C>, Infallible>>;

    fn upgrade_inbound(self, channel: C, _: &'static str) -> Self::Future {
        ready(Ok(WholeChannel(Some(channel))))
    }
}

impl<C> OutboundConnectionUpgrade<C> for HandWritten {
    type Output = WholeChannel<C>;
    type Error = Infallible;
    type Future = Ready<Result<WholeChannel<C>, Infallible>>;

    fn upgrade_outbound(self, channel: C, _: &'static str) -> Self::Future {
        ready(Ok(WholeChannel(Some(channel))))
    }
}

/// Its one stream is the channel.
struct WholeChannel<C>(Option<C>);

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for WholeChannel<C> {
    type Substream = C;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<C>> {
        Poll::Pending
    }

    fn poll_outbound(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<C>> {
        self.0
            .take()
            .map_or(Poll::Pending, |channel| Poll::Ready(Ok(channel)))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}
