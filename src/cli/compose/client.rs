//! The client whose request a page is composed for, as the command line describes it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::compose::request_scope::{ReadableCookies, facts};
use crate::compose::source::{FragmentMethod, FragmentRequest, HeaderEdit};
use crate::compose::url::Url;
use crate::expr::RequestFacts;
use crate::expr::escape::append_url_component;
use crate::message::headers;

/// Where pages are without `--url`.
const HERE: &[u8] = b"localhost";

/// A client's request.
#[derive(Debug)]
pub struct Client {
    /// What it asks for.
    pub url: Arc<Url>,
    method: Method,
    target: Uri,
    headers: HeaderMap,
}

/// One `--header`.
#[derive(Debug, Clone)]
pub struct Field(HeaderName, HeaderValue);

impl FromStr for Field {
    type Err = &'static str;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a header is written 'Name: value'";
        let (name, value) = line.split_once(':').ok_or(FORM)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| FORM)?;
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| FORM)?;
        if name == HOST {
            return Err("the host is that of --url");
        }
        Ok(Self(name, value))
    }
}

/// One `--cookie`.
#[derive(Debug, Clone)]
pub struct Cookie(String);

impl FromStr for Cookie {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = text
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty());
        let fits = HeaderValue::from_str(text).is_ok() && !text.contains(';');
        if named && fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("a cookie is written 'name=value'; each has a --cookie of its own")
        }
    }
}

impl Client {
    /// A client who asks for `url`, or for the page by its name.
    pub fn new(
        url: Option<&str>,
        page: &str,
        method: Method,
        fields: &[Field],
        cookies: &[Cookie],
    ) -> Result<Self, String> {
        let url = url_of(url, page)?;
        let target = url
            .target()
            .parse()
            .map_err(|_| format!("{url} cannot be asked for"))?;
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(url.authority());
        headers.insert(HOST, host.map_err(|_| format!("{url} has no usable host"))?);
        for Field(name, value) in fields {
            headers.append(name.clone(), value.clone());
        }
        if !cookies.is_empty() {
            let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.0.as_str()).collect();
            let line = HeaderValue::from_str(&pairs.join("; "));
            headers.append(COOKIE, line.map_err(|_| "the cookies fit into no header")?);
        }
        Ok(Self {
            url: Arc::new(url),
            method,
            target,
            headers,
        })
    }

    /// What expressions may know of it: everything but credentials, and all cookies.
    pub fn facts(&self) -> RequestFacts {
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let all = ReadableCookies::new(None, &[]);
        facts(&self.method, &self.target, &self.headers, client, &all)
    }

    /// The fields of a fragment's request, as a gateway without further settings would send them: cookies and credentials go
    /// to the page's own host only.
    pub fn fragment_fields(&self, request: &FragmentRequest) -> HeaderMap {
        let mut fields = self.headers.clone();
        headers::remove_hop_by_hop(&mut fields);
        headers::remove_content_fields(&mut fields);
        headers::remove_conditionals(&mut fields);
        if request.url.authority() != self.url.authority() {
            fields.remove(COOKIE);
            fields.remove(AUTHORIZATION);
        }
        // The authority of a URL is made of characters that a field may hold.
        if let Ok(host) = HeaderValue::from_str(request.url.authority()) {
            fields.insert(HOST, host);
        }
        fields.insert(
            "surrogate-capability",
            HeaderValue::from_static("marquetry=\"Surrogate/1.0 ESI/1.0 SSI/1.0\""),
        );
        if request.method == FragmentMethod::Post {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            fields.insert(CONTENT_TYPE, form);
        }
        // Which fields an include may not change, compose has seen to.
        for edit in &request.headers {
            match edit {
                HeaderEdit::Set(name, value) => {
                    fields.insert(name.clone(), value.clone());
                }
                HeaderEdit::Append(name, value) => {
                    fields.append(name.clone(), value.clone());
                }
                HeaderEdit::Remove(name) => {
                    fields.remove(name);
                }
            }
        }
        fields
    }
}

fn url_of(url: Option<&str>, page: &str) -> Result<Url, String> {
    let root = Url::new(false, HERE, b"/").map_err(|error| error.to_string())?;
    if let Some(url) = url {
        return root
            .join(url.as_bytes())
            .map_err(|error| format!("--url {url}: {error}"));
    }
    let name = match Path::new(page).file_name() {
        Some(name) if page != "<stdin>" => name.as_encoded_bytes(),
        _ => b"",
    };
    let mut target = b"/".to_vec();
    append_url_component(name, &mut target);
    Url::new(false, HERE, &target).map_err(|error| format!("{page} makes no URL: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_under_its_name_unless_its_url_is_told() {
        for (url, page, wanted) in [
            (None, "pages/a.html", "http://localhost/a.html"),
            (None, "a b?#.html", "http://localhost/a%20b%3F%23.html"),
            (None, "<stdin>", "http://localhost/"),
            (Some("/shop?x=1"), "a.html", "http://localhost/shop?x=1"),
            (
                Some("https://Shop.example/x"),
                "a",
                "https://shop.example/x",
            ),
        ] {
            let found = url_of(url, page).map(|url| url.to_string());
            assert_eq!(found.as_deref(), Ok(wanted), "{url:?} {page}");
        }
        assert!(url_of(Some("ftp://h/"), "a").is_err());
    }

    #[test]
    fn fields_and_cookies_are_read_or_refused() {
        assert!("X-A: b".parse::<Field>().is_ok());
        for wrong in ["X-A", "X A: b", ": b", "Host: h", "X-A: a\nb"] {
            assert!(wrong.parse::<Field>().is_err(), "{wrong}");
        }
        assert!("a=b=c".parse::<Cookie>().is_ok());
        for wrong in ["a", "=b", "a=b; c=d", "a=\n"] {
            assert!(wrong.parse::<Cookie>().is_err(), "{wrong}");
        }
    }
}
