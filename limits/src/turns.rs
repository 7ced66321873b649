//! Turns at what takes a processor and much memory, such as hashing a password: a few at a time, off the async threads.
//!
//! Networks take turns: each has as many in the queue as can be worked on at once, and its others wait behind those. So
//! whoever sends many waits for himself, and everybody else for no more than what is being worked on. A network is an IPv4
//! /24 or an IPv6 /48, wider than what attempts are counted by: it costs nobody an attempt, only his place.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::node_state::NetworkPrefix;
use tokio::sync::Semaphore;

/// What may wait, of one network and of all.
const WAITING_OF_ONE: usize = 256;
const WAITING: usize = 2048;

#[derive(Debug, thiserror::Error)]
pub enum NoTurn {
    #[error("too many wait for their turn")]
    Busy,
    /// The runtime stops, or the work panicked.
    #[error("the work came to no end: {0}")]
    Lost(String),
}

#[derive(Clone)]
pub struct Turns {
    slots: Arc<Semaphore>,
    lines: Lines,
}

impl Turns {
    pub fn new(at_one_time: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(at_one_time)),
            lines: Lines {
                at_one_time,
                by_network: Arc::default(),
            },
        }
    }

    /// Does this when it is the turn of whoever asks from there.
    pub async fn run<T: Send + 'static>(
        &self,
        from: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoTurn> {
        let lost = |error: &dyn std::fmt::Display| NoTurn::Lost(error.to_string());
        let place = self.lines.join(from)?;
        let turn = Arc::clone(&place.turns).acquire_owned().await;
        let turn = turn.map_err(|error| lost(&error))?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|error| lost(&error))?;
        let worked = tokio::task::spawn_blocking(move || {
            let _held = (slot, turn, place);
            work()
        });
        worked.await.map_err(|error| lost(&error))
    }
}

/// Those who wait, by network. A line is there as long as somebody stands in it.
#[derive(Clone)]
struct Lines {
    at_one_time: usize,
    by_network: Arc<Mutex<HashMap<Option<NetworkPrefix>, Line>>>,
}

struct Line {
    turns: Arc<Semaphore>,
    waiting: usize,
}

struct Place {
    lines: Lines,
    network: Option<NetworkPrefix>,
    turns: Arc<Semaphore>,
}

impl Lines {
    fn join(&self, from: IpAddr) -> Result<Place, NoTurn> {
        let network = NetworkPrefix::of(from);
        let mut lines = self.lock();
        let waiting: usize = lines.values().map(|line| line.waiting).sum();
        let line = lines.entry(network).or_insert_with(|| Line {
            turns: Arc::new(Semaphore::new(self.at_one_time)),
            waiting: 0,
        });
        // Who is alone in his network is let in whatever others do: there are no more of them than connections.
        if line.waiting >= WAITING_OF_ONE || (line.waiting > 0 && waiting >= WAITING) {
            return Err(NoTurn::Busy);
        }
        line.waiting += 1;
        Ok(Place {
            lines: self.clone(),
            network,
            turns: Arc::clone(&line.turns),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<NetworkPrefix>, Line>> {
        let lines = self.by_network.lock();
        lines.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get_mut(&self.network) {
            line.waiting -= 1;
            if line.waiting == 0 {
                lines.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONE_TIME: usize = 2;

    #[test]
    fn one_network_fills_its_own_line_and_no_other() {
        let lines = Turns::new(AT_ONE_TIME).lines;
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let places: Vec<Place> = (0..WAITING_OF_ONE)
            .map(|last| lines.join(IpAddr::from([203, 0, 113, last as u8])))
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(lines.join(address("203.0.113.1")).is_err());
        let other = lines.join(address("198.51.100.1")).unwrap();
        assert_eq!(other.turns.available_permits(), AT_ONE_TIME);
        drop(places);
        lines.join(address("203.0.113.1")).unwrap();
        drop(other);
        assert!(lines.lock().is_empty(), "nobody waits, nothing is kept");
    }

    #[tokio::test]
    async fn a_newcomer_waits_for_what_is_being_hashed_and_not_for_who_came_before() {
        let passwords = Turns::new(AT_ONE_TIME);
        let (begin, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let wait = Arc::new(Mutex::new(wait));
        let crowd: Vec<_> = (0..10)
            .map(|_| {
                let (passwords, wait) = (passwords.clone(), Arc::clone(&wait));
                tokio::spawn(async move {
                    let step = move || wait.lock().unwrap().recv().is_ok();
                    passwords.run([203, 0, 113, 1].into(), step).await.unwrap()
                })
            })
            .collect();
        while passwords.slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let newcomer = tokio::spawn(async move {
            let from = [198, 51, 100, 1].into();
            passwords.run(from, || ()).await.unwrap();
        });
        // It stands in the queue before anything of the crowd goes on.
        tokio::task::yield_now().await;
        for _ in 0..AT_ONE_TIME {
            begin.send(()).unwrap();
        }
        newcomer.await.unwrap();
        let finished = crowd.iter().filter(|one| one.is_finished()).count();
        assert!(finished <= AT_ONE_TIME, "{finished}");
        drop(begin);
        for one in crowd {
            one.await.unwrap();
        }
    }
}
