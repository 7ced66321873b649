//! Connections whose handshake is under way: how many there may be, and which of them gives way to a new one.
//!
//! Whoever comes is always let begin. What he displaces is his own first: of an address that has its share under way
//! already the oldest gives way. Addresses from which peers came that the program counts on have room of their own, so
//! that a crowd of strangers keeps none of them out; where a room is full, the oldest of the address with the most in it goes.
//!
//! Rejected: refusing what comes beyond a total, as libp2p's limits do. 256 connections that say nothing then keep
//! everybody out, and cost one address nothing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::{AbortHandle, AbortRegistration, Abortable, BoxFuture};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportEvent};
use libp2p::{Multiaddr, PeerId, Transport, TransportError};

use super::address_block::AddressBlock;

/// Addresses from which peers came that the program counts on; more than any fleet has.
const MAX_KNOWN: usize = 16_384;

/// Why a handshake was ended that others had begun after.
#[derive(Debug, thiserror::Error)]
#[error("it had not proven who it is when newer connections came, and gave way to them")]
pub(super) struct GaveWay;

/// Where the peers come from that the program counts on.
#[derive(Debug, Default)]
pub(crate) struct KnownAddresses(RwLock<HashMap<AddressBlock, Instant>>);

impl KnownAddresses {
    pub(crate) fn note(&self, block: AddressBlock) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN && !known.contains_key(&block) {
            let oldest = known.iter().min_by_key(|(_, noted)| **noted);
            if let Some(oldest) = oldest.map(|(block, _)| *block) {
                known.remove(&oldest);
            }
        }
        known.insert(block, Instant::now());
    }

    fn contains(&self, block: &AddressBlock) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.contains_key(block)
    }
}

/// The handshakes that are under way.
#[derive(Debug)]
pub(crate) struct Pending {
    per_address: usize,
    /// Of strangers, and as many of known addresses.
    in_each_room: usize,
    known: Arc<KnownAddresses>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    /// In the order in which they began.
    waiting: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    from: Option<AddressBlock>,
    known: bool,
    handshake: AbortHandle,
}

/// A handshake's place; given back when it is dropped.
struct Turn {
    pending: Arc<Pending>,
    number: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pending.lock().waiting.remove(&self.number);
    }
}

