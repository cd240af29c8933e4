//! Absolute http(s) URLs, and references resolved against them (RFC 3986 5), by hand on bytes.
//!
//! The `url` crate normalises, and a signed query must reach the application exactly as the template writes it. So: only
//! dot segments are removed (`%2e` counts as a dot), bytes that no URL may hold are percent-encoded, `#…` is dropped, and
//! nothing else is touched. What comes out can be written into a request head: no control character survives.

use std::fmt;

/// An absolute URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    text: Box<str>,
    /// Where the authority starts, behind `://`.
    authority: usize,
    /// Where the path starts; it is at least `/`.
    path: usize,
    /// Where the query's `?` stands, else the length.
    query: usize,
}

/// Why a reference cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Empty after white space and `#…` are taken away.
    #[error("the URL is empty")]
    Empty,
    /// Neither http nor https.
    #[error("the URL's scheme is neither http nor https")]
    Scheme,
    /// `user@host`.
    #[error("the URL names a user")]
    UserInfo,
    /// No host, or one that no host can be.
    #[error("the URL's host is no host")]
    Host,
    /// `%2f` or `%5c` in one segment with dots: what it means depends on who decodes it.
    #[error("an encoded slash stands beside dots in the URL's path")]
    EncodedSlash,
}

impl Url {
    /// A URL from what a request names: scheme (`http` or `https`), authority, path with query. The authority is lowered,
    /// its default port dropped.
    pub fn new(https: bool, authority: &[u8], target: &[u8]) -> Result<Self, UrlError> {
        let mut text = scheme_text(https);
        let start = text.len();
        push_authority(&mut text, authority, https)?;
        finish(text, start, b"", target)
    }

    /// Resolves a reference as `src` holds it (RFC 3986 5.2.2).
    pub fn join(&self, reference: &[u8]) -> Result<Self, UrlError> {
        let reference = reference.trim_ascii();
        let reference = match memchr::memchr(b'#', reference) {
            Some(at) => &reference[..at],
            None => reference,
        };
        if reference.is_empty() {
            return Err(UrlError::Empty);
        }
        if let Some(colon) = scheme_end(reference) {
            let https = match &reference[..colon].to_ascii_lowercase()[..] {
                b"http" => false,
                b"https" => true,
                _ => return Err(UrlError::Scheme),
            };
            let rest = reference[colon + 1..]
                .strip_prefix(b"//")
                .ok_or(UrlError::Host)?;
            return Self::at_authority(https, rest);
        }
        if let Some(rest) = reference.strip_prefix(b"//") {
            return Self::at_authority(self.is_https(), rest);
        }
        let base = match reference[0] {
            b'/' => "",
            b'?' => self.path(),
            // Up to and with the last `/`; a path always starts with one.
            _ => &self.path()[..=self.path().rfind('/').unwrap_or(0)],
        };
        let text = self.text[..self.path].to_owned();
        finish(text, self.authority, base.as_bytes(), reference)
    }

    fn at_authority(https: bool, rest: &[u8]) -> Result<Self, UrlError> {
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        Self::new(https, &rest[..end], &rest[end..])
    }

    /// Whether it is written exactly as these say: scheme, host with port, path and query.
    pub fn is_of(&self, scheme: &str, authority: &str, target: &str) -> bool {
        self.scheme() == scheme
            && self.authority() == authority
            && &self.text[self.path..] == target
    }

    /// Whether every reference means the same relative to both: they differ at most in their queries.
    pub fn resolves_like(&self, other: &Self) -> bool {
        self.path == other.path && self.text[..self.query] == other.text[..other.query]
    }

    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.text.as_bytes()[4] == b's'
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        if self.is_https() { "https" } else { "http" }
    }

    /// Host in lower case, with its port unless it is the default one.
    pub fn authority(&self) -> &str {
        &self.text[self.authority..self.path]
    }

    /// Host without port.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rfind(':') {
            // A colon inside brackets belongs to an IPv6 address.
            Some(at) if !authority[at..].contains(']') => &authority[..at],
            _ => authority,
        }
    }

    /// The path, at least `/`.
    pub fn path(&self) -> &str {
        &self.text[self.path..self.query]
    }

    /// The query without its `?`, exactly as written.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query + 1..)
    }

    /// Path and query, as they stand in a request line.
    pub fn target(&self) -> &str {
        &self.text[self.path..]
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether host, path and query are the same, whatever the scheme.
    pub fn names_the_same(&self, other: &Self) -> bool {
        self.text[self.authority..] == other.text[other.authority..]
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn scheme_text(https: bool) -> String {
    let mut text = String::with_capacity(96);
    text.push_str(if https { "https://" } else { "http://" });
    text
}

/// The colon of a scheme, when the reference starts with one (RFC 3986 3.1).
fn scheme_end(reference: &[u8]) -> Option<usize> {
    let end = reference
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))?;
    (reference[end] == b':' && reference[0].is_ascii_alphabetic()).then_some(end)
}

