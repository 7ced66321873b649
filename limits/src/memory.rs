//! A byte budget for the whole process, of which nobody gets all. What waits for a share of it waits with its client:
//! the pressure reaches the socket.
//!
//! A share grows with the bytes that have arrived, so that announcing bytes holds nothing. Growing while holding could
//! lock up for ever, all waiting for each other with half a chunk in their hands. Therefore the oldest share that still
//! grows gets what it asks for, above any limit, unless a share that is whole is going to give something back: at least
//! one always comes to its end, and a limit is exceeded by one chunk at most. Rejected: taking the whole chunk's share
//! at its first byte, which lets one byte hold as much as a chunk.
//!
//! One address has half of a budget at most, and one account a quarter, or what there is up to the half while nobody
//! else wants it. Who holds what they have for as long as they may keeps others from theirs only where many addresses do
//! so together.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ids::UserId;
use rules::client_address::network_of;
use tokio::sync::oneshot;

/// Who holds a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub account: UserId,
    pub address: IpAddr,
}

/// Of a budget, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub total_bytes: u64,
    /// May be more than there is, by one chunk.
    pub used_bytes: u64,
    pub waiting: u64,
}

#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<Mutex<Books>>);

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct MemoryShare {
    budget: MemoryBudget,
    id: u64,
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    All,
    Account(UserId),
    Address(IpAddr),
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    /// Shares that may still ask for more, the oldest first.
    growing: BTreeSet<u64>,
    /// Shares that will ask for nothing more.
    whole: usize,
}

