//! Whose turn it is to be pinged. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

/// Turns that come faster would leave time for nothing else.
const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Pings of a new connection that nothing else replaces: the first meets a peer that is still busy with the
/// handshake, and perhaps nobody who wants to know yet.
const FIRST_PINGS: u32 = 2;

/// Even a peer that is always heard is measured once in so many intervals.
const MEASURED_EVERY: u32 = 6;

pub(super) struct Schedule {
    interval: Duration,
    /// In the order of their turns.
    turns: BTreeSet<(Instant, ConnectionId)>,
    watched: HashMap<ConnectionId, Watched>,
}

struct Watched {
    peer: PeerId,
    turn: Instant,
    pings: u32,
    pinged: Instant,
}

impl Schedule {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(LEAST_INTERVAL),
            turns: BTreeSet::new(),
            watched: HashMap::new(),
        }
    }

    /// The first turn is at once, so that a round trip is known early.
    pub(super) fn add(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        self.remove(connection);
        self.turns.insert((now, connection));
        let watched = Watched {
            peer,
            turn: now,
            pings: 0,
            pinged: now,
        };
        self.watched.insert(connection, watched);
    }

    pub(super) fn remove(&mut self, connection: ConnectionId) {
        if let Some(watched) = self.watched.remove(&connection) {
            self.turns.remove(&(watched.turn, connection));
        }
    }

    pub(super) fn watches(&self, connection: ConnectionId) -> bool {
        self.watched.contains_key(&connection)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.turns.first().map(|(turn, _)| *turn)
    }

    /// A connection that is to be pinged now. Those that were `heard` get another turn instead.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        heard: impl Fn(&PeerId, ConnectionId) -> Option<Instant>,
    ) -> Option<(PeerId, ConnectionId)> {
        loop {
            let (turn, connection) = *self.turns.first().filter(|(turn, _)| *turn <= now)?;
            self.turns.remove(&(turn, connection));
            let Some(watched) = self.watched.get_mut(&connection) else {
                continue;
            };
            let heard = heard(&watched.peer, connection);
            let spared_until = watched.spared_until(self.interval, heard);
            let spared_until = spared_until.filter(|at| *at > now);
            watched.turn = spared_until.unwrap_or(now + self.interval);
            self.turns.insert((watched.turn, connection));
            if spared_until.is_none() {
                watched.pings = watched.pings.saturating_add(1);
                watched.pinged = now;
                return Some((watched.peer, connection));
            }
        }
    }
}

impl Watched {
    /// A quarter longer than the interval, so that what is sent once in an interval does not lose a race.
    fn spared_until(&self, interval: Duration, heard: Option<Instant>) -> Option<Instant> {
        let heard = heard.filter(|_| self.pings >= FIRST_PINGS)?;
        Some((heard + interval + interval / 4).min(self.pinged + interval * MEASURED_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    /// The seconds at which one connection is pinged, when it is heard at others.
    fn pings(until: u64, heard: impl Fn(u64) -> bool) -> Vec<u64> {
        let (mut schedule, start) = (Schedule::new(INTERVAL), Instant::now());
        let connection = ConnectionId::new_unchecked(1);
        schedule.add(PeerId::random(), connection, start);
        let (mut pings, mut last) = (Vec::new(), None);
        for second in 0..until {
            let now = start + Duration::from_secs(second);
            if heard(second) {
                last = Some(now);
            }
            if schedule.take_due(now, |_, _| last).is_some() {
                pings.push(second);
            }
        }
        pings
    }

    #[test]
    fn a_peer_of_which_nothing_is_heard_is_pinged_at_once_and_in_every_interval() {
        assert_eq!(pings(21, |_| false), [0, 5, 10, 15, 20]);
    }

    #[test]
    fn a_peer_that_is_heard_in_every_interval_is_pinged_now_and_then_only() {
        for phase in 0..5 {
            let pings = pings(96, |second| second % 5 == phase);
            assert_eq!(pings, [0, 5, 35, 65, 95], "{phase}");
        }
    }

    #[test]
    fn a_peer_that_falls_silent_is_pinged_before_a_second_interval_is_over() {
        let pings = pings(40, |second| second <= 22);
        let first = *pings.iter().find(|second| **second > 22).unwrap();
        assert!((27..=29).contains(&first), "{pings:?}");
        assert!(pings.ends_with(&[first, first + 5, first + 10]));
    }

    #[test]
    fn a_connection_that_is_gone_has_no_turn() {
        let (mut schedule, now) = (Schedule::new(INTERVAL), Instant::now());
        let ids = [1, 2].map(ConnectionId::new_unchecked);
        for id in ids {
            schedule.add(PeerId::random(), id, now);
        }
        schedule.remove(ids[0]);
        let mut due = || schedule.take_due(now, |_, _| None).map(|(_, id)| id);
        assert_eq!(due(), Some(ids[1]));
        assert_eq!(due(), None);
        assert_eq!(schedule.next(), Some(now + INTERVAL));
        schedule.remove(ids[1]);
        assert!(schedule.turns.is_empty() && schedule.watched.is_empty());
    }
}
