//! `marquetry report`: what an access log says of where the time went, worst first.
//!
//! Work and waiting are told apart: a fragment that is slow in its application wants another query, one that waits wants another
//! server.

mod line;
mod tally;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::report::tally::{Query, Report, Row};
use crate::cli::table::{Side, Table};

/// Routes and URLs that are told apart at a time.
const MOST_KEYS: usize = 4096;

/// Longest line that is read, in bytes: one of a page with as many fragments as are recorded, each with a URL as long as is recorded, is shorter.
const LONGEST_LINE: usize = 4 << 20;

/// Which log, and what of it.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The access log; `-` reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Rows of each table; 0: all.
    #[arg(long, default_value_t = 30)]
    top: usize,
    /// What is worst.
    #[arg(long, value_enum, default_value_t = Sort::Total)]
    sort: Sort,
    /// Tells fragments apart that differ only in the query of their URLs.
    #[arg(long)]
    query: bool,
    /// All rows as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// The time that all of them took.
    Total,
    /// The time that one of them took.
    Mean,
    /// The time that the slower ones took.
    P95,
    /// The time in applications.
    App,
    /// The time that was spent waiting for a server.
    Queue,
    /// The waiting as a share of the time with servers.
    Waiting,
    /// How many there were.
    Count,
    /// How many failed.
    Failed,
}

/// Reads the log and tells. 0, or 1 where it holds no request, 2 where it cannot be read.
pub fn report(arguments: &ReportArguments) -> ExitCode {
    let query = if arguments.query {
        Query::Kept
    } else {
        Query::Dropped
    };
    let name = arguments.file.display();
    let report = match read(&arguments.file, query) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("marquetry: {name}: {error}");
            return ExitCode::from(super::WRONG);
        }
    };
    let text = if arguments.json {
        json(&report, arguments.sort)
    } else {
        text(&report, arguments.sort, arguments.top)
    };
    let mut out = io::stdout().lock();
    if out
        .write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_err()
    {
        return ExitCode::FAILURE;
    }
    drop(out);
    if report.broken > 0 {
        eprintln!("marquetry: {name}: {}", told_broken(&report));
    }
    if report.requests == 0 {
        eprintln!(
            "marquetry: {name}: no request in it; an access log is what `log.access` names, one line of JSON a request"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn read(path: &Path, query: Query) -> io::Result<Report> {
    let mut report = Report::new(query, MOST_KEYS);
    if path == Path::new("-") {
        read_from(io::stdin().lock(), &mut report)?;
    } else {
        read_from(
            BufReader::with_capacity(1 << 18, File::open(path)?),
            &mut report,
        )?;
    }
    Ok(report)
}

fn read_from(mut log: impl BufRead, report: &mut Report) -> io::Result<()> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let piece = log.fill_buf()?;
        if piece.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', piece);
        let taken = end.map_or(piece.len(), |end| end + 1);
        too_long |= line.len() + taken > LONGEST_LINE;
        if too_long {
            line.clear();
        } else {
            line.extend_from_slice(piece.get(..end.unwrap_or(taken)).unwrap_or_default());
        }
        log.consume(taken);
        if end.is_some() {
            take(&mut line, &mut too_long, report);
        }
    }
    if too_long || !line.is_empty() {
        // The last line has no end: it is being written, or was cut.
        take(&mut line, &mut too_long, report);
    }
    Ok(())
}

fn take(line: &mut Vec<u8>, too_long: &mut bool, report: &mut Report) {
    if std::mem::take(too_long) {
        report.broken();
    } else {
        report.line(line);
    }
    line.clear();
}

/// The rows, worst first, and those that were counted together as the last.
fn sorted((mut rows, others): (Vec<Row>, Option<Row>), sort: Sort) -> Vec<Row> {
    let worth = |row: &Row| match sort {
        Sort::Total => row.total_seconds,
        Sort::Mean => row.mean_seconds,
        Sort::P95 => row.p95_seconds,
        Sort::App => row.app_seconds,
        Sort::Queue => row.queue_seconds,
        Sort::Waiting => row.waiting,
        Sort::Count => row.count as f64,
        Sort::Failed => row.failed as f64,
    };
    rows.sort_by(|left, right| {
        let order = worth(right).total_cmp(&worth(left));
        order
            .then_with(|| right.total_seconds.total_cmp(&left.total_seconds))
            .then_with(|| left.name.cmp(&right.name))
    });
    rows.extend(others);
    rows
}

