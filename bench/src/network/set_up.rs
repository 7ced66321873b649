//! How fast connections stand, and small requests come back.

use std::time::{Duration, Instant};

use anyhow::Result;
use network::{NetworkHandle, PeerId};
use proto::{BlobId, Heartbeat, Locator, RequestId, Store, StoreRequest};

use super::stand_in::{Coordinator, REPORT, connect_once, refuse_blobs};
use super::{Line, ms};

const CHUNK: usize = 256 * 1024;

pub(super) async fn measure(note: &mut impl FnMut(Line)) -> Result<()> {
    let coordinator = Coordinator::start().await?;
    set_up(&coordinator, note).await?;
    storm(&coordinator, note).await?;
    round_trips(&coordinator, note).await?;
    coordinator.stop().await;
    Ok(())
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

async fn set_up(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..100 {
        let (network, took) = connect_once(coordinator).await?;
        times.push(took);
        network.handle.shutdown().await;
    }
    let median = percentile(&sorted(times), 50);
    note(Line {
        what: "connection set-up, median of 100",
        limit: "< 100 ms",
        reached: ms(median),
        good: median < Duration::from_millis(100),
    });
    Ok(())
}

async fn storm(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let dials = (0..200).map(|_| connect_once(coordinator));
    let times = futures::future::try_join_all(dials).await?;
    let mut worst = Duration::ZERO;
    for (network, took) in times {
        worst = worst.max(took);
        network.handle.shutdown().await;
    }
    note(Line {
        what: "connection set-up, worst of a storm of 200",
        limit: "< 5 s",
        reached: ms(worst),
        good: worst < Duration::from_secs(5),
    });
    Ok(())
}

async fn heartbeats(node: &NetworkHandle, to: PeerId, count: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        node.call::<Heartbeat>(to, REPORT).await?;
        times.push(began.elapsed());
    }
    Ok(sorted(times))
}

async fn round_trips(coordinator: &Coordinator, note: &mut impl FnMut(Line)) -> Result<()> {
    let (mut network, _) = connect_once(coordinator).await?;
    let node = network.handle.clone();
    let (id, to) = (node.local_peer_id(), coordinator.id());
    tokio::spawn(async move { while network.events.recv().await.is_some() {} });
    tokio::spawn(refuse_blobs(network.requests));
    heartbeats(&node, to, 100).await?;
    let idle = percentile(&heartbeats(&node, to, 1000).await?, 50);
    note(Line {
        what: "small request, median when idle",
        limit: "< 2 ms",
        reached: ms(idle),
        good: idle < Duration::from_millis(2),
    });
    let data = bytes::Bytes::from(vec![7; CHUNK]);
    let request = StoreRequest {
        blob_id: BlobId::of(&data),
        locator: Locator::from_bytes([0; Locator::LEN]),
        request_id: RequestId::NONE,
        data,
    };
    let flows: Vec<_> = (0..8)
        .map(|_| {
            let (handle, request) = (coordinator.handle.clone(), request.clone());
            tokio::spawn(
                async move { while handle.call::<Store>(id, request.clone()).await.is_ok() {} },
            )
        })
        .collect();
    let busy = heartbeats(&node, to, 1000).await?;
    flows.iter().for_each(tokio::task::JoinHandle::abort);
    let p99 = percentile(&busy, 99);
    note(Line {
        what: "small request, p99 while 256 KiB chunks flow to the peer",
        limit: "< 50 ms",
        reached: ms(p99),
        good: p99 < Duration::from_millis(50),
    });
    node.shutdown().await;
    Ok(())
}
