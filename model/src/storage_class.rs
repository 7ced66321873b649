//! Classes of storage: what an owner asks for by name, and the scheme that a file gets for it.
//!
//! A class is a wish, a [`Scheme`] what becomes of it: a file keeps the scheme that it was stored with, whatever the class
//! comes to mean later, so classes stand in requests and answers and schemes in the database.
//!
//! Rejected: k and n in the hands of clients. A code that is wide for its fleet, or narrow for its losses, is a trap; each
//! class has had its arithmetic done (docs/storage-classes.md).

use std::fmt;
use std::str::FromStr;

use crate::scheme::Scheme;

/// What an owner asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StorageClass {
    /// Whole copies, as many as the network makes.
    #[default]
    Standard,
    /// Coded pieces: half the bytes of three copies, and more losses that it survives.
    Dense,
}

/// Files are kept as copies where a piece would have fewer bytes: what a node needs beside each blob would cost more than
/// the code saves.
const LEAST_PIECE: u64 = 16 * 1024;

/// The codes of `dense`, the widest first: data pieces, all pieces. One is used where there are as many failure domains.
const DENSE: [(u32, u32); 2] = [(8, 12), (3, 6)];

impl StorageClass {
    pub const ALL: [Self; 2] = [Self::Standard, Self::Dense];

    /// As it stands in headers and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Dense => "dense",
        }
    }

    /// The class that a stored file is of.
    pub const fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Copies { .. } => Self::Standard,
            Scheme::Coded { .. } => Self::Dense,
        }
    }

    /// How a new file is kept that can stand in so many failure domains.
    pub fn scheme(self, copies: Scheme, domains: usize) -> Result<Scheme, TooFewDomains> {
        let Self::Dense = self else {
            return Ok(copies);
        };
        let mut codes = DENSE.into_iter();
        let code = codes.find(|(_, pieces)| domains >= *pieces as usize);
        let code = code.and_then(|(needed, pieces)| Scheme::coded(needed, pieces));
        code.ok_or(TooFewDomains {
            class: self,
            domains,
            needed: DENSE.iter().map(|(_, pieces)| *pieces).min().unwrap_or(0),
        })
    }
}

/// Files that are shorter are not coded, but kept as copies.
pub const fn least_bytes(scheme: Scheme) -> u64 {
    match scheme {
        Scheme::Copies { .. } => 0,
        Scheme::Coded { needed, .. } => needed as u64 * LEAST_PIECE,
    }
}

/// Whether a file of so many bytes is kept so.
pub const fn is_worth_coding(scheme: Scheme, size_bytes: u64) -> bool {
    size_bytes >= least_bytes(scheme)
}

/// Bytes in a full chunk of a file that is kept so: of a coded one each piece is as long as a copy's chunk, or a byte less,
/// as pieces have even lengths.
pub const fn chunk_size(scheme: Scheme, of_copies: u32) -> u32 {
    match scheme {
        Scheme::Copies { .. } => of_copies,
        Scheme::Coded { needed, .. } => (of_copies - of_copies % 2).saturating_mul(needed),
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No class has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such storage class: it is `standard` or `dense`")]
pub struct UnknownClass;

impl FromStr for StorageClass {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, UnknownClass> {
        let mut all = Self::ALL.into_iter();
        let class = all.find(|class| class.name() == text);
        class.ok_or(UnknownClass)
    }
}

/// The fleet stands in too few failure domains for a class now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("class {class} needs nodes in {needed} failure domains and there are {domains}")]
pub struct TooFewDomains {
    pub class: StorageClass,
    pub domains: usize,
    pub needed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_is_as_wide_as_the_fleet_allows() {
        let copies = Scheme::copies(3);
        let dense = |domains| StorageClass::Dense.scheme(copies, domains).ok();
        assert_eq!([12, 13, 1000].map(dense), [Scheme::coded(8, 12); 3]);
        assert_eq!([6, 11].map(dense), [Scheme::coded(3, 6); 2]);
        assert_eq!([0, 5].map(dense), [None; 2]);
        assert_eq!(StorageClass::Standard.scheme(copies, 0), Ok(copies));
    }

    #[test]
    fn what_is_short_is_kept_as_copies() {
        let (wide, narrow) = (Scheme::coded(8, 12).unwrap(), Scheme::coded(3, 6).unwrap());
        assert!(!is_worth_coding(wide, 131_071) && is_worth_coding(wide, 131_072));
        assert!(!is_worth_coding(narrow, 49_151) && is_worth_coding(narrow, 49_152));
        assert_eq!(chunk_size(wide, 262_144), 2_097_152);
        assert_eq!(chunk_size(narrow, 5001), 15_000);
        assert_eq!(chunk_size(Scheme::copies(3), 262_144), 262_144);
    }

    #[test]
    fn a_class_goes_by_its_name() {
        for class in StorageClass::ALL {
            assert_eq!(class.name().parse(), Ok(class));
        }
        for other in ["", "Dense", "dense ", "glacier"] {
            assert_eq!(other.parse::<StorageClass>(), Err(UnknownClass));
        }
    }
}
