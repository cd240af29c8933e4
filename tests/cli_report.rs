//! `marquetry report`, as its users run it: what an access log comes to.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Gate, Origin, Reply, Setup, ask};

struct Ran {
    code: i32,
    out: String,
    told: String,
}

fn report(arguments: &[&str], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_marquetry"))
        .arg("report")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // One that reads a file does not read its input.
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

const LOG: &str = "fixtures/report/access.log";

/// Written anew with `MARQUETRY_WRITE_EXPECTED=1 cargo test --test cli_report`, and read before it is kept.
#[test]
fn the_table_tells_routes_and_fragments_worst_first() {
    let ran = report(&[LOG], "");
    let expected = "fixtures/report/access.expected";
    if std::env::var_os("MARQUETRY_WRITE_EXPECTED").is_some() {
        std::fs::write(expected, &ran.out).expect("the fixture can be written");
    }
    let wanted = std::fs::read_to_string(expected).unwrap_or_default();
    assert_eq!(ran.out, wanted, "{}", ran.out);
    assert_eq!(
        ran.told,
        format!(
            "marquetry: {LOG}: 3 lines are not of an access log and are left out; the first is line 1\n"
        )
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn standard_input_is_read_as_well() {
    let log = std::fs::read_to_string(LOG).expect("the fixture");
    let (piped, read) = (report(&["-"], &log), report(&[LOG], ""));
    assert_eq!((piped.code, piped.out), (0, read.out));
}

#[test]
fn programs_get_all_of_it() {
    let ran = report(&[LOG, "--json", "--sort", "waiting"], "");
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        (&told["requests"], &told["broken_lines"]),
        (&48.into(), &3.into())
    );
    assert_eq!(told["from"], "2026-11-26T10:00:00.137Z");
    let basket = told["fragments"].as_array().expect("a list").iter();
    let basket = basket
        .clone()
        .find(|row| row["name"] == "www.example.com/fragments/basket");
    let basket = basket.expect("a row");
    assert_eq!(basket["count"], 40);
    assert_eq!(basket["app_seconds"], 3.96);
    assert_eq!(basket["queue_seconds"], 5.85);
    assert_eq!(basket["total_seconds"], 9.81);
    assert_eq!(basket["waiting"], 0.596);
    assert_eq!(
        told["routes"][0]["name"], "/api/",
        "it did nothing but wait"
    );
}

#[test]
fn rows_are_as_many_and_as_apart_as_wanted() {
    let ran = report(&[LOG, "--top", "1", "--query"], "");
    assert!(
        ran.out.contains("and 2 more: --top 0 shows all"),
        "{}",
        ran.out
    );
    let ran = report(&[LOG, "--top", "0", "--query", "--sort", "count"], "");
    assert!(
        ran.out.contains("  /fragments/greeting?u=39\n"),
        "{}",
        ran.out
    );
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let ran = report(&["-"], "");
    assert_eq!(ran.code, 1);
    assert!(ran.told.contains("no request in it"), "{}", ran.told);
    let ran = report(&["no/such.log"], "");
    assert_eq!(ran.code, 2);
    assert!(
        ran.told.starts_with("marquetry: no/such.log: "),
        "{}",
        ran.told
    );
}

/// What the gateway writes is what the report reads.
#[tokio::test]
async fn a_gateway_s_log_tells_waiting_from_work() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        Reply::html("<esi:include src=\"/f?1\"/><esi:include src=\"/f?2\"/>"),
    );
    let held = Reply::html("x").header("Cache-Control", "private");
    origin.on("/f", held.behind(&gate));
    let gateway = Setup::new()
        .upstream("pages", &origin, "")
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "pages", "compose = \"always\"")
        .route("/f", "app", "")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page").bytes()).await;
    // The page and one of its fragments are there, and the other one waits.
    origin.arrived_in_all(2).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    let least = Duration::from_millis(20);
    tokio::time::sleep(least).await;
    gate.open();
    client.answer().await.is(200, "xx");
    gateway.printed("\"path\":\"/page\"").await;
    let ran = report(&["-", "--json"], &gateway.stdout().join("\n"));
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    let row = &told["fragments"][0];
    let seconds = |name: &str| row[name].as_f64().expect("a number");
    assert_eq!(
        (&row["name"], &row["count"]),
        (&"www.example.com/f".into(), &2.into())
    );
    let (work, waiting) = (seconds("app_seconds"), seconds("queue_seconds"));
    assert!(work.min(waiting) >= least.as_secs_f64(), "{row}");
    assert!(
        work + waiting <= seconds("total_seconds") + 0.001,
        "no time is both: {row}"
    );
}
