//! `marquetry case`, as its users run it: what it prints of cases that pass and that do not, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Ran {
    code: i32,
    out: String,
    told: String,
}

fn case(files: &[PathBuf]) -> Ran {
    let ended = Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .arg("case")
        .args(files)
        .output()
        .expect("the binary runs");
    Ran {
        code: ended.status.code().expect("an exit code"),
        out: String::from_utf8(ended.stdout).expect("text"),
        told: String::from_utf8(ended.stderr).expect("text"),
    }
}

/// Runs the command on one file with this text.
fn case_of(text: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.toml");
    fs::write(&file, text).expect("a file");
    let mut ran = case(std::slice::from_ref(&file));
    let folder = format!("{}/", folder.path().display());
    ran.told = ran.told.replace(&folder, "");
    ran
}

#[test]
fn all_composition_vectors_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esi");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the vectors")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    let ran = case(&files);
    let failed: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| !line.starts_with("ok "))
        .collect();
    let cases = ran
        .out
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    assert_eq!(failed, [format!("{cases} passed, 0 failed")]);
    assert!(cases >= 188, "{cases}");
    assert_eq!((ran.code, &ran.told[..]), (0, ""));
}

const GOOD: &str = r#"
[[case]]
name = "all-that-a-case-can-say"
feature = "everything"
source = "marquetry"
template = '<esi:vars>$(HTTP_COOKIE{b})$(HTTP_X_IN)$(QUERY_STRING)</esi:vars><esi:include src="/post" method="POST" entity="k=v" setheader="X-Set: s"/><esi:include src="//other.example/o?x=1"/><esi:include src="/gone"/>'
template_headers = { "X-Page" = "p", "ETag" = '"e"' }
chunk_bytes = 3
options = { merge_set_cookie = true }
expected_status = 200
expected_body = "2intail=1POSTEDOTHER"
expected_fetches = ["/post", "//other.example/o", "/gone"]
expected_headers = { "x-page" = "p", "set-cookie" = "f=1" }
absent_response_headers = ["etag"]
max_ms = 20000
flags = ["error_logged"]
confirmed_on = []
[case.request]
path = "/p"
query = "tail=1"
headers = { "X-In" = "in" }
cookies = { z = "1", b = "2" }
[case.fragments."/post"]
body = "POSTED"
headers = { "Set-Cookie" = "f=1" }
delay_ms = 5
[case.fragments."//other.example/o"]
body = "OTHER"
[case.fragments."/gone"]
status = 404
body = "never shown"
[case.expected_requests."/post"]
method = "POST"
body = "k=v"
headers = { "x-set" = "s", "cookie" = "z=1; b=2", "host" = "www.example.com" }
[case.expected_requests."//other.example/o"]
method = "GET"
headers = { "host" = "other.example" }
absent_headers = ["cookie", "x-set"]
"#;

#[test]
fn a_case_that_holds_is_one_line() {
    let ran = case_of(GOOD);
    assert_eq!(ran.out, "ok all-that-a-case-can-say\n1 passed, 0 failed\n");
    assert_eq!((ran.code, &ran.told[..]), (0, ""));
}

#[test]
fn a_case_that_does_not_hold_says_what_differs() {
    let ran = case_of(
        r#"
[[case]]
name = "wrong-in-every-way"
feature = "f"
source = "s"
template = '<p><esi:include src="/a"/></p>'
template_headers = { "X-Page" = "p" }
expected_status = 404
expected_body = "<p>b</p>"
expected_fetches = ["/b"]
expected_headers = { "x-page" = "q", "x-none" = "n" }
absent_response_headers = ["x-page"]
max_ms = 1
flags = ["error_logged"]
[case.fragments."/a"]
body = "a"
delay_ms = 2
[case.expected_requests."/a"]
method = "POST"
body = "k"
headers = { "x-set" = "s" }
absent_headers = ["host"]
[case.expected_requests."/b"]
method = "GET"

[[case]]
name = "right"
feature = "f"
source = "s"
template = "right"
expected_body = "right"
expected_fetches = []
"#,
    );
    let steady: Vec<&str> = ran
        .out
        .lines()
        .filter(|line| !line.trim_start().starts_with("got      ") || !line.ends_with(" ms"))
        .collect();
    insta::assert_snapshot!(steady.join("\n"), @r#"
    ok right
    FAILED wrong-in-every-way: status, body, fetches, request /a, request /b, headers, time, no error
        status
            expected 404
            got      200
        body
            expected "<p>b</p>"
            got      "<p>a</p>"
            the first difference is at byte 3 (line 1, column 4)
        fetches
            not fetched  /b
            not expected /a
        request /a
            method: expected "POST", got "GET"
            body: expected "k", got ""
            x-set: expected "s", got ""
            host is there
        request /b
            it was never asked for
        headers
            x-none: expected "n", got []
            x-page: expected "q", got ["p"]
            x-page: expected none, got ["p"]
        time
            expected at most 1 ms
        no error
            neither a template error nor a failed include was counted
    1 passed, 1 failed
    "#);
    assert_eq!((ran.code, &ran.told[..]), (1, ""));
}

#[test]
fn each_case_has_a_cache_of_its_own() {
    let one = |name: &str, body: &str| {
        format!(
            "[[case]]\nname = '{name}'\nfeature = 'f'\nsource = 's'\ntemplate = '<esi:include src=\"/f\"/>'\n\
             template_headers = {{ 'Cache-Control' = 'max-age=600' }}\nexpected_body = '{body}'\nexpected_fetches = ['/f']\n\
             [case.fragments.'/f']\nbody = '{body}'\nheaders = {{ 'Cache-Control' = 'max-age=600' }}\n"
        )
    };
    let ran = case_of(&(one("first", "1") + &one("second", "2")));
    assert_eq!(ran.out, "ok first\nok second\n2 passed, 0 failed\n");
}

#[test]
fn what_is_no_case_ends_with_2() {
    let none = case(&[PathBuf::from("/nowhere.toml")]);
    assert_eq!((none.code, &none.out[..]), (2, ""));
    assert!(none.told.contains("/nowhere.toml: "), "{}", none.told);
    assert_eq!(case(&[]).code, 2);
    for (text, wanted) in [
        ("[[case]", "cases.toml: TOML parse error at line 1"),
        ("[[case]]\nname = 'a'", "missing field"),
        (
            &GOOD.replace("chunk_bytes", "piece_bytes"),
            "unknown field `piece_bytes`",
        ),
        (
            &GOOD.replace("merge_set_cookie = true", "on_error = 'perhaps'"),
            "case all-that-a-case-can-say: options: ",
        ),
        (&GOOD.repeat(2), "the name is taken"),
    ] {
        let ran = case_of(text);
        assert_eq!((ran.code, &ran.out[..]), (2, ""), "{wanted}");
        assert!(ran.told.contains(wanted), "{wanted}: {}", ran.told);
    }
}
