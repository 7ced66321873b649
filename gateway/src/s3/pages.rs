//! What comes from web pages, and from whoever has no key: preflights, and public objects of a bucket that has an index
//! document. It is looked at before `s3s` takes a request apart, which knows neither.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use model::bucket_rules::BucketRules;
use s3s::{Body, S3Error, S3ErrorCode};

use super::answer;
use crate::cors::Asked;

/// The rules of a bucket, by its name.
pub(super) type RulesOf =
    Arc<dyn Fn(String) -> BoxFuture<'static, Option<BucketRules>> + Send + Sync>;

/// Where buckets are found in requests.
#[derive(Clone)]
pub(super) struct Pages {
    pub rules: RulesOf,
    /// Buckets are hosts of it.
    pub domain: Option<Arc<str>>,
}

impl Pages {
    /// The bucket that is asked for.
    fn bucket<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
        let first = || uri.path().split('/').nth(1).filter(|name| !name.is_empty());
        self.sub_domain(uri, headers).or_else(first)
    }

    fn sub_domain<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
        let domain = self.domain.as_deref()?;
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str))?;
        let without_port = |host: &'a str| host.split_once(':').map_or(host, |(name, _)| name);
        let domain = domain.split_once(':').map_or(domain, |(name, _)| name);
        without_port(host).strip_suffix(domain)?.strip_suffix('.')
    }

    async fn rules_of(&self, uri: &Uri, headers: &HeaderMap) -> Option<BucketRules> {
        let bucket = self.bucket(uri, headers)?;
        (self.rules)(bucket.to_owned()).await
    }

    /// What a browser is told of a request that a page makes; `None` where that is nothing.
    pub(super) async fn told(&self, request: &Parts) -> Option<HeaderMap> {
        let asked = Asked::actual(request.method.as_str(), &request.headers)?;
        let rules = self.rules_of(&request.uri, &request.headers).await?;
        asked.answer(&rules.cors)
    }

    /// The answer to what browsers ask before a request.
    pub(super) async fn preflight(&self, request: &Parts) -> Response<Body> {
        let refused =
            |text: &'static str| answer(S3Error::with_message(S3ErrorCode::AccessDenied, text));
        let Some(asked) = Asked::preflight(&request.headers) else {
            return refused(
                "OPTIONS is for browsers, which send Origin and Access-Control-Request-Method.",
            );
        };
        let rules = self.rules_of(&request.uri, &request.headers).await;
        let told = rules.and_then(|rules| asked.answer(&rules.cors));
        let Some(told) = told else {
            return refused("No CORS rule of the bucket lets this origin make this request.");
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::OK;
        *response.headers_mut() = told;
        response
    }

    /// Of somebody without a key who asks for a folder: the path of its index document.
    pub(super) async fn index(&self, request: &Parts) -> Option<Uri> {
        let (uri, headers) = (&request.uri, &request.headers);
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        let is_plain = uri.query().is_none() && !headers.contains_key(header::AUTHORIZATION);
        if !reads || !is_plain || !uri.path().ends_with('/') {
            return None;
        }
        let rules = self.rules_of(uri, headers).await?;
        let name = rules.index_document?;
        if rules.public_read.is_empty() {
            return None;
        }
        let name = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
        let mut parts = uri.clone().into_parts();
        let path = format!("{}{name}", uri.path());
        parts.path_and_query = Some(path.parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http::Request;

    use super::*;

    fn pages(domain: Option<&str>) -> Pages {
        let rules = |name: String| {
            let rules = BucketRules {
                public_read: vec![String::new()],
                index_document: Some("index.html".to_owned()),
                ..BucketRules::default()
            };
            async move { (name == "site").then_some(rules) }.boxed()
        };
        Pages {
            rules: Arc::new(rules),
            domain: domain.map(Arc::from),
        }
    }

    async fn index(domain: Option<&str>, host: &str, path: &str) -> Option<String> {
        let request = Request::get(path)
            .header(header::HOST, host)
            .body(())
            .unwrap();
        let found = pages(domain).index(&request.into_parts().0).await;
        found.map(|uri| uri.path().to_owned())
    }

    #[tokio::test]
    async fn a_folder_of_a_public_bucket_is_its_index_document() {
        let some = |path: &str| Some(path.to_owned());
        let by_path = |path: &'static str| index(None, "s3.test", path);
        assert_eq!(by_path("/site/").await, some("/site/index%2Ehtml"));
        assert_eq!(
            by_path("/site/a%20b/").await,
            some("/site/a%20b/index%2Ehtml")
        );
        for path in ["/site", "/site/a", "/other/", "/", "/site/?list-type=2"] {
            assert_eq!(by_path(path).await, None, "{path}");
        }
        let by_host = |host: &'static str, path: &'static str| index(Some("s3.test"), host, path);
        assert_eq!(by_host("site.s3.test", "/").await, some("/index%2Ehtml"));
        assert_eq!(
            by_host("site.s3.test:9000", "/a/").await,
            some("/a/index%2Ehtml")
        );
        assert_eq!(
            by_host("s3.test", "/site/").await,
            some("/site/index%2Ehtml")
        );
        assert_eq!(by_host("other.s3.test", "/").await, None);
    }
}
