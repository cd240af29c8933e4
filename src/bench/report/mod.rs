//! What was measured, as people and programs read it: [`Report`] is the value, and its JSON; [`text`] and [`page`] draw it.

pub mod page;
pub mod plot;
pub mod text;
pub mod waterfall;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::duel::{Duel, Ratio};
use crate::bench::tally::{Latency, Tally};

/// A run, told. Seconds and bytes throughout.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether it may be called a result.
    pub valid: bool,
    /// Why it may not.
    pub complaints: Vec<String>,
    /// How load was made.
    pub settings: Settings,
    /// One for each target.
    pub targets: Vec<Measured>,
    /// The first target's figures as multiples of the second's.
    pub ratios: Option<Ratios>,
    /// For each pair of slices, both rates and medians (for the page).
    #[serde(skip)]
    pub duel: Option<Duel>,
}

/// How load was made.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// `GET` and so on.
    pub method: String,
    /// Connections.
    pub connections: usize,
    /// Worker threads.
    pub threads: usize,
    /// How many requests were to be sent, if that was the bound.
    pub requests: Option<u64>,
    /// How long it was to last, if that was the bound.
    pub duration_seconds: Option<f64>,
    /// Requests a second of an open loop.
    pub rate: Option<f64>,
    /// Users.
    pub users: usize,
    /// URLs.
    pub urls: usize,
    /// The exponent of their choice.
    pub zipf: f64,
    /// Slices of each target.
    pub slices: Option<u32>,
}

/// What one target gave.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its URL.
    pub url: String,
    /// Whole answers.
    pub answers: u64,
    /// From the start to the last answer.
    pub seconds: f64,
    /// Answers a second.
    pub rate: f64,
    /// Answers by class (`2xx`).
    pub classes: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a whole answer, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Until the first byte.
    pub first_byte_seconds: Quantiles,
    /// Until the last byte.
    pub total_seconds: Quantiles,
    /// Open loop: until the last byte from when the request was really sent, as a closed loop would tell.
    pub from_send_seconds: Option<Quantiles>,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// All bytes received.
    pub received_bytes: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Bodies that were looked at.
    pub bodies_checked: u64,
    /// Processor seconds of this tool for 1,000 answers.
    pub own_cpu_seconds_per_1000: Option<f64>,
    /// Its course.
    pub timeline: Vec<Moment>,
    /// What was counted (for plots).
    #[serde(skip)]
    pub tally: Tally,
}

/// Latencies that shares of the answers did not exceed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quantiles {
    /// Half.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// All.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// A stretch of the run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Moment {
    /// Its begin, since the start.
    pub at_seconds: f64,
    /// Answers a second.
    pub rate: f64,
    /// Requests without a whole answer.
    pub errors: u64,
    /// Median until the last byte.
    pub p50: f64,
    /// 99 % of the answers took no longer.
    pub p99: f64,
}

/// Ratios over the slices of a duel.
#[derive(Debug, Serialize)]
pub struct Ratios {
    /// Answers a second.
    pub rate: Option<Ratio>,
    /// Median until the first byte.
    pub first_byte_p50: Option<Ratio>,
    /// Median until the last byte.
    pub p50: Option<Ratio>,
    /// 99th percentile until the last byte.
    pub p99: Option<Ratio>,
}

impl Quantiles {
    fn of(latency: &Latency) -> Self {
        Self {
            p50: latency.quantile(0.5),
            p90: latency.quantile(0.9),
            p99: latency.quantile(0.99),
            p999: latency.quantile(0.999),
            max: latency.max(),
            mean: latency.mean(),
        }
    }
}

