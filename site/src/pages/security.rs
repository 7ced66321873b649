//! Password, second factor, sessions, and what was done with the account.

use api::auth::NewPassword;
use api::page::Page;
use api::paths;
use api::second_factor::{Confirm, Enrolment, Proven, RecoveryCodes, SecondFactor};
use api::security_events::SecurityEvent;
use api::sessions::Sessions;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use look::ago;
use maud::{Markup, html};
use qrcodegen::{QrCode, QrCodeEcc};
use serde::Deserialize;
use uuid::Uuid;

use super::{Done, Owner, done, query_of};
use crate::Site;
use crate::asking::{Asker, Refused};
use crate::signed_in::SignedIn;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    cursor: String,
}

/// None of these has `Debug`: there are passwords and codes in them.
#[derive(Deserialize)]
pub(super) struct Passwords {
    current: String,
    new: String,
}

#[derive(Deserialize)]
pub(super) struct Password {
    password: String,
}

#[derive(Deserialize)]
pub(super) struct Code {
    code: String,
}

#[derive(Deserialize)]
pub(super) struct PasswordAndCode {
    password: String,
    code: String,
}

impl PasswordAndCode {
    fn proven(self) -> Proven {
        Proven {
            password: Some(self.password),
            code: Some(self.code.trim().to_owned()),
            passkey: None,
        }
    }
}

pub(super) async fn page(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Query(shown): Query<Done>,
) -> Result<Response, Refused> {
    show(&site, Owner::of(asker).await?, shown.notice()).await
}

async fn show(site: &Site, owner: Owner, told: Option<Markup>) -> Result<Response, Refused> {
    let factor: SecondFactor = owner.asker.get(paths::SECOND_FACTOR).await?;
    let sessions: Sessions = owner.asker.get(paths::SESSIONS).await?;
    let now = (site.now)();
    let content = html! {
        h1 { "Security" }
        @if let Some(told) = told { (told) }
        div.grid.two {
            section.card aria-labelledby="password-head" { h2 #password-head { "Password" } (password_form(&owner.me.email)) }
            section.card aria-labelledby="factor" {
                h2 #factor { "Second factor" }
                @match factor.totp_since {
                    Some(since) => (has_app(since, factor.recovery_codes_left)),
                    None => (no_app())
                }
            }
        }
        section.card aria-labelledby="sessions" {
            div.spread {
                h2 #sessions { "Where you are signed in" }
                @if sessions.items.len() > 1 {
                    form method="post" action="/security/sessions/end-others" { button.plain.small { "End all others" } }
                }
            }
            (session_table(&sessions, now))
        }
        p { a href="/security/log" { "What was done with this account" } }
    };
    Ok(owner.page("/security", "Security", content))
}

fn password_form(email: &str) -> Markup {
    html! {
        form method="post" action="/security/password" {
            input type="text" name="username" autocomplete="username" value=(email) hidden;
            (secret_field("current", "current", "Password now", "current-password"))
            (secret_field("new", "new", "New password", "new-password"))
            button.plain { "Change it" }
        }
        p.hint { "All other sessions end. Access keys stay." }
    }
}

fn secret_field(id: &str, name: &str, label: &str, autocomplete: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { (label) }
            input id=(id) name=(name) type="password" autocomplete=(autocomplete) required maxlength="1024";
        }
    }
}

fn code_field(id: &str) -> Markup {
    html! {
        div.field {
            label for=(id) { "Code" }
            input id=(id) name="code" autocomplete="one-time-code" required maxlength="64" dir="ltr";
        }
    }
}

fn no_app() -> Markup {
    html! {
        p { "With an authenticator app, whoever has your password alone does not get in." }
        form method="post" action="/security/app" {
            (secret_field("app-password", "password", "Password", "current-password"))
            button.plain { "Set an app up" }
        }
    }
}

