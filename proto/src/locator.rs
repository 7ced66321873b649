//! The 64 bytes that a node keeps beside a blob without understanding them.

use std::fmt;

use crate::Malformed;

/// Opaque to nodes. A coordinator seals into it which chunk of which file the blob is a replica of,
/// so that replica rows can be rebuilt from the nodes after a loss of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Locator([u8; Self::LEN]);

impl Locator {
    pub const LEN: usize = 64;

    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Locator {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| Malformed("a locator must have 64 bytes"))
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locator(..)")
    }
}
