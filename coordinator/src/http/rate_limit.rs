//! Bounds on what costs something and needs no token: passwords tried, per address and per account,
//! registration nonces handed out, per address, and proofs that owners ask for.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use api::headers;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DefaultKeyedStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use http::HeaderName;

use model::ids::UserId;
use rules::client_address::network_of;

/// Keys that have a bucket of their own, of each limit. When there are so many, those without recent
/// attempts are forgotten, and newcomers share a bucket.
const KEYS: usize = 10_000;

/// Time between two looks for keys to forget.
const PRUNING: Duration = Duration::from_secs(1);

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
pub(super) const RATE_LIMIT_POLICY: HeaderName =
    HeaderName::from_static(headers::RATE_LIMIT_POLICY);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooManyRequests {
    pub retry_after: Duration,
    policy: &'static str,
    per_minute: u32,
}

impl TooManyRequests {
    /// `RateLimit-Policy` and `RateLimit`, as the IETF draft writes them.
    pub(super) fn headers(&self, retry_after_seconds: u64) -> [(HeaderName, String); 2] {
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

pub(super) struct AuthLimits {
    addresses: Limit<IpAddr>,
    nonces: Limit<IpAddr>,
    accounts: Limit<[u8; 32]>,
}

impl AuthLimits {
    pub(super) fn new(per_address: u32, per_account: u32) -> Self {
        Self {
            addresses: Limit::new("per-address", per_address),
            nonces: Limit::new("nonces", NONCES),
            accounts: Limit::new("per-account", per_account),
        }
    }

    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.addresses.check(&network_of(address))
    }

    pub(super) fn check_nonce(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.nonces.check(&network_of(address))
    }

    pub(super) fn check_account(&self, email: &str) -> Result<(), TooManyRequests> {
        let account = email.trim().to_lowercase();
        self.accounts
            .check(blake3::hash(account.as_bytes()).as_bytes())
    }
}

/// Requests for proofs per minute and user: each has up to 96 blobs read by their nodes.
const PROOFS: u32 = 12;

pub(super) struct EvidenceLimits {
    users: Limit<UserId>,
}

impl EvidenceLimits {
    pub(super) fn new() -> Self {
        Self {
            users: Limit::new("proofs", PROOFS),
        }
    }

    pub(super) fn check(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.users.check(&user)
    }
}

struct Limit<K: Clone + Hash + Eq, C: Clock = DefaultClock> {
    limiter: RateLimiter<K, Buckets<K>, C, NoOpMiddleware<C::Instant>>,
    pruned_at: Mutex<Option<C::Instant>>,
    policy: &'static str,
    per_minute: u32,
}

impl<K: Clone + Hash + Eq> Limit<K> {
    fn new(policy: &'static str, per_minute: u32) -> Self {
        Self::with_clock(policy, per_minute, DefaultClock::default())
    }
}

impl<K: Clone + Hash + Eq, C: Clock> Limit<K, C> {
    fn with_clock(policy: &'static str, per_minute: u32, clock: C) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let buckets = Buckets {
            own: DefaultKeyedStateStore::default(),
            shared: InMemoryState::default(),
        };
        Self {
            limiter: RateLimiter::new(quota, buckets, clock),
            pruned_at: Mutex::new(None),
            policy,
            per_minute,
        }
    }

    fn check(&self, key: &K) -> Result<(), TooManyRequests> {
        if self.limiter.len() >= KEYS && self.is_time_to_prune() {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|until| TooManyRequests {
                retry_after: until.wait_time_from(self.limiter.clock().now()),
                policy: self.policy,
                per_minute: self.per_minute,
            })
    }

    /// Pruning looks at every key.
    fn is_time_to_prune(&self) -> bool {
        let now = self.limiter.clock().now();
        let mut pruned_at = self
            .pruned_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lately = pruned_at.is_some_and(|at| now.duration_since(at) < Nanos::from(PRUNING));
        if !lately {
            *pruned_at = Some(now);
        }
        !lately
    }
}

/// A bucket for each key, and one that newcomers share while there are too many keys: whoever has many
/// networks could fill the memory otherwise.
struct Buckets<K: Clone + Hash + Eq> {
    own: DefaultKeyedStateStore<K>,
    shared: InMemoryState,
}

impl<K: Clone + Hash + Eq> StateStore for Buckets<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if self.own.contains_key(key) || self.own.len() < KEYS {
            self.own.measure_and_replace(key, decide)
        } else {
            self.shared.measure_and_replace(&NotKeyed::NonKey, decide)
        }
    }
}

impl<K: Clone + Hash + Eq> ShrinkableKeyedStateStore<K> for Buckets<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.retain_recent(drop_below);
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

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

    fn full(per_minute: u32) -> (Limit<usize, FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limit = Limit::with_clock("test", per_minute, clock.clone());
        for key in 0..KEYS {
            limit.check(&key).unwrap();
        }
        (limit, clock)
    }

    #[test]
    fn newcomers_share_a_bucket_while_there_are_too_many_keys() {
        let (limit, clock) = full(2);
        for newcomer in [KEYS, KEYS + 1] {
            limit.check(&newcomer).unwrap();
        }
        limit.check(&(KEYS + 2)).unwrap_err();
        limit.check(&0).unwrap();
        limit.check(&0).unwrap_err();
        assert_eq!(limit.limiter.len(), KEYS);
        clock.advance(Duration::from_secs(180));
        limit.check(&(KEYS + 2)).unwrap();
        assert_eq!(limit.limiter.len(), 1);
    }

    #[test]
    fn keys_to_forget_are_looked_for_at_most_once_a_second() {
        let (limit, clock) = full(120);
        let kept_after = |milliseconds: u64| {
            clock.advance(Duration::from_millis(milliseconds));
            limit.check(&KEYS).unwrap();
            limit.limiter.len()
        };
        // One that made an attempt at the beginning could be forgotten after 1000 ms.
        assert_eq!(kept_after(900), KEYS);
        assert_eq!(kept_after(600), KEYS);
        assert_eq!(kept_after(400), 1);
    }
}
