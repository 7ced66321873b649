//! Turns: sendings of one chunk go to nodes one after the other. Each could otherwise put nodes to work as if it were
//! the first, before the database tells which of them counts. Of one coordinator: several that are sent the same chunk
//! at the same moment store it once each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use model::ids::UploadId;

/// A chunk of an upload.
pub type Place = (UploadId, u32);

/// Bounded by the requests that are under way.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Mutex<HashMap<Place, Arc<tokio::sync::Mutex<()>>>>>);

impl Turns {
    /// Waits until nobody else has the turn.
    pub async fn take(&self, place: Place) -> Turn {
        let mut turn = Turn {
            turns: self.clone(),
            place,
            guard: None,
        };
        let lock = Arc::clone(self.places().entry(place).or_default());
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Over when it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    place: Place,
    /// `None` while it is waited for.
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut places = self.turns.places();
        // Nobody waits for it, and nobody can begin to while the map is locked.
        if places
            .get(&self.place)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            places.remove(&self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    fn place(index: u32) -> Place {
        (UploadId::from_uuid(Uuid::nil()), index)
    }

    #[tokio::test]
    async fn one_has_the_turn_the_next_one_waits_and_other_chunks_do_not() {
        let turns = Turns::default();
        let first = turns.take(place(0)).await;
        let mut second = Box::pin(turns.take(place(0)));
        assert!((&mut second).now_or_never().is_none());
        assert!(turns.take(place(1)).now_or_never().is_some());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_turns_that_are_over_or_were_given_up() {
        let turns = Turns::default();
        let first = turns.take(place(0)).await;
        let mut given_up = Box::pin(turns.take(place(0)));
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        drop(first);
        assert!(turns.places().is_empty());
    }
}
