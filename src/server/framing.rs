//! What is refused because two readers could read it differently (RFC 9112 3.2, 6.1, 6.3; RFC 9110 7.2).
//!
//! hyper already refuses lengths that differ or are no digits, spaces before a colon, folded lines, bare carriage returns, control
//! characters, malformed chunks and versions other than 1.0 and 1.1. What it lets through is caught here.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Version};

/// Longest name of a host (RFC 1035 2.3.4, without the final dot).
const LONGEST_NAME: usize = 253;

/// Why a request is refused; the connection is closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Host`, or more than one.
    #[error("exactly one Host is needed")]
    Hosts,
    /// The host is no plain `host[:port]`.
    #[error("the host is no plain host[:port]")]
    Host,
    /// The target's authority and `Host` differ.
    #[error("the target and Host name different hosts")]
    HostsDiffer,
    /// A transfer coding other than `chunked`, once.
    #[error("only the transfer coding chunked is understood")]
    TransferCoding,
    /// CONNECT or TRACE.
    #[error("the method is not served here")]
    Method,
    /// A target that is no path and no URL.
    #[error("the target is no path")]
    Target,
    /// More bytes of head than the listener takes.
    #[error("the head is too large")]
    Head,
    /// A longer body is announced than the listener takes.
    #[error("the body is too large")]
    Body,
}

/// Reads the host that a request is for, in lower case with its port, or says why the request is refused. It is borrowed where it
/// stands so in `Host`.
///
/// # Errors
/// The [`Refusal`], to be answered with 400 (405 for the method).
pub fn check<B>(request: &Request<B>) -> Result<Cow<'_, str>, Refusal> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    check_transfer_coding(request.headers())?;
    let known =
        |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let scheme_is_known = request.uri().scheme_str().is_none_or(known);
    if !request.uri().path().starts_with('/') || !scheme_is_known {
        return Err(Refusal::Target);
    }
    let authority = request.uri().authority().map(plain_host);
    let authority = authority.transpose()?.map(Cow::Owned);
    let mut lines = request.headers().get_all(HOST).iter();
    let host = match (lines.next(), lines.next()) {
        (Some(line), None) => Some(match as_most_send_it(line) {
            Some(host) => Cow::Borrowed(host),
            None => Cow::Owned(plain_host(&parse_authority(line)?)?),
        }),
        // HTTP/2 says it in `:authority` alone.
        (None, None) if request.version() == Version::HTTP_2 => None,
        _ => return Err(Refusal::Hosts),
    };
    match (authority, host) {
        (Some(authority), Some(host)) if authority != host => Err(Refusal::HostsDiffer),
        (_, Some(host)) | (Some(host), None) => Ok(host),
        (None, None) => Err(Refusal::Hosts),
    }
}

/// Whether the connection must close after the answer: hyper drops a length that stands beside a transfer coding without saying
/// so, and the next bytes could then be a request that somebody smuggled in (RFC 9112 6.3, rule 3).
pub fn closes<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(TRANSFER_ENCODING)
}

fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if headers.contains_key(CONTENT_LENGTH) {
                Err(Refusal::TransferCoding)
            } else {
                Ok(())
            }
        }
        _ => Err(Refusal::TransferCoding),
    }
}

/// A name in lower case, or an IPv4 address, and perhaps a port: what [`plain_host`] would give as it is.
fn as_most_send_it(line: &HeaderValue) -> Option<&str> {
    let line = line.to_str().ok()?;
    let (name, port) = match line.bytes().position(|byte| byte == b':') {
        Some(colon) => (&line[..colon], Some(&line[colon + 1..])),
        None => (line, None),
    };
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    let fits = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && port.is_none_or(is_port);
    fits.then_some(line)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn parse_authority(line: &HeaderValue) -> Result<Authority, Refusal> {
    Authority::try_from(line.as_bytes()).map_err(|_| Refusal::Host)
}

/// `host[:port]` in lower case: a name, an IPv4 address or an IPv6 address in brackets; no user, no empty port.
fn plain_host(authority: &Authority) -> Result<String, Refusal> {
    let text = authority.as_str();
    let host = authority.host();
    let rest = text.strip_prefix(host).ok_or(Refusal::Host)?;
    let port_is_plain = match rest.strip_prefix(':') {
        None => rest.is_empty(),
        Some(port) => is_port(port),
    };
    let name_is_plain = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.len() <= LONGEST_NAME
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    if port_is_plain && name_is_plain {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Refusal::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, lines: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(target);
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a row is a request")
    }

    #[test]
    fn a_request_has_one_plain_host() {
        for (target, hosts, wanted) in [
            ("/", vec!["Example.COM"], Ok("example.com")),
            ("/", vec!["example.com:8080"], Ok("example.com:8080")),
            ("/", vec!["[::1]:80"], Ok("[::1]:80")),
            ("/", vec!["127.0.0.1"], Ok("127.0.0.1")),
            ("/", vec![], Err(Refusal::Hosts)),
            ("/", vec!["a", "a"], Err(Refusal::Hosts)),
            ("/", vec!["user@a"], Err(Refusal::Host)),
            ("/", vec!["a:"], Err(Refusal::Host)),
            ("/", vec!["a:+1"], Err(Refusal::Host)),
            ("/", vec!["a:99999"], Err(Refusal::Host)),
            ("/", vec!["a b"], Err(Refusal::Host)),
            ("/", vec!["a/b"], Err(Refusal::Host)),
            ("/", vec![""], Err(Refusal::Host)),
            ("/", vec!["a,b"], Err(Refusal::Host)),
            ("/", vec!["[::1"], Err(Refusal::Host)),
            ("http://a/", vec!["A"], Ok("a")),
            ("http://a/", vec!["b"], Err(Refusal::HostsDiffer)),
            ("ftp://a/", vec!["a"], Err(Refusal::Target)),
        ] {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                check(&request(target, &lines)).as_deref(),
                wanted.as_deref(),
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn only_chunked_once_is_a_transfer_coding() {
        for (codings, fine) in [
            (vec!["chunked"], true),
            (vec!["Chunked"], true),
            (vec!["gzip, chunked"], false),
            (vec!["chunked", "chunked"], false),
            (vec!["identity"], false),
            (vec!["xchunked"], false),
            (vec!["chunked,"], false),
        ] {
            let mut lines = vec![("host", "a")];
            lines.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            assert_eq!(check(&request("/", &lines)).is_ok(), fine, "{codings:?}");
        }
    }
}
