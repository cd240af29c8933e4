//! What a browser sends: fields of forms and queries, where to go back to, whether a POST comes from the shop's own pages.

use http::HeaderMap;
use http::header::{HOST, ORIGIN, REFERER};

/// The fields of a form or a query (`application/x-www-form-urlencoded`), decoded, in the order sent.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the fields; what is no field is left out, bytes that are no UTF-8 become replacement characters.
    pub fn read(bytes: &[u8]) -> Self {
        Self(
            bytes
                .split(|byte| *byte == b'&')
                .filter_map(|pair| {
                    let at = pair.iter().position(|byte| *byte == b'=')?;
                    Some((decoded(&pair[..at]), decoded(&pair[at + 1..])))
                })
                .collect(),
        )
    }

    /// The first field of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first field of that name, if it is a number.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.text(name)?.parse().ok()
    }

    /// The first field of that name as a line a person wrote: no control characters, white space squeezed, at most so many letters;
    /// `None` when nothing is left.
    pub fn line(&self, name: &str, letters: usize) -> Option<String> {
        let clean: String = self
            .text(name)?
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        let squeezed = clean.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut: String = squeezed.chars().take(letters).collect();
        let cut = cut.trim_end();
        (!cut.is_empty()).then(|| cut.to_owned())
    }
}

fn decoded(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match hex_pair(tail) {
                Some(value) => {
                    out.push(value);
                    rest = tail.get(2..).unwrap_or_default();
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// A path of this shop, safe to stand in `Location`: it starts with one slash, so it can lead to no other host.
pub fn local_path(text: &str) -> Option<&str> {
    let plain = text.len() <= 200 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    (plain && text.starts_with('/') && !text.starts_with("//")).then_some(text)
}

/// Where the reader came from, if from this shop.
pub fn referring_path(headers: &HeaderMap) -> Option<&str> {
    let referer = headers.get(REFERER)?.to_str().ok()?;
    let host = headers.get(HOST)?.to_str().ok()?;
    let (_, rest) = referer.split_once("://")?;
    // `get` keeps a host of other letters from being cut in the middle of one.
    let (authority, path) = (rest.get(..host.len())?, rest.get(host.len()..)?);
    authority
        .eq_ignore_ascii_case(host)
        .then_some(path)
        .and_then(local_path)
}

/// Whether a POST comes from a page of this shop (or from no browser at all). The cookie is `SameSite=Lax` already; this
/// holds against sites that share the registrable domain, too.
pub fn from_own_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match headers
        .get(ORIGIN)
        .map(|origin| origin.to_str().unwrap_or_default())
    {
        Some(origin) => origin
            .split_once("://")
            .zip(text(HOST.as_str()))
            .is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host)),
        None => matches!(text("sec-fetch-site"), None | Some("same-origin" | "none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).expect("a row's value"),
                )
            })
            .collect()
    }

    #[test]
    fn fields_are_decoded_and_lines_are_cleaned() {
        let form = Form::read(b"name=Ada+%4covelace%0d%0aX&n=7&broken&odd=%zz%4&bad=%ff");
        assert_eq!(form.line("name", 40).as_deref(), Some("Ada Lovelace X"));
        assert_eq!(form.line("name", 4).as_deref(), Some("Ada"));
        assert_eq!(form.number("n"), Some(7));
        assert_eq!(form.text("odd"), Some("%zz%4"));
        assert_eq!(form.text("bad"), Some("\u{fffd}"));
        assert_eq!(form.text("broken"), None);
        assert_eq!(Form::read(b"name=+%00+").line("name", 9), None);
    }

    #[test]
    fn the_way_back_leads_to_this_shop_alone() {
        for (text, wanted) in [
            ("/", true),
            ("/books/1-a?x=1#y", true),
            ("", false),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("https://evil.example/", false),
            ("/a\r\nSet-Cookie: b", false),
            ("/a b", false),
            ("/\u{e9}", false),
        ] {
            assert_eq!(local_path(text).is_some(), wanted, "{text:?}");
        }
        let shop = |referer| {
            let headers = headers(&[("host", "127.0.0.1:8080"), ("referer", referer)]);
            referring_path(&headers).map(str::to_owned)
        };
        assert_eq!(shop("http://127.0.0.1:8080/ssi").as_deref(), Some("/ssi"));
        assert_eq!(shop("http://127.0.0.1:80801/ssi"), None);
        assert_eq!(shop("http://evil.example/ssi"), None);
        assert_eq!(shop("http://127.0.0.1:8080"), None);
    }

    #[test]
    fn a_post_from_elsewhere_is_seen() {
        for (rows, wanted) in [
            (&[("host", "shop:1")][..], true),
            (&[("host", "shop:1"), ("origin", "http://Shop:1")], true),
            (&[("host", "shop:1"), ("origin", "http://shop:2")], false),
            (&[("host", "shop:1"), ("origin", "null")], false),
            (&[("origin", "http://shop:1")], false),
            (
                &[("host", "shop:1"), ("sec-fetch-site", "same-origin")],
                true,
            ),
            (
                &[("host", "shop:1"), ("sec-fetch-site", "same-site")],
                false,
            ),
            (
                &[("host", "shop:1"), ("sec-fetch-site", "cross-site")],
                false,
            ),
        ] {
            assert_eq!(from_own_page(&headers(rows)), wanted, "{rows:?}");
        }
    }
}
