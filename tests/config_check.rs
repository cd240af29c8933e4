//! Good files load; bad files say what the fixture beside them says; no text whatever breaks the reader.
//!
//! A file `NAME.toml` has what `marquetry check` prints about it in `NAME.expected`, as it is drawn without colour. After a
//! change of wording the fixtures are written anew with `MARQUETRY_WRITE_EXPECTED=1 cargo test --test config_check`, and read
//! before they are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use marquetry::config::error::{ConfigError, Diagnostic, render};
use marquetry::config::file::check;
use marquetry::config::pattern::{HostPattern, Network, PathPattern, ServerAddress};
use marquetry::config::size::ByteSize;
use marquetry::config::{
    AccessLog, AdminConfig, Balance, BalancerConfig, CacheConfig, ComposeConfig, ComposeMode,
    Config, Dialects, DownstreamAge, ForwardCookies, HealthConfig, Heed, IdentityConfig,
    LanguageLimits, LogConfig, OnError, Roots, RouteConfig, ServerConfig, ServerEntry, TlsConfig,
    UpstreamConfig, UpstreamTls,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const EXAMPLE: &str = include_str!("../examples/marquetry.toml");

#[test]
fn bad_files_are_refused_with_all_their_faults() {
    hold_against_expected("bad", false);
}

#[test]
fn good_files_load() {
    hold_against_expected("good", true);
}

fn hold_against_expected(kind: &str, accepted: bool) {
    let mut wrong = Vec::new();
    for path in fixtures(kind) {
        let (printed, ok) = check(&path, false);
        assert_eq!(ok, accepted, "{}\n{printed}", path.display());
        let expected = path.with_extension("expected");
        if std::env::var_os("MARQUETRY_WRITE_EXPECTED").is_some() {
            fs::write(&expected, &printed).expect("the fixture can be written");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if wanted != printed {
            let path = path.display();
            wrong.push(format!("{path}\nwanted:\n{wanted}\nprinted:\n{printed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new("fixtures/config").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the folder of fixtures is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no file", directory.display());
    files
}

/// Written out field by field, so that a new field of the configuration does not compile without a row here, and two keys that
/// are confused do not pass.
#[test]
fn every_key_arrives_at_its_field() {
    let directory = Path::new("fixtures/config/good");
    let (config, warnings) =
        Config::load(&directory.join("every_key.toml")).expect("the fixture is a good file");
    assert_eq!(warnings, []);
    let wanted = Config {
        server: ServerConfig {
            listen: vec![socket("127.0.0.1:18080"), socket("[::1]:0")],
            tls: Some(TlsConfig {
                listen: socket("127.0.0.1:18443"),
                certificate: directory.join("../files/cert.pem"),
                key: directory.join("../files/key.pem"),
            }),
            max_connections: 1000,
            header_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(2),
            body_idle_timeout: Duration::from_secs(3),
            body_timeout: Duration::from_secs(240),
            write_timeout: Duration::from_secs(5),
            max_request_head: ByteSize::kibibytes(8),
            max_request_body: ByteSize::bytes(0),
            trusted_proxies: vec![network("10.0.0.0/8"), network("::1")],
            debug_from: vec![network("192.0.2.17")],
            drain_timeout: Duration::ZERO,
            threads: 2,
        },
        admin: Some(AdminConfig {
            listen: socket("0.0.0.0:19090"),
            token_file: Some(directory.join("../files/token")),
        }),
        log: LogConfig {
            level: "warn,marquetry::cache=debug".to_owned(),
            access: AccessLog::File(directory.join("access.log")),
        },
        identity: IdentityConfig {
            session_cookies: vec!["session".to_owned(), "__Host-id".to_owned()],
        },
        cache: CacheConfig {
            memory: ByteSize::mebibytes(1024),
            max_object: ByteSize::mebibytes(1),
            arriving: ByteSize::mebibytes(32),
            purge_from: vec![network("192.0.2.0/24")],
        },
        compose: ComposeConfig {
            types: vec!["text/html".to_owned()],
            max_depth: 0,
            max_includes: 10,
            max_document: ByteSize::mebibytes(1),
            max_page: ByteSize::mebibytes(2),
            memory: ByteSize::mebibytes(64),
            concurrency: 8,
            fragment_timeout: Duration::from_millis(250),
            page_timeout: Duration::from_secs(6),
            on_error: OnError::Fail,
            head_wait: Duration::from_millis(100),
            failed_max_age: Duration::from_secs(1),
            default_max_age: Duration::from_secs(2),
            private_max_age: true,
            merge_set_cookie: true,
            readable_cookies: Some(vec!["currency".to_owned()]),
            ssi_silent_errors: true,
            limits: LanguageLimits {
                tag: ByteSize::kibibytes(1),
                nesting: 1,
                expression: ByteSize::bytes(16),
                expression_depth: 2,
                list_entries: 3,
                loop_rounds: 4,
                function_depth: 5,
                variables: ByteSize::kibibytes(2),
                regex: ByteSize::kibibytes(3),
            },
        },
        upstreams: [(
            "app".to_owned(),
            UpstreamConfig {
                servers: vec![
                    server("127.0.0.1:8110", 1),
                    server("127.0.0.1:8111", 1),
                    server("127.0.0.1:8114", 0),
                    server("127.0.0.1:8115", 65_535),
                    server("127.0.0.1:8116", 65_535),
                    server("unix:/run/app.sock", 1),
                    server("app.internal:8080", 1),
                    server("[::1]:8110", 1),
                ],
                balance: Balance::RoundRobin,
                max_in_flight: 1,
                queue: 7,
                queue_timeout: Duration::from_millis(1),
                connect_timeout: Duration::from_secs(8),
                first_byte_timeout: Duration::from_secs(9),
                body_idle_timeout: Duration::from_secs(11),
                retries: 0,
                slow_start: Duration::from_secs(12),
                tls: Some(UpstreamTls {
                    ca: Some(Roots {
                        path: directory.join("../files/roots.pem"),
                        pem: fs::read(directory.join("../files/roots.pem"))
                            .expect("the fixture is there"),
                    }),
                    server_name: Some("app.internal".to_owned()),
                }),
                http2: true,
                keep_alive: false,
                resolve_interval: Duration::from_secs(13),
                health: Some(HealthConfig {
                    path: "/healthz?deep=1".to_owned(),
                    interval: Duration::from_secs(14),
                    timeout: Duration::from_secs(2),
                    fall: 4,
                    rise: 5,
                }),
            },
        )]
        .into(),
        balancers: vec![BalancerConfig {
            listen: socket("127.0.0.1:18180"),
            upstream: "app".to_owned(),
        }],
        routes: vec![RouteConfig {
            name: "*.Example.com/@@tile-*".to_owned(),
            host: HostPattern::Suffix(".example.com".to_owned()),
            path: PathPattern::Continuation("/@@tile-".to_owned()),
            upstream: "app".to_owned(),
            compose: ComposeMode::Always,
            dialects: Dialects {
                esi: false,
                ssi: true,
            },
            forward_cookies: ForwardCookies::Named(vec!["lang".to_owned(), "session".to_owned()]),
            cache: false,
            timeout: Some(Duration::from_secs(2)),
            key_cookies: vec!["group".to_owned()],
            ignore_query: vec!["utm_*".to_owned(), "fbclid".to_owned()],
            sort_query: true,
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(600),
            stale_for_sessions: true,
            heuristic_freshness: true,
            downstream_age: DownstreamAge::Reset,
            delegate: true,
            languages: vec!["en".to_owned(), "pt-br".to_owned()],
            request_cache_control: Heed::Nobody,
        }],
    };
    assert_eq!(config, wanted);
}

fn socket(text: &str) -> std::net::SocketAddr {
    text.parse().expect("an address and a port")
}

fn network(text: &str) -> Network {
    Network::parse(text).expect("a network")
}

fn server(address: &str, weight: u32) -> ServerEntry {
    let address = ServerAddress::parse(address).expect("an address of a server");
    ServerEntry { address, weight }
}

#[test]
fn a_level_that_nobody_has_is_refused() {
    let rest = EXAMPLE.replace("level = \"info\"", "level = \"{}\"");
    assert_ne!(rest, EXAMPLE);
    for (level, accepted) in [
        ("WARN", true),
        ("off", true),
        ("info,marquetry::cache=debug", true),
        ("hyper=debug, warn", true),
        ("marquetry", true),
        ("warning", false),
        ("notice", false),
        ("loud", false),
        ("info,loud", false),
        ("", false),
    ] {
        let text = rest.replace("{}", level);
        let read = Config::parse(&text, Path::new("a.toml"));
        assert_eq!(read.is_ok(), accepted, "{level}");
    }
}

#[test]
fn the_example_shows_every_default() {
    let (config, warnings) =
        Config::parse(EXAMPLE, Path::new("examples/marquetry.toml")).expect("no faults");
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["1:1: templates may read all cookies"]);
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!(config.log, LogConfig::default());
    assert_eq!(config.identity, IdentityConfig::default());
    assert_eq!(config.cache, CacheConfig::default());
    assert_eq!(config.compose, ComposeConfig::default());
    for upstream in config.upstreams.values() {
        let wanted = UpstreamConfig::new(upstream.servers.clone());
        assert_eq!(*upstream, wanted);
    }
    assert_eq!(
        config.routes[0],
        RouteConfig {
            upstream: "pages".to_owned(),
            ..RouteConfig::new("")
        }
    );
    let words: Vec<&str> = EXAMPLE
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    let every_key = include_str!("../fixtures/config/good/every_key.toml");
    for key in every_key.lines().filter_map(|line| line.split_once(" = ")) {
        assert!(
            words.contains(&key.0) || key.0.contains('{'),
            "{} is not shown",
            key.0
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_told_without_a_place() {
    let path = Path::new("fixtures/config/bad/no_such_file.toml");
    let (printed, accepted) = check(path, false);
    assert!(!accepted);
    assert_eq!(
        printed,
        "error: cannot read fixtures/config/bad/no_such_file.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn colour_changes_nothing_but_colour() {
    for path in fixtures("bad") {
        let (plain, _) = check(&path, false);
        let (styled, _) = check(&path, true);
        assert!(!plain.contains('\x1b'), "{plain}");
        assert!(styled.contains("\x1b["), "{styled}");
        assert_eq!(without_escapes(&styled), plain);
    }
}

fn without_escapes(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| {
        plain + piece.split_once('m').map_or("", |(_, rest)| rest)
    })
}

/// Whatever the text is, the reader answers, and each finding lies in it.
fn examine(text: &str) {
    let path = Path::new("fixtures/config/marquetry.toml");
    let found = match Config::parse(text, path) {
        Ok((_, warnings)) => warnings,
        Err(error @ ConfigError::Faulty { .. }) => {
            assert!(!error.render(true).is_empty());
            error.diagnostics().to_vec()
        }
        Err(error) => panic!("a text cannot be unreadable: {error}"),
    };
    let drawn = render(path, text, &found, false);
    assert_eq!(drawn.is_empty(), found.is_empty());
    for diagnostic in &found {
        assert_inside(text, diagnostic);
    }
}

fn assert_inside(text: &str, diagnostic: &Diagnostic) {
    let covered = text.get(diagnostic.span.clone());
    assert!(
        covered.is_some_and(|covered| !covered.contains('\n')),
        "{diagnostic:?}"
    );
    let line = text.split('\n').nth(diagnostic.line() - 1);
    let line = line.unwrap_or_else(|| panic!("{diagnostic:?}: no such line"));
    assert!(
        (1..=line.chars().count() + 1).contains(&diagnostic.column()),
        "{diagnostic:?}"
    );
}

/// What a person may do to a file.
#[derive(Debug, Clone)]
enum Change {
    Insert(Index, String),
    Remove(Index, usize),
    RepeatLine(Index, Index),
    RemoveLine(Index),
}

impl Change {
    fn apply(&self, text: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        let mut lines: Vec<&str> = text.lines().collect();
        match self {
            Self::Insert(at, piece) => {
                let at = at.index(letters.len() + 1);
                letters.splice(at..at, piece.chars());
                letters.into_iter().collect()
            }
            Self::Remove(at, length) => {
                let at = at.index(letters.len() + 1);
                let end = (at + length).min(letters.len());
                letters.drain(at..end);
                letters.into_iter().collect()
            }
            Self::RepeatLine(from, to) => {
                if let Some(line) = lines.get(from.index(lines.len().max(1))) {
                    lines.insert(to.index(lines.len()), line);
                }
                lines.join("\n")
            }
            Self::RemoveLine(at) => {
                if !lines.is_empty() {
                    lines.remove(at.index(lines.len()));
                }
                lines.join("\n")
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let pieces = [
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "#",
        "\n",
        "\r",
        "\r\n",
        "-",
        "0",
        "é",
        "日",
        "\u{feff}",
        "\0",
        "\t",
        "\\",
        "\\u0000",
        "1979-05-27",
        "true",
        "[[routes]]",
        "[server]",
        "x = 1\n",
    ];
    let piece = prop_oneof![
        select(pieces.to_vec()).prop_map(str::to_owned),
        ".{1,4}".prop_map(|text| text),
    ];
    prop_oneof![
        (any::<Index>(), piece).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::RepeatLine(from, to)),
        any::<Index>().prop_map(Change::RemoveLine),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}") {
        examine(&text);
    }

    #[test]
    fn any_text_of_tokens_is_answered(
        tokens in proptest::collection::vec(
            select(vec![
                "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\"", "'", "# ", " ", "server", "upstreams", "routes",
                "app", "servers", "\"127.0.0.1:1-3\"", "\"app\"", "path", "host", "upstream", "5", "true", "é", "listen", "\r\n",
            ]),
            0..60,
        )
    ) {
        examine(&tokens.concat());
    }

    #[test]
    fn any_change_of_the_example_is_answered(changes in proptest::collection::vec(change(), 1..6)) {
        let text = changes.iter().fold(EXAMPLE.to_owned(), |text, change| change.apply(&text));
        examine(&text);
    }
}
