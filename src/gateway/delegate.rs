//! Whether a document is composed here, or handed with its tags to a surrogate in front that composes it (Edge Architecture, 3
//! and 4): where the route has `delegate = true`, a trusted proxy asks, and it announces what the document declares. What is stored
//! is the same for both; where the origin writes another form for each, its `Vary: Surrogate-Capability` keeps them apart. Towards
//! those behind us both forms vary by it.

use http::{HeaderMap, HeaderValue};

use crate::config::{Dialects, RouteConfig};
use crate::gateway::visit::Visit;
use crate::message::cache_control::{Directive, directives};
use crate::message::headers::{self, SURROGATE_CAPABILITY, SURROGATE_CONTROL};

/// `Surrogate-Control` for the surrogate that asks, when it is to compose this document; `None`: the gateway composes it.
pub fn delegated(visit: &Visit, route: &RouteConfig, document: &HeaderMap) -> Option<HeaderValue> {
    if !route.delegate || !visit.is_surrogate() {
        return None;
    }
    let needed = needed(document, route.dialects)?;
    let announced = announced(&visit.client_headers);
    let can = (announced.esi || !needed.esi) && (announced.ssi || !needed.ssi);
    can.then(|| control(document, needed)).flatten()
}

/// Says that the answer is another one for those who compose.
pub fn vary(fields: &mut HeaderMap) {
    headers::vary_by(fields, &SURROGATE_CAPABILITY);
}

/// The dialects that whoever composes a document must know: those that it declares, else those of its route. `None`: it declares
/// them to us by name, so nobody else is meant.
fn needed(document: &HeaderMap, of_route: Dialects) -> Option<Dialects> {
    let mut needed = Dialects {
        esi: false,
        ssi: false,
    };
    for content in each(document).filter(|it| it.name.eq_ignore_ascii_case(b"content")) {
        if content.target.is_some_and(headers::is_our_target) {
            return None;
        }
        if content.target.is_none() {
            add(&mut needed, content.value.unwrap_or_default());
        }
    }
    if !needed.esi && !needed.ssi && headers::declares_composition(document) {
        // By a field that knows of ESI alone.
        needed.esi = true;
    }
    let declared = needed.esi || needed.ssi;
    Some(if declared { needed } else { of_route })
}

/// What surrogates in front can do.
fn announced(client: &HeaderMap) -> Dialects {
    let mut can = Dialects {
        esi: false,
        ssi: false,
    };
    for line in client.get_all(SURROGATE_CAPABILITY) {
        for member in directives(line.as_bytes()) {
            add(&mut can, member.value.unwrap_or_default());
        }
    }
    can
}

fn add(dialects: &mut Dialects, tokens: &[u8]) {
    for token in tokens.split(u8::is_ascii_whitespace) {
        dialects.esi |= token == b"ESI/1.0";
        dialects.ssi |= token == b"SSI/1.0";
    }
}

/// What the document says to surrogates, less what it says to us by name; and that it is to be composed, where it says so in
/// another way.
fn control(document: &HeaderMap, needed: Dialects) -> Option<HeaderValue> {
    let mut said: Vec<Vec<u8>> = each(document)
        .filter(|directive| !directive.target.is_some_and(headers::is_our_target))
        .map(written)
        .collect();
    let says_content = each(document).any(|it| it.name.eq_ignore_ascii_case(b"content"));
    if !says_content {
        let tokens = match (needed.esi, needed.ssi) {
            (true, true) => "content=\"ESI/1.0 SSI/1.0\"",
            (false, true) => "content=\"SSI/1.0\"",
            _ => "content=\"ESI/1.0\"",
        };
        said.push(tokens.into());
    }
    HeaderValue::from_bytes(&said.join(&b", "[..])).ok()
}

fn each(document: &HeaderMap) -> impl Iterator<Item = Directive<'_>> {
    let lines = document.get_all(SURROGATE_CONTROL).iter();
    lines.flat_map(|line| directives(line.as_bytes()))
}

fn written(directive: Directive<'_>) -> Vec<u8> {
    let mut written = directive.name.to_vec();
    if let Some(value) = directive.value {
        let quote = if directive.quoted { &b"\""[..] } else { b"" };
        written.push(b'=');
        written.extend([quote, value, quote].concat());
    }
    if let Some(target) = directive.target {
        written.push(b';');
        written.extend_from_slice(target);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::header::VARY;

    const BOTH: Dialects = Dialects {
        esi: true,
        ssi: true,
    };

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
    fn a_document_needs_what_it_declares() {
        let control = |value| map(&[("surrogate-control", value)]);
        for (document, wanted) in [
            (control("content=\"ESI/1.0\""), Some((true, false))),
            (
                control("max-age=9, content=\"x SSI/1.0\""),
                Some((false, true)),
            ),
            (control("content=\"ESI/1.0 SSI/1.0\""), Some((true, true))),
            (control("content=\"ESI/1.0\";marquetry"), None),
            (map(&[("x-esi", "1")]), Some((true, false))),
            (map(&[("edge-control", "dca=esi")]), Some((true, false))),
            (control("content=\"ESI/1.0\";other"), Some((true, true))),
            (map(&[]), Some((true, true))),
        ] {
            let needed = needed(&document, BOTH).map(|it| (it.esi, it.ssi));
            assert_eq!(needed, wanted, "{document:?}");
        }
    }

    #[test]
    fn surrogates_announce_what_they_can() {
        for (line, wanted) in [
            ("front=\"Surrogate/1.0 ESI/1.0\"", (true, false)),
            ("a=\"Surrogate/1.0\", b=\"SSI/1.0 ESI/1.0\"", (true, true)),
            ("a=\"Surrogate/1.0\"", (false, false)),
            ("a=\"ESI/1.00 ESI/1\"", (false, false)),
            ("ESI/1.0", (false, false)),
        ] {
            let can = announced(&map(&[("surrogate-capability", line)]));
            assert_eq!((can.esi, can.ssi), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_said_to_us_by_name_stays_here() {
        let esi = Dialects {
            esi: true,
            ssi: false,
        };
        for (line, wanted) in [
            (
                "max-age=60+9, content=\"ESI/1.0\", max-age=5;marquetry",
                "max-age=60+9, content=\"ESI/1.0\"",
            ),
            (
                "no-store;front, content=\"ESI/1.0\"",
                "no-store;front, content=\"ESI/1.0\"",
            ),
            ("max-age=60", "max-age=60, content=\"ESI/1.0\""),
        ] {
            let control = control(&map(&[("surrogate-control", line)]), esi);
            assert_eq!(control.expect("it is a value"), wanted);
        }
        let control = control(&map(&[("x-esi", "1")]), esi);
        assert_eq!(control.expect("it is a value"), "content=\"ESI/1.0\"");
    }

    #[test]
    fn both_forms_vary_by_the_capability() {
        for (line, wanted) in [
            (None, vec!["surrogate-capability"]),
            (Some("Accept"), vec!["Accept", "surrogate-capability"]),
            (
                Some("accept, Surrogate-Capability"),
                vec!["accept, Surrogate-Capability"],
            ),
            (Some("*"), vec!["*"]),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(line.map(|line| (VARY, HeaderValue::from_static(line))));
            vary(&mut headers);
            assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), wanted);
        }
    }
}
