//! Bounds on what costs something and needs no token: passwords tried, per address and per account,
//! registration nonces handed out, per address, and proofs that owners ask for.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::HeaderName;

use crate::domain::ids::UserId;

/// Keys that are kept before those without recent attempts are forgotten.
const KEYS: usize = 10_000;

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooManyRequests {
    pub retry_after: Duration,
    policy: &'static str,
    per_minute: u32,
}

impl TooManyRequests {
    /// `RateLimit-Policy` and `RateLimit`, as the IETF draft writes them.
    pub fn headers(&self, retry_after_seconds: u64) -> [(HeaderName, String); 2] {
        let (policy, quota) = (self.policy, self.per_minute);
        [
            (RATE_LIMIT_POLICY, format!("\"{policy}\";q={quota};w=60")),
            (
                RATE_LIMIT,
                format!("\"{policy}\";r=0;t={retry_after_seconds}"),
            ),
        ]
    }
}

/// Nonces per minute for one address: enough to set up a rack of nodes.
const NONCES: u32 = 600;

pub struct AuthLimits {
    addresses: Limit<IpAddr>,
    nonces: Limit<IpAddr>,
    accounts: Limit<[u8; 32]>,
}

impl AuthLimits {
    pub fn new(per_address: u32, per_account: u32) -> Self {
        Self {
            addresses: Limit::new("per-address", per_address),
            nonces: Limit::new("nonces", NONCES),
            accounts: Limit::new("per-account", per_account),
        }
    }

    pub fn check_address(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.addresses.check(&network_of(address))
    }

    pub fn check_nonce(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.nonces.check(&network_of(address))
    }

    pub fn check_account(&self, email: &str) -> Result<(), TooManyRequests> {
        let account = email.trim().to_lowercase();
        self.accounts
            .check(blake3::hash(account.as_bytes()).as_bytes())
    }
}

/// Whoever has an IPv6 network has 2^64 addresses in it.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

/// Requests for proofs per minute and user: each has up to 96 blobs read by their nodes.
const PROOFS: u32 = 12;

pub struct EvidenceLimits {
    users: Limit<UserId>,
}

impl EvidenceLimits {
    pub fn new() -> Self {
        Self {
            users: Limit::new("proofs", PROOFS),
        }
    }

    pub fn check(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.users.check(&user)
    }
}

struct Limit<K: Clone + std::hash::Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
    policy: &'static str,
    per_minute: u32,
}

impl<K: Clone + std::hash::Hash + Eq> Limit<K> {
    fn new(policy: &'static str, per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::keyed(quota),
            policy,
            per_minute,
        }
    }

    fn check(&self, key: &K) -> Result<(), TooManyRequests> {
        if self.limiter.len() > KEYS {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|until| TooManyRequests {
                retry_after: until.wait_time_from(DefaultClock::default().now()),
                policy: self.policy,
                per_minute: self.per_minute,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_stopped_and_another_is_not() {
        let limits = AuthLimits::new(3, 100);
        let (a, b) = (
            "203.0.113.1".parse().unwrap(),
            "203.0.113.2".parse().unwrap(),
        );
        for _ in 0..3 {
            limits.check_address(a).unwrap();
        }
        let refused = limits.check_address(a).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(60));
        limits.check_address(b).unwrap();
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limits = AuthLimits::new(1, 1);
        limits
            .check_address("2001:db8::1".parse().unwrap())
            .unwrap();
        assert!(
            limits
                .check_address("2001:db8::2".parse().unwrap())
                .is_err()
        );
    }

    #[test]
    fn an_account_is_the_same_in_any_spelling() {
        let limits = AuthLimits::new(100, 1);
        limits.check_account("A@example.com").unwrap();
        assert!(limits.check_account(" a@EXAMPLE.com").is_err());
    }
}
