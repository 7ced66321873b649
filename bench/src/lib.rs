//! The fault laboratory. The benchmarks beside it are the program's own (`main.rs`).
//!
//! Apart from `local-cluster`, which starts processes and knows them by their API only: what stands here
//! looks into the database and the nodes' stores, and a first `scripts/local-cluster up` does not compile it.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//!
//! let chaos = bench::chaos::Chaos {
//!     seed: 1,
//!     nodes: 5,
//!     coordinators: 1,
//!     length: Duration::from_secs(600),
//!     round: Duration::from_secs(10),
//!     rot: true,
//!     fsync: true,
//!     logs: None,
//! };
//! let run = chaos.run(&|line| eprintln!("{line}")).await?;
//! println!("{} files checked", run.files_checked);
//! # Ok(())
//! # }
//! ```

pub mod chaos;
