//! Cross-origin requests: which of a bucket's rules lets a page of another origin ask, and what browsers are told.
//!
//! As S3 has it: the first rule that fits counts, and without one a page is told nothing, which browsers take for no.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use model::bucket_rules::CorsRule;

/// What a browser asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    origin: String,
    method: String,
    headers: Vec<String>,
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

impl Asked {
    /// Before the request itself.
    pub(crate) fn preflight(headers: &HeaderMap) -> Option<Self> {
        let asked = text(headers, header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let asked = asked.split(',').map(str::trim);
        let asked = asked.filter(|name| !name.is_empty());
        Some(Self {
            origin: text(headers, header::ORIGIN)?.to_owned(),
            method: text(headers, header::ACCESS_CONTROL_REQUEST_METHOD)?.to_owned(),
            headers: asked.map(str::to_ascii_lowercase).collect(),
        })
    }

    /// With it.
    pub(crate) fn actual(method: &str, headers: &HeaderMap) -> Option<Self> {
        Some(Self {
            origin: text(headers, header::ORIGIN)?.to_owned(),
            method: method.to_owned(),
            headers: Vec::new(),
        })
    }

    /// What the browser is told, if a rule lets the page ask.
    pub(crate) fn answer(&self, rules: &[CorsRule]) -> Option<HeaderMap> {
        let rule = rules.iter().find(|rule| self.is_let_by(rule))?;
        let any = rule.origins.iter().any(|origin| origin == "*");
        let origin = if any { "*" } else { self.origin.as_str() };
        let mut told = HeaderMap::new();
        let mut tell = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value)
                && !value.is_empty()
            {
                told.insert(name, value);
            }
        };
        tell(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        tell(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            &rule.methods.join(", "),
        );
        tell(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            &self.headers.join(", "),
        );
        tell(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            &rule.exposed.join(", "),
        );
        if let Some(seconds) = rule.max_age_seconds {
            tell(header::ACCESS_CONTROL_MAX_AGE, &seconds.to_string());
        }
        let depends_on = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";
        tell(header::VARY, depends_on);
        Some(told)
    }

    fn is_let_by(&self, rule: &CorsRule) -> bool {
        let lets = |header: &String| {
            let mut patterns = rule.headers.iter();
            patterns.any(|pattern| matches(&pattern.to_ascii_lowercase(), header))
        };
        rule.methods.contains(&self.method)
            && rule
                .origins
                .iter()
                .any(|origin| matches(origin, &self.origin))
            && self.headers.iter().all(lets)
    }
}

/// A pattern may have one `*`, which stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, behind)) => {
            text.len() >= before.len() + behind.len()
                && text.starts_with(before)
                && text.ends_with(behind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> CorsRule {
        CorsRule {
            origins: vec![
                "https://*.example.com".to_owned(),
                "http://localhost".to_owned(),
            ],
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: vec!["X-Amz-*".to_owned(), "content-type".to_owned()],
            exposed: vec!["ETag".to_owned()],
            max_age_seconds: Some(60),
            ..CorsRule::default()
        }
    }

    fn asked(origin: &str, method: &str, headers: &str) -> Option<HeaderMap> {
        let sent = [
            (header::ORIGIN, origin),
            (header::ACCESS_CONTROL_REQUEST_METHOD, method),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, headers),
        ];
        let sent = sent.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        Asked::preflight(&HeaderMap::from_iter(sent))
            .unwrap()
            .answer(&[rule()])
    }

    #[test]
    fn a_page_may_what_a_rule_says_and_no_more() {
        let told = asked("https://a.example.com", "PUT", "Content-Type, x-amz-date").unwrap();
        assert_eq!(
            told[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example.com"
        );
        assert_eq!(
            told[header::ACCESS_CONTROL_ALLOW_HEADERS],
            "content-type, x-amz-date"
        );
        assert_eq!(told[header::ACCESS_CONTROL_EXPOSE_HEADERS], "ETag");
        assert_eq!(told[header::ACCESS_CONTROL_MAX_AGE], "60");
        assert!(asked("http://localhost", "GET", "").is_some());
        for (origin, method, headers) in [
            ("https://example.com", "GET", ""),
            ("https://a.example.com.evil", "GET", ""),
            ("http://localhost", "DELETE", ""),
            ("http://localhost", "GET", "authorization"),
            ("null", "GET", ""),
        ] {
            assert_eq!(
                asked(origin, method, headers),
                None,
                "{origin} {method} {headers}"
            );
        }
    }

    #[test]
    fn a_rule_for_all_origins_says_so() {
        let rule = CorsRule {
            origins: vec!["*".to_owned()],
            ..rule()
        };
        let sent = [(header::ORIGIN, HeaderValue::from_static("null"))];
        let asked = Asked::actual("GET", &HeaderMap::from_iter(sent)).unwrap();
        let told = asked.answer(&[rule]).unwrap();
        assert_eq!(told[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!matches("a*a", "a"));
    }
}
