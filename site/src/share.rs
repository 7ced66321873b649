//! The page that a share's link leads to. For a plain file it needs no script: a link, and a form where a password is asked
//! for. Of a file that was sealed before it was stored, a script of this program opens the envelope with what stands behind
//! the link's `#`, which no browser sends, and the content, in the browser.
//!
//! All that others have chosen, a name above all, is escaped here and nowhere else.

use api::durability::Durability;
use api::paths;
use api::shares::SharedContent;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

/// One script, one style sheet; a form that goes to this site; and answers of the API for the script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What is shown besides the name.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// A link to the content.
    Content,
    /// A form for the password, and what was wrong with the one before.
    Password { wrong: Option<&'a str> },
    /// Copies and proofs.
    Evidence(&'a Durability),
    /// That there is nothing any more, and why.
    Nothing { status: StatusCode, why: &'a str },
}

/// What pages of shares consist of.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/share.js", get(script))
        .route("/share.css", get(style))
}

async fn script() -> Response {
    let body = include_str!("pages/share.js");
    (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        body,
    )
        .into_response()
}

async fn style() -> Response {
    (
        [(header::CONTENT_TYPE, "text/css")],
        include_str!("pages/share.css"),
    )
        .into_response()
}

/// The page of the share with this id.
pub fn page(id: &str, share: Option<&SharedContent>, shown: Shown<'_>) -> Response {
    let status = match shown {
        Shown::Nothing { status, .. } => status,
        Shown::Password { wrong: Some(_) } => StatusCode::UNAUTHORIZED,
        _ => StatusCode::OK,
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // It says what a password opens, and how much is left.
        (header::CACHE_CONTROL, "no-store"),
    ];
    let robots = [("x-robots-tag", "noindex, nofollow")];
    (status, headers, robots, html(id, share, shown)).into_response()
}

fn html(id: &str, share: Option<&SharedContent>, shown: Shown<'_>) -> String {
    let name = share.and_then(|share| share.name.as_deref());
    let title = escape(name.unwrap_or("A shared file"));
    let body = match shown {
        Shown::Nothing { why, .. } => format!("<p>{}</p>", escape(why)),
        Shown::Password { wrong } => form(wrong),
        Shown::Evidence(durability) => evidence(durability),
        Shown::Content => share.map_or_else(String::new, |share| content(id, share)),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"/share.css\">\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</html>\n"
    )
}

fn form(wrong: Option<&str>) -> String {
    let wrong = wrong.map_or_else(String::new, |wrong| {
        format!("<p role=\"alert\">{}</p>\n", escape(wrong))
    });
    format!(
        "{wrong}<form method=\"post\">\n<p><label for=\"password\">This file has a password.</label>\n\
         <p><input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\" required \
         maxlength=\"1024\">\n<p><button>Open</button>\n</form>"
    )
}

fn content(id: &str, share: &SharedContent) -> String {
    let facts = facts(share);
    let to = escape(&paths::share_content(id));
    if share.envelope.is_none() {
        let name = escape(share.name.as_deref().unwrap_or_default());
        return format!(
            "{facts}\n<p><a class=\"download\" href=\"{to}\" download=\"{name}\">Download</a>"
        );
    }
    let about = escape(&paths::share(id));
    format!(
        "<p id=\"told\" role=\"status\">This file was sealed before it was stored: this site cannot read it.</p>\n\
         <p><button id=\"open\" hidden>Download and open</button>\n\
         <p>Any other program that opens links to sealed files takes this page's whole address, with all that stands behind \
         its #.\n\
         {facts}\n<noscript><p>To open it here takes a script.</noscript>\n\
         <script type=\"module\" src=\"/share.js\" data-about=\"{about}\" data-content=\"{to}\"></script>"
    )
}

fn facts(share: &SharedContent) -> String {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        rows.push(format!("<dt>{name}<dd>{}", escape(&value)));
    };
    if let Some(size) = share.size_bytes {
        row("Size", readable(size));
    }
    if let Some(sha256) = &share.sha256 {
        row("SHA-256", sha256.clone());
    }
    if let Some(end) = share.expires_at {
        row("Until", end.strftime("%Y-%m-%d %H:%M UTC").to_string());
    }
    if let Some(left) = share.downloads_left {
        row("Downloads left", left.to_string());
    }
    format!("<dl>\n{}\n</dl>", rows.join("\n"))
}

