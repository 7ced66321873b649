//! Multipart forms (RFC 7578) with one file in them: its name, its type, its bytes.
//!
//! The reader is fed with bounds: all that is not the file has to end somewhere. A form with a second file is refused,
//! which is known only at its end, and so before the first one is committed.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header;

use super::digests;
use super::problem::Problem;
use model::upload::DeclaredDigests;

/// What may stand before the file in a form, and behind it.
const MAX_BESIDES_BYTES: usize = 64 * 1024;

/// The file of a form.
pub(super) struct FormFile {
    pub filename: Option<String>,
    pub content_type: Option<String>,
    pub declared: DeclaredDigests,
    refusal: Refusal,
    form: multer::Multipart<'static>,
    field: multer::Field<'static>,
    at_file: Arc<AtomicBool>,
}

/// Why a form was given up after its file had begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal(Arc<OnceLock<&'static str>>);

impl Refusal {
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.get().map(|detail| Problem::invalid(*detail))
    }
}

/// The first field that is a file; those before it are passed over.
pub(super) async fn open(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    boundary: String,
) -> Result<FormFile, Problem> {
    // But for the file, the form's reader keeps all it gets.
    let at_file = Arc::new(AtomicBool::new(false));
    let (reached, mut besides) = (Arc::clone(&at_file), 0);
    let body = StreamExt::map(body, move |frame| {
        let frame = frame?;
        if !reached.load(Ordering::Relaxed) {
            besides += frame.len();
            if besides > MAX_BESIDES_BYTES {
                return Err(io::Error::other(
                    "the form has too much in it besides its file",
                ));
            }
        }
        Ok(frame)
    });
    let mut form = multer::Multipart::new(body, boundary);
    loop {
        match form.next_field().await {
            Ok(Some(field)) if is_file(&field) => {
                at_file.store(true, Ordering::Relaxed);
                return FormFile::of(form, field, at_file);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(Problem::invalid("The form has no file in it.")),
            Err(error) => {
                let detail = format!("The form cannot be read: {error}.");
                return Err(Problem::invalid(detail));
            }
        }
    }
}

impl FormFile {
    fn of(
        form: multer::Multipart<'static>,
        field: multer::Field<'static>,
        at_file: Arc<AtomicBool>,
    ) -> Result<Self, Problem> {
        let content_type = match field.headers().get(header::CONTENT_TYPE) {
            None => None,
            Some(value) => {
                let text = value.to_str().map_err(|_| {
                    Problem::invalid("The Content-Type of the form's file is not ASCII text.")
                })?;
                Some(text.to_owned())
            }
        };
        Ok(Self {
            filename: filename(&field),
            content_type,
            declared: digests::declared(field.headers())?,
            refusal: Refusal::default(),
            form,
            field,
            at_file,
        })
    }

    /// Why its [`bytes`](Self::into_bytes) ended in an error, if it was the form's fault.
    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// The file's bytes; an error at their end if another file follows.
    pub(super) fn into_bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
        let Self {
            refusal,
            form,
            field,
            at_file,
            ..
        } = self;
        let state = Some((form, field));
        Box::pin(futures::stream::try_unfold(state, move |state| {
            let (refusal, at_file) = (refusal.clone(), Arc::clone(&at_file));
            async move {
                let Some((form, mut field)) = state else {
                    return Ok(None);
                };
                match field.chunk().await.map_err(io::Error::other)? {
                    Some(bytes) => Ok(Some((bytes, Some((form, field))))),
                    None => {
                        drop(field); // the reader gives one at a time
                        at_file.store(false, Ordering::Relaxed);
                        expect_no_other(form, &refusal).await?;
                        Ok(None)
                    }
                }
            }
        }))
    }
}

async fn expect_no_other(
    mut form: multer::Multipart<'static>,
    refusal: &Refusal,
) -> io::Result<()> {
    while let Some(field) = form.next_field().await.map_err(io::Error::other)? {
        // One with an empty name is an input in which nobody chose a file.
        if is_file(&field) && filename(&field).is_none_or(|name| !name.is_empty()) {
            const SECOND: &str = "The form has more than one file in it, and nothing of it was stored: send each \
                                  file in a request of its own.";
            let _ = refusal.0.set(SECOND);
            return Err(io::Error::other("the form has a second file"));
        }
    }
    Ok(())
}

fn is_file(field: &multer::Field<'_>) -> bool {
    field.name() == Some("file") || filename(field).is_some_and(|name| !name.is_empty())
}

/// The name that the client gives the file. Old clients write it in Latin-1, which the form's reader does not read.
fn filename(field: &multer::Field<'_>) -> Option<String> {
    if let Some(name) = field.file_name() {
        return Some(name.to_owned());
    }
    let disposition = field.headers().get(header::CONTENT_DISPOSITION)?;
    latin1_filename(disposition.as_bytes())
}

/// `filename="…"` whose bytes are no UTF-8: each is the character of its number.
fn latin1_filename(disposition: &[u8]) -> Option<String> {
    let text: String = disposition.iter().map(|byte| char::from(*byte)).collect();
    let (_, rest) = text.split_once("filename=\"")?;
    let mut name = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(name),
            '\\' if letters.as_str().starts_with('"') => {
                letters.next();
                name.push('"');
            }
            letter => name.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_in_latin1_is_a_name() {
        let name = |text: &[u8]| latin1_filename(text);
        assert_eq!(
            name(b"form-data; name=\"f\"; filename=\"M\xfcller \\\"a\\\".txt\"").as_deref(),
            Some("Müller \"a\".txt")
        );
        assert_eq!(name(b"form-data; name=\"f\""), None);
        assert_eq!(name(b"form-data; filename=\"open"), None);
    }

    proptest! {
        #[test]
        fn no_disposition_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            latin1_filename(&bytes);
        }
    }
}