fn has_app(since: Timestamp, codes_left: u32) -> Markup {
    html! {
        p { span.badge.good { "on" } " since " (look::day(since)) ". Recovery codes left: " strong { (codes_left) } "." }
        details {
            summary { "Other recovery codes" }
            form method="post" action="/security/codes" {
                (secret_field("codes-password", "password", "Password", "current-password"))
                (code_field("codes-code"))
                button.plain { "Make ten others" }
            }
        }
        details {
            summary { "Switch it off" }
            form method="post" action="/security/app/remove" {
                (secret_field("remove-password", "password", "Password", "current-password"))
                (code_field("remove-code"))
                button.grave { "Ask for no code any more" }
            }
        }
    }
}

fn session_table(sessions: &Sessions, now: Timestamp) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Program" } th scope="col" { "Address" } th scope="col" { "Seen" } th scope="col" { "Since" } th scope="col" { span.quiet { "End" } } } }
            tbody {
                @for session in &sessions.items {
                    tr {
                        td { bdi { (session.user_agent.as_deref().unwrap_or("unknown")) } @if session.current { " " span.badge.good { "this one" } } }
                        td data-name="Address" { (session.address.as_deref().unwrap_or("–")) }
                        td data-name="Seen" { (ago(session.last_seen_at, now)) }
                        td data-name="Since" { (look::day(session.created_at)) }
                        td {
                            @if !session.current {
                                form method="post" action=(format!("/security/sessions/{}/end", session.session_id)) { button.grave.small { "End it" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Shows the page again, with why it was refused.
async fn again(site: &Site, asker: Asker, refused: &Refused) -> Result<Response, Refused> {
    let told = look::notice(true, refused.words());
    show(site, Owner::of(asker).await?, Some(told)).await
}

pub(super) async fn password(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<Passwords>,
) -> Result<Response, Refused> {
    let body = NewPassword {
        current_password: typed.current,
        new_password: typed.new,
    };
    match asker.post::<()>(paths::PASSWORD, &body).await {
        Ok(()) => Ok(done("/security", "password")),
        Err(refused) => again(&site, asker, &refused).await,
    }
}

pub(super) async fn begin_app(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<Password>,
) -> Result<Response, Refused> {
    let body = Proven {
        password: Some(typed.password),
        ..Proven::default()
    };
    match asker.post::<Enrolment>(paths::TOTP, &body).await {
        Ok(enrolment) => {
            let owner = Owner::of(asker).await?;
            Ok(owner.page("/security", "Second factor", enrolment_page(&enrolment)))
        }
        Err(refused) => again(&site, asker, &refused).await,
    }
}

fn enrolment_page(enrolment: &Enrolment) -> Markup {
    html! {
        div.narrow {
            h1 { "Set an app up" }
            section.card {
                p { "Scan this with your authenticator app, then type the code that it shows." }
                @if let Some(code) = qr(&enrolment.uri) { (code) }
                p { "Or type this into it: " code { (enrolment.secret) } }
                (confirm_form())
            }
            p { a href="/security" { "Not now" } }
        }
    }
}

fn confirm_form() -> Markup {
    html! {
        form method="post" action="/security/app/confirm" {
            (code_field("code"))
            button { "Confirm" }
        }
    }
}

/// A picture of dark squares, drawn as one path.
fn qr(text: &str) -> Option<Markup> {
    const QUIET: i32 = 4;
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let dark = (0..size).flat_map(|y| (0..size).map(move |x| (x, y)));
    let dark = dark.filter(|(x, y)| code.get_module(*x, *y));
    let path: String = dark
        .map(|(x, y)| format!("M{} {}h1v1h-1z", x + QUIET, y + QUIET))
        .collect();
    let view = format!("0 0 {0} {0}", size + 2 * QUIET);
    Some(html! {
        svg.qr viewBox=(view) role="img" aria-label="QR code for the authenticator app" { path d=(path) {} }
    })
}

pub(super) async fn confirm_app(
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<Code>,
) -> Result<Response, Refused> {
    let body = Confirm {
        code: typed.code.trim().to_owned(),
    };
    let confirmed = asker
        .post::<RecoveryCodes>(paths::TOTP_CONFIRM, &body)
        .await;
    let owner = Owner::of(asker).await?;
    let content = match &confirmed {
        Ok(codes) => codes_page(codes),
        Err(refused) => html! {
            div.narrow {
                h1 { "Set an app up" }
                (look::notice(true, refused.words()))
                section.card { (confirm_form()) }
                p { a href="/security" { "Begin anew" } }
            }
        },
    };
    Ok(owner.page("/security", "Second factor", content))
}

fn codes_page(codes: &RecoveryCodes) -> Markup {
    html! {
        div.narrow {
            h1 { "Recovery codes" }
            (look::notice(false, "Note them down, on paper: each lets you in once when the app is lost. They are shown this once."))
            ol.codes.card { @for code in &codes.recovery_codes { li { code { (code) } } } }
            p { a.button href="/security" { "I have them" } }
        }
    }
}

pub(super) async fn remove_app(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<PasswordAndCode>,
) -> Result<Response, Refused> {
    match asker.delete_with(paths::TOTP, &typed.proven()).await {
        Ok(()) => Ok(done("/security", "app")),
        Err(refused) => again(&site, asker, &refused).await,
    }
}

pub(super) async fn renew_codes(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<PasswordAndCode>,
) -> Result<Response, Refused> {
    match asker
        .post::<RecoveryCodes>(paths::RECOVERY_CODES, &typed.proven())
        .await
    {
        Ok(codes) => {
            let owner = Owner::of(asker).await?;
            Ok(owner.page("/security", "Recovery codes", codes_page(&codes)))
        }
        Err(refused) => again(&site, asker, &refused).await,
    }
}

pub(super) async fn end_session(
    _: SignedIn,
    asker: Asker,
    Path(id): Path<Uuid>,
) -> Result<Response, Refused> {
    asker.delete(&paths::session(id)).await?;
    Ok(done("/security", "ended"))
}

pub(super) async fn end_others(_: SignedIn, asker: Asker) -> Result<Response, Refused> {
    asker.delete(paths::SESSIONS).await?;
    Ok(done("/security", "others"))
}

pub(super) async fn log(
    _: SignedIn,
    asker: Asker,
    Query(shown): Query<Shown>,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let query = query_of(&[("limit", "100"), ("cursor", &shown.cursor)]);
    let events: Page<SecurityEvent> = owner
        .asker
        .get(&format!("{}{query}", paths::EVENTS))
        .await?;
    let content = html! {
        p { a href="/security" { "← Security" } }
        h1 { "What was done with this account" }
        p.quiet { "And what was tried: the last 400 days." }
        section.card {
            table.cards {
                thead { tr { th scope="col" { "What" } th scope="col" { "When" } th scope="col" { "By" } th scope="col" { "From" } th scope="col" { "To what" } } }
                tbody.rows { @for event in &events.items { (event_row(event)) } }
            }
            @if let Some(cursor) = &events.next_cursor { p { a href=(query_of(&[("cursor", cursor)])) { "Earlier" } } }
        }
    };
    Ok(owner.page("/security", "Security log", content))
}

fn event_row(event: &SecurityEvent) -> Markup {
    html! {
        tr {
            td {
                (event.kind.replace('_', " "))
                @if event.outcome == "refused" { " " span.badge.ill { "refused" } }
                @if event.count > 1 { " " span.quiet { (event.count) " times" } }
            }
            td data-name="When" { (look::moment(event.at)) }
            td data-name="By" { bdi { (event.actor.as_deref().unwrap_or("–")) } }
            td data-name="From" { @match event.address { Some(address) => (address), None => "–" } }
            td data-name="To what" { bdi { (event.subject.as_deref().unwrap_or("–")) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_address_fits_into_a_picture() {
        let uri = format!(
            "otpauth://totp/fsn:{}?secret={}",
            "ä".repeat(254),
            "A".repeat(32)
        );
        let drawn = qr(&uri).unwrap().into_string();
        assert!(drawn.contains("h1v1h-1z"));
        assert!(!drawn.contains("style="));
    }
}
