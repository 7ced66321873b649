//! What the headers of tus 1.0 say (<https://tus.io/protocols/resumable-upload>), read with care: they come from anybody.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt, future};

use crate::checksum::{Algorithm, Hasher};

pub const VERSION: &str = "1.0.0";
pub const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration";
pub const CHECKSUM_ALGORITHMS: &str = "sha1,sha256";

/// Of the bytes of a request.
pub const CONTENT_TYPE: &str = "application/offset+octet-stream";

/// Why a header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    #[error("`{0}` is a number of bytes, in digits")]
    Number(&'static str),
    #[error(
        "`Upload-Metadata` is a list of keys, each with a space and its value in Base64, of at most {MOST_METADATA} bytes"
    )]
    Metadata,
    #[error("`Upload-Metadata` has `{0}` more than once")]
    Twice(String),
    #[error("`Upload-Metadata` has `{0}`, whose value is not UTF-8")]
    NotText(&'static str),
    #[error("`Upload-Metadata` has `{0}`, which is not served here")]
    Unserved(&'static str),
    #[error("`Upload-Checksum` is `sha1` or `sha256`, a space and the digest in Base64")]
    Checksum,
}

/// Bytes of a header with metadata.
pub const MOST_METADATA: usize = 4096;

/// What a client says of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// As it came.
    pub raw: String,
    pub filename: Option<String>,
    pub filetype: Option<String>,
}

/// Members that would have the file be something else than it becomes here.
const UNSERVED: [&str; 2] = ["bucket", "key"];

impl Metadata {
    pub fn parse(text: &str) -> Result<Self, InvalidHeader> {
        if text.len() > MOST_METADATA {
            return Err(InvalidHeader::Metadata);
        }
        let mut metadata = Self {
            raw: text.to_owned(),
            ..Self::default()
        };
        let mut seen = BTreeSet::new();
        let pairs = text.split(',').map(str::trim);
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(InvalidHeader::Metadata);
            }
            if !seen.insert(key) {
                return Err(InvalidHeader::Twice(key.to_owned()));
            }
            let value = STANDARD
                .decode(value.trim())
                .map_err(|_| InvalidHeader::Metadata)?;
            if let Some(unserved) = UNSERVED.into_iter().find(|unserved| *unserved == key) {
                return Err(InvalidHeader::Unserved(unserved));
            }
            match key {
                "filename" => metadata.filename = Some(text_of("filename", value)?),
                "filetype" => metadata.filetype = Some(text_of("filetype", value)?),
                _ => {}
            }
        }
        Ok(metadata)
    }
}

fn text_of(key: &'static str, value: Vec<u8>) -> Result<String, InvalidHeader> {
    String::from_utf8(value).map_err(|_| InvalidHeader::NotText(key))
}

/// A number of bytes that a header tells.
pub fn bytes(name: &'static str, text: &str) -> Result<u64, InvalidHeader> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    // More than a file can have is refused where it is known how much that is.
    number
        .filter(|number| *number <= i64::MAX as u64)
        .ok_or(InvalidHeader::Number(name))
}

/// What the bytes of a request have to hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    /// In Base64.
    value: String,
}

impl Checksum {
    pub fn parse(text: &str) -> Result<Self, InvalidHeader> {
        let (algorithm, value) = text.split_once(' ').ok_or(InvalidHeader::Checksum)?;
        let algorithm = match algorithm {
            "sha1" => Algorithm::Sha1,
            "sha256" => Algorithm::Sha256,
            _ => return Err(InvalidHeader::Checksum),
        };
        let value = value.trim().to_owned();
        match algorithm.is_value(&value) {
            true => Ok(Self { algorithm, value }),
            false => Err(InvalidHeader::Checksum),
        }
    }

    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.algorithm)
    }

    pub fn is_of(&self, hasher: Hasher) -> bool {
        hasher.finish() == self.value
    }
}

/// Why a body is not what was announced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("the bytes are not those that the checksum was taken of")]
    Checksum,
    #[error("the body has more bytes than are missing")]
    TooLong,
    #[error("the body broke off: {0}")]
    BrokeOff(String),
}

/// What is found out of a body while it is read: a body that breaks off ends there, and what has come is not lost.
#[derive(Clone)]
pub struct Watch {
    most: u64,
    checksum: Option<Checksum>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    bytes: u64,
    hasher: Option<Hasher>,
    /// Why it ended before its end.
    fault: Option<String>,
}

