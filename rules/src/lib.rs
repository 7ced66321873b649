//! What the network decides, as pure functions: where a replica is placed, when a node's word counts, what is asked and
//! how an answer is judged, what things cost and earn, what has to be repaired. No I/O; time and chance are arguments.
//!
//! ```
//! use proto::MicroCredits;
//!
//! let gross = MicroCredits::new(1_000);
//! assert_eq!(rules::node_pay::earned(gross, 1_000_000), gross);
//! assert!(rules::node_pay::earned(gross, 900_000) < gross);
//! ```

pub mod allowance;
pub mod audit;
pub mod client_address;
pub mod clocks;
pub mod disputes;
pub mod drain;
pub mod evidence;
pub mod file_meter;
pub mod fleet_guard;
pub mod instance;
pub mod inventory;
pub mod judging;
pub mod least_rate;
pub mod lifecycle;
pub mod listing;
pub mod node_pay;
pub mod placement;
pub mod pointing;
pub mod purchases;
pub mod repair;
pub mod reputation;
pub mod resend;
pub mod sharing;
pub mod uptime;
