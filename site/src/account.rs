//! The two pages that links in letters lead to. The code of a letter stands behind the `#` of its link, which no browser sends
//! to a server: it takes a script to read it.

use api::paths::{RESET_PAGE, VERIFY_PAGE};
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;
use look::Frame;
use maud::{Render, html};

use crate::assets;
use crate::frame::{BRAND, answer};

pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(RESET_PAGE, get(page))
        .route(VERIFY_PAGE, get(page))
}

async fn page() -> Response {
    let frame = Frame {
        title: "Your account",
        brand: BRAND,
        style: assets::STYLE,
        scripts: &[assets::ACCOUNT_SCRIPT],
        entries: &[],
        here: "",
        aside: html! { a href="/sign-in" { "Sign in" } },
        content: html! {
            div.narrow {
                h1 { "Your account" }
                form.card #reset hidden {
                    div.field {
                        label for="password" { "Another password" }
                        input #password type="password" autocomplete="new-password" required maxlength="1024";
                    }
                    button { "Set it" }
                }
                form.card #verify hidden {
                    p { "Is this address yours?" }
                    button { "Yes, it is" }
                }
                p #told role="status" {}
                noscript { p { "This page needs a script. Programs send the code of the letter to the API instead: the letter says how." } }
            }
        },
        foot: html! {},
    };
    // Nothing is sent from here but by the script, so nobody needs to know where it came from.
    let referrer = [(header::REFERRER_POLICY, "no-referrer")];
    (referrer, answer(frame.render())).into_response()
}
