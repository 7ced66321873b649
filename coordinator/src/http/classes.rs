//! `GET /classes`: what can be asked for with `X-FSN-Class`.

use std::sync::Arc;

use api::classes::{ClassView, Classes, SchemeView};
use api::paths;
use axum::extract::State;

use super::authorization::{Read, User};
use super::extract::Json;
use super::problem::Problem;
use crate::files::Files;
use crate::files::upload::{UploadError, session};
use model::money::BYTES_PER_GB;
use model::scheme::Scheme;
use model::storage_class::{StorageClass, least_bytes};
use model::terms::Terms;

/// The storage classes, how each keeps a file now, and what that costs.
#[utoipa::path(get, path = paths::CLASSES, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    responses((status = 200, body = Classes)))]
pub(super) async fn list(
    State(files): State<Arc<Files>>,
    _: User<Read>,
) -> Result<Json<Classes>, Problem> {
    let view = |class: StorageClass| -> Result<ClassView, UploadError> {
        let scheme = files.blobs.scheme(class);
        Ok(ClassView {
            name: class.name().to_owned(),
            unavailable: scheme.as_ref().err().map(ToString::to_string),
            scheme: match scheme {
                Ok(scheme) => Some(described(&files, scheme)?),
                Err(_) => None,
            },
        })
    };
    let classes = StorageClass::ALL.into_iter().map(view);
    let classes = classes.collect::<Result<Vec<_>, UploadError>>()?;
    Ok(Json(Classes { classes }))
}

fn described(files: &Files, scheme: Scheme) -> Result<SchemeView, UploadError> {
    let gigabyte = files.billing.priced(Terms::Content, BYTES_PER_GB, scheme);
    Ok(SchemeView {
        pieces: scheme.pieces(),
        needed: scheme.needed(),
        repair_at: scheme.repair_at(),
        least_bytes: least_bytes(scheme),
        chunk_size_bytes: session::chunk_size(files, scheme),
        microcredits_per_gb_month: gigabyte.month()?.get().unsigned_abs(),
    })
}
