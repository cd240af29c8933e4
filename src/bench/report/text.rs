//! The report for a terminal: a table, one column a target.

use std::fmt::Write;

use crate::bench::duel::Ratio;
use crate::bench::report::{Measured, Quantiles, Report};

/// Draws it. What is no result is said before and after the figures.
pub fn draw(report: &Report) -> String {
    let mut out = String::new();
    for target in &report.targets {
        one(&mut out, report, target);
    }
    if let Some(ratios) = &report.ratios {
        let slices = report.duel.as_ref().map_or(0, |duel| duel.slices.len());
        let _ = writeln!(
            out,
            "first / second, median of {slices} slices (least to most)"
        );
        for (name, ratio) in [
            ("rate", &ratios.rate),
            ("first byte p50", &ratios.first_byte_p50),
            ("total p50", &ratios.p50),
            ("total p99", &ratios.p99),
        ] {
            let text = ratio.as_ref().map_or("-".to_owned(), times);
            let _ = writeln!(out, "  {name:<15} {text}");
        }
    }
    out
}

fn times(ratio: &Ratio) -> String {
    format!(
        "{}  ({} to {})",
        digits(ratio.median),
        digits(ratio.least),
        digits(ratio.most)
    )
}

/// A ratio with two places, and more where these would tell nothing of it.
pub fn digits(ratio: f64) -> String {
    let small = ratio > 0.0 && ratio < 0.1;
    let places = if small {
        1.0 - ratio.log10().floor()
    } else {
        2.0
    };
    format!("{ratio:.0$}", places.min(9.0) as usize)
}

fn one(out: &mut String, report: &Report, target: &Measured) {
    let _ = writeln!(out, "{}", target.url);
    let settings = &report.settings;
    let way = match settings.rate {
        Some(rate) => format!("open loop at {rate}/s (latency from when each request was due)"),
        None => "closed loop".to_owned(),
    };
    let mut traits = vec![format!("{} connections", settings.connections), way];
    if settings.users > 0 {
        traits.push(format!("{} users", settings.users));
    }
    if settings.urls > 1 {
        traits.push(format!("{} URLs, Zipf {}", settings.urls, settings.zipf));
    }
    let _ = writeln!(out, "  {}", traits.join(", "));
    let heading = if report.valid {
        "answers"
    } else {
        "NOT A RESULT"
    };
    let _ = writeln!(
        out,
        "  {heading:<15} {} in {:.2} s, {:.1}/s: {}",
        target.answers,
        target.seconds,
        target.rate,
        listed(target.classes.iter())
    );
    if !target.errors.is_empty() {
        let _ = writeln!(out, "  {:<15} {}", "errors", listed(target.errors.iter()));
    }
    let _ = writeln!(
        out,
        "  {:<15} {} of bodies, {} received, {}/s",
        "bytes",
        bytes(target.body_bytes as f64),
        bytes(target.received_bytes as f64),
        bytes(if target.seconds > 0.0 {
            target.received_bytes as f64 / target.seconds
        } else {
            0.0
        })
    );
    let _ = writeln!(
        out,
        "  {:<15} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "latency", "p50", "p90", "p99", "p99.9", "max"
    );
    latency(out, "first byte", &target.first_byte_seconds);
    latency(out, "total", &target.total_seconds);
    if let Some(from_send) = &target.from_send_seconds {
        latency(out, "  from the send", from_send);
    }
    if target.bodies_checked > 0 {
        let _ = writeln!(out, "  {:<15} {}", "bodies checked", target.bodies_checked);
    }
    if let Some(cost) = target.own_cpu_seconds_per_1000 {
        let _ = writeln!(
            out,
            "  {:<15} {cost:.4} CPU s per 1,000 answers, {} connections opened",
            "own cost", target.connections_opened
        );
    }
}

fn latency(out: &mut String, name: &str, quantiles: &Quantiles) {
    let Quantiles {
        p50,
        p90,
        p99,
        p999,
        max,
        ..
    } = *quantiles;
    let cells = [p50, p90, p99, p999, max].map(|it| format!("{:>10}", seconds(it)));
    let _ = writeln!(out, "  {name:<15} {}", cells.join(" "));
}

fn listed<K: std::fmt::Display, V: std::fmt::Display>(
    rows: impl Iterator<Item = (K, V)>,
) -> String {
    let rows: Vec<_> = rows
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if rows.is_empty() {
        "none".to_owned()
    } else {
        rows.join(", ")
    }
}

/// A time in a unit that people read.
pub fn seconds(seconds: f64) -> String {
    let (value, unit) = if seconds < 0.001 {
        (seconds * 1e6, "µs")
    } else if seconds < 1.0 {
        (seconds * 1e3, "ms")
    } else {
        (seconds, "s")
    };
    let digits = if unit == "µs" || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A number of bytes in a unit that people read.
pub fn bytes(count: f64) -> String {
    let units = [
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1024.0, "KiB"),
    ];
    match units.into_iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", count / size),
        None => format!("{count:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::{settings, tally};

    #[test]
    fn a_ratio_is_told_with_as_many_places_as_it_needs() {
        for (ratio, wanted) in [
            (0.0, "0.00"),
            (1.0, "1.00"),
            (12.345, "12.35"),
            (0.1, "0.10"),
            (0.0029, "0.0029"),
            (0.05, "0.050"),
        ] {
            assert_eq!(digits(ratio), wanted);
        }
    }

    #[test]
    fn units_fit_the_size() {
        assert_eq!(
            ["0 µs", "123 µs", "1.50 ms", "25.0 ms", "250 ms", "2.50 s"],
            [0.0, 0.000_123, 0.0015, 0.025, 0.25, 2.5]
                .map(seconds)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(bytes(10.0), "10 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
    }

    #[test]
    fn the_table_reads_as_a_table() {
        let url = "http://127.0.0.1:1/".to_owned();
        insta::assert_snapshot!(draw(&Report::of_one(url, tally(200), settings(), &[])));
    }
}
