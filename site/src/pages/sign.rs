//! Signing up, in and out, and what to do about a forgotten password.

use api::auth::{Credentials, Registered, ResetRequest, Tokens};
use api::paths;
use api::problem::ProblemKind;
use api::second_factor::LoginCode;
use api::sessions::Sessions;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, header};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Done, answer, visitor};
use crate::asking::{Asker, Refused};
use crate::signed_in::Came;
use crate::{Site, cookie};

/// Where to go on, and what has happened before.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Coming {
    #[serde(default)]
    next: String,
    #[serde(flatten)]
    done: Done,
}

/// What somebody types. It has no `Debug`: there is a password in it.
#[derive(Deserialize)]
pub(super) struct Typed {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct TypedCode {
    challenge: String,
    code: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct TypedAddress {
    email: String,
}

/// A path of this site, or else the first page of an account: a link to the sign-in must lead nowhere else.
fn next_of(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//");
    let is_plain = next
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain {
        next
    } else {
        "/overview"
    }
}

fn bad_page(came: &Came, title: &str, status: u16, content: Markup) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, answer(visitor(came, "", title, content))).into_response()
}

fn email_field(value: &str) -> Markup {
    html! {
        div.field {
            label for="email" { "Email address" }
            input #email name="email" type="email" autocomplete="username" required maxlength="254" value=(value) dir="ltr"
                autofocus[value.is_empty()];
        }
    }
}

fn password_field(autocomplete: &str, focus: bool) -> Markup {
    html! {
        div.field {
            label for="password" { "Password" }
            input #password name="password" type="password" autocomplete=(autocomplete) required maxlength="1024" autofocus[focus];
        }
    }
}

/// Passwords are typed here: whoever is on a wire in the clear is told.
fn in_the_clear(came: &Came, site: &Site) -> Markup {
    html! {
        @if !came.over_tls && site.public_url.as_deref().is_some_and(|url| url.starts_with("https://")) {
            (look::notice(true, html! { "This connection is not encrypted. Use " a href=(site.public_url.as_deref().unwrap_or("/")) { "the site's own address" } "." }))
        }
    }
}

fn in_page(came: &Came, site: &Site, email: &str, next: &str, told: Option<Markup>) -> Markup {
    html! {
        div.narrow {
            h1 { "Sign in" }
            @if let Some(told) = told { (told) }
            (in_the_clear(came, site))
            form.card method="post" action="/sign-in" {
                (email_field(email))
                (password_field("current-password", !email.is_empty()))
                input type="hidden" name="next" value=(next);
                button { "Sign in" }
            }
            p { a href="/forgotten" { "Forgotten the password?" } " · " a href="/sign-up" { "Open an account" } }
        }
    }
}

pub(super) async fn in_form(
    State(site): State<Site>,
    came: Came,
    Query(coming): Query<Coming>,
) -> Response {
    let told = coming.done.notice();
    let content = in_page(&came, &site, "", next_of(&coming.next), told);
    answer(visitor(&came, "", "Sign in", content)).into_response()
}

pub(super) async fn in_(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    Form(typed): Form<Typed>,
) -> Response {
    sign_in(&site, &came, &asker, typed).await
}

async fn sign_in(site: &Site, came: &Came, asker: &Asker, typed: Typed) -> Response {
    let next = next_of(&typed.next).to_owned();
    let shown = Credentials {
        email: typed.email,
        password: typed.password,
    };
    match asker.post::<Tokens>(paths::LOGIN, &shown).await {
        Ok(tokens) => let_in(site, came, &tokens, &next),
        Err(refused) if refused.is(ProblemKind::SecondFactorRequired) => {
            let challenge = refused.problem.members.challenge.as_deref();
            let content = code_page(challenge.unwrap_or_default(), &next, None);
            answer(visitor(came, "", "Second factor", content)).into_response()
        }
        Err(refused) => {
            let told = look::notice(true, refused.words());
            let content = in_page(came, site, &shown.email, &next, Some(told));
            bad_page(came, "Sign in", refused.problem.status, content)
        }
    }
}

fn code_page(challenge: &str, next: &str, told: Option<Markup>) -> Markup {
    html! {
        div.narrow {
            h1 { "Second factor" }
            @if let Some(told) = told { (told) }
            form.card method="post" action="/sign-in/code" {
                div.field {
                    label for="code" { "Code" }
                    input #code name="code" autocomplete="one-time-code" required maxlength="64" autofocus dir="ltr"
                        aria-describedby="code-hint";
                    p.hint #code-hint { "Six digits of your authenticator app, or one of your recovery codes." }
                }
                input type="hidden" name="challenge" value=(challenge);
                input type="hidden" name="next" value=(next);
                button { "Go on" }
            }
            p { a href="/sign-in" { "Begin anew" } }
        }
    }
}

