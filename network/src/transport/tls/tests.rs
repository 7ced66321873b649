//! Handshakes with honest and hostile peers, over real sockets.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, date_time_ymd};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};

use super::*;

type Socket = libp2p::tcp::tokio::TcpStream;

/// Two ends of one connection.
async fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (
        libp2p::tcp::tokio::TcpStream(near.unwrap()),
        libp2p::tcp::tokio::TcpStream(far.unwrap().0),
    )
}

fn ours(aes: bool) -> (PeerId, Config) {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    (peer, Config::with_suites(&keypair, suites(aes)).unwrap())
}

/// What was agreed upon when `client` and `server` met.
async fn agreed(client: Config, server: Config) -> CipherSuite {
    let (near, far) = sockets().await;
    let (connected, accepted) = tokio::join!(client.connect(near), server.accept(far));
    let ((_, suite, _), (_, same, _)) = (connected.unwrap(), accepted.unwrap());
    assert_eq!(suite, same);
    suite
}

#[tokio::test]
async fn the_cipher_is_what_suits_the_processor_of_whoever_dials() {
    const AES: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
    const CHACHA20: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    for (client, server, wanted) in [
        (true, true, AES),
        (true, false, AES),
        (false, true, CHACHA20),
        (false, false, CHACHA20),
    ] {
        assert_eq!(agreed(ours(client).1, ours(server).1).await, wanted);
    }
}

/// Sends a byte each way.
async fn they_talk(
    mut one: impl AsyncRead + AsyncWrite + Unpin,
    mut other: impl AsyncRead + AsyncWrite + Unpin,
) {
    let mut byte = [0];
    one.write_all(b"1").await.unwrap();
    one.flush().await.unwrap();
    other.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"1");
    other.write_all(b"2").await.unwrap();
    other.flush().await.unwrap();
    one.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"2");
}

#[tokio::test]
async fn the_tls_of_libp2p_itself_is_understood_in_both_directions() {
    let keypair = Keypair::generate_ed25519();
    let stock = libp2p::tls::Config::new(&keypair).unwrap();
    let (our_id, config) = ours(true);

    let (near, far) = sockets().await;
    let theirs = stock.clone().upgrade_inbound(far, PROTOCOL);
    let (connected, accepted) = tokio::join!(config.clone().connect(near), theirs);
    let ((peer, suite, near), (seen, far)) = (connected.unwrap(), accepted.unwrap());
    assert_eq!((peer, seen), (keypair.public().to_peer_id(), our_id));
    assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
    they_talk(near, far).await;

    let (near, far) = sockets().await;
    let theirs = stock.upgrade_outbound(far, PROTOCOL);
    let (accepted, connected) = tokio::join!(config.accept(near), theirs);
    let ((peer, suite, near), (seen, far)) = (accepted.unwrap(), connected.unwrap());
    assert_eq!((peer, seen), (keypair.public().to_peer_id(), our_id));
    assert_eq!(suite, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    they_talk(near, far).await;
}

/// A peer that shows what it likes, and takes any certificate.
#[derive(Clone)]
struct Foreign {
    client: TlsConnector,
    server: TlsAcceptor,
}

/// Accepts every certificate of a libp2p peer in both versions of TLS.
#[derive(Debug)]
struct Anyone;

impl Foreign {
    fn showing(key: CertifiedKey) -> Self {
        Self::speaking(&[&TLS13], key)
    }

    fn speaking(versions: &[&'static SupportedProtocolVersion], key: CertifiedKey) -> Self {
        let key = Arc::new(SingleCertAndKey::from(key));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_client_cert_resolver(Arc::clone(&key) as _);
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(Anyone))
            .with_cert_resolver(key);
        Self {
            client: Arc::new(client).into(),
            server: Arc::new(server).into(),
        }
    }

    /// Whether we let it in when it dials us, and when we dial it.
    async fn is_let_in(&self) -> [bool; 2] {
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let (_, config) = ours(true);
        let (near, far) = sockets().await;
        let dialled = self.client.connect(nobody, far);
        let (dialled_us, _) = tokio::join!(config.clone().accept(near), dialled);
        let (near, far) = sockets().await;
        let (we_dialled, _) = tokio::join!(config.connect(near), self.server.accept(far));
        [dialled_us.is_ok(), we_dialled.is_ok()]
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Libp2pCertificate::schemes()
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Libp2pCertificate::schemes()
    }
}

/// A certificate in the making.
struct Draft {
    key: KeyPair,
    params: CertificateParams,
}

const LIBP2P_EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];

impl Draft {
    fn bare() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Self {
            key: KeyPair::generate().unwrap(),
            params,
        }
    }

    /// With the extension that it should have.
    fn honest() -> Self {
        let mut draft = Self::bare();
        let vouched = vouch(&draft.key);
        draft.extend(&vouched);
        draft
    }

    fn extend(&mut self, (public_key, signature): &(Vec<u8>, Vec<u8>)) {
        // SEQUENCE { OCTET STRING, OCTET STRING }, all of them shorter than 128 bytes
        let string = |bytes: &[u8]| [&[0x04, bytes.len() as u8], bytes].concat();
        let content = [string(public_key), string(signature)].concat();
        let content = [&[0x30, content.len() as u8][..], &content].concat();
        self.add(&LIBP2P_EXTENSION, content);
    }

    fn add(&mut self, id: &[u64], content: Vec<u8>) {
        let mut extension = CustomExtension::from_oid_content(id, content);
        extension.set_criticality(true);
        self.params.custom_extensions.push(extension);
    }

    fn sign(self) -> (CertificateDer<'static>, KeyPair) {
        let certificate = self.params.self_signed(&self.key).unwrap();
        (certificate.der().clone(), self.key)
    }

    fn certified(self) -> CertifiedKey {
        let (certificate, key) = self.sign();
        certified(vec![certificate], &key)
    }
}

