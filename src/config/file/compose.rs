//! `[identity]`, `[cache]`, `[compose]`, `[compose.limits]`: who is a user, what is kept, what a page may cost.

use crate::config::file::faults::Faults;
use crate::config::file::setting::{
    Setting, boolean, cookie_names, count, delay, networks, size, timeout,
};
use crate::config::file::table::Table;
use crate::config::size::ByteSize;
use crate::config::{CacheConfig, ComposeConfig, IdentityConfig, LanguageLimits, OnError};

/// `[identity]`.
pub(super) fn identity(table: Option<Table<'_>>) -> IdentityConfig {
    let mut identity = IdentityConfig::default();
    if let Some(mut table) = table {
        table.set(
            "session_cookies",
            &mut identity.session_cookies,
            cookie_names,
        );
        table.close();
    }
    identity
}

/// `[cache]`.
pub(super) fn cache(table: Option<Table<'_>>, faults: &Faults<'_>) -> CacheConfig {
    let mut cache = CacheConfig::default();
    let Some(mut table) = table else {
        return cache;
    };
    let most = ByteSize::mebibytes(1 << 20);
    table.set("memory", &mut cache.memory, size(ByteSize::bytes(0)..=most));
    let max_object = table.setting("max_object");
    if let Some(setting) = &max_object
        && let Some(read) = size(ByteSize::bytes(1)..=ByteSize::mebibytes(4096))(setting)
    {
        cache.max_object = read;
        if read > cache.memory && cache.memory > ByteSize::bytes(0) {
            let message = format!(
                "`{}` is more than `cache.memory`, {}",
                setting.name, cache.memory
            );
            let warning = super::faults::warning(setting.span.clone(), message);
            faults.report(warning.help("objects of this size are never stored"));
        }
    }
    let kibibyte = ByteSize::kibibytes(1);
    table.set("arriving", &mut cache.arriving, size(kibibyte..=most));
    if let Some(setting) = &max_object
        && cache.max_object > cache.arriving
        && cache.max_object <= cache.memory
    {
        let message = format!(
            "`{}` is more than `cache.arriving`, {}",
            setting.name, cache.arriving
        );
        let warning = super::faults::warning(setting.span.clone(), message);
        faults.report(warning.help("objects of this size are never stored"));
    }
    let purge_from = networks("any client may then empty the cache");
    table.set("purge_from", &mut cache.purge_from, purge_from);
    table.unsupported("shared");
    table.close();
    cache
}

/// `[compose]`.
pub(super) fn compose(table: Option<Table<'_>>) -> ComposeConfig {
    let mut compose = ComposeConfig::default();
    let Some(mut table) = table else {
        return compose;
    };
    table.set("types", &mut compose.types, media_types);
    table.set("max_depth", &mut compose.max_depth, count(0..=64));
    table.set(
        "max_includes",
        &mut compose.max_includes,
        count(0..=100_000),
    );
    let kibibyte = ByteSize::kibibytes(1);
    let document = size(kibibyte..=ByteSize::mebibytes(1024));
    table.set("max_document", &mut compose.max_document, document);
    let page = size(kibibyte..=ByteSize::mebibytes(4096));
    table.set("max_page", &mut compose.max_page, page);
    let memory = table.setting("memory");
    let room = size(ByteSize::mebibytes(1)..=ByteSize::mebibytes(1 << 20));
    if let Some(read) = memory.as_ref().and_then(room) {
        compose.memory = read;
    }
    table.set("concurrency", &mut compose.concurrency, count(1..=10_000));
    table.set("fragment_timeout", &mut compose.fragment_timeout, timeout);
    table.set("page_timeout", &mut compose.page_timeout, timeout);
    let on_error = [("empty", OnError::Empty), ("fail", OnError::Fail)];
    table.set("on_error", &mut compose.on_error, |it| it.choice(&on_error));
    table.set("head_wait", &mut compose.head_wait, delay);
    table.set("failed_max_age", &mut compose.failed_max_age, delay);
    table.set("default_max_age", &mut compose.default_max_age, delay);
    table.set("private_max_age", &mut compose.private_max_age, boolean);
    table.set("merge_set_cookie", &mut compose.merge_set_cookie, boolean);
    table.set("readable_cookies", &mut compose.readable_cookies, |it| {
        cookie_names(it).map(Some)
    });
    table.set("ssi_silent_errors", &mut compose.ssi_silent_errors, boolean);
    if let Some(section) = table.section("limits") {
        compose.limits = limits(section);
    }
    let blame = memory.or_else(|| table.setting("max_document"));
    one_document_fits(&compose, blame.as_ref());
    table.close();
    compose
}

/// Documents wait for their share of the memory: one that is allowed and never gets it would wait for ever.
fn one_document_fits(compose: &ComposeConfig, blame: Option<&Setting<'_>>) {
    let Some(setting) = blame.filter(|_| compose.memory < compose.max_document) else {
        return;
    };
    let message = format!(
        "`compose.memory`, {}, has no room for one document of `compose.max_document`, {}",
        compose.memory, compose.max_document
    );
    let help =
        "accepted: `compose.memory` of at least `compose.max_document`, better many times as much";
    setting
        .faults
        .report_absent(setting.error(message).help(help));
}

/// Media types without parameters, in lower case.
fn media_types(setting: &Setting<'_>) -> Option<Vec<String>> {
    let accepted = "a list of media types, such as [\"text/html\"]";
    setting.list(accepted, |item| {
        item.parsed(
            "a media type without parameters, such as \"text/html\"",
            media_type,
        )
    })
}

fn media_type(text: &str) -> Option<String> {
    let token = |part: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
        !part.is_empty() && part.bytes().all(letter)
    };
    let (kind, subtype) = text.split_once('/')?;
    (token(kind) && token(subtype)).then(|| text.to_ascii_lowercase())
}

/// `[compose.limits]`. The upper ends of nesting and depth keep the stack of a worker, whatever a page says.
fn limits(mut table: Table<'_>) -> LanguageLimits {
    let mut limits = LanguageLimits::default();
    let mebibyte = ByteSize::mebibytes(1);
    let tag = size(ByteSize::bytes(256)..=ByteSize::mebibytes(16));
    table.set("tag", &mut limits.tag, tag);
    table.set("nesting", &mut limits.nesting, count(1..=256));
    let expression = size(ByteSize::bytes(16)..=mebibyte);
    table.set("expression", &mut limits.expression, expression);
    table.set(
        "expression_depth",
        &mut limits.expression_depth,
        count(1..=256),
    );
    table.set(
        "list_entries",
        &mut limits.list_entries,
        count(1..=1_000_000),
    );
    table.set(
        "loop_rounds",
        &mut limits.loop_rounds,
        count(0..=10_000_000),
    );
    table.set("function_depth", &mut limits.function_depth, count(0..=128));
    let variables = size(ByteSize::kibibytes(1)..=ByteSize::mebibytes(1024));
    table.set("variables", &mut limits.variables, variables);
    let regex = size(ByteSize::kibibytes(1)..=ByteSize::mebibytes(64));
    table.set("regex", &mut limits.regex, regex);
    table.close();
    limits
}
