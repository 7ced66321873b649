//! An object on its way in.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use api::buckets::ObjectTarget;
use bytes::{Bytes, BytesMut};
use futures::stream;
use kit::Entropy;
use reqwest::Body;
use sealing::end_to_end::{Commitments, ContentSealer, Envelope};
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroizing;

use super::Bucket;
use crate::layout::PIECE;
use crate::pace::{Limiter, Watch};
use crate::progress::Progress;
use crate::upload::content::{PART, Sealed};
use crate::upload::journal::Journal;
use crate::upload::source::Source;
use crate::upload::{self, Target};
use crate::{Error, OnProgress};

/// Under which an envelope says that the length was not known when it was written.
pub(super) const STREAMED: &str = "streamed";
/// Under which a plain bucket keeps when a file was changed last, in milliseconds since 1970.
pub(super) const MODIFIED: &str = "mtime-ms";

/// What is stored.
pub enum Input {
    File(PathBuf),
    Bytes(Bytes),
    /// Of a length that shows at its end. What breaks off cannot be taken up.
    Stream(Box<dyn AsyncRead + Send + Unpin>),
}

#[derive(Default, Clone)]
pub struct PutOptions {
    /// Only if there is no such object.
    pub if_absent: bool,
    pub media_type: Option<String>,
    /// Do not go on where an earlier run was interrupted.
    pub afresh: bool,
    pub progress: Option<OnProgress>,
}

impl Bucket {
    /// Stores an object. What had the name is replaced once all of it is safe.
    pub async fn put(&self, key: &str, input: Input, options: PutOptions) -> Result<(), Error> {
        match input {
            Input::File(path) => {
                let source = Source::open(&path)?;
                // By its id: a bucket that is made anew, or in another network, may have the same name.
                let target = format!("{}/{key}", hex::encode(self.id));
                let journal = self.client.journal(&source, &path, &target)?;
                self.put_known(key, source, journal, options).await
            }
            Input::Bytes(bytes) => {
                self.put_known(key, Source::Bytes(bytes), None, options)
                    .await
            }
            Input::Stream(mut reader) => {
                let mut first = BytesMut::new();
                let most = PIECE as usize;
                while first.len() < most {
                    let mut wanted = (&mut reader).take((most - first.len()) as u64);
                    let read = wanted.read_buf(&mut first).await;
                    if read.map_err(Error::Reading)? == 0 {
                        let source = Source::Bytes(first.freeze());
                        return self.put_known(key, source, None, options).await;
                    }
                }
                self.put_stream(key, first.freeze(), reader, options).await
            }
        }
    }

    async fn put_known(
        &self,
        key: &str,
        source: Source,
        journal: Option<Journal>,
        options: PutOptions,
    ) -> Result<(), Error> {
        let core = &self.client.core;
        let (size, modified_ms) = (source.size(), source.modified_ms());
        let described = |sealed: Option<&Sealed>| {
            let target = self.target(key, sealed, (Some(size), modified_ms), &options)?;
            Ok(Target::Object {
                bucket: self.name.clone(),
                target: Box::new(target),
            })
        };
        let journal = journal.filter(|_| !options.afresh);
        let tell = options.progress.clone();
        let seals = self.is_sealed();
        upload::resumable(core, source, (seals, &described), journal, tell).await?;
        Ok(())
    }

    fn target(
        &self,
        key: &str,
        sealed: Option<&Sealed>,
        (size, modified_ms): (Option<u64>, Option<i64>),
        options: &PutOptions,
    ) -> Result<ObjectTarget, Error> {
        let stored = self.stored_key(key)?;
        let mut target = ObjectTarget {
            if_none_match: options.if_absent.then(|| "*".to_owned()),
            ..ObjectTarget::default()
        };
        match sealed {
            None => {
                let modified = modified_ms.map(|ms| (MODIFIED.to_owned(), ms.to_string()));
                target.metadata = modified.map(|modified| BTreeMap::from([modified]));
                target.content_type = options.media_type.clone();
            }
            Some(sealed) => {
                let streamed = size
                    .is_none()
                    .then(|| (STREAMED.to_owned(), "1".to_owned()));
                let envelope = Envelope {
                    commit: Commitments::One(sealed.commitment()),
                    k: Zeroizing::new(*sealed.key.as_bytes()),
                    meta: streamed.into_iter().collect(),
                    mtime_ms: modified_ms,
                    size: size.unwrap_or(0),
                    media_type: options.media_type.clone(),
                };
                target.envelope = Some(self.seal_envelope(key, &stored, &envelope)?);
            }
        }
        target.key = stored;
        Ok(target)
    }

