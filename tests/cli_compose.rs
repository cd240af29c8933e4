//! `marquetry compose`, as its users run it: what it prints where, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

struct Ran {
    code: i32,
    out: String,
    told: String,
}

/// Runs the command in a folder.
fn compose(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .arg("compose")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // A command that refuses its arguments does not read.
    let _ = child
        .stdin
        .take()
        .expect("its input")
        .write_all(input.as_bytes());
    let ended = child.wait_with_output().expect("it ends");
    Ran {
        code: ended.status.code().expect("an exit code"),
        out: String::from_utf8(ended.stdout).expect("text"),
        told: String::from_utf8(ended.stderr).expect("text"),
    }
}

#[test]
fn a_page_is_composed_from_files() {
    let files = folder(&[
        (
            "page.html",
            "<esi:include src=\"/header\"/>|<esi:include src=\"menu?n=1\"/>|<esi:include src=\"menu?n=2\"/>|<!--#include virtual=\"/d/\" -->",
        ),
        ("f/header.html", "H<esi:include src=\"/a/b\"/>"),
        (
            "f/a/b",
            "ab <esi:vars>$(REQUEST_METHOD) $(HTTP_COOKIE{g})</esi:vars>",
        ),
        ("f/menu?n=1", "one"),
        ("f/menu", "any"),
        ("f/d/index.html", "index"),
    ]);
    let ran = compose(
        files.path(),
        &[
            "page.html",
            "--fragments",
            "f",
            "--method",
            "POST",
            "--cookie",
            "a=b",
            "--cookie",
            "g=<x>",
        ],
        "",
    );
    assert_eq!(
        (ran.code, &ran.out[..], &ran.told[..]),
        (0, "Hab POST &lt;x&gt;|one|any|index", "")
    );
}

#[test]
fn a_page_comes_from_standard_input_too() {
    let ran = compose(
        Path::new("/"),
        &[
            "-",
            "--url",
            "http://shop.example/list?q=1",
            "--header",
            "X-Tier: gold",
        ],
        "<esi:vars>$(HTTP_HOST) $(REQUEST_PATH) $(QUERY_STRING{q}) $(HTTP_X_TIER)</esi:vars>\n <esi:oops/>",
    );
    assert_eq!(ran.out, "shop.example /list 1 gold\n ");
    assert_eq!(ran.told, "<stdin>:2:2: error: unknown element esi:oops\n");
    assert_eq!(ran.code, 1);
}

