//! The bar of one fetch in a waterfall, as SVG: what it waited for, and when, as a share of its page's time.
//!
//! Shapes carry their places in attributes of their own, not in styles, because the page's policy allows no inline style.

use maud::{Markup, html};

use crate::observe::outcome::Outcome;
use crate::observe::text::Seconds;
use crate::observe::waterfall::SpanRecord;

/// The classes of the parts of a bar, each with its meaning.
pub const LEGEND: [(&str, &str); 5] = [
    ("queued", "waits for a server"),
    ("waiting", "waits for its answer"),
    ("receiving", "receives it"),
    ("hit", "was at hand"),
    ("failed", "failed"),
];

/// The width of a bar in its own units.
const WIDTH: f64 = 1000.0;

/// The least width of a part: a hit takes no time, and still should be seen.
const LEAST: f64 = 4.0;

/// The bar of a fetch of a page that took `whole`.
pub fn bar(whole: Seconds, span: &SpanRecord) -> Markup {
    let label = format!("from {:.3} s", span.started.0.as_secs_f64());
    html! {
        svg.bar viewBox={ "0 0 " (WIDTH) " 10" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for part in parts(whole, span) {
                rect class=(part.class) x={ (format!("{:.1}", part.x)) } width={ (format!("{:.1}", part.width)) } height="10" {}
            }
        }
    }
}

/// One part of a bar, in its units.
#[derive(Debug, PartialEq)]
struct Part {
    class: &'static str,
    x: f64,
    width: f64,
}

/// The parts of a bar from left to right.
fn parts(whole: Seconds, span: &SpanRecord) -> Vec<Part> {
    let end = span.done.unwrap_or(whole);
    let part = |class, from: Seconds, to: Seconds| {
        let scale = WIDTH / whole.0.as_secs_f64().max(1e-6);
        let x = (from.0.as_secs_f64() * scale).min(WIDTH - LEAST);
        let width = to.0.saturating_sub(from.0).as_secs_f64() * scale;
        Part {
            class,
            x,
            width: width.clamp(LEAST, WIDTH - x),
        }
    };
    let failed = span.outcome.is_some_and(Outcome::is_failure);
    let last = |class| if failed { "failed" } else { class };
    match (span.queued, span.sent, span.first_byte) {
        (queued, Some(sent), first_byte) => {
            let mut parts = Vec::with_capacity(3);
            if let Some(queued) = queued.filter(|queued| *queued < sent) {
                parts.push(part("queued", queued, sent));
            }
            match first_byte.filter(|first_byte| *first_byte >= sent) {
                Some(first_byte) => {
                    parts.push(part("waiting", sent, first_byte));
                    parts.push(part(last("receiving"), first_byte, end));
                }
                None => parts.push(part(last("waiting"), sent, end)),
            }
            parts
        }
        (Some(queued), None, _) => vec![part(last("queued"), queued, end)],
        (None, None, _) if span.cache.is_some() => vec![part(last("hit"), span.started, end)],
        (None, None, _) => vec![part(last("other"), span.started, end)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::outcome::CacheUse;

    fn at(milliseconds: u64) -> Seconds {
        Seconds(Duration::from_millis(milliseconds))
    }

    fn drawn(span: &SpanRecord) -> Vec<(&'static str, u64, u64)> {
        let parts = parts(at(100), span);
        parts
            .iter()
            .map(|part| (part.class, part.x as u64, part.width as u64))
            .collect()
    }

    #[test]
    fn each_part_shows_what_was_waited_for() {
        let fetched = SpanRecord {
            started: at(10),
            queued: Some(at(10)),
            sent: Some(at(30)),
            first_byte: Some(at(60)),
            done: Some(at(80)),
            outcome: Some(Outcome::Ok),
            ..SpanRecord::default()
        };
        assert_eq!(
            drawn(&fetched),
            [
                ("queued", 100, 200),
                ("waiting", 300, 300),
                ("receiving", 600, 200)
            ]
        );
        let broken = SpanRecord {
            first_byte: None,
            outcome: Some(Outcome::Timeout),
            ..fetched.clone()
        };
        assert_eq!(drawn(&broken), [("queued", 100, 200), ("failed", 300, 500)]);
        let waiting = SpanRecord {
            sent: None,
            first_byte: None,
            done: None,
            outcome: None,
            ..fetched
        };
        assert_eq!(drawn(&waiting), [("queued", 100, 900)]);
        let hit = SpanRecord {
            started: at(100),
            done: Some(at(100)),
            cache: Some(CacheUse::Hit),
            ..SpanRecord::default()
        };
        assert_eq!(drawn(&hit), [("hit", 996, 4)]);
    }

    #[test]
    fn a_page_that_took_no_time_is_drawn() {
        for part in parts(at(0), &SpanRecord::default()) {
            assert!(part.x.is_finite() && part.width >= LEAST);
        }
    }
}
