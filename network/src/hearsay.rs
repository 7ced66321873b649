//! What is dialled on the word of others.
//!
//! Whoever could name any address would have this program knock at the doors of its own network: at routers, at
//! databases, at whatever listens on the machine itself. So what strangers name is dialled only where everybody can dial, in
//! the open Internet, and never by name, for a name may lead anywhere. Addresses that the operator or the signed network
//! document names are not hearsay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol as AddrPart;

use crate::addrs::{can_be_dialled, without_peer};

/// How far an address reaches, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// This machine; and names, which may lead here as well.
    Machine,
    /// One link, one site, or nowhere.
    Site,
    /// The Internet. Addresses that stand in documentation lead nowhere and do no harm.
    Public,
}

impl Scope {
    pub(crate) fn of(addr: &Multiaddr) -> Self {
        match addr.iter().next() {
            Some(AddrPart::Ip4(ip)) => Self::of_ip(ip.into()),
            Some(AddrPart::Ip6(ip)) => Self::of_ip(ip.into()),
            _ => Self::Machine,
        }
    }

    fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        match (a, b, c) {
            (0 | 127, ..) => Self::Machine,
            _ if ip.is_private() || ip.is_link_local() => Self::Site,
            // Carriers' NAT, protocol assignments, benchmarks, multicast and what is reserved.
            (100, 64..=127, _) | (192, 0, 0) | (198, 18..=19, _) | (224.., ..) => Self::Site,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [a, b, c, ..] = ip.segments();
        match (a, b) {
            _ if ip.is_loopback() || ip.is_unspecified() => Self::Machine,
            // 6to4 carries an IPv4 address, Teredo one in disguise.
            (0x2002, _) => {
                let [[e, f], [g, h]] = [b, c].map(u16::to_be_bytes);
                Self::of_v4(Ipv4Addr::new(e, f, g, h))
            }
            (0x2001, 0) => Self::Site,
            (0x2000..=0x3fff, _) => Self::Public,
            _ => Self::Site,
        }
    }
}

/// Which addresses are dialled on the word of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hearsay {
    /// Everything that can be dialled at all: for networks on one machine or in one house.
    pub private_addresses: bool,
}

impl Hearsay {
    pub(crate) fn may_be_dialled(self, addr: &Multiaddr) -> bool {
        can_be_dialled(&without_peer(addr.clone()))
            && (self.private_addresses || Scope::of(addr) == Scope::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(ip: &str) -> Scope {
        Scope::of_ip(ip.parse().unwrap())
    }

    #[test]
    fn only_what_everybody_can_reach_is_public() {
        for ip in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "2002:7f00:1::1",
        ] {
            assert_eq!(scope(ip), Scope::Machine, "{ip}");
        }
        for ip in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a00:1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "2001::1",
            "2002:a00:1::1",
        ] {
            assert_eq!(scope(ip), Scope::Site, "{ip}");
        }
        for ip in [
            "8.8.4.4",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.2.1",
            "2606:4700::1",
            "2001:db8::1",
            "2002:808:404::1",
        ] {
            assert_eq!(scope(ip), Scope::Public, "{ip}");
        }
    }

    #[test]
    fn on_the_word_of_others_nothing_is_dialled_but_public_addresses_unless_that_is_wanted() {
        let (careful, at_home) = (
            Hearsay {
                private_addresses: false,
            },
            Hearsay {
                private_addresses: true,
            },
        );
        for (addr, public) in [
            ("/ip4/8.8.4.4/tcp/4001", true),
            ("/ip4/8.8.4.4/udp/4001/quic-v1", true),
            ("/ip4/127.0.0.1/tcp/22", false),
            ("/ip4/169.254.169.254/tcp/80", false),
            ("/ip6/fe80::1/tcp/22", false),
            ("/dns4/localhost/tcp/5432", false),
        ] {
            let addr: Multiaddr = addr.parse().unwrap();
            assert_eq!(careful.may_be_dialled(&addr), public, "{addr}");
            assert!(at_home.may_be_dialled(&addr), "{addr}");
        }
        for addr in ["/ip4/8.8.4.4/udp/53", "/ip4/8.8.4.4/tcp/0", "/memory/1"] {
            assert!(!at_home.may_be_dialled(&addr.parse().unwrap()), "{addr}");
        }
    }
}
