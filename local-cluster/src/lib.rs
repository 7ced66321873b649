//! A whole federated storage network on one machine, from real processes: for people who try it,
//! for tests and for benchmarks.
//!
//! The rule that everything here obeys: whatever happens to the process that starts a cluster, no
//! process is left that nobody knows about, and none is signalled that was not started here.
//! Rejected: running coordinator and nodes as tasks of one process, which cannot be killed one by
//! one and hides what separate processes would show.

mod account;
pub mod broken_pipe;
#[cfg(feature = "bench")]
pub mod chaos;
pub mod client;
mod cluster;
pub mod edge;
mod files;
mod guard;
mod launch;
mod ports;
mod postgres;
pub mod process;
mod programs;
pub mod proxy;
mod record;
mod registry;
mod settings;
mod shared;
mod temporary;
pub mod wait;

pub use cluster::{Cluster, DirLock, Member, Progress, Status, UpOptions};
pub use files::create_dir;
pub use guard::{Afterwards, Guard, TemporaryDir, run_guard, run_guard_until};
pub use launch::run_launcher;
pub use postgres::programs_dir as postgres_programs_dir;
pub use programs::Programs;
pub use settings::Overrides;
pub use shared::shared_cluster;
pub use temporary::{TemporaryCluster, TemporaryPostgres};
