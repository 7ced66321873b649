//! Errors in the API's description: one schema, and an answer of every operation that refers to it, so that
//! generated clients have a type for them. A list at each route would be long, and never complete.

use api::problem::{CONTENT_TYPE, Problem};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

/// Once all routes are in it.
pub(super) fn describe(openapi: &mut OpenApi) {
    let components = openapi.components.get_or_insert_default();
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    for item in openapi.paths.paths.values_mut() {
        for operation in operations(item) {
            describe_in(operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.head,
        &mut item.post,
        &mut item.put,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

fn describe_in(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
            && response.content.is_empty()
        {
            let content = RefOr::T(content());
            response.content.insert(CONTENT_TYPE.to_owned(), content);
        }
    }
    responses
        .entry("default".to_owned())
        .or_insert_with(|| RefOr::T(any_error()));
}

fn any_error() -> Response {
    ResponseBuilder::new()
        .description(
            "Any error: 401 without a valid token, 403 where it allows too little, 429 after too many \
             requests, and others",
        )
        .content(CONTENT_TYPE, content())
        .build()
}

fn content() -> Content {
    Content::new(Some(Ref::from_schema_name(Problem::name())))
}
