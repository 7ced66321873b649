//! Conditions of requests that read: answered with the object, with 304, or with 412 (RFC 9110, section 13).

use jiff::Timestamp;

/// One of `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    Any,
    /// Without quotes.
    This(String),
}

impl Tag {
    fn names(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::This(tag) => tag == etag,
        }
    }
}

/// What a reader asks for, in seconds where it is a time, as headers have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    pub if_match: Option<Tag>,
    pub if_none_match: Option<Tag>,
    pub if_modified_since: Option<i64>,
    pub if_unmodified_since: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

impl Conditions {
    /// In the order that the RFC sets: a tag goes before a time.
    pub fn evaluate(&self, etag: &str, modified: Timestamp) -> Verdict {
        let modified = modified.as_second();
        let unchanged = match (&self.if_match, self.if_unmodified_since) {
            (Some(tag), _) => tag.names(etag),
            (None, Some(since)) => modified <= since,
            (None, None) => true,
        };
        if !unchanged {
            return Verdict::Failed;
        }
        let is_known = match (&self.if_none_match, self.if_modified_since) {
            (Some(tag), _) => tag.names(etag),
            (None, Some(since)) => modified <= since,
            (None, None) => false,
        };
        match is_known {
            true => Verdict::NotModified,
            false => Verdict::Proceed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Option<Tag> {
        Some(Tag::This(text.to_owned()))
    }

    #[test]
    fn a_reader_gets_what_he_does_not_have_and_no_other_object() {
        use Verdict::{Failed, NotModified, Proceed};
        let none = Conditions::default;
        for (conditions, verdict) in [
            (none(), Proceed),
            (
                Conditions {
                    if_match: tag("x"),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_match: tag("y"),
                    ..none()
                },
                Failed,
            ),
            (
                Conditions {
                    if_match: Some(Tag::Any),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_none_match: tag("x"),
                    ..none()
                },
                NotModified,
            ),
            (
                Conditions {
                    if_none_match: tag("y"),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_modified_since: Some(100),
                    ..none()
                },
                NotModified,
            ),
            (
                Conditions {
                    if_modified_since: Some(99),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_unmodified_since: Some(100),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_unmodified_since: Some(99),
                    ..none()
                },
                Failed,
            ),
            // A tag goes before a time, both ways.
            (
                Conditions {
                    if_match: tag("x"),
                    if_unmodified_since: Some(99),
                    ..none()
                },
                Proceed,
            ),
            (
                Conditions {
                    if_none_match: tag("y"),
                    if_modified_since: Some(100),
                    ..none()
                },
                Proceed,
            ),
        ] {
            let at = Timestamp::from_millisecond(100_500).unwrap();
            assert_eq!(conditions.evaluate("x", at), verdict, "{conditions:?}");
        }
    }
}
