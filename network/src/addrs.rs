//! Multiaddresses, and peers written together with one.

use std::fmt;
use std::str::FromStr;

use libp2p::multiaddr::Protocol as AddrPart;
use libp2p::{Multiaddr, PeerId};

/// A peer to stay connected to, and where it was last known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub peer_id: PeerId,
    pub addrs: Vec<Multiaddr>,
    /// The peer never dials us to stay: connections that it opens are probes, and replace none of ours.
    pub answers_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither `peer_id@multiaddr` nor a multiaddr that ends in /p2p/peer_id: {reason}"
)]
pub struct ParseTargetError {
    text: String,
    reason: String,
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let failed = |reason: String| ParseTargetError {
            text: text.to_owned(),
            reason,
        };
        let (peer_id, addr) = match text.split_once('@') {
            Some((peer_id, addr)) => {
                let peer_id = peer_id.parse();
                let addr = addr.parse::<Multiaddr>();
                (
                    peer_id.map_err(|error| failed(format!("the peer id: {error}")))?,
                    addr.map_err(|error| failed(format!("the address: {error}")))?,
                )
            }
            None => {
                let mut addr: Multiaddr =
                    text.parse().map_err(|error| failed(format!("{error}")))?;
                match addr.pop() {
                    Some(AddrPart::P2p(peer_id)) => (peer_id, addr),
                    _ => return Err(failed("it names no peer".into())),
                }
            }
        };
        if !can_be_dialled(&addr) {
            return Err(failed(
                "the address is not like /ip4/192.0.2.1/tcp/4001, /dns/example.org/tcp/4001 or \
                 /ip4/192.0.2.1/udp/4001/quic-v1"
                    .into(),
            ));
        }
        Ok(Self {
            peer_id,
            addrs: vec![addr],
            answers_only: false,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer_id)?;
        self.addrs.iter().try_for_each(|addr| write!(f, "@{addr}"))
    }
}

/// Whether the transports know what to do with it: a place, and TCP or QUIC, with a port.
pub fn can_be_dialled(addr: &Multiaddr) -> bool {
    let parts: Vec<AddrPart<'_>> = addr.iter().collect();
    let place = matches!(
        parts.first(),
        Some(
            AddrPart::Ip4(_)
                | AddrPart::Ip6(_)
                | AddrPart::Dns(_)
                | AddrPart::Dns4(_)
                | AddrPart::Dns6(_)
        )
    );
    let way = matches!(
        parts.get(1..),
        Some([AddrPart::Tcp(1..)] | [AddrPart::Udp(1..), AddrPart::QuicV1])
    );
    place && way
}

/// The address without a `/p2p/…` at its end.
pub(crate) fn without_peer(mut addr: Multiaddr) -> Multiaddr {
    if let Some(AddrPart::P2p(_)) = addr.iter().last() {
        addr.pop();
    }
    addr
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn a_target_is_read_in_both_forms() {
        for place in [
            "/ip4/10.0.0.1/tcp/4001",
            "/ip6/::1/udp/4001/quic-v1",
            "/dns/storage.example.org/tcp/4001",
        ] {
            let at: Target = format!("{PEER}@{place}").parse().unwrap();
            let p2p: Target = format!("{place}/p2p/{PEER}").parse().unwrap();
            assert_eq!(at, p2p);
            assert_eq!(at.addrs[0].to_string(), place);
            assert_eq!(at.to_string(), format!("{PEER}@{place}"));
        }
    }

    #[test]
    fn a_target_that_cannot_be_dialled_is_refused_with_the_text_and_the_reason() {
        let wrong = [
            ("/ip4/10.0.0.1/tcp/4001", "names no peer"),
            ("nobody@/ip4/10.0.0.1/tcp/4001", "peer id"),
            (&format!("{PEER}@10.0.0.1:4001"), "address"),
            (&format!("{PEER}@/ip4/10.0.0.1"), "not like"),
            (&format!("{PEER}@/ip4/10.0.0.1/tcp/0"), "not like"),
            (&format!("{PEER}@/ip4/10.0.0.1/udp/1"), "not like"),
            (&format!("{PEER}@/memory/1"), "not like"),
            ("", ""),
        ];
        for (text, reason) in wrong {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            let _ = text.parse::<Target>();
            let _ = format!("{PEER}@{text}").parse::<Target>();
        }
    }

    #[test]
    fn addresses_of_strangers_are_read_or_refused() {
        let sound = [
            "/ip4/192.0.2.1/tcp/4001",
            "/dns4/example.org/udp/4001/quic-v1/p2p/12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB",
            "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB@/ip6/::1/tcp/1",
        ];
        let sound: Vec<Vec<u8>> = sound.map(|text| text.as_bytes().to_vec()).into();
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        hostile::attack(crate_dir, "addresses", sound, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(target) = text.parse::<Target>() {
                assert!(target.addrs.iter().all(can_be_dialled));
                assert_eq!(target.to_string().parse(), Ok(target));
            }
            if let Ok(addr) = Multiaddr::try_from(bytes.to_vec()) {
                let _ = (
                    can_be_dialled(&addr),
                    crate::hearsay::Scope::of(&addr),
                    without_peer(addr.clone()),
                );
            }
        });
    }
}
