//! Which page made a request: one of this site, or another. It is what keeps other sites from acting in the name of whoever is
//! signed in here (CSRF), beside the cookie's `SameSite=Strict`, which takes sister domains and other ports for the same site.
//!
//! Browsers say it themselves: `Sec-Fetch-Site` (<https://www.w3.org/TR/fetch-metadata/>) over TLS and on this machine, and
//! `Origin` with everything but plain reading. No page can set either. Rejected: a secret in each form, which has to be
//! kept, and is in every copy of a page.

use http::{HeaderMap, header};

const FETCH_SITE: &str = "sec-fetch-site";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// By a page of this site.
    Here,
    /// By a person: an address that was typed, a bookmark.
    ByHand,
    /// By another page.
    Elsewhere,
    /// The browser does not say: an old one, over a wire in the clear.
    Unsaid,
}

impl Made {
    /// May change something in the name of whoever is signed in.
    pub(crate) fn may_change(self) -> bool {
        self == Self::Here
    }

    /// May be shown what is theirs.
    pub(crate) fn may_read(self) -> bool {
        self != Self::Elsewhere
    }
}

/// `public_url` is the origin under which a proxy serves this site that does not pass `Host` on.
pub(crate) fn of(headers: &HeaderMap, public_url: Option<&str>) -> Made {
    let text = |name: &str| headers.get(name).map(http::HeaderValue::as_bytes);
    match text(FETCH_SITE) {
        Some(b"same-origin") => return Made::Here,
        Some(b"none") => return Made::ByHand,
        Some(_) => return Made::Elsewhere,
        None => {}
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else {
        return Made::Unsaid;
    };
    let own = public_url.is_some_and(|url| url.as_bytes() == origin);
    let host = text(header::HOST.as_str()).filter(|host| !host.is_empty());
    let asked = host.is_some_and(|host| {
        let named = [&b"https://"[..], b"http://"];
        let mut named = named
            .iter()
            .filter_map(|scheme| origin.strip_prefix(*scheme));
        named.any(|named| named.eq_ignore_ascii_case(host))
    });
    match own || asked {
        true => Made::Here,
        false => Made::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn made(pairs: &[(&'static str, &'static str)]) -> Made {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        of(&headers, Some("https://storage.example"))
    }

    #[test]
    fn what_the_browser_says_of_itself_goes_before_all() {
        assert_eq!(made(&[("sec-fetch-site", "same-origin")]), Made::Here);
        assert_eq!(made(&[("sec-fetch-site", "none")]), Made::ByHand);
        for site in ["same-site", "cross-site", "", "SAME-ORIGIN", "new-word"] {
            let lied = [
                ("sec-fetch-site", site),
                ("origin", "https://storage.example"),
            ];
            assert_eq!(made(&lied), Made::Elsewhere, "{site}");
        }
    }

    #[test]
    fn without_it_the_origin_has_to_be_the_host_that_was_asked() {
        let of = |origin, host| made(&[("origin", origin), ("host", host)]);
        assert_eq!(of("http://10.0.0.2:8080", "10.0.0.2:8080"), Made::Here);
        assert_eq!(of("https://Storage.example", "storage.example"), Made::Here);
        assert_eq!(of("https://storage.example", "inner:8080"), Made::Here);
        for (origin, host) in [
            ("https://evil.example", "storage.example"),
            ("http://10.0.0.2:8081", "10.0.0.2:8080"),
            ("null", "storage.example"),
            ("https://", ""),
            ("ftp://storage.example", "storage.example"),
            ("https://storage.example.evil", "storage.example"),
        ] {
            assert_eq!(of(origin, host), Made::Elsewhere, "{origin} {host}");
        }
        assert_eq!(made(&[("host", "storage.example")]), Made::Unsaid);
        assert!(!Made::Unsaid.may_change() && !Made::ByHand.may_change());
    }
}
