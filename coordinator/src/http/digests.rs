//! Checksums in headers: `Content-Digest` and `Repr-Digest` (RFC 9530), and `Content-MD5` of old.
//!
//! What a client declares is checked or refused, never passed over: it would take the answer for a confirmation.

use api::headers;
use axum::extract::FromRequestParts;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::request::Parts;
use md5::Md5;
use sha2::{Digest, Sha256};

use super::problem::Problem;
use model::upload::DeclaredDigests;

/// Of a file, as `Repr-Digest` has it.
pub(super) fn repr_digest(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(sha256))
}

/// What the client says that the body hashes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared(pub DeclaredDigests);

impl<S: Send + Sync> FromRequestParts<S> for Declared {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        declared(&parts.headers).map(Self)
    }
}

/// Content and representation are the same here: nothing is stored in a coding.
pub(super) fn declared(headers: &HeaderMap) -> Result<DeclaredDigests, Problem> {
    let mut sha256 = None;
    for name in [headers::CONTENT_DIGEST, headers::REPR_DIGEST] {
        let Some(found) = sha256_of(headers, name)? else {
            continue;
        };
        if sha256.is_some_and(|other| other != found) {
            return Err(Problem::invalid(
                "Content-Digest and Repr-Digest name different bytes.",
            ));
        }
        sha256 = Some(found);
    }
    let md5 = match headers.get(headers::CONTENT_MD5) {
        None => None,
        Some(value) => {
            let digest = BASE64_STANDARD.decode(value.as_bytes());
            let digest = digest.ok().and_then(|digest| digest.try_into().ok());
            Some(digest.ok_or_else(|| {
                Problem::invalid("Content-MD5 is the 16 bytes of an MD5 in base64.")
            })?)
        }
    };
    Ok(DeclaredDigests { sha256, md5 })
}

/// A dictionary of structured fields, `sha-256=:…:, sha-512=:…:`.
fn sha256_of(headers: &HeaderMap, name: &'static str) -> Result<Option<[u8; 32]>, Problem> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let unusable = || {
        let detail = format!("`{name}` is checked by SHA-256: send `sha-256=:<its base64>:`.");
        let mut problem = Problem::invalid(detail);
        let wanted = http::HeaderName::from_static("want-content-digest");
        problem.headers.push((wanted, "sha-256=10".to_owned()));
        problem
    };
    let mut found = None;
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| unusable())?;
        for member in text.split(',') {
            let Some((algorithm, digest)) = member.trim().split_once('=') else {
                return Err(unusable());
            };
            if algorithm != "sha-256" {
                continue;
            }
            let digest = digest
                .strip_prefix(':')
                .and_then(|digest| digest.split_once(':'))
                .filter(|(_, behind)| behind.is_empty() || behind.starts_with(';'))
                .and_then(|(digest, _)| BASE64_STANDARD.decode(digest).ok())
                .and_then(|digest| digest.try_into().ok());
            found = Some(digest.ok_or_else(unusable)?); // of two, the last one counts
        }
    }
    found.map(Some).ok_or_else(unusable)
}

/// Checks a small body that is there.
pub(super) fn check(declared: &DeclaredDigests, body: &[u8]) -> bool {
    let sha256 = declared
        .sha256
        .is_none_or(|declared| declared == <[u8; 32]>::from(Sha256::digest(body)));
    let md5 = declared
        .md5
        .is_none_or(|declared| declared == <[u8; 16]>::from(Md5::digest(body)));
    sha256 && md5
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[(&'static str, &str)]) -> Result<DeclaredDigests, Problem> {
        let fields = fields.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        declared(&fields.collect())
    }

    // RFC 9530, appendix B: {"hello": "world"} and a line feed.
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    #[test]
    fn the_rfcs_own_example_is_understood_and_written() {
        let digests = of(&[("content-digest", SHA256)]).unwrap();
        assert!(check(&digests, BODY));
        assert!(!check(&digests, b"{}"));
        assert_eq!(repr_digest(&digests.sha256.unwrap()), SHA256);
        let md5 = BASE64_STANDARD.encode(Md5::digest(BODY));
        let digests = of(&[("content-md5", md5.as_str())]).unwrap();
        assert!(check(&digests, BODY));
        assert!(!check(&digests, b"{}"));
        assert!(of(&[]).unwrap().is_empty());
        let others = format!("sha-512=:AAAA:, {SHA256};note=1, unixsum=30637");
        assert_eq!(
            of(&[("repr-digest", others.as_str())]).unwrap().sha256,
            digests_of(BODY)
        );
    }

    fn digests_of(body: &[u8]) -> Option<[u8; 32]> {
        Some(Sha256::digest(body).into())
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        let other = repr_digest(&[7; 32]);
        for fields in [
            &[("content-digest", "")][..],
            &[("content-digest", "sha-256")],
            &[("content-digest", "sha-256=:AAAA:")],
            &[(
                "content-digest",
                "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
            )],
            &[("content-digest", "sha-512=:AAAA:")],
            &[("repr-digest", "md5=:AAAA:")],
            &[("content-md5", "AAAA")],
            &[("content-md5", "not base64!")],
            &[("content-digest", SHA256), ("repr-digest", other.as_str())],
        ] {
            assert!(of(fields).is_err(), "{fields:?}");
        }
        assert!(of(&[("content-digest", SHA256), ("repr-digest", SHA256)]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_digest_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            for name in [headers::CONTENT_DIGEST, headers::CONTENT_MD5] {
                if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                    let headers = [(HeaderName::from_static(name), value)].into_iter().collect();
                    let _ = declared(&headers);
                }
            }
        }
    }
}
