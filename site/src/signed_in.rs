//! Whoever is signed in at a browser: [`carry`] puts the token of the cookie to where the API looks for it, for pages and for the
//! API that their scripts ask alike. It stands before both.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderValue, header};
use maud::{DOCTYPE, html};

use crate::origin::{self, Made};
use crate::{Site, cookie};

/// How a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub made: Made,
    pub over_tls: bool,
    /// Its cookie is one for TLS alone: it came that way, or this site's own address has TLS, and a proxy does not say so.
    pub is_secure: bool,
    /// A cookie was shown, and may stand for somebody.
    pub has_cookie: bool,
}

/// Lets the cookie stand for an access token in requests that this site's own pages make, and in reading by hand. A request
/// that brings `Authorization` is a program's, and its cookies count for nothing.
pub async fn carry(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let over_tls =
        connected.is_some_and(|ConnectInfo(address)| (site.over_tls)(address.ip(), headers));
    let public_url = site.public_url.as_deref();
    let is_secure = over_tls || public_url.is_some_and(|url| url.starts_with("https:"));
    let made = origin::of(headers, public_url);
    let may = match request.method().is_safe() {
        true => made.may_read(),
        false => made.may_change(),
    };
    let token = cookie::token(headers, is_secure)
        .filter(|_| may && !headers.contains_key(header::AUTHORIZATION))
        .and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let has_cookie = token.is_some();
    if let Some(mut token) = token {
        token.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, token);
    }
    request.extensions_mut().insert(Came {
        made,
        over_tls,
        is_secure,
        has_cookie,
    });
    next.run(request).await
}

/// Somebody shows a cookie. Whether it is good the API says, as soon as it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedIn;

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let came = Came::of(parts);
        let here = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        match came {
            Came {
                has_cookie: true, ..
            } => Ok(Self),
            // A link elsewhere leads here: SameSite=Strict keeps the cookie back, and a page of this site gets it.
            Came {
                made: Made::Elsewhere,
                ..
            } if parts.method.is_safe() => Err(bounce(here)),
            _ => Err(to_sign_in(here)),
        }
    }
}

/// The page asks for itself once more, and this time it is this site that asks.
fn bounce(here: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "One moment" } meta http-equiv="refresh" content=(format!("0;url={here}")); }
            body { p { a href=(here) { "Go on" } } }
        }
    };
    crate::frame::answer(page).into_response()
}

/// To the page that asks who it is, and back.
pub(crate) fn to_sign_in(here: &str) -> Response {
    let next = percent_encoding::utf8_percent_encode(here, percent_encoding::NON_ALPHANUMERIC);
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}

impl Came {
    pub(crate) fn of(parts: &Parts) -> Self {
        let came = parts.extensions.get::<Self>().copied();
        came.unwrap_or(Self {
            made: Made::Elsewhere,
            over_tls: false,
            is_secure: false,
            has_cookie: false,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Came {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts))
    }
}
