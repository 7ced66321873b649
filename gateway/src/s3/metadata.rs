//! What clients say of an object besides its bytes, and how it is handed back.

use std::collections::{BTreeMap, HashMap};

use model::names::ContentType;
use model::objects::ObjectMetadata;
use s3s::S3Result;
use s3s::dto::{Timestamp, TimestampFormat};

use super::errors::invalid;

const USER: &str = "x-amz-meta-";

/// The headers of a write that are kept.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<Timestamp>,
    pub user: Option<HashMap<String, String>>,
}

/// Takes them out of an input that has such fields.
macro_rules! heads {
    ($input:expr) => {
        $crate::s3::metadata::Heads {
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take(),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            user: $input.metadata.take(),
        }
    };
}
pub(super) use heads;

impl Heads {
    pub(super) fn metadata(self) -> S3Result<ObjectMetadata> {
        let mut entries = BTreeMap::new();
        let expires = self.expires.and_then(|at| {
            let mut text = Vec::new();
            at.format(TimestampFormat::HttpDate, &mut text).ok()?;
            String::from_utf8(text).ok()
        });
        for (name, value) in [
            ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition),
            (
                "content-encoding",
                self.content_encoding.and_then(stored_coding),
            ),
            ("content-language", self.content_language),
            ("expires", expires),
        ] {
            if let Some(value) = value {
                entries.insert(name.to_owned(), value);
            }
        }
        for (name, value) in self.user.unwrap_or_default() {
            entries.insert(format!("{USER}{}", name.to_ascii_lowercase()), value);
        }
        ObjectMetadata::new(entries).map_err(invalid)
    }
}

/// How a body was sent is no property of what is stored.
fn stored_coding(coding: String) -> Option<String> {
    let codings = coding.split(',').map(str::trim);
    let kept: Vec<&str> = codings
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Those that a client calls its own, without their beginning.
pub(super) fn user(metadata: &ObjectMetadata) -> Option<HashMap<String, String>> {
    let own = metadata
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(USER)?.to_owned(), value.to_owned())));
    let own: HashMap<_, _> = own.collect();
    (!own.is_empty()).then_some(own)
}

pub(super) fn head(metadata: &ObjectMetadata, name: &str) -> Option<String> {
    metadata.get(name).map(str::to_owned)
}

pub(super) fn expires(metadata: &ObjectMetadata) -> Option<Timestamp> {
    let text = metadata.get("expires")?;
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

pub(super) fn content_type(given: Option<String>) -> S3Result<ContentType> {
    match given.filter(|given| !given.is_empty()) {
        Some(given) => ContentType::try_from(given).map_err(invalid),
        None => Ok(ContentType::octet_stream()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_object_is_kept_but_not_how_it_was_sent() {
        let heads = Heads {
            cache_control: Some("no-cache".to_owned()),
            content_encoding: Some("gzip,aws-chunked".to_owned()),
            expires: Timestamp::parse(TimestampFormat::HttpDate, "Mon, 30 Nov 2026 22:00:00 GMT")
                .ok(),
            user: Some(HashMap::from([("Mtime".to_owned(), "1".to_owned())])),
            ..Heads::default()
        };
        let metadata = heads.metadata().unwrap();
        assert_eq!(metadata.get("content-encoding"), Some("gzip"));
        assert_eq!(metadata.get("x-amz-meta-mtime"), Some("1"));
        assert_eq!(user(&metadata).unwrap()["mtime"], "1");
        assert!(expires(&metadata).is_some());
        assert_eq!(stored_coding("aws-chunked".to_owned()), None);
    }
}
