//! Sockets up to multiplexed, authenticated connections: TCP with TLS or noise and yamux, and QUIC.

mod channel;
mod first_bytes;
mod mux;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::{Multiaddr, PeerId, Transport, dns, noise, quic, tcp};
use socket2::{Domain, Socket, Type};

pub use channel::{Channel, Handshakes};

use channel::Security;
use first_bytes::FirstBytes;

/// Sent bytes that nobody acknowledges for this long end the connection: a peer whose packets
/// vanish without a FIN would otherwise be kept for minutes.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long both sides may take to authenticate each other.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long whoever connects may say nothing. In QUIC the first packet opens the connection, and the handshake is over with
/// the next that comes of the peer.
const FIRST_BYTES: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("the identity cannot be used for TLS: {0}")]
    Tls(#[from] tls::ConfigError),
    #[error("the identity cannot be used for noise: {0}")]
    Noise(#[from] noise::Error),
    #[error("the resolver configuration cannot be used: {0}")]
    Dns(#[from] io::Error),
}

/// The transport; what secures its connections is counted in `handshakes`.
pub(crate) fn build(
    keypair: &Keypair,
    handshakes: &Arc<Handshakes>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, TransportError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .map(|stream, endpoint| {
            let socket = socket2::SockRef::from(&stream.0);
            if let Err(error) = socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)) {
                tracing::warn!(%error, "TCP_USER_TIMEOUT cannot be set: dead peers are noticed later");
            }
            FirstBytes::within(endpoint.is_listener().then_some(FIRST_BYTES), stream)
        })
        .upgrade(Version::V1)
        .authenticate(Security::new(keypair, Arc::clone(handshakes))?)
        .multiplex(mux::Config::default())
        .timeout(HANDSHAKE_TIMEOUT);
    let mut quic = quic::Config::new(keypair);
    quic.handshake_timeout = HANDSHAKE_TIMEOUT;
    let noted = Arc::clone(handshakes);
    let quic = quic::tokio::Transport::new(quic);
    let tcp_or_quic = TransportTimeout::with_ingoing_timeout(quic, FIRST_BYTES)
        .or_transport(tcp)
        .map(move |either, _| match either {
            Either::Left((peer, muxer)) => {
                noted.note(Channel::Quic);
                (peer, StreamMuxerBox::new(muxer))
            }
            Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        });
    Ok(dns::tokio::Transport::system(tcp_or_quic)?.boxed())
}

/// An error when another program listens on this TCP port. libp2p binds with `SO_REUSEPORT`: without
/// this a second program would start in silence, and each would get some of the connections.
pub(crate) fn refuse_taken_port(addr: &Multiaddr) -> io::Result<()> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next() {
        Some(AddrPart::Ip4(ip)) => ip.into(),
        Some(AddrPart::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    let Some(AddrPart::Tcp(port @ 1..)) = parts.next() else {
        return Ok(());
    };
    let addr = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // connections of an earlier run that are fading are no obstacle
    socket.bind(&addr.into())
}
