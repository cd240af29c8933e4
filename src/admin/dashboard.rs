//! The dashboard: upstreams, store, requests under way, the latest pages with their waterfalls, on one page.
//!
//! It needs no file from elsewhere: style and script stand in the page, and its policy knows them by their digests. Everything
//! that comes from outside goes through maud, which escapes it. The script only fetches this page anew and swaps it in.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::admin::bars;
use crate::admin::status::{self, State};
use crate::observe::Observer;
use crate::observe::metrics::CacheCounts;
use crate::observe::outcome::Outcome;
use crate::observe::status::{CacheStatus, ServerState, ServerStatus, UpstreamStatus};
use crate::observe::text::Seconds;
use crate::observe::waterfall::{SpanRecord, Waterfall};

/// The style sheet, as it stands in the page.
pub const STYLE: &str = include_str!("dashboard.css");

/// The script, as it stands in the page.
pub const SCRIPT: &str = include_str!("dashboard.js");

/// Pages that are shown of those that are kept.
const PAGES: usize = 40;

/// Fetches that are drawn of one page.
const SPANS: usize = 80;

/// Requests under way that are shown.
const OPEN: usize = 10;

/// How old a request under way must be to be shown: the others are gone before they are read.
const OPEN_SINCE: Duration = Duration::from_millis(500);

/// The dashboard as it is now.
pub fn page(observer: &Observer) -> Markup {
    let state = State::of(observer);
    document(&html! {
        (heading(observer, &state))
        h2 { "Upstreams" }
        div.cards { @for upstream in &state.upstreams { (card(upstream)) } }
        @if state.upstreams.is_empty() { p.faint { "None yet." } }
        h2 { "Store" }
        div.card { (store(state.cache, observer.cache().counts())) }
        (under_way(observer))
        h2 { "Latest pages" }
        (pages(observer))
    })
}

/// The page that asks for the token. It tells nothing of the house.
pub fn sign_in() -> Markup {
    document(&html! {
        header { h1 { "marquetry" } }
        form {
            input type="password" name="token" placeholder="Token" aria-label="Token" autocomplete="off" required autofocus;
            button { "Show" }
        }
    })
}