    async fn put_stream(
        &self,
        key: &str,
        first: Bytes,
        rest: Box<dyn AsyncRead + Send + Unpin>,
        options: PutOptions,
    ) -> Result<(), Error> {
        let core = &self.client.core;
        let sealed = match self.is_sealed() {
            true => Some(Sealed::fresh(&core.entropy)?),
            false => None,
        };
        let target = self.target(key, sealed.as_ref(), (None, None), &options)?;
        let sealer = match &sealed {
            None => None,
            Some(sealed) => {
                let sealer = ContentSealer::resume(&sealed.key, PART, sealed.header, 0);
                Some(sealer.map_err(|_| Error::WrongKey)?)
            }
        };
        let watch = core.watch();
        let outgoing = Outgoing {
            first: Some(first),
            rest,
            sealer,
            entropy: core.entropy.clone(),
            up: Arc::clone(&core.up),
            watch: Arc::clone(&watch),
            progress: Progress::new(None, options.progress),
            failed: Arc::default(),
        };
        let failed = Arc::clone(&outgoing.failed);
        let session = self.client.session();
        let put = session.put_object(&self.name, &target, None, outgoing.into_body());
        let put = watch.over(put).await;
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            // What the coordinator says of a body that broke off is of no use.
            Some(error) => Err(error),
            None => put.map(|_| ()),
        }
    }
}

/// A body that is read, and sealed, as it goes.
struct Outgoing {
    first: Option<Bytes>,
    rest: Box<dyn AsyncRead + Send + Unpin>,
    sealer: Option<ContentSealer>,
    entropy: Entropy,
    up: Arc<Limiter>,
    watch: Arc<Watch>,
    progress: Progress,
    /// Why it broke off.
    failed: Arc<Mutex<Option<Error>>>,
}

impl Outgoing {
    fn into_body(self) -> Body {
        Body::wrap_stream(stream::unfold(Some(self), async |state| {
            let mut outgoing = state?;
            match outgoing.next().await {
                Ok((frame, true)) => Some((Ok(frame), Some(outgoing))),
                Ok((frame, false)) => Some((Ok(frame), None)),
                Err(error) => {
                    let mut failed = outgoing
                        .failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *failed = Some(error);
                    drop(failed);
                    Some((Err(io::Error::other("the source broke off")), None))
                }
            }
        }))
    }

    /// What goes next, and whether more follows.
    async fn next(&mut self) -> Result<(Bytes, bool), Error> {
        self.watch.held_back();
        let text = match self.first.take() {
            Some(first) => first,
            None => {
                let mut text = BytesMut::with_capacity(65_536);
                self.rest
                    .read_buf(&mut text)
                    .await
                    .map_err(Error::Reading)?;
                text.freeze()
            }
        };
        let is_last = text.is_empty();
        self.progress.add(text.len() as u64);
        let frame = match self.sealer.take() {
            None => text,
            Some(mut sealer) => {
                let (mut rng, mut frame) = (self.entropy.rng(), BytesMut::new());
                sealer.push(&text, &mut frame, &mut rng)?;
                match is_last {
                    true => sealer.finish(&mut frame, &mut rng)?,
                    false => self.sealer = Some(sealer),
                }
                frame.freeze()
            }
        };
        self.up.take(frame.len()).await;
        self.watch.moved();
        Ok((frame, !is_last))
    }
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Bytes> for Input {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