impl Watch {
    pub fn new(most: u64, checksum: Option<Checksum>) -> Self {
        let seen = Seen {
            hasher: checksum.as_ref().map(Checksum::hasher),
            ..Seen::default()
        };
        Self {
            most,
            checksum,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    pub const fn has_checksum(&self) -> bool {
        self.checksum.is_some()
    }

    /// Up to where it breaks off, or becomes too long.
    pub fn body<S, E>(&self, body: S) -> impl Stream<Item = io::Result<Bytes>> + Unpin + use<S, E>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::error::Error,
    {
        let watch = self.clone();
        body.scan((), move |(), piece| {
            future::ready(watch.take(piece).map(Ok))
        })
    }

    fn take<E: std::error::Error>(&self, piece: Result<Bytes, E>) -> Option<Bytes> {
        let mut seen = self.seen();
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                seen.fault = Some(error.to_string());
                return None;
            }
        };
        seen.bytes += piece.len() as u64;
        if seen.bytes > self.most {
            return None;
        }
        if let Some(hasher) = &mut seen.hasher {
            hasher.update(&piece);
        }
        Some(piece)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before anything counts of a body with a checksum.
    pub fn check_sum(&self) -> Result<(), BodyFault> {
        let Some(checksum) = &self.checksum else {
            return Ok(());
        };
        self.check_end()?;
        let hasher = self.seen().hasher.take();
        let is_same = hasher.is_some_and(|hasher| checksum.is_of(hasher));
        is_same.then_some(()).ok_or(BodyFault::Checksum)
    }

    pub fn check_end(&self) -> Result<(), BodyFault> {
        let seen = self.seen();
        if seen.bytes > self.most {
            return Err(BodyFault::TooLong);
        }
        match &seen.fault {
            Some(fault) => Err(BodyFault::BrokeOff(fault.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_a_list_of_keys_and_values() {
        let text = "filename d29ybGQudHh0,is_confidential,filetype dGV4dC9wbGFpbg==";
        let read = Metadata::parse(text).unwrap();
        assert_eq!(read.filename.as_deref(), Some("world.txt"));
        assert_eq!(read.filetype.as_deref(), Some("text/plain"));
        assert_eq!(read.raw, text);
        assert_eq!(Metadata::parse("").unwrap(), Metadata::default());
        for (wrong, error) in [
            ("filename !", InvalidHeader::Metadata),
            ("fil\u{fc}e d29y", InvalidHeader::Metadata),
            ("a d29y,a d29y", InvalidHeader::Twice("a".to_owned())),
            ("filename /w==", InvalidHeader::NotText("filename")),
            ("bucket d29y", InvalidHeader::Unserved("bucket")),
        ] {
            assert_eq!(Metadata::parse(wrong), Err(error), "{wrong}");
        }
        let long = format!("a {}", "d29y".repeat(1024));
        assert_eq!(Metadata::parse(&long), Err(InvalidHeader::Metadata));
    }

    #[test]
    fn numbers_are_digits_and_no_more_than_a_database_counts() {
        assert_eq!(bytes("Upload-Offset", "0"), Ok(0));
        assert_eq!(
            bytes("Upload-Offset", "9223372036854775807"),
            Ok(i64::MAX as u64)
        );
        for wrong in [
            "",
            "-1",
            "+1",
            " 1",
            "1.0",
            "0x1",
            "9223372036854775808",
            "\u{661}",
        ] {
            let refused = InvalidHeader::Number("Upload-Offset");
            assert_eq!(bytes("Upload-Offset", wrong), Err(refused), "{wrong}");
        }
    }

    #[test]
    fn a_checksum_is_of_its_bytes_alone() {
        let sum = Checksum::parse("sha1 98O8HYCOBHMq32eZZczDTKeuNEE=").unwrap();
        let hash = |bytes: &[u8]| {
            let mut hasher = sum.hasher();
            hasher.update(bytes);
            hasher
        };
        assert!(sum.is_of(hash(b"123456789")));
        assert!(!sum.is_of(hash(b"12345678")));
        for wrong in [
            "",
            "sha1",
            "sha1 ",
            "md5 98O8",
            "sha1 98O8",
            "SHA1 98O8HYCOBHMq32eZZczDTKeuNEE=",
        ] {
            assert_eq!(
                Checksum::parse(wrong),
                Err(InvalidHeader::Checksum),
                "{wrong}"
            );
        }
    }

    #[test]
    fn headers_of_strangers_are_read_or_refused() {
        let sound = [
            "filename d29ybGQudHh0,is_confidential",
            "sha1 98O8HYCOBHMq32eZZczDTKeuNEE=",
            "9223372036854775807",
        ];
        let sound = sound.map(|text| text.as_bytes().to_vec());
        hostile::attack(env!("CARGO_MANIFEST_DIR"), "tus_headers", sound, |input| {
            let text = String::from_utf8_lossy(input);
            if let Ok(read) = Metadata::parse(&text) {
                assert_eq!(read.raw, text);
            }
            let _ = Checksum::parse(&text);
            if let Ok(number) = bytes("Upload-Length", &text) {
                assert!(i64::try_from(number).is_ok());
            }
        });
    }
}
