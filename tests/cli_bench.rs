//! `marquetry bench`: what it counts, what it calls a result, and what it refuses, against servers that follow a script.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use support::{Origin, Recorded, Reply, within};

/// Runs the command to its end, off the test's own thread: the origin goes on answering.
async fn bench(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marquetry"));
        command.arg("bench").args(&arguments).output()
    });
    let output = within("the bench to end", run).await;
    output.expect("no panic").expect("a process")
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let told = String::from_utf8_lossy(&output.stderr);
        panic!("{error}: {told}")
    })
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn seconds(report: &Value, latency: &str, quantile: &str) -> f64 {
    report["targets"][0][latency][quantile]
        .as_f64()
        .expect("a number")
}

#[tokio::test]
async fn it_sends_exactly_what_was_asked_for_over_kept_connections() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::text("0123456789"));
    let target = url(origin.address, "/page");
    let output = bench(&[&target, "-n", "203", "-c", "4", "--threads", "2", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report = json(&output);
    assert_eq!(report["valid"], true);
    let measured = &report["targets"][0];
    assert_eq!(measured["answers"], 203);
    assert_eq!(measured["classes"]["2xx"], 203);
    assert_eq!(measured["body_bytes"], 2030);
    assert_eq!(measured["connections_opened"], 4);
    assert_eq!(origin.count("/page"), 203);
    assert_eq!(origin.connections(), 4);
    let ascending =
        ["p50", "p90", "p99", "p999", "max"].map(|it| seconds(&report, "total_seconds", it));
    assert!(ascending.is_sorted() && ascending[0] > 0.0, "{ascending:?}");
}

#[tokio::test]
async fn the_table_names_rate_classes_quantiles_and_bytes() {
    let origin = Origin::start().await;
    origin.on("/", Reply::text("x"));
    let output = bench(&[&url(origin.address, ""), "-n", "20", "-c", "2"]).await;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in [
        "answers         20 in",
        "2xx 20",
        "first byte",
        "total",
        "p99.9",
        "of bodies",
    ] {
        assert!(table.contains(word), "{word} in {table}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "no progress line where nobody looks"
    );
}

#[tokio::test]
async fn answers_that_are_not_2xx_are_no_result() {
    let origin = Origin::start().await;
    let busy = Reply::text("busy").status(503);
    origin.on_each(
        "/",
        vec![
            Reply::text("ok"),
            busy.clone(),
            Reply::text("ok"),
            busy,
            Reply::text("ok"),
        ],
    );
    let target = url(origin.address, "/");
    let output = bench(&[&target, "-n", "10", "-c", "1"]).await;
    assert_eq!(output.status.code(), Some(1));
    let refusal = format!("not a result:\n  {target}: 2 of 10 answers are 5xx (503: 2)\n");
    assert!(told(&output).ends_with(&refusal), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("NOT A RESULT"));
    let missing = url(origin.address, "/none");
    let allowed = bench(&[&missing, "-n", "5", "--allow-status", "404", "--json"]).await;
    assert_eq!(allowed.status.code(), Some(0), "{}", told(&allowed));
    assert_eq!(json(&allowed)["targets"][0]["statuses"]["404"], 5);
}

#[tokio::test]
async fn odd_servers_are_read_to_the_exact_end() {
    let origin = Origin::start().await;
    origin.on("/closes", Reply::text("0123456789").then_close());
    origin.on("/until-close", Reply::text("0123456789").until_close());
    origin.on("/chunked", Reply::text("0123456789").in_pieces(3));
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    origin.on("/old", Reply::raw(old).then_close());
    origin.on("/early", Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"));
    for (path, connections) in [
        ("/closes", 12),
        ("/until-close", 12),
        ("/chunked", 2),
        ("/old", 12),
        ("/early", 2),
    ] {
        let output = bench(&[&url(origin.address, path), "-n", "12", "-c", "2", "--json"]).await;
        assert_eq!(output.status.code(), Some(0), "{path}: {}", told(&output));
        let measured = &json(&output)["targets"][0];
        assert_eq!(measured["body_bytes"], 120, "{path}");
        assert!(
            measured["connections_opened"].as_u64() >= Some(connections),
            "{path}: {measured}"
        );
        assert_eq!(origin.count(path), 12, "{path}");
    }
}

#[tokio::test]
async fn errors_are_told_by_kind() {
    let origin = Origin::start().await;
    origin.on("/cut", Reply::text("0123456789").cut());
    origin.on("/cut-chunk", Reply::text("0123456789").chunked().cut());
    origin.on("/stall", Reply::text("0123456789").stall());
    origin.on("/slow", Reply::text("late").late(Duration::from_secs(60)));
    origin.on("/noise", Reply::raw("SSH-2.0-x\r\n\r\n").then_close());
    origin.on("/silent", Reply::raw("").then_close());
    for (path, kind) in [
        ("/cut", "cut"),
        ("/cut-chunk", "cut"),
        ("/stall", "timeout"),
        ("/slow", "timeout"),
        ("/noise", "malformed"),
        ("/silent", "closed"),
    ] {
        let target = url(origin.address, path);
        // Short only where the time limit is what is looked at: a busy machine may be slow with the others.
        let limit = if kind == "timeout" { "300ms" } else { "30s" };
        let run = ["-n", "2", "-c", "2", "--timeout", limit, "--json"];
        let output = bench(&[&[target.as_str()], &run[..]].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{path}");
        let report = json(&output);
        assert_eq!(report["valid"], false, "{path}");
        assert_eq!(report["targets"][0]["errors"][kind], 2, "{path}: {report}");
        assert!(
            told(&output).contains(&format!("{kind}: 2")),
            "{}",
            told(&output)
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_at_once() {
    let mut origin = Origin::start().await;
    origin.stop().await;
    let output = bench(&[&url(origin.address, "/")]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told(&output).contains("cannot connect to 127.0.0.1:"),
        "{}",
        told(&output)
    );
    assert!(output.stdout.is_empty());
}

#[tokio::test]
async fn each_user_has_a_cookie_of_their_own() {
    let origin = Origin::start().await;
    origin.on("/", Reply::text("x"));
    let target = url(origin.address, "/");
    let run = [
        "-n",
        "30",
        "-c",
        "3",
        "--users",
        "7",
        "--cookie-name",
        "sid",
    ];
    let output = bench(&[&[target.as_str()], &run[..]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let cookies = origin.requests().into_iter().map(|request| {
        let cookie = request.head.first("cookie").expect("a cookie").to_owned();
        assert!(cookie.starts_with("sid="), "{cookie}");
        cookie
    });
    assert_eq!(cookies.collect::<std::collections::BTreeSet<_>>().len(), 7);
}

/// A page that shows the cookie of the request.
fn greeting(request: &Recorded) -> Reply {
    let cookie = request.head.first("cookie").unwrap_or_default();
    Reply::text(format!("<p>Hello {cookie}</p>"))
}

#[tokio::test]
async fn a_page_of_another_user_is_found() {
    let origin = Origin::start().await;
    origin.answer("/own", greeting);
    origin.on("/nobody", Reply::text("<p>Hello</p>"));
    let kept = std::sync::OnceLock::new();
    origin.answer("/mixed", move |request| {
        kept.get_or_init(|| greeting(request)).clone()
    });
    for (path, check, code, words) in [
        ("/own", "--expect-own", 0, ""),
        (
            "/nobody",
            "--expect-own",
            1,
            "20 of 20 bodies do not show their own user's value",
        ),
        ("/nobody", "--check-users", 0, ""),
        (
            "/mixed",
            "--check-users",
            1,
            "15 of 20 bodies show the value of ANOTHER USER",
        ),
        // The first page is now of an earlier run: another user's too.
        (
            "/mixed",
            "--expect-own",
            1,
            "20 of 20 bodies show the value of ANOTHER USER",
        ),
    ] {
        let target = url(origin.address, path);
        let output = bench(&[&target, "-n", "20", "-c", "2", "--users", "4", check]).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{path}: {}",
            told(&output)
        );
        assert!(told(&output).contains(words), "{path}: {}", told(&output));
    }
    let target = url(origin.address, "/nobody");
    let text = bench(&[&target, "-n", "4", "--expect", "Hello"]).await;
    assert_eq!(text.status.code(), Some(0));
    let text = bench(&[&target, "-n", "4", "--expect", "Goodbye"]).await;
    assert!(
        told(&text).contains("4 of 4 bodies lack the expected text"),
        "{}",
        told(&text)
    );
}

#[tokio::test]
async fn urls_are_drawn_by_zipfs_law() {
    let origin = Origin::start().await;
    origin.on("/*", Reply::text("x"));
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("urls");
    let lines = support::each(1..=20, |number| format!("/page/{number}\n"));
    std::fs::write(&list, lines).expect("a file");
    let target = url(origin.address, "/");
    let file = list.to_str().expect("a name");
    let output = bench(&[
        &target, "-n", "1000", "-c", "2", "--urls", file, "--zipf", "1.2",
    ])
    .await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let (first, tenth) = (origin.count("/page/1"), origin.count("/page/10"));
    // The law gives 330 and 21 of 1,000.
    assert!(
        (270..400).contains(&first) && (5..45).contains(&tenth),
        "{first} {tenth}"
    );
}

#[tokio::test]
async fn an_open_loop_counts_from_when_requests_were_due() {
    let origin = Origin::start().await;
    let stall = Reply::text("x").late(Duration::from_millis(500));
    origin.on_each("/", vec![stall, Reply::text("x")]);
    let target = url(origin.address, "/");
    let output = bench(&[&target, "-n", "40", "-c", "1", "--rate", "100", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report = json(&output);
    // The 40th was due after 390 ms and could leave only after 500: none had less than 110 ms.
    assert!(seconds(&report, "total_seconds", "p50") >= 0.3, "{report}");
    let measured = &report["targets"][0];
    assert_eq!(measured["answers"], 40);
    // A closed loop would have called one request slow and the rest quick.
    assert!(
        seconds(&report, "from_send_seconds", "p50") < seconds(&report, "total_seconds", "p50")
    );
    assert!(seconds(&report, "from_send_seconds", "max") >= 0.5);
}

#[tokio::test]
async fn an_open_loop_does_not_run_ahead_of_its_rate() {
    let origin = Origin::start().await;
    origin.on("/", Reply::text("x"));
    let target = url(origin.address, "/");
    let output = bench(&[&target, "-d", "500ms", "-c", "4", "--rate", "60", "--json"]).await;
    let report = json(&output);
    // Due at 0 ms, at 16.7 ms, and so on to 500 ms.
    assert_eq!(report["targets"][0]["answers"], 31, "{report}");
    assert!(
        report["targets"][0]["seconds"].as_f64() >= Some(0.5),
        "{report}"
    );
}

#[tokio::test]
async fn two_targets_take_turns_and_ratios_are_told() {
    let (quick, slow) = (Origin::start().await, Origin::start().await);
    quick.on("/", Reply::text("x"));
    slow.on("/", Reply::text("x").late(Duration::from_millis(30)));
    let (first, second) = (url(slow.address, "/"), url(quick.address, "/"));
    let run = ["-n", "24", "-c", "2", "--slices", "4", "--json"];
    let output = bench(&[&[first.as_str(), "--against", &second], &run[..]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let report = json(&output);
    assert_eq!(report["targets"][0]["answers"], 24);
    assert_eq!(report["targets"][1]["answers"], 24);
    assert_eq!((slow.count("/"), quick.count("/")), (24, 24));
    let p50 = &report["ratios"]["p50"];
    let [least, median, most] =
        ["least", "median", "most"].map(|it| p50[it].as_f64().expect("a ratio"));
    assert!(least <= median && median <= most && median > 1.0, "{p50}");
    assert!(report["ratios"]["rate"]["median"].as_f64() < Some(1.0));
    // A connection a slice: they take turns instead of running side by side.
    assert_eq!((slow.connections(), quick.connections()), (8, 8));
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let (origin, other, admin) = (
        Origin::start().await,
        Origin::start().await,
        Origin::start().await,
    );
    origin.on("/", Reply::text("x"));
    other.on("/", Reply::text("x"));
    let pages = r#"[{"id":"i","url":"/slow?a=<b>","status":200,"seconds":0.05,"first_byte_seconds":0.001,"spans":[
        {"url":"/slow","depth":0,"parent":null,"outcome":"hit","cache":"hit","started":0,"queued":null,"sent":null,"first_byte":null,"done":0.0001},
        {"url":"http://www.example.com/basket","depth":1,"parent":0,"outcome":"ok","cache":"pass","started":0.0002,"queued":0.0003,"sent":0.01,"first_byte":0.04,"done":0.05}]}]"#;
    admin.on("/pages", Reply::text(pages).then_close());
    let folder = tempfile::tempdir().expect("a folder");
    let (target, against) = (url(origin.address, "/"), url(other.address, "/"));
    let listener = admin.address.to_string();
    let rows: [&[&str]; 2] = [&["--admin", &listener], &["--against", &against]];
    for (number, more) in rows.into_iter().enumerate() {
        let file = folder.path().join(format!("{number}.html"));
        let name = file.to_str().expect("a name");
        let output = bench(&[&[target.as_str(), "-n", "50", "--html", name], more].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let page = read(&file);
        for outside in [
            "http://", "https://", "src=", "href=", "url(", "@import", "<script",
        ] {
            assert!(!page.contains(outside), "{outside} in {name}");
        }
        assert!(page.matches("<svg class=\"plot\"").count() >= 3, "{page}");
        assert!(!page.contains("NaN"), "{page}");
        if number == 0 {
            assert!(
                page.contains("/slow?a=&lt;b&gt;") && page.contains(">/basket<"),
                "{page}"
            );
        }
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("the page")
}

#[tokio::test]
async fn wrong_usage_says_what_is_accepted() {
    for (arguments, words) in [
        (
            &["https://127.0.0.1/"][..],
            "accepted: http://host[:port][/path]",
        ),
        (&["127.0.0.1:80"], "accepted: http://host[:port][/path]"),
        (
            &["http://127.0.0.1/", "-d", "10"],
            "accepted: a time above 0 with its unit",
        ),
        (&["http://127.0.0.1/", "-n", "0"], "0 is not in 1.."),
        (
            &["http://127.0.0.1/", "-n", "5", "-d", "1s"],
            "cannot be used with",
        ),
        (
            &["http://127.0.0.1/", "--rate", "0"],
            "accepted: requests a second",
        ),
        (&["http://127.0.0.1/", "--zipf", "1"], "--urls"),
        (
            &["http://127.0.0.1/", "--urls", "/nowhere/x"],
            "/nowhere/x: ",
        ),
        (
            &["http://127.0.0.1/", "-H", "Transfer-Encoding: x"],
            "this tool's own to say",
        ),
        (&["http://127.0.0.1/", "-H", "a b: x"], "accepted: letters"),
        (&["http://127.0.0.1/", "--expect-own"], "--users 2"),
        (
            &["http://127.0.0.1/", "--expect", "x", "--method", "HEAD"],
            "bodies can be checked only",
        ),
    ] {
        let output = bench(arguments).await;
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
        assert!(
            told(&output).contains(words),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}
