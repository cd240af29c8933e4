//! The directives of SSI that need no fragment: variables, conditions, messages (language reference, section 10).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::compose::evaluate::{Frame, FrameKind, Thread};
use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::expr::escape::{append_html, append_json, append_url_component};
use crate::expr::functions::strftime;
use crate::template::condition::{Comparison, Condition, Pattern};
use crate::template::ssi_text::{SsiPiece, SsiText};
use crate::template::tree::{Config, Echo, Encoding, If, Set};

impl<S: FragmentSource> Page<S> {
    /// Emits the error message, escaped where it stands in a string of a JSON document.
    pub(super) fn ssi_message(&mut self, thread: &Thread, in_string: bool) {
        let mut message = self.documents[thread.document].ssi.message.clone();
        if in_string {
            let mut out = Vec::with_capacity(message.len());
            append_json(&message, &mut out);
            message = out.into();
        }
        self.push_shared(thread.list, message);
    }

    /// Text with its variables replaced.
    pub(super) fn ssi_text(&self, document: usize, unit: usize, text: &SsiText) -> Bytes {
        if let Some(literal) = text.as_literal() {
            return literal;
        }
        self.ssi_join(document, unit, text, |value, out| {
            out.extend_from_slice(value);
        })
    }

    fn ssi_join(
        &self,
        document: usize,
        unit: usize,
        text: &SsiText,
        append: impl Fn(&[u8], &mut Vec<u8>),
    ) -> Bytes {
        let mut out = Vec::new();
        for piece in text.pieces() {
            match piece {
                SsiPiece::Literal(bytes) => out.extend_from_slice(bytes),
                SsiPiece::Variable(name) => {
                    if let Some(value) = self.ssi_variable(document, unit, name) {
                        append(&value, &mut out);
                    }
                }
            }
        }
        out.into()
    }

    /// A variable: set, a group of the last match, or of the request; names are case-insensitive.
    fn ssi_variable(&self, document: usize, unit: usize, name: &[u8]) -> Option<Bytes> {
        let name = name.to_ascii_lowercase();
        let ssi = &self.documents[document].ssi;
        let assigned = ssi
            .variables
            .get(&name[..])
            .or_else(|| ssi.groups.get(&name[..]));
        if let Some(value) = assigned {
            return Some(value.clone());
        }
        self.ssi_document_variable(document, unit, &name)
            .or_else(|| self.ssi_request_variable(&name))
    }

