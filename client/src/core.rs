//! What all transfers of a client share: coordinators, turns, memory, limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use kit::Entropy;
use reqwest::Body;
use sealing::end_to_end::Root;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::Error;
use crate::config::ClientConfig;
use crate::coordinators::Coordinators;
use crate::pace::{Limiter, Turns, Watch};
use crate::rest::Session;

/// Of all pieces of all transfers that are in memory at a time.
const MEMORY: u64 = 64 * UNIT;
const UNIT: u64 = 1024 * 1024;

/// Bytes that are handed to the network at a time.
const FRAME: usize = 65_536;

#[derive(Debug)]
pub(crate) struct Core {
    pub coordinators: Coordinators,
    pub up: Arc<Limiter>,
    pub down: Limiter,
    pub entropy: Entropy,
    pub patience: Duration,
    pub state_dir: Option<PathBuf>,
    pub root: Option<Root>,
    /// By their names.
    pub sealed_buckets: BTreeMap<String, Uuid>,
    turns: Turns,
    memory: Arc<Semaphore>,
}

/// Memory for a piece; given back when it is dropped.
pub(crate) type Room = OwnedSemaphorePermit;

impl Core {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, Error> {
        Ok(Self {
            coordinators: Coordinators::new(&config)?,
            up: Arc::new(Limiter::new(config.limit_up)),
            down: Limiter::new(config.limit_down),
            entropy: config.entropy,
            patience: config.patience,
            state_dir: config.state_dir,
            root: config.root,
            sealed_buckets: config.sealed_buckets,
            turns: Turns::new(config.parallel),
            memory: Arc::new(Semaphore::new((MEMORY / UNIT) as usize)),
        })
    }

    /// Waits until there is memory for so many bytes; for more than there is, until there is all.
    pub(crate) async fn room(&self, bytes: u64) -> Result<Room, Error> {
        let units = bytes.min(MEMORY).div_ceil(UNIT).max(1) as u32;
        let room = Arc::clone(&self.memory).acquire_many_owned(units).await;
        room.map_err(|_| Error::unusable("the client is closed"))
    }

    /// As [`Coordinators::ask`], as many at the same time as the coordinator takes.
    pub(crate) async fn ask_in_turn<T, F>(&self, request: impl Fn(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let in_turn = |session| {
            let request = &request;
            async move {
                let turn = self.turns.take().await;
                let outcome = request(session).await;
                match &outcome {
                    Ok(_) => turn.went_well(),
                    Err(error) if error.is_congestion() => turn.met_congestion(),
                    Err(_) => {}
                }
                outcome
            }
        };
        self.coordinators.ask(in_turn).await
    }

    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::new(Watch::new(self.patience))
    }

    /// A body that keeps to the limit, and what says whether it moves.
    pub(crate) fn body(&self, bytes: Bytes) -> (Body, Arc<Watch>) {
        let watch = self.watch();
        let state = (bytes, Arc::clone(&self.up), Arc::clone(&watch));
        let frames = stream::unfold(state, async |(mut rest, up, watch)| {
            if rest.is_empty() {
                return None;
            }
            let frame = rest.split_to(rest.len().min(FRAME));
            watch.held_back();
            up.take(frame.len()).await;
            watch.moved();
            Some((Ok::<_, Infallible>(frame), (rest, up, watch)))
        });
        (Body::wrap_stream(frames), watch)
    }

    /// A name under which a request is done once.
    pub(crate) fn idempotency_key(&self) -> String {
        let mut bytes = [0; 16];
        rand::Rng::fill_bytes(&mut self.entropy.rng(), &mut bytes);
        hex::encode(bytes)
    }
}
