//! S3 over any store: who signed what (`access`), and each operation in the file of its kind.
//!
//! The crate `s3s` checks the signatures of version 4, and takes the messages apart. It leaves to its users, and here is
//! done: that signatures of version 2 are refused, the region, the seven days of a link, digests, conditions, limits.

mod access;
mod buckets;
mod copies;
mod deletions;
mod encoding;
mod errors;
mod face;
mod lists;
mod metadata;
mod multipart;
mod objects;
mod pages;
mod rules;
mod stubs;
mod texts;
mod versions;

use std::any::Any;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Request, Response};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{DomainError, SingleDomain};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, S3Error, S3ErrorCode, StdError};

use self::access::{Access, Auth};
use self::face::Face;
use self::pages::Pages;
use crate::store::ObjectStore;

/// What the operator sets.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// What clients sign for.
    pub region: String,
    /// Buckets are hosts of it, too.
    pub domain: Option<String>,
}

/// Bodies that are XML, the longest of which names ten thousand parts.
const MOST_XML: usize = 4 * 1024 * 1024;

/// A form's file is held in memory.
const MOST_FORM: u64 = 64 * 1024 * 1024;

tokio::task_local! {
    static ASKING: Asking;
}

/// The request that this task answers.
#[derive(Clone)]
struct Asking {
    from: IpAddr,
    /// What its access key stands for, once that is known.
    signed_by: Arc<OnceLock<Box<dyn Any + Send + Sync>>>,
}

/// Answers requests of S3.
#[derive(Clone)]
pub struct S3Gateway {
    service: S3Service,
    pages: Pages,
}

impl S3Gateway {
    pub fn new<S: ObjectStore>(store: S, settings: &S3Settings) -> Result<Self, DomainError> {
        let store = Arc::new(store);
        let region: Arc<str> = settings.region.as_str().into();
        let mut builder = S3ServiceBuilder::new(Face {
            store: Arc::clone(&store),
            region: Arc::clone(&region),
        });
        builder.set_auth(Auth {
            store: Arc::clone(&store),
        });
        builder.set_access(Access {
            region,
            store: Arc::clone(&store),
        });
        if let Some(domain) = &settings.domain {
            builder.set_host(SingleDomain::new(domain)?);
        }
        let mut config = S3Config::default();
        config.xml_max_body_size = MOST_XML;
        config.post_object_max_file_size = MOST_FORM;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let rules_of = move |bucket: String| {
            let store = Arc::clone(&store);
            async move { store.rules_of_any(&bucket).await.unwrap_or_default() }.boxed()
        };
        let pages = Pages {
            rules: Arc::new(rules_of),
            domain: settings.domain.as_deref().map(Arc::from),
        };
        Ok(Self {
            service: builder.build(),
            pages,
        })
    }

    /// Answers whatever comes; `from` is where it comes from.
    pub async fn serve<B>(&self, request: Request<B>, from: IpAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        StdError: From<B::Error>,
    {
        if let Err(error) = access::refuse_version_2(&request) {
            return answer(error);
        }
        let (mut head, body) = request.into_parts();
        if head.method == Method::OPTIONS {
            return self.pages.preflight(&head).await;
        }
        let told = self.pages.told(&head).await;
        if let Some(index) = self.pages.index(&head).await {
            head.uri = index;
        }
        let request = Request::from_parts(head, Body::http_body_unsync(body));
        let asking = Asking {
            from,
            signed_by: Arc::default(),
        };
        let answered = ASKING.scope(asking, self.service.call(request)).await;
        let mut response = answered.unwrap_or_else(|error| {
            let source: StdError = HttpError::into(error);
            tracing::error!(error = %source, "an answer could not be written");
            answer(S3Error::new(S3ErrorCode::InternalError))
        });
        response.headers_mut().extend(told.unwrap_or_default());
        response
    }
}

fn answer(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
