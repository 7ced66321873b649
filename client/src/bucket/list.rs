//! What is in a bucket, a page at a time. A sealed bucket's come in the order of their sealed names: whoever wants another
//! order sorts them.

use api::buckets::ObjectsParams;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use sealing::end_to_end::DirectoryKey;
use sealing::end_to_end::content::text_len;

use super::Bucket;
use crate::Error;
use crate::rest::Session;

const PAGE: u16 = 1000;

/// An object, or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// With its directories; that of a directory ends with `/`.
    pub key: String,
    /// Bytes of the content; `None` of a directory.
    pub size: Option<u64>,
    /// When it became what it is; `None` of a directory.
    pub stored_at: Option<Timestamp>,
    /// When the file was changed last, in milliseconds since 1970: where it came from a file, and not in lists.
    pub modified_ms: Option<i64>,
    /// Not in lists.
    pub media_type: Option<String>,
    pub etag: Option<String>,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.size.is_none()
    }
}

impl Bucket {
    /// What lies in a directory (`""`, or a name with `/` at its end), or, `recursive`, in all that are in it. A name that
    /// does not open is an error of its own, and others follow it.
    pub fn list(
        &self,
        directory: &str,
        recursive: bool,
    ) -> impl Stream<Item = Result<Entry, Error>> + Send {
        let (begin, failure) = match self.prefix(directory) {
            Ok(prefix) => (Some((prefix, None)), None),
            Err(error) => (None, Some(Err(error))),
        };
        let pages = stream::unfold((self.clone(), begin), move |(bucket, begin)| async move {
            let (prefix, after) = begin?;
            let (entries, next) = match bucket.page(&prefix, after, recursive).await {
                Ok((entries, next)) => (entries, next.map(|next| (prefix, Some(next)))),
                Err(error) => (vec![Err(error)], None),
            };
            Some((stream::iter(entries), (bucket, next)))
        });
        stream::iter(failure).chain(pages.flatten())
    }

    /// As the coordinator knows it.
    fn prefix(&self, directory: &str) -> Result<String, Error> {
        match directory.strip_suffix('/') {
            None if directory.is_empty() => Ok(String::new()),
            None => Err(Error::unusable(format!(
                "{directory} is no directory: that is \"\", or ends with /"
            ))),
            Some(name) => Ok(self.stored_key(name)? + "/"),
        }
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<String>,
        recursive: bool,
    ) -> Result<(Vec<Result<Entry, Error>>, Option<String>), Error> {
        let params = ObjectsParams {
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            delimiter: (!recursive).then(|| "/".to_owned()),
            after,
            limit: Some(PAGE),
            ..ObjectsParams::default()
        };
        let params = &params;
        let ask = |session: Session| async move { Ok(session.objects(&self.name, params).await?) };
        let page = self.client.ask(ask).await?;
        let directories = page.prefixes.iter().map(|prefix| {
            let name = prefix.strip_suffix('/').unwrap_or(prefix);
            let key = self.opened(name)? + "/";
            Ok(Entry {
                key,
                size: None,
                stored_at: None,
                modified_ms: None,
                media_type: None,
                etag: None,
            })
        });
        let objects = page.items.iter().map(|object| {
            let size = match &self.vault {
                None => object.size_bytes,
                Some(_) => text_len(object.size_bytes).ok_or(Error::WrongContent)?,
            };
            Ok(Entry {
                key: self.opened(&object.key)?,
                size: Some(size),
                stored_at: Some(object.created_at),
                modified_ms: None,
                media_type: None,
                etag: object.etag.clone(),
            })
        });
        Ok((directories.chain(objects).collect(), page.next_after))
    }

    fn opened(&self, stored: &str) -> Result<String, Error> {
        let open = |vault: &DirectoryKey| vault.open_name(stored);
        match self.vault.as_ref().map(open) {
            None => Ok(stored.to_owned()),
            Some(opened) => opened.map_err(|_| Error::ForeignName(stored.to_owned())),
        }
    }
}
