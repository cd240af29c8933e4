//! `marquetry status`: the upstreams of a running gateway and their servers, as a table.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use crate::cli::admin::{self, Admin, AdminArguments, AdminError, House, Probe, Server, Upstream};
use crate::cli::steer::duration;
use crate::cli::table::{Side, Table};

/// What to show, and how.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// One upstream alone.
    upstream: Option<String>,
    /// Shows it again and again: in place on a terminal, one after the other elsewhere.
    #[arg(long)]
    watch: bool,
    /// How often.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, requires = "watch")]
    every: Duration,
    /// What the gateway answers, as JSON; with `--watch` one line each time.
    #[arg(long, conflicts_with = "upstream")]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Shows it. 0, or 1 when the gateway does not answer, 2 when there is no such upstream.
pub fn status(arguments: &StatusArguments) -> ExitCode {
    admin::run(async {
        let admin = arguments.admin.open()?;
        if arguments.watch {
            watch(&admin, arguments).await
        } else {
            Ok(print(&shown(&admin, arguments).await?))
        }
    })
}

fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn shown(admin: &Admin, arguments: &StatusArguments) -> Result<String, AdminError> {
    if arguments.json {
        return admin.get("/status").await;
    }
    let house = admin.house().await?;
    let one = arguments.upstream.as_deref();
    let one = one.map(|name| house.upstream(name)).transpose()?;
    let upstreams = one.map_or(house.upstreams.as_slice(), std::slice::from_ref);
    Ok(text(&house, upstreams, SystemTime::now()))
}

/// Until nobody reads it any more. A gateway that is away for a moment, as while it is restarted, is said to be and asked again.
async fn watch(admin: &Admin, arguments: &StatusArguments) -> Result<ExitCode, AdminError> {
    let in_place = io::stdout().is_terminal() && !arguments.json;
    let mut first = true;
    loop {
        let text = match shown(admin, arguments).await {
            Ok(text) => text,
            Err(error @ AdminError::Unreachable { .. }) if !first && in_place => {
                format!("{error}\n")
            }
            Err(error @ AdminError::Unreachable { .. }) if !first => {
                eprintln!("marquetry: {error}");
                String::new()
            }
            Err(error) => return Err(error),
        };
        let text = if in_place {
            in_place_of_the_last(&text, first)
        } else if arguments.json || first {
            text
        } else {
            format!("\n{text}")
        };
        if print(&text) != ExitCode::SUCCESS {
            // Whoever read it has seen enough.
            return Ok(ExitCode::SUCCESS);
        }
        first = false;
        tokio::time::sleep(arguments.every).await;
    }
}

/// The text from the top of the screen, without a moment at which it is empty: what is left of the last one is wiped at the end of each line, and below.
fn in_place_of_the_last(text: &str, first: bool) -> String {
    let start = if first {
        "\u{1b}[2J\u{1b}[H"
    } else {
        "\u{1b}[H"
    };
    let lines = text.replace('\n', "\u{1b}[K\n");
    format!("{start}{lines}\u{1b}[J")
}

fn text(house: &House, upstreams: &[Upstream], now: SystemTime) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "marquetry {}, {}, up {}, {} connections, {} requests under way\n",
        house.version,
        if house.ready { "ready" } else { "draining" },
        span(house.uptime_seconds),
        house.connections,
        house.requests_open,
    );
    text + &table(upstreams, now)
}

