//! Entity tags: MD5, as all clients of S3 expect; and which parts make an object.

use std::collections::HashMap;

use md5::{Digest, Md5};
use model::objects::{MultipartPart, ObjectPart};

/// Every part but the last has at least so many bytes, as everywhere in S3.
pub const LEAST_PART_BYTES: u64 = 5 * 1024 * 1024;

/// Parts are numbered up to this.
pub const MOST_PARTS: u32 = 10_000;

/// Of an object in parts: the MD5 of theirs, and how many they are.
pub fn of_parts<'a>(sums: impl Iterator<Item = &'a [u8; 16]>) -> String {
    let mut md5 = Md5::new();
    let mut count = 0;
    for sum in sums {
        md5.update(sum);
        count += 1;
    }
    format!("{}-{count}", hex::encode(md5.finalize()))
}

/// A part that a client names when it completes an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub number: u32,
    /// Without quotes.
    pub etag: String,
    /// In Base64, of the upload's algorithm.
    pub checksum: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    #[error("An upload is completed with one part at least.")]
    Nothing,
    #[error("Parts are named in ascending order, each once.")]
    Order,
    #[error("Part {0} was not stored, or is another one by now.")]
    Missing(u32),
    #[error("Part {0} has fewer than 5 MiB, and is not the last one.")]
    TooSmall(u32),
}

/// The parts that were named, of those that are stored, and the object's entity tag.
pub fn assemble<'s>(
    named: &[Named],
    stored: &'s [MultipartPart],
) -> Result<(Vec<ObjectPart>, Vec<&'s MultipartPart>, String), AssembleError> {
    if named.is_empty() {
        return Err(AssembleError::Nothing);
    }
    if !named.is_sorted_by(|one, next| one.number < next.number) {
        return Err(AssembleError::Order);
    }
    let stored: HashMap<u32, &MultipartPart> =
        stored.iter().map(|part| (part.number, part)).collect();
    let mut parts = Vec::with_capacity(named.len());
    let mut chosen = Vec::with_capacity(named.len());
    let mut sums = Vec::with_capacity(named.len());
    for (place, name) in (1..).zip(named) {
        let missing = AssembleError::Missing(name.number);
        let part = *stored.get(&name.number).ok_or(missing)?;
        let other_sum = match (&name.checksum, &part.checksum) {
            (Some(named), Some(stored)) => *named != stored.value,
            _ => false,
        };
        if part.etag != name.etag || other_sum {
            return Err(missing);
        }
        if part.size_bytes < LEAST_PART_BYTES && place < named.len() {
            return Err(AssembleError::TooSmall(name.number));
        }
        let mut md5 = [0; 16];
        hex::decode_to_slice(&part.etag, &mut md5).map_err(|_| missing)?;
        sums.push(md5);
        parts.push(ObjectPart {
            number: name.number,
            file_id: part.file_id,
            size_bytes: part.size_bytes,
            md5: Some(md5),
        });
        chosen.push(part);
    }
    let etag = of_parts(sums.iter());
    Ok((parts, chosen, etag))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use model::ids::FileId;

    use super::*;

    fn stored(number: u32, size_bytes: u64) -> MultipartPart {
        MultipartPart {
            number,
            file_id: FileId::from_bytes([number as u8; 16]),
            size_bytes,
            etag: hex::encode([number as u8; 16]),
            checksum: None,
            stored_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn named(number: u32) -> Named {
        Named {
            number,
            etag: hex::encode([number as u8; 16]),
            checksum: None,
        }
    }

    #[test]
    fn an_object_is_made_of_the_parts_that_are_named() {
        let parts = [
            stored(1, LEAST_PART_BYTES),
            stored(2, LEAST_PART_BYTES),
            stored(9, 1),
        ];
        let (made, chosen, etag) = assemble(&[named(1), named(9)], &parts).unwrap();
        let numbers: Vec<_> = made.iter().map(|part| part.number).collect();
        assert_eq!(numbers, [1, 9]);
        assert_eq!(chosen.len(), 2);
        assert_eq!(etag, of_parts([[1; 16], [9; 16]].iter()));
        assert!(etag.ends_with("-2"));
    }

    #[test]
    fn what_is_not_there_or_out_of_order_makes_no_object() {
        let parts = [stored(1, 1), stored(2, 1)];
        let other = Named {
            etag: "x".to_owned(),
            ..named(1)
        };
        for (names, why) in [
            (vec![], AssembleError::Nothing),
            (vec![named(2), named(1)], AssembleError::Order),
            (vec![named(1), named(1)], AssembleError::Order),
            (vec![named(3)], AssembleError::Missing(3)),
            (vec![other], AssembleError::Missing(1)),
            (vec![named(1), named(2)], AssembleError::TooSmall(1)),
        ] {
            assert_eq!(assemble(&names, &parts).unwrap_err(), why, "{names:?}");
        }
    }
}
