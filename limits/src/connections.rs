//! Who is connected. Connections are bounded in all and for each address; one without a request under way is there on
//! sufferance: it has a time limit, whatever its first bytes are, and gives way when somebody else comes and there is no
//! room. So whoever opens connections and is silent keeps nobody out.
//!
//! Rejected: the timer of hyper's HTTP/1, which does not run while it is not known yet whether HTTP/1 is spoken, and
//! which HTTP/2 does not have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rules::client_address::network_of;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A client that takes longer over its first request's head is not one.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// How long a connection waits for its next request. Longer than proxies keep an idle one (nginx: 60 s), so that it is
/// they who close it and not we while a request is on its way.
const IDLE: Duration = Duration::from_secs(75);

/// What moves on a connection in each idle timeout, so that it does not count as stalled.
const LEAST_MOVED: u64 = 256 * 1024;

/// Idle timeouts in which so little moves that a connection is ended all the same, though the client may be waiting for
/// us: no request takes that long, but one stream of many that its client does not read can be hidden so.
const STALLED_WINDOWS: u32 = 5;

/// The least time for that.
const STALLED: Duration = Duration::from_secs(300);

#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub all: usize,
    pub per_address: usize,
    pub idle_timeout: Duration,
}

#[derive(Debug, Default)]
struct Open {
    entries: HashMap<u64, Entry>,
    of_address: HashMap<IpAddr, usize>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// Those of proxies that speak for others are counted by their requests instead.
    address: Option<IpAddr>,
    requests: usize,
    /// When the last request ended, or the connection began.
    quiet_since: Instant,
    had_request: bool,
    traffic: Arc<Traffic>,
    end: CancellationToken,
}

/// What the socket tells.
#[derive(Debug, Default)]
pub struct Traffic {
    pub moved: AtomicU64,
    /// There is something to send, and the client does not take it.
    pub is_blocked: AtomicBool,
}

pub enum Admission {
    Welcome(Connection),
    /// The address has as many as it may, all at work.
    TooManyOfAddress,
    /// All are at work.
    Full,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    connections: Connections,
    traffic: Arc<Traffic>,
    end: CancellationToken,
}

/// A request under way, its answer and what is left of its body included.
#[derive(Debug)]
pub struct UnderWay {
    id: u64,
    connections: Connections,
}

