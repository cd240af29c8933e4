//! The client's request as expressions see it: plain bytes, and the built-in variables over them.

use bytes::Bytes;

use super::seen::Seen;
use super::user_agent;
use super::value::Value;

/// What a request offers to expressions. Cookies that a page must not read are never put in.
#[derive(Debug, Clone, Default)]
pub struct RequestFacts {
    /// The method, `GET`.
    pub method: Bytes,
    /// The path, without the query.
    pub path: Bytes,
    /// The query without its `?`, as sent.
    pub query: Bytes,
    /// The host as sent.
    pub host: Bytes,
    /// The client's address.
    pub remote_addr: Bytes,
    /// Header fields in the order sent: name in lower case, value. `cookie`, `authorization` and `proxy-authorization`
    /// are never shown, even when they stand here.
    pub headers: Vec<(Bytes, Bytes)>,
    /// The readable cookies in the order sent: name, value.
    pub cookies: Vec<(Bytes, Bytes)>,
}

/// No such thing in the request.
const MISSING: Seen<'static> = Seen::Made(Value::Missing);

/// Headers that no expression may read: they are what sessions are made of.
const NEVER_READ: [&[u8]; 3] = [b"cookie", b"authorization", b"proxy-authorization"];

impl RequestFacts {
    /// The value of a built-in variable of the request, `name` being its whole name; always tainted when it is text.
    /// The two that belong to evaluation, `MATCHES` and `ARGS`, are missing here.
    pub fn see(&self, variable: BuiltIn, name: &[u8], key: Option<&[u8]>) -> Seen<'_> {
        match (variable, key) {
            (BuiltIn::Host, None) => self.host(),
            (BuiltIn::Cookie, Some(key)) => self.cookie(key),
            (BuiltIn::AcceptLanguage, None) => self.header(b"accept-language"),
            (BuiltIn::AcceptLanguage, Some(tag)) => self.language(tag),
            (BuiltIn::UserAgent, None) => self.header(b"user-agent"),
            (BuiltIn::UserAgent, Some(key)) => self.user_agent(key),
            (BuiltIn::QueryString, None) => Seen::request(&self.query),
            (BuiltIn::QueryString, Some(key)) => parameter(&self.query, key),
            (BuiltIn::Method, None) => Seen::request(&self.method),
            (BuiltIn::Path, None) => Seen::request(&self.path),
            (BuiltIn::RemoteAddr, None) => Seen::request(&self.remote_addr),
            (BuiltIn::HeaderDictionary, Some(key)) => self.header_or_host(key),
            (BuiltIn::Header, None) => self.header_or_host(name.get(5..).unwrap_or_default()),
            _ => MISSING,
        }
    }

    fn host(&self) -> Seen<'_> {
        if self.host.is_empty() {
            return MISSING;
        }
        Seen::request(&self.host)
    }

    /// One cookie by its name, or with `name;part` a part of its value written as `a=1&b=2`.
    fn cookie(&self, key: &[u8]) -> Seen<'_> {
        let (name, part) = match key.iter().position(|byte| *byte == b';') {
            Some(semicolon) => (&key[..semicolon], Some(&key[semicolon + 1..])),
            None => (key, None),
        };
        let first = self.cookies.iter().find(|(known, _)| known == name);
        match (first, part) {
            (None, _) => MISSING,
            (Some((_, value)), None) => Seen::request(value),
            (Some((_, value)), Some(part)) => parameter(value, part),
        }
    }

    fn header_or_host(&self, name: &[u8]) -> Seen<'_> {
        match self.header(name) {
            Seen::Made(Value::Missing) if name.eq_ignore_ascii_case(b"host") => self.host(),
            value => value,
        }
    }

    /// A header by its name, `_` standing for `-` and case ignored. Fields of one name are one list (RFC 9110, 5.3).
    fn header(&self, name: &[u8]) -> Seen<'_> {
        if NEVER_READ.iter().any(|never| is_header(never, name)) {
            return MISSING;
        }
        let mut fields = self
            .headers
            .iter()
            .filter(|(known, _)| is_header(known, name));
        let Some((_, first)) = fields.next() else {
            return MISSING;
        };
        let Some((_, second)) = fields.next() else {
            return Seen::request(first);
        };
        let mut joined = [&first[..], b", ", &second[..]].concat();
        for (_, next) in fields {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(next);
        }
        Seen::Made(Value::tainted_text(joined))
    }

    fn language(&self, tag: &[u8]) -> Seen<'_> {
        let header = self.header(b"accept-language").taken();
        let text = header.to_text();
        let mut listed = text.split(|byte| *byte == b',').map(|range| {
            let tag = range.split(|byte| *byte == b';').next();
            tag.unwrap_or_default().trim_ascii()
        });
        if listed.any(|known| !tag.is_empty() && known.eq_ignore_ascii_case(tag)) {
            Seen::Made(Value::Boolean(true))
        } else {
            MISSING
        }
    }

    fn user_agent(&self, key: &[u8]) -> Seen<'_> {
        let header = self.header(b"user-agent").taken();
        if header.is_empty() {
            return MISSING;
        }
        let text = header.to_text();
        Seen::Made(match key {
            b"browser" => Value::text(user_agent::browser(&text)),
            b"os" => Value::text(user_agent::system(&text)),
            b"version" => match user_agent::version(&text) {
                Some(version) => Value::tainted_text(Bytes::copy_from_slice(version)),
                None => Value::Missing,
            },
            _ => Value::Missing,
        })
    }
}

