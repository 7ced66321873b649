//! Which names a listener on this machine answers to.
//!
//! A page on the Internet can have its own name point to 127.0.0.1 (DNS rebinding), and a browser on this machine then sends it
//! what an admin listener answers. Such a request carries that name in `Host`: a listener on loopback answers to addresses
//! and to `localhost`, which nobody can point elsewhere, and to no other name. A listener that was opened to other machines is
//! reached under names that only its operator knows, and answers to all.

use std::net::{IpAddr, SocketAddr};

/// Whether a request with this `Host` may be answered. One without is no browser's.
pub fn answers_to(listen: SocketAddr, host: Option<&[u8]>) -> bool {
    let Some(host) = host else { return true };
    !listen.ip().is_loopback() || std::str::from_utf8(host).is_ok_and(is_own)
}

fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_loopback_answers_to_no_name_that_others_can_point_at_it() {
        let loopback: SocketAddr = "127.0.0.1:9100".parse().unwrap();
        for own in [
            "localhost",
            "LOCALHOST:9100",
            "127.0.0.1:9100",
            "[::1]:9100",
            "192.0.2.7",
        ] {
            assert!(answers_to(loopback, Some(own.as_bytes())), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9100",
            "localhost.evil.example",
            "",
            "[evil",
            "127.0.0.1.evil.example",
        ] {
            assert!(!answers_to(loopback, Some(foreign.as_bytes())), "{foreign}");
        }
        assert!(!answers_to(loopback, Some(b"\xff")));
        assert!(answers_to(loopback, None));
        let open: SocketAddr = "0.0.0.0:9100".parse().unwrap();
        assert!(answers_to(open, Some(b"coordinator:9100")));
    }
}
