//! A whole federated storage network on one machine, from real processes: for people who try it,
//! for tests, and for the benchmarks of the crate `bench`.
//!
//! The rule that everything here obeys: whatever happens to the process that starts a cluster, no
//! process is left that nobody knows about, and none is signalled that was not started here.
//! Rejected: running coordinator and nodes as tasks of one process, which cannot be killed one by
//! one and hides what separate processes would show.
//!
//! [`Cluster`] is a network in a directory, of [`Member`]s that are started, killed, paused and stopped one by one;
//! [`TemporaryCluster`] and [`TemporaryPostgres`] go with the process that has them, and [`client::Session`] is a user
//! at a coordinator's API. [`Reaper`] is what ends processes whose owner is gone.
//!
//! ```no_run
//! use local_cluster::{Member, TemporaryCluster, UpOptions};
//!
//! # async fn example() -> anyhow::Result<()> {
//! let cluster = TemporaryCluster::start(UpOptions::default()).await?;
//! let user = cluster.session().await?;
//! let file = user.upload("greeting", None, "hello").await?;
//! cluster.kill(Member::Node(1)).await?;
//! assert_eq!(user.download(file.file_id).await?, "hello");
//! # Ok(())
//! # }
//! ```

mod account;
mod cluster;
mod files;
mod launch;
mod network;
mod overrides;
mod ports;
mod postgres;
pub mod process;
mod programs;
pub mod proxy;
mod reaper;
mod record;
mod registry;
mod secret;
mod settings;
mod shared;
mod temporary;
pub mod wait;

/// A user at a coordinator's API, as tests and benchmarks ask.
pub use ::client::rest as client;
pub use cluster::{Cluster, DirLock, Member, Progress, Status, UpOptions};
pub use files::create_dir;
pub use launch::run_launcher;
pub use network::{LocalNetwork, LocalUser};
pub use overrides::Overrides;
pub use postgres::{PostgresRecord, programs_dir as postgres_programs_dir};
pub use programs::Programs;
pub use reaper::{Afterwards, Reaper, TemporaryDir, run_reaper, run_reaper_until};
pub use record::{ClusterRecord, CoordinatorRecord, NodeReady, NodeRecord, UserRecord};
pub use secret::new_secret;
pub use shared::shared_cluster;
pub use temporary::{TemporaryCluster, TemporaryPostgres};
