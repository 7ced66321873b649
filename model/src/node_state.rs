//! The states of a storage node, and what each of them allows.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;

/// `probation → active ⇄ suspended`, any of them `→ draining → drained`, any `→ disqualified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    Probation,
    Active,
    Suspended,
    Draining,
    Drained,
    Disqualified,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a node state")]
pub struct UnknownNodeState(String);

impl NodeState {
    pub const ALL: [Self; 6] = [
        Self::Probation,
        Self::Active,
        Self::Suspended,
        Self::Draining,
        Self::Drained,
        Self::Disqualified,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Probation => "probation",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Disqualified => "disqualified",
        }
    }

    /// May be given new blobs.
    pub const fn takes_new_blobs(self) -> bool {
        matches!(self, Self::Probation | Self::Active)
    }

    /// What it holds counts as a copy.
    pub const fn replicas_count(self) -> bool {
        !matches!(self, Self::Drained | Self::Disqualified)
    }

    /// What it holds counts, and is not to be moved elsewhere.
    pub const fn replicas_stay(self) -> bool {
        self.replicas_count() && !matches!(self, Self::Draining)
    }

    pub const fn is_vetted(self) -> bool {
        matches!(self, Self::Active)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NodeState {
    type Err = UnknownNodeState;

    fn from_str(text: &str) -> Result<Self, UnknownNodeState> {
        [
            Self::Probation,
            Self::Active,
            Self::Suspended,
            Self::Draining,
            Self::Drained,
            Self::Disqualified,
        ]
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| UnknownNodeState(text.to_owned()))
    }
}

/// Why a node gets nothing new for some hours, whatever its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldCause {
    /// It has lost more than it may in a day.
    Losses,
    /// Most of its proofs do not come in time.
    Unanswered,
    /// It signs for other blobs than it was sent.
    Receipts,
}

impl HoldCause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Losses => "losses",
            Self::Unanswered => "unanswered",
            Self::Receipts => "receipts",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cause of a hold")]
pub struct UnknownHoldCause(String);

impl FromStr for HoldCause {
    type Err = UnknownHoldCause;

    fn from_str(text: &str) -> Result<Self, UnknownHoldCause> {
        [Self::Losses, Self::Unanswered, Self::Receipts]
            .into_iter()
            .find(|cause| cause.name() == text)
            .ok_or_else(|| UnknownHoldCause(text.to_owned()))
    }
}

/// What keeps a node from new data for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holds {
    /// When a round first failed by half; cleared when that hold is over and a round was better.
    pub mass_failure_at: Option<Timestamp>,
    /// Until when, and why.
    pub until: Option<(Timestamp, HoldCause)>,
}

/// score = 10⁶·α/(α+β), in parts per million.
pub fn score_ppm(alpha: u64, beta: u64) -> u32 {
    let (alpha, sum) = (u128::from(alpha), u128::from(alpha) + u128::from(beta));
    if sum == 0 {
        return 0;
    }
    (1_000_000 * alpha / sum) as u32
}

/// The network that an address belongs to: IPv4 /24, IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkPrefix([u8; 6]);

impl NetworkPrefix {
    pub const fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }

    /// Private, loopback and link-local addresses say nothing about where a node is: `None`.
    pub fn of(addr: IpAddr) -> Option<Self> {
        match addr.to_canonical() {
            IpAddr::V4(v4) => {
                let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
                let local = v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared;
                let [a, b, c, _] = v4.octets();
                (!local && !v4.is_unspecified()).then_some(Self([4, a, b, c, 0, 0]))
            }
            IpAddr::V6(v6) => {
                let local = v6.is_loopback()
                    || v6.is_unspecified()
                    || v6.is_unique_local()
                    || v6.is_unicast_link_local();
                let [a, b, c, d, e, f, ..] = v6.octets();
                (!local).then_some(Self([a, b, c, d, e, f]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(addr: &str) -> Option<NetworkPrefix> {
        NetworkPrefix::of(addr.parse().unwrap())
    }

    #[test]
    fn neighbours_share_a_prefix_and_strangers_do_not() {
        assert_eq!(prefix("203.0.113.7"), prefix("203.0.113.250"));
        assert_ne!(prefix("203.0.113.7"), prefix("203.0.114.7"));
        assert_eq!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:ffff::1"));
        assert_ne!(prefix("2001:db8:1::1"), prefix("2001:db8:2::1"));
        assert_eq!(prefix("::ffff:203.0.113.7"), prefix("203.0.113.9"));
    }

    #[test]
    fn private_and_loopback_addresses_form_no_domain() {
        for addr in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "172.16.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(prefix(addr), None, "{addr}");
        }
    }

    #[test]
    fn a_fresh_node_has_the_full_score() {
        assert_eq!(score_ppm(100_000_000, 0), 1_000_000);
        assert_eq!(score_ppm(0, 0), 0);
        assert_eq!(score_ppm(98, 2), 980_000);
    }
}