fn table(upstreams: &[Upstream], now: SystemTime) -> String {
    let number = |name| (name, Side::Right);
    let word = |name| (name, Side::Left);
    let mut table = Table::new(&[
        word("UPSTREAM"),
        number("WEIGHT"),
        word("STATE"),
        number("IN FLIGHT"),
        number("QUEUED"),
        number("SERVED"),
        number("ERRORS"),
        number("P50"),
        number("P99"),
        word("LAST PROBE"),
        word("NOTE"),
    ]);
    for upstream in upstreams {
        let servers = &upstream.servers;
        let sum = |number: fn(&Server) -> u64| servers.iter().map(number).sum::<u64>().to_string();
        let active = servers
            .iter()
            .filter(|server| server.state == "active")
            .count();
        table.row([
            upstream.name.clone(),
            sum(|server| u64::from(server.weight)),
            format!("{active}/{} active", servers.len()),
            sum(|server| server.in_flight),
            upstream.queued.to_string(),
            sum(|server| server.served),
            sum(|server| server.errors),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
        for server in servers {
            table.row(row(server, now));
        }
    }
    table.text("")
}

fn row(server: &Server, now: SystemTime) -> [String; 11] {
    let seconds =
        |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    [
        format!("  -> {}", server.address),
        server.weight.to_string(),
        server.state.clone(),
        server.in_flight.to_string(),
        String::new(),
        server.served.to_string(),
        server.errors.to_string(),
        seconds(server.p50_seconds),
        seconds(server.p99_seconds),
        server
            .last_probe
            .as_ref()
            .map_or_else(|| "-".to_owned(), |last| probe(last, now)),
        note(server),
    ]
}

/// The last health check: `200 in 3 ms, 2 s ago`.
fn probe(probe: &Probe, now: SystemTime) -> String {
    let time: Option<jiff::Timestamp> = probe.time.parse().ok();
    let ago = time.and_then(|time| now.duration_since(time.into()).ok());
    format!(
        "{}, {} ago",
        probe.outcome,
        span(ago.unwrap_or_default().as_secs_f64())
    )
}

/// Why a server does not take its whole share, and since when.
fn note(server: &Server) -> String {
    let since = span(server.since_seconds);
    match server.state.as_str() {
        "active" if server.effective_weight < f64::from(server.weight) => {
            let share = server.effective_weight / f64::from(server.weight.max(1));
            format!("slow start: {:.0} % of its share", share * 100.0)
        }
        "active" => String::new(),
        // What it does not say of itself.
        "draining" | "drained" if !server.healthy => {
            format!("{}, for {since}; and it does not do well", server.reason)
        }
        _ => format!("{}, for {since}", server.reason),
    }
}

/// A time in its two largest units.
fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match (
        whole / 86_400,
        whole / 3_600 % 24,
        whole / 60 % 60,
        whole % 60,
    ) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUSE: &str = r#"{"version": "0.1.0", "uptime_seconds": 7384.5, "ready": true, "connections": 12, "requests_open": 3, "upstreams": [
        {"name": "app", "working": 1, "waiting": 1, "in_flight": 1, "max_in_flight": 1, "queued": 2, "servers": [
            {"address": "127.0.0.1:8110", "weight": 1, "effective_weight": 1.0, "state": "active", "reason": "configured", "since_seconds": 7384.5,
             "healthy": true, "in_flight": 1, "served": 1204, "errors": 0, "p50_seconds": 0.0213, "p99_seconds": 0.31,
             "last_probe": {"time": "2026-11-26T10:00:00.000Z", "good": true, "outcome": "200 in 3 ms"}},
            {"address": "127.0.0.1:8111", "weight": 2, "effective_weight": 0.5, "state": "active", "reason": "ready", "since_seconds": 3,
             "healthy": true, "in_flight": 0, "served": 7, "errors": 0, "p50_seconds": null, "p99_seconds": null, "last_probe": null},
            {"address": "unix:/run/app.sock", "weight": 1, "effective_weight": 0.0, "state": "drained", "reason": "drained by an operator", "since_seconds": 65,
             "healthy": false, "in_flight": 0, "served": 90, "errors": 2, "p50_seconds": null, "p99_seconds": null, "last_probe": null},
            {"address": "127.0.0.1:8113", "weight": 1, "effective_weight": 1.0, "state": "down", "reason": "connection refused", "since_seconds": 90061,
             "healthy": false, "in_flight": 0, "served": 0, "errors": 31, "p50_seconds": null, "p99_seconds": null,
             "last_probe": {"time": "2026-11-26T09:59:59.000Z", "good": false, "outcome": "no answer within 1000 ms"}}]},
        {"name": "pages", "working": 0, "waiting": 0, "in_flight": 0, "max_in_flight": 0, "queued": 0, "servers": []}]}"#;

    #[test]
    fn a_table_tells_how_servers_stand() {
        let house: House = serde_json::from_str(HOUSE).expect("as /status tells it");
        let now: jiff::Timestamp = "2026-11-26T10:00:02.500Z".parse().expect("a time");
        let told = text(&house, &house.upstreams, now.into());
        let wanted = "\
marquetry 0.1.0, ready, up 2 h 3 min, 12 connections, 3 requests under way

UPSTREAM";
        assert!(told.starts_with(wanted), "{told}");
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_screen_is_drawn_over() {
        assert_eq!(
            in_place_of_the_last("a\nb\n", false),
            "\u{1b}[Ha\u{1b}[K\nb\u{1b}[K\n\u{1b}[J"
        );
    }
}
