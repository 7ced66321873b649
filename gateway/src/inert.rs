//! How stored bytes are served, so that they never run as a page of the site that serves them: as an attachment, unless
//! they are of a type in which nothing runs; with that type and no other; and in a sandbox without an origin.
//!
//! Every face that serves stored bytes takes its headers from here. Rejected: looking into the bytes, as browsers do,
//! and of which each release does it in another way.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Of bytes that a browser may show: what they consist of is loaded from where they are, and nothing runs.
pub const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
);

pub const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Types that hold no program for any browser. Not among them: SVG, XML and PDF, which do.
const INERT: [&str; 22] = [
    "text/plain",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/bmp",
    "audio/mpeg",
    "audio/mp4",
    "audio/aac",
    "audio/ogg",
    "audio/flac",
    "audio/wav",
    "audio/webm",
    "video/mp4",
    "video/mpeg",
    "video/ogg",
    "video/webm",
    "video/quicktime",
    // Which browsers keep and do not show.
    "application/octet-stream",
    "binary/octet-stream",
    "application/zip",
];

/// Whether a browser may show what is said to be of this type.
pub fn is_inert(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    INERT
        .iter()
        .any(|inert| essence.eq_ignore_ascii_case(inert))
}

/// `Content-Disposition` for whoever is to keep the file.
pub fn attachment(filename: &str) -> String {
    disposition("attachment", filename)
}

/// `Content-Disposition` for whoever may look at it at once.
pub fn inline_or_attachment(filename: &str, content_type: &str) -> String {
    match is_inert(content_type) {
        true => disposition("inline", filename),
        false => attachment(filename),
    }
}

/// What an owner has said of an object, as it may be handed on: nothing but a type in which nothing runs is shown.
pub fn told_disposition(told: Option<String>, content_type: &str) -> Option<String> {
    if is_inert(content_type) {
        return told;
    }
    let (kind, rest) = match &told {
        None => return Some("attachment".to_owned()),
        Some(told) => told.split_once(';').unwrap_or((told, "")),
    };
    match (kind.trim().eq_ignore_ascii_case("attachment"), rest) {
        (true, _) => told,
        (false, "") => Some("attachment".to_owned()),
        (false, rest) => Some(format!("attachment;{rest}")),
    }
}

/// Of a name in a response's head, so that the head stays below the 4 KiB that proxies have room for. No file system
/// takes longer ones.
const MAX_NAME_BYTES: usize = 500;

/// The name, or so much of it that its ending is kept.
fn shortened(filename: &str) -> Cow<'_, str> {
    if filename.len() <= MAX_NAME_BYTES {
        return filename.into();
    }
    let ending = filename
        .rfind('.')
        .map_or("", |dot| &filename[dot..])
        .chars()
        .take(20)
        .collect::<String>();
    let room = filename.floor_char_boundary(MAX_NAME_BYTES - ending.len());
    format!("{}{ending}", &filename[..room]).into()
}

/// RFC 6266: a plain name for old clients, and the real one in UTF-8.
fn disposition(kind: &str, filename: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let filename = shortened(filename);
    let plain: String = filename
        .chars()
        .map(|c| match c {
            '"' | '\\' | '/' | '%' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .take(200)
        .collect();
    let encoded = utf8_percent_encode(&filename, KEPT);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let header = attachment("a\"b/ü\n.txt");
        assert_eq!(
            header,
            "attachment; filename=\"a_b___.txt\"; filename*=UTF-8''a%22b%2F%C3%BC%0A.txt"
        );
        assert!(HeaderValue::from_str(&header).is_ok());
    }

    #[test]
    fn a_name_of_any_length_leaves_room_in_the_head_and_keeps_its_ending() {
        for name in [
            "日".repeat(600) + ".pdf",
            "\"".repeat(4096),
            ".".repeat(4096),
            "x".repeat(4090) + "." + &"ü".repeat(100),
        ] {
            let header = attachment(&name);
            assert!(header.len() < 2000, "{}", header.len());
        }
        let header = attachment(&("日".repeat(600) + ".pdf"));
        assert!(header.ends_with("%E6%97%A5.pdf"), "{header}");
        let short = "日".repeat(100) + ".pdf";
        assert_eq!(shortened(&short), short);
    }

    #[test]
    fn only_what_holds_no_program_is_shown() {
        for shown in [
            "text/plain",
            "Image/PNG",
            "text/plain; charset=utf-8",
            "video/mp4",
        ] {
            assert!(
                inline_or_attachment("a", shown).starts_with("inline;"),
                "{shown}"
            );
        }
        for kept in [
            "text/html",
            "text/html;charset=utf-8",
            " text/html",
            "image/svg+xml",
            "application/pdf",
            "application/xhtml+xml",
            "text/xml",
            "text/javascript",
            "text/plain, text/html",
            "image/png/html",
            "",
        ] {
            let told = inline_or_attachment("a", kept);
            assert!(told.starts_with("attachment;"), "{kept}");
        }
    }

    #[test]
    fn an_owner_who_says_inline_gets_it_for_what_is_inert() {
        let told = |told: Option<&str>, kind| told_disposition(told.map(str::to_owned), kind);
        assert_eq!(told(Some("inline"), "image/png").as_deref(), Some("inline"));
        assert_eq!(told(None, "application/octet-stream"), None);
        for (said, given) in [
            (None, "attachment"),
            (Some("inline"), "attachment"),
            (Some("INLINE; filename=\"a\""), "attachment; filename=\"a\""),
            (Some("ATTACHMENT; filename=a"), "ATTACHMENT; filename=a"),
            (Some("attachment"), "attachment"),
            (Some(""), "attachment"),
        ] {
            assert_eq!(told(said, "text/html").as_deref(), Some(given), "{said:?}");
        }
    }
}
