//! A page for people: what is followed, served and scored, and how it fares. It reads what every caller can read, and changes nothing.
//!
//! Its files are part of the binary, and it asks nothing of any other place.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use tonic::Code;

use super::super::failure::Failure;

/// What the page may do: load its own files, and ask its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Each file by its name.
const FILES: [(&str, &str, &str); 8] = [
    ("page.css", CSS, include_str!("../../page/page.css")),
    ("page.js", SCRIPT, include_str!("../../page/page.js")),
    ("dom.js", SCRIPT, include_str!("../../page/dom.js")),
    ("charts.js", SCRIPT, include_str!("../../page/charts.js")),
    ("now.js", SCRIPT, include_str!("../../page/now.js")),
    ("features.js", SCRIPT, include_str!("../../page/features.js")),
    ("lineage.js", SCRIPT, include_str!("../../page/lineage.js")),
    ("lookup.js", SCRIPT, include_str!("../../page/lookup.js")),
];

/// The page.
pub async fn index() -> Response {
    sent(HTML, include_str!("../../page/index.html"))
}

/// A file of it.
pub async fn file(Path(name): Path<String>) -> Result<Response, Failure> {
    let found = FILES.iter().find(|(file, ..)| *file == name);
    let (_, content_type, text) = found.ok_or_else(|| Failure::new(Code::NotFound, format!("the page has no file `{name}`")))?;
    Ok(sent(content_type, text))
}

fn sent(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        // Another release brings other files under the same names.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}