/// Checks `host[:port]` and appends it in lower case.
fn push_authority(text: &mut String, authority: &[u8], https: bool) -> Result<(), UrlError> {
    if authority.contains(&b'@') {
        return Err(UrlError::UserInfo);
    }
    let host_end = match authority.first() {
        Some(b'[') => {
            let end = memchr::memchr(b']', authority).ok_or(UrlError::Host)?;
            let inside = &authority[1..end];
            if inside.is_empty()
                || !inside
                    .iter()
                    .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
            {
                return Err(UrlError::Host);
            }
            end + 1
        }
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_end);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 255 || (host[0] != b'[' && !host.iter().all(plain)) {
        return Err(UrlError::Host);
    }
    text.extend(host.iter().map(|b| char::from(b.to_ascii_lowercase())));
    let port = match port {
        [] | [b':'] => return Ok(()),
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return Err(UrlError::Host),
    };
    let number = port
        .iter()
        .fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match number {
        0 | 65_536.. => Err(UrlError::Host),
        80 if !https => Ok(()),
        443 if https => Ok(()),
        _ => {
            text.push(':');
            text.push_str(&number.to_string());
            Ok(())
        }
    }
}

/// Appends the path (`base`, then the reference's) without dot segments, then the query as it is written.
fn finish(mut text: String, authority: usize, base: &[u8], target: &[u8]) -> Result<Url, UrlError> {
    let path = text.len();
    let mark = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (written, query_text) = target.split_at(mark);
    let mut merged = Vec::with_capacity(base.len() + written.len() + 1);
    merged.extend_from_slice(base);
    if base.is_empty() && !written.starts_with(b"/") {
        merged.push(b'/');
    }
    merged.extend_from_slice(written);
    let mut whole = Vec::with_capacity(merged.len() + query_text.len());
    remove_dot_segments(&encode(&merged), &mut whole)?;
    let query = path + whole.len();
    whole.extend_from_slice(&encode(query_text));
    // Encoding leaves ASCII only, so nothing is lost here.
    text.push_str(&String::from_utf8_lossy(&whole));
    Ok(Url {
        text: text.into_boxed_str(),
        authority,
        path,
        query,
    })
}

/// Percent-encodes the bytes that no URL may hold: controls, space, quotes, brackets, backslash, bar, and those from 0x80.
fn encode(written: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let refused = |byte: u8| {
        !byte.is_ascii_graphic()
            || matches!(
                byte,
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
    };
    if !written.iter().any(|byte| refused(*byte)) {
        return std::borrow::Cow::Borrowed(written);
    }
    let mut encoded = Vec::with_capacity(written.len() + 16);
    for byte in written {
        if refused(*byte) {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            encoded.push(b'%');
            encoded.push(DIGITS[usize::from(byte >> 4)]);
            encoded.push(DIGITS[usize::from(byte & 15)]);
        } else {
            encoded.push(*byte);
        }
    }
    std::borrow::Cow::Owned(encoded)
}

/// Appends an absolute path without its dot segments (RFC 3986 5.2.4), `%2e` taken for a dot; nothing else is decoded.
///
/// # Errors
/// [`UrlError::EncodedSlash`] when an encoded slash or backslash stands in a segment beside dots.
pub fn remove_dot_segments(path: &[u8], out: &mut Vec<u8>) -> Result<(), UrlError> {
    let start = out.len();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Dots::One => {}
            Dots::Two => {
                let parent = out[start..]
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .unwrap_or(0);
                out.truncate(start + parent);
            }
            Dots::Other => {
                if hides_a_climb(segment) {
                    return Err(UrlError::EncodedSlash);
                }
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        // `/a/..` names the directory, so its slash stays.
        if last {
            out.push(b'/');
        }
    }
    Ok(())
}

enum Dots {
    One,
    Two,
    Other,
}

fn dots(segment: &[u8]) -> Dots {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', tail @ ..] | [b'%', b'2', b'e' | b'E', tail @ ..] => tail,
            _ => return Dots::Other,
        };
        count += 1;
    }
    match count {
        1 => Dots::One,
        2 => Dots::Two,
        _ => Dots::Other,
    }
}

