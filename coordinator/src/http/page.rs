//! Lists: `{items, next_cursor}`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1000;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Items on a page, 1 to 1000; 100 unless told.
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageParams {
    pub fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            Ok(usize::from(limit))
        } else {
            Err(Problem::invalid(format!("`limit` is 1 to {MAX_LIMIT}.")))
        }
    }

    pub fn position<P: DeserializeOwned>(&self) -> Result<Option<P>, Problem> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
        let position = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        position.map(Some).ok_or_else(Self::foreign_cursor)
    }

    pub fn foreign_cursor() -> Problem {
        Problem::invalid("The cursor is not one that this list gave: start without one.")
    }
}

/// A position in a list, as clients hand it back.
pub fn cursor(position: &impl Serialize) -> Option<String> {
    let json = serde_json::to_vec(position).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(json))
}

impl<T> Page<T> {
    /// Of `limit + 1` rows that were asked for, the last only tells that there is more.
    pub fn new<R, P: Serialize>(
        mut rows: Vec<R>,
        limit: usize,
        position: impl FnOnce(&R) -> P,
        item: impl FnMut(R) -> T,
    ) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .and_then(|last| cursor(&position(last)));
        Self {
            items: rows.into_iter().map(item).collect(),
            next_cursor,
        }
    }
}
