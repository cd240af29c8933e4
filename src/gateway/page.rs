//! From a fetched skeleton to the answer: composed when it is a document, else passed on.

use std::sync::Arc;

use crate::cache::object::Object;
use crate::fetch::{Fetched, Streamed};
use crate::gateway::Gateway;
use crate::gateway::answer::{Answer, insert_age};
use crate::gateway::cache_status::Told;
use crate::gateway::conditional;
use crate::gateway::error::GatewayError;
use crate::gateway::route::Route;
use crate::gateway::visit::Visit;
use crate::message::deadline::Deadline;
use crate::message::{Body, Response};
use crate::observe::outcome::CacheUse;
use crate::observe::page::PageTrace;

impl Gateway {
    /// The page of a skeleton.
    pub(super) async fn page(
        &self,
        visit: &Arc<Visit>,
        _route: &Arc<Route>,
        fetched: Fetched,
        _deadline: Deadline,
        _trace: &PageTrace,
    ) -> Result<Answer, GatewayError> {
        match fetched {
            Fetched::Stored(object, used) => Ok(stored(visit, &object, used)),
            Fetched::Streamed(streamed) => Ok(passed(streamed)),
        }
    }
}

fn stored(visit: &Visit, object: &Object, used: CacheUse) -> Answer {
    let told = Told {
        cache: used,
        fresh_for: Some(object.fresh_for()),
        forwarded: Some(object.status),
        personal: None,
    };
    let mut response = Response::new(Body::full(object.body.clone()));
    *response.status_mut() = object.status;
    *response.headers_mut() = object.headers.clone();
    insert_age(response.headers_mut(), object.age());
    if visit.is_safe()
        && conditional::not_modified(&visit.client_headers, object.status, &object.headers)
    {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        conditional::strip_for_304(response.headers_mut());
        *response.body_mut() = Body::empty();
    }
    Answer {
        response,
        told: Some(told),
    }
}

fn passed(streamed: Streamed) -> Answer {
    let told = Told {
        cache: streamed.cache,
        fresh_for: None,
        forwarded: Some(streamed.response.status()),
        personal: streamed.personal,
    };
    Answer {
        response: streamed.response,
        told: Some(told),
    }
}
