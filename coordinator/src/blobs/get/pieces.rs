//! Pieces of a coded chunk: those that are wanted, or any k.
//!
//! Where the wanted pieces all stand on nodes that are there, they alone are asked for: a range inside a piece costs one read,
//! a whole chunk its pieces of data, and nothing is decoded. As soon as one fails, or is slower than the 95th percentile, any
//! pieces will do, and one more is asked for each that is late: the k fastest make the chunk.

use std::cmp::Reverse;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use proto::Malformed;
use tokio::time::Instant;

use super::replica::read_replica;
use super::{Failed, StoredAs, cost_of, overtaken};
use crate::blobs::Blobs;
use model::chunk::ReplicaLocation;
use sealing::{DataKey, OpenError, PieceRef};

/// One round through the replicas of a chunk.
pub(super) struct PieceReads<'a> {
    blobs: &'a Blobs,
    key: &'a Arc<DataKey>,
    stored: StoredAs,
    wanted: &'a [u8],
    /// Best last.
    untried: Vec<ReplicaLocation>,
    asked: Vec<ReplicaLocation>,
    /// Of them, those that did not answer in time.
    late: Vec<ReplicaLocation>,
    read: Vec<(u8, Bytes)>,
    /// So many pieces are to come.
    goal: usize,
}

impl<'a> PieceReads<'a> {
    pub(super) fn new(
        blobs: &'a Blobs,
        key: &'a Arc<DataKey>,
        stored: StoredAs,
        wanted: &'a [u8],
        replicas: &[ReplicaLocation],
    ) -> Self {
        let cost = |replica: &ReplicaLocation| cost_of(&blobs.fleet, replica);
        let is_good = |replica: &ReplicaLocation| {
            !replica.demoted && !replica.suspect && cost(replica) < u64::MAX
        };
        let has_good = |number: &u8| replicas.iter().any(|r| r.piece == *number && is_good(r));
        let needed = stored.scheme.needed();
        let mut untried = replicas.to_vec();
        untried.sort_by_cached_key(|replica| {
            let cost = cost(replica);
            let is_away = cost == u64::MAX;
            let is_parity = u32::from(replica.piece) >= needed;
            let is_wanted = wanted.contains(&replica.piece);
            Reverse((
                replica.demoted,
                replica.suspect,
                is_away,
                !is_wanted,
                is_parity,
                cost,
            ))
        });
        Self {
            goal: match wanted.iter().all(has_good) {
                true => wanted.len(),
                false => needed as usize,
            },
            blobs,
            key,
            stored,
            wanted,
            untried,
            asked: Vec::new(),
            late: Vec::new(),
            read: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Vec<(u8, Bytes)>, Failed> {
        let mut running = FuturesUnordered::new();
        let mut failed = Failed::ForGood;
        let mut hedge_at = Instant::now() + self.blobs.fleet.read_hedge_delay();
        loop {
            while self.read.len() + running.len() < self.goal + self.late.len()
                && let Some(replica) = self.next()
            {
                self.asked.push(replica);
                let (blobs, key) = (self.blobs, Arc::clone(self.key));
                let place = self.place(replica.piece);
                let open = move |data| key.open_piece(place.map_err(|_| OpenError)?, data);
                running.push(async move { (replica, read_replica(blobs, replica, open).await) });
            }
            tokio::select! {
                Some((replica, outcome)) = running.next() => {
                    self.asked.retain(|other| other.node_id != replica.node_id);
                    self.late.retain(|other| other.node_id != replica.node_id);
                    match outcome {
                        Ok(piece) => self.add(replica.piece, piece),
                        Err(failure) => {
                            if failure == Failed::ForNow {
                                failed = failure;
                            }
                            self.any_will_do();
                        }
                    }
                    if self.is_complete() {
                        overtaken(self.blobs, &self.late);
                        return Ok(self.read);
                    }
                }
                () = tokio::time::sleep_until(hedge_at), if !self.untried.is_empty() => {
                    self.any_will_do();
                    self.late.clone_from(&self.asked);
                    hedge_at = Instant::now() + self.blobs.fleet.read_hedge_delay();
                }
                else => return Err(failed),
            }
        }
    }

    fn place(&self, number: u8) -> Result<PieceRef, Malformed> {
        Ok(PieceRef {
            chunk: self.stored.chunk,
            piece: self.stored.scheme.piece(number)?,
            chunk_bytes: self.stored.size_bytes,
        })
    }

    /// The best replica of a piece that nobody has been asked for, or else of one that has not come yet.
    fn next(&mut self) -> Option<ReplicaLocation> {
        let (read, asked) = (&self.read, &self.asked);
        self.untried
            .retain(|replica| !read.iter().any(|(number, _)| *number == replica.piece));
        let is_new = |replica: &ReplicaLocation| !asked.iter().any(|a| a.piece == replica.piece);
        match self.untried.iter().rposition(is_new) {
            Some(at) => Some(self.untried.remove(at)),
            None => self.untried.pop(),
        }
    }

    fn any_will_do(&mut self) {
        self.goal = self.stored.scheme.needed() as usize;
    }

    fn add(&mut self, number: u8, piece: Bytes) {
        if !self.read.iter().any(|(other, _)| *other == number) {
            self.read.push((number, piece));
        }
    }

    fn is_complete(&self) -> bool {
        let has = |number: &u8| self.read.iter().any(|(other, _)| other == number);
        self.wanted.iter().all(has) || self.read.len() >= self.stored.scheme.needed() as usize
    }
}