impl Pending {
    pub(crate) fn new(per_address: u32, in_each_room: u32, known: Arc<KnownAddresses>) -> Self {
        Self {
            per_address: per_address.max(1) as usize,
            in_each_room: in_each_room.max(1) as usize,
            known,
            entries: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new one in, and ends the one that has to give way to it.
    fn enter(self: &Arc<Self>, from: &Multiaddr) -> (Turn, AbortRegistration) {
        let from = AddressBlock::of(from);
        let known = from.is_some_and(|block| self.known.contains(&block));
        let (handshake, registration) = AbortHandle::new_pair();
        let mut entries = self.lock();
        if let Some(displaced) = self.displaced(&entries.waiting, from, known)
            && let Some(displaced) = entries.waiting.remove(&displaced)
        {
            displaced.handshake.abort();
        }
        let number = entries.next;
        entries.next += 1;
        let entry = Entry {
            from,
            known,
            handshake,
        };
        entries.waiting.insert(number, entry);
        drop(entries);
        let turn = Turn {
            pending: Arc::clone(self),
            number,
        };
        (turn, registration)
    }

    fn displaced(
        &self,
        waiting: &BTreeMap<u64, Entry>,
        from: Option<AddressBlock>,
        known: bool,
    ) -> Option<u64> {
        let of_address = |wanted: Option<AddressBlock>| {
            waiting
                .iter()
                .filter(move |(_, entry)| entry.from == wanted && entry.known == known)
                .map(|(number, _)| *number)
        };
        if of_address(from).count() >= self.per_address {
            return of_address(from).next();
        }
        let mut crowds: HashMap<Option<AddressBlock>, usize> = HashMap::new();
        let mut in_room = 0;
        for entry in waiting.values().filter(|entry| entry.known == known) {
            *crowds.entry(entry.from).or_default() += 1;
            in_room += 1;
        }
        if in_room < self.in_each_room {
            return None;
        }
        let largest = crowds.values().max().copied()?;
        let in_largest = |entry: &Entry| crowds.get(&entry.from) == Some(&largest);
        waiting
            .iter()
            .find(|(_, entry)| entry.known == known && in_largest(entry))
            .map(|(number, _)| *number)
    }
}

type Connection = (PeerId, StreamMuxerBox);

/// The transport, with its handshakes bounded.
pub(crate) fn bounded(inner: Boxed<Connection>, pending: Arc<Pending>) -> Boxed<Connection> {
    Bounded { inner, pending }.boxed()
}

struct Bounded {
    inner: Boxed<Connection>,
    pending: Arc<Pending>,
}

impl Transport for Bounded {
    type Output = Connection;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<Connection>>;
    type Dial = <Boxed<Connection> as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        addr: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, addr)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(addr, opts)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = std::task::ready!(Pin::new(&mut self.inner).poll(context));
        let from = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => Some(send_back_addr.clone()),
            _ => None,
        };
        Poll::Ready(event.map_upgrade(|upgrade| {
            let (turn, registration) = self.pending.enter(&from.unwrap_or_else(Multiaddr::empty));
            let handshake = Abortable::new(upgrade, registration);
            async move {
                let outcome = handshake.await;
                drop(turn);
                outcome.unwrap_or_else(|_| Err(io::Error::other(GaveWay)))
            }
            .boxed()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(per_address: u32, in_each_room: u32) -> Arc<Pending> {
        Arc::new(Pending::new(per_address, in_each_room, Arc::default()))
    }

    fn enter(pending: &Arc<Pending>, from: &str) -> (Turn, AbortRegistration) {
        pending.enter(&from.parse().unwrap())
    }

    fn gave_way(entered: &(Turn, AbortRegistration)) -> bool {
        entered.1.handle().is_aborted()
    }

    #[test]
    fn of_an_address_that_has_its_share_the_oldest_gives_way_and_of_others_none() {
        let pending = pending(2, 100);
        let other = enter(&pending, "/ip4/192.0.2.9/tcp/1");
        let first = enter(&pending, "/ip4/192.0.2.1/tcp/1");
        let second = enter(&pending, "/ip4/192.0.2.1/udp/2/quic-v1");
        assert!(!gave_way(&first));
        let third = enter(&pending, "/ip4/192.0.2.1/tcp/3");
        assert!(gave_way(&first));
        drop(second); // has proven who it is
        let fourth = enter(&pending, "/ip4/192.0.2.1/tcp/4");
        assert!([&other, &third, &fourth].into_iter().all(|e| !gave_way(e)));
        drop((other, first, third, fourth));
        assert!(pending.lock().waiting.is_empty());
    }

    #[test]
    fn where_a_room_is_full_the_largest_crowd_in_it_gives_way() {
        let pending = pending(16, 4);
        let single = enter(&pending, "/ip4/192.0.2.1/tcp/1");
        let crowd: Vec<_> = (0..3)
            .map(|port| enter(&pending, &format!("/ip4/192.0.2.2/tcp/{}", port + 1)))
            .collect();
        let last = enter(&pending, "/ip4/192.0.2.3/tcp/1");
        assert!(!gave_way(&single) && !gave_way(&last));
        assert!(gave_way(&crowd[0]) && !gave_way(&crowd[1]));
    }

    #[test]
    fn known_addresses_have_room_of_their_own() {
        let pending = pending(16, 2);
        let node = "/ip4/192.0.2.7/tcp/1".parse().unwrap();
        pending.known.note(AddressBlock::of(&node).unwrap());
        let node = pending.enter(&node);
        let strangers: Vec<_> = (1..100)
            .map(|number| enter(&pending, &format!("/ip4/198.51.100.{number}/tcp/1")))
            .collect();
        assert!(!gave_way(&node));
        assert_eq!(
            strangers.iter().filter(|entered| gave_way(entered)).count(),
            97
        );
    }

    #[test]
    fn known_addresses_without_number_are_not_all_kept() {
        let known = KnownAddresses::default();
        for number in 0..MAX_KNOWN as u32 + 10 {
            known.note(AddressBlock::of_ip(std::net::Ipv4Addr::from(number).into()));
        }
        assert_eq!(known.0.read().unwrap().len(), MAX_KNOWN);
        let newest = std::net::Ipv4Addr::from(MAX_KNOWN as u32 + 9).into();
        assert!(known.contains(&AddressBlock::of_ip(newest)));
    }
}
