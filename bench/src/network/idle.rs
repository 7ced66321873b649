//! What peers cost that are connected, beat and are watched, and have nothing else to do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use local_cluster::process::ProcessId;
use tokio::time::sleep;

use super::Line;
use super::stand_in::{Coordinator, PeerProcess};

/// Until the first pings, identifications and heartbeats are over.
const SETTLING: Duration = Duration::from_secs(10);

/// The coordinator's side is this process: its processor time while it is watched, heartbeats and pings
/// included, and the growth of its resident memory from before the first peer to the end.
pub(super) async fn cost(count: usize, watch: Duration, note: &mut impl FnMut(Line)) -> Result<()> {
    const PROCESSES: usize = 4;
    let mut coordinator = Coordinator::start().await?;
    let before = resident_bytes()?;
    let mut processes = Vec::new();
    for _ in 0..PROCESSES {
        processes.push(PeerProcess::start(&coordinator.place(), count / PROCESSES)?);
    }
    let count = count / PROCESSES * PROCESSES;
    coordinator.arrivals(count).await?;
    sleep(SETTLING).await;
    let this = ProcessId::of(std::process::id()).context("cannot read /proc")?;
    let cpu = this.cpu_seconds().context("cannot read /proc")?;
    sleep(watch).await;
    let cpu = this.cpu_seconds().context("cannot read /proc")? - cpu;
    let views = coordinator.observer.view().await;
    let well = views
        .iter()
        .filter(|view| view.responsive && view.connections == 1);
    ensure!(
        well.count() == count,
        "not all of {count} idle peers have stayed connected"
    );
    let memory = resident_bytes()?.saturating_sub(before) / count as u64;
    note(Line {
        what: "memory of the coordinator for each idle peer",
        limit: "< 600 KiB",
        reached: format!("{:.0} KiB ({count} peers)", memory as f64 / 1024.0),
        good: memory < 600 * 1024,
    });
    let share = cpu / watch.as_secs_f64() * 100.0;
    note(Line {
        what: "processor time of the coordinator, all of them together",
        limit: "< 5 % of a core",
        reached: format!("{share:.1} %"),
        good: share < 5.0,
    });
    coordinator.stop().await;
    Ok(())
}

/// Payload is counted by a proxy: a socket's bytes, without the headers of TCP and IP.
pub(super) async fn traffic(watch: Duration, note: &mut impl FnMut(Line)) -> Result<()> {
    const PEERS: usize = 20;
    let mut coordinator = Coordinator::start().await?;
    let (proxy, place) = coordinator.behind_proxy().await?;
    let _process = PeerProcess::start(&place, PEERS)?;
    coordinator.arrivals(PEERS).await?;
    sleep(SETTLING).await;
    let before = proxy.bytes();
    sleep(watch).await;
    let rate = (proxy.bytes() - before) as f64 / watch.as_secs_f64() / PEERS as f64;
    note(Line {
        what: "traffic of an idle peer, both directions, without TCP/IP headers",
        limit: "< 1 KB/s",
        reached: format!("{rate:.0} B/s"),
        good: rate < 1000.0,
    });
    coordinator.stop().await;
    Ok(())
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm
        .split(' ')
        .nth(1)
        .context("/proc/self/statm is short")?;
    Ok(pages.parse::<u64>()? * 4096)
}
