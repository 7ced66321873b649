//! What the policy around the connections costs a transfer: the pipeline of `bench limit` to three nodes,
//! bare, and with everybody allowed, watched, pinged and beating.

use anyhow::Result;

use super::Line;
use super::stand_in::Coordinator;
use crate::content::Content;
use crate::limit::{Nodes, Pipeline};
use crate::report::Spread;

const NODES: usize = 3;
const RUNS: usize = 5;
const BYTES: u64 = 256 * 1024 * 1024;

/// In turn, so that the moods of the machine meet both.
pub(super) async fn beside_the_limit(note: &mut impl FnMut(Line)) -> Result<()> {
    let bare = Pipeline::start(NODES).await?;
    let mut coordinator = Coordinator::start().await?;
    let nodes = Nodes::start(NODES, &coordinator.place(), &["--policy"])?;
    coordinator.arrivals(NODES).await?;
    let peers = coordinator.observer.view().await;
    let peers = peers.iter().map(|view| view.peer).collect();
    let watched = Pipeline::over(coordinator.handle.clone(), peers, nodes).await?;

    let content = Content::random();
    let mut seconds: [Vec<f64>; 2] = Default::default();
    for _ in 0..RUNS {
        for (pipeline, seconds) in [&bare, &watched].into_iter().zip(&mut seconds) {
            seconds.push(pipeline.measure(&content, BYTES).await?.seconds);
        }
    }
    let [bare, watched] = seconds.map(|seconds| Spread::of(seconds.into_iter()).median);
    let speed = |seconds: f64| BYTES as f64 / seconds / 1024.0 / 1024.0;
    let share = bare / watched * 100.0;
    note(Line {
        what: "bulk to three peers at once, of the bare pipeline",
        limit: "≥ 85 %",
        reached: format!(
            "{share:.0} % ({:.0} of {:.0} MiB/s of file)",
            speed(watched),
            speed(bare)
        ),
        good: share >= 85.0,
    });
    coordinator.stop().await;
    Ok(())
}
