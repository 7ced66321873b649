//! FairSemaphore at something of which there are few, connections to a database, say: whoever has fewest of them gets the next
//! one that is free. An address that asks for hundreds gets all that nobody else wants, and stands behind whoever comes.
//!
//! Of those who wait the first is what a process does for everybody; then whose address has fewest; then whose
//! account has; then who has waited longest.
//!
//! Rejected: a most for each address, which leaves unused what nobody else wants, and has to be set right.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use model::ids::UserId;
use rules::client_address::network_of;
use tokio::sync::oneshot;

tokio::task_local! {
    static PARTY: Party;
}

/// For whom a task works. Whose account it is may turn out while it does.
#[derive(Debug, Clone)]
pub struct Party {
    network: IpAddr,
    account: Arc<OnceLock<UserId>>,
}

impl Party {
    pub fn at(address: IpAddr) -> Self {
        Self {
            network: network_of(address),
            account: Arc::default(),
        }
    }

    /// Whom the running task works for; `None`: for everybody.
    pub fn current() -> Option<Self> {
        PARTY.try_with(Self::clone).ok()
    }

    /// The first account that is named stays.
    pub fn name(&self, account: UserId) {
        let _ = self.account.set(account);
    }

    /// What `work` asks for, it asks for on behalf of this party.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        PARTY.scope(self, work).await
    }

    fn side(&self) -> Side {
        Side {
            network: self.network,
            account: self.account.get().copied(),
        }
    }
}

/// Among whom permits are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Side {
    network: IpAddr,
    account: Option<UserId>,
}

#[derive(Debug, Clone)]
pub struct FairSemaphore(Arc<Mutex<Books>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    semaphore: FairSemaphore,
    side: Option<Side>,
}

#[derive(Debug)]
struct Books {
    free: usize,
    of_network: HashMap<IpAddr, usize>,
    of_account: HashMap<UserId, usize>,
    waiting: HashMap<Option<Side>, VecDeque<Waiter>>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    granted: oneshot::Sender<()>,
}

impl FairSemaphore {
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Books {
            free: count,
            of_network: HashMap::new(),
            of_account: HashMap::new(),
            waiting: HashMap::new(),
            next: 0,
        })))
    }

    /// Waits for a permit, on behalf of whom the running task works for.
    pub async fn acquire(&self) -> Permit {
        let side = Party::current().map(|party| party.side());
        let mut place = {
            let mut books = self.books();
            if books.free > 0 {
                books.count(side);
                return self.permit(side);
            }
            let (granted, told) = oneshot::channel();
            let id = books.next;
            books.next += 1;
            let line = books.waiting.entry(side).or_default();
            line.push_back(Waiter { id, granted });
            Place {
                semaphore: self,
                side,
                id,
                told,
                is_over: false,
            }
        };
        // Nobody else can end this wait: the sender lives in the books until it is used.
        let _ = (&mut place.told).await;
        place.is_over = true;
        self.permit(side)
    }

    /// How many wait for a permit.
    pub fn waiting(&self) -> usize {
        self.books().waiting.values().map(VecDeque::len).sum()
    }

    fn permit(&self, side: Option<Side>) -> Permit {
        Permit {
            semaphore: self.clone(),
            side,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.books().give_back(self.side);
    }
}

/// A place in the line. Whoever leaves it before he gets a permit, or with one that he has not heard of, keeps nobody waiting.
struct Place<'a> {
    semaphore: &'a FairSemaphore,
    side: Option<Side>,
    id: u64,
    told: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut books = self.semaphore.books();
        let line = books.waiting.entry(self.side).or_default();
        let before = line.len();
        line.retain(|waiter| waiter.id != self.id);
        let was_waiting = line.len() < before;
        if line.is_empty() {
            books.waiting.remove(&self.side);
        }
        if !was_waiting {
            books.give_back(self.side);
        }
    }
}

impl Books {
    fn count(&mut self, side: Option<Side>) {
        self.free -= 1;
        if let Some(Side { network, account }) = side {
            *self.of_network.entry(network).or_default() += 1;
            if let Some(account) = account {
                *self.of_account.entry(account).or_default() += 1;
            }
        }
    }

    fn uncount(&mut self, side: Option<Side>) {
        self.free += 1;
        if let Some(Side { network, account }) = side {
            lessen(&mut self.of_network, network);
            if let Some(account) = account {
                lessen(&mut self.of_account, account);
            }
        }
    }

    fn give_back(&mut self, side: Option<Side>) {
        self.uncount(side);
        while self.free > 0
            && let Some((side, waiter)) = self.take_next()
        {
            // The count is there before whoever waits can hear of it and give it back.
            self.count(side);
            if waiter.granted.send(()).is_err() {
                self.uncount(side);
            }
        }
    }

    fn take_next(&mut self) -> Option<(Option<Side>, Waiter)> {
        let lines = self.waiting.iter();
        let first = lines.filter_map(|(side, line)| Some((*side, line.front()?.id)));
        let (side, _) = first.min_by_key(|(side, id)| (self.held_by(*side), *id))?;
        let line = self.waiting.get_mut(&side)?;
        let waiter = line.pop_front()?;
        if line.is_empty() {
            self.waiting.remove(&side);
        }
        Some((side, waiter))
    }

