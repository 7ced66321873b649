//! What stands beside a blob's bytes on disk, so that the catalogue can be made anew: in a trailer
//! (`files/trailer.rs`) or in a header (`segments/record.rs`).

use proto::Locator;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub length: u64,
    pub stored_at_ms: u64,
    pub locator: Locator,
}

/// Why some bytes are not the label of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    #[error("there is no label beside it")]
    Absent,
    #[error("its label has version {0}, which this program does not know")]
    UnknownVersion(u32),
    #[error("its label is damaged, or belongs to another blob")]
    Checksum,
}

/// `N` bytes from `at` on.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}
