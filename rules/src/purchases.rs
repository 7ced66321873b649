//! How a purchase settles: what the provider says of the payment, and what stands here, decide what is done. Credits come
//! once, whatever is said how often and in which order, and only for the amount that was ordered.
//!
//! A failed purchase is no end: where the money arrives after all, because a customer paid in the moment in which the
//! payment was called off, it is credited.

use std::time::Duration;

use model::money::UsdCents;
use model::payment::{PaymentStanding, PurchaseState};

/// What is done about a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The credits are posted, and the purchase is paid.
    Credit,
    /// Nothing is expected any more.
    Fail,
    /// It is looked at again.
    Wait,
    /// It is as it should be.
    Nothing,
    /// Another amount was paid than was ordered: a person has to look.
    OtherAmount,
}

/// `paid` is what the provider has received, where it says that the payment is paid.
pub fn settlement(
    state: PurchaseState,
    ordered: UsdCents,
    standing: PaymentStanding,
    paid: UsdCents,
) -> Settlement {
    match (state, standing) {
        (PurchaseState::Paid | PurchaseState::Reversed, _) => Settlement::Nothing,
        (_, PaymentStanding::Paid) if paid != ordered => Settlement::OtherAmount,
        (_, PaymentStanding::Paid) => Settlement::Credit,
        (PurchaseState::Pending, PaymentStanding::Failed) => Settlement::Fail,
        (PurchaseState::Pending, PaymentStanding::Open) => Settlement::Wait,
        (PurchaseState::Failed, PaymentStanding::Open | PaymentStanding::Failed) => {
            Settlement::Nothing
        }
    }
}

/// When something of this age that has not settled is looked at again: soon while somebody may wait for it, and then less
/// and less often, an hour apart at most. A webhook is quicker than either.
pub fn next_look(age: Duration) -> Duration {
    const SOONEST: Duration = Duration::from_secs(30);
    const LATEST: Duration = Duration::from_secs(3600);
    (age / 10).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: UsdCents = UsdCents::new(1000);

    #[test]
    fn what_was_paid_or_reversed_is_never_credited_again() {
        for state in [PurchaseState::Paid, PurchaseState::Reversed] {
            for standing in [
                PaymentStanding::Open,
                PaymentStanding::Paid,
                PaymentStanding::Failed,
            ] {
                assert_eq!(settlement(state, TEN, standing, TEN), Settlement::Nothing);
            }
        }
    }

    #[test]
    fn credits_are_for_the_amount_that_was_ordered_and_for_no_other() {
        let pay =
            |state, cents| settlement(state, TEN, PaymentStanding::Paid, UsdCents::new(cents));
        assert_eq!(pay(PurchaseState::Pending, 1000), Settlement::Credit);
        assert_eq!(pay(PurchaseState::Pending, 999), Settlement::OtherAmount);
        assert_eq!(pay(PurchaseState::Pending, 1001), Settlement::OtherAmount);
        assert_eq!(pay(PurchaseState::Failed, 1000), Settlement::Credit);
    }

    #[test]
    fn a_payment_that_failed_fails_the_purchase_once() {
        let failed = |state| settlement(state, TEN, PaymentStanding::Failed, TEN);
        assert_eq!(failed(PurchaseState::Pending), Settlement::Fail);
        assert_eq!(failed(PurchaseState::Failed), Settlement::Nothing);
    }

    #[test]
    fn looks_become_rarer_with_age() {
        let look = |seconds| next_look(Duration::from_secs(seconds)).as_secs();
        assert_eq!((look(0), look(300), look(3000)), (30, 30, 300));
        assert_eq!(look(10_000_000), 3600);
    }
}
