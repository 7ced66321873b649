//! What is said of an object besides its bytes: in headers, or in the JSON of a target; and how it is told.
//!
//! A client's own metadata is kept by the names that S3 has for it, so that both doors show the same.

use std::collections::BTreeMap;

use api::buckets::{Object, ObjectTarget};
use api::headers;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use model::names::{ContentType, ObjectKey};
use model::objects::{Described, Envelope, ObjectMetadata, ObjectVersion, WriteCondition};

/// What a client said makes no sense; a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Senseless(String);

fn senseless(text: impl Into<String>) -> Senseless {
    Senseless(text.into())
}

/// As S3 calls what is [`headers::META`] here.
const KEPT_AS: &str = "x-amz-meta-";

/// Of a request that brings an object's bytes.
pub fn of_headers(
    key: ObjectKey,
    content_type: ContentType,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Described, Senseless> {
    let mut own = BTreeMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(headers::META) {
            let value = text(headers::META, value)?;
            if own.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(senseless(format!(
                    "`{}{name}` was sent twice.",
                    headers::META
                )));
            }
        }
    }
    let only = |name| only(headers, name);
    let expires_at = only(HeaderName::from_static(headers::EXPIRES_AT))?;
    let expires_at = expires_at.map(|text| {
        let at = text.parse::<Timestamp>();
        at.map_err(|_| senseless("x-fsn-expires-at is a time like 2027-01-31T12:00:00Z."))
    });
    let envelope = only(HeaderName::from_static(headers::ENVELOPE))?;
    Ok(Described {
        content_type,
        metadata: metadata(own)?,
        envelope: envelope.map(|text| opened(text, 1)).transpose()?,
        expires_at: later(expires_at.transpose()?, now)?,
        condition: condition_of(headers)?,
        ..Described::plain(key)
    })
}

/// Of a target, over what is said already. An object of so many parts.
pub fn of_target(
    said: Described,
    target: ObjectTarget,
    parts: usize,
    now: Timestamp,
) -> Result<Described, Senseless> {
    let mut said = Described {
        condition: condition(target.if_match.as_deref(), target.if_none_match.as_deref())?,
        ..said
    };
    if let Some(text) = target.content_type {
        said.content_type = ContentType::try_from(text)
            .map_err(|error| senseless(format!("That is no type: {error}.")))?;
    }
    if let Some(own) = target.metadata {
        said.metadata = metadata(own)?;
    }
    if let Some(at) = target.expires_at {
        said.expires_at = later(Some(at), now)?;
    }
    if let Some(text) = target.envelope {
        said.envelope = Some(opened(&text, parts)?);
    }
    Ok(said)
}

fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Senseless> {
    let text = value.to_str();
    text.map_err(|_| senseless(format!("`{name}` is not ASCII.")))
}

/// The value of a header that is sent once.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Senseless> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => text(name.as_str(), value).map(Some),
        (Some(_), Some(_)) => Err(senseless(format!("`{name}` was sent twice."))),
    }
}

fn metadata(own: BTreeMap<String, String>) -> Result<ObjectMetadata, Senseless> {
    let mut entries = BTreeMap::new();
    for (name, value) in own {
        let name = name.to_ascii_lowercase();
        let is_header = HeaderName::try_from(format!("{}{name}", headers::META)).is_ok()
            && HeaderValue::from_str(&value).is_ok();
        if name.is_empty() || !is_header {
            return Err(senseless(format!(
                "The metadata `{}` cannot be a header: names are letters, digits and `-`, values visible ASCII.",
                name.escape_default()
            )));
        }
        entries.insert(format!("{KEPT_AS}{name}"), value);
    }
    ObjectMetadata::new(entries).map_err(|error| senseless(format!("The {error}.")))
}

fn opened(text: &str, parts: usize) -> Result<Envelope, Senseless> {
    let bytes = BASE64_STANDARD.decode(text);
    let bytes = bytes.map_err(|_| senseless("The envelope is not Base64."))?;
    let envelope = Envelope::new(bytes, parts);
    envelope.map_err(|error| senseless(format!("It does not fit: {error}.")))
}

fn later(at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Senseless> {
    match at {
        Some(at) if at <= now => Err(senseless(
            "The object would expire before it is there: name a later time.",
        )),
        at => Ok(at),
    }
}

/// Of a write. An ETag may come in its quotes or without them.
pub fn condition(
    if_match: Option<&str>,
    if_none_match: Option<&str>,
) -> Result<WriteCondition, Senseless> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some("*")) => Ok(WriteCondition::Absent),
        (None, Some(_)) => Err(senseless(
            "If-None-Match of a write is `*`: only if there is no such key.",
        )),
        (Some(etag), None) => {
            let bare = etag
                .strip_prefix('"')
                .and_then(|etag| etag.strip_suffix('"'));
            let bare = bare.unwrap_or(etag);
            let is_one = (1..=64).contains(&bare.len())
                && bare
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            match is_one {
                true => Ok(WriteCondition::Etag(bare.to_owned())),
                false => Err(senseless(
                    "If-Match of a write is one ETag, as a GET or a list tells it.",
                )),
            }
        }
        (Some(_), Some(_)) => Err(senseless(
            "If-Match and If-None-Match do not go together: the key is there, or it is not.",
        )),
    }
}

