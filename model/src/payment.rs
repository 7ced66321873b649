//! Money on its way in and out: how far purchases, payouts and disputes have come, here and with the provider.

use std::fmt;
use std::str::FromStr;

/// A name that none of the states has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no such state")]
pub struct UnknownState(pub String);

macro_rules! states {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $state:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$of])* $state,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$state,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$state => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                let found = Self::ALL.iter().find(|state| state.name() == text);
                found.copied().ok_or_else(|| UnknownState(text.to_owned()))
            }
        }
    };
}

states! {
    /// How far a purchase has come.
    PurchaseState {
        /// The customer has yet to pay, or the provider to say so.
        Pending = "pending",
        /// The credits are the account's.
        Paid = "paid",
        /// Nothing was paid, and nothing is expected any more.
        Failed = "failed",
        /// The money was taken back in a dispute, and the credits with it.
        Reversed = "reversed",
    }
}

states! {
    /// How far a payout has come.
    PayoutState {
        /// The provider has yet to confirm it.
        Pending = "pending",
        /// The provider has confirmed it.
        Paid = "paid",
        /// It was not made; the credits came back.
        Refused = "refused",
    }
}

states! {
    /// What was done here about a dispute.
    DisputeState {
        /// Nothing yet: the money has not moved.
        Noted = "noted",
        /// The credits were taken back.
        Taken = "taken",
        /// It was won, and they were given back.
        GivenBack = "given_back",
        /// It has ended, and there is nothing to do about it any more.
        Closed = "closed",
    }
}

/// How a payment stands with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStanding {
    /// The customer may still pay.
    Open,
    Paid,
    /// It can not be paid any more.
    Failed,
}

/// How a transfer stands with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferStanding {
    /// Under way.
    Open,
    Paid,
    /// It came back, all of it.
    Returned,
}

/// How a dispute stands with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeStanding {
    /// A question of the bank; the money is where it was.
    Inquiry,
    /// The bank has taken the money, and it is being argued.
    Withdrawn,
    /// Ended: the money is here.
    Won,
    /// Ended: the money is gone.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in PurchaseState::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        for state in PayoutState::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        for state in DisputeState::ALL {
            assert_eq!(state.name().parse(), Ok(*state));
        }
        assert!("settled".parse::<PurchaseState>().is_err());
    }
}
