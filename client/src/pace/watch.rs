//! Whether a request still moves. A body takes as long as it takes; a coordinator that takes and says nothing is given up.
//!
//! Rejected: a timeout for the request, which is too long for a stopped coordinator or too short for a slow line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::Error;

/// Of one request.
#[derive(Debug)]
pub(crate) struct Watch {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    moved_at: Instant,
    /// It is we who hold it back.
    held_back: bool,
}

impl Watch {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            state: Mutex::new(State {
                moved_at: Instant::now(),
                held_back: false,
            }),
        }
    }

    pub(crate) fn moved(&self) {
        self.set(false);
    }

    /// Until it moves again, nobody but this side is to blame.
    pub(crate) fn held_back(&self) {
        self.set(true);
    }

    fn set(&self, held_back: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State {
            moved_at: Instant::now(),
            held_back,
        };
    }

    /// What comes of the request, or that it has stalled.
    pub(crate) async fn over<T, E: Into<Error>>(
        &self,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        tokio::select! {
            outcome = request => outcome.map_err(Into::into),
            () = self.stalled() => Err(Error::Stalled(self.patience)),
        }
    }

    async fn stalled(&self) {
        loop {
            let (at, held_back) = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.moved_at + self.patience, state.held_back)
            };
            let now = Instant::now();
            if now >= at && !held_back {
                return;
            }
            let again = match held_back {
                true => now + self.patience,
                false => at,
            };
            sleep_until(again).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_request_that_moves_is_waited_for_and_one_that_does_not_is_given_up() {
        let watch = Watch::new(PATIENCE);
        let moves = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                watch.moved();
            }
            Ok::<_, Error>(7)
        };
        assert_eq!(watch.over(moves).await.unwrap(), 7);
        let silent = watch.over(std::future::pending::<Result<(), Error>>());
        assert!(matches!(silent.await, Err(Error::Stalled(PATIENCE))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_our_own_limit_holds_back_is_no_stall() {
        let watch = Watch::new(PATIENCE);
        let slow = async {
            watch.held_back();
            tokio::time::sleep(Duration::from_secs(300)).await;
            watch.moved();
            Ok::<_, Error>(())
        };
        watch.over(slow).await.unwrap();
    }
}
