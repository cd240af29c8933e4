//! Any bytes as a page with SSI directives.
#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;
use marquetry::template::Dialects;

fuzz_target!(|page: &[u8]| {
    let template = common::compiled(page, &common::settings(Dialects { esi: false, ssi: true }));
    let composed = common::composed(template.clone());
    if !template.has_tags() {
        assert_eq!(composed.as_deref(), Some(page), "a page without directives is copied");
    }
});
