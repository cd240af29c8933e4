//! The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere; light and dark.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::bench::duel::{Duel, Ratio};
use crate::bench::pages::Page;
use crate::bench::report::plot::{self, Axis, Series};
use crate::bench::report::text::{bytes, digits, seconds};
use crate::bench::report::{Measured, Quantiles, Report, waterfall};
use crate::bench::tally::Latency;

const STYLE: &str = include_str!("page.css");

/// Where the latency curve has its points: how many nines, in twentieths.
const TWENTIETHS: u32 = 20;

/// The classes of first and second target.
const SIDES: [(&str, &str); 2] = [("a", "a light"), ("b", "b light")];

/// Draws the page; `pages` are the gateway's slowest, `None` where nobody asked it.
pub fn draw(report: &Report, pages: Option<&[Page]>) -> String {
    let names: Vec<_> = report
        .targets
        .iter()
        .map(|target| bare(&target.url))
        .collect();
    let title = names.join(" against ");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Load on " (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { "Load on " (title) }
                p.faint { (way(report)) }
                @if !report.valid {
                    div.panel.refused {
                        strong { "This is not a result." }
                        @for complaint in &report.complaints { p { (bare(complaint)) } }
                    }
                }
                @for (target, (class, _)) in report.targets.iter().zip(SIDES) { (figures(target, class, report.targets.len() > 1)) }
                @if report.ratios.is_some() { (ratios(report)) }
                h2 { "How long answers took" }
                (quantiles(report))
                div.panel { (curve(report)) }
                @match &report.duel {
                    Some(duel) => { h2 { "Slice by slice" } (slices(report, duel)) }
                    None => { h2 { "In the course of the run" } @for target in &report.targets { (course(target)) } }
                }
                @if let Some(pages) = pages {
                    h2 { "Where the slowest pages spent their time" }
                    @if pages.is_empty() { p.faint { "The gateway remembers no page." } }
                    @else { p.faint { "The slowest among the latest pages that the gateway remembers, by its own clock." } (waterfall::draw(pages)) }
                }
                p.faint { "Latency counts from " (if report.settings.rate.is_some() { "the moment when a request was due, so that no wait is left out" } else { "the sending of a request" })
                    ". Measured with marquetry bench " (env!("CARGO_PKG_VERSION")) "." }
            } }
        }
    };
    page.into_string()
}

/// A URL without its scheme: the page refers to nothing outside.
fn bare(text: &str) -> String {
    text.replace("http://", "")
}

fn way(report: &Report) -> String {
    let settings = &report.settings;
    let mut parts = vec![match settings.rate {
        Some(rate) => format!("Open loop: {rate} requests a second"),
        None => "Closed loop: the next request is sent when an answer has come".to_owned(),
    }];
    parts.push(format!("{} connections", settings.connections));
    match (settings.requests, settings.duration_seconds) {
        (Some(count), _) => parts.push(format!("{count} requests")),
        (None, Some(length)) => parts.push(format!("{length} s")),
        (None, None) => {}
    }
    if settings.users > 0 {
        parts.push(format!("{} users", settings.users));
    }
    if settings.urls > 1 {
        parts.push(format!(
            "{} URLs, chosen by Zipf's law with exponent {}",
            settings.urls, settings.zipf
        ));
    }
    parts.join(" · ")
}