fn json(report: &Report, sort: Sort) -> String {
    let span = report.span.as_ref();
    let value = serde_json::json!({
        "requests": report.requests,
        "broken_lines": report.broken,
        "from": span.map(|(first, _)| first),
        "to": span.map(|(_, last)| last),
        "routes": sorted(report.routes.rows(), sort),
        "fragments": sorted(report.fragments.rows(), sort),
    });
    format!("{value:#}\n")
}

fn text(report: &Report, sort: Sort, top: usize) -> String {
    let routes = sorted(report.routes.rows(), sort);
    let mut fragments = sorted(report.fragments.rows(), sort);
    without_the_only_host(&mut fragments);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{}", counted(report.requests, "request"));
    if let Some((first, last)) = &report.span {
        let _ = write!(text, " from {first} to {last}");
    }
    text.push_str(", times in seconds\n");
    for (name, rows) in [("ROUTE", &routes), ("FRAGMENT", &fragments)] {
        if rows.is_empty() {
            continue;
        }
        let shown = if top == 0 {
            rows.len()
        } else {
            rows.len().min(top)
        };
        let _ = write!(text, "\n{}", table(name, &rows[..shown]));
        let left = rows.len() - shown;
        if left > 0 {
            let _ = writeln!(text, "and {left} more: --top 0 shows all");
        }
    }
    if report.requests > 0 {
        text.push_str("\nAPP: servers worked for it. QUEUE: it waited for one of them to be free. WAITING: the share of QUEUE in both.\nA route counts all fetches of its pages, which run side by side, so both can be more than TOTAL.\n");
    }
    text
}

fn table(name: &str, rows: &[Row]) -> String {
    let number = |name| (name, Side::Right);
    let mut table = Table::new(&[
        number("COUNT"),
        number("FAILED"),
        number("TOTAL"),
        number("MEAN"),
        number("P95"),
        number("APP"),
        number("QUEUE"),
        number("WAITING"),
        (name, Side::Left),
    ]);
    for row in rows {
        let seconds = |seconds: f64| format!("{seconds:.3}");
        table.row([
            row.count.to_string(),
            row.failed.to_string(),
            seconds(row.total_seconds),
            seconds(row.mean_seconds),
            seconds(row.p95_seconds),
            seconds(row.app_seconds),
            seconds(row.queue_seconds),
            format!("{:.1} %", row.waiting * 100.0),
            row.name.clone(),
        ]);
    }
    table.text("")
}

/// Where all fragments are of one host, its name says nothing.
fn without_the_only_host(rows: &mut [Row]) {
    let host = |row: &Row| row.name.find('/').map(|end| row.name[..end].to_owned());
    let Some(first) = rows.first().and_then(host) else {
        return;
    };
    if rows
        .iter()
        .all(|row| row.name.starts_with('(') || host(row).as_ref() == Some(&first))
    {
        for row in rows {
            if let Some(path) = row.name.strip_prefix(&first) {
                row.name = path.to_owned();
            }
        }
    }
}

fn told_broken(report: &Report) -> String {
    let verb = if report.broken == 1 { "is" } else { "are" };
    let first = report.first_broken.unwrap_or_default();
    format!(
        "{} {verb} not of an access log and {verb} left out; the first is line {first}",
        counted(report.broken, "line")
    )
}

fn counted(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_their_length_and_pieces() {
        let good = r#"{"time":"t","host":"a","path":"/","status":200,"seconds":1,"route":"/"}"#;
        let long = format!("{{\"x\":\"{}\"}}", "x".repeat(LONGEST_LINE));
        let log = format!("{good}\n{long}\nno\n{good}\n{good}");
        for capacity in [1, 7, 1 << 16] {
            let mut report = Report::new(Query::Dropped, 10);
            read_from(
                BufReader::with_capacity(capacity, log.as_bytes()),
                &mut report,
            )
            .expect("memory can be read");
            assert_eq!(
                (report.requests, report.broken, report.first_broken),
                (3, 2, Some(2))
            );
        }
    }

    #[test]
    fn the_only_host_is_not_told() {
        let mut report = Report::new(Query::Dropped, 10);
        for url in ["/a", "/b"] {
            let line = format!(
                r#"{{"time":"t","host":"one","path":"/","status":200,"seconds":1,"route":"/","fragments":{{"each":[{{"url":"{url}","seconds":1}}]}}}}"#
            );
            report.line(line.as_bytes());
        }
        let told = text(&report, Sort::Total, 0);
        assert!(told.contains("  /a\n") && !told.contains("one/"), "{told}");
    }
}
