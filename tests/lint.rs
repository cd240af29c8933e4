//! `marquetry lint` as people and programs meet it: the binary runs over pages with faults, and says what the fixture beside
//! each page says; no bytes whatever break it.
//!
//! A page `NAME.html` has what is printed about it in `NAME.html.expected`. After a change of wording the fixtures are written
//! anew with `MARQUETRY_WRITE_EXPECTED=1 cargo test --test lint`, and read before they are kept.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use marquetry::diagnostic::Severity;
use marquetry::expr::Escape;
use marquetry::lint::{Report, lint};
use marquetry::template::{Dialects, Settings, compile};
use proptest::prelude::*;
use proptest::sample::select;

#[test]
fn pages_are_told_all_their_faults() {
    let mut wrong = Vec::new();
    let mut codes = Vec::new();
    for page in pages() {
        let name = page.display().to_string();
        let output = marquetry(&[&name]);
        assert_eq!(text(&output.stdout), "", "{name}");
        let printed = text(&output.stderr);
        hold(Path::new(&format!("{name}.expected")), &printed, &mut wrong);
        codes.extend(printed.lines().filter_map(code).map(str::to_owned));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    codes.sort();
    codes.dedup();
    assert!(
        codes.len() >= 45,
        "the fixtures show {}: {codes:?}",
        codes.len()
    );
}

/// The code of a line such as `error[unknown-element]: there is …`.
fn code(line: &str) -> Option<&str> {
    let rest = line
        .strip_prefix("error[")
        .or_else(|| line.strip_prefix("warning["))?;
    rest.split_once("]: ").map(|(code, _)| code)
}

#[test]
fn programs_read_one_array() {
    let output = marquetry(&[
        "--json",
        "fixtures/lint/many_faults.html",
        "fixtures/lint/clean.html",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "");
    let printed = text(&output.stdout);
    let mut wrong = Vec::new();
    hold(
        Path::new("fixtures/lint/many_faults.json.expected"),
        &printed,
        &mut wrong,
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let rows: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert!(rows.as_array().is_some_and(|rows| rows.len() > 15));
}

fn hold(expected: &Path, printed: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("MARQUETRY_WRITE_EXPECTED").is_some() {
        fs::write(expected, printed).expect("the fixture can be written");
    }
    let wanted = fs::read_to_string(expected).unwrap_or_default();
    if wanted != printed {
        let path = expected.display();
        wrong.push(format!("{path}\nwanted:\n{wanted}\nprinted:\n{printed}"));
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = fs::read_dir("fixtures/lint")
        .expect("the folder of fixtures is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end != "expected"))
        .collect();
    pages.sort();
    assert!(pages.len() > 25, "{pages:?}");
    pages
}

fn marquetry(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .arg("lint")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn on_standard_input(arguments: &[&str], page: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .arg("lint")
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(page.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("what is printed is UTF-8")
}

#[test]
fn exit_codes_tell_what_was_found() {
    let clean = "fixtures/lint/clean.html";
    let warnings = "fixtures/lint/unguarded_includes.html";
    let errors = "fixtures/lint/many_faults.html";
    let rows: &[(&[&str], i32)] = &[
        (&[clean], 0),
        (&["--strict", clean], 0),
        (&[warnings], 0),
        (&["--strict", warnings], 1),
        (&["--strict", "--json", clean, warnings], 1),
        (&[errors], 2),
        (&["--strict", warnings, errors, clean], 2),
        (&[clean, "fixtures/lint/no_such_page.html"], 2),
        (&["--json", "fixtures/lint/no_such_page.html"], 2),
        (&["--dialect", "neither", clean], 2),
        (&[], 2),
    ];
    for (arguments, wanted) in rows {
        let output = marquetry(arguments);
        assert_eq!(output.status.code(), Some(*wanted), "{arguments:?}");
    }
}

#[test]
fn a_page_that_cannot_be_read_is_told() {
    let output = marquetry(&["fixtures/lint/no_such_page.html"]);
    let printed = text(&output.stderr);
    assert!(
        printed.starts_with("error[unreadable]: cannot be read: "),
        "{printed}"
    );
    assert!(
        printed.ends_with("1 error in fixtures/lint/no_such_page.html\n"),
        "{printed}"
    );
}

#[test]
fn standard_input_is_a_page() {
    let output = on_standard_input(&[], "<esi:inklude/>");
    let printed = text(&output.stderr);
    assert!(printed.contains("--> <stdin>:1:2\n"), "{printed}");
    assert!(printed.ends_with("1 error in <stdin>\n"), "{printed}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_dialect_and_the_type_decide_what_is_a_tag() {
    let page = "<esi:inklude/><!--#inklude -->";
    for (dialect, errors) in [("both", 2), ("esi", 1), ("ssi", 1)] {
        let output = on_standard_input(&["--json", "--dialect", dialect], page);
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            rows.as_array().map(Vec::len),
            Some(errors),
            "{dialect}: {rows}"
        );
    }
    let page = r#"{"a": "<esi:include src=\"\/a\" onerror=\"continue\"\/>"}"#;
    for (kind, code) in [("json", 0), ("html", 2), ("application/ld+json", 0)] {
        let output = on_standard_input(&["--type", kind], page);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{kind}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn many_faults_cost_no_more_than_their_number() {
    // Were each finding to read its page or its line once more, these would take minutes.
    let settings = Settings::default();
    for fault in [
        "<esi:x>",
        "</esi:vars>",
        "$(HTTP_HOST)",
        "<ESI:a ",
        "<esi:include src='/a'/>",
        "<!--#x -->",
        "<esi:a <",
    ] {
        for end in ["", "\n"] {
            let page = Bytes::from(format!("{fault}{end}").repeat(60_000));
            let findings = lint(page.clone(), &settings);
            assert!(findings.len() <= 2002, "{}", findings.len());
            let report = Report::new(Path::new("page"), &page, &findings);
            assert!(report.render(false).len() < 3_000_000);
        }
    }
}

/// Whatever the bytes are, they are answered; every finding lies in the page, and every error of the compiler is told.
fn examine(document: Vec<u8>, json: bool) {
    let document = Bytes::from(document);
    let settings = Settings {
        escape: if json { Escape::Json } else { Escape::Html },
        dialects: Dialects {
            esi: true,
            ssi: true,
        },
        ..Settings::default()
    };
    let findings = lint(document.clone(), &settings);
    for finding in &findings {
        let span = &finding.span;
        assert!(
            span.start <= span.end && span.start <= document.len(),
            "{finding:?}"
        );
        assert!(span.end <= document.len() + 1, "{finding:?}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    assert!(errors <= compile(document.clone(), &settings).issues().len());
    let report = Report::new(Path::new("page"), &document, &findings);
    let lines = String::from_utf8_lossy(&document).split('\n').count();
    for row in report.rows() {
        assert!((1..=lines).contains(&row.line), "{row:?}");
        assert!(
            (row.line, row.column) <= (row.end_line, row.end_column),
            "{row:?}"
        );
        let text = String::from_utf8_lossy(&document);
        let line = text.split('\n').nth(row.line - 1).unwrap_or_default();
        assert!(row.column <= line.chars().count() + 1, "{row:?}");
    }
    assert!(!report.render(true).is_empty());
}

const PIECES: [&str; 48] = [
    "<esi:",
    "</esi:",
    "include",
    "choose>",
    "when",
    "otherwise>",
    "try>",
    "attempt>",
    "except>",
    "vars>",
    "foreach",
    "function",
    "assign",
    "text>",
    "remove>",
    "break/>",
    "return",
    " src=",
    " test=",
    " name=",
    " value=",
    " collection=",
    "\"",
    "'",
    ">",
    "/>",
    "/a b",
    "$(HTTP_HOST)",
    "$(x{y}|z)",
    "$lowr(",
    "$f()",
    "1 == 1",
    "&quot;",
    "<!--",
    "-->",
    "<!--esi ",
    "<!--#",
    "include ",
    "virtual=",
    "if expr=",
    "endif -->",
    "echo var=",
    "<![CDATA[",
    "]]>",
    "<ESI:",
    "\n",
    "é",
    "\u{fffd}",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(document in proptest::collection::vec(any::<u8>(), 0..300), json: bool) {
        examine(document, json);
    }

    #[test]
    fn any_page_of_pieces_is_answered(
        pieces in proptest::collection::vec(
            prop_oneof![
                8 => select(PIECES.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
                1 => any::<u8>().prop_map(|byte| vec![byte]),
            ],
            0..60,
        ),
        json: bool,
    ) {
        examine(pieces.concat(), json);
    }
}
