//! Any bytes as a page with ESI tags: compiled and composed, whatever they are, without a panic; without a tag they come out as
//! they went in.
#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;
use marquetry::template::Dialects;

fuzz_target!(|page: &[u8]| {
    let settings = common::settings(Dialects { esi: true, ssi: false });
    let template = common::compiled(page, &settings);
    let composed = common::composed(template.clone());
    if !template.has_tags() {
        assert_eq!(composed.as_deref(), Some(page), "a page without tags is copied");
    }
});
