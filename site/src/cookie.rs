//! The cookie that keeps somebody signed in: an access token that lasts as long as its login, where no script reads it.
//!
//! Over TLS its name begins with `__Host-`: browsers take such a cookie from this very host over TLS and from nobody else, so
//! that neither a sister domain nor somebody on the wire can sign a visitor in as somebody else. So it does wherever the site's
//! own address has TLS, even if no proxy says that a request came over it. The plain name is for this machine and for networks
//! without TLS, and is not read where the other is. Every login makes a token of its own: what a browser showed before it is
//! never taken over (session fixation).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

const SECURE_NAME: &str = "__Host-fsn";
const PLAIN_NAME: &str = "fsn";

const fn name(is_secure: bool) -> &'static str {
    if is_secure { SECURE_NAME } else { PLAIN_NAME }
}

/// The token that a browser shows. Where it shows several, somebody has planted one: none counts.
pub(crate) fn token(headers: &HeaderMap, is_secure: bool) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    let mut tokens = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name(is_secure))
        .map(|(_, token)| token);
    let token = tokens.next()?;
    let may_be_one = token
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (tokens.next().is_none() && may_be_one && !token.is_empty()).then_some(token)
}

pub(crate) fn set(token: &str, lasts: Duration, is_secure: bool) -> Option<HeaderValue> {
    let (name, seconds) = (name(is_secure), lasts.as_secs());
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie =
        format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::from_str(&cookie).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn clear(is_secure: bool) -> HeaderValue {
    HeaderValue::from_static(match is_secure {
        true => "__Host-fsn=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict; Secure",
        false => "fsn=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(cookies: &[&'static str], is_secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        token(&headers, is_secure).map(str::to_owned)
    }

    #[test]
    fn a_cookie_is_read_as_it_was_set() {
        for is_secure in [true, false] {
            let cookie = set("a.b-c_D", Duration::from_secs(60), is_secure).unwrap();
            let cookie = cookie.to_str().unwrap().to_owned();
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
            assert_eq!(cookie.contains("; Secure"), is_secure);
            let pair = cookie.split(';').next().unwrap().to_owned();
            let pair: &'static str = pair.leak();
            assert_eq!(shown(&[pair], is_secure).as_deref(), Some("a.b-c_D"));
            assert_eq!(shown(&[pair], !is_secure), None);
            let cleared = clear(is_secure).to_str().unwrap().to_owned();
            assert!(cleared.starts_with(pair.split('=').next().unwrap()));
        }
    }

    #[test]
    fn what_was_planted_beside_it_makes_it_none() {
        assert_eq!(shown(&["x=1; fsn=a"], false).as_deref(), Some("a"));
        assert_eq!(shown(&["fsn=a; fsn=b"], false), None);
        assert_eq!(shown(&["fsn=a", "fsn=b"], false), None);
        assert_eq!(shown(&["fsn="], false), None);
        assert_eq!(shown(&["fsn=a b"], false), None);
        assert_eq!(shown(&["fsn"], false), None);
        assert_eq!(shown(&["fsn=a; __Host-fsn=b"], true).as_deref(), Some("b"));
    }

    #[test]
    fn no_token_breaks_out_of_the_header() {
        assert!(set("a\r\nSet-Cookie: b", Duration::ZERO, false).is_none());
    }
}