#[derive(Debug)]
struct Share {
    bytes: u64,
    phase: Phase,
    scopes: Vec<Scope>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has asked for nothing yet, and nobody depends on it.
    Empty,
    Growing,
    Whole,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    bytes: u64,
    granted: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Books {
    total: u64,
    used: HashMap<Scope, Used>,
    shares: HashMap<u64, Share>,
    waiting: VecDeque<Waiter>,
    next: u64,
}

impl MemoryBudget {
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(Books {
            total: bytes,
            used: HashMap::new(),
            shares: HashMap::new(),
            waiting: VecDeque::new(),
            next: 0,
        })))
    }

    /// A share of nothing, which can grow.
    pub fn open(&self, holder: Holder) -> MemoryShare {
        let scopes = vec![
            Scope::All,
            Scope::Account(holder.account),
            Scope::Address(network_of(holder.address)),
        ];
        self.enter(scopes)
    }

    /// Waits until `bytes` are free. A request for more than there is waits until it is alone.
    pub async fn reserve_for(&self, holder: Holder, bytes: u64) -> MemoryShare {
        let mut share = self.open(holder);
        share.grow(bytes).await;
        share.settle();
        share
    }

    /// As [`Self::reserve_for`], for the coordinator's own work.
    pub async fn reserve(&self, bytes: u64) -> MemoryShare {
        let mut share = self.enter(vec![Scope::All]);
        share.grow(bytes).await;
        share.settle();
        share
    }

    /// Whether anybody waits.
    pub fn is_contended(&self) -> bool {
        let books = self.books();
        books.waiting.iter().any(|w| !w.granted.is_closed())
    }

    /// How much of it is taken, and how many wait.
    pub fn usage(&self) -> Usage {
        let books = self.books();
        let waiting = books.waiting.iter().filter(|w| !w.granted.is_closed());
        Usage {
            total_bytes: books.total,
            used_bytes: books.used.get(&Scope::All).map_or(0, |used| used.bytes),
            waiting: waiting.count() as u64,
        }
    }

    fn enter(&self, scopes: Vec<Scope>) -> MemoryShare {
        let mut books = self.books();
        let id = books.next;
        books.next += 1;
        let share = Share {
            bytes: 0,
            phase: Phase::Empty,
            scopes,
        };
        books.shares.insert(id, share);
        MemoryShare {
            budget: self.clone(),
            id,
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryShare {
    /// Waits until there is room for so many bytes more.
    pub async fn grow(&mut self, bytes: u64) {
        let granted = {
            let mut books = self.budget.books();
            books.move_to(self.id, Phase::Growing);
            if books.waiting.is_empty() && books.fits(self.id, bytes) == Fit::Now {
                books.grant(self.id, bytes);
                return;
            }
            let (granted, told) = oneshot::channel();
            books.waiting.push_back(Waiter {
                id: self.id,
                bytes,
                granted,
            });
            books.pump();
            told
        };
        // Nobody else can end this wait: the sender lives in the books until it is used.
        let _ = granted.await;
    }

    /// It asks for nothing more.
    pub fn settle(&mut self) {
        let mut books = self.budget.books();
        books.move_to(self.id, Phase::Whole);
        books.pump();
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        let mut books = self.budget.books();
        books.remove(self.id);
        books.pump();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Now,
    /// Its own account or address has enough.
    NotItself,
    /// There is no room for anybody.
    Nobody,
}

impl Used {
    fn leave(&mut self, id: u64, phase: Phase) {
        match phase {
            Phase::Empty => {}
            Phase::Growing => {
                self.growing.remove(&id);
            }
            Phase::Whole => self.whole -= 1,
        }
    }
}

impl Books {
    fn limit(&self, scope: Scope) -> u64 {
        match scope {
            Scope::All => self.total,
            Scope::Account(_) => self.total / 4,
            Scope::Address(_) => self.total / 2,
        }
    }

    fn scopes_of(&self, id: u64) -> Vec<Scope> {
        self.shares
            .get(&id)
            .map(|share| share.scopes.clone())
            .unwrap_or_default()
    }

    fn move_to(&mut self, id: u64, phase: Phase) {
        let Some(share) = self.shares.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut share.phase, phase);
        for scope in &share.scopes {
            let used = self.used.entry(*scope).or_default();
            used.leave(id, before);
            match phase {
                Phase::Empty => {}
                Phase::Growing => {
                    used.growing.insert(id);
                }
                Phase::Whole => used.whole += 1,
            }
        }
    }

    fn fits(&self, id: u64, bytes: u64) -> Fit {
        let scopes = self.shares.get(&id).map_or(&[][..], |share| &share.scopes);
        let is_full = |scope: &Scope| {
            self.used.get(scope).is_some_and(|used| {
                let its_turn = used.whole == 0 && used.growing.first() == Some(&id);
                let to_spare = matches!(scope, Scope::Account(_)) && self.has_half_left(bytes);
                used.bytes.saturating_add(bytes) > self.limit(*scope) && !its_turn && !to_spare
            })
        };
        let (mut of_all, mut own) = (false, false);
        for scope in scopes.iter().filter(|scope| is_full(scope)) {
            match scope {
                Scope::All => of_all = true,
                Scope::Account(_) | Scope::Address(_) => own = true,
            }
        }
        match (own, of_all) {
            (true, _) => Fit::NotItself,
            (false, true) => Fit::Nobody,
            (false, false) => Fit::Now,
        }
    }

    /// Whether half of all is free even after this.
    fn has_half_left(&self, bytes: u64) -> bool {
        let all = self.used.get(&Scope::All).map_or(0, |used| used.bytes);
        all.saturating_add(bytes) <= self.total / 2
    }

    /// The share that all others may depend on.
    fn is_oldest(&self, id: u64) -> bool {
        let all = self.used.get(&Scope::All);
        all.and_then(|used| used.growing.first()) == Some(&id)
    }

    fn grant(&mut self, id: u64, bytes: u64) {
        for scope in self.scopes_of(id) {
            self.used.entry(scope).or_default().bytes += bytes;
        }
        if let Some(share) = self.shares.get_mut(&id) {
            share.bytes += bytes;
        }
    }

    fn remove(&mut self, id: u64) {
        self.waiting.retain(|waiter| waiter.id != id);
        let Some(share) = self.shares.remove(&id) else {
            return;
        };
        for scope in share.scopes {
            let Some(used) = self.used.get_mut(&scope) else {
                continue;
            };
            used.bytes -= share.bytes;
            used.leave(id, share.phase);
            if used.growing.is_empty() && used.whole == 0 {
                self.used.remove(&scope);
            }
        }
    }

    /// Gives in turn what there is room for. Who waits for their own limit let others pass; where there is no room for
    /// the first, nobody but the oldest takes what comes free before it.
    fn pump(&mut self) {
        let (mut index, mut is_full) = (0, false);
        while let Some(waiter) = self.waiting.get(index) {
            if waiter.granted.is_closed() {
                self.waiting.remove(index);
                continue;
            }
            let (id, bytes) = (waiter.id, waiter.bytes);
            match self.fits(id, bytes) {
                Fit::Now if !is_full || self.is_oldest(id) => {
                    self.grant(id, bytes);
                    if let Some(waiter) = self.waiting.remove(index) {
                        let _ = waiter.granted.send(());
                    }
                    continue;
                }
                Fit::Nobody => is_full = true,
                Fit::Now | Fit::NotItself => {}
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    const KIB: u64 = 1024;

    fn holder(account: u128, address: u8) -> Holder {
        Holder {
            account: UserId::from_uuid(Uuid::from_u128(account)),
            address: IpAddr::from([192, 0, 2, address]),
        }
    }

    /// What it asks for, if it gets it at once.
    fn grown(budget: &MemoryBudget, holder: Holder, bytes: u64) -> Option<MemoryShare> {
        let mut share = budget.open(holder);
        let granted = share.grow(bytes).now_or_never().is_some();
        granted.then_some(share)
    }

    #[tokio::test]
    async fn what_is_taken_and_who_waits_can_be_told() {
        let budget = MemoryBudget::new(10 * KIB);
        let told = |used_bytes, waiting| Usage {
            total_bytes: 10 * KIB,
            used_bytes,
            waiting,
        };
        assert_eq!(budget.usage(), told(0, 0));
        let held = budget.reserve(8 * KIB).await;
        let waiting = budget.clone();
        let waiting = tokio::spawn(async move { waiting.reserve(4 * KIB).await });
        tokio::task::yield_now().await;
        assert_eq!(budget.usage(), told(8 * KIB, 1));
        drop(held);
        let share = waiting.await.unwrap();
        assert_eq!(budget.usage(), told(4 * KIB, 0));
        drop(share);
        assert_eq!(budget.usage(), told(0, 0));
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_until_it_does() {
        let budget = MemoryBudget::new(10 * KIB);
        let first = budget.reserve(8 * KIB).await;
        let mut second = Box::pin(budget.reserve(4 * KIB));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(budget.is_contended());
        drop(first);
        second.await;
        assert!(!budget.is_contended());
    }

    #[tokio::test]
    async fn more_than_there_is_is_waited_for_alone_and_not_for_ever() {
        let budget = MemoryBudget::new(10 * KIB);
        let first = budget.reserve(KIB).await;
        let mut second = Box::pin(budget.reserve(1 << 40));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn an_announcement_holds_nothing() {
        let budget = MemoryBudget::new(10 * KIB);
        let _idle: Vec<_> = (0..1000).map(|_| budget.open(holder(1, 1))).collect();
        assert!(grown(&budget, holder(2, 2), 2 * KIB).is_some());
    }

    #[tokio::test]
    async fn an_account_has_a_quarter_and_an_address_a_half_and_others_have_the_rest() {
        let budget = MemoryBudget::new(16 * KIB);
        let _first = grown(&budget, holder(1, 1), 4 * KIB).unwrap();
        let spare = grown(&budget, holder(1, 2), 4 * KIB);
        assert!(spare.is_some(), "nobody else wants it");
        assert!(grown(&budget, holder(1, 2), 1).is_none(), "the account");
        drop(spare);
        let _second = grown(&budget, holder(2, 1), 4 * KIB).unwrap();
        assert!(grown(&budget, holder(1, 2), 1).is_none(), "the account");
        assert!(grown(&budget, holder(3, 1), 1).is_none(), "the address");
        let third = grown(&budget, holder(3, 2), 4 * KIB);
        let fourth = grown(&budget, holder(4, 2), 4 * KIB);
        assert!(third.is_some() && fourth.is_some());
        assert!(grown(&budget, holder(5, 3), 1).is_none(), "all");
    }

    #[tokio::test]
    async fn who_waits_for_their_own_limit_keeps_nobody_from_passing() {
        let budget = MemoryBudget::new(16 * KIB);
        let _others = budget.reserve(4 * KIB).await;
        let held = budget.reserve_for(holder(1, 1), 4 * KIB).await;
        let mut second = budget.open(holder(1, 1));
        let mut waits = Box::pin(second.grow(KIB));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(grown(&budget, holder(2, 2), 4 * KIB).is_some());
        drop(held);
        waits.await;
    }

    #[tokio::test]
    async fn of_many_halves_the_oldest_becomes_whole_and_then_the_next() {
        let budget = MemoryBudget::new(10 * KIB);
        let half = |n: u8| grown(&budget, holder(n.into(), n), KIB).unwrap();
        let (mut first, mut second) = (half(1), half(2));
        let mut others: Vec<_> = (3..11).map(half).collect();
        let mut next = Box::pin(second.grow(KIB));
        assert!(next.as_mut().now_or_never().is_none());
        for other in &mut others {
            assert!(other.grow(KIB).now_or_never().is_none());
        }
        first.grow(KIB).await;
        first.settle();
        // What is whole is going to make room: nobody else exceeds the limit until it has.
        assert!(next.as_mut().now_or_never().is_none());
        drop(first);
        next.await;
        second.grow(KIB).await;
        assert_eq!(budget.books().used[&Scope::All].bytes, 11 * KIB);
    }

    #[tokio::test]
    async fn the_oldest_is_not_held_up_by_one_that_waits_for_more_than_there_is() {
        let budget = MemoryBudget::new(10 * KIB);
        let mut oldest = budget.open(holder(1, 1));
        oldest.grow(2 * KIB).await;
        let mut large = Box::pin(budget.reserve(10 * KIB));
        assert!(large.as_mut().now_or_never().is_none());
        oldest.grow(KIB).await;
        drop(oldest);
        large.await;
    }

    #[tokio::test]
    async fn what_is_dropped_while_it_waits_leaves_nothing() {
        let budget = MemoryBudget::new(10 * KIB);
        let held = budget.reserve(10 * KIB).await;
        let mut gone = budget.open(holder(1, 1));
        assert!(gone.grow(KIB).now_or_never().is_none());
        drop(gone);
        drop(held);
        let books = budget.books();
        assert!(books.used.is_empty() && books.shares.is_empty() && books.waiting.is_empty());
    }
}
