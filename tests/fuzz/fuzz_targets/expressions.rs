//! Any bytes as an expression and as interpolated text: read and evaluated without a panic, within the bounds.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use marquetry::expr::{Escape, Expr, Interpolation, Limits, RequestFacts, Scope, World};

fuzz_target!(|text: &[u8]| {
    let limits = Limits::default();
    let facts = Arc::new(RequestFacts {
        query: Bytes::from_static(b"a=1&b=<x>"),
        cookies: vec![(Bytes::from_static(b"c"), Bytes::from_static(b"\"<>&'"))],
        ..RequestFacts::default()
    });
    let mut scope = Scope::new(facts, limits);
    if let Ok(expression) = Expr::parse(text, &limits) {
        let _ = expression.evaluate(&mut scope, &mut World::default());
    }
    let interpolation = Interpolation::parse(&Bytes::copy_from_slice(text), &limits);
    let mut out = Vec::new();
    let failures = interpolation.emit(Escape::Html, 1 << 20, &mut scope, &mut World::default(), &mut out);
    if !text.contains(&b'$') {
        assert!(failures.is_empty() && out == text, "text without a reference is copied");
    }
});
