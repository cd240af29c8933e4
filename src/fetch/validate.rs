//! Asking whether a stored response is still good (RFC 9111 4.3): what is asked, what the answer means, what becomes of the
//! fields. Pure functions.

use std::sync::Arc;

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE,
    ETAG, EXPIRES, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, SET_COOKIE, VARY,
};
use http::{HeaderMap, Method};

use crate::cache::object::Object;
use crate::message::cache_control::RequestControl;
use crate::message::headers::SURROGATE_CONTROL;
use crate::message::outgoing::OutgoingRequest;

/// Whether a request can be answered by what answers others: a GET for the whole, on no condition but that it has changed.
pub fn is_plain(request: &OutgoingRequest) -> bool {
    request.method == Method::GET
        && !request.fields.contains_key(RANGE)
        && !is_for_the_origin(request)
}

/// Whether it forbids that its answer is stored: such a request must neither lead those who do not, nor make the key remembered
/// as personal.
pub fn forbids_storing(request: &OutgoingRequest) -> bool {
    let fields = &*request.fields;
    fields.contains_key(CACHE_CONTROL) && RequestControl::read(fields).no_store
}

/// Whether its conditions are the origin's to decide (RFC 9110 13.1.1, 13.1.4).
pub fn is_for_the_origin(request: &OutgoingRequest) -> bool {
    is_on_the_origins_conditions(&request.fields)
}

/// The same by the fields of a request.
pub fn is_on_the_origins_conditions(fields: &HeaderMap) -> bool {
    fields.contains_key(IF_MATCH) || fields.contains_key(IF_UNMODIFIED_SINCE)
}

/// Whether it asks for the case that nothing has changed.
pub fn has_conditions(fields: &HeaderMap) -> bool {
    fields.contains_key(IF_NONE_MATCH) || fields.contains_key(IF_MODIFIED_SINCE)
}

/// Takes a client's own validators away: the answer is to be the whole thing.
pub fn unconditional(fields: &mut Arc<HeaderMap>) {
    if has_conditions(fields) {
        let fields = Arc::make_mut(fields);
        fields.remove(IF_NONE_MATCH);
        fields.remove(IF_MODIFIED_SINCE);
    }
}

/// A GET like this request, without its body.
pub fn get_like(request: &OutgoingRequest) -> OutgoingRequest {
    let mut fields = Arc::clone(&request.fields);
    unconditional(&mut fields);
    if fields.contains_key(RANGE) {
        Arc::make_mut(&mut fields).remove(RANGE);
    }
    OutgoingRequest::get(request.uri.clone(), fields)
}

/// The request with the validators of what is stored.
pub fn conditional(request: &OutgoingRequest, stored: &Object) -> OutgoingRequest {
    let mut asking = get_like(request);
    for (name, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        if let Some(value) = stored.headers.get(validator) {
            Arc::make_mut(&mut asking.fields).insert(name, value.clone());
        }
    }
    asking
}

/// Whether a 304 speaks of what is stored (RFC 9111 4.3.3): a validator that it names is the stored one's.
pub fn confirms(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    if let Some(tag) = answer.get(ETAG) {
        return stored
            .get(ETAG)
            .is_some_and(|ours| opaque(ours) == opaque(tag));
    }
    match (answer.get(LAST_MODIFIED), stored.get(LAST_MODIFIED)) {
        (Some(said), Some(ours)) => said == ours,
        _ => true,
    }
}

fn opaque(tag: &HeaderValue) -> &[u8] {
    let tag = tag.as_bytes().trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether the answer to a HEAD speaks of the same representation as is stored.
pub fn agrees(stored: &Object, answer: &HeaderMap) -> bool {
    let same = |name: HeaderName| {
        let said = answer.get(&name);
        said.is_none() || said == stored.headers.get(&name)
    };
    let length = answer.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let ours = stored.body.len().to_string();
    same(ETAG) && same(LAST_MODIFIED) && length.is_none_or(|length| length == ours.as_bytes())
}

/// Fields of a 304 that say nothing of what is stored, or would make it false.
const NOT_MERGED: [HeaderName; 4] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, SET_COOKIE];

/// Of what the origin says to one user alone, what it says of the copy that it confirms (RFC 9110 15.4.5) and of how long that is kept. The
/// rest is that user's.
pub fn of_copy(answer: &HeaderMap) -> HeaderMap {
    let speaks_of_copy = |name: &HeaderName| {
        [
            AGE,
            CACHE_CONTROL,
            CONTENT_LOCATION,
            DATE,
            ETAG,
            EXPIRES,
            VARY,
        ]
        .contains(name)
            || *name == SURROGATE_CONTROL
            || name.as_str().ends_with("-cache-control")
    };
    let fields = answer.iter().filter(|(name, _)| speaks_of_copy(name));
    let mut copied = HeaderMap::new();
    for (name, value) in fields {
        copied.append(name.clone(), value.clone());
    }
    copied
}

/// The stored fields, renewed by those of the answer (RFC 9111 3.2): each replaces all of its name, repeated ones stay
/// repeated. How old it was before no longer counts.
pub fn merged(stored: &HeaderMap, answer: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    fields.remove(AGE);
    fields.remove(DATE);
    for name in answer.keys().filter(|name| !NOT_MERGED.contains(name)) {
        fields.remove(name);
        for value in answer.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        map
    }

    #[test]
    fn a_304_speaks_of_what_it_names() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: &[(Fields, Fields, bool)] = &[
            (&[("etag", "\"a\"")], &[], true),
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            (&[("last-modified", "x")], &[("etag", "\"b\"")], false),
            (&[("last-modified", "x")], &[("last-modified", "x")], true),
            (&[("last-modified", "x")], &[("last-modified", "y")], false),
        ];
        for (stored, answer, wanted) in rows {
            assert_eq!(
                confirms(&map(stored), &map(answer)),
                *wanted,
                "{stored:?} {answer:?}"
            );
        }
    }

    #[test]
    fn a_304_renews_every_field_but_those_of_the_body() {
        let stored = map(&[
            ("content-type", "text/html"),
            ("content-encoding", "gzip"),
            ("age", "100"),
            ("date", "then"),
            ("x-old", "1"),
            ("x-both", "1"),
        ]);
        let answer = map(&[
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("set-cookie", "a=1"),
            ("date", "now"),
            ("x-both", "2"),
            ("x-both", "3"),
            ("cache-control", "max-age=60"),
        ]);
        let renewed = merged(&stored, &answer);
        let values = |name: &str| -> Vec<_> {
            renewed
                .get_all(name)
                .iter()
                .map(|value| value.to_str().expect("text"))
                .collect()
        };
        assert_eq!(values("content-type"), ["text/html"]);
        assert_eq!(values("content-encoding"), ["gzip"]);
        assert_eq!(values("x-old"), ["1"]);
        assert_eq!(values("x-both"), ["2", "3"]);
        assert_eq!(values("date"), ["now"]);
        assert_eq!(values("cache-control"), ["max-age=60"]);
        for gone in ["age", "content-length", "set-cookie"] {
            assert!(values(gone).is_empty(), "{gone}");
        }
    }
}
