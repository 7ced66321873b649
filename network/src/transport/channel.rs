//! What secures a TCP connection: TLS, which is offered first, or noise for foreign peers that have
//! nothing else. And what secured the connections so far.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::Either;
use futures::io::BufReader;
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};
use rustls::CipherSuite;

use super::{TransportError, tls};

const NOISE: &str = "/noise";

/// What one system call reads at most. rustls by itself asks for 4 KiB at a time.
const READ_BYTES: usize = 64 * 1024;

/// The cipher or the protocol that secures a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    TlsAes256Gcm,
    TlsAes128Gcm,
    TlsChaCha20Poly1305,
    Noise,
    /// libp2p's QUIC does not tell the cipher.
    Quic,
}

impl Channel {
    pub const ALL: [Self; 5] = [
        Self::TlsAes256Gcm,
        Self::TlsAes128Gcm,
        Self::TlsChaCha20Poly1305,
        Self::Noise,
        Self::Quic,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::TlsAes256Gcm => "tls_aes_256_gcm",
            Self::TlsAes128Gcm => "tls_aes_128_gcm",
            Self::TlsChaCha20Poly1305 => "tls_chacha20_poly1305",
            Self::Noise => "noise",
            Self::Quic => "quic",
        }
    }

    fn of(suite: CipherSuite) -> Option<Self> {
        match suite {
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Self::TlsAes256Gcm),
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(Self::TlsAes128Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Self::TlsChaCha20Poly1305),
            _ => None,
        }
    }
}

/// Counts handshakes by what came of them.
#[derive(Debug, Default)]
pub struct Handshakes([AtomicU64; Channel::ALL.len()]);

impl Handshakes {
    /// Those that succeeded since the start.
    pub fn count(&self, channel: Channel) -> u64 {
        self.0[channel as usize].load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, channel: Channel) {
        self.0[channel as usize].fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct Security {
    tls: tls::Config,
    noise: noise::Config,
    handshakes: Arc<Handshakes>,
}

type Stream<C> = Either<TlsStream<BufReader<C>>, noise::Output<C>>;
type Secured<C> = (PeerId, Stream<C>);
type Handshake<C> = Pin<Box<dyn Future<Output = Result<Secured<C>, SecurityError>> + Send>>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SecurityError {
    #[error(transparent)]
    Tls(#[from] tls::HandshakeError),
    #[error("the noise handshake failed: {0}")]
    Noise(#[from] noise::Error),
}

impl Security {
    pub(super) fn new(
        keypair: &Keypair,
        handshakes: Arc<Handshakes>,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            tls: tls::Config::new(keypair)?,
            noise: noise::Config::new(keypair)?,
            handshakes,
        })
    }

    fn tls<C>(&self, (peer, suite, stream): tls::Secured<BufReader<C>>) -> Secured<C> {
        if let Some(channel) = Channel::of(suite) {
            self.handshakes.note(channel);
        }
        (peer, Either::Left(stream))
    }

    fn noise<C>(&self, (peer, stream): (PeerId, noise::Output<C>)) -> Secured<C> {
        self.handshakes.note(Channel::Noise);
        (peer, Either::Right(stream))
    }
}

fn buffered<C: AsyncRead>(socket: C) -> BufReader<C> {
    BufReader::with_capacity(READ_BYTES, socket)
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = [&'static str; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        [tls::PROTOCOL, NOISE]
    }
}

impl<C> InboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<C>;
    type Error = SecurityError;
    type Future = Handshake<C>;

    fn upgrade_inbound(self, socket: C, protocol: &'static str) -> Self::Future {
        Box::pin(async move {
            Ok(match protocol {
                tls::PROTOCOL => self.tls(self.tls.clone().accept(buffered(socket)).await?),
                noise => self.noise(self.noise.clone().upgrade_inbound(socket, noise).await?),
            })
        })
    }
}

impl<C> OutboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Output = Secured<C>;
    type Error = SecurityError;
    type Future = Handshake<C>;

    fn upgrade_outbound(self, socket: C, protocol: &'static str) -> Self::Future {
        Box::pin(async move {
            Ok(match protocol {
                tls::PROTOCOL => self.tls(self.tls.clone().connect(buffered(socket)).await?),
                noise => self.noise(self.noise.clone().upgrade_outbound(socket, noise).await?),
            })
        })
    }
}
