//! Owners' requests for proofs that are worked on at one time: their proofs are all in memory together. An account has few
//! of them, and accounts that have not bought anything share some of their own: however many of these one person opens,
//! those who pay do not wait for them. Who finds none free waits a while, in the order of coming.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use model::ids::UserId;

/// Of one account, those that wait among them.
const PER_ACCOUNT: u32 = 2;

/// Of all accounts that have bought, together.
const PAYING: usize = 16;

/// Of all others, together.
const TRIAL: usize = 4;

/// How long one is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the account has ever bought credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funding {
    Paying,
    Trial,
}

/// None is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Occupied {
    #[error("the account has {PER_ACCOUNT} requests for proofs under way")]
    ByAccount,
    #[error("too many requests for proofs are under way")]
    ByOthers,
}

#[derive(Debug, Clone)]
pub struct EvidenceSlots {
    paying: Arc<Semaphore>,
    trial: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<UserId, u32>>>,
    patience: Duration,
}

impl Default for EvidenceSlots {
    fn default() -> Self {
        Self {
            paying: Arc::new(Semaphore::new(PAYING)),
            trial: Arc::new(Semaphore::new(TRIAL)),
            taken: Arc::default(),
            patience: PATIENCE,
        }
    }
}

impl EvidenceSlots {
    pub async fn take(&self, user: UserId, funding: Funding) -> Result<Slot, Occupied> {
        let share = self.share(user)?;
        let slots = match funding {
            Funding::Paying => &self.paying,
            Funding::Trial => &self.trial,
        };
        let permit = Arc::clone(slots).acquire_owned();
        match tokio::time::timeout(self.patience, permit).await {
            Ok(Ok(permit)) => Ok(Slot {
                _permit: permit,
                _share: share,
            }),
            Ok(Err(_)) | Err(_) => Err(Occupied::ByOthers),
        }
    }

    /// One of the account's own.
    fn share(&self, user: UserId) -> Result<Share, Occupied> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(user).or_default();
        if *own >= PER_ACCOUNT {
            return Err(Occupied::ByAccount);
        }
        *own += 1;
        Ok(Share {
            slots: self.clone(),
            user,
        })
    }
}

/// Free again when it is dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

#[derive(Debug)]
struct Share {
    slots: EvidenceSlots,
    user: UserId,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = (self.slots.taken.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn one_account_has_two_and_keeps_nobody_else_from_theirs() {
        let slots = EvidenceSlots::default();
        let first = slots.take(user(1), Funding::Paying).await.unwrap();
        let _second = slots.take(user(1), Funding::Paying).await.unwrap();
        let third = slots.take(user(1), Funding::Paying).await;
        assert_eq!(third.unwrap_err(), Occupied::ByAccount);
        slots.take(user(2), Funding::Paying).await.unwrap();
        drop(first);
        slots.take(user(1), Funding::Paying).await.unwrap();
    }

    #[tokio::test]
    async fn however_many_accounts_are_on_trial_those_who_pay_do_not_wait_for_them() {
        let slots = EvidenceSlots {
            patience: Duration::ZERO,
            ..EvidenceSlots::default()
        };
        let mut held = Vec::new();
        for n in 0..TRIAL as u128 {
            held.push(slots.take(user(n), Funding::Trial).await.unwrap());
        }
        let refused = slots.take(user(100), Funding::Trial).await;
        assert_eq!(refused.unwrap_err(), Occupied::ByOthers);
        slots.take(user(200), Funding::Paying).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_kept_of_accounts_that_ask_for_nothing() {
        let slots = EvidenceSlots::default();
        let slot = slots.take(user(1), Funding::Trial).await.unwrap();
        assert_eq!(slots.taken.lock().unwrap().len(), 1);
        drop(slot);
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
