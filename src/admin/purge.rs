//! `POST /purge`: empties the cache by URL, surrogate key, prefix, or all of it.
//!
//! It changes something, so a browser that was led here must not be able to send it: [`access`](crate::admin::access) asks for the token,
//! or for the proof that the request comes from no other site.

use http::StatusCode;

use crate::admin::answer;
use crate::cache::order::Order;
use crate::message::{Request, Response};

/// Longest order, in bytes.
const LONGEST: usize = 1 << 20;

/// Who carries orders out.
pub trait Purger: Send + Sync {
    /// Carries out an order that has been checked; how many stored objects that hit.
    fn purge(&self, order: &Order) -> u64;
}

/// Answers a request for `/purge` that carries the token, if there is one; `open` says that there is none.
pub(super) async fn answer(request: Request, purger: Option<&dyn Purger>, open: bool) -> Response {
    if let Some(refusal) = answer::refusal(&request, open) {
        return refusal;
    }
    let order = match read(request).await {
        Ok(order) => order,
        Err(fault) => return answer::text(StatusCode::BAD_REQUEST, &fault),
    };
    let Some(purger) = purger else {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "there is no cache yet");
    };
    let purged = serde_json::json!({ "purged": purger.purge(&order) });
    answer::json(&purged)
}

async fn read(request: Request) -> Result<Order, String> {
    let body = request.into_body().collect(LONGEST).await;
    let body = body.map_err(|error| error.to_string())?;
    let order: Order =
        serde_json::from_slice(&body).map_err(|error| format!("not an order: {error}"))?;
    order.check().map_err(|error| error.to_string())?;
    Ok(order)
}
