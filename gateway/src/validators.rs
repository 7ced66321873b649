//! Preconditions (RFC 9110, section 13) as they come in headers: a request is carried out only if stored bytes are what
//! its `If-…` say. (S3's come typed: [`crate::conditions`].)
//!
//! A file never changes, so its id is its entity tag, a strong one, and the second of its completion its date. A
//! condition that cannot be read lets a reader have the file, and keeps a writer from doing anything.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Method};
use jiff::Timestamp;

/// What conditions are compared with.
#[derive(Debug, Clone)]
pub struct Validators {
    pub etag: String,
    modified: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// 304: whoever asks has it.
    NotModified,
    /// 412.
    Failed,
}

/// All that make a request conditional.
pub const CONDITIONS: [HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

pub fn is_conditional(headers: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| headers.contains_key(name))
}

impl Validators {
    /// Of bytes that never change and have this id.
    pub fn new(id: impl std::fmt::Display, since: Timestamp) -> Self {
        let seconds = since.as_second().unsigned_abs();
        Self {
            etag: format!("\"{id}\""),
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// In the order that the RFC sets.
    pub fn evaluate(&self, method: &Method, headers: &HeaderMap) -> Verdict {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if headers.contains_key(header::IF_MATCH) {
            let tags = Tags::of(headers, header::IF_MATCH);
            if !tags.is_some_and(|tags| tags.name(&self.etag, Comparison::Strong)) {
                return Verdict::Failed;
            }
        } else if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
            match date(headers, header::IF_UNMODIFIED_SINCE) {
                Some(date) if self.modified <= date => {}
                None if reads => {}
                _ => return Verdict::Failed,
            }
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            let tags = Tags::of(headers, header::IF_NONE_MATCH);
            let has_it = tags.map(|tags| tags.name(&self.etag, Comparison::Weak));
            return match (has_it, reads) {
                (Some(false), _) | (None, true) => Verdict::Proceed,
                (Some(true), true) => Verdict::NotModified,
                (Some(true) | None, false) => Verdict::Failed,
            };
        }
        let since = date(headers, header::IF_MODIFIED_SINCE);
        if reads && since.is_some_and(|date| self.modified <= date) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether a range may be answered: no `If-Range`, or one that names this very file. A weak tag and `*` name none.
    pub fn range_applies(&self, headers: &HeaderMap) -> bool {
        if !headers.contains_key(header::IF_RANGE) {
            return true;
        }
        let only = only(headers, header::IF_RANGE).and_then(|value| value.to_str().ok());
        only.is_some_and(|text| {
            text == self.etag
                || httpdate::parse_http_date(text).is_ok_and(|date| date == self.modified)
        })
    }
}

/// A header's value, if it was sent once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let text = only(headers, name)?.to_str().ok()?;
    httpdate::parse_http_date(text).ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// The entity tags of a condition.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    /// With its quotes.
    opaque: String,
}

impl Tags {
    /// `None` when they cannot be read.
    fn of(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let values = headers.get_all(name).iter();
        let values: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
        let text = values?.join(",");
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.as_str();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::These(tags));
            }
            let (is_weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let inner = quoted.strip_prefix('"')?;
            let (inner, behind) = inner.split_once('"')?;
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
            let opaque = format!("\"{inner}\"");
            tags.push(Tag { is_weak, opaque });
        }
    }

    fn name(&self, etag: &str, comparison: Comparison) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags
                .iter()
                .any(|tag| tag.opaque == etag && (comparison == Comparison::Weak || !tag.is_weak)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: &str = "Sat, 21 Nov 2026 12:00:00 GMT";
    const DAY_BEFORE: &str = "Fri, 20 Nov 2026 12:00:00 GMT";

    fn validators() -> Validators {
        Validators {
            etag: "\"tag\"".to_owned(),
            modified: httpdate::parse_http_date(DAY).unwrap(),
        }
    }

    fn verdict(method: Method, conditions: &[(HeaderName, &'static str)]) -> Verdict {
        let headers = conditions
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        validators().evaluate(&method, &headers.collect())
    }

    #[test]
    fn a_reader_gets_what_he_does_not_have_and_no_other_file() {
        use Verdict::{Failed, NotModified, Proceed};
        for (name, value, expected) in [
            (header::IF_MATCH, "\"tag\"", Proceed),
            (header::IF_MATCH, "*", Proceed),
            (header::IF_MATCH, "\"a,b\", \"tag\"", Proceed),
            (header::IF_MATCH, "\"other\"", Failed),
            (header::IF_MATCH, "W/\"tag\"", Failed),
            (header::IF_MATCH, "tag", Failed),
            (header::IF_MATCH, "", Failed),
            (header::IF_UNMODIFIED_SINCE, DAY, Proceed),
            (header::IF_UNMODIFIED_SINCE, DAY_BEFORE, Failed),
            (header::IF_UNMODIFIED_SINCE, "yesterday", Proceed),
            (header::IF_NONE_MATCH, "\"tag\"", NotModified),
            (header::IF_NONE_MATCH, "\"other\", W/\"tag\"", NotModified),
            (header::IF_NONE_MATCH, "*", NotModified),
            (header::IF_NONE_MATCH, "\"other\"", Proceed),
            (header::IF_NONE_MATCH, "\"tag", Proceed),
            (header::IF_MODIFIED_SINCE, DAY, NotModified),
            (header::IF_MODIFIED_SINCE, DAY_BEFORE, Proceed),
            (header::IF_MODIFIED_SINCE, "never", Proceed),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let conditions = [(name.clone(), value)];
                assert_eq!(verdict(method, &conditions), expected, "{name}: {value}");
            }
        }
        // A tag goes before a date, both ways.
        let newer = [
            (header::IF_NONE_MATCH, "\"other\""),
            (header::IF_MODIFIED_SINCE, DAY),
        ];
        assert_eq!(verdict(Method::GET, &newer), Proceed);
        let same = [
            (header::IF_MATCH, "\"tag\""),
            (header::IF_UNMODIFIED_SINCE, DAY_BEFORE),
        ];
        assert_eq!(verdict(Method::GET, &same), Proceed);
    }

    #[test]
    fn a_writer_does_nothing_unless_all_is_as_he_says() {
        use Verdict::{Failed, Proceed};
        for (name, value, expected) in [
            (header::IF_MATCH, "\"tag\"", Proceed),
            (header::IF_MATCH, "\"other\"", Failed),
            (header::IF_UNMODIFIED_SINCE, DAY, Proceed),
            (header::IF_UNMODIFIED_SINCE, DAY_BEFORE, Failed),
            (header::IF_UNMODIFIED_SINCE, "yesterday", Failed),
            (header::IF_NONE_MATCH, "*", Failed),
            (header::IF_NONE_MATCH, "\"tag\"", Failed),
            (header::IF_NONE_MATCH, "tag", Failed),
            (header::IF_NONE_MATCH, "\"other\"", Proceed),
        ] {
            let conditions = [(name.clone(), value)];
            assert_eq!(
                verdict(Method::DELETE, &conditions),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn a_range_is_of_the_very_file_that_is_named() {
        for (value, applies) in [
            ("\"tag\"", true),
            (DAY, true),
            ("W/\"tag\"", false),
            ("*", false),
            ("\"old\"", false),
            (DAY_BEFORE, false),
            ("\"old\", \"tag\"", false),
        ] {
            let headers = [(header::IF_RANGE, HeaderValue::from_static(value))];
            let headers = headers.into_iter().collect();
            assert_eq!(validators().range_applies(&headers), applies, "{value}");
        }
        assert!(validators().range_applies(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_condition_is_too_odd_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for name in CONDITIONS {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    let headers = [(name.clone(), value)].into_iter().collect();
                    let verdict = validators().evaluate(&Method::DELETE, &headers);
                    let is_named = bytes.windows(5).any(|some| some == b"\"tag\"") || bytes.trim_ascii() == b"*";
                    prop_assert!(name != header::IF_MATCH || is_named || verdict == Verdict::Failed);
                    validators().range_applies(&headers);
                }
            }
        }
    }
}
