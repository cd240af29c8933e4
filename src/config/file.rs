//! TOML text -> [`Config`], or all that is wrong with it.
//!
//! The tree is walked by hand, a small reader a section: readers derived from types stop at the first fault, and an operator
//! wants all of them at once. Every reader takes its keys from a `Table`, tells `Faults` what it refuses and goes on
//! with the default; a value is made of the file only when nothing was refused. The files that a configuration names are looked
//! for, not read: that is left to those who use them.

mod balancers;
mod compose;
mod faults;
mod place;
mod routes;
mod server;
mod setting;
mod syntax;
mod table;
mod upstreams;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use crate::config::error::{ConfigError, Diagnostic, render};
use crate::config::file::faults::{Faults, error, warning};
use crate::config::file::place::Place;
use crate::config::file::server::Listeners;
use crate::config::file::table::Table;
use crate::config::{ComposeMode, Config};

impl Config {
    /// Reads and checks a file; what comes with the configuration are warnings.
    pub fn load(path: &Path) -> Result<(Self, Vec<Diagnostic>), ConfigError> {
        let text = read(path)?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is named in refusals, and paths in the text are counted from its directory.
    pub fn parse(text: &str, path: &Path) -> Result<(Self, Vec<Diagnostic>), ConfigError> {
        match examine(text, path) {
            (Some(config), warnings) => Ok((config, warnings)),
            (None, diagnostics) => Err(ConfigError::Faulty {
                path: path.to_path_buf(),
                text: text.to_owned(),
                diagnostics,
            }),
        }
    }

    /// What it holds, in a few words: `2 upstreams, 5 servers, 4 routes`.
    pub fn summary(&self) -> String {
        let servers = self.upstreams.values().map(|it| it.servers.len()).sum();
        [
            (self.upstreams.len(), "upstream"),
            (servers, "server"),
            (self.routes.len(), "route"),
            (self.balancers.len(), "balancer"),
        ]
        .into_iter()
        .filter(|(count, word)| *count > 0 || *word != "balancer")
        .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
        .collect::<Vec<_>>()
        .join(", ")
    }
}

/// What `marquetry check` prints about a file, and whether the file is accepted.
pub fn check(path: &Path, color: bool) -> (String, bool) {
    let outcome = read(path).and_then(|text| Ok((Config::parse(&text, path)?, text)));
    match outcome {
        Ok(((config, warnings), text)) => {
            let mut report = render(path, &text, &warnings, color);
            // Writing to a string cannot fail.
            let _ = writeln!(report, "{}: ok, {}", path.display(), config.summary());
            (report, true)
        }
        Err(error) => (error.render(color), false),
    }
}

/// The text of a file, which must be UTF-8.
fn read(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_path_buf(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|refusal| {
        let start = refusal.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(refusal.as_bytes()).into_owned();
        let faults = Faults::new(&text);
        faults.report(
            error(
                start..start + 1,
                "the file is not UTF-8: these bytes are no character",
            )
            .help("accepted: TOML, which is UTF-8 text"),
        );
        let diagnostics = faults.into_ordered();
        ConfigError::Faulty {
            path: path.to_path_buf(),
            text,
            diagnostics,
        }
    })
}

/// The configuration of `text`, if nothing refuses it, and all findings.
fn examine(text: &str, path: &Path) -> (Option<Config>, Vec<Diagnostic>) {
    let (tree, broken) = DeTable::parse_recoverable(text);
    let mut faults = Faults::new(text);
    if broken.is_empty() {
        let config = walk(tree.get_ref(), path, &faults);
        let accepted = Some(config).filter(|_| !faults.refused());
        return (accepted, faults.into_ordered());
    }
    syntax::report(text, &broken, &faults);
    let mended = syntax::without_lines(text, &broken);
    if let Some(tree) = mended.as_deref().and_then(|text| DeTable::parse(text).ok()) {
        faults.forgive_absence();
        walk(tree.get_ref(), path, &faults);
    }
    (None, faults.into_ordered())
}

/// Reads every section; what comes back is only a configuration when nothing was reported as an error.
fn walk<'a>(tree: &'a DeTable<'a>, path: &Path, faults: &'a Faults<'a>) -> Config {
    let place = Place::of(path);
    let mut root = Table::root(tree, faults);
    let mut listeners = Listeners::default();
    let server = server::server(root.section("server"), &place, &mut listeners);
    let admin = root
        .section("admin")
        .map(|table| server::admin(table, &place, &mut listeners));
    let log = server::log(root.section("log"), &place);
    let identity = compose::identity(root.section("identity"));
    let cache = compose::cache(root.section("cache"), faults);
    let compose = compose::compose(root.section("compose"));
    let upstreams = upstreams::upstreams(root.setting("upstreams"), &place, faults);
    let (balancers, first_balancer) = balancers::balancers(
        root.setting("balancers"),
        &upstreams,
        &mut listeners,
        faults,
    );
    listeners.report(faults);
    let routes = routes::routes(root.setting("routes"), &upstreams, faults);
    root.close();
    let config = Config {
        server,
        admin,
        log,
        identity,
        cache,
        compose,
        upstreams: upstreams.read,
        balancers,
        routes,
    };
    // What was refused is absent here, and a warning about its absence would only be an echo.
    if !faults.refused() {
        warn_readable_cookies(&config, faults);
        warn_unused(&config, &upstreams.names, faults);
        if let Some(place) = first_balancer.filter(|_| config.server.trusted_proxies.is_empty()) {
            balancers::warn_untrusted(place, faults);
        }
    }
    config
}

/// Upstreams that no request can reach.
fn warn_unused(config: &Config, names: &BTreeMap<String, Range<usize>>, faults: &Faults<'_>) {
    for (name, span) in names {
        let routes = config.routes.iter().map(|route| &route.upstream);
        let balancers = config.balancers.iter().map(|it| &it.upstream);
        if !routes.chain(balancers).any(|upstream| upstream == name) {
            let message = format!("no route leads to the upstream {name:?}");
            let fault = warning(span.clone(), message);
            faults.report(fault.help("its servers are never asked"));
        }
    }
}

/// Nobody has said which cookies are secrets: templates, and whoever writes them, see all.
fn warn_readable_cookies(config: &Config, faults: &Faults<'_>) {
    let composes = config
        .routes
        .iter()
        .any(|route| route.compose != ComposeMode::Off);
    let said =
        !config.identity.session_cookies.is_empty() || config.compose.readable_cookies.is_some();
    if composes && !said {
        let warning = warning(0..0, "templates may read all cookies")
            .help("name those of logged-in users in `identity.session_cookies`, or those that templates need in `compose.readable_cookies`");
        faults.report(warning);
    }
}