pub(super) async fn code(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    Form(typed): Form<TypedCode>,
) -> Response {
    let next = next_of(&typed.next).to_owned();
    let shown = LoginCode {
        challenge: typed.challenge,
        code: typed.code.trim().to_owned(),
    };
    match asker
        .post::<Tokens>(paths::LOGIN_SECOND_FACTOR, &shown)
        .await
    {
        Ok(tokens) => let_in(&site, &came, &tokens, &next),
        Err(refused) if refused.is(ProblemKind::BadChallenge) => {
            let told = look::notice(true, refused.words());
            let content = in_page(&came, &site, "", &next, Some(told));
            bad_page(&came, "Sign in", refused.problem.status, content)
        }
        Err(refused) => {
            let told = look::notice(true, refused.words());
            let content = code_page(&shown.challenge, &next, Some(told));
            bad_page(&came, "Second factor", refused.problem.status, content)
        }
    }
}

/// The refresh token goes nowhere: the login lasts as long as it would, and the cookie as long as the login.
fn let_in(site: &Site, came: &Came, tokens: &Tokens, next: &str) -> Response {
    let kept = (site.keep)(&tokens.access_token);
    let cookie = kept.and_then(|kept| cookie::set(&kept.token, kept.lasts, came.is_secure));
    match cookie {
        Some(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Ends the login, not only this browser's memory of it.
pub(super) async fn out(came: Came, asker: Asker) -> Response {
    if let Ok(sessions) = asker.get::<Sessions>(paths::SESSIONS).await
        && let Some(own) = sessions.items.iter().find(|session| session.current)
        && let Err(refused) = asker.delete(&paths::session(own.session_id)).await
    {
        return refused.into_response();
    }
    let cookie = [(header::SET_COOKIE, cookie::clear(came.is_secure))];
    (cookie, Redirect::to("/sign-in?done=signed-out")).into_response()
}

fn up_page(came: &Came, site: &Site, email: &str, told: Option<Markup>) -> Markup {
    html! {
        div.narrow {
            h1 { "Open an account" }
            @if let Some(told) = told { (told) }
            (in_the_clear(came, site))
            form.card method="post" action="/sign-up" {
                (email_field(email))
                (password_field("new-password", !email.is_empty()))
                p.hint { "A few words that do not belong together are good. What others would try first is refused." }
                button { "Open it" }
            }
            p { "You have one? " a href="/sign-in" { "Sign in" } }
        }
    }
}

pub(super) async fn up_form(State(site): State<Site>, came: Came) -> Response {
    let content = up_page(&came, &site, "", None);
    answer(visitor(&came, "", "Sign up", content)).into_response()
}

pub(super) async fn up(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    Form(typed): Form<Typed>,
) -> Response {
    let shown = Credentials {
        email: typed.email.clone(),
        password: typed.password.clone(),
    };
    match asker.post::<Registered>(paths::REGISTER, &shown).await {
        Ok(_) => sign_in(&site, &came, &asker, typed).await,
        Err(refused) => {
            let told = look::notice(true, refused.words());
            let content = up_page(&came, &site, &shown.email, Some(told));
            bad_page(&came, "Sign up", refused.problem.status, content)
        }
    }
}

fn forgotten_page(told: Option<Markup>) -> Markup {
    html! {
        div.narrow {
            h1 { "Forgotten the password" }
            @if let Some(told) = told { (told) }
            form.card method="post" action="/forgotten" {
                (email_field(""))
                button { "Send me a letter" }
            }
            p.quiet { "It has a link that is good once, for an hour. Where no letter comes, the network's operator can make a link, too." }
            p { a href="/sign-in" { "Back" } }
        }
    }
}

pub(super) async fn forgotten_form(came: Came) -> Response {
    answer(visitor(
        &came,
        "",
        "Forgotten password",
        forgotten_page(None),
    ))
    .into_response()
}

/// Says the same whether there is such an account or not.
pub(super) async fn forgotten(
    came: Came,
    asker: Asker,
    Form(typed): Form<TypedAddress>,
) -> Result<Response, Refused> {
    let body = ResetRequest { email: typed.email };
    let sent = asker
        .post::<serde_json::Value>(paths::PASSWORD_RESET_REQUEST, &body)
        .await;
    let (status, told) = match &sent {
        Ok(_) => (
            200,
            look::notice(
                false,
                "If there is an account with this address, a letter is on its way.",
            ),
        ),
        Err(refused) => (refused.problem.status, look::notice(true, refused.words())),
    };
    Ok(bad_page(
        &came,
        "Forgotten password",
        status,
        forgotten_page(Some(told)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_this_site_and_nowhere_else() {
        for own in ["/files", "/files/1?a=b#c", "/"] {
            assert_eq!(next_of(own), own);
        }
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: b",
            "/a b",
            "files",
        ] {
            assert_eq!(next_of(foreign), "/overview", "{foreign}");
        }
    }
}
