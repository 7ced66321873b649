//! Whose request it is, by the settings: the address that connected, or the client of a proxy that is believed.

use std::net::IpAddr;

use http::HeaderMap;

use crate::config::HttpConfig;
use rules::client_address;

const FORWARDED_FOR: &str = "x-forwarded-for";

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
