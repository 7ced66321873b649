//! Bounds on what costs something and needs no token, per address: passwords tried, refresh tokens exchanged,
//! registration nonces. And on what one account makes, per account.
//!
//! Nobody can fill a table here, and nobody can use up what another has: a limit is a fixed number of cells, and a key
//! has two of them, which only the coordinator can tell. An attempt counts in both and is refused when both are
//! empty. Whoever has a million networks empties cells by trying as often from each; that he *has* them does nothing.
//! Rejected: a table of keys, which has to be bounded, and then newcomers share what is left.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use api::headers;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};
use http::HeaderName;
use kit::Entropy;
use model::names::Email;
use proto::NodeId;
use rand::Rng;

use crate::config::{AuthConfig, UploadsConfig};
use model::ids::UserId;
use rules::client_address::network_of;

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static(headers::RATE_LIMIT);
pub(super) const RATE_LIMIT_POLICY: HeaderName =
    HeaderName::from_static(headers::RATE_LIMIT_POLICY);

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooManyRequests {
    pub retry_after: Duration,
    policy: Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    name: &'static str,
    quota: u32,
    window: Duration,
}

impl TooManyRequests {
    /// `RateLimit-Policy` and `RateLimit`, as the IETF draft writes them.
    pub(super) fn headers(&self, retry_after_seconds: u64) -> [(HeaderName, String); 2] {
        let Policy {
            name,
            quota,
            window,
        } = self.policy;
        let window = window.as_secs();
        [
            (
                RATE_LIMIT_POLICY,
                format!("\"{name}\";q={quota};w={window}"),
            ),
            (
                RATE_LIMIT,
                format!("\"{name}\";r=0;t={retry_after_seconds}"),
            ),
        ]
    }
}

/// Nonces per minute for one address: enough to set up a rack of nodes.
const NONCES: u32 = 600;

/// What an attempt beyond `auth.requests_per_account` counts for its address.
const COST_BEYOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// For one hash of a password there may be so many exchanges of a refresh token, which costs less.
const REFRESHES: u32 = 5;

pub(super) struct AuthLimits {
    addresses: Limit,
    refreshes: Limit,
    nonces: Limit,
    accounts: Limit,
}

/// An attempt to log in that may be made.
pub(super) struct Attempt {
    /// That the account was tried too often from this address: what a wrong password is answered with.
    pub beyond: Option<TooManyRequests>,
}

/// The network that an address counts for, as bytes.
fn network_key(address: IpAddr) -> [u8; 16] {
    match network_of(address) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl AuthLimits {
    pub(super) fn new(config: &AuthConfig, entropy: &Entropy) -> Self {
        let per_address = config.requests_per_address;
        let refreshes = per_address.saturating_mul(REFRESHES);
        let per_minute = |name, quota| Limit::new(name, quota, MINUTE, entropy);
        Self {
            addresses: per_minute("per-address", per_address),
            refreshes: per_minute("refreshes", refreshes),
            nonces: per_minute("nonces", NONCES),
            accounts: per_minute("per-account", config.requests_per_account),
        }
    }

    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.addresses.check(&[&network_key(address)])
    }

    pub(super) fn check_refresh(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.refreshes.check(&[&network_key(address)])
    }

    pub(super) fn check_nonce(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.nonces.check(&[&network_key(address)])
    }

    /// Who tries passwords of one account from one address is slowed down and told so, but the right one is let in:
    /// nobody is kept from his account by what somebody else tries, not even by one behind the same router, as long
    /// as the address has attempts left. From a /24 in place of the address, a neighbour could use them up.
    pub(super) fn check_login(
        &self,
        address: IpAddr,
        email: &str,
    ) -> Result<Attempt, TooManyRequests> {
        let network = network_key(address);
        let account = match Email::try_from(email.to_owned()) {
            Ok(email) => email.form(),
            Err(_) => email.to_owned(), // nobody's
        };
        let beyond = self.accounts.check(&[&network, account.as_bytes()]).err();
        let cost = match beyond {
            Some(_) => COST_BEYOND,
            None => NonZeroU32::MIN,
        };
        self.addresses.check_n(&[&network], cost)?;
        Ok(Attempt { beyond })
    }
}

/// Requests for proofs per minute and user: each has up to 96 blobs read by their nodes.
const PROOFS: u32 = 12;

