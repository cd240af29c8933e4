//! `[[routes]]`: which request goes to which upstream, and how its answers are treated.

use std::ops::Range;

use toml::de::DeValue;

use crate::config::file::faults::{Faults, error};
use crate::config::file::setting::{Setting, boolean, cookie_names, delay, timeout};
use crate::config::file::table::Table;
use crate::config::file::upstreams::Upstreams;
use crate::config::pattern::{HostPattern, PathPattern};
use crate::config::{ComposeMode, Dialects, DownstreamAge, ForwardCookies, Heed, RouteConfig};
use crate::diagnostic::nearest;

/// All `[[routes]]` in the order of the file.
pub(super) fn routes(
    setting: Option<Setting<'_>>,
    upstreams: &Upstreams,
    faults: &Faults<'_>,
) -> Vec<RouteConfig> {
    let accepted = "sections `[[routes]]`, each with `upstream`";
    let Some(setting) = setting else {
        let fault = error(
            0..0,
            "`routes` is missing: every request would be answered 404",
        );
        faults.report_absent(fault.help(format!("accepted: at least one of the {accepted}")));
        return Vec::new();
    };
    let Some(items) = setting.items(accepted) else {
        return Vec::new();
    };
    if items.is_empty() {
        let _: Option<()> = setting.refuse(accepted);
    }
    let mut routes: Vec<(RouteConfig, Range<usize>)> = Vec::new();
    for item in &items {
        let Some(table) = Table::of(item, accepted) else {
            continue;
        };
        if let Some((route, place)) = route(table, upstreams, faults) {
            check_twin(&route, &place, &routes, faults);
            routes.push((route, place));
        }
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

/// One `[[routes]]` and the place that stands for its host and path; `None` where one of the three that make a route is refused.
fn route(
    mut table: Table<'_>,
    upstreams: &Upstreams,
    faults: &Faults<'_>,
) -> Option<(RouteConfig, Range<usize>)> {
    let mut route = RouteConfig::new("");
    let host_setting = table.setting("host");
    let host = host_setting.as_ref().map_or(Some(HostPattern::Any), host);
    let path_setting = table.setting("path");
    let path = path_setting
        .as_ref()
        .map_or(Some(PathPattern::root()), path);
    route.name = name(host_setting.as_ref(), path_setting.as_ref());
    let upstream = table
        .required("upstream", "the name of an upstream")
        .and_then(|it| upstream(&it, upstreams, faults));
    table.set("compose", &mut route.compose, compose);
    table.set("dialects", &mut route.dialects, dialects);
    table.set(
        "forward_cookies",
        &mut route.forward_cookies,
        forward_cookies,
    );
    table.set("cache", &mut route.cache, boolean);
    table.set("timeout", &mut route.timeout, |it| timeout(it).map(Some));
    table.set("key_cookies", &mut route.key_cookies, cookie_names);
    table.set("ignore_query", &mut route.ignore_query, parameters);
    table.set("sort_query", &mut route.sort_query, boolean);
    table.set("delegate", &mut route.delegate, boolean);
    table.set("languages", &mut route.languages, languages);
    caching(&mut table, &mut route);
    let place = path_setting
        .or(host_setting)
        .map_or(table.span.clone(), |it| it.span);
    table.close();
    route.host = host?;
    route.path = path?;
    // An unknown upstream is reported by now; host and path still count against those of other routes.
    route.upstream = upstream.unwrap_or_default();
    Some((route, place))
}

/// What a route makes of answers in store.
fn caching(table: &mut Table<'_>, route: &mut RouteConfig) {
    table.set(
        "stale_while_revalidate",
        &mut route.stale_while_revalidate,
        delay,
    );
    table.set("stale_if_error", &mut route.stale_if_error, delay);
    table.set("stale_for_sessions", &mut route.stale_for_sessions, boolean);
    table.set(
        "heuristic_freshness",
        &mut route.heuristic_freshness,
        boolean,
    );
    table.set("downstream_age", &mut route.downstream_age, |it| {
        it.choice(&[
            ("keep", DownstreamAge::Keep),
            ("reset", DownstreamAge::Reset),
        ])
    });
    table.set(
        "request_cache_control",
        &mut route.request_cache_control,
        |it| {
            it.choice(&[
                ("nobody", Heed::Nobody),
                ("surrogates", Heed::Surrogates),
                ("everybody", Heed::Everybody),
            ])
        },
    );
}

/// A list of names of parameters, each with a `*` at most at its end.
fn parameters(setting: &Setting<'_>) -> Option<Vec<String>> {
    let accepted = "a list of names of parameters, such as [\"utm_*\", \"fbclid\"]";
    setting.list(accepted, |item| {
        let accepted = "the name of a parameter, with a \"*\" at most at its end: \"utm_*\"";
        item.parsed(accepted, |text| {
            let name = text.strip_suffix('*').unwrap_or(text);
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"*&=#?".contains(&byte);
            let good = !text.is_empty() && name.bytes().all(plain);
            good.then(|| text.to_owned())
        })
    })
}

/// A list of language tags (RFC 5646), in lower case.
fn languages(setting: &Setting<'_>) -> Option<Vec<String>> {
    let accepted = "a list of languages, such as [\"en\", \"de\", \"pt-BR\"]";
    setting.list(accepted, |item| {
        item.parsed("a language, such as \"en\" or \"pt-BR\"", |text| {
            let part = |part: &str| {
                (1..=8).contains(&part.len())
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
            };
            text.split('-').all(part).then(|| text.to_ascii_lowercase())
        })
    })
}

/// `host` and `path` as they are written.
fn name(host: Option<&Setting<'_>>, path: Option<&Setting<'_>>) -> String {
    let written = |setting: Option<&Setting<'_>>, absent: &str| match setting.map(|it| it.value) {
        Some(DeValue::String(text)) => text.to_string(),
        _ => absent.to_owned(),
    };
    written(host, "") + &written(path, "/")
}

fn host(setting: &Setting<'_>) -> Option<HostPattern> {
    setting.parsed(
        "a host without port, such as \"www.example.com\" or \"*.example.com\"; leave it out for any",
        HostPattern::parse,
    )
}

fn path(setting: &Setting<'_>) -> Option<PathPattern> {
    setting.parsed(
        "a path that starts with \"/\", such as \"/shop/\", with a \"*\" at most at its end: \"/@@tile-*\"",
        PathPattern::parse,
    )
}

/// The name of an upstream of the file.
pub(super) fn upstream(
    setting: &Setting<'_>,
    upstreams: &Upstreams,
    faults: &Faults<'_>,
) -> Option<String> {
    let known: Vec<&str> = upstreams.names.keys().map(String::as_str).collect();
    let text = setting.text("the name of an upstream")?;
    if known.contains(&text) {
        return Some(text.to_owned());
    }
    let fault = setting.error(format!("no upstream is named {text:?}"));
    let fault = match nearest(text, known.iter().copied()) {
        Some(name) => fault.help(format!("did you mean {name:?}?")),
        None => fault,
    };
    let fault = if known.is_empty() {
        fault
    } else {
        fault.help(format!("accepted: {}", quoted(&known)))
    };
    faults.report_absent(fault);
    None
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    quoted.join(", ")
}

fn compose(setting: &Setting<'_>) -> Option<ComposeMode> {
    setting.choice(&[
        ("declared", ComposeMode::Declared),
        ("always", ComposeMode::Always),
        ("off", ComposeMode::Off),
    ])
}

fn dialects(setting: &Setting<'_>) -> Option<Dialects> {
    let accepted = "a list of \"esi\", \"ssi\" or both; for neither say `compose = \"off\"`";
    let items = setting.items(accepted)?;
    if items.is_empty() {
        return setting.refuse(accepted);
    }
    let mut dialects = Dialects {
        esi: false,
        ssi: false,
    };
    for item in &items {
        match item.choice(&[("esi", true), ("ssi", false)]) {
            Some(true) => dialects.esi = true,
            Some(false) => dialects.ssi = true,
            None => {}
        }
    }
    Some(dialects)
}

fn forward_cookies(setting: &Setting<'_>) -> Option<ForwardCookies> {
    match setting.value {
        DeValue::Boolean(true) => Some(ForwardCookies::All),
        DeValue::Boolean(false) => Some(ForwardCookies::None),
        DeValue::Array(names) if names.is_empty() => Some(ForwardCookies::None),
        DeValue::Array(_) => cookie_names(setting).map(ForwardCookies::Named),
        _ => setting.refuse("true, false, or a list of names of cookies"),
    }
}

/// Of two routes with the same host and path one would never be taken.
fn check_twin(
    route: &RouteConfig,
    place: &Range<usize>,
    before: &[(RouteConfig, Range<usize>)],
    faults: &Faults<'_>,
) {
    let twin = before
        .iter()
        .find(|(other, _)| other.host == route.host && other.path == route.path);
    if let Some((_, first)) = twin {
        let message = format!("a second route for {}", shown(route));
        let fault = error(place.clone(), message).also(first.clone(), "the first");
        faults.report_absent(fault.help("accepted: one route for each host and path"));
    }
}

fn shown(route: &RouteConfig) -> String {
    match route.host {
        HostPattern::Any => format!("`{}` on any host", route.name),
        _ => format!("`{}`", route.name),
    }
}
