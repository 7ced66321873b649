//! Where in a layout a blob is: which area, and which of the 4096 directories of that area.

use proto::BlobId;

/// Held for good, or waiting to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    Blobs,
    Trash,
}

impl Area {
    pub const BOTH: [Self; 2] = [Self::Blobs, Self::Trash];

    pub(crate) const fn dir(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Trash => "trash",
        }
    }
}

/// The first three hex digits of a blob id. Directories are in the order of the ids, so a directory
/// is a range of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(u16);

impl Prefix {
    pub const COUNT: u16 = 4096;

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    pub fn of(id: &BlobId) -> Self {
        let [first, second, ..] = *id.as_bytes();
        Self(u16::from_be_bytes([first, second]) >> 4)
    }

    /// The first and the last blob id that could be in it.
    pub fn range(self) -> (BlobId, BlobId) {
        let [first, second] = (self.0 << 4).to_be_bytes();
        let mut low = [0x00; 32];
        let mut high = [0xff; 32];
        (low[0], low[1]) = (first, second);
        (high[0], high[1]) = (first, second | 0x0f);
        (BlobId::from_bytes(low), BlobId::from_bytes(high))
    }

    /// `a` and `bc`.
    pub(crate) fn dir_names(self) -> (String, String) {
        (
            format!("{:x}", self.0 >> 8),
            format!("{:02x}", self.0 & 0xff),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_three_hex_digits_and_spans_exactly_the_ids_that_begin_with_them() {
        let id: BlobId = format!("a5c{}", "7".repeat(61)).parse().unwrap();
        let prefix = Prefix::of(&id);
        assert_eq!(prefix.dir_names(), ("a".into(), "5c".into()));
        let (low, high) = prefix.range();
        assert_eq!(low.to_string(), format!("a5c{}", "0".repeat(61)));
        assert_eq!(high.to_string(), format!("a5c{}", "f".repeat(61)));
        assert!(
            Prefix::all().all(|p| Prefix::of(&p.range().0) == p && Prefix::of(&p.range().1) == p)
        );
        assert_eq!(Prefix::all().count(), usize::from(Prefix::COUNT));
    }
}