/// A new identity's public key, and its signature for this key.
fn vouch(key: &KeyPair) -> (Vec<u8>, Vec<u8>) {
    let identity = Keypair::generate_ed25519();
    let message = [b"libp2p-tls-handshake:", &key.public_key_der()[..]].concat();
    let signature = identity.sign(&message).unwrap();
    (identity.public().encode_protobuf(), signature)
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> CertifiedKey {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    CertifiedKey::new(chain, sign::any_ecdsa_type(&key).unwrap())
}

#[tokio::test]
async fn an_honest_certificate_of_a_foreign_make_is_taken() {
    let foreign = Foreign::showing(Draft::honest().certified());
    assert_eq!(foreign.is_let_in().await, [true, true]);
}

#[tokio::test]
async fn a_certificate_that_breaks_a_rule_is_refused_whoever_dials() {
    let mut expired = Draft::honest();
    expired.params.not_after = date_time_ymd(2020, 1, 1);
    let mut not_yet_valid = Draft::honest();
    not_yet_valid.params.not_before = date_time_ymd(4000, 1, 1);
    let mut unknown_extension = Draft::honest();
    unknown_extension.add(&[1, 3, 6, 1, 4, 1, 53594, 9, 9], vec![0x05, 0x00]);
    let mut twice = Draft::honest();
    let vouched = vouch(&twice.key);
    twice.extend(&vouched);
    let mut for_another_key = Draft::bare();
    for_another_key.extend(&vouch(&KeyPair::generate().unwrap()));
    let mut altered_vouching = Draft::bare();
    let (public_key, mut signature) = vouch(&altered_vouching.key);
    signature[17] ^= 1;
    altered_vouching.extend(&(public_key, signature));
    let mut not_der = Draft::bare();
    not_der.add(&LIBP2P_EXTENSION, b"no sequence".to_vec());

    let (altered, altered_key) = Draft::honest().sign();
    let mut altered = altered.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let (stolen, _) = Draft::honest().sign();
    let (first, chain_key) = Draft::honest().sign();
    let (second, _) = Draft::honest().sign();
    let thief = KeyPair::generate().unwrap();

    for (what, shown) in [
        ("has expired", expired.certified()),
        ("is not valid yet", not_yet_valid.certified()),
        ("has no libp2p extension", Draft::bare().certified()),
        (
            "has a critical extension of unknown meaning",
            unknown_extension.certified(),
        ),
        ("has the libp2p extension twice", twice.certified()),
        (
            "has the extension of another certificate",
            for_another_key.certified(),
        ),
        (
            "has an altered signature in the extension",
            altered_vouching.certified(),
        ),
        ("has an extension that is no DER", not_der.certified()),
        (
            "has an altered signature",
            certified(vec![altered.into()], &altered_key),
        ),
        ("belongs to someone else", certified(vec![stolen], &thief)),
        (
            "is followed by another",
            certified(vec![first, second], &chain_key),
        ),
        (
            "is no certificate",
            certified(vec![vec![0x30, 0x00].into()], &thief),
        ),
    ] {
        let let_in = Foreign::showing(shown).is_let_in().await;
        assert_eq!(let_in, [false, false], "a certificate that {what}");
    }
}

#[tokio::test]
async fn a_peer_that_shows_no_certificate_is_refused() {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let anonymous = TlsConnector::from(Arc::new(client));
    let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
    let (near, far) = sockets().await;
    let dialled = anonymous.connect(nobody, far);
    let (accepted, _) = tokio::join!(ours(true).1.accept(near), dialled);
    assert!(accepted.is_err());
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let old = Foreign::speaking(&[&TLS12], Draft::honest().certified());
    assert_eq!(old.is_let_in().await, [false, false]);
}

#[tokio::test]
async fn a_session_is_never_resumed() {
    let foreign = Foreign::showing(Draft::honest().certified());
    let (_, config) = ours(true);
    // rustls keeps what a server gives for resumption, and uses it at the next connection.
    for _ in 0..2 {
        let nobody = ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into());
        let (near, far) = sockets().await;
        let dialled = foreign.client.connect(nobody, far);
        let (accepted, connected) = tokio::join!(config.clone().accept(near), dialled);
        let (connected, (_, _, accepted)) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(
            connected.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        they_talk(accepted, connected).await;
    }
    for _ in 0..2 {
        let (near, far) = sockets().await;
        let (connected, accepted) =
            tokio::join!(config.clone().connect(near), foreign.server.accept(far));
        let ((_, _, connected), accepted) = (connected.unwrap(), accepted.unwrap());
        assert_eq!(
            accepted.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        they_talk(accepted, connected).await;
    }
}

#[test]
fn no_tampered_certificate_makes_somebody_else_of_a_peer() {
    let mut peers = Vec::new();
    let mut sound = Vec::new();
    for _ in 0..3 {
        let keypair = Keypair::generate_ed25519();
        peers.push(keypair.public().to_peer_id());
        let (shown, _) = certificate::generate(&keypair).unwrap();
        sound.push(shown.to_vec());
    }
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    hostile::attack(crate_dir, "certificates", sound, |bytes| {
        let shown = CertificateDer::from(bytes.to_vec());
        if Libp2pCertificate::verify(&shown, &[]).is_ok() {
            let read = certificate::parse(&shown).unwrap();
            assert!(peers.contains(&read.peer_id()));
        }
    });
}