fn figures(target: &Measured, class: &str, several: bool) -> Markup {
    let classes = target
        .classes
        .iter()
        .map(|(class, count)| format!("{count} × {class}"));
    let classes: Vec<_> = classes.collect();
    let errors: Vec<_> = target
        .errors
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    html! {
        div.panel {
            @if several { p { span.mark.(class) {} strong { (bare(&target.url)) } } }
            dl {
                div { dt { "answers a second" } dd { (grouped(target.rate)) } }
                div { dt { "answers" } dd { (classes.join(", ")) @if classes.is_empty() { "none" } } }
                div { dt { "errors" } dd { (errors.join(", ")) @if errors.is_empty() { "none" } } }
                div { dt { "median" } dd { (seconds(target.total_seconds.p50)) } }
                div { dt { "99th percentile" } dd { (seconds(target.total_seconds.p99)) } }
                div { dt { "received" } dd { (bytes(target.received_bytes as f64)) } }
                div { dt { "measured for" } dd { (format!("{:.1} s", target.seconds)) } }
            }
        }
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn ratios(report: &Report) -> Markup {
    let ratios = report.ratios.iter().flat_map(|it| {
        [
            ("answers a second", &it.rate),
            ("first byte, median", &it.first_byte_p50),
            ("total, median", &it.p50),
            ("total, 99th percentile", &it.p99),
        ]
    });
    let cell = |ratio: &Option<Ratio>, figure: fn(&Ratio) -> f64| {
        ratio
            .as_ref()
            .map_or("–".to_owned(), |it| digits(figure(it)))
    };
    html! {
        h2 { "The first as a multiple of the second" }
        div.panel { table {
            thead { tr { th { "" } th { "median of slices" } th { "least" } th { "most" } } }
            tbody { @for (name, ratio) in ratios {
                tr { td { (name) } td { strong { (cell(ratio, |it| it.median)) } } td { (cell(ratio, |it| it.least)) } td { (cell(ratio, |it| it.most)) } }
            } }
        } }
    }
}

fn quantiles(report: &Report) -> Markup {
    let several = report.targets.len() > 1;
    let row = |name: String, it: &Quantiles| {
        html! { tr { td { (name) } @for value in [it.p50, it.p90, it.p99, it.p999, it.max, it.mean] { td { (seconds(value)) } } } }
    };
    html! {
        div.panel { table {
            thead { tr { th { "" } @for head in ["p50", "p90", "p99", "p99.9", "max", "mean"] { th { (head) } } } }
            tbody { @for target in &report.targets {
                @let whose = if several { format!(", {}", bare(&target.url)) } else { String::new() };
                (row(format!("first byte{whose}"), &target.first_byte_seconds))
                (row(format!("total{whose}"), &target.total_seconds))
                @if let Some(from_send) = &target.from_send_seconds { (row(format!("total from the actual send{whose}"), from_send)) }
            } }
        } }
    }
}

/// Latency over the share of answers that took no longer; each step to the right is ten times rarer.
fn curve(report: &Report) -> Markup {
    let answers = report
        .targets
        .iter()
        .map(|target| target.answers)
        .max()
        .unwrap_or(0);
    // As far as there is more than one answer beyond.
    let nines = (answers.max(10) as f64).log10().clamp(1.0, 5.0);
    let points = |latency: &Latency| -> Vec<(f64, f64)> {
        let last = (nines * f64::from(TWENTIETHS)) as u32;
        let steps = (0..=last).map(|step| f64::from(step) / f64::from(TWENTIETHS));
        steps
            .map(|at| (at, latency.quantile(1.0 - 10_f64.powf(-at))))
            .collect()
    };
    let mut series = Vec::new();
    for (target, (solid, light)) in report.targets.iter().zip(SIDES) {
        let whose = if report.targets.len() > 1 {
            format!(" {}", bare(&target.url))
        } else {
            String::new()
        };
        series.push(Series {
            name: format!("total{whose}"),
            class: solid,
            points: points(&target.tally.total),
        });
        series.push(Series {
            name: format!("first byte{whose}"),
            class: light,
            points: points(&target.tally.first_byte),
        });
    }
    let names = ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
    let mut ticks: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (index as f64, (*name).to_owned()))
        .collect();
    ticks.push((0.301, "50 %".to_owned()));
    ticks.retain(|(at, _)| *at <= nines + 0.01);
    let x = Axis {
        title: "share of answers that took no longer".to_owned(),
        ticks,
        range: (0.0, nines),
        logarithmic: false,
    };
    plot::lines(
        "Latency by share of answers",
        &x,
        &latency_axis(&series),
        &series,
    )
}

/// Linear while the largest is not far from the least, by decades otherwise.
fn latency_axis(series: &[Series]) -> Axis {
    let values = series
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.1));
    let (mut least, mut most) = (f64::MAX, 0.0_f64);
    for value in values.filter(|value| *value > 0.0) {
        least = least.min(value);
        most = most.max(value);
    }
    if most > least * 20.0 {
        Axis::decades("latency (logarithmic)", least, most, short)
    } else {
        Axis::linear("latency", most.max(1e-6), short)
    }
}

