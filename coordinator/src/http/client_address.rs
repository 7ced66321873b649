//! Whose request it is, by the settings: the address that connected, or the client of a proxy that is believed.

use std::net::IpAddr;

use http::HeaderMap;

use crate::config::HttpConfig;
use rules::client_address;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Whether who connects from there speaks for others.
pub(super) fn is_proxy(config: &HttpConfig, connected: IpAddr) -> bool {
    if config.trusted_proxies.is_empty() {
        return config.trust_forwarded_for;
    }
    let mut proxies = config.trusted_proxies.iter();
    proxies.any(|proxy| proxy.contains(connected))
}

pub(super) fn client_of(config: &HttpConfig, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
    let forwarded: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    if config.trusted_proxies.is_empty() {
        // One proxy, which nobody can go round: what it has added is the last entry.
        let last = forwarded.last().filter(|_| config.trust_forwarded_for);
        return client_address::client_of(connected, last.copied().into_iter(), |_| true);
    }
    client_address::client_of(connected, forwarded.into_iter(), |address| {
        is_proxy(config, address)
    })
}

/// Whether what a client sends may have gone over a wire in the clear: it comes from another machine, and no proxy that is
/// believed says that it came over TLS.
pub(super) fn is_cleartext(config: &HttpConfig, connected: IpAddr, headers: &HeaderMap) -> bool {
    !client_of(config, connected, headers).is_loopback()
        && !came_over_tls(config, connected, headers)
}

/// Whether a proxy that is believed says that its client spoke TLS. The last proxy's word is the last one.
pub(super) fn came_over_tls(config: &HttpConfig, connected: IpAddr, headers: &HeaderMap) -> bool {
    let last = headers.get_all(FORWARDED_PROTO).iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
    let says_tls = last.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
    says_tls && is_proxy(config, connected)
}
