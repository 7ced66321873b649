//! Keys in answers, percent-encoded where the client asks for it; and the tokens that say where a list goes on.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rules::listing::Start;
use s3s::dto::EncodingType;
use s3s::{S3Error, S3Result};

use super::errors::invalid;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*');

/// How keys are written in one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(super) fn of(asked: Option<&EncodingType>) -> S3Result<Self> {
        match asked.map(EncodingType::as_str) {
            None | Some("") => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(invalid("the only encoding-type is `url`")),
        }
    }

    pub(super) fn told(self) -> Option<EncodingType> {
        (self == Self::Url).then(|| EncodingType::from_static(EncodingType::URL))
    }

    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => utf8_percent_encode(text, ENCODED).to_string(),
        }
    }

    /// Nothing stays nothing.
    pub(super) fn some(self, text: &str) -> Option<String> {
        (!text.is_empty()).then(|| self.text(text))
    }
}

/// A place in a list, as a client hands it back.
pub(super) fn token(start: &Start) -> String {
    let kind = if start.inclusive { "=" } else { ">" };
    URL_SAFE_NO_PAD.encode(format!("{kind}{}", start.text))
}

pub(super) fn start(token: &str) -> Result<Start, S3Error> {
    let wrong = || invalid("the continuation token provided is incorrect");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (inclusive, text) = match text.split_at_checked(1) {
        Some(("=", text)) => (true, text),
        Some((">", text)) => (false, text),
        _ => return Err(wrong()),
    };
    Ok(Start {
        text: text.to_owned(),
        inclusive,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_decoder_would_change_is_encoded() {
        for (key, encoded) in [
            ("a/b-c_d.e*", "a/b-c_d.e*"),
            ("x+y", "x%2By"),
            ("p%20q", "p%2520q"),
            ("a b", "a%20b"),
            ("é", "%C3%A9"),
            ("\u{1}", "%01"),
        ] {
            assert_eq!(Encoding::Url.text(key), encoded);
            assert_eq!(Encoding::Plain.text(key), key);
        }
    }

    proptest! {
        #[test]
        fn a_token_leads_back_to_its_place(text in "\\PC{0,40}", inclusive in any::<bool>()) {
            let place = Start { text, inclusive };
            prop_assert_eq!(start(&token(&place)).unwrap(), place);
        }

        #[test]
        fn no_token_is_too_odd_to_be_read(text in "\\PC{0,40}") {
            let _ = start(&text);
        }
    }
}
