//! Where connections come from, as far as one person can have it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol as AddrPart;

/// Whoever has one IPv6 address has a /64 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AddressBlock {
    V4(Ipv4Addr),
    V6Prefix(Ipv6Addr),
}

impl AddressBlock {
    pub(crate) fn of(addr: &Multiaddr) -> Option<Self> {
        addr.iter().find_map(|part| match part {
            AddrPart::Ip4(ip) => Some(Self::of_ip(ip.into())),
            AddrPart::Ip6(ip) => Some(Self::of_ip(ip.into())),
            _ => None,
        })
    }

    pub(crate) fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let prefix = u128::from(ip) >> 64 << 64;
                Self::V6Prefix(Ipv6Addr::from(prefix))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_the_same_in_both_notations_and_an_ipv6_network_is_one() {
        let of = |addr: &str| AddressBlock::of(&addr.parse().unwrap());
        assert_eq!(
            of("/ip4/192.0.2.1/tcp/1"),
            of("/ip6/::ffff:192.0.2.1/udp/2")
        );
        assert_eq!(
            of("/ip6/2001:db8::1/tcp/1"),
            of("/ip6/2001:db8::ffff:1/tcp/1")
        );
        assert_ne!(
            of("/ip6/2001:db8::1/tcp/1"),
            of("/ip6/2001:db8:0:1::1/tcp/1")
        );
        assert_eq!(of("/dns4/example.org/tcp/1"), None);
    }
}