impl Measured {
    fn new(url: String, tally: Tally, open_loop: bool) -> Self {
        let classes = tally.classes().into_iter();
        let faults = tally.faults.iter();
        Self {
            url,
            answers: tally.answers(),
            seconds: tally.elapsed.as_secs_f64(),
            rate: tally.rate(),
            classes: classes
                .map(|(class, count)| (format!("{class}xx"), count))
                .collect(),
            statuses: tally.statuses.clone(),
            errors: faults
                .map(|(fault, count)| (fault.as_str(), *count))
                .collect(),
            first_byte_seconds: Quantiles::of(&tally.first_byte),
            total_seconds: Quantiles::of(&tally.total),
            from_send_seconds: open_loop.then(|| Quantiles::of(&tally.from_send)),
            body_bytes: tally.body_bytes,
            received_bytes: tally.wire_bytes,
            connections_opened: tally.connections,
            bodies_checked: tally.checks.bodies,
            own_cpu_seconds_per_1000: tally.cost_per_thousand(),
            timeline: course(&tally),
            tally,
        }
    }
}

/// The course of a run. The last stretch is as long as the run was in it; one of less than half a width tells no rate of its own.
fn course(tally: &Tally) -> Vec<Moment> {
    let width = tally.timeline.width as f64;
    let end = tally.elapsed.as_secs_f64();
    let stretches = tally.timeline.stretches.iter().enumerate();
    let moments = stretches.map(|(index, stretch)| {
        let at = index as f64 * width;
        let length = if end > at && end < at + width {
            end - at
        } else {
            width
        };
        Moment {
            at_seconds: at,
            rate: stretch.answers as f64 / length,
            errors: stretch.faults,
            p50: stretch.quantile(0.5),
            p99: stretch.quantile(0.99),
        }
    });
    let mut moments: Vec<Moment> = moments.collect();
    let full = moments.len().saturating_sub(1) as f64 * width;
    if moments.len() > 1 && end - full < width / 2.0 {
        let errors = moments.pop().map_or(0, |last| last.errors);
        if let Some(last) = moments.last_mut() {
            last.errors += errors;
        }
    }
    moments
}

impl Report {
    /// Of one target.
    pub fn of_one(url: String, tally: Tally, settings: Settings, allowed: &[u16]) -> Self {
        let open_loop = settings.rate.is_some();
        let targets = vec![Measured::new(url, tally, open_loop)];
        Self::new(settings, targets, None, allowed)
    }

    /// Of two.
    pub fn of_two(urls: [String; 2], duel: Duel, settings: Settings, allowed: &[u16]) -> Self {
        let open_loop = settings.rate.is_some();
        let targets = urls.into_iter().zip(duel.tallies.clone());
        let targets = targets
            .map(|(url, tally)| Measured::new(url, tally, open_loop))
            .collect();
        Self::new(settings, targets, Some(duel), allowed)
    }

    fn new(
        settings: Settings,
        targets: Vec<Measured>,
        duel: Option<Duel>,
        allowed: &[u16],
    ) -> Self {
        let complaints: Vec<String> = targets
            .iter()
            .flat_map(|target| complaints(target, allowed))
            .collect();
        Self {
            valid: complaints.is_empty(),
            complaints,
            settings,
            ratios: duel.as_ref().map(|duel| Ratios {
                rate: duel.ratio(|slice| slice.rate),
                first_byte_p50: duel.ratio(|slice| slice.first_byte_p50),
                p50: duel.ratio(|slice| slice.p50),
                p99: duel.ratio(|slice| slice.p99),
            }),
            targets,
            duel,
        }
    }
}

