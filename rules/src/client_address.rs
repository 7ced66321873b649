//! Whose request it is: the address that connected, or, through a proxy that is trusted, the one it was sent from.
//!
//! A proxy appends the address of whoever connected to it to `X-Forwarded-For`; what stands before that, anybody can
//! have written. So the list is read from its end, past proxies that are trusted, up to the first that is not.

use std::net::IpAddr;

/// Addresses that count as one. Whoever has an IPv6 network has 2^64 addresses in it.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// The client, when `connected` is trusted to tell: the last of the forwarded addresses that is not a trusted proxy's
/// own. Entries that are no addresses end the search: nothing before them can be told apart from what was made up.
pub fn client_of<'a>(
    connected: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = connected;
    for entry in forwarded.rev() {
        if !is_trusted(client) {
            break;
        }
        match parse(entry) {
            Some(address) => client = address,
            None => break,
        }
    }
    client.to_canonical()
}

/// An address, as some proxies write it: in brackets, with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    if let Ok(address) = entry.parse() {
        return Some(address);
    }
    if let Ok(socket) = entry.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(connected: &str, forwarded: &str) -> String {
        let proxies: [IpAddr; 2] = [PROXY.parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let entries = forwarded.split(',').filter(|entry| !entry.is_empty());
        let is_trusted = |address: IpAddr| proxies.contains(&address.to_canonical());
        client_of(connected.parse().unwrap(), entries, is_trusted).to_string()
    }

    #[test]
    fn a_stranger_may_write_what_he_likes_and_is_himself() {
        assert_eq!(client("203.0.113.7", "198.51.100.1"), "203.0.113.7");
        assert_eq!(client("203.0.113.7", ""), "203.0.113.7");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_what_its_client_wrote_is_not() {
        assert_eq!(client(PROXY, "198.51.100.1"), "198.51.100.1");
        assert_eq!(client(PROXY, "192.0.2.9, 198.51.100.1"), "198.51.100.1");
        assert_eq!(client(PROXY, ""), PROXY);
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_followed_to_its_client() {
        assert_eq!(
            client(PROXY, "192.0.2.9, 198.51.100.1, 10.0.0.2"),
            "198.51.100.1"
        );
        assert_eq!(client("::ffff:10.0.0.1", "198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(client(PROXY, "198.51.100.1, unknown"), PROXY);
        assert_eq!(client(PROXY, "198.51.100.1:4711"), "198.51.100.1");
        assert_eq!(client(PROXY, "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(client(PROXY, "[2001:db8::1]"), "2001:db8::1");
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("203.0.113.1"), of("203.0.113.2"));
        assert_eq!(of("::ffff:203.0.113.1"), of("203.0.113.1"));
    }
}
