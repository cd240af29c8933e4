//! A page that arrives in two pieces is the page that arrives in one: the first byte says where it is cut.
#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;
use marquetry::template::{Compiler, Dialects};
use std::sync::Arc;

fuzz_target!(|input: &[u8]| {
    let Some((cut, page)) = input.split_first() else { return };
    let settings = common::settings(Dialects { esi: true, ssi: true });
    let cut = usize::from(*cut) * page.len() / 255;
    let mut compiler = Compiler::new(settings.clone());
    compiler.feed(&page[..cut]);
    compiler.feed(&page[cut..]);
    let (pieces, whole) = (Arc::new(compiler.finish()), common::compiled(page, &settings));
    assert_eq!(pieces.issues().len(), whole.issues().len());
    assert_eq!(common::composed(pieces), common::composed(whole));
});
