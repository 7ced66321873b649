//! What strangers share, bounded in all and for each account and address, so that nobody gets all of it: memory for what
//! has arrived and waits ([`memory::MemoryBudget`]), connections ([`connections::Connections`]), attempts
//! ([`attempts::Limit`]), room for what is noted of them ([`tally::Tally`]), turns at what takes a processor
//! ([`turns::Turns`]), and permits for something scarce ([`fair_semaphore::FairSemaphore`]).
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use limits::memory::{Holder, MemoryBudget};
//! use model::ids::UserId;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let holder = Holder {
//!     account: UserId::from_bytes([1; 16]),
//!     address: Ipv4Addr::LOCALHOST.into(),
//! };
//! let budget = MemoryBudget::new(1 << 20);
//! let share = budget.reserve_for(holder, 64 * 1024).await;
//! drop(share); // gives it back
//! # }
//! ```

pub mod attempts;
pub mod connections;
pub mod early_answer;
pub mod fair_semaphore;
pub mod memory;
pub mod metered;
pub mod running;
pub mod tally;
pub mod turns;
