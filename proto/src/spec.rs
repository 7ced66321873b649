//! What describes a peer protocol: its name, who may ask it of whom, and its limits.
//!
//! A protocol is a value and not a variant of an enum, so that a program hands the peer layer the tables it needs and
//! another concern adds a table of its own. Who may ask and who answers are sets of roles: a peer with a third role is
//! served nothing that does not name that role.

use std::fmt;
use std::ops::BitOr;
use std::time::Duration;

/// What a peer may be in a network, as a set: a peer holds any number of roles, or none.
///
/// The numbers never travel; a program that needs further roles takes numbers that are free here.
///
/// ```
/// use proto::Roles;
///
/// const SEEDER: Roles = Roles::number(2);
/// let both = Roles::NODE | SEEDER;
/// assert!(both.intersects(SEEDER) && !both.intersects(Roles::COORDINATOR));
/// assert!(!Roles::NONE.intersects(both));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u32);

impl Roles {
    pub const NONE: Self = Self(0);
    /// Keeps the books of a storage network and tells nodes what to hold.
    pub const COORDINATOR: Self = Self::number(0);
    /// Holds blobs.
    pub const NODE: Self = Self::number(1);

    /// The set of one role, numbered below 32.
    pub const fn number(number: u32) -> Self {
        assert!(number < u32::BITS, "roles are numbered from 0 to 31");
        Self(1 << number)
    }

    /// Whether any role is in both sets.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Two lanes, so that a heartbeat never waits for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Small messages.
    Control,
    /// Blobs.
    Data,
}

/// One request and one response: an unsigned varint with the length, then a message, each way.
///
/// A constant of this type can stand in a pattern, as those in [`protocols`](crate::protocols) do where requests are
/// told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProtocolSpec {
    /// What is negotiated on a stream; begins with a slash.
    pub name: &'static str,
    /// Who may open its streams: a peer with any of these roles.
    pub initiator: Roles,
    /// Who answers on them: a peer with any of these roles.
    pub server: Roles,
    pub lane: Lane,
    /// The most bytes that a frame may have, in either direction.
    pub max_frame_bytes: usize,
    /// How long either side's part of an exchange may take.
    pub timeout: Duration,
}

impl fmt::Display for ProtocolSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