    /// What a side has already: `None`, which is before all, where it is everybody's.
    fn held_by(&self, side: Option<Side>) -> Option<(usize, usize)> {
        let Side { network, account } = side?;
        let of_network = self.of_network.get(&network).copied();
        let of_account = account.and_then(|account| self.of_account.get(&account).copied());
        Some((of_network.unwrap_or(0), of_account.unwrap_or(0)))
    }
}

fn lessen<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::{BoxFuture, join_all};

    use super::*;

    fn party(last: u8, account: Option<u8>) -> Party {
        let party = Party::at([192, 0, 2, last].into());
        if let Some(account) = account {
            party.name(UserId::from_bytes([account; 16]));
        }
        party
    }

    fn asks(semaphore: &FairSemaphore, by: Option<Party>) -> BoxFuture<'static, Permit> {
        let semaphore = semaphore.clone();
        match by {
            Some(party) => party
                .scope(async move { semaphore.acquire().await })
                .boxed(),
            None => async move { semaphore.acquire().await }.boxed(),
        }
    }

    #[tokio::test]
    async fn how_many_wait_can_be_told() {
        let semaphore = FairSemaphore::new(1);
        let held = semaphore.acquire().await;
        let mut others = join_all([
            asks(&semaphore, Some(party(1, None))),
            asks(&semaphore, None),
        ]);
        assert!((&mut others).now_or_never().is_none());
        assert_eq!(semaphore.waiting(), 2);
        drop(others);
        assert_eq!(semaphore.waiting(), 0);
        drop(held);
    }

    /// In which order those who wait get one turn after another.
    async fn order(
        semaphore: &FairSemaphore,
        held: Permit,
        waiting: Vec<(&'static str, Option<Party>)>,
    ) -> Vec<&'static str> {
        let got = Arc::new(Mutex::new(Vec::new()));
        let tasks = waiting.into_iter().map(|(name, party)| {
            let (got, mut asks) = (Arc::clone(&got), asks(semaphore, party));
            assert!((&mut asks).now_or_never().is_none());
            async move {
                let permit = asks.await;
                got.lock().unwrap().push(name);
                drop(permit);
            }
        });
        let tasks: Vec<_> = tasks.collect();
        drop(held);
        join_all(tasks).await;
        Arc::try_unwrap(got).unwrap().into_inner().unwrap()
    }

    #[tokio::test]
    async fn whoever_is_alone_gets_all() {
        let semaphore = FairSemaphore::new(3);
        let held: Vec<Permit> =
            join_all((0..3).map(|_| asks(&semaphore, Some(party(1, None))))).await;
        assert_eq!(held.len(), 3);
        assert!(
            asks(&semaphore, Some(party(1, None)))
                .now_or_never()
                .is_none()
        );
    }

    #[tokio::test]
    async fn whose_address_has_fewest_is_next() {
        let semaphore = FairSemaphore::new(3);
        let mut held = join_all((0..3).map(|_| asks(&semaphore, Some(party(1, None))))).await;
        let waiting = vec![
            ("many", Some(party(1, None))),
            ("many too", Some(party(1, None))),
            ("honest", Some(party(2, None))),
            ("everybody's", None),
        ];
        let order = order(&semaphore, held.remove(0), waiting).await;
        assert_eq!(order, ["everybody's", "honest", "many", "many too"]);
    }

    #[tokio::test]
    async fn behind_one_address_whose_account_has_fewest_is_next() {
        let semaphore = FairSemaphore::new(2);
        let mut held = join_all((0..2).map(|_| asks(&semaphore, Some(party(1, Some(1)))))).await;
        let waiting = vec![
            ("first", Some(party(1, Some(1)))),
            ("second", Some(party(1, Some(2)))),
        ];
        assert_eq!(
            order(&semaphore, held.remove(0), waiting).await,
            ["second", "first"]
        );
    }

    #[tokio::test]
    async fn an_account_that_is_named_while_a_permit_is_held_is_not_counted_for_it() {
        let semaphore = FairSemaphore::new(1);
        let party = party(1, None);
        let held = asks(&semaphore, Some(party.clone())).await;
        party.name(UserId::from_bytes([1; 16]));
        drop(held);
        let _again = asks(&semaphore, Some(party)).await;
        let books = semaphore.books();
        assert_eq!((books.free, books.of_account.len()), (0, 1));
    }

    #[tokio::test]
    async fn who_goes_away_keeps_nobody_waiting() {
        let semaphore = FairSemaphore::new(1);
        let held = asks(&semaphore, None).await;
        let mut impatient = asks(&semaphore, Some(party(1, None)));
        assert!((&mut impatient).now_or_never().is_none());
        let mut deaf = asks(&semaphore, Some(party(2, None)));
        assert!((&mut deaf).now_or_never().is_none());
        let last = pin!(asks(&semaphore, Some(party(1, None))));
        drop(impatient);
        drop(held);
        // The permit is his, and he never hears of it.
        drop(deaf);
        let permit = tokio::time::timeout(Duration::from_secs(10), last)
            .await
            .unwrap();
        drop(permit);
        let books = semaphore.books();
        assert_eq!(books.free, 1);
        assert!(books.waiting.is_empty() && books.of_network.is_empty());
    }
}
