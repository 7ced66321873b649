//! The end of an account.

use api::auth::DeleteAccount;
use api::paths;
use axum::Form;
use axum::response::{IntoResponse, Redirect, Response};
use http::header;
use look::credits;
use maud::{Markup, html};
use serde::Deserialize;

use super::Owner;
use crate::asking::{Asker, Refused};
use crate::cookie;
use crate::signed_in::{Came, SignedIn};

#[derive(Deserialize)]
pub(super) struct Password {
    password: String,
}

pub(super) async fn form(_: SignedIn, asker: Asker) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    Ok(page(&owner, None))
}

fn page(owner: &Owner, told: Option<Markup>) -> Response {
    let content = html! {
        div.narrow {
            h1 { "Close the account" }
            @if let Some(told) = told { (told) }
            section.card {
                p { "For good: your files go, at once for everybody, and "
                    strong { (credits(owner.me.forfeited_by_deletion_microcredits)) " credits are forfeited" } "." }
                p { a href=(paths::EXPORT) download { "Take everything along first" } }
                form method="post" action="/leave" {
                    input type="text" name="username" autocomplete="username" value=(owner.me.email) hidden;
                    div.field {
                        label for="password" { "Password" }
                        input #password name="password" type="password" autocomplete="current-password" required maxlength="1024";
                    }
                    button.grave { "Close it for good" }
                }
            }
            p { a href="/overview" { "No, stay" } }
        }
    };
    owner.page("/overview", "Close the account", content)
}

pub(super) async fn leave(
    came: Came,
    _: SignedIn,
    asker: Asker,
    Form(typed): Form<Password>,
) -> Result<Response, Refused> {
    let body = DeleteAccount {
        password: Some(typed.password),
        passkey: None,
    };
    if let Err(refused) = asker.delete_with(paths::ME, &body).await {
        let told = look::notice(true, refused.words());
        return Ok(page(&Owner::of(asker).await?, Some(told)));
    }
    let cookie = [(header::SET_COOKIE, cookie::clear(came.is_secure))];
    Ok((cookie, Redirect::to("/sign-in?done=left")).into_response())
}
