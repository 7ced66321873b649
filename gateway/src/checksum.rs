//! The checksums that clients send with what they store, in a header or behind the body.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::objects::StoredChecksum;
use s3s::crypto::{Checksum, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// As S3 calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Whether this is a value of it, in Base64.
    pub fn is_value(self, text: &str) -> bool {
        STANDARD
            .decode(text)
            .is_ok_and(|value| value.len() == self.bytes())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One checksum, being taken.
pub enum Hasher {
    Crc32(Box<Crc32>),
    Crc32c(Box<Crc32c>),
    Crc64Nvme(Box<Crc64Nvme>),
    Sha1(Box<Sha1>),
    Sha256(Box<Sha256>),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Crc32 => Self::Crc32(Box::new(Crc32::new())),
            Algorithm::Crc32c => Self::Crc32c(Box::new(Crc32c::new())),
            Algorithm::Crc64Nvme => Self::Crc64Nvme(Box::new(Crc64Nvme::new())),
            Algorithm::Sha1 => Self::Sha1(Box::new(Sha1::new())),
            Algorithm::Sha256 => Self::Sha256(Box::new(Sha256::new())),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) => hasher.update(bytes),
            Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// In Base64.
    pub fn finish(self) -> String {
        match self {
            Self::Crc32(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Crc32c(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Crc64Nvme(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Sha1(hasher) => STANDARD.encode(hasher.finalize()),
            Self::Sha256(hasher) => STANDARD.encode(hasher.finalize()),
        }
    }
}

/// Of an object in parts, where each has one of the same algorithm: that of theirs, and how many they are.
pub fn of_parts(parts: &[Option<&StoredChecksum>]) -> Option<StoredChecksum> {
    let first = parts.first().copied().flatten()?;
    let algorithm = Algorithm::of_name(&first.algorithm)?;
    let mut hasher = Hasher::new(algorithm);
    for part in parts {
        let part = part.filter(|part| part.algorithm == first.algorithm)?;
        hasher.update(&STANDARD.decode(&part.value).ok()?);
    }
    Some(StoredChecksum {
        algorithm: algorithm.name().to_owned(),
        value: format!("{}-{}", hasher.finish(), parts.len()),
        of_parts: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn checksums_are_those_of_the_standards() {
        // The check values of their catalogues, of the digits 1 to 9.
        for (algorithm, value) in [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (
                Algorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ] {
            assert_eq!(sum(algorithm, b"123456789"), value, "{algorithm}");
            assert!(algorithm.is_value(value));
            assert!(!algorithm.is_value(&value[1..]));
            assert_eq!(Algorithm::of_name(algorithm.name()), Some(algorithm));
        }
    }

    #[test]
    fn parts_have_a_checksum_together_when_all_have_one() {
        let stored = |algorithm: Algorithm, bytes: &[u8]| StoredChecksum {
            algorithm: algorithm.name().to_owned(),
            value: sum(algorithm, bytes),
            of_parts: false,
        };
        let (one, other) = (
            stored(Algorithm::Crc32, b"a"),
            stored(Algorithm::Crc32, b"b"),
        );
        let together = of_parts(&[Some(&one), Some(&other)]).unwrap();
        let raw = [
            STANDARD.decode(&one.value).unwrap(),
            STANDARD.decode(&other.value).unwrap(),
        ];
        assert_eq!(
            together.value,
            format!("{}-2", sum(Algorithm::Crc32, &raw.concat()))
        );
        assert_eq!(of_parts(&[Some(&one), None]), None);
        assert_eq!(
            of_parts(&[Some(&one), Some(&stored(Algorithm::Sha1, b"b"))]),
            None
        );
        assert_eq!(of_parts(&[]), None);
    }
}
