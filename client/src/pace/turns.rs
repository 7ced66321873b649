//! Requests in flight: as many as the coordinator takes, found out by trying.
//!
//! One more for each round of requests that succeed, half as many after one that was put off or stalled: what TCP does
//! with its window, for the same reason. Rejected: a number to be set, which is wrong on most lines.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

const FEWEST: f64 = 2.0;
pub(crate) const MOST: usize = 32;
/// To begin with.
const FIRST: f64 = 6.0;

#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    window: Window,
    in_flight: usize,
    cut_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    size: f64,
    most: f64,
}

impl Window {
    fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size).min(self.most);
    }

    fn cut(&mut self) {
        self.size = (self.size / 2.0).max(FEWEST.min(self.most));
    }
}

impl Turns {
    /// At most `most` at a time, whatever the coordinator takes.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, MOST) as f64;
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                window: Window {
                    size: FIRST.min(most),
                    most,
                },
                in_flight: 0,
                cut_at: None,
            }),
            freed: Notify::new(),
        }))
    }

    /// Waits for it.
    pub(crate) async fn take(&self) -> Turn {
        loop {
            let freed = self.0.freed.notified();
            if let Some(turn) = self.try_take() {
                return turn;
            }
            freed.await;
        }
    }

    fn try_take(&self) -> Option<Turn> {
        let mut state = self.state();
        let is_free = state.in_flight < state.window.size as usize;
        is_free.then(|| {
            state.in_flight += 1;
            Turn {
                turns: self.clone(),
                since: Instant::now(),
            }
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    since: Instant,
}

impl Turn {
    pub(crate) fn went_well(self) {
        let mut state = self.turns.state();
        state.window.grow();
        drop(state);
        self.turns.0.freed.notify_one(); // there may be room for one more
    }

    /// Several that were in flight together count once.
    pub(crate) fn met_congestion(self) {
        let mut state = self.turns.state();
        if state.cut_at.is_none_or(|at| at < self.since) {
            state.window.cut();
            state.cut_at = Some(Instant::now());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().in_flight -= 1;
        self.turns.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn there_are_always_some_and_never_too_many(steps in prop::collection::vec(any::<bool>(), 0..2000)) {
            let mut window = Window { size: FIRST, most: MOST as f64 };
            for grows in steps {
                if grows { window.grow() } else { window.cut() }
                prop_assert!((2..=MOST).contains(&(window.size as usize)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_goes_well_makes_room_for_one_more_and_congestion_halves_it_once() {
        let turns = Turns::new(MOST);
        let round = async |turns: &Turns| {
            let mut taken = Vec::new();
            while let Some(turn) = turns.try_take() {
                taken.push(turn);
            }
            taken
        };
        let first = round(&turns).await;
        assert_eq!(first.len(), 6);
        first.into_iter().for_each(Turn::went_well);
        let second = round(&turns).await;
        assert!((6..=7).contains(&second.len()), "{}", second.len());
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        second.into_iter().for_each(Turn::met_congestion);
        assert_eq!(round(&turns).await.len(), 3);
    }

    #[tokio::test]
    async fn whoever_waits_gets_the_turn_of_one_that_ends() {
        let turns = Turns::new(1);
        let first = turns.take().await;
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.take().await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