/// Admission tokens that one user makes in a minute, and purchases.
const NODE_TOKENS: u32 = 60;
const PURCHASES: u32 = 60;

/// Payouts of one node in an hour, and drains that are called off: each leaves rows for ever.
const PAYOUTS: u32 = 60;
const DRAINS: u32 = 12;

/// Questions of one user about whom he is paid to in an hour: the provider is asked each time.
const DESTINATIONS: u32 = 60;

/// How quickly one account, or one node, makes what stays.
pub(super) struct AccountLimits {
    proofs: Limit,
    node_tokens: Limit,
    purchases: Limit,
    sessions: Limit,
    payouts: Limit,
    drains: Limit,
    destinations: Limit,
}

impl AccountLimits {
    pub(super) fn new(uploads: &UploadsConfig, purchases_per_day: u32, entropy: &Entropy) -> Self {
        let limit = |name, quota, window| Limit::new(name, quota, window, entropy);
        // Who may buy more often in a day than is usual may do so at once, too.
        let purchases = PURCHASES.max(purchases_per_day / 100);
        Self {
            proofs: limit("proofs", PROOFS, MINUTE),
            node_tokens: limit("node-tokens", NODE_TOKENS, MINUTE),
            purchases: limit("purchases", purchases, MINUTE),
            sessions: limit("uploads", uploads.sessions_per_minute, MINUTE),
            payouts: limit("payouts", PAYOUTS, HOUR),
            drains: limit("drains", DRAINS, HOUR),
            destinations: limit("payout-destination", DESTINATIONS, HOUR),
        }
    }