fn document(main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "marquetry" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (main) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn heading(observer: &Observer, state: &State) -> Markup {
    let word = match (state.ready, observer.status().is_some()) {
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "starting",
    };
    html! {
        header {
            h1 { "marquetry" }
            span class={ "badge " (word) } { (word) }
            span.faint {
                (env!("CARGO_PKG_VERSION")) ", up " (uptime(observer.uptime())) ", "
                (state.connections) " open connections, " (observer.open().count()) " under way"
            }
            span.faint {
                a href="/status" { "status" } " " a href="/metrics" { "metrics" } " " a href="/pages" { "pages" } " "
                a href="/requests" { "requests" }
            }
        }
    }
}

fn card(upstream: &UpstreamStatus) -> Markup {
    html! {
        div.card {
            h3 { (upstream.name) }
            p.faint {
                (upstream.working()) " of " (upstream.servers.len()) " working, "
                span.bad[upstream.queued > 0] { (upstream.queued) " queued" }
            }
            table {
                tr {
                    th { "server" } th { "state" } th.number { "weight" } th.number { "in flight" } th.number { "served" }
                    th.number { "errors" } th.number { "p50" } th.number { "p99" } th { "last probe" }
                }
                @for server in &upstream.servers { (server_row(server)) }
            }
        }
    }
}

fn server_row(server: &ServerStatus) -> Markup {
    let time = |time: Option<Seconds>| time.map_or_else(|| "–".to_owned(), seconds);
    let whole = f64::from(server.weight);
    let starts = server.state == ServerState::Active && server.effective_weight < whole;
    html! {
        tr {
            td { (server.address) }
            td {
                span class={ "badge " (server.state.as_str()) } { (server.state.as_str()) }
                @if server.state != ServerState::Active {
                    " " span.faint { (server.reason) ", " (uptime(server.since_seconds.0)) }
                } @else if starts {
                    " " span.faint { "slow start" }
                }
            }
            td.number { @if starts { (format!("{:.1} of ", server.effective_weight)) } (server.weight) }
            td.number { (server.in_flight) }
            td.number { (server.served) }
            td.number { span.bad[server.errors > 0] { (server.errors) } }
            td.number { (time(server.p50_seconds)) }
            td.number { (time(server.p99_seconds)) }
            td {
                @match &server.last_probe {
                    Some(probe) => span.bad[!probe.good] { (probe.outcome) },
                    None => "–",
                }
            }
        }
    }
}

fn store(cache: CacheStatus, counts: CacheCounts) -> Markup {
    let asked = counts.hits + counts.misses + counts.coalesced + counts.hit_for_miss;
    let ratio = if asked == 0 {
        "–".to_owned()
    } else {
        format!("{:.1} %", counts.hits as f64 * 100.0 / asked as f64)
    };
    let facts = [
        ("hit ratio", ratio),
        ("hits", counts.hits.to_string()),
        ("misses", counts.misses.to_string()),
        ("coalesced", counts.coalesced.to_string()),
        ("hit-for-miss", counts.hit_for_miss.to_string()),
        ("passes", counts.passes.to_string()),
        ("objects", cache.objects.to_string()),
        ("size", size(cache.bytes)),
        ("evictions", cache.evictions.to_string()),
    ];
    html! {
        dl { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

fn under_way(observer: &Observer) -> Markup {
    let open = status::oldest(observer, OPEN_SINCE);
    html! {
        @if !open.is_empty() {
            h2 { "Under way for longer than " (seconds(Seconds(OPEN_SINCE))) }
            div.card {
                table {
                    tr { th { "request" } th { "phase" } th.number { "age" } th { "waits for" } }
                    @for page in open.iter().take(OPEN) {
                        tr {
                            td.url { (page.head.method) " " (page.head.host) (page.head.url) }
                            td { (status::phase(page)) }
                            td.number { (seconds(page.seconds)) }
                            td.url { (first_open(page)) }
                        }
                    }
                }
            }
        }
    }
}

/// The first fragment of a page that is not there yet, and how many more there are.
fn first_open(page: &Waterfall) -> Markup {
    let mut open = page.spans.iter().filter(|span| span.outcome.is_none());
    let first = open.next();
    let others = open.count();
    html! {
        @if let Some(span) = first {
            (span.url)
            @match status::waits_for(span) {
                Some(whom) => { ": " (whom) },
                None => { " (" (span.phase()) ")" },
            }
        }
        @if others > 0 { span.faint { " and " (others) " more" } }
    }
}

fn pages(observer: &Observer) -> Markup {
    let pages = observer.recent().list();
    html! {
        @if pages.is_empty() { p.faint { "None yet." } }
        @else {
            p.faint {
                "Of each fetch:"
                @for (class, word) in bars::LEGEND {
                    svg.key viewBox="0 0 10 10" { rect class=(class) width="10" height="10" {} } (word)
                }
            }
        }
        @for page in pages.iter().take(PAGES) { (one(page)) }
    }
}

fn one(page: &Waterfall) -> Markup {
    let head = &page.head;
    let failed = page.fragments.failed;
    let drawn = page.spans.len().min(SPANS);
    let others = page.spans.len() - drawn + page.fragments.unrecorded;
    html! {
        details id={ "page-" (head.id) } {
            summary {
                span class=[(page.status >= 500).then_some("bad")] { (page.status) }
                span.url { (head.method) " " (head.host) (head.url) }
                span.faint {
                    @if page.composed {
                        (page.fragments.count) " fragments"
                        @if failed > 0 { ", " span.bad { (failed) " failed" } }
                    } @else { (page.cache.map_or("", |cache| cache.as_str())) }
                }
                span { (seconds(page.seconds)) }
            }
            p.faint {
                (head.time) ", " (size(page.bytes)) ", "
                @if let Some(first_byte) = page.first_byte { "first byte after " (seconds(first_byte)) ", " }
                (page.end.as_str()) ", "
                @if let Some(route) = &page.route { "route " (route) ", " }
                a href={ "/pages/" (head.id) } { "id " (head.id) }
            }
            div.scroll {
                table {
                    @for span in page.spans.iter().take(drawn) { (row(page, span)) }
                }
            }
            @if others > 0 { p.faint { (others) " more" } }
        }
    }
}

fn row(page: &Waterfall, span: &SpanRecord) -> Markup {
    let bad = span.outcome.is_some_and(Outcome::is_failure);
    let who = span.server.as_deref().or(span.upstream.as_deref());
    html! {
        tr {
            td.url {
                div class={ "depth" (span.depth.min(5)) } {
                    (span.url)
                    @if let Some(reason) = &span.reason { " " span.bad { (reason) } }
                }
            }
            td.bad[bad] { (span.phase()) }
            td.faint { (who.unwrap_or_default()) }
            td.number { @if let Some(time) = span.seconds() { (seconds(time)) } }
            td.drawn { (bars::bar(page.seconds, span)) }
        }
    }
}

/// Seconds to the millisecond.
fn seconds(time: Seconds) -> String {
    format!("{:.3} s", time.0.as_secs_f64())
}

/// A number of bytes, in the unit that keeps it short.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}

fn uptime(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{} s", time.as_secs()),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_easily() {
        assert_eq!(seconds(Seconds(Duration::from_micros(12_345))), "0.012 s");
        assert_eq!(size(10_239), "10239 B");
        assert_eq!(size(65_536), "64 KiB");
        assert_eq!(size(268_435_456), "256 MiB");
        for (given, read) in [
            (59, "59 s"),
            (60, "1 min"),
            (3_720, "1 h 2 min"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(uptime(Duration::from_secs(given)), read);
        }
    }

    #[test]
    fn style_and_script_do_not_end_before_their_end() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</"), "it stands in a page as it is");
        }
    }
}
