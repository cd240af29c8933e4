//! The fan-out of the slowest pages as bars: when each part waited for a server, for its answer, and received it.

use maud::{Markup, html};

use crate::bench::pages::{Page, Span};
use crate::bench::report::plot::{Axis, WIDTH, fixed};
use crate::bench::report::text::seconds;

/// Most parts of a page that are drawn.
const MOST: usize = 60;
const ROW: f64 = 20.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 26.0;
/// Most letters of a URL.
const LETTERS: usize = 34;

/// Draws the pages.
pub fn draw(pages: &[Page]) -> Markup {
    html! {
        p.key {
            @for (class, words) in [("queued", "waits for a server"), ("waiting", "waits for the answer"), ("receiving", "receives"), ("hit", "from the store"), ("failed", "failed")] {
                span { svg.swatch viewBox="0 0 24 8" { rect.(class) width="24" height="8" {} } " " (words) }
            }
        }
        @for page in pages { (one(page)) }
    }
}

fn one(page: &Page) -> Markup {
    let spans = page.spans.len().min(MOST);
    let end = page
        .spans
        .iter()
        .filter_map(|span| span.done)
        .fold(page.seconds, f64::max);
    let axis = Axis::linear("", end, |at| {
        if at == 0.0 {
            "0".to_owned()
        } else {
            seconds(at)
        }
    });
    let height = TOP + spans as f64 * ROW + 8.0;
    let at = |moment: f64| LEFT + moment / axis.range.1 * (WIDTH - LEFT - RIGHT);
    html! {
        figure {
            figcaption { strong { (page.url) } " " (seconds(page.seconds)) ", first byte "
                (page.first_byte_seconds.map_or("unknown".to_owned(), seconds)) ", status " (page.status)
                @if page.spans.len() > MOST { ", the first " (MOST) " of " (page.spans.len()) " parts" } }
            svg.plot role="img" aria-label={ "Waterfall of " (page.url) } viewBox={ "0 0 " (WIDTH) " " (fixed(height)) } {
                @for (value, words) in &axis.ticks {
                    line.grid x1=(fixed(at(*value))) x2=(fixed(at(*value))) y1=(TOP - 6.0) y2=(height - 8.0) {}
                    text.tick.middle x=(fixed(at(*value))) y="14" { (words) }
                }
                @for (index, span) in page.spans.iter().take(MOST).enumerate() {
                    @let y = TOP + index as f64 * ROW;
                    text.part x=(fixed(f64::from(span.depth.min(6)) * 12.0)) y=(fixed(y + 13.0)) { (shortened(path(&span.url))) title { (bare(&span.url)) } }
                    @for (class, from, to) in phases(span, end) {
                        rect.(class) x=(fixed(at(from))) y=(fixed(y + 3.0)) width=(fixed((at(to) - at(from)).max(1.5))) height=(ROW - 6.0) {}
                    }
                    @let last = span.done.unwrap_or(end);
                    text.tick x=(fixed(at(last) + 5.0)) y=(fixed(y + 14.0)) { (seconds(last - span.started)) }
                }
            }
        }
    }
}

/// The bars of a part: class, from, to.
fn phases(span: &Span, end: f64) -> Vec<(&'static str, f64, f64)> {
    let done = span.done.unwrap_or(end);
    let failed = matches!(
        span.outcome.as_deref(),
        Some("failed" | "timeout" | "refused" | "cancelled")
    );
    if failed && span.sent.is_none() {
        return vec![("failed", span.started, done)];
    }
    let Some(sent) = span.sent else {
        return vec![(
            if span.queued.is_some() {
                "queued"
            } else {
                "hit"
            },
            span.started,
            done,
        )];
    };
    let first_byte = span.first_byte.unwrap_or(done);
    vec![
        (
            "queued",
            span.queued.unwrap_or(span.started).min(sent),
            sent,
        ),
        ("waiting", sent, first_byte),
        (
            if failed { "failed" } else { "receiving" },
            first_byte,
            done,
        ),
    ]
}

/// Without its scheme: the page refers to nothing outside.
fn bare(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Without its host: what tells the parts of a page apart.
fn path(url: &str) -> &str {
    match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => url,
    }
}

/// The end of it, where it is too long.
fn shortened(url: &str) -> String {
    let letters = url.chars().count();
    if letters <= LETTERS {
        return url.to_owned();
    }
    let tail: String = url.chars().skip(letters - LETTERS + 1).collect();
    format!("…{tail}")
}