impl Connections {
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            limits,
            open: Mutex::default(),
        }))
    }

    /// `address` is `None` for a proxy.
    pub fn admit(&self, address: Option<IpAddr>) -> Admission {
        let address = address.map(network_of);
        let limits = self.0.limits;
        let mut open = self.open();
        if let Some(address) = address
            && open.of_address.get(&address).copied().unwrap_or(0) >= limits.per_address
            && !open.end_quiet_one(Some(address))
        {
            return Admission::TooManyOfAddress;
        }
        if open.entries.len() >= limits.all && !open.end_quiet_one(None) {
            return Admission::Full;
        }
        let id = open.next;
        open.next += 1;
        let (traffic, end) = (Arc::new(Traffic::default()), CancellationToken::new());
        let entry = Entry {
            address,
            requests: 0,
            quiet_since: Instant::now(),
            had_request: false,
            traffic: Arc::clone(&traffic),
            end: end.clone(),
        };
        open.entries.insert(id, entry);
        if let Some(address) = address {
            *open.of_address.entry(address).or_default() += 1;
        }
        Admission::Welcome(Connection {
            id,
            connections: self.clone(),
            traffic,
            end,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_quiet(&self) -> bool {
        self.requests == 0 && !self.traffic.is_blocked.load(Ordering::Relaxed)
    }
}

impl Open {
    /// Ends the connection that has been without a request for longest: of this address, or of the one that has most.
    /// Those that never had one go first.
    fn end_quiet_one(&mut self, address: Option<IpAddr>) -> bool {
        let quiet = self.entries.iter().filter(|(_, entry)| entry.is_quiet());
        let of_address = quiet.filter(|(_, entry)| address.is_none() || entry.address == address);
        let chosen = of_address.min_by_key(|(id, entry)| {
            let beside = entry
                .address
                .and_then(|address| self.of_address.get(&address));
            let beside = beside.copied().unwrap_or(0);
            (
                std::cmp::Reverse(beside),
                entry.had_request,
                entry.quiet_since,
                **id,
            )
        });
        let Some(id) = chosen.map(|(id, _)| *id) else {
            return false;
        };
        if let Some(entry) = self.remove(id) {
            entry.end.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(address) = entry.address
            && let Some(count) = self.of_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        Some(entry)
    }
}

impl Connection {
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// A request's head is there.
    pub fn begin(&self) -> UnderWay {
        if let Some(entry) = self.connections.open().entries.get_mut(&self.id) {
            entry.requests += 1;
            entry.had_request = true;
        }
        UnderWay {
            id: self.id,
            connections: self.connections.clone(),
        }
    }

    /// Returns when the connection has to end: it gave way, was without a request for too long, or stalled.
    pub async fn over(&self) {
        let idle_timeout = self.connections.0.limits.idle_timeout;
        let mut moved_before = self.moved();
        let mut stalled = 0;
        loop {
            let Some((is_quiet, until)) = self.quiet_until() else {
                return;
            };
            let next_look = if is_quiet {
                until
            } else {
                Instant::now() + idle_timeout
            };
            tokio::select! {
                () = self.end.cancelled() => return,
                () = tokio::time::sleep_until(next_look) => {}
            }
            match self.quiet_until() {
                None => return,
                Some((true, until)) => {
                    if until <= Instant::now() {
                        return;
                    }
                    stalled = 0;
                }
                Some((false, _)) if !is_quiet => {
                    let moved = self.moved() - moved_before;
                    stalled = if moved < LEAST_MOVED { stalled + 1 } else { 0 };
                    let is_blocked = self.traffic.is_blocked.load(Ordering::Relaxed);
                    let time = idle_timeout * stalled;
                    let is_over = stalled >= STALLED_WINDOWS && time >= STALLED;
                    if is_over || is_blocked && stalled > 0 {
                        return;
                    }
                }
                Some((false, _)) => {}
            }
            moved_before = self.moved();
        }
    }

    fn moved(&self) -> u64 {
        self.traffic.moved.load(Ordering::Relaxed)
    }

    /// Whether no request is under way, and how long that may last.
    fn quiet_until(&self) -> Option<(bool, Instant)> {
        let open = self.connections.open();
        let entry = open.entries.get(&self.id)?;
        let limit = if entry.had_request { IDLE } else { FIRST_HEAD };
        Some((entry.is_quiet(), entry.quiet_since + limit))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open().remove(self.id);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(entry) = self.connections.open().entries.get_mut(&self.id) {
            entry.requests -= 1;
            if entry.requests == 0 {
                entry.quiet_since = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(all: usize, per_address: usize) -> Connections {
        Connections::new(Limits {
            all,
            per_address,
            idle_timeout: Duration::from_secs(60),
        })
    }

    fn address(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    #[track_caller]
    fn welcome(connections: &Connections, last: u8) -> Connection {
        match connections.admit(address(last)) {
            Admission::Welcome(connection) => connection,
            Admission::TooManyOfAddress => panic!("too many of the address"),
            Admission::Full => panic!("full"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_not_waited_for() {
        let connections = connections(10, 10);
        let silent = welcome(&connections, 1);
        let began = Instant::now();
        silent.over().await;
        assert_eq!(began.elapsed(), FIRST_HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_request_the_next_is_waited_for_and_not_for_ever() {
        let connections = connections(10, 10);
        let connection = welcome(&connections, 1);
        let request = connection.begin();
        let ends = connection.over();
        tokio::pin!(ends);
        let some_time = tokio::time::timeout(Duration::from_secs(20), &mut ends).await;
        assert!(some_time.is_err(), "a request is under way");
        drop(request);
        let ended = Instant::now();
        ends.await;
        assert_eq!(ended.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_almost_nothing_of_what_it_is_sent_is_cut() {
        let connections = connections(10, 10);
        let connection = welcome(&connections, 1);
        let _request = connection.begin();
        connection
            .traffic()
            .is_blocked
            .store(true, Ordering::Relaxed);
        connection
            .traffic()
            .moved
            .store(LEAST_MOVED - 1, Ordering::Relaxed);
        let began = Instant::now();
        connection.over().await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test]
    async fn the_oldest_silent_one_gives_way_to_the_next_of_its_address() {
        let connections = connections(10, 2);
        let (first, second) = (welcome(&connections, 1), welcome(&connections, 1));
        let busy = first.begin();
        let third = welcome(&connections, 1);
        second.over().await;
        let busy_too = third.begin();
        let refused = connections.admit(address(1));
        assert!(matches!(refused, Admission::TooManyOfAddress));
        let _other = welcome(&connections, 2);
        drop((busy, busy_too));
    }

    #[tokio::test]
    async fn who_has_asked_for_something_before_stays_longer_than_who_never_has() {
        let connections = connections(10, 2);
        let known = welcome(&connections, 1);
        drop(known.begin());
        let silent = welcome(&connections, 1);
        let _newcomer = welcome(&connections, 1);
        silent.over().await;
        let stays = tokio::time::timeout(Duration::ZERO, known.over()).await;
        assert!(stays.is_err());
    }

    #[tokio::test]
    async fn where_there_is_no_room_one_of_the_most_numerous_gives_way() {
        let connections = connections(4, 4);
        let alone = welcome(&connections, 1);
        let many: Vec<_> = (0..3).map(|_| welcome(&connections, 2)).collect();
        let newcomer = welcome(&connections, 3);
        many[0].over().await;
        let at_work: Vec<_> = [&alone, &many[1], &many[2], &newcomer]
            .map(Connection::begin)
            .into();
        assert!(matches!(connections.admit(address(4)), Admission::Full));
        drop(at_work);
        drop(many);
        let _fourth = welcome(&connections, 4);
        assert!(
            tokio::time::timeout(Duration::ZERO, alone.over())
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn proxies_are_bounded_in_all_only() {
        let connections = connections(3, 1);
        let welcome = || matches!(connections.admit(None), Admission::Welcome(_));
        assert!((0..3).all(|_| welcome()));
    }
}