/// Of the first page of the chunks: what is promised, and what each copy last showed.
fn evidence(durability: &Durability) -> String {
    let promised = durability.replication_target;
    let fewest = durability.min_healthy.map_or_else(String::new, |fewest| {
        format!("; the part with the fewest has {fewest} that are healthy")
    });
    let rows = durability.chunks.iter().flat_map(|chunk| {
        chunk.replicas.iter().map(|replica| {
            let proof = match &replica.last_proof {
                Some(proof) => format!(
                    "{} {}",
                    proof.outcome,
                    proof.at.strftime("%Y-%m-%d %H:%M UTC")
                ),
                None => "none yet".to_owned(),
            };
            format!(
                "<tr><td>{}<td>{}<td>{}<td>{}",
                chunk.index,
                escape(&replica.node_id.to_string()),
                if replica.healthy {
                    "healthy"
                } else {
                    "not healthy"
                },
                escape(&proof)
            )
        })
    });
    let rows: Vec<String> = rows.collect();
    let more = match &durability.next_cursor {
        Some(_) => "<p>These are the first of its chunks; the API has the others.",
        None => "",
    };
    format!(
        "<p>This link shows where the copies of a file are, and no content. Each part of it is to have {promised} \
         copies{fewest}.\n<div class=\"wide\"><table>\n\
         <tr><th>Part<th>Node<th>State<th>Last proof\n{}\n</table></div>\n{more}",
        rows.join("\n")
    )
}

fn readable(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10) / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!(
        "{}.{} {} ({bytes} bytes)",
        tenths / 10,
        tenths % 10,
        UNITS[unit]
    )
}

/// Text as it may stand between tags and in quoted attributes. Characters that turn the direction of what follows are left
/// out: `gpj.exe` is not to be read as a picture.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str) -> SharedContent {
        SharedContent {
            needs_password: false,
            name: Some(name.to_owned()),
            size_bytes: Some(1536),
            content_type: Some("text/html".to_owned()),
            sha256: None,
            envelope: None,
            evidence: false,
            expires_at: None,
            downloads_left: Some(3),
        }
    }

    #[test]
    fn a_name_cannot_become_a_part_of_the_page() {
        for name in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "' onmouseover='alert(1)",
            "</title><script>",
            "&lt;script&gt;",
            "\u{202e}gpj.exe",
        ] {
            let page = html("id", Some(&share(name)), Shown::Content);
            assert!(!page.contains(name), "{page}");
            assert_eq!(page.matches("<script").count(), 0, "{page}");
            assert_eq!(page.matches("<img").count(), 0, "{page}");
            assert_eq!(page.matches("<a ").count(), 1, "{page}");
        }
    }

    #[test]
    fn a_plain_file_needs_no_script_and_a_sealed_one_has_one() {
        let plain = share("a.txt");
        let page = html("ID", Some(&plain), Shown::Content);
        assert!(
            page.contains("href=\"/api/v1/shares/ID/content\""),
            "{page}"
        );
        assert!(page.contains("1.5 KiB (1536 bytes)"), "{page}");
        assert!(!page.contains("<script"), "{page}");
        let sealed = SharedContent {
            envelope: Some("AQ".to_owned()),
            ..plain
        };
        let page = html("ID", Some(&sealed), Shown::Content);
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(page.contains("this page's whole address"), "{page}");
        assert!(!page.contains("fsn get"), "fsn opens no links: {page}");
    }

    #[test]
    fn what_is_wrong_is_said_on_the_page() {
        let wrong = Shown::Password {
            wrong: Some("The password is <wrong>."),
        };
        let page = html("ID", None, wrong);
        assert!(page.contains("The password is &lt;wrong&gt;."), "{page}");
        let gone = Shown::Nothing {
            status: StatusCode::GONE,
            why: "It has ended.",
        };
        assert!(html("ID", None, gone).contains("It has ended."));
    }

    #[test]
    fn sizes_are_told_so_that_people_read_them() {
        assert_eq!(readable(0), "0 bytes");
        assert_eq!(readable(1024 * 1024), "1.0 MiB (1048576 bytes)");
        assert!(readable(u64::MAX).contains("PiB"));
    }
}