/// A time on an axis: no digits that say nothing.
fn short(value: f64) -> String {
    let (number, unit) = if value == 0.0 {
        return "0".to_owned();
    } else if value < 0.000_999 {
        (value * 1e6, "µs")
    } else if value < 0.999 {
        (value * 1e3, "ms")
    } else {
        (value, "s")
    };
    format!("{} {unit}", (number * 100.0).round() / 100.0)
}

fn count(value: f64) -> String {
    if value >= 1000.0 || value.fract() == 0.0 {
        grouped(value)
    } else {
        format!("{value}")
    }
}

fn course(target: &Measured) -> Markup {
    let end = target.seconds.max(1e-3);
    let moments = &target.timeline;
    let line = |figure: fn(&crate::bench::report::Moment) -> f64| -> Vec<(f64, f64)> {
        let middle = |index: usize, at: f64| {
            let next = moments.get(index + 1).map_or(end, |next| next.at_seconds);
            f64::midpoint(at, next.max(at))
        };
        moments
            .iter()
            .enumerate()
            .map(|(index, it)| (middle(index, it.at_seconds), figure(it)))
            .collect()
    };
    let x = Axis::linear("seconds since the start", end, count);
    let x = Axis {
        range: (0.0, end),
        ticks: x
            .ticks
            .into_iter()
            .filter(|(at, _)| *at <= end * 1.001)
            .collect(),
        ..x
    };
    let rate = [Series {
        name: "rate".to_owned(),
        class: "a",
        points: line(|it| it.rate),
    }];
    let most = rate[0]
        .points
        .iter()
        .map(|point| point.1)
        .fold(1.0, f64::max);
    let latency = [
        Series {
            name: "p50".to_owned(),
            class: "a",
            points: line(|it| it.p50),
        },
        Series {
            name: "p99".to_owned(),
            class: "b",
            points: line(|it| it.p99),
        },
    ];
    html! {
        div.panel { (plot::lines("Answers a second in the course of the run", &x, &Axis::linear("answers a second", most, count), &rate)) }
        div.panel { (plot::lines("Latency in the course of the run", &x, &latency_axis(&latency), &latency)) }
    }
}

fn slices(report: &Report, duel: &Duel) -> Markup {
    let line = |side: usize, figure: fn(&crate::bench::duel::Slice) -> f64| -> Vec<(f64, f64)> {
        duel.slices
            .iter()
            .enumerate()
            .map(|(index, pair)| (index as f64 + 1.0, figure(&pair[side])))
            .collect()
    };
    let both = |figure: fn(&crate::bench::duel::Slice) -> f64| -> Vec<Series> {
        let sides = report.targets.iter().zip(SIDES).enumerate();
        sides
            .map(|(side, (target, (class, _)))| Series {
                name: bare(&target.url),
                class,
                points: line(side, figure),
            })
            .collect()
    };
    let last = duel.slices.len().max(2);
    let every = last.div_ceil(12);
    let ticks = (1..=last)
        .step_by(every)
        .map(|number| (number as f64, number.to_string()))
        .collect();
    let x = Axis {
        title: "pair of slices".to_owned(),
        ticks,
        range: (0.5, last as f64 + 0.5),
        logarithmic: false,
    };
    let rates = both(|slice| slice.rate);
    let most = rates
        .iter()
        .flat_map(|line| line.points.iter().map(|it| it.1))
        .fold(1.0, f64::max);
    let medians = both(|slice| slice.p50);
    html! {
        div.panel { (plot::lines("Answers a second by slice", &x, &Axis::linear("answers a second", most, count), &rates)) }
        div.panel { (plot::lines("Median latency by slice", &x, &latency_axis(&medians), &medians)) }
    }
}
