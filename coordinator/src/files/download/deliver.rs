//! Passing chunks on as their client takes them.
//!
//! A client that takes nothing for a moment loses what was read ahead for it, and its place among those who wait for
//! memory, as soon as somebody else needs them: what it holds is one chunk, however many such clients there are. One that
//! takes nothing for the idle timeout is cut. Rejected: leaving it its read-ahead until it is cut, which has a hundred
//! clients who do not read slow down all others.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::DownloadError;
use super::read_ahead::{Chunks, ReadAhead};
use crate::security;

/// A client that has not taken a chunk for so long is slow, or stalled.
const MOMENT: Duration = Duration::from_millis(200);

/// A client that has lost its read-ahead gets it back when it has taken so many chunks without a pause.
const PROMPT: u32 = 4;

pub(super) struct Delivery {
    pub first: Bytes,
    /// Begins with the first of `rest`.
    pub ahead: Chunks,
    pub rest: Range<u64>,
    pub source: ReadAhead,
}

type Item = Option<Result<Bytes, DownloadError>>;

impl Delivery {
    /// Runs as a task of its own, so that time is kept of a client whose connection nobody polls.
    pub(super) fn start(self) -> impl Stream<Item = Result<Bytes, DownloadError>> + Send + 'static {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(security::carried(self.run(sender)));
        // The channel closes without the `None` that marks a proper end when its sender gave up.
        ReceiverStream::new(receiver)
            .map(Some)
            .chain(futures::stream::once(async { None }))
            .scan(false, |ended, item: Option<Item>| {
                let next = match item {
                    Some(Some(chunk)) => Some(chunk),
                    Some(None) => {
                        *ended = true;
                        None
                    }
                    None if *ended => None,
                    None => Some(Err(DownloadError::Stalled)),
                };
                futures::future::ready(next)
            })
    }

    async fn run(self, sender: mpsc::Sender<Item>) {
        let idle = self.source.files.idle_timeout;
        let (source, mut rest) = (self.source, self.rest);
        let mut ahead = Ahead {
            chunks: Some(self.ahead),
            window: source.window(),
            prompt: 0,
        };
        let mut chunk = self.first;
        loop {
            // Not kept while the next is waited for.
            let bytes = std::mem::take(&mut chunk);
            if !ahead.hand_over(&source, &sender, bytes, idle).await {
                return;
            }
            if rest.is_empty() {
                break;
            }
            match ahead.next(&source, rest.clone()).await {
                Some(Ok(next)) => chunk = next,
                Some(Err(error)) => {
                    let told = sender.send(Some(Err(error)));
                    let _ = tokio::time::timeout(idle, told).await;
                    return;
                }
                None => break,
            }
            rest.start += 1;
        }
        let _ = sender.send(None).await;
    }
}

/// What is read ahead, while the client keeps up or nobody else needs the memory.
struct Ahead {
    chunks: Option<Chunks>,
    window: usize,
    prompt: u32,
}

impl Ahead {
    async fn next(
        &mut self,
        source: &ReadAhead,
        rest: Range<u64>,
    ) -> Option<Result<Bytes, DownloadError>> {
        if self.window < source.window() && self.prompt >= PROMPT {
            self.window = source.window();
            self.chunks = None;
        }
        let chunks = self
            .chunks
            .get_or_insert_with(|| source.chunks(rest, self.window));
        chunks.next().await
    }

    /// `false` when the client has gone or takes nothing.
    async fn hand_over(
        &mut self,
        source: &ReadAhead,
        sender: &mpsc::Sender<Item>,
        piece: Bytes,
        idle: Duration,
    ) -> bool {
        let deadline = Instant::now() + idle;
        let mut is_slow = false;
        loop {
            tokio::select! {
                room = sender.reserve() => {
                    let Ok(room) = room else { return false };
                    room.send(Some(Ok(piece)));
                    self.prompt = if is_slow { 0 } else { self.prompt + 1 };
                    return true;
                }
                () = tokio::time::sleep_until(deadline) => return false,
                () = tokio::time::sleep(MOMENT) => {
                    is_slow = true;
                    if self.chunks.is_some() && source.files.download_memory.is_contended() {
                        self.chunks = None;
                        self.window = 1;
                    }
                }
            }
        }
    }
}