/// Whether a segment would hold `.` or `..` as a segment of its own once `%2f` and `%5c` in it are decoded.
fn hides_a_climb(segment: &[u8]) -> bool {
    if !segment.contains(&b'%') {
        return false;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut slashes = false;
    let mut rest = segment;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [b'2', b'f' | b'F', more @ ..] | [b'5', b'c' | b'C', more @ ..]) => {
                decoded.push(b'/');
                slashes = true;
                rest = more;
            }
            _ => decoded.push(*first),
        }
    }
    slashes
        && decoded
            .split(|byte| *byte == b'/')
            .any(|part| !matches!(dots(part), Dots::Other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(reference: &str) -> Result<String, UrlError> {
        let base = Url::new(false, b"www.example.com", b"/a/b/page?x=/not/a/dir").expect("a URL");
        base.join(reference.as_bytes())
            .map(|url| url.as_str().to_owned())
    }

    #[test]
    fn references_resolve_by_rfc_3986() {
        let rows = [
            ("menu.html", "http://www.example.com/a/b/menu.html"),
            ("/abs", "http://www.example.com/abs"),
            ("../nav/top", "http://www.example.com/a/nav/top"),
            ("./x", "http://www.example.com/a/b/x"),
            ("..", "http://www.example.com/a/"),
            (".", "http://www.example.com/a/b/"),
            ("../../../../x", "http://www.example.com/x"),
            ("/x/%2e%2E/y", "http://www.example.com/y"),
            ("/x/.%2e/y/%2e/z", "http://www.example.com/y/z"),
            ("/x/...", "http://www.example.com/x/..."),
            ("?q=1&r=../a", "http://www.example.com/a/b/page?q=1&r=../a"),
            ("x#frag?no", "http://www.example.com/a/b/x"),
            (" \n/x\t ", "http://www.example.com/x"),
            ("//Static.Example.com/box", "http://static.example.com/box"),
            ("https://h:443/x", "https://h/x"),
            ("http://h:80", "http://h/"),
            ("http://h:8080?x", "http://h:8080/?x"),
            ("HTTP://h/", "http://h/"),
            ("http://[::1]:81/x", "http://[::1]:81/x"),
            ("/a b\r\nX: y", "http://www.example.com/a%20b%0D%0AX:%20y"),
            ("/ü<\\", "http://www.example.com/%C3%BC%3C%5C"),
            (
                "/x?_hash=a%2fb&_path=%2F..",
                "http://www.example.com/x?_hash=a%2fb&_path=%2F..",
            ),
            ("/a//b/", "http://www.example.com/a//b/"),
            ("a:b", "scheme"),
            ("./a:b", "http://www.example.com/a/b/a:b"),
        ];
        for (reference, wanted) in rows {
            match joined(reference) {
                Ok(url) => assert_eq!(url, wanted, "{reference}"),
                Err(UrlError::Scheme) => assert_eq!(wanted, "scheme", "{reference}"),
                Err(error) => panic!("{reference}: {error}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let rows = [
            ("", UrlError::Empty),
            (" \t", UrlError::Empty),
            ("#top", UrlError::Empty),
            ("ftp://h/x", UrlError::Scheme),
            ("javascript:alert(1)", UrlError::Scheme),
            ("file:///etc/passwd", UrlError::Scheme),
            ("http://user@h/x", UrlError::UserInfo),
            ("//a:b@h/x", UrlError::UserInfo),
            ("http:/x", UrlError::Host),
            ("http:///x", UrlError::Host),
            ("http://h:0/", UrlError::Host),
            ("http://h:99999/", UrlError::Host),
            ("http://h\\@evil/x", UrlError::UserInfo),
            ("http://h h/x", UrlError::Host),
            ("http://[::1/x", UrlError::Host),
            ("/a/..%2fb", UrlError::EncodedSlash),
            ("/a/%2e%2e%5Cb", UrlError::EncodedSlash),
            ("\\..\\x", UrlError::EncodedSlash),
        ];
        for (reference, wanted) in rows {
            assert_eq!(joined(reference), Err(wanted), "{reference}");
        }
    }

    #[test]
    fn parts_are_found_again() {
        let url = Url::new(true, b"H.example:8443", b"/p/q?a=b?c").expect("a URL");
        assert_eq!(
            (
                url.scheme(),
                url.authority(),
                url.host(),
                url.path(),
                url.query(),
                url.target()
            ),
            (
                "https",
                "h.example:8443",
                "h.example",
                "/p/q",
                Some("a=b?c"),
                "/p/q?a=b?c"
            )
        );
        let plain = Url::new(false, b"h", b"").expect("a URL");
        assert_eq!(
            (plain.path(), plain.query(), plain.target()),
            ("/", None, "/")
        );
    }
}
