//! The pages that a coordinator serves to browsers: how the network does, an account with its files, the [`viewer`] of its
//! API, the pages of an account that links in letters lead to, and that of a [`share`].
//!
//! Pages are a client of the API, as any other is: a handler asks the API's router from inside, with the token of whoever is
//! signed in, and puts the answer into a template. So a page can show and do nothing that its reader may not see and do by the
//! API, and there is one place that decides about it. Rejected: pages that call use-cases, which would decide a second time; and
//! a script that draws everything out of JSON, which would need a token that scripts can read.
//!
//! Invariants: a token stands in a cookie that no script reads (`cookie`); what changes something comes from a page of this
//! site, or is refused (`origin`); no page has a script or a style in its text, and the policy forbids both; what users stored
//! is handed out as attachments or shown as what cannot run.

#![warn(unreachable_pub)]

mod account;
mod asking;
mod assets;
mod cookie;
mod frame;
mod origin;
mod pages;
pub mod share;
pub mod signed_in;
pub mod viewer;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::HeaderMap;
use jiff::Timestamp;

/// A token that a browser keeps, and for how long.
pub struct Kept {
    pub token: String,
    pub lasts: Duration,
}

/// Where S3 is spoken, for those who are shown how to.
#[derive(Debug, Clone)]
pub struct S3Place {
    /// `None` where the coordinator does not know under what name it is reached.
    pub endpoint: Option<String>,
    pub region: String,
}

pub type Keep = dyn Fn(&str) -> Option<Kept> + Send + Sync;
pub type OverTls = dyn Fn(IpAddr, &HeaderMap) -> bool + Send + Sync;

/// What the coordinator gives its pages.
#[derive(Clone)]
pub struct Site {
    /// The API, as it is asked from inside: with ids of requests, and problems that are written out.
    pub api: Router,
    /// An access token that has just been given out, made to last as long as its login does.
    pub keep: Arc<Keep>,
    /// Whether a request came over TLS, from whoever connected from there.
    pub over_tls: Arc<OverTls>,
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The origin that people know the site by, where it is set.
    pub public_url: Option<String>,
    pub s3: Option<S3Place>,
}

/// All pages, and what they consist of.
pub fn router(site: Site) -> Router {
    pages::router()
        .with_state(site)
        .merge(account::router())
        .merge(share::router())
        .merge(assets::router())
}
