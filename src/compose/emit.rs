//! Appending to the output: text, values, and the texts of attributes.

use bytes::Bytes;

use crate::compose::evaluate::Thread;
use crate::compose::host::World;
use crate::compose::include::BYTE_ORDER_MARK;
use crate::compose::output::{Becomes, COPIED, Piece};
use crate::compose::page::Page;
use crate::compose::source::FragmentSource;
use crate::expr::{self, Escape, EvalError, Expr, Scope, Seen, Value};
use crate::template::Template;
use crate::template::tree::{Dynamic, Span, Text};

impl<S: FragmentSource> Page<S> {
    pub(super) fn push_text(&mut self, list: usize, unit: usize, mut span: Span) {
        if span.start == 0 {
            span.start = self.mark_length(unit, span);
        }
        self.count((span.end - span.start) as usize);
        self.lists[list].pieces.push(Piece::Text(unit as u32, span));
    }

    /// The same where the text may become one piece with the values around it.
    pub(super) fn push_inner_text(
        &mut self,
        list: usize,
        unit: usize,
        template: &Template,
        span: Span,
    ) {
        let length = (span.end - span.start) as usize;
        let into = &mut self.lists[list];
        if length > COPIED || span.start == 0 || !into.joins() {
            return self.push_text(list, unit, span);
        }
        into.push_value(|out| out.extend_from_slice(template.text(span)));
        self.count(length);
    }

    /// The length of the byte order mark at the start of a text, which is left out in all but the page itself.
    fn mark_length(&self, unit: usize, span: Span) -> u32 {
        let unit = &self.units[unit];
        let text = unit.template.text(span);
        if unit.parent.is_some() && text.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len() as u32
        } else {
            0
        }
    }

    pub(super) fn push_shared(&mut self, list: usize, bytes: Bytes) {
        if !bytes.is_empty() {
            self.count(bytes.len());
            self.lists[list].pieces.push(Piece::Bytes(bytes));
        }
    }

    /// Appends a value, escaped for the document where it comes from the request.
    fn push_value(&mut self, thread: &Thread, value: &Seen<'_>, in_string: bool) {
        let escape = self.documents[thread.document].escape;
        let list = &mut self.lists[thread.list];
        list.becomes = list.becomes.with(value.is_tainted());
        let becomes = list.becomes;
        let length = list.push_value(|out| match becomes {
            Becomes::Value { .. } => value.append_text(out),
            Becomes::Text if in_string => value.append_escaped(Escape::Json, out),
            Becomes::Text => value.emit(escape, out),
        });
        self.count(length);
    }

    pub(super) fn taint_outer(&mut self, outer: usize, inner: usize) {
        let tainted = self.lists[inner].becomes.is_tainted();
        let outer = &mut self.lists[outer].becomes;
        *outer = outer.with(tainted);
    }

    /// The value of an expression; a failure is logged.
    pub(super) fn evaluate(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        expr: &Expr,
    ) -> Option<Value> {
        let mut world = World {
            page: self,
            document: thread.document,
        };
        match expr.evaluate(scope, &mut world) {
            Ok(value) => Some(value),
            Err(error) => {
                self.template_error(unit, offset, &error);
                None
            }
        }
    }

    pub(super) fn dynamic(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        dynamic: &Dynamic,
    ) {
        for piece in &dynamic.pieces {
            match piece {
                expr::Piece::Literal(bytes) if dynamic.in_string => {
                    self.push_value(thread, &Seen::Made(Value::text(bytes.clone())), true);
                }
                expr::Piece::Literal(bytes) => self.push_shared(thread.list, bytes.clone()),
                expr::Piece::Dynamic { offset, expr } => {
                    let offset = dynamic.offset + offset;
                    if let Some(seen) = expr.see(scope) {
                        self.push_value(thread, &seen, dynamic.in_string);
                    } else if let Some(value) = self.evaluate(thread, scope, unit, offset, expr) {
                        self.push_value(thread, &Seen::Made(value), dynamic.in_string);
                    }
                }
            }
        }
    }

    /// The text of `src` or `alt`.
    pub(super) fn link(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        text: &Text,
    ) -> Bytes {
        match text {
            Text::Constant(bytes) => bytes.clone(),
            Text::Ssi(text) => self.ssi_text(thread.document, unit, text),
            Text::Esi(text) => {
                let mut world = World {
                    page: self,
                    document: thread.document,
                };
                let (url, failures) = text.url(scope, &mut world);
                self.tell_failures(unit, offset, &failures);
                url.unwrap_or_default()
            }
        }
    }

    /// The text of another attribute, values as they are.
    pub(super) fn plain(
        &mut self,
        thread: &Thread,
        scope: &mut Scope,
        unit: usize,
        offset: usize,
        text: &Text,
    ) -> Bytes {
        match text {
            Text::Esi(text) => {
                let mut world = World {
                    page: self,
                    document: thread.document,
                };
                let (value, failures) = text.value(scope, &mut world);
                self.tell_failures(unit, offset, &failures);
                Bytes::from(value.to_text().into_owned())
            }
            other => self.link(thread, scope, unit, offset, other),
        }
    }

    fn tell_failures(&self, unit: usize, offset: usize, failures: &[(usize, EvalError)]) {
        for (_, error) in failures {
            self.template_error(unit, offset, error);
        }
    }
}
