//! The walls of the house: which folder of `src` may import which, and which outside crate lives in which room.
//!
//! `ARCHITECTURE.md` draws the plan; here it is held against the `crate::` paths and the names of crates in the sources. Tests beside
//! the code stand behind the walls like the code itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder and what of ours it may import besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("allocator", &[]),
    ("diagnostic", &[]),
    ("config", &["diagnostic"]),
    ("message", &[]),
    ("observe", &[]),
    ("expr", &[]),
    ("template", &["expr"]),
    ("routing", &["config"]),
    ("server", &["config", "message"]),
    ("cache", &["config", "message"]),
    ("upstream", &["config", "message", "observe"]),
    ("fetch", &["cache", "upstream", "message", "observe"]),
    (
        "compose",
        &["template", "expr", "message", "observe", "config"],
    ),
    (
        "gateway",
        &[
            "cache", "compose", "config", "expr", "fetch", "message", "observe", "routing",
            "server", "template", "upstream",
        ],
    ),
    (
        "admin",
        &[
            "cache", "upstream", "observe", "server", "message", "config",
        ],
    ),
    ("demo", &["server", "config", "message"]),
    ("bench", &[]),
    ("lint", &["template", "expr", "compose", "diagnostic"]),
    (
        "cli",
        &[
            "admin",
            "bench",
            "cache",
            "compose",
            "config",
            "demo",
            "diagnostic",
            "expr",
            "fetch",
            "gateway",
            "lint",
            "message",
            "observe",
            "routing",
            "server",
            "template",
            "upstream",
        ],
    ),
];

/// An outside crate and what the paths of the files that may name it begin with.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "hyper",
        &[
            "server/connection",
            "server/body",
            "upstream/client",
            "upstream/connection",
            "upstream/stream",
        ],
    ),
    (
        "hyper_util",
        &["server/", "upstream/client", "upstream/connection"],
    ),
    ("aho_corasick", &["template/scan"]),
    ("quick_xml", &["template/attributes", "demo/"]),
    ("moka", &["cache/memory"]),
    ("toml", &["config/file", "cli/case"]),
    ("clap", &["cli/"]),
    ("hdrhistogram", &["cli/report", "bench/tally"]),
    ("annotate_snippets", &["diagnostic/"]),
    ("rustls", &["server/", "upstream/transport"]),
    (
        "tokio_rustls",
        &["server/", "upstream/transport", "upstream/socket"],
    ),
    ("rustls_native_certs", &["upstream/transport"]),
    ("prometheus_client", &["observe/"]),
    ("maud", &["admin/", "bench/report/", "demo/"]),
    ("httparse", &["bench/answer"]),
    ("libmimalloc_sys", &["allocator"]),
];

/// A folder and the outside crates that it must never know.
const NEVER: &[(&str, &[&str])] = &[
    ("expr", &["http", "http_body", "hyper", "tokio"]),
    ("template", &["http", "http_body", "hyper", "tokio"]),
    ("message", &["hyper"]),
    ("cache", &["hyper"]),
    ("compose", &["hyper"]),
];

struct Source {
    /// Path below `src`, with `/`.
    path: String,
    /// The folder, or the file of a module that has none.
    room: String,
    /// What the compiler reads: no comments.
    code: String,
}

#[test]
fn imports_run_downward() {
    let mut faults = Vec::new();
    for source in sources() {
        if source.path == "lib.rs" || source.path == "main.rs" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(room, _)| *room == source.room) else {
            faults.push(format!("{}: no such room in the plan", source.path));
            continue;
        };
        for import in imports(&source.code) {
            if import != source.room && !allowed.contains(&import.as_str()) {
                faults.push(format!("{} must not import {import}", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_commands_read_the_file() {
    for source in sources() {
        let reads = source.code.contains("config::file");
        let may = matches!(source.room.as_str(), "cli" | "config");
        assert!(
            may || !reads,
            "{} reads the configuration file",
            source.path
        );
    }
}

#[test]
fn the_plan_has_no_circle() {
    let mut open: Vec<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).collect();
    while !open.is_empty() {
        let before = open.len();
        let still = open.clone();
        open.retain(|room| {
            let imports = MAY_IMPORT.iter().find(|(it, _)| it == room);
            imports.is_some_and(|(_, imports)| imports.iter().any(|import| still.contains(import)))
        });
        assert!(open.len() < before, "a circle among {open:?}");
    }
}

#[test]
fn an_outside_crate_has_one_room() {
    let mut faults = Vec::new();
    for source in sources() {
        for (name, rooms) in ROOMS {
            let at_home = rooms.iter().any(|room| source.path.starts_with(room));
            if !at_home && names_crate(&source.code, name) {
                faults.push(format!("{} must not know {name}", source.path));
            }
        }
        for (room, names) in NEVER {
            for name in *names {
                if source.room == *room && names_crate(&source.code, name) {
                    faults.push(format!("{} must never know {name}", source.path));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_reader_of_sources_sees_what_it_must() {
    let code = strip(
        "use crate::cache::key::Key; // crate::gateway::X\n/// [`crate::admin::Y`]\nuse crate::{fetch::Z, message::{A, B}, upstream};\n\
         fn f() { crate::compose::run(); hyper::body::x(); my_hyper::y(); }",
    );
    let wanted = ["cache", "compose", "fetch", "message", "upstream"].map(str::to_owned);
    assert_eq!(imports(&code), BTreeSet::from(wanted));
    assert!(names_crate(&code, "hyper"));
    assert!(!names_crate(&code, "per"));
    assert!(!names_crate("use crate::http::x; self::http::y", "http"));
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "no sources below {}", root.display());
    let read = |file: &PathBuf| {
        let below = file.strip_prefix(&root).expect("a file below src");
        let path = below.to_string_lossy().replace('\\', "/");
        let room = path.split('/').next().unwrap_or_default();
        let room = room.trim_end_matches(".rs").to_owned();
        let code = strip(&fs::read_to_string(file).expect("a readable source"));
        Source { path, room, code }
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// The source without line comments. A `//` inside a string cuts the rest of that line off, which hides no import.
fn strip(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) => &line[..at],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that `crate::` paths name, those in braces among them.
fn imports(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == '$') {
            continue;
        }
        let rest = &code[at + path.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            rooms.extend(heads(list));
        } else {
            rooms.insert(word(rest));
        }
    }
    rooms
}

/// The first words of the entries of a `{…}` list, of its outermost level.
fn heads(list: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut heads = Vec::new();
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(word(list[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(word(list[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

/// Whether a path starts with this crate's name.
fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':')
    })
}
