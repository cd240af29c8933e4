//! `/events`: each page as it finishes, as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! `event: page` carries what `/pages/ID` does, on one line; `event: lagged` the number of pages that a slow reader has missed.
//! The stream ends when the gateway drains.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::StreamBody;

use crate::admin::answer;
use crate::message::{Body, BodyError, Response};
use crate::observe::live::{Heard, Listening, Live};
use crate::observe::waterfall::Waterfall;
use crate::server::drain::Drain;

/// How often a reader that hears of no page is sent a comment: one that is gone is found when it is written to.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The stream of pages, or why there is none.
pub fn answer(live: &Live, drain: &Drain) -> Response {
    if drain.is_started() {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    match live.listen() {
        Some(listening) => answer::streamed("text/event-stream", events(listening, drain.clone())),
        None => answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many listen already: try again when one of them has left",
        ),
    }
}

fn events(listening: Listening, drain: Drain) -> Body {
    let events = stream::unfold((listening, drain), |(mut listening, drain)| async move {
        let event = tokio::select! {
            biased;
            () = drain.started() => return None,
            heard = tokio::time::timeout(KEEP_ALIVE, listening.next()) => match heard {
                Ok(heard) => written(&heard?),
                Err(_) => ": keep-alive\n\n".to_owned(),
            },
        };
        let frame = Frame::data(Bytes::from(event));
        Some((Ok::<_, BodyError>(frame), (listening, drain)))
    });
    Body::stream(StreamBody::new(events))
}

fn written(heard: &Heard) -> String {
    match heard {
        Heard::Page(page) => page_event(page),
        Heard::Missed(number) => format!("event: lagged\ndata: {number}\n\n"),
    }
}

/// No field can be broken out of: an id holds letters, digits and `._-` only, and JSON escapes the ends of lines.
fn page_event(page: &Waterfall) -> String {
    match serde_json::to_string(&page.whole()) {
        Ok(json) => format!("event: page\nid: {}\ndata: {json}\n\n", page.head.id),
        Err(error) => {
            tracing::error!(%error, "a page could not be written as JSON");
            ": a page could not be written\n\n".to_owned()
        }
    }
}
