//! `Range` (RFC 9110, section 14): which bytes of a file are asked for.

use std::ops::Range;

use http::HeaderValue;

#[derive(Debug, PartialEq, Eq)]
pub enum Requested {
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// One range of bytes is honoured. Several, another unit, and what cannot be read are answered with the whole, as the
/// RFC allows.
pub fn requested(value: &HeaderValue, size: u64) -> Requested {
    let text = value.to_str().unwrap_or_default();
    let Some(range) = text
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .and_then(|(_, range)| range.trim().split_once('-'))
    else {
        return Requested::Whole;
    };
    match (number(range.0), number(range.1)) {
        (Some(Number::None), Some(Number::Some(0))) => Requested::Unsatisfiable,
        // The last bytes of nothing are nothing, which a part of a file cannot be.
        (Some(Number::None), Some(Number::Some(_))) if size == 0 => Requested::Whole,
        (Some(Number::None), Some(Number::Some(last))) => {
            Requested::Part(size.saturating_sub(last)..size)
        }
        (Some(Number::Some(first)), Some(Number::Some(last))) if last < first => Requested::Whole,
        (Some(Number::Some(first)), Some(_)) if first >= size => Requested::Unsatisfiable,
        (Some(Number::Some(first)), Some(Number::Some(last))) => {
            Requested::Part(first..last.saturating_add(1).min(size))
        }
        (Some(Number::Some(first)), Some(Number::None)) => Requested::Part(first..size),
        _ => Requested::Whole,
    }
}

#[derive(Debug, Clone, Copy)]
enum Number {
    None,
    Some(u64),
}

/// Digits, as many as there are: what no file is long enough for is as good as the most there is. `None` for anything
/// else.
fn number(text: &str) -> Option<Number> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(match text {
        "" => Number::None,
        digits => Number::Some(digits.parse().unwrap_or(u64::MAX)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str, size: u64) -> Requested {
        requested(&HeaderValue::from_str(text).unwrap(), size)
    }

    #[test]
    fn one_range_is_honoured_and_what_cannot_be_is_told() {
        for (text, size, from, to) in [
            ("bytes=0-0", 10, 0, 1),
            ("bytes=5-", 10, 5, 10),
            ("bytes=-3", 10, 7, 10),
            ("bytes=-100", 10, 0, 10),
            ("bytes=5-99", 10, 5, 10),
            ("Bytes = 5-6", 10, 5, 7),
            ("bytes=0-18446744073709551615", 10, 0, 10),
            ("bytes=0-99999999999999999999999", 10, 0, 10),
            ("bytes=-99999999999999999999999", 10, 0, 10),
        ] {
            assert_eq!(range(text, size), Requested::Part(from..to), "{text}");
        }
        for (text, size) in [
            ("bytes=10-", 10),
            ("bytes=10-11", 10),
            ("bytes=0-", 0),
            ("bytes=0-5", 0),
            ("bytes=-0", 10),
            ("bytes=-0", 0),
            ("bytes=99999999999999999999999-", 10),
        ] {
            assert_eq!(range(text, size), Requested::Unsatisfiable, "{text}");
        }
        for text in [
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=b-a",
            "bytes=5-2",
            "bytes=-",
            "bytes=",
            "bytes",
            "",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=1 -2",
        ] {
            assert_eq!(range(text, 10), Requested::Whole, "{text}");
        }
        assert_eq!(range("bytes=-5", 0), Requested::Whole);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_lies_in_the_file(text in "(bytes=)?[-0-9, ]{0,30}", size in any::<u64>()) {
            if let Ok(value) = HeaderValue::from_str(&text)
                && let Requested::Part(range) = requested(&value, size)
            {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn any_bytes_are_some_range(bytes in prop::collection::vec(any::<u8>(), 0..60), size in any::<u64>()) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                requested(&value, size);
            }
        }
    }
}
