//! The viewer of the API's description under `/docs`: Swagger UI out of this program, so that a browser loads
//! nothing from elsewhere.
//!
//! The crate that carries it has the archive of its release; what a browser asks for is unpacked once, when it is
//! first asked for. Rejected: `utoipa-swagger-ui`, whose build script brings a zip library with its compressor and
//! puts every file of the release into the program; and viewers that load their scripts from a network.

use std::io::{self, Read};
use std::sync::{Arc, LazyLock};

use axum::response::{IntoResponse, Redirect, Response};
use axum::{Json, Router, routing};
use bytes::Bytes;
use flate2::read::DeflateDecoder;
use http::{StatusCode, header};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

const DESCRIPTION: &str = "/api/v1/openapi.json";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The viewer sets styles of its own, and has images in its style sheet; scripts are files of this program.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// In place of the release's own, which shows somebody else's shop for pets.
const INITIALIZER: &str = r##"window.onload = function() {
  window.ui = SwaggerUIBundle({
    url: "/api/v1/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    plugins: [SwaggerUIBundle.plugins.DownloadUrl]
  });
};
"##;

struct Page {
    name: &'static str,
    content_type: &'static str,
    body: LazyLock<Option<Bytes>>,
}

macro_rules! page {
    ($name:literal, $content_type:expr) => {
        Page {
            name: $name,
            content_type: $content_type,
            body: LazyLock::new(|| unpack(SWAGGER_UI_VENDORED, concat!("/dist/", $name)).ok()),
        }
    };
}

static INDEX: Page = page!("index.html", HTML);
static PAGES: [Page; 6] = [
    page!("index.css", "text/css"),
    page!("swagger-ui.css", "text/css"),
    page!("swagger-ui-bundle.js", SCRIPT),
    page!("swagger-ui-standalone-preset.js", SCRIPT),
    page!("favicon-16x16.png", "image/png"),
    page!("favicon-32x32.png", "image/png"),
];

/// The description itself, and the viewer that shows it.
pub fn router<S: Clone + Send + Sync + 'static>(description: OpenApi) -> Router<S> {
    let description = Arc::new(description);
    let describe = move || {
        let description = Arc::clone(&description);
        async move { Json(&*description).into_response() }
    };
    let initializer = async || ([(header::CONTENT_TYPE, SCRIPT)], INITIALIZER);
    let router = Router::new()
        .route(DESCRIPTION, routing::get(describe))
        .route("/docs", routing::get(async || Redirect::to("/docs/")))
        .route("/docs/", routing::get(async || INDEX.serve()))
        .route("/docs/swagger-initializer.js", routing::get(initializer));
    PAGES.iter().fold(router, |router, page| {
        let path = format!("/docs/{}", page.name);
        router.route(&path, routing::get(async || page.serve()))
    })
}

impl Page {
    fn serve(&self) -> Response {
        match self.body.as_ref() {
            Some(body) => {
                let headers = [
                    (header::CONTENT_TYPE, self.content_type),
                    (header::CONTENT_SECURITY_POLICY, POLICY),
                ];
                (headers, body.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// One file of a zip archive whose entries follow each other from its first byte on, as those of a release do.
fn unpack(archive: &[u8], name_ends: &str) -> io::Result<Bytes> {
    const ENTRY: &[u8] = b"PK\x03\x04";
    const STORED: u16 = 0;
    const DEFLATED: u16 = 8;
    let mut rest = archive;
    while rest.starts_with(ENTRY) {
        let header = take(&mut rest, 30)?;
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let length_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let name = take(&mut rest, u16_at(26).into())?;
        take(&mut rest, u16_at(28).into())?;
        let packed = take(&mut rest, length_at(18) as usize)?;
        if !name.ends_with(name_ends.as_bytes()) {
            continue;
        }
        return match u16_at(8) {
            STORED => Ok(Bytes::copy_from_slice(packed)),
            DEFLATED => {
                let mut body = Vec::with_capacity(length_at(22) as usize);
                DeflateDecoder::new(packed).read_to_end(&mut body)?;
                Ok(body.into())
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
    }
    Err(io::ErrorKind::NotFound.into())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> io::Result<&'a [u8]> {
    let (taken, left) = rest
        .split_at_checked(count)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_the_viewer_consists_of_is_in_the_program() {
        for page in PAGES.iter().chain([&INDEX]) {
            let body = page.body.as_ref();
            assert!(body.is_some_and(|body| !body.is_empty()), "{}", page.name);
        }
        let index = String::from_utf8(INDEX.body.as_ref().unwrap().to_vec()).unwrap();
        for page in &PAGES {
            assert!(index.contains(page.name), "{} is not asked for", page.name);
        }
        assert!(index.contains("swagger-initializer.js"));
        assert!(INITIALIZER.contains(DESCRIPTION));
    }

    #[test]
    fn an_archive_that_was_cut_is_an_error() {
        let cut = &SWAGGER_UI_VENDORED[..SWAGGER_UI_VENDORED.len() / 3];
        assert!(unpack(cut, "/dist/swagger-ui.css").is_err());
        assert!(unpack(SWAGGER_UI_VENDORED, "/dist/nothing").is_err());
    }
}