/// Why what a target gave is no result.
fn complaints(target: &Measured, allowed: &[u16]) -> Vec<String> {
    let mut complaints = Vec::new();
    let url = &target.url;
    let sent = target.answers + target.tally.failed();
    let checks = &target.tally.checks;
    let first = checks.first.as_deref().unwrap_or_default();
    if checks.with_other > 0 {
        complaints.push(format!(
            "{url}: {} of {} bodies show the value of ANOTHER USER: {first}",
            checks.with_other, checks.bodies
        ));
    }
    for (count, what) in [
        (checks.without_own, "do not show their own user's value"),
        (checks.without_text, "lack the expected text"),
    ] {
        if count > 0 {
            complaints.push(format!(
                "{url}: {count} of {} bodies {what}: {first}",
                checks.bodies
            ));
        }
    }
    let wrong = |status: u16| !(200..300).contains(&status) && !allowed.contains(&status);
    let mut classes: BTreeMap<u16, (u64, Vec<String>)> = BTreeMap::new();
    for (status, count) in target.statuses.iter().filter(|(status, _)| wrong(**status)) {
        let class = classes.entry(status / 100).or_default();
        class.0 += count;
        class.1.push(format!("{status}: {count}"));
    }
    for (class, (count, rows)) in classes {
        complaints.push(format!(
            "{url}: {count} of {sent} answers are {class}xx ({})",
            rows.join(", ")
        ));
    }
    if !target.errors.is_empty() {
        let rows: Vec<_> = target
            .errors
            .iter()
            .map(|(kind, count)| format!("{kind}: {count}"))
            .collect();
        let first = target.tally.first_fault.as_deref().unwrap_or_default();
        complaints.push(format!(
            "{url}: {} of {sent} requests have no whole answer ({}); the first: {first}",
            target.tally.failed(),
            rows.join(", ")
        ));
    }
    if sent == 0 {
        complaints.push(format!("{url}: nothing was sent"));
    }
    complaints
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::tally::{Fault, Seen};

    pub(crate) fn settings() -> Settings {
        Settings {
            method: "GET".to_owned(),
            connections: 4,
            threads: 1,
            requests: None,
            duration_seconds: Some(10.0),
            rate: None,
            users: 0,
            urls: 1,
            zipf: 0.0,
            slices: None,
        }
    }

    pub(crate) fn tally(status: u16) -> Tally {
        let mut tally = Tally::default();
        for number in 0..1000_u64 {
            let total = Duration::from_micros(500 + number * number % 7919);
            let seen = Seen {
                status,
                first_byte: total / 2,
                total,
                from_send: total,
                body: 100,
                wire: 150,
            };
            tally.answer(&seen, Duration::from_millis(number * 4));
        }
        tally.elapsed = Duration::from_millis(3996);
        tally
    }

    #[test]
    fn the_json_has_its_shape() {
        let url = "http://127.0.0.1:1/".to_owned();
        let report = Report::of_one(url, tally(200), settings(), &[]);
        let json: serde_json::Value = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["valid"], true);
        assert_eq!(json["settings"]["connections"], 4);
        let target = &json["targets"][0];
        assert_eq!(target["answers"], 1000);
        assert_eq!(target["classes"]["2xx"], 1000);
        assert_eq!(target["body_bytes"], 100_000);
        assert_eq!(target["timeline"].as_array().map(Vec::len), Some(4));
        for latency in ["first_byte_seconds", "total_seconds"] {
            for quantile in ["p50", "p90", "p99", "p999", "max", "mean"] {
                assert!(
                    target[latency][quantile]
                        .as_f64()
                        .is_some_and(|it| it > 0.0),
                    "{latency} {quantile}"
                );
            }
        }
        assert!(json["ratios"].is_null());
    }

    #[test]
    fn what_is_no_result_says_why() {
        let url = || "http://127.0.0.1:1/".to_owned();
        let report = Report::of_one(url(), tally(404), settings(), &[]);
        assert!(!report.valid);
        assert_eq!(
            report.complaints,
            ["http://127.0.0.1:1/: 1000 of 1000 answers are 4xx (404: 1000)"]
        );
        assert!(Report::of_one(url(), tally(404), settings(), &[404]).valid);
        let mut cut = tally(200);
        cut.fault(Fault::Cut, || "closed".to_owned(), Duration::ZERO);
        let report = Report::of_one(url(), cut, settings(), &[]);
        assert_eq!(
            report.complaints,
            [
                "http://127.0.0.1:1/: 1 of 1001 requests have no whole answer (cut: 1); the first: closed"
            ]
        );
        assert!(!Report::of_one(url(), Tally::default(), settings(), &[]).valid);
    }
}
