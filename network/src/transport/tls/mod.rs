//! TLS 1.3 as libp2p speaks it (`/tls/1.0.0`), with the cipher that this processor is good at.
//!
//! Each side shows one self-signed certificate with the libp2p extension, in which the identity key
//! vouches for the certificate's key. A session is never resumed: every connection proves both
//! identities afresh.
//!
//! Certificates are made, parsed and verified by `libp2p_tls::certificate` (which checks signatures
//! with ring, once a handshake); everything else is rustls with aws-lc. Rejected: `libp2p_tls::Config`,
//! which offers ChaCha20 first on every processor, and its verifier, which cannot be had without it.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p::tls::certificate;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, sign};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, DistinguishedName,
    OtherError, ServerConfig, SignatureScheme, SupportedCipherSuite,
};

pub(super) const PROTOCOL: &str = "/tls/1.0.0";

/// As the specification has it.
const ALPN: &[u8] = b"libp2p";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] certificate::GenError),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the TLS handshake failed: {0}")]
    Io(#[from] io::Error),
    #[error("the peer's certificate cannot be used: {0}")]
    Certificate(#[from] certificate::ParseError),
    #[error("the handshake ended without a certificate or a cipher")]
    Incomplete,
}

/// An authenticated peer, the cipher agreed upon, and the stream.
pub(super) type Secured<C> = (PeerId, CipherSuite, TlsStream<C>);

#[derive(Clone)]
pub(super) struct Config {
    client: TlsConnector,
    server: TlsAcceptor,
}

impl Config {
    pub(super) fn new(keypair: &Keypair) -> Result<Self, ConfigError> {
        Self::with_suites(keypair, suites(processor_has_aes()))
    }

    fn with_suites(
        keypair: &Keypair,
        cipher_suites: Vec<SupportedCipherSuite>,
    ) -> Result<Self, ConfigError> {
        let (certificate, key) = certificate::generate(keypair)?;
        let key = CertifiedKey::new(vec![certificate], sign::any_ecdsa_type(&key)?);
        let key = Arc::new(SingleCertAndKey::from(key));
        let provider = Arc::new(CryptoProvider {
            cipher_suites,
            ..aws_lc_rs::default_provider()
        });

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Libp2pCertificate))
            .with_client_cert_resolver(Arc::clone(&key) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Libp2pCertificate))
            .with_cert_resolver(key);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});

        Ok(Self {
            client: Arc::new(client).into(),
            server: Arc::new(server).into(),
        })
    }

    pub(super) async fn connect<C>(self, socket: C) -> Result<Secured<C>, HandshakeError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        // Peers have no names; rustls asks for one all the same, and does not send it.
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        secured(self.client.connect(nobody, socket).await?.into())
    }

    pub(super) async fn accept<C>(self, socket: C) -> Result<Secured<C>, HandshakeError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        secured(self.server.accept(socket).await?.into())
    }
}

fn secured<C>(stream: TlsStream<C>) -> Result<Secured<C>, HandshakeError> {
    let (_, session) = stream.get_ref();
    let (Some([certificate]), Some(suite)) = (
        session.peer_certificates(),
        session.negotiated_cipher_suite(),
    ) else {
        return Err(HandshakeError::Incomplete);
    };
    let peer = certificate::parse(certificate)?.peer_id();
    Ok((peer, suite.suite(), stream))
}

/// In the order in which they are offered; the server takes the client's first.
fn suites(aes: bool) -> Vec<SupportedCipherSuite> {
    let mut suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    let chacha20 = cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    suites.insert(if aes { suites.len() } else { 0 }, chacha20);
    suites
}

/// Whether AES-GCM runs on instructions of its own. Without them ChaCha20 is several times faster.
fn processor_has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// Takes whoever shows one valid libp2p certificate. Who that may be is decided by the swarm, which
/// knows whom it has dialled.
#[derive(Debug)]
struct Libp2pCertificate;

impl Libp2pCertificate {
    fn verify(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            let text = "a libp2p peer shows exactly one certificate".to_owned();
            return Err(rustls::Error::General(text));
        }
        certificate::parse(end_entity).map_err(unusable)?;
        Ok(())
    }

    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)
            .map_err(unusable)?
            .verify_signature(signed.scheme, message, signed.signature())
            .map_err(|_| CertificateError::BadSignature)?;
        Ok(HandshakeSignatureValid::assertion())
    }

    /// What a certificate's own key may be. RSA is left out, as the specification recommends.
    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ]
    }
}

fn unusable(error: certificate::ParseError) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn only_tls_13() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".to_owned())
}

impl ServerCertVerifier for Libp2pCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Self::verify(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls_13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Libp2pCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Self::verify(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls_13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

#[cfg(test)]
mod tests;
