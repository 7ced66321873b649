//! `/s/{id}`: the page that a share's link leads to, and its form. It is the crate `site` that writes it.

use std::sync::Arc;

use api::page::PageParams;
use api::paths;
use api::shares::UnlockShare;
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use credentials::share::ShareId;
use http::{HeaderMap, StatusCode, header};
use site::share::{Shown, page};
use zeroize::Zeroizing;

use super::extract::{ClientAddr, Id};
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use super::shares::{cookie, evidence, let_in, share_id, token, told};
use crate::config::HttpConfig;
use crate::proofs::Proofs;
use crate::shares::{Share, Shares, open};

/// Its form has one short field.
pub(super) const MOST_FORM: usize = 8 * 1024;

/// What is shown of the proofs: more has the API.
const CHUNKS: u16 = 20;

pub(super) async fn show(
    State(shares): State<Arc<Shares>>,
    State(proofs): State<Arc<Proofs>>,
    Id(id): Id<String>,
    headers: HeaderMap,
) -> Response {
    let shown = async {
        let id = share_id(&id)?;
        let share = shares.find(&id).await?;
        match token(&shares, &id, &share, &headers) {
            Some(_) => opened(&shares, &proofs, &id, &share).await,
            None => Ok(page(&id.to_string(), None, Shown::Password { wrong: None })),
        }
    };
    shown.await.unwrap_or_else(|problem| refused(&id, &problem))
}

/// The form: the content of a plain file comes as the answer, by way of a redirect, since its path alone gets the cookie.
pub(super) async fn unlock(
    State(shares): State<Arc<Shares>>,
    State(proofs): State<Arc<Proofs>>,
    State(config): State<Arc<HttpConfig>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Id(id): Id<String>,
    form: Result<Form<UnlockShare>, FormRejection>,
) -> Response {
    let shown = async {
        let id = share_id(&id)?;
        let share = shares.find(&id).await?;
        let Form(form) = form.map_err(|error| Problem::invalid(error.body_text()))?;
        let password = Zeroizing::new(form.password);
        let told = let_in(&shares, &limits, (&id, &share), password, address).await;
        let (_, text) = match told {
            Ok(told) => told,
            Err(problem) => {
                let wrong = Some(problem.detail());
                let mut answer = page(&id.to_string(), None, Shown::Password { wrong });
                *answer.status_mut() = problem.status;
                return Ok(answer);
            }
        };
        let mut answer = match share.envelope.is_some() || share.evidence {
            true => opened(&shares, &proofs, &id, &share).await?,
            false => {
                let to = [(header::LOCATION, paths::share_content(id))];
                (StatusCode::SEE_OTHER, to).into_response()
            }
        };
        let cookie = cookie(&id, &text, &config);
        let cookie = cookie.parse().map_err(Problem::internal)?;
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
        Ok(answer)
    };
    shown.await.unwrap_or_else(|problem| refused(&id, &problem))
}

async fn opened(
    shares: &Shares,
    proofs: &Proofs,
    id: &ShareId,
    share: &Share,
) -> Result<Response, Problem> {
    let content = open::content(shares, share).await?;
    let about = told(share, Some(&content));
    let id = id.to_string();
    if !share.evidence {
        return Ok(page(&id, Some(&about), Shown::Content));
    }
    let first = PageParams {
        limit: Some(CHUNKS),
        cursor: None,
    };
    let durability = evidence(proofs, share, &content, &first).await?;
    Ok(page(&id, Some(&about), Shown::Evidence(&durability)))
}

fn refused(id: &str, problem: &Problem) -> Response {
    let nothing = Shown::Nothing {
        status: problem.status,
        why: problem.detail(),
    };
    page(id, None, nothing)
}