#[test]
fn faults_are_told_with_the_place_of_their_tag() {
    let files = folder(&[
        (
            "page.html",
            "<p>\n  <esi:include src=\"/none\"/>\n  <esi:include src=\"/has-faults\"/>\n<esi:vars>$int('x')</esi:vars><esi:remove>",
        ),
        ("f/has-faults", "ü <!--#include virtual=\"/none\" --> ok"),
    ]);
    let ran = compose(files.path(), &["page.html", "--fragments", "f"], "");
    assert_eq!(
        ran.out,
        "<p>\n  \n  ü [an error occurred while processing the directive] ok\n"
    );
    insta::assert_snapshot!(ran.told, @r#"
    page.html:4:11: error: $int takes a number of at most 64 bits as argument 1, was given text
    page.html:4:31: error: esi:remove is never closed
    page.html:2:3: error: include of http://localhost/none failed: no file for it below f; nothing is shown
    f/has-faults:1:3: error: include of http://localhost/none failed: no file for it below f; the error message is shown
    "#);
    assert_eq!(ran.code, 1);
}

#[test]
fn what_the_page_copes_with_is_a_note() {
    let files = folder(&[
        (
            "page.html",
            "<esi:include src=\"/none\" onerror=\"continue\"/><esi:include src=\"/none\" alt=\"/there\"/>\
             <esi:try><esi:attempt><esi:include src=\"/none\"/></esi:attempt><esi:except>except</esi:except></esi:try>\
             <!--#block name=\"s\" -->stub<!--#endblock --><!--#include virtual=\"/none\" stub=\"s\" -->",
        ),
        ("f/there", "there "),
    ]);
    let ran = compose(files.path(), &["page.html", "--fragments", "f"], "");
    assert_eq!((ran.code, &ran.out[..]), (0, "there exceptstub"));
    insta::assert_snapshot!(ran.told, @r#"
    page.html:1:1: note: include of http://localhost/none failed: no file for it below f; nothing is shown, as onerror says
    page.html:1:46: note: include of http://localhost/none failed: no file for it below f; its alt is tried
    page.html:1:107: note: include of http://localhost/none failed: no file for it below f; the attempt fails
    page.html:1:232: note: include of http://localhost/none failed: no file for it below f; its stub is shown
    "#);
}

#[test]
fn what_a_page_does_to_its_head_is_told() {
    let ran = compose(
        Path::new("/"),
        &["-"],
        "<esi:vars>$set_response_code(404)$add_header('X-A', 'b c')</esi:vars>gone",
    );
    assert_eq!((ran.code, &ran.out[..]), (0, "gone"));
    insta::assert_snapshot!(ran.told, @r#"
    <stdin>: the response has status 404
    <stdin>: the response has the header x-a: b c
    "#);
    let ran = compose(
        Path::new("/"),
        &["-"],
        "<esi:vars>$set_redirect('/login')</esi:vars>",
    );
    assert_eq!((ran.code, &ran.out[..]), (0, ""));
    insta::assert_snapshot!(ran.told, @r#"
    <stdin>: the response has status 302
    <stdin>: the response redirects to /login
    "#);
}

#[test]
fn types_and_dialects_decide_how_a_page_is_read() {
    let json = "{\"a\": <esi:include src=\"/a.json\"/>, \"b\": \"<esi:vars>$(HTTP_COOKIE{c})</esi:vars>\"}";
    let files = folder(&[
        ("page.json", json),
        ("f/a.json", "[1, <esi:include src='/b.txt'/>]"),
        ("f/b.txt", "<esi:include src='/c'/>"),
        ("f/c", "\"c\""),
    ]);
    let cookie = ["--cookie", "c=\"x\"", "--fragments", "f"];
    let with = |more: &[&'static str], input: &str| {
        compose(files.path(), &[&cookie[..], more].concat(), input)
    };
    let ran = with(&["page.json"], "");
    assert_eq!(
        ran.out,
        "{\"a\": [1, <esi:include src='/c'/>], \"b\": \"\\\"x\\\"\"}"
    );
    assert_eq!(
        with(&["-", "--type", "application/json"], json).out,
        ran.out
    );
    assert!(with(&["-"], json).out.contains("\"&quot;x&quot;\""));
    let both = "<esi:include src='/c'/><!--#echo var='cookie_c' encoding='none' -->";
    for (dialect, wanted) in [
        ("both", "\"c\"\"x\""),
        ("esi", "\"c\"<!--#echo var='cookie_c' encoding='none' -->"),
        ("ssi", "<esi:include src='/c'/>\"x\""),
    ] {
        assert_eq!(
            with(&["-", "--dialect", dialect], both).out,
            wanted,
            "{dialect}"
        );
    }
}

#[test]
fn no_include_leads_out_of_the_folder() {
    let files = folder(&[("secret", "secret"), ("f/a", "a"), ("f/h.example/b", "b")]);
    std::os::unix::fs::symlink("../secret", files.path().join("f/link")).expect("a link");
    std::os::unix::fs::symlink("..", files.path().join("f/up")).expect("a link");
    for src in [
        "../secret",
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/a/..%2f..%2fsecret",
        "/..%5csecret",
        "/link",
        "/up/secret",
        "//../secret",
        "//h.example/../../secret",
        "//h.example/..%2f..%2fsecret",
        "/a?/../../secret",
        "file:///etc/hostname",
        "/a%00",
    ] {
        let page = format!("<esi:include src=\"{src}\"/>.");
        let ran = compose(files.path(), &["-", "--fragments", "f"], &page);
        assert!([".", "a."].contains(&&ran.out[..]), "{src}: {}", ran.out);
        assert!(!ran.told.contains("secret\n"), "{src}: {}", ran.told);
    }
    let other = compose(
        files.path(),
        &["-", "--fragments", "f"],
        "<esi:include src=\"//h.example/b\"/><esi:include src=\"//i.example/b\"/>",
    );
    assert_eq!((other.code, &other.out[..]), (1, "b"));
    assert!(
        other.told.contains("no route for this URL"),
        "{}",
        other.told
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    let files = folder(&[("page.html", "x")]);
    for wrong in [
        &["none.html"][..],
        &[],
        &["page.html", "--fragments", "none"],
        &["page.html", "--fragments", "page.html"],
        &[
            "page.html",
            "--fragments",
            ".",
            "--upstream",
            "http://127.0.0.1:1",
        ],
        &["page.html", "--upstream", "https://127.0.0.1:1"],
        &["page.html", "--header", "no colon"],
        &["page.html", "--cookie", "none"],
        &["page.html", "--url", "ftp://h/"],
        &["page.html", "--type", "html"],
        &["page.html", "--dialect", "xml"],
        &["page.html", "--json"],
    ] {
        let ran = compose(files.path(), wrong, "");
        assert_eq!((ran.code, &ran.out[..]), (2, ""), "{wrong:?}: {}", ran.told);
        assert!(!ran.told.is_empty(), "{wrong:?}");
    }
}

const PLANNED: &str = "\
<esi:include src=\"/header?u=$(HTTP_COOKIE{u})\" alt=\"/plain\" maxwait=\"250\"/>
<esi:choose>
  <esi:when test=\"$(HTTP_COOKIE{u}) == 'ann'\"><esi:include src=\"/offer\" onerror=\"continue\"/></esi:when>
  <esi:otherwise><esi:include src=\"/login\"/></esi:otherwise>
</esi:choose>
<esi:try><esi:attempt><esi:include src=\"//ads.example/top\"/></esi:attempt>
<esi:except><esi:include src=\"/no-ads\"/></esi:except></esi:try>
<esi:foreach collection=\"[1..2]\"><esi:include src=\"/item/$(item)\"/></esi:foreach>
<!--#if expr=\"$arg_x\" --><!--#include virtual=\"/ssi\" --><!--#endif -->
<esi:eval src=\"/rules\" method=\"POST\" entity=\"a=b\"/>
<esi:include src=\"/page.html\"/>
";

#[test]
fn a_plan_says_what_would_be_fetched() {
    let files = folder(&[("page.html", PLANNED)]);
    let ran = compose(
        files.path(),
        &["page.html", "--plan", "--cookie", "u=ann"],
        "",
    );
    insta::assert_snapshot!(ran.out, @r#"
    page.html http://localhost/page.html
      1:1 GET http://localhost/header?u=ann
          alt GET http://localhost/plain
          maxwait 250 ms
      3:47 GET http://localhost/offer
          onerror continue
          when $(HTTP_COOKIE{u}) == 'ann' (3:19)
      4:18 not for this request: <esi:include src="/login"/>
          otherwise
      6:23 GET http://ads.example/top
      7:13 on failure GET http://localhost/no-ads
          except: only when the attempt fails (6:1)
      8:34 GET http://localhost/item/1
           GET http://localhost/item/2
          <esi:foreach collection="[1..2]"> (8:1)
      9:26 not for this request: <!--#include virtual="/ssi" -->
          <!--#if expr="$arg_x" --> (9:1)
      10:1 POST http://localhost/rules (esi:eval) with the body "a=b"
          evaluated in this document: what it includes and sets is known only once it is fetched
      11:1 <esi:include src="/page.html"/>: the document would include itself
    6 fetches, up to 2 more where one fails, 2 not for this request
    what fragments include themselves is known only once they are fetched
    "#);
    assert_eq!(
        ran.told,
        "page.html:11:1: error: include of http://localhost/page.html failed: the document would include itself; nothing is shown\n"
    );
    assert_eq!(ran.code, 1);
}

#[test]
fn a_plan_reads_on_in_files() {
    let files = folder(&[
        (
            "page.html",
            "<esi:include src=\"/a\"/>\n<esi:include src=\"/none\" alt=\"/b\"/>",
        ),
        ("f/a", "a\n <esi:include src=\"/b\"/>"),
        (
            "f/b",
            "<esi:include src=\"c\" ttl=\"5m\" no-store=\"on\" dca=\"none\"/>",
        ),
        ("f/c", "c"),
    ]);
    let ran = compose(
        files.path(),
        &["page.html", "--plan", "--fragments", "f"],
        "",
    );
    insta::assert_snapshot!(ran.out, @r#"
    page.html http://localhost/page.html
      1:1 GET http://localhost/a
          f/a (depth 2):
            2:2 GET http://localhost/b
                f/b (depth 3):
                  1:1 GET http://localhost/c (2 times)
                      ttl 300 s
                      no-store
                      dca none
      2:1 GET http://localhost/none: no file for it below f
          alt GET http://localhost/b
          includes what stands above at the same URL
    6 fetches
    "#);
    assert_eq!(ran.code, 0, "{}", ran.told);
}

#[test]
fn a_plan_is_json_on_request() {
    let files = folder(&[("page.html", PLANNED)]);
    let ran = compose(
        files.path(),
        &["page.html", "--plan", "--json", "--url", "/page.html?x=1"],
        "",
    );
    let plan: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(plan["url"], "http://localhost/page.html?x=1");
    assert_eq!(plan["fetches"], 8);
    assert_eq!(plan["fetches_on_failure"], 2);
    assert_eq!(plan["not_for_this_request"], 1);
    let steps = plan["steps"].as_array().expect("steps");
    let fetched: Vec<_> = steps.iter().map(|step| step["fetched"].as_str()).collect();
    let wanted = [
        "yes",
        "no",
        "yes",
        "yes",
        "on failure",
        "yes",
        "yes",
        "yes",
        "yes",
    ];
    assert_eq!(fetched, wanted.map(Some));
    let first = &steps[0];
    assert_eq!(first["requests"][0]["url"], "http://localhost/header?u=");
    assert_eq!(first["alt"][0], "http://localhost/plain");
    assert_eq!(first["maxwait_seconds"], 0.25);
    assert_eq!((&first["line"], &first["column"]), (&1.into(), &1.into()));
    assert_eq!(first["depth"], 1);
    assert_eq!(
        steps[1]["conditions"][0]["text"],
        "when $(HTTP_COOKIE{u}) == 'ann'"
    );
    assert_eq!(steps[7]["requests"][0]["entity"], "a=b");
}

/// A server that answers so many requests with what the function makes of them, each on a connection of its own.
fn server(requests: usize, answer: fn(&str) -> String) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let (heard, hears) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().take(requests) {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let read = stream.read_line(&mut head).expect("a head");
                assert!(read > 0, "a whole head");
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a length"));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            head.push_str(&String::from_utf8(body).expect("text"));
            let answer = answer(&head);
            heard.send(head).expect("the test listens");
            stream
                .get_mut()
                .write_all(answer.as_bytes())
                .expect("an answer");
        }
    });
    (address, hears)
}

fn reply(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn fragments_come_from_the_upstream_and_from_nowhere_else() {
    let (address, hears) = server(4, |head| match head.split(' ').nth(1) {
        Some("/a?x=1") => reply("200 OK", "A<esi:include src='/b'/>"),
        Some("/b") => reply("200 OK", "B"),
        Some("/form") => reply("200 OK", "F"),
        _ => reply("503 Service Unavailable", "an error page"),
    });
    let page = "<esi:include src='/a?x=1' setheader='X-Set: s'/>\n<esi:include src='http://other.example:81/c'/>\n\
                <esi:include src='/form' method='POST' entity='k=v'/>";
    let upstream = format!("http://{address}");
    let ran = compose(
        Path::new("/"),
        &[
            "-",
            "--upstream",
            &upstream,
            "--url",
            "http://shop.example/p",
            "--cookie",
            "sid=1",
            "--header",
            "X-Mine: m",
            "--header",
            "If-None-Match: \"e\"",
        ],
        page,
    );
    assert_eq!(ran.out, "AB\n\nF");
    assert_eq!(
        ran.told,
        "<stdin>:2:1: error: include of http://other.example:81/c failed: status 503; nothing is shown\n"
    );
    assert_eq!(ran.code, 1);
    let heard: Vec<String> = hears.iter().take(4).collect();
    let find = |target: &str| {
        let found = heard
            .iter()
            .find(|head| head.contains(&format!(" {target} ")));
        found.unwrap_or_else(|| panic!("{target} in {heard:?}"))
    };
    let own = find("/a?x=1");
    for line in [
        "host: shop.example\r\n",
        "cookie: sid=1\r\n",
        "x-mine: m\r\n",
        "x-set: s\r\n",
    ] {
        assert!(own.contains(line), "{line} in {own}");
    }
    assert!(!own.contains("if-none-match"), "{own}");
    let other = find("/c");
    assert!(other.contains("host: other.example:81\r\n"), "{other}");
    assert!(!other.contains("cookie"), "{other}");
    let form = find("/form");
    assert!(
        form.starts_with("POST ") && form.ends_with("\r\n\r\nk=v"),
        "{form}"
    );
    assert!(find("/b").contains("cookie: sid=1\r\n"));
}

#[test]
fn an_upstream_that_is_not_there_fails_the_include() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let upstream = format!("http://{}", gone.local_addr().expect("its address"));
    drop(gone);
    let ran = compose(
        Path::new("/"),
        &["-", "--upstream", &upstream],
        "a<esi:include src='/x'/>b",
    );
    assert_eq!((ran.code, &ran.out[..]), (1, "ab"));
    assert!(
        ran.told
            .starts_with("<stdin>:1:2: error: include of http://localhost/x failed: ")
    );
}

#[test]
fn a_plan_asks_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let upstream = format!("http://{}", listener.local_addr().expect("its address"));
    let ran = compose(
        Path::new("/"),
        &["-", "--plan", "--upstream", &upstream],
        "<esi:include src='/x'/>",
    );
    assert_eq!(ran.code, 0);
    listener.set_nonblocking(true).expect("a socket");
    assert!(listener.accept().is_err(), "nobody has connected");
}