    pub(super) fn check_proof(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.proofs.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_node_token(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.node_tokens.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_purchase(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.purchases.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_session(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.sessions.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_payout(&self, node: NodeId) -> Result<(), TooManyRequests> {
        self.payouts.check(&[node.as_uuid().as_bytes()])
    }

    pub(super) fn check_destination(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.destinations.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_drain(&self, node: NodeId) -> Result<(), TooManyRequests> {
        self.drains.check(&[node.as_uuid().as_bytes()])
    }
}

struct Limit<C: Clock = DefaultClock> {
    limiter: RateLimiter<[usize; 2], Cells, C, NoOpMiddleware<C::Instant>>,
    /// Without it anybody could tell which keys share a cell.
    secret: [u8; 32],
    policy: Policy,
}

impl Limit {
    fn new(name: &'static str, quota: u32, window: Duration, entropy: &Entropy) -> Self {
        let policy = Policy {
            name,
            quota,
            window,
        };
        Self::with_clock(policy, DefaultClock::default(), entropy)
    }
}

impl<C: Clock> Limit<C> {
    fn with_clock(policy: Policy, clock: C, entropy: &Entropy) -> Self {
        let burst = NonZeroU32::new(policy.quota).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(policy.window / burst.get())
            .unwrap_or(Quota::per_second(NonZeroU32::MAX))
            .allow_burst(burst);
        let mut secret = [0; 32];
        entropy.rng().fill_bytes(&mut secret);
        Self {
            limiter: RateLimiter::new(quota, Cells::new(), clock),
            secret,
            policy,
        }
    }

    fn check(&self, key: &[&[u8]]) -> Result<(), TooManyRequests> {
        self.check_n(key, NonZeroU32::MIN)
    }

    /// As so many attempts at once; as many as there can be, if that is less.
    fn check_n(&self, key: &[&[u8]], cost: NonZeroU32) -> Result<(), TooManyRequests> {
        let cells = self.cells(key);
        let checked = self.limiter.check_key_n(&cells, cost);
        let checked = checked.unwrap_or_else(|_| self.limiter.check_key(&cells));
        checked.map_err(|until| self.refusal(&until))
    }

    fn refusal(&self, until: &NotUntil<C::Instant>) -> TooManyRequests {
        TooManyRequests {
            retry_after: until.wait_time_from(self.limiter.clock().now()),
            policy: self.policy,
        }
    }

    /// One in each half.
    fn cells(&self, key: &[&[u8]]) -> [usize; 2] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for part in key {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        let [a, b, c, d, ..] = *hash.as_bytes();
        [
            usize::from(u16::from_le_bytes([a, b])),
            HALF + usize::from(u16::from_le_bytes([c, d])),
        ]
    }
}

/// Cells in each half of a limit.
const HALF: usize = 1 << 16;

/// 1 MiB, however many keys there are.
struct Cells(Box<[InMemoryState]>);

impl Cells {
    fn new() -> Self {
        Self((0..2 * HALF).map(|_| InMemoryState::default()).collect())
    }
}

impl StateStore for Cells {
    type Key = [usize; 2];

    fn measure_and_replace<T, F, E>(&self, key: &Self::Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let [first, second] =
            key.map(|cell| self.0[cell].measure_and_replace(&NotKeyed::NonKey, &decide));
        first.or(second)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limit(quota: u32) -> (Limit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let policy = Policy {
            name: "test",
            quota,
            window: MINUTE,
        };
        let limit = Limit::with_clock(policy, clock.clone(), &Entropy::seeded(1));
        (limit, clock)
    }

    fn limits(per_address: u32, per_account: u32) -> AuthLimits {
        let config = AuthConfig {
            access_token_ttl: MINUTE,
            refresh_token_ttl: HOUR,
            requests_per_address: per_address,
            requests_per_account: per_account,
            accounts_per_network: 1,
            logins_per_account: 1,
        };
        AuthLimits::new(&config, &Entropy::seeded(1))
    }

    #[test]
    fn one_address_is_stopped_and_another_is_not() {
        let limits = limits(3, 100);
        for _ in 0..3 {
            limits.check_address(address("203.0.113.1")).unwrap();
        }
        let refused = limits.check_address(address("203.0.113.1")).unwrap_err();
        assert!(refused.retry_after <= MINUTE);
        limits.check_address(address("203.0.113.2")).unwrap();
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let limits = limits(1, 1);
        limits.check_address(address("2001:db8::1")).unwrap();
        limits.check_address(address("2001:db8::2")).unwrap_err();
        limits.check_address(address("2001:db8:0:1::2")).unwrap();
    }

    #[test]
    fn an_account_is_the_same_in_any_spelling_and_not_from_any_address() {
        let limits = limits(100, 1);
        let is_beyond = |from: &str, email: &str| {
            let attempt = limits.check_login(address(from), email).unwrap();
            attempt.beyond.is_some()
        };
        assert!(!is_beyond("203.0.113.1", "Ä@example.com"));
        assert!(is_beyond("203.0.113.1", " ä@EXAMPLE.com"));
        assert!(!is_beyond("203.0.113.2", "ä@example.com"));
        assert!(!is_beyond("203.0.113.1", "b@example.com"));
    }

    #[test]
    fn what_is_tried_beyond_the_limit_of_an_account_costs_its_address_more() {
        let limits = limits(10, 2);
        let attempt = || limits.check_login(address("203.0.113.1"), "a@example.com");
        let beyond: Vec<bool> = (0..4)
            .map(|_| attempt().unwrap().beyond.is_some())
            .collect();
        assert_eq!(beyond, [false, false, true, true]);
        assert!(attempt().is_err(), "2 and twice 4 are all it had");
    }

    #[test]
    fn a_limit_of_less_than_an_attempt_costs_still_lets_one_through() {
        let limits = limits(1, 1);
        let attempt = |email| limits.check_login(address("203.0.113.1"), email);
        attempt("a@example.com").unwrap();
        assert!(attempt("a@example.com").is_err());
    }

    #[test]
    fn whoever_has_many_networks_leaves_newcomers_their_attempts() {
        let (limit, _) = limit(120);
        for network in 0..100_000_u32 {
            limit.check(&[&network.to_be_bytes()]).unwrap();
        }
        for newcomer in 0..100_u64 {
            for _ in 0..100 {
                limit.check(&[&newcomer.to_be_bytes()]).unwrap();
            }
        }
    }

    #[test]
    fn who_is_stopped_goes_on_when_time_has_passed() {
        let (limit, clock) = limit(60);
        let key: &[&[u8]] = &[b"key"];
        for _ in 0..60 {
            limit.check(key).unwrap();
        }
        let refused = limit.check(key).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(1));
        let [(_, policy), (_, left)] = refused.headers(1);
        assert_eq!(
            (&*policy, &*left),
            ("\"test\";q=60;w=60", "\"test\";r=0;t=1")
        );
        clock.advance(Duration::from_secs(1));
        limit.check(key).unwrap();
        limit.check(key).unwrap_err();
    }
}