fn is_header(known: &[u8], asked: &[u8]) -> bool {
    known.len() == asked.len()
        && known.iter().zip(asked).all(|(known, asked)| {
            let asked = if *asked == b'_' { b'-' } else { *asked };
            known.eq_ignore_ascii_case(&asked)
        })
}

/// The first value of a name in `a=1&b=2`, not decoded; a name without `=` has an empty one.
fn parameter<'t>(whole: &'t Bytes, name: &[u8]) -> Seen<'t> {
    for pair in whole.split(|byte| *byte == b'&') {
        let (known, value) = match memchr::memchr(b'=', pair) {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (pair, &pair[pair.len()..]),
        };
        if known == name && !pair.is_empty() {
            let part = value;
            return Seen::Request { whole, part };
        }
    }
    MISSING
}

/// The variables that every document has, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// `HTTP_HOST`.
    Host,
    /// `HTTP_COOKIE{name}`.
    Cookie,
    /// `HTTP_ACCEPT_LANGUAGE`.
    AcceptLanguage,
    /// `HTTP_USER_AGENT`.
    UserAgent,
    /// `QUERY_STRING`.
    QueryString,
    /// `REQUEST_METHOD`.
    Method,
    /// `REQUEST_PATH`.
    Path,
    /// `REMOTE_ADDR`.
    RemoteAddr,
    /// `HTTP_HEADER{Name}`.
    HeaderDictionary,
    /// `HTTP_NAME` of any other header.
    Header,
    /// `MATCHES{n}`.
    Matches,
    /// `ARGS{n}`.
    Arguments,
}

impl BuiltIn {
    /// The built-in variable of this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"HTTP_HOST" => Self::Host,
            b"HTTP_COOKIE" => Self::Cookie,
            b"HTTP_ACCEPT_LANGUAGE" => Self::AcceptLanguage,
            b"HTTP_USER_AGENT" => Self::UserAgent,
            b"HTTP_HEADER" => Self::HeaderDictionary,
            b"QUERY_STRING" => Self::QueryString,
            b"REQUEST_METHOD" => Self::Method,
            b"REQUEST_PATH" => Self::Path,
            b"REMOTE_ADDR" => Self::RemoteAddr,
            b"MATCHES" => Self::Matches,
            b"ARGS" => Self::Arguments,
            _ if name.starts_with(b"HTTP_") => Self::Header,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RequestFacts {
        let pairs = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
                .collect()
        };
        RequestFacts {
            host: Bytes::from("www.example.com"),
            query: Bytes::from("a=1&b&a=2&=x&c=%20=y"),
            headers: pairs(&[
                ("cookie", "sid=secret"),
                ("authorization", "Basic x"),
                ("proxy-authorization", "Basic y"),
                ("x-region", "eu"),
                ("accept-language", "de-CH, en;q=0.5"),
                ("accept-language", "fr"),
            ]),
            cookies: pairs(&[("l", "u=test&t=13"), ("l", "second"), ("", "nameless")]),
            ..RequestFacts::default()
        }
    }

    #[test]
    fn what_a_request_offers() {
        let facts = facts();
        for (name, key, expected) in [
            ("HTTP_HOST", None, "www.example.com"),
            ("HTTP_HEADER", Some("host"), "www.example.com"),
            ("QUERY_STRING", Some("a"), "1"),
            ("QUERY_STRING", Some("b"), ""),
            ("QUERY_STRING", Some("c"), "%20=y"),
            ("QUERY_STRING", Some("d"), ""),
            ("HTTP_COOKIE", Some("l"), "u=test&t=13"),
            ("HTTP_COOKIE", Some("l;t"), "13"),
            ("HTTP_COOKIE", Some("l;x"), ""),
            ("HTTP_COOKIE", None, ""),
            ("HTTP_X_REGION", None, "eu"),
            ("HTTP_HEADER", Some("X-Region"), "eu"),
            ("HTTP_ACCEPT_LANGUAGE", None, "de-CH, en;q=0.5, fr"),
            ("HTTP_ACCEPT_LANGUAGE", Some("DE-ch"), "true"),
            ("HTTP_ACCEPT_LANGUAGE", Some("de"), ""),
            ("HTTP_ACCEPT_LANGUAGE", Some("fr"), "true"),
            ("HTTP_ACCEPT_LANGUAGE", Some(""), ""),
            ("HTTP_", None, ""),
        ] {
            let built_in = BuiltIn::named(name.as_bytes()).unwrap();
            let value = facts
                .see(built_in, name.as_bytes(), key.map(str::as_bytes))
                .taken();
            assert_eq!(value.to_text(), expected.as_bytes(), "{name} {key:?}");
        }
    }

    #[test]
    fn sessions_and_credentials_are_out_of_reach_however_they_are_spelled() {
        let facts = facts();
        for name in [
            "Cookie",
            "COOKIE",
            "authorization",
            "Proxy-Authorization",
            "proxy_authorization",
        ] {
            let key = Some(name.as_bytes());
            let seen = facts.see(BuiltIn::HeaderDictionary, b"HTTP_HEADER", key);
            assert_eq!(seen.taken(), Value::Missing, "{name}");
        }
        for name in [
            "HTTP_AUTHORIZATION",
            "HTTP_PROXY_AUTHORIZATION",
            "HTTP_Cookie",
            "HTTP_COOKIE",
        ] {
            let built_in = BuiltIn::named(name.as_bytes()).unwrap();
            let seen = facts.see(built_in, name.as_bytes(), None);
            assert_eq!(seen.taken(), Value::Missing, "{name}");
        }
    }
}
