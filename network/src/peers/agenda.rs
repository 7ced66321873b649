//! What is due when. Entries are not removed when they lose their meaning; whoever takes one looks
//! whether it still has any.

use std::collections::BTreeMap;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// To be dialled, or to leave its rest.
    Dial,
    /// Perhaps silent for too long.
    Silence,
    /// Perhaps heard again.
    Recovery,
    /// Perhaps silent for so long that its connections are given up.
    GiveUp,
    /// Perhaps replaced by another connection.
    Drain(ConnectionId),
    /// A visit that has taken long enough.
    EndVisit(ConnectionId),
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BTreeMap<(Instant, u64), (PeerId, Due)>,
    next: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Instant, peer: PeerId, due: Due) {
        self.entries.insert((at, self.next), (peer, due));
        self.next += 1;
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, PeerId, Due)> {
        let first = self.entries.first_entry()?;
        let (at, _) = *first.key();
        (at <= now).then(|| {
            let (peer, due) = first.remove();
            (at, peer, due)
        })
    }
}