    /// What describes the document that holds the tag, or the moment.
    fn ssi_document_variable(&self, document: usize, unit: usize, name: &[u8]) -> Option<Bytes> {
        let url = self.url(unit);
        let text = match name {
            b"uri" | b"document_uri" => url.path(),
            b"args" | b"query_string" => url.query()?,
            b"scheme" => url.scheme(),
            b"date_local" | b"date_gmt" => {
                let format = &self.documents[document].ssi.time_format;
                return strftime(self.now(), format).map(Bytes::from);
            }
            _ => {
                let wanted = name.strip_prefix(b"arg_")?;
                return argument(url.query()?.as_bytes(), wanted).map(Bytes::copy_from_slice);
            }
        };
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    /// What describes the client's request.
    fn ssi_request_variable(&self, name: &[u8]) -> Option<Bytes> {
        let request = self.request_facts();
        let value = match name {
            b"host" | b"server_name" => without_port(&request.host),
            b"request_method" => request.method.clone(),
            b"request_uri" if request.query.is_empty() => request.path.clone(),
            b"request_uri" => [&request.path[..], b"?", &request.query].concat().into(),
            b"remote_addr" => request.remote_addr.clone(),
            b"http_cookie" | b"http_authorization" | b"http_proxy_authorization" => Bytes::new(),
            b"http_host" => request.host.clone(),
            _ => {
                if let Some(cookie) = name.strip_prefix(b"cookie_") {
                    let known = request.cookies.iter();
                    return known
                        .clone()
                        .find(|(known, _)| known.eq_ignore_ascii_case(cookie))
                        .map(|(_, value)| value.clone());
                }
                let header = name.strip_prefix(b"http_")?;
                let same = |known: &[u8]| {
                    known.len() == header.len()
                        && known.iter().zip(header).all(|(known, wanted)| {
                            known.eq_ignore_ascii_case(wanted)
                                || (*known == b'-' && *wanted == b'_')
                        })
                };
                return request
                    .headers
                    .iter()
                    .find(|(known, _)| same(known))
                    .map(|(_, value)| value.clone());
            }
        };
        Some(value)
    }

    pub(super) fn ssi_echo(&mut self, thread: &Thread, unit: usize, echo: &Echo) {
        let name = self.ssi_text(thread.document, unit, &echo.variable);
        let value = match (
            self.ssi_variable(thread.document, unit, &name),
            &echo.default,
        ) {
            (Some(value), _) => value,
            (None, Some(default)) => self.ssi_text(thread.document, unit, default),
            (None, None) => Bytes::from_static(b"(none)"),
        };
        let mut out = Vec::with_capacity(value.len());
        match echo.encoding {
            Encoding::Entity => append_html(&value, &mut out),
            Encoding::Url => append_url_component(&value, &mut out),
            Encoding::None => out.extend_from_slice(&value),
        }
        if echo.in_string {
            let plain = std::mem::take(&mut out);
            append_json(&plain, &mut out);
        }
        self.count(out.len());
        self.lists[thread.list].push_value(|values| values.extend_from_slice(&out));
    }

    pub(super) fn ssi_set(&mut self, thread: &Thread, unit: usize, set: &Set) {
        let value = self.ssi_text(thread.document, unit, &set.value);
        self.ssi_assign(thread.document, unit, set.offset, &set.variable, value);
    }

    pub(super) fn ssi_assign(
        &mut self,
        document: usize,
        unit: usize,
        offset: usize,
        name: &Bytes,
        value: Bytes,
    ) {
        let limit = self.rules.expressions.value_bytes;
        if !self.documents[document].ssi.set(name, value, limit) {
            self.template_error(
                unit,
                offset,
                &format_args!("variables larger than {limit} bytes"),
            );
        }
    }

    pub(super) fn ssi_config(&mut self, thread: &Thread, unit: usize, config: &Config) {
        if let Some(message) = &config.message {
            // The message is emitted as it is, so what comes from the request is escaped here.
            let escape = self.documents[thread.document].escape;
            let message = self.ssi_join(thread.document, unit, message, |value, out| {
                escape.append(value, out);
            });
            if !self.rules.config.ssi_silent_errors {
                self.documents[thread.document].ssi.message = message;
            }
        }
        if let Some(format) = &config.time_format {
            let format = self.ssi_text(thread.document, unit, format);
            self.documents[thread.document].ssi.time_format = format;
        }
    }

    pub(super) fn ssi_if(&mut self, thread: &mut Thread, unit: usize, condition: &If) {
        let mut chosen = condition.otherwise;
        for branch in &condition.branches {
            let Some(condition) = &branch.condition else {
                self.ssi_message(thread, condition.in_string);
                continue;
            };
            if self.ssi_test(thread.document, unit, condition) {
                chosen = Some(branch.body);
                break;
            }
        }
        if let Some(body) = chosen {
            thread.frames.push(Frame::new(unit, body, FrameKind::Body));
        }
    }

    /// Conditions nest no deeper than expressions may.
    fn ssi_test(&mut self, document: usize, unit: usize, condition: &Condition) -> bool {
        match condition {
            Condition::Text(text) => !self.ssi_text(document, unit, text).is_empty(),
            Condition::Compare(left, comparison, right) => {
                let left = self.ssi_text(document, unit, left);
                let right = self.ssi_text(document, unit, right);
                match comparison {
                    Comparison::Equal => left == right,
                    Comparison::NotEqual => left != right,
                    Comparison::Less => left < right,
                    Comparison::LessOrEqual => left <= right,
                    Comparison::Greater => left > right,
                    Comparison::GreaterOrEqual => left >= right,
                }
            }
            Condition::Matches {
                text,
                pattern,
                negated,
            } => {
                let text = self.ssi_text(document, unit, text);
                self.ssi_match(document, &text, pattern) != *negated
            }
            Condition::Not(inner) => !self.ssi_test(document, unit, inner),
            Condition::All(terms) => terms.iter().all(|term| self.ssi_test(document, unit, term)),
            Condition::Any(terms) => terms.iter().any(|term| self.ssi_test(document, unit, term)),
        }
    }

    /// Whether the text matches; the groups then become variables.
    fn ssi_match(&mut self, document: usize, text: &Bytes, pattern: &Pattern) -> bool {
        let regex = pattern.regex();
        let Some(found) = regex.captures(text) else {
            return false;
        };
        let mut groups = HashMap::new();
        for (number, name) in regex.capture_names().enumerate() {
            let Some(group) = found.get(number) else {
                continue;
            };
            let value = text.slice(group.range());
            if (1..=9).contains(&number) {
                groups.insert(Bytes::from(number.to_string()), value.clone());
            }
            if let Some(name) = name {
                groups.insert(Bytes::from(name.to_ascii_lowercase()), value);
            }
        }
        self.documents[document].ssi.groups = Arc::new(groups);
        true
    }
}

/// The first parameter of this name in a query, as it is written.
fn argument<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        pair[..equals]
            .eq_ignore_ascii_case(name)
            .then_some(&pair[equals + 1..])
    })
}

fn without_port(host: &Bytes) -> Bytes {
    match memchr::memrchr(b':', host) {
        Some(at) if !host[at..].contains(&b']') => host.slice(..at),
        _ => host.clone(),
    }
}
