//! Bounds on what costs something and needs no token, per address: passwords tried, refresh tokens exchanged,
//! registration nonces. And on what one account makes, per account.
//!
//! Nobody can fill a table here, and nobody can use up what another has: [`limits::attempts`].

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use http::HeaderName;
use kit::Entropy;
pub(super) use limits::attempts::TooManyRequests;
use limits::attempts::{Limit, Policy};
use model::names::Email;
use proto::NodeId;
use rand::Rng;

use crate::config::{AuthConfig, UploadsConfig};
use model::ids::UserId;
use rules::client_address::network_of;

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static(api::headers::RATE_LIMIT);
pub(super) const RATE_LIMIT_POLICY: HeaderName =
    HeaderName::from_static(api::headers::RATE_LIMIT_POLICY);

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// `RateLimit-Policy` and `RateLimit`, as the IETF draft writes them.
pub(super) fn headers(
    refused: &TooManyRequests,
    retry_after_seconds: u64,
) -> [(HeaderName, String); 2] {
    let Policy {
        name,
        quota,
        window,
    } = refused.policy;
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

fn limit(name: &'static str, quota: u32, window: Duration, entropy: &Entropy) -> Limit {
    let mut secret = [0; 32];
    entropy.rng().fill_bytes(&mut secret);
    let policy = Policy {
        name,
        quota,
        window,
    };
    Limit::new(policy, secret)
}

/// Nonces per minute for one address: enough to set up a rack of nodes.
const NONCES: u32 = 600;

/// Access keys that are not known, or have another secret, per minute for one address.
const WRONG_KEYS: u32 = 120;

/// What an attempt beyond `auth.requests_per_account` counts for its address.
const COST_BEYOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// Letters that one address has sent in an hour.
const LETTERS: u32 = 20;

/// Passwords of one share that one address may try in a minute.
const SHARE_PASSWORDS: u32 = 5;

/// Passwords of one share that all addresses together may try in an hour, right ones counted: more than one address alone can
/// use up, and so few that the first million of a list take weeks, however many addresses try them. Nobody is let in beyond
/// it, or it would slow down those alone who guess wrong.
const SHARE_GUESSES: u32 = 1000;

/// For one hash of a password there may be so many exchanges of a refresh token, which costs less.
const REFRESHES: u32 = 5;

pub(super) struct AuthLimits {
    addresses: Limit,
    refreshes: Limit,
    nonces: Limit,
    accounts: Limit,
    letters: Limit,
    wrong_keys: Limit,
    share_passwords: Limit,
    share_guesses: Limit,
}

/// An attempt to log in that may be made.
pub(super) struct Attempt {
    /// That the account was tried too often from this address: what a wrong password is answered with.
    pub beyond: Option<TooManyRequests>,
}

/// The network that an address counts for, as bytes.
pub(super) fn network_key(address: IpAddr) -> [u8; 16] {
    match network_of(address) {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl AuthLimits {
    pub(super) fn new(config: &AuthConfig, entropy: &Entropy) -> Self {
        let per_address = config.requests_per_address;
        let refreshes = per_address.saturating_mul(REFRESHES);
        let per_minute = |name, quota| limit(name, quota, MINUTE, entropy);
        Self {
            addresses: per_minute("per-address", per_address),
            refreshes: per_minute("refreshes", refreshes),
            nonces: per_minute("nonces", NONCES),
            accounts: per_minute("per-account", config.requests_per_account),
            letters: limit("letters", LETTERS, HOUR, entropy),
            wrong_keys: per_minute("wrong-keys", WRONG_KEYS),
            share_passwords: per_minute("share-passwords", SHARE_PASSWORDS),
            share_guesses: limit("share-guesses", SHARE_GUESSES, HOUR, entropy),
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

    pub(super) fn check_letter(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.letters.check(&[&network_key(address)])
    }

    /// What an address may not try counts for nobody else.
    pub(super) fn check_share_password(
        &self,
        address: IpAddr,
        share: &[u8; 32],
    ) -> Result<(), TooManyRequests> {
        self.share_passwords
            .check(&[&network_key(address), share])?;
        self.share_guesses.check(&[share])
    }

    /// Only for those that were wrong: whoever has the right key is let in.
    pub(super) fn check_wrong_key(&self, address: IpAddr) -> Result<(), TooManyRequests> {
        self.wrong_keys.check(&[&network_key(address)])
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

/// Access keys that one user makes in an hour: each leaves lines in the security log.
const ACCESS_KEYS: u32 = 120;
const PURCHASES: u32 = 60;

/// Shares that one user makes in an hour: each leaves lines in the security log, when it is made and when it is ended.
const SHARES: u32 = 600;

/// Payouts of one node in an hour, and drains that are called off: each leaves rows for ever.
const PAYOUTS: u32 = 60;
const DRAINS: u32 = 12;

/// Archives of one account in an hour.
const EXPORTS: u32 = 6;
/// Questions of one user about whom he is paid to in an hour: the provider is asked each time.
const DESTINATIONS: u32 = 60;

/// How quickly one account, or one node, makes what stays.
pub(super) struct AccountLimits {
    proofs: Limit,
    node_tokens: Limit,
    access_keys: Limit,
    shares: Limit,
    purchases: Limit,
    sessions: Limit,
    payouts: Limit,
    drains: Limit,
    exports: Limit,
    destinations: Limit,
}

impl AccountLimits {
    pub(super) fn new(uploads: &UploadsConfig, purchases_per_day: u32, entropy: &Entropy) -> Self {
        let limit = |name, quota, window| limit(name, quota, window, entropy);
        // Who may buy more often in a day than is usual may do so at once, too.
        let purchases = PURCHASES.max(purchases_per_day / 100);
        Self {
            proofs: limit("proofs", PROOFS, MINUTE),
            node_tokens: limit("node-tokens", NODE_TOKENS, MINUTE),
            access_keys: limit("access-keys", ACCESS_KEYS, HOUR),
            shares: limit("shares", SHARES, HOUR),
            purchases: limit("purchases", purchases, MINUTE),
            sessions: limit("uploads", uploads.sessions_per_minute, MINUTE),
            payouts: limit("payouts", PAYOUTS, HOUR),
            drains: limit("drains", DRAINS, HOUR),
            exports: limit("exports", EXPORTS, HOUR),
            destinations: limit("payout-destination", DESTINATIONS, HOUR),
        }
    }

    pub(super) fn check_proof(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.proofs.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_node_token(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.node_tokens.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_access_key(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.access_keys.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_share(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.shares.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_purchase(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.purchases.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_session(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.sessions.check(&[user.as_uuid().as_bytes()])
    }

    pub(super) fn check_export(&self, user: UserId) -> Result<(), TooManyRequests> {
        self.exports.check(&[user.as_uuid().as_bytes()])
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limits(per_address: u32, per_account: u32) -> AuthLimits {
        let config = AuthConfig {
            access_token_ttl: MINUTE,
            refresh_token_ttl: HOUR,
            session_ttl: HOUR,
            requests_per_address: per_address,
            requests_per_account: per_account,
            password_min_length: 8,
            refuse_common_passwords: true,
            require_verified_address: false,
            admin_second_factor: false,
            accounts_per_network: 1,
            logins_per_account: 1,
            access_keys_per_account: 1,
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
    fn many_addresses_together_try_few_passwords_of_a_share_and_of_another_as_many() {
        let limits = limits(1, 1);
        let tries = |n: u32, share: u8| {
            let from = IpAddr::from((0xC000_0000_u32 + n).to_be_bytes());
            limits.check_share_password(from, &[share; 32])
        };
        for n in 0..SHARE_GUESSES {
            tries(n, 1).unwrap();
        }
        // Meanwhile one may have come back.
        let mut others = SHARE_GUESSES..SHARE_GUESSES + 20;
        let refused = others.find_map(|n| tries(n, 1).err()).unwrap();
        assert_eq!(refused.policy.name, "share-guesses");
        tries(0, 2).unwrap();
    }

    #[test]
    fn one_address_alone_does_not_use_up_what_all_may_try_of_a_share() {
        let limits = limits(1, 1);
        let refused = (0..3 * SHARE_GUESSES).filter_map(|_| {
            let tried = limits.check_share_password(address("203.0.113.1"), &[1; 32]);
            tried.err()
        });
        let refused: Vec<_> = refused.map(|refused| refused.policy.name).collect();
        assert!(refused.len() > 2 * SHARE_GUESSES as usize);
        assert!(refused.iter().all(|name| *name == "share-passwords"));
        let other = limits.check_share_password(address("203.0.113.2"), &[1; 32]);
        other.unwrap();
    }

    #[test]
    fn who_is_stopped_is_told_the_quota_and_what_is_left() {
        let limits = limits(1, 1);
        limits.check_address(address("203.0.113.1")).unwrap();
        let refused = limits.check_address(address("203.0.113.1")).unwrap_err();
        let [(_, policy), (_, left)] = headers(&refused, 7);
        assert_eq!(
            (&*policy, &*left),
            ("\"per-address\";q=1;w=60", "\"per-address\";r=0;t=7")
        );
    }
}
