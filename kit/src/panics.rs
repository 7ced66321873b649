//! A panic in work that others wait for becomes an error.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// The outcome, or what the panic said. The hook has reported it already.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // What is left half done is the work's own, and dropped or begun anew.
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.map_err(|payload| said(&*payload))
}

fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text").to_owned()
}
