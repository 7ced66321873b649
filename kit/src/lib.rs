//! What every program of a federated storage network needs, and no one else should write again.
//!
//! | module | what for |
//! |---|---|
//! | [`clock`], [`entropy`] | the only two places that read the wall clock and the system's randomness; both can be simulated |
//! | [`batcher`] | group commit: one task writes what has gathered, and answers each who waits |
//! | [`jobs`] | background work in bounded steps: pace, wake, stop and status belong to the runner |
//! | [`config`] | settings in layers: flag > environment > file > default |
//! | [`logging`] | logs on standard error, text or JSON lines |
//! | [`metrics`] | counters and gauges, the process itself among them |
//! | [`output`] | tables, times and JSON on standard output |
//! | [`signals`], [`printing`], [`ready_file`], [`private_file`] | how a process starts, tells that it is ready, prints, and ends |
//!
//! The crate depends on nothing else of this project. `config`, `logging`, `metrics` and `output` are features, on by
//! default: without them it is small enough for a library that wants no more than the time.
//!
//! A program hands clock and entropy down, and its background work to a runner:
//!
//! ```
//! use std::time::Duration;
//!
//! use kit::{Clock, Entropy, Job, Runner, Step, Wake};
//! use tokio_util::{sync::CancellationToken, task::TaskTracker};
//!
//! struct MakeIds {
//!     clock: Clock,
//!     entropy: Entropy,
//! }
//!
//! impl Job for MakeIds {
//!     const NAME: &'static str = "make-ids";
//!
//!     async fn step(&self) -> anyhow::Result<Step> {
//!         let id = self.entropy.uuid_v7(self.clock.now());
//!         println!("made {id}");
//!         Ok(Step::Idle)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (tasks, stop, wake) = (TaskTracker::new(), CancellationToken::new(), Wake::new());
//! let runner = Runner::new(Clock::system(), tasks.clone(), stop.clone());
//! let job = MakeIds { clock: Clock::system(), entropy: Entropy::system() };
//! runner.spawn(job, kit::Pace::every(Duration::from_secs(60)).or_at(&wake));
//!
//! wake.wake(); // there is something to do now
//! # while runner.statuses().snapshot()[0].runs == 0 { tokio::task::yield_now().await }
//! let status = &runner.statuses().snapshot()[0];
//! assert_eq!((status.name, status.runs, status.failures), ("make-ids", 1, 0));
//!
//! stop.cancel();
//! tasks.close();
//! tasks.wait().await;
//! # }
//! ```

#![warn(unreachable_pub)]

pub mod batcher;
pub mod clock;
#[cfg(feature = "config")]
pub mod config;
pub mod entropy;
pub mod jobs;
#[cfg(feature = "logging")]
pub mod logging;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "output")]
pub mod output;
pub mod own_host;
pub mod printing;
pub mod private_file;
pub mod ready_file;
#[doc(hidden)]
pub mod reference;
pub mod signals;

mod panics;

pub use batcher::{BatchError, BatchWriter, Batcher, Limits, Outcome, Parts};
pub use clock::{Clock, SimulatedClock, unix_ms};
pub use entropy::Entropy;
pub use jobs::{Gate, Job, JobState, JobStatus, Pace, Runner, Statuses, Step, Wake};
pub use ready_file::ReadyFile;
pub use signals::{Signals, Told};
