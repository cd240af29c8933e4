//! The Cookie header of requests (RFC 6265 5.4): read, and filtered by name. Values are never changed.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The name and value of each cookie that the request carries, in the order sent, as the bytes that came. A part without `=` has
/// an empty name.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|part| {
            let part = part.trim_ascii();
            if part.is_empty() {
                return None;
            }
            Some(match part.iter().position(|byte| *byte == b'=') {
                Some(at) => (
                    part[..at].trim_ascii_end(),
                    part[at + 1..].trim_ascii_start(),
                ),
                None => (&part[..0], part),
            })
        })
}

/// Whether the request carries any cookie.
pub fn any(headers: &HeaderMap) -> bool {
    pairs(headers).next().is_some()
}

/// Whether the cookies are written as in RFC 6265 4.2.1, so that all who read them read the same: names that are tokens, values of
/// plain bytes, perhaps in quotes, and `; ` between them. Elsewhere some leave out what others trim, or take a quote for the
/// beginning of a value with semicolons in it.
pub fn are_plain(headers: &HeaderMap) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\",;\\".contains(byte);
    let one = |part: &[u8]| {
        let Some(at) = part.iter().position(|byte| *byte == b'=') else {
            return false;
        };
        let (name, value) = (&part[..at], &part[at + 1..]);
        let quoted = value.strip_prefix(b"\"");
        let value = quoted.map_or(Some(value), |rest| rest.strip_suffix(b"\""));
        !name.is_empty()
            && name.iter().all(is_token)
            && value.is_some_and(|value| value.iter().all(is_plain))
    };
    headers.get_all(COOKIE).iter().all(|line| {
        let mut parts = line.as_bytes().split(|byte| *byte == b';');
        parts.next().is_some_and(one) && parts.all(|part| part.strip_prefix(b" ").is_some_and(one))
    })
}

/// A Cookie header of those that `wanted` names, in the order sent; `None` when none of them came.
pub fn keep(headers: &HeaderMap, wanted: impl Fn(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut kept = Vec::new();
    for (name, value) in pairs(headers).filter(|(name, _)| wanted(name)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(name);
        kept.push(b'=');
        kept.extend_from_slice(value);
    }
    // The bytes come from header values, so they are one.
    if kept.is_empty() {
        None
    } else {
        HeaderValue::from_bytes(&kept).ok()
    }
}

/// All Cookie lines as one (RFC 9113 8.2.3 lets HTTP/2 split them); `None` without any.
pub fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(COOKIE).iter();
    let first = lines.next()?;
    let mut all = first.as_bytes().to_vec();
    for line in lines {
        all.extend_from_slice(b"; ");
        all.extend_from_slice(line.as_bytes());
    }
    if all.is_empty() {
        None
    } else {
        HeaderValue::from_bytes(&all).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines
            .iter()
            .map(|line| {
                (
                    COOKIE,
                    HeaderValue::from_str(line).expect("a row's line is a value"),
                )
            })
            .collect()
    }

    #[test]
    fn cookies_are_read_from_all_lines_in_order() {
        let headers = headers(&["a=1; b=x=y;", " c = 3 ; odd"]);
        let read: Vec<_> = pairs(&headers).collect();
        let wanted: [(&[u8], &[u8]); 4] =
            [(b"a", b"1"), (b"b", b"x=y"), (b"c", b"3"), (b"", b"odd")];
        assert_eq!(read, wanted);
    }

    #[test]
    fn only_cookies_that_all_read_alike_are_plain() {
        for (lines, wanted) in [
            (&[][..], true),
            (&["a=1"], true),
            (&["a=1; b=\"x\"; c="], true),
            (&["a=1", "b=2"], true),
            (&["a=x=y"], true),
            (&[""], false),
            (&["a =1"], false),
            (&["a= 1"], false),
            (&["a=1;b=2"], false),
            (&["a=1;  b=2"], false),
            (&["a=1 ; b=2"], false),
            (&["a=1;"], false),
            (&[";a=1"], false),
            (&["a=1; odd"], false),
            (&["=1"], false),
            (&["x=\"; a=1; y=\""], false),
            (&["a={\"b\":1}"], false),
            (&["a=1,2"], false),
            (&["a=\u{e4}"], false),
            (&["a=\\1"], false),
        ] {
            assert_eq!(are_plain(&headers(lines)), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_filter_keeps_values_as_they_came() {
        let headers = headers(&["sid=\"q;\"; t=%41", "u=2"]);
        assert_eq!(
            keep(&headers, |name| name == b"t" || name == b"u").expect("two are kept"),
            "t=%41; u=2"
        );
        assert_eq!(keep(&headers, |_| false), None);
    }
}
