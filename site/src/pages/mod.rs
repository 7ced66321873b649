//! Every page. What is served stands on this page; each has a file.

mod admin;
mod file;
mod files;
mod home;
mod keys;
mod leaving;
mod nodes;
mod overview;
mod security;
mod sign;

use api::auth::Me;
use api::paths;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use http::StatusCode;
use look::{Entry, Frame};
use maud::{Markup, Render, html};

use crate::Site;
use crate::asking::{Asker, Refused};
use crate::assets;
use crate::frame::{BRAND, OF_VISITORS, answer, entry, foot};
use crate::signed_in::Came;

/// No form of these pages is longer.
const LONGEST_FORM: usize = 64 * 1024;

const OF_USERS: [Entry; 5] = [
    entry("/overview", "Overview"),
    entry("/files", "Files"),
    entry("/keys", "Access keys"),
    entry("/security", "Security"),
    entry("/", "Network"),
];

const OF_ADMINS: [Entry; 6] = [
    OF_USERS[0],
    OF_USERS[1],
    OF_USERS[2],
    OF_USERS[3],
    OF_USERS[4],
    entry("/admin", "Administration"),
];

pub(crate) fn router() -> Router<Site> {
    Router::new()
        .route("/", get(home::page))
        .route("/live", get(home::live))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::one))
        .route("/sign-up", get(sign::up_form).post(sign::up))
        .route("/sign-in", get(sign::in_form).post(sign::in_))
        .route("/sign-in/code", post(sign::code))
        .route("/sign-out", post(sign::out))
        .route(
            "/forgotten",
            get(sign::forgotten_form).post(sign::forgotten),
        )
        .route("/overview", get(overview::page))
        .route("/overview/buy", post(overview::buy))
        .route("/overview/verify", post(overview::verify))
        .route("/files", get(files::list))
        .route("/files/{id}", get(file::page))
        .route("/files/{id}/prove", post(file::prove))
        .route("/files/{id}/delete", post(file::delete))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/security", get(security::page))
        .route("/security/password", post(security::password))
        .route("/security/app", post(security::begin_app))
        .route("/security/app/confirm", post(security::confirm_app))
        .route("/security/app/remove", post(security::remove_app))
        .route("/security/codes", post(security::renew_codes))
        .route("/security/sessions/{id}/end", post(security::end_session))
        .route("/security/sessions/end-others", post(security::end_others))
        .route("/security/log", get(security::log))
        .route("/leave", get(leaving::form).post(leaving::leave))
        .route("/admin", get(admin::page))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
        .layer(middleware::from_fn(from_here_alone))
}

/// Forms are sent by pages of this site, or refused: those of signing in, too, or another site could sign a visitor in as
/// somebody else, and see what is stored then.
async fn from_here_alone(came: Came, request: Request, next: Next) -> Response {
    if request.method().is_safe() || came.made.may_change() {
        return next.run(request).await;
    }
    let content = html! {
        h1 { "This did not come from here" }
        (look::notice(true, "Your browser says that another page has sent this, or does not say which. Nothing was done."))
        p { "Do it once more, on the page itself. Operators: behind a proxy, set " code { "http.public_url" } ", or have it pass " code { "Host" } " on." }
        p { a href="/" { "To the first page" } }
    };
    let page = visitor(&came, "", "Refused", content);
    (StatusCode::FORBIDDEN, answer(page)).into_response()
}

/// Whose page it is.
pub(crate) struct Owner {
    pub me: Me,
    pub asker: Asker,
}

impl Owner {
    pub(crate) async fn of(asker: Asker) -> Result<Self, Refused> {
        let me = asker.get(paths::ME).await?;
        Ok(Self { me, asker })
    }

    fn page(&self, here: &str, title: &str, content: Markup) -> Response {
        self.page_with(here, title, &[], content)
    }

    fn page_with(&self, here: &str, title: &str, scripts: &[&str], content: Markup) -> Response {
        let entries: &[Entry] = match self.me.role.as_str() {
            "admin" => &OF_ADMINS,
            _ => &OF_USERS,
        };
        let frame = Frame {
            title,
            brand: BRAND,
            style: assets::STYLE,
            scripts,
            entries,
            here,
            aside: html! {
                span.who dir="auto" title=(self.me.email) { (self.me.email) }
                form method="post" action="/sign-out" { button.plain.small { "Sign out" } }
            },
            content,
            foot: foot(),
        };
        answer(frame.render()).into_response()
    }
}

/// A page for everybody.
fn visitor(came: &Came, here: &str, title: &str, content: Markup) -> Markup {
    visitor_with(came, here, title, &[], content)
}

fn visitor_with(came: &Came, here: &str, title: &str, scripts: &[&str], content: Markup) -> Markup {
    let aside = html! {
        @if came.has_cookie { a.button.small href="/overview" { "Your account" } }
        @else {
            a href="/sign-in" { "Sign in" }
            a.button.small href="/sign-up" { "Sign up" }
        }
    };
    let frame = Frame {
        title,
        brand: BRAND,
        style: assets::STYLE,
        scripts,
        entries: &OF_VISITORS,
        here,
        aside,
        content,
        foot: foot(),
    };
    frame.render()
}

/// What was done is told by the next page, so that a reload does not do it again.
fn done(path: &str, what: &str) -> Response {
    Redirect::to(&format!("{path}?done={what}")).into_response()
}

/// What [`done`] told this page.
#[derive(Debug, Default, serde::Deserialize)]
struct Done {
    done: Option<String>,
}

impl Done {
    /// Nobody's words but these: a link could bring others.
    fn notice(&self) -> Option<Markup> {
        let text = match self.done.as_deref()? {
            "bought" => "The credits are on your account.",
            "letter" => "A letter is on its way.",
            "deleted" => "The file is deleted. What was not used of its price is back.",
            "revoked" => "The key is revoked. No coordinator takes it any more.",
            "password" => "The password is changed. All other sessions have ended.",
            "app" => "You are asked for no code any more. All other sessions have ended.",
            "ended" => "That session has ended.",
            "others" => "All other sessions have ended.",
            "signed-out" => "You are signed out.",
            "left" => "Your account is closed, and your files are deleted.",
            _ => return None,
        };
        Some(look::notice(false, text))
    }
}

/// A query out of those values that are not empty.
fn query_of(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs = pairs.map(|(name, value)| {
        let value =
            percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        format!("{name}={value}")
    });
    format!("?{}", pairs.collect::<Vec<_>>().join("&"))
}
