//! One ESI tag -> what its element means: a function for each element that has attributes, in the order of the language reference.
//!
//! An attribute that says nothing is told and ignored; what an element cannot do without is told, and the element becomes what
//! the reference says (an include that fails, a test that is false).

use std::time::Duration;

use bytes::Bytes;

use super::attributes::AttributeList;
use super::issue::{IssueKind, Issues};
use super::memo::Memo;
use super::tree::{
    Assigned, Body, Dca, FragmentMethod, HeaderChange, HeaderRule, Include, Text, When,
};
use crate::expr::interpolate::Pieces;
use crate::expr::{self, Expr, Interpolation, Name, Target};

/// One start tag, and what is needed to read it.
pub(super) struct Reader<'a, 'l> {
    pub(super) document: &'a Bytes,
    pub(super) limits: &'l expr::Limits,
    pub(super) expressions: &'a mut expr::Reader<'l>,
    pub(super) issues: &'a mut Issues,
    /// Where the tag starts, and its length.
    pub(super) at: (usize, usize),
    pub(super) attributes: AttributeList<'l>,
}

impl<'l> Reader<'_, 'l> {
    /// Tells an issue of this tag.
    pub(super) fn tell(&mut self, kind: IssueKind) {
        self.issues.add(self.at.0, self.at.1, kind);
    }

    /// Where a value starts in the document: exactly, when it is a slice of it, else at its tag.
    fn place(&self, value: &[u8]) -> usize {
        place_in(self.document, value).unwrap_or(self.at.0)
    }

    fn required(&mut self, element: &'static str, attribute: &'static str) -> Option<&'l [u8]> {
        let value = self.attributes.get(attribute);
        if value.is_none() {
            self.tell(IssueKind::MissingAttribute { element, attribute });
        }
        value
    }

    /// An expression; none when it cannot be read.
    pub(super) fn expression(&mut self, text: &'l [u8]) -> Option<Expr> {
        let start = self.place(text);
        match self.expressions.expression(text) {
            Ok(expr) => {
                for issue in expr.issues() {
                    self.issues.add(
                        start + issue.offset,
                        1,
                        IssueKind::Suspect(issue.kind.clone()),
                    );
                }
                Some(expr)
            }
            Err(error) => {
                self.issues
                    .add(start + error.offset, 1, IssueKind::Expression(error));
                None
            }
        }
    }

    /// Text with references in it.
    pub(super) fn text(&mut self, text: &'l [u8]) -> Text {
        if memchr::memchr(b'$', text).is_none() {
            return Text::Constant(shared(self.document, text));
        }
        let interpolation =
            Interpolation::read(text, &shared(self.document, text), self.expressions);
        if let Some(constant) = interpolation.as_literal() {
            return Text::Constant(constant);
        }
        let start = self.place(text);
        for issue in interpolation.issues() {
            self.issues
                .add(start + issue.offset, 1, IssueKind::Suspect(issue.kind));
        }
        Text::Esi(interpolation)
    }

    fn optional_text(&mut self, attribute: &str) -> Option<Text> {
        let value = self.attributes.get(attribute)?;
        Some(self.text(value))
    }

    /// `include`, and `eval`, which knows no `alt`.
    pub(super) fn include(&mut self, element: &'static str, in_string: bool) -> Include {
        let src = self.required(element, "src");
        Include {
            offset: self.at.0,
            src: src.map(|src| self.text(src)),
            alt: if element == "esi:include" {
                self.optional_text("alt")
            } else {
                None
            },
            on_error_continue: self.choice("onerror", &[("continue", true)], "continue"),
            max_wait: self.max_wait(),
            method: self.choice(
                "method",
                &[("GET", FragmentMethod::Get), ("POST", FragmentMethod::Post)],
                "GET or POST",
            ),
            entity: self.optional_text("entity"),
            headers: self.header_rules(),
            ttl: self.ttl(),
            no_store: self.choice("no-store", &[("on", true), ("off", false)], "on or off"),
            dca: self.choice(
                "dca",
                &[("esi", Dca::Esi), ("none", Dca::None)],
                "esi or none",
            ),
            in_string,
            ssi: None,
            memo: Memo::default(),
            resolved: Memo::default(),
        }
    }

    /// An attribute with few values, whatever their case; the default when it is not there or has another.
    fn choice<T: Copy + Default>(
        &mut self,
        attribute: &'static str,
        values: &[(&str, T)],
        accepted: &'static str,
    ) -> T {
        let Some(written) = self.attributes.get(attribute) else {
            return T::default();
        };
        let known = values
            .iter()
            .find(|(name, _)| written.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        if let Some((_, value)) = known {
            return *value;
        }
        self.tell(IssueKind::BadValue {
            attribute,
            accepted,
        });
        T::default()
    }

    fn max_wait(&mut self) -> Option<Duration> {
        let written = self.attributes.get("maxwait")?;
        let milliseconds = number(written.trim_ascii());
        if milliseconds.is_none() {
            self.tell(IssueKind::BadValue {
                attribute: "maxwait",
                accepted: "milliseconds",
            });
        }
        milliseconds.map(Duration::from_millis)
    }

    fn ttl(&mut self) -> Option<Duration> {
        let written = self.attributes.get("ttl")?.trim_ascii();
        let (digits, seconds) = match written {
            [digits @ .., b'm'] => (digits, 60),
            [digits @ .., b'h'] => (digits, 3600),
            [digits @ .., b'd'] => (digits, 86_400),
            digits => (digits.strip_suffix(b"s").unwrap_or(digits), 1),
        };
        let ttl = number(digits).map(|count| Duration::from_secs(count.saturating_mul(seconds)));
        if ttl.is_none() {
            self.tell(IssueKind::BadValue {
                attribute: "ttl",
                accepted: "90, 90s, 5m, 1h or 2d",
            });
        }
        ttl
    }

    fn header_rules(&mut self) -> Vec<HeaderRule> {
        let changes = [
            ("setheader", HeaderChange::Set),
            ("appendheader", HeaderChange::Append),
            ("removeheader", HeaderChange::Remove),
        ];
        changes
            .into_iter()
            .filter_map(|(attribute, change)| {
                let text = self.optional_text(attribute)?;
                Some(HeaderRule { change, text })
            })
            .collect()
    }

    /// `inline`: its URL.
    pub(super) fn inline_name(&mut self) -> Option<Bytes> {
        let name = self.required("esi:inline", "name")?;
        Some(shared(self.document, name))
    }

    /// `when`: its test and the name for captures.
    pub(super) fn when(&mut self) -> When {
        let body = Body::default();
        let Some(test) = self.required("esi:when", "test") else {
            return When {
                offset: self.at.0,
                test: None,
                captures: None,
                body,
            };
        };
        let captures = self.attributes.get("matchname").and_then(|name| {
            let name = Name::parse(name).filter(|name| !name.is_built_in());
            if name.is_none() {
                self.tell(IssueKind::BadValue {
                    attribute: "matchname",
                    accepted: "the name of a variable",
                });
            }
            name
        });
        When {
            offset: self.place(test),
            test: self.expression(test),
            captures,
            body,
        }
    }

    /// `assign`: its target and value; no value when it stands in the attribute and cannot be read.
    pub(super) fn assign(&mut self) -> Option<(Target, Option<Assigned>)> {
        let name = self.required("esi:assign", "name")?;
        let target = match Target::parse(name, self.limits) {
            Ok(target) => target,
            Err(error) => {
                self.tell(IssueKind::Name(error));
                return None;
            }
        };
        let value = match self.attributes.get("value") {
            None => Some(Assigned::Content(Body::default())),
            Some([]) => Some(Assigned::Empty),
            Some(value) => self.expression(value).map(Assigned::Expression),
        };
        Some((target, value))
    }

    /// `foreach`: what it runs over, and its variable.
    pub(super) fn foreach(&mut self) -> Option<(Expr, Name)> {
        let collection = self.required("esi:foreach", "collection")?;
        let item = self.attributes.get("item").unwrap_or(b"item");
        let Some(item) = Name::parse(item).filter(|name| !name.is_built_in()) else {
            self.tell(IssueKind::BadValue {
                attribute: "item",
                accepted: "the name of a variable",
            });
            return None;
        };
        Some((self.expression(collection)?, item))
    }

    /// `function`: its name.
    pub(super) fn function(&mut self) -> Option<Name> {
        let name = self.required("esi:function", "name")?;
        let Some(name) = Name::parse(name) else {
            self.tell(IssueKind::BadValue {
                attribute: "name",
                accepted: "the name of a function",
            });
            return None;
        };
        if expr::functions::is_built_in(name.as_bytes()) {
            self.tell(IssueKind::BuiltInFunction(name.to_string()));
            return None;
        }
        Some(name)
    }

    /// `return`: its value.
    pub(super) fn return_value(&mut self) -> Option<Expr> {
        let value = self.required("esi:return", "value")?;
        self.expression(value)
    }

    /// `<esi:vars name="…"/>`: the pieces of its text, and where it starts.
    pub(super) fn vars_name(&mut self) -> Option<(usize, Pieces)> {
        let name = self.attributes.get("name")?;
        let start = self.place(name);
        let interpolation =
            Interpolation::read(name, &shared(self.document, name), self.expressions);
        for issue in interpolation.issues() {
            self.issues
                .add(start + issue.offset, 1, IssueKind::Suspect(issue.kind));
        }
        Some((start, interpolation.into_pieces().into()))
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The bytes of `slice`, shared with the document when it is a slice of it.
pub(super) fn shared(document: &Bytes, slice: &[u8]) -> Bytes {
    match place_in(document, slice) {
        Some(start) => document.slice(start..start + slice.len()),
        None => Bytes::copy_from_slice(slice),
    }
}

/// Where `slice` starts in `document`, when it is a slice of it.
pub(super) fn place_in(document: &[u8], slice: &[u8]) -> Option<usize> {
    let start = (slice.as_ptr() as usize).checked_sub(document.as_ptr() as usize)?;
    (!slice.is_empty() && start + slice.len() <= document.len()).then_some(start)
}
