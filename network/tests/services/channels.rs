//! What secures connections, and whom that lets in.

use network::{Channel, NetworkEvent, NetworkHandle, PeerId, start};
use proto::{Heartbeat, Message, Roles, protocols};

use crate::raw_peer::{Bytes, RawPeer, Security};
use crate::support::{
    Pair, Wire, address_of, answer_all, answer_to, config, heartbeat_is_answered, listening,
    report, soon, until, until_connected,
};

const TLS: [Channel; 3] = [
    Channel::TlsAes256Gcm,
    Channel::TlsAes128Gcm,
    Channel::TlsChaCha20Poly1305,
];

fn handshakes(handle: &NetworkHandle, channels: &[Channel]) -> u64 {
    let count = |channel: &Channel| handle.handshakes().count(*channel);
    channels.iter().map(count).sum()
}

#[tokio::test]
async fn two_services_secure_their_connection_by_tls_with_the_cipher_that_suits_the_processor() {
    let pair = Pair::over(Wire::Tcp).await;
    for handle in [&pair.coordinator.handle, &pair.node.handle] {
        assert_eq!(handshakes(handle, &TLS), 1);
        assert_eq!(handshakes(handle, &Channel::ALL), 1);
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("aes") {
            assert_eq!(handshakes(handle, &[Channel::TlsAes256Gcm]), 1);
        }
    }
}

#[tokio::test]
async fn connections_over_quic_are_counted_too() {
    let pair = Pair::over(Wire::Quic).await;
    assert_eq!(handshakes(&pair.coordinator.handle, &[Channel::Quic]), 1);
    assert_eq!(handshakes(&pair.node.handle, &Channel::ALL), 1);
}

#[tokio::test]
async fn foreign_peers_that_know_one_of_tls_and_noise_are_served() {
    for (security, channels) in [
        (Security::Tls, &TLS[..]),
        (Security::Noise, &[Channel::Noise]),
    ] {
        let coordinator = listening(Wire::Tcp).await;
        let (id, addr) = (
            coordinator.handle.local_peer_id(),
            address_of(&coordinator).await,
        );
        answer_all(coordinator.requests);
        let mut foreign = RawPeer::dial_with(security, id, addr, protocols::HEARTBEAT).await;
        foreign.write(Bytes::framed(&report(7).into_frame().to_bytes()));
        let Bytes::Ended(answer) = Bytes::framed(&answer_to(&report(7)).into_frame().to_bytes())
        else {
            unreachable!()
        };
        assert_eq!(foreign.outcome().await.unwrap(), answer);
        assert_eq!(handshakes(&coordinator.handle, channels), 1);
    }
}

#[tokio::test]
async fn foreign_peers_that_know_one_of_tls_and_noise_are_dialled() {
    for (security, channels) in [
        (Security::Tls, &TLS[..]),
        (Security::Noise, &[Channel::Noise]),
    ] {
        let mut node = start(config(Roles::NODE)).await.unwrap();
        let us = node.handle.local_peer_id();
        let (foreign, addr) = RawPeer::listen_with(security, us, protocols::HEARTBEAT).await;
        let peer = foreign.id();
        let answer = answer_to(&report(42)).into_frame().to_bytes();
        foreign.answer_with(vec![Bytes::framed(&answer)]);
        node.handle.dial(peer, vec![addr]).await;
        until_connected(&mut node.events, peer).await;
        heartbeat_is_answered(&node.handle, peer).await;
        assert_eq!(handshakes(&node.handle, channels), 1);
    }
}

#[tokio::test]
async fn whoever_proves_another_identity_than_was_dialled_is_refused() {
    let mut node = start(config(Roles::NODE)).await.unwrap();
    for security in [Security::Tls, Security::Noise] {
        let us = node.handle.local_peer_id();
        let (foreign, addr) = RawPeer::listen_with(security, us, protocols::HEARTBEAT).await;
        foreign.stay();
        let wanted = PeerId::random();
        node.handle.dial(wanted, vec![addr]).await;
        let error = until(&mut node.events, |event| match event {
            NetworkEvent::DialFailed { peer, error } if *peer == wanted => Some(error.clone()),
            NetworkEvent::Connected { peer, .. } => Some(format!("connected to {peer}")),
            _ => None,
        });
        let error = error.await;
        assert!(!error.starts_with("connected"), "{error}");
        let call = node.handle.call::<Heartbeat>(wanted, report(1));
        assert!(soon(call).await.is_err());
    }
}
