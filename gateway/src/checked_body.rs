//! A body that is what its client says it is, or none: counted, hashed and compared while it passes.
//!
//! Whoever takes it gets an error in place of its end when a digest is another, and so stores nothing. When all is well,
//! the object's entity tag and checksum are known before the end is told.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::Stream;
use md5::{Digest, Md5};
use model::objects::{ContentSum, StoredChecksum, SumSlot};
use s3s::dto::StreamingBlob;
use s3s::{StdError, TrailingHeaders};

use crate::checksum::{Algorithm, Hasher};

/// What a client says of a body before it comes.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    pub length: Option<u64>,
    pub md5: Option<[u8; 16]>,
    /// Which checksum is taken, and what it is to be, unless that comes behind the body.
    pub checksum: Option<(Algorithm, Option<String>)>,
}

/// What was said of a body makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    #[error("Content-MD5 is the Base64 of an MD5.")]
    Md5,
    #[error("One checksum is sent, in one x-amz-checksum-… header.")]
    Several,
    #[error("x-amz-checksum-… is not the Base64 of a {0}.")]
    Value(Algorithm),
}

impl Declared {
    /// `values`: what came in headers. `behind`: the algorithm of the one that is announced to come behind the body, or that
    /// the client means without sending its value.
    pub fn read(
        length: Option<i64>,
        md5: Option<&str>,
        values: &[(Algorithm, Option<&str>)],
        behind: Option<Algorithm>,
    ) -> Result<Self, Senseless> {
        let md5 = md5.map(|text| {
            let decoded = STANDARD.decode(text).map_err(|_| Senseless::Md5)?;
            <[u8; 16]>::try_from(decoded).map_err(|_| Senseless::Md5)
        });
        let mut sent = values
            .iter()
            .filter_map(|(algorithm, value)| Some((*algorithm, (*value)?)));
        let checksum = match (sent.next(), sent.next()) {
            (Some(_), Some(_)) => return Err(Senseless::Several),
            (Some((algorithm, value)), None) if !algorithm.is_value(value) => {
                return Err(Senseless::Value(algorithm));
            }
            (Some((algorithm, value)), None) => Some((algorithm, Some(value.to_owned()))),
            (None, _) => behind.map(|algorithm| (algorithm, None)),
        };
        Ok(Self {
            length: length.and_then(|length| u64::try_from(length).ok()),
            md5: md5.transpose()?,
            checksum,
        })
    }
}

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("The bytes are not those that Content-MD5 was taken of.")]
    Md5,
    #[error("The bytes are not those that the {0} was taken of.")]
    Checksum(Algorithm),
    #[error("{received} bytes came and {announced} were announced.")]
    Length { announced: u64, received: u64 },
    /// The layer below: a signature in the body, its SHA-256, or the connection.
    #[error("{0}")]
    Broken(String),
}

/// Set when a body is refused.
pub type FaultSlot = Arc<OnceLock<BodyFault>>;

pub struct CheckedBody {
    body: StreamingBlob,
    declared: Declared,
    trailers: Option<TrailingHeaders>,
    /// `None` once the end was told.
    hashers: Option<Hashers>,
    received: u64,
    sum: SumSlot,
    fault: FaultSlot,
}

struct Hashers {
    md5: Md5,
    algorithm: Algorithm,
    checksum: Hasher,
}

impl CheckedBody {
    /// Where nothing is said of a checksum, the one that S3 takes by itself is taken.
    pub fn new(body: StreamingBlob, declared: Declared, trailers: Option<TrailingHeaders>) -> Self {
        let algorithm = declared
            .checksum
            .as_ref()
            .map_or(Algorithm::Crc64Nvme, |(algorithm, _)| *algorithm);
        Self {
            body,
            declared,
            trailers,
            hashers: Some(Hashers {
                md5: Md5::new(),
                algorithm,
                checksum: Hasher::new(algorithm),
            }),
            received: 0,
            sum: SumSlot::default(),
            fault: FaultSlot::default(),
        }
    }

    /// Filled in when all of it has come.
    pub fn sum(&self) -> SumSlot {
        Arc::clone(&self.sum)
    }

    pub fn fault(&self) -> FaultSlot {
        Arc::clone(&self.fault)
    }

    fn refuse(&self, fault: BodyFault) -> io::Error {
        let text = fault.to_string();
        let _ = self.fault.set(fault);
        io::Error::other(text)
    }

