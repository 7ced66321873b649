//! The parts of a cluster that can be started, stopped and broken one by one.

use std::fmt;

use crate::registry::{COORDINATOR, POSTGRES};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    Postgres,
    Coordinator,
    /// Numbered from 1.
    Node(usize),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.pad(POSTGRES),
            Self::Coordinator => f.pad(COORDINATOR),
            Self::Node(number) => f.pad(&format!("node-{number}")),
        }
    }
}
