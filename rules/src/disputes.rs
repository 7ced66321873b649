//! What a dispute takes and gives back. What was bought with a card can be called back by the card's holder: then the money
//! is gone, and so are the credits, as far as they are there.
//!
//! It goes by how the dispute *stands*, never by what an event says has happened: events come twice, late, and in any order,
//! and a dispute that was won must not take once more because its beginning was told last.

use model::money::UsdCents;
use model::payment::{DisputeStanding, DisputeState};
use proto::MicroCredits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Credits are taken, and the account is suspended.
    Take,
    /// What was taken is given back, and the suspension for it ends.
    GiveBack,
    /// It has ended without anything being taken.
    Close,
    /// As it is, and looked at again as long as it is open.
    Nothing,
}

pub fn step(state: DisputeState, standing: DisputeStanding) -> Step {
    match (state, standing) {
        (DisputeState::Noted, DisputeStanding::Withdrawn | DisputeStanding::Lost) => Step::Take,
        (DisputeState::Noted, DisputeStanding::Won) => Step::Close,
        (DisputeState::Taken, DisputeStanding::Won) => Step::GiveBack,
        _ => Step::Nothing,
    }
}

/// Whether there is anything more to expect of it.
pub fn is_open(state: DisputeState, standing: DisputeStanding) -> bool {
    match state {
        DisputeState::GivenBack | DisputeState::Closed => false,
        DisputeState::Noted | DisputeState::Taken => {
            !matches!(standing, DisputeStanding::Won | DisputeStanding::Lost)
        }
    }
}

/// The credits that a disputed amount has bought: its share of the purchase, rounded up, and with what other disputes of the
/// same purchase have taken never more than all of it.
pub fn disputed_credits(
    bought: MicroCredits,
    price: UsdCents,
    disputed: UsdCents,
    taken_before: MicroCredits,
) -> MicroCredits {
    let bought = i128::from(bought.get());
    let (price, disputed) = (i128::from(price.get()), i128::from(disputed.get()));
    let share = match price {
        0 => bought,
        _ => (bought * disputed.min(price) + price - 1) / price,
    };
    let left = (bought - i128::from(taken_before.get())).max(0);
    MicroCredits::new(i64::try_from(share.min(left)).unwrap_or(i64::MAX))
}

/// From whom it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taking {
    /// From what the account has available.
    pub from_account: MicroCredits,
    /// From the platform, which bears what the account has used up.
    pub from_losses: MicroCredits,
}

pub fn taking(credits: MicroCredits, available: MicroCredits) -> Taking {
    let from_account = credits.min(available).max(MicroCredits::ZERO);
    Taking {
        from_account,
        from_losses: MicroCredits::new(credits.get() - from_account.get()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STANDINGS: [DisputeStanding; 4] = [
        DisputeStanding::Inquiry,
        DisputeStanding::Withdrawn,
        DisputeStanding::Won,
        DisputeStanding::Lost,
    ];

    fn after(state: DisputeState, standing: DisputeStanding) -> DisputeState {
        match step(state, standing) {
            Step::Take => DisputeState::Taken,
            Step::GiveBack => DisputeState::GivenBack,
            Step::Close => DisputeState::Closed,
            Step::Nothing => state,
        }
    }

    #[test]
    fn an_inquiry_takes_nothing() {
        assert_eq!(
            step(DisputeState::Noted, DisputeStanding::Inquiry),
            Step::Nothing
        );
        assert!(is_open(DisputeState::Noted, DisputeStanding::Inquiry));
    }

    #[test]
    fn part_of_a_purchase_can_be_disputed() {
        let of = |disputed, before| {
            let (bought, before) = (MicroCredits::new(1_000), MicroCredits::new(before));
            disputed_credits(bought, UsdCents::new(300), UsdCents::new(disputed), before).get()
        };
        assert_eq!(of(300, 0), 1_000);
        assert_eq!(of(100, 0), 334);
        assert_eq!(of(1_000_000, 0), 1_000);
        assert_eq!(of(300, 334), 666);
        assert_eq!(of(300, 1_000), 0);
    }

    #[test]
    fn what_the_account_has_not_is_the_platforms_loss() {
        let taken = |credits, available| {
            let taking = taking(MicroCredits::new(credits), MicroCredits::new(available));
            (taking.from_account.get(), taking.from_losses.get())
        };
        assert_eq!(taken(10, 25), (10, 0));
        assert_eq!(taken(10, 4), (4, 6));
        assert_eq!(taken(10, 0), (0, 10));
    }

    proptest! {
        #[test]
        fn whatever_is_seen_how_often_it_takes_once_and_gives_back_once(seen in prop::collection::vec(0..4usize, 0..40)) {
            let (mut state, mut taken, mut given) = (DisputeState::Noted, 0, 0);
            for standing in seen.into_iter().map(|n| STANDINGS[n]) {
                match step(state, standing) {
                    Step::Take => taken += 1,
                    Step::GiveBack => given += 1,
                    Step::Close | Step::Nothing => {}
                }
                state = after(state, standing);
            }
            prop_assert!(taken <= 1 && given <= taken);
        }
    }
}
