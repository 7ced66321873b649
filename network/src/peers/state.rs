//! How we stand with a peer: the states and the changes between them. Pure.

use std::time::Duration;

/// Whether there is a connection, and if not, whether we expect one. A connected peer that says
/// nothing is *unresponsive*, which is a condition of its connection and no state of its own: it may
/// speak again at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerState {
    Connected,
    /// No connection stands; the next dial, if any, is due.
    Disconnected,
    /// As many dials in a row as the policy allows have failed, and dialling rests.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A connection stands where none did.
    Connected,
    /// The last connection is gone.
    Lost,
    /// The last of the allowed dials has failed.
    GaveUp,
    /// The rest is over.
    Rested,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer that is {from:?} cannot have {change:?}")]
pub struct IllegalChange {
    pub from: PeerState,
    pub change: Change,
}

impl PeerState {
    pub fn after(self, change: Change) -> Result<Self, IllegalChange> {
        match (self, change) {
            (Self::Disconnected | Self::Failed, Change::Connected) => Ok(Self::Connected),
            (Self::Connected, Change::Lost) => Ok(Self::Disconnected),
            (Self::Disconnected, Change::GaveUp) => Ok(Self::Failed),
            (Self::Failed, Change::Rested) => Ok(Self::Disconnected),
            (from, change) => Err(IllegalChange { from, change }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
        }
    }
}

/// Round-trip times of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    pub last: Duration,
    pub lowest: Duration,
    /// Each measurement moves it by an eighth of the difference, as in TCP (RFC 6298).
    pub smoothed: Duration,
}

impl Rtt {
    pub fn first(sample: Duration) -> Self {
        Self {
            last: sample,
            lowest: sample,
            smoothed: sample,
        }
    }

    pub fn with(self, sample: Duration) -> Self {
        Self {
            last: sample,
            lowest: self.lowest.min(sample),
            smoothed: (self.smoothed * 7 + sample) / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_legal_in_the_states_that_it_belongs_to_and_in_no_other() {
        use Change::{Connected as Comes, GaveUp, Lost, Rested};
        use PeerState::{Connected, Disconnected, Failed};
        let legal = [
            (Disconnected, Comes, Connected),
            (Failed, Comes, Connected),
            (Connected, Lost, Disconnected),
            (Disconnected, GaveUp, Failed),
            (Failed, Rested, Disconnected),
        ];
        for from in [Connected, Disconnected, Failed] {
            for change in [Comes, Lost, GaveUp, Rested] {
                let expected = legal.iter().find(|rule| (rule.0, rule.1) == (from, change));
                let expected = expected
                    .map(|rule| rule.2)
                    .ok_or(IllegalChange { from, change });
                assert_eq!(from.after(change), expected);
            }
        }
    }

    #[test]
    fn round_trips_keep_the_last_the_lowest_and_a_slow_average() {
        let ms = Duration::from_millis;
        let rtt = Rtt::first(ms(80)).with(ms(160)).with(ms(40));
        assert_eq!((rtt.last, rtt.lowest), (ms(40), ms(40)));
        assert_eq!(rtt.smoothed, (ms(90) * 7 + ms(40)) / 8);
    }
}
