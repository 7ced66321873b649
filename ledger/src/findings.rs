//! What a verification has found. Bounded, however much is wrong.

use std::fmt;

/// Findings that are told one by one.
const FINDINGS_TOLD: usize = 100;

/// Where something is not what it has to be: all are counted, the first ones told.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    told: Vec<String>,
    count: u64,
}

impl Findings {
    pub fn find(&mut self, finding: impl fmt::Display) {
        self.count += 1;
        if self.told.len() < FINDINGS_TOLD {
            self.told.push(finding.to_string());
        }
    }

    pub fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.find(finding());
        }
    }

    /// The first ones.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }
}
