//! The parts of a cluster that can be started, stopped and broken one by one.

use std::fmt;

use crate::registry::{COORDINATOR, POSTGRES};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    Postgres,
    /// Numbered from 1. The first is just `coordinator`, for most clusters have no other.
    Coordinator(usize),
    /// Numbered from 1.
    Node(usize),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.pad(POSTGRES),
            Self::Coordinator(1) => f.pad(COORDINATOR),
            Self::Coordinator(number) => f.pad(&format!("{COORDINATOR}-{number}")),
            Self::Node(number) => f.pad(&format!("node-{number}")),
        }
    }
}
