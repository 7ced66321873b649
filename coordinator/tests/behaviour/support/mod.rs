//! What the tests share: a coordinator, clients of its API, storage nodes, and looks into the
//! database.

pub(crate) mod audit;
mod client;
mod conduct;
mod coordinator;
mod database;
pub(crate) mod economy;
mod mail_server;
mod node;
mod s3;
mod shelf;
pub(crate) mod shop;

use std::time::Duration;

pub(crate) use client::{Answer, Call, Client};
pub(crate) use conduct::{OnInventory, OnProve, OnRead, OnStore};
pub(crate) use coordinator::{Coordinator, NO_PROVIDER};
pub(crate) use database::{
    balance, begin_session, count, post, purges_of, seal, total, user, wait_for_locks,
    waits_for_lock,
};
pub(crate) use mail_server::MailServer;
pub(crate) use node::{Node, registration, registration_with};
pub(crate) use s3::{S3Client, bare};
pub(crate) use shelf::node_config;

/// One chunk, as the tests configure it.
pub(crate) const CHUNK: usize = 4096;

/// Ends a test that would wait for ever. No outcome depends on how long it is.
pub(crate) fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let limited = tokio::time::timeout(Duration::from_secs(60), Box::pin(future));
    async { (limited.await).unwrap_or_else(|_| panic!("what this test waits for does not happen")) }
}

/// Looks again and again until there is something to see.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(seen).await
}

/// Bytes that do not repeat within any test, so that a chunk in the wrong place shows.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// ⌈max(size + bytes of the name, 64 KiB) · 3 replicas · 1.25 credits / 10⁹⌉ in micro-credits.
pub(crate) fn price(name: &str, size: usize) -> i64 {
    let billed = (size + name.len()).max(65_536);
    (billed as i64 * 3 * 1_250_000 + 999_999_999) / 1_000_000_000
}