/// Of a write whose headers say nothing else.
pub fn condition_of(headers: &HeaderMap) -> Result<WriteCondition, Senseless> {
    let others = [
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ];
    if let Some(name) = others.iter().find(|name| headers.contains_key(*name)) {
        return Err(senseless(format!(
            "`{name}` is not served by this request, and nothing was done: send `If-Match` with the ETag."
        )));
    }
    let only = |name| only(headers, name);
    condition(only(header::IF_MATCH)?, only(header::IF_NONE_MATCH)?)
}

/// What the client calls its own, without its beginning.
fn own(metadata: &ObjectMetadata) -> impl Iterator<Item = (&str, &str)> {
    let own = metadata.iter();
    own.filter_map(|(name, value)| Some((name.strip_prefix(KEPT_AS)?, value)))
}

/// In JSON.
pub fn object(version: ObjectVersion, envelope: Option<&Envelope>) -> Object {
    let metadata = own(&version.metadata);
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Object {
        version_id: version.id.as_uuid(),
        is_latest: version.is_latest,
        is_marker: version.is_marker,
        size_bytes: version.size_bytes,
        etag: (!version.is_marker).then_some(version.etag),
        content_type: version.content_type,
        metadata: metadata.collect(),
        created_at: version.created_at,
        expires_at: version.expires_at,
        envelope: envelope.map(|envelope| BASE64_STANDARD.encode(envelope.as_bytes())),
        file_ids: None,
        key: version.key,
    }
}

/// Headers that S3 clients have set, and are handed back as they are.
const STANDARD: [HeaderName; 3] = [
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
];

/// In the head of an answer. What a client of S3 has set and is no header is left out.
pub fn add_to(headers: &mut HeaderMap, version: &ObjectVersion, envelope: Option<&Envelope>) {
    for name in STANDARD {
        if let Some(Ok(value)) = version
            .metadata
            .get(name.as_str())
            .map(HeaderValue::from_str)
        {
            headers.insert(name, value);
        }
    }
    let own = own(&version.metadata).map(|(name, value)| {
        let name = HeaderName::try_from(format!("{}{name}", headers::META)).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    headers.extend(own.flatten());
    let told = [
        (headers::VERSION_ID, Some(version.id.to_string())),
        (
            headers::EXPIRES_AT,
            version.expires_at.map(|at| at.to_string()),
        ),
        (
            headers::ENVELOPE,
            envelope.map(|envelope| BASE64_STANDARD.encode(envelope.as_bytes())),
        ),
    ];
    for (name, value) in told {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(sent: &[(&str, &str)]) -> Result<Described, Senseless> {
        let headers = sent.iter().map(|(name, value)| {
            (
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let headers: HeaderMap = headers.collect();
        let key = ObjectKey::try_from("k".to_owned()).unwrap();
        of_headers(
            key,
            ContentType::octet_stream(),
            &headers,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn what_headers_say_is_kept_and_nothing_else_is() {
        let said = described(&[
            ("x-fsn-meta-mtime", "123.4"),
            ("x-other", "1"),
            ("x-fsn-expires-at", "2027-01-31T12:00:00Z"),
            ("x-fsn-envelope", "AAEC"),
            ("if-match", "\"abc-1\""),
        ]);
        let said = said.unwrap();
        let kept: Vec<_> = said.metadata.iter().collect();
        assert_eq!(kept, [("x-amz-meta-mtime", "123.4")]);
        assert_eq!(said.envelope.unwrap().as_bytes(), [0, 1, 2]);
        assert_eq!(said.condition, WriteCondition::Etag("abc-1".to_owned()));
        assert_eq!(said.expires_at.unwrap().to_string(), "2027-01-31T12:00:00Z");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let long = "A".repeat(4 * 5600);
        for sent in [
            ("x-fsn-meta-", "value"),
            ("x-fsn-expires-at", "tomorrow"),
            ("x-fsn-expires-at", "1960-01-31T12:00:00Z"),
            ("x-fsn-envelope", "no base 64"),
            ("x-fsn-envelope", &long),
            ("if-none-match", "\"abc\""),
            ("if-match", "*"),
            ("if-match", "\"a\", \"b\""),
            ("if-match", ""),
            ("if-unmodified-since", "Sat, 21 Nov 2026 12:00:00 GMT"),
        ] {
            assert!(described(&[sent]).is_err(), "{sent:?}");
        }
        let both = [("if-match", "\"a\""), ("if-none-match", "*")];
        assert!(described(&both).is_err());
    }
}
