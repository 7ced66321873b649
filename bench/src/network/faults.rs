//! How soon a dead, a paused and a silent peer are noticed, and how a fleet comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use local_cluster::proxy::Conditions;
use network::PeerEvent;
use rustix::process::Signal;
use tokio::time::sleep;

use super::stand_in::{Coordinator, PeerProcess};
use super::{Line, ms};

pub(super) async fn noticed(note: &mut impl FnMut(Line)) -> Result<()> {
    let mut coordinator = Coordinator::start().await?;
    let lost = |event: &PeerEvent| matches!(event, PeerEvent::Disconnected { .. });
    let silent = |event: &PeerEvent| matches!(event, PeerEvent::Unresponsive { .. });

    let peer = PeerProcess::start(&coordinator.place(), 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    drop(peer); // SIGKILL
    let noticed = coordinator.when(lost).await?.duration_since(began);
    note(Line {
        what: "dead peer (SIGKILL) noticed",
        limit: "< 2 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(2),
    });

    let peer = PeerProcess::start(&coordinator.place(), 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    peer.signal(Signal::STOP)?;
    let noticed = coordinator.when(silent).await?.duration_since(began);
    note(Line {
        what: "paused peer (SIGSTOP) noticed",
        limit: "< 20 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(20),
    });
    peer.signal(Signal::CONT)?;
    drop(peer);

    let mut coordinator = Coordinator::start().await?;
    let (proxy, place) = coordinator.behind_proxy().await?;
    let _peer = PeerProcess::start(&place, 1)?;
    coordinator.arrivals(1).await?;
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    let noticed = coordinator.when(silent).await?.duration_since(began);
    note(Line {
        what: "silent packet loss noticed",
        limit: "< 30 s",
        reached: ms(noticed),
        good: noticed < Duration::from_secs(30),
    });
    coordinator.stop().await;
    Ok(())
}

pub(super) async fn return_of_the_fleet(count: usize, note: &mut impl FnMut(Line)) -> Result<()> {
    let mut coordinator = Coordinator::start().await?;
    let _peers = PeerProcess::start(&coordinator.place(), count)?;
    coordinator.arrivals(count).await?;
    sleep(Duration::from_secs(6)).await; // connections that have settled
    let mut coordinator = coordinator.restart().await?;
    let began = Instant::now();
    let times = coordinator.arrivals(count).await?;
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last = Duration::ZERO;
    for time in times {
        let after = time.saturating_duration_since(began);
        *seconds.entry(after.as_secs()).or_default() += 1;
        last = last.max(after);
    }
    note(Line {
        what: "all peers back after a restart of the coordinator",
        limit: "< 60 s",
        reached: format!("{:.1} s ({count} peers)", last.as_secs_f64()),
        good: last < Duration::from_secs(60),
    });
    let most = seconds.values().copied().max().unwrap_or_default() * 100 / count.max(1);
    note(Line {
        what: "most of them in one second",
        limit: "≤ 20 %",
        reached: format!("{most} %"),
        good: most <= 20,
    });
    coordinator.stop().await;
    Ok(())
}