    fn finish(&mut self, hashers: Hashers) -> Result<(), BodyFault> {
        let (received, announced) = (self.received, self.declared.length);
        if let Some(announced) = announced.filter(|announced| *announced != received) {
            return Err(BodyFault::Length {
                announced,
                received,
            });
        }
        let md5: [u8; 16] = hashers.md5.finalize().into();
        if self.declared.md5.is_some_and(|declared| declared != md5) {
            return Err(BodyFault::Md5);
        }
        let value = hashers.checksum.finish();
        let declared = self.declared.checksum.take().and_then(|(_, value)| value);
        let declared = declared.or_else(|| self.trailing(hashers.algorithm));
        if declared.is_some_and(|declared| declared != value) {
            return Err(BodyFault::Checksum(hashers.algorithm));
        }
        let _ = self.sum.set(ContentSum {
            etag: hex::encode(md5),
            checksum: Some(StoredChecksum {
                algorithm: hashers.algorithm.name().to_owned(),
                value,
                of_parts: false,
            }),
        });
        Ok(())
    }

    /// What came behind the body.
    fn trailing(&self, algorithm: Algorithm) -> Option<String> {
        let value = self.trailers.as_ref()?.read(|headers| {
            let value = headers.get(algorithm.header())?.to_str().ok()?;
            Some(value.trim().to_owned())
        });
        value.flatten()
    }
}

impl Stream for CheckedBody {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if self.hashers.is_none() {
            return Poll::Ready(None);
        }
        let Poll::Ready(item) = Pin::new(&mut self.body).poll_next(context) else {
            return Poll::Pending;
        };
        match item {
            Some(Ok(bytes)) => {
                self.received += bytes.len() as u64;
                if let Some(hashers) = &mut self.hashers {
                    hashers.md5.update(&bytes);
                    hashers.checksum.update(&bytes);
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(error)) => {
                self.hashers = None;
                Poll::Ready(Some(Err(self.broken(error))))
            }
            None => {
                let Some(hashers) = self.hashers.take() else {
                    return Poll::Ready(None);
                };
                let ended = self.finish(hashers).err();
                Poll::Ready(ended.map(|fault| Err(self.refuse(fault))))
            }
        }
    }
}

impl CheckedBody {
    /// What was too slow stays so; that it broke is said in its own words.
    fn broken(&self, error: StdError) -> io::Error {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                return io::ErrorKind::TimedOut.into();
            }
            // What an `io::Error` wraps is not its source.
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        self.refuse(BodyFault::Broken(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::{StreamExt, stream};

    use super::*;

    fn body(declared: Declared) -> CheckedBody {
        let frames =
            ["hello ", "world"].map(|text| Ok::<_, io::Error>(Bytes::from_static(text.as_bytes())));
        CheckedBody::new(StreamingBlob::wrap(stream::iter(frames)), declared, None)
    }

    fn outcome(declared: Declared) -> Result<ContentSum, BodyFault> {
        let mut body = body(declared);
        let (sum, fault) = (body.sum(), body.fault());
        block_on(async { while body.next().await.is_some() {} });
        match fault.get() {
            Some(fault) => {
                assert!(sum.get().is_none());
                Err(fault.clone())
            }
            None => Ok(sum.get().unwrap().clone()),
        }
    }

    #[test]
    fn what_is_declared_has_to_be_true() {
        let md5 = "XrY7u+Ae7tCTyyK7j1rNww==";
        let crc32 = [(Algorithm::Crc32, Some("DUoRhQ=="))];
        let declared = Declared::read(Some(11), Some(md5), &crc32, None).unwrap();
        let sum = outcome(declared.clone()).unwrap();
        assert_eq!(sum.etag, "5eb63bbbe01eeed093cb22bb8f5acdc3");
        assert_eq!(sum.checksum.unwrap().value, "DUoRhQ==");
        let sum = outcome(Declared::default()).unwrap();
        assert_eq!(sum.checksum.unwrap().algorithm, "CRC64NVME");
        for (wrong, fault) in [
            (
                Declared {
                    md5: Some([0; 16]),
                    ..declared.clone()
                },
                BodyFault::Md5,
            ),
            (
                Declared {
                    length: Some(10),
                    ..declared.clone()
                },
                BodyFault::Length {
                    announced: 10,
                    received: 11,
                },
            ),
            (
                Declared {
                    checksum: Some((Algorithm::Crc32, Some("AAAAAA==".to_owned()))),
                    ..declared
                },
                BodyFault::Checksum(Algorithm::Crc32),
            ),
        ] {
            assert_eq!(outcome(wrong), Err(fault));
        }
    }

    #[test]
    fn a_checksum_that_is_none_is_refused_before_anything_is_read() {
        let read = |md5, values: &[_]| Declared::read(None, md5, values, None).unwrap_err();
        assert_eq!(read(Some("x"), &[]), Senseless::Md5);
        assert_eq!(read(Some("AAAA"), &[]), Senseless::Md5);
        let value = Some("AAAAAA==");
        let both = [(Algorithm::Crc32, value), (Algorithm::Crc32c, value)];
        assert_eq!(read(None, &both), Senseless::Several);
        assert_eq!(
            read(None, &[(Algorithm::Sha1, value)]),
            Senseless::Value(Algorithm::Sha1)
        );
    }
}
