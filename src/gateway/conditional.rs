//! A client's conditions on a stored answer (RFC 9110 13.1.2, 13.1.3): 304 when it has it already. Composed pages are never asked.

use http::header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::message::date;

/// Whether the client's copy is the stored answer. `If-None-Match` decides alone where it is given.
pub fn not_modified(request: &HeaderMap, status: StatusCode, stored: &HeaderMap) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let Some(tag) = stored.get(ETAG).map(|tag| opaque(tag.as_bytes())) else {
            return false;
        };
        return request
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|line| lists(line.as_bytes(), tag));
    }
    let read = |headers: &HeaderMap, name: HeaderName| date::parse(headers.get(name)?.as_bytes());
    let Some(since) = read(request, IF_MODIFIED_SINCE) else {
        return false;
    };
    // One that does not say when it was changed was not changed after it was made.
    let changed = read(stored, LAST_MODIFIED).or_else(|| read(stored, DATE));
    changed.is_some_and(|modified| modified <= since)
}

/// The tag without its mark of weakness: the comparison is weak (RFC 9110 8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a list of tags holds `tag`. A comma may stand inside quotes.
fn lists(line: &[u8], tag: &[u8]) -> bool {
    if line.trim_ascii() == b"*" {
        return true;
    }
    let mut start = 0;
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                if opaque(&line[start..at]) == tag {
                    return true;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    opaque(&line[start..]) == tag
}

/// The fields of a stored answer that a 304 repeats (RFC 9110 15.4.5) are kept; those that describe a body go.
pub fn strip_for_304(headers: &mut HeaderMap) {
    for name in [
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "content-md5",
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn tags_decide_before_dates() {
        let stored = map(&[
            ("etag", "\"a,b\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        for (request, wanted) in [
            (map(&[("if-none-match", "\"a,b\"")]), true),
            (map(&[("if-none-match", "W/\"a,b\"")]), true),
            (map(&[("if-none-match", "\"x\", \"a,b\"")]), true),
            (map(&[("if-none-match", "*")]), true),
            (map(&[("if-none-match", "\"x\"")]), false),
            (
                map(&[
                    ("if-none-match", "\"x\""),
                    ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ]),
                false,
            ),
            (
                map(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]),
                true,
            ),
            (
                map(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]),
                false,
            ),
            (map(&[]), false),
        ] {
            assert_eq!(
                not_modified(&request, StatusCode::OK, &stored),
                wanted,
                "{request:?}"
            );
        }
        let dated = map(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        let since = map(&[("if-modified-since", "Mon, 06 nov 1994 08:49:37 gmt")]);
        assert!(not_modified(&since, StatusCode::OK, &dated));
        assert!(!not_modified(
            &map(&[("if-none-match", "*")]),
            StatusCode::NOT_FOUND,
            &stored
        ));
    }
}
