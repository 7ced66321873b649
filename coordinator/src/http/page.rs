//! Lists: where a page begins, and what its cursor says.

use api::page::{DEFAULT_LIMIT, MAX_LIMIT, Page, PageParams};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

pub(super) fn limit(params: &PageParams) -> Result<usize, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(usize::from(limit))
    } else {
        Err(Problem::invalid(format!("`limit` is 1 to {MAX_LIMIT}.")))
    }
}

pub(super) fn position<P: DeserializeOwned>(params: &PageParams) -> Result<Option<P>, Problem> {
    let Some(cursor) = &params.cursor else {
        return Ok(None);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let position = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    position.map(Some).ok_or_else(foreign_cursor)
}

pub(super) fn foreign_cursor() -> Problem {
    Problem::invalid("The cursor is not one that this list gave: start without one.")
}

/// A position in a list, as clients hand it back.
pub(super) fn cursor(position: &impl Serialize) -> Option<String> {
    let json = serde_json::to_vec(position).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(json))
}

/// Of `limit + 1` rows that were asked for, the last only tells that there is more.
pub(super) fn of<R, P: Serialize, T>(
    mut rows: Vec<R>,
    limit: usize,
    position: impl FnOnce(&R) -> P,
    item: impl FnMut(R) -> T,
) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows
        .last()
        .filter(|_| more)
        .and_then(|last| cursor(&position(last)));
    Page {
        items: rows.into_iter().map(item).collect(),
        next_cursor,
    }
}
