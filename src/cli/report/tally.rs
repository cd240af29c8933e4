//! What a log comes to: for each route and each fragment URL how many, how long, and what of it was waiting.
//!
//! Memory does not grow with the log: times are kept as histograms, and of the keys only so many. When there are more, those that
//! took the least time are counted together from then on.

use std::collections::HashMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::report::line::{Fetch, Line};

/// The longest time that a histogram tells apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// What one key took so far.
#[derive(Debug, Clone)]
pub struct Tally {
    count: u64,
    failed: u64,
    total: f64,
    app: f64,
    queue: f64,
    longest: f64,
    /// In microseconds, to two digits.
    times: Histogram<u32>,
}

impl Tally {
    fn new() -> Self {
        Self {
            count: 0,
            failed: 0,
            total: 0.0,
            app: 0.0,
            queue: 0.0,
            longest: 0.0,
            // Two digits tell 1.0 s from 1.1 s, which is enough for a quantile. It grows with the longest time: 4 KiB for 50 ms, 7 for 5 s.
            times: Histogram::new(2).expect("2 is among the numbers of digits that it has"),
        }
    }

    fn add(&mut self, seconds: f64, failed: bool) {
        self.count += 1;
        self.failed += u64::from(failed);
        self.total += seconds;
        self.longest = self.longest.max(seconds);
        // It grows as far as `LONGEST`, so there is room for it.
        let _ = self.times.record(((seconds * 1e6) as u64).min(LONGEST));
    }

    fn add_fetch(&mut self, fetch: &Fetch<'_>) {
        self.app += fetch.cost_seconds;
        self.queue += fetch.queue_seconds;
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.failed += other.failed;
        self.total += other.total;
        self.app += other.app;
        self.queue += other.queue;
        self.longest = self.longest.max(other.longest);
        // It grows as the other one did.
        let _ = self.times.add(&other.times);
    }
}

/// The tallies of all keys of one kind.
#[derive(Debug)]
pub struct Tallies {
    keys: HashMap<String, Tally>,
    most: usize,
    /// What is counted together, and of how many keys.
    others: Option<Tally>,
}

impl Tallies {
    /// Of at most so many keys.
    pub fn new(most: usize) -> Self {
        Self {
            keys: HashMap::new(),
            most: most.max(2),
            others: None,
        }
    }

    fn of(&mut self, key: &str) -> &mut Tally {
        let is_new = !self.keys.contains_key(key);
        if is_new && self.keys.len() >= self.most {
            self.fold();
        }
        self.keys.entry(key.to_owned()).or_insert_with(Tally::new)
    }

    /// Puts the half that took the least time together.
    fn fold(&mut self) {
        let mut totals: Vec<f64> = self.keys.values().map(|tally| tally.total).collect();
        totals.sort_by(f64::total_cmp);
        let border = totals.get(totals.len() / 2).copied().unwrap_or_default();
        let mut left = totals.len() / 2;
        let others = &mut self.others;
        self.keys.retain(|_, tally| {
            // Of those that are at the border no more go than make a half.
            if left == 0 || tally.total > border {
                return true;
            }
            left -= 1;
            match others {
                Some(others) => others.merge(tally),
                None => *others = Some(tally.clone()),
            }
            false
        });
    }

    /// One row a key, in no order, and that of those that were counted together.
    pub fn rows(&self) -> (Vec<Row>, Option<Row>) {
        let rows = self.keys.iter().map(|(key, tally)| Row::of(key, tally));
        let others = self.others.as_ref();
        (
            rows.collect(),
            others.map(|tally| Row::of("(others)", tally)),
        )
    }
}

/// What one key came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The route or URL.
    pub name: String,
    /// How many.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How long all took.
    pub total_seconds: f64,
    /// How long one took.
    pub mean_seconds: f64,
    /// All but one in twenty took no longer.
    pub p95_seconds: f64,
    /// How long servers worked for it.
    pub app_seconds: f64,
    /// How long it waited for servers.
    pub queue_seconds: f64,
    /// The waiting as a share of both, 0 to 1.
    pub waiting: f64,
}

impl Row {
    fn of(name: &str, tally: &Tally) -> Self {
        let fetched = tally.app + tally.queue;
        Self {
            name: name.to_owned(),
            count: tally.count,
            failed: tally.failed,
            total_seconds: micro(tally.total),
            mean_seconds: micro(tally.total / tally.count.max(1) as f64),
            // A histogram rounds up, and nobody believes a quantile above the longest.
            p95_seconds: micro(tally.longest).min(tally.times.value_at_quantile(0.95) as f64 / 1e6),
            app_seconds: micro(tally.app),
            queue_seconds: micro(tally.queue),
            waiting: if fetched > 0.0 {
                (tally.queue / fetched * 1e3).round() / 1e3
            } else {
                0.0
            },
        }
    }
}

/// To the microsecond: sums of doubles have digits that mean nothing.
fn micro(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// How keys are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// All that differ only in their query are one.
    Dropped,
    /// Each is its own.
    Kept,
}

/// All that the report tells.
#[derive(Debug)]
pub struct Report {
    query: Query,
    /// Requests, by route.
    pub routes: Tallies,
    /// Their fragments, by URL with its host.
    pub fragments: Tallies,
    /// Requests that were read.
    pub requests: u64,
    /// Lines that are no requests.
    pub broken: u64,
    /// The first of these, from 1.
    pub first_broken: Option<u64>,
    /// When the first and the last request came.
    pub span: Option<(String, String)>,
}

impl Report {
    /// Of nothing yet, with at most so many keys of each kind.
    pub fn new(query: Query, most: usize) -> Self {
        Self {
            query,
            routes: Tallies::new(most),
            fragments: Tallies::new(most),
            requests: 0,
            broken: 0,
            first_broken: None,
            span: None,
        }
    }

    /// The next line of the log.
    pub fn line(&mut self, bytes: &[u8]) {
        match Line::read(bytes) {
            Some(line) => self.request(&line),
            None => self.broken(),
        }
    }

    /// The next line, which is no request.
    pub fn broken(&mut self) {
        self.broken += 1;
        let number = self.requests + self.broken;
        self.first_broken.get_or_insert(number);
    }

    fn request(&mut self, line: &Line<'_>) {
        self.requests += 1;
        self.see(&line.time);
        let route = line.route.as_deref().unwrap_or("(no route)");
        let tally = self.routes.of(route);
        tally.add(line.seconds, line.status >= 500);
        for fetch in line.skeleton.iter().chain(&line.fragments.each) {
            tally.add_fetch(fetch);
        }
        for fetch in &line.fragments.each {
            let key = key(&line.host, &fetch.url, self.query);
            let tally = self.fragments.of(&key);
            tally.add(fetch.seconds.unwrap_or_default(), fetch.failed());
            tally.add_fetch(fetch);
        }
    }

    /// The log is written in the order of ends, so that neither the first nor the last line has the first or last beginning. All
    /// times are UTC with the same number of digits, so their texts stand in the order of time.
    fn see(&mut self, time: &str) {
        match &mut self.span {
            None => self.span = Some((time.to_owned(), time.to_owned())),
            Some((first, last)) => {
                if time < first.as_str() {
                    time.clone_into(first);
                } else if time > last.as_str() {
                    time.clone_into(last);
                }
            }
        }
    }
}

/// What names a fragment: host, path, and the query where that is kept.
fn key(host: &str, url: &str, query: Query) -> String {
    let url = match query {
        Query::Kept => url,
        Query::Dropped => url.split(['?', '#']).next().unwrap_or_default(),
    };
    let absolute = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .or_else(|| url.strip_prefix("//"));
    match absolute {
        Some(rest) => rest.to_owned(),
        None => format!("{host}{url}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(route: &str, seconds: f64, fragments: &str) -> String {
        format!(
            r#"{{"time":"2026-11-26T10:00:00.000Z","host":"a","path":"/p?q","status":200,"seconds":{seconds},"route":"{route}","more":[1],
               "skeleton":{{"url":"/p","seconds":0.1,"queue_seconds":0.1,"cost_seconds":0.3,"outcome":"ok"}},"fragments":{{"each":[{fragments}]}}}}"#
        )
        .replace('\n', "")
    }

    fn fragment(url: &str, seconds: f64, queue: f64, cost: f64) -> String {
        format!(
            r#"{{"url":"{url}","seconds":{seconds},"queue_seconds":{queue},"cost_seconds":{cost},"outcome":"failed"}}"#
        )
    }

    #[test]
    fn waiting_and_work_are_told_apart() {
        let mut report = Report::new(Query::Dropped, 100);
        for number in 1..=100 {
            let fragment = fragment(
                &format!("/f?n={number}"),
                f64::from(number) / 100.0,
                0.25,
                0.75,
            );
            report.line(line("/", 2.0, &fragment).as_bytes());
        }
        let (routes, _) = report.routes.rows();
        let (fragments, others) = report.fragments.rows();
        assert_eq!(others, None);
        let route = &routes[0];
        assert_eq!(
            (route.count, route.failed, route.total_seconds),
            (100, 0, 200.0)
        );
        assert_eq!(
            (route.app_seconds, route.queue_seconds, route.waiting),
            (105.0, 35.0, 0.25)
        );
        let row = &fragments[0];
        assert_eq!(
            (row.name.as_str(), row.count, row.failed),
            ("a/f", 100, 100)
        );
        assert_eq!((row.total_seconds, row.mean_seconds), (50.5, 0.505));
        assert!(
            (0.945..0.96).contains(&row.p95_seconds),
            "{}",
            row.p95_seconds
        );
    }

    #[test]
    fn keys_are_bounded_and_nothing_is_lost() {
        let mut report = Report::new(Query::Dropped, 10);
        for number in 0..1000 {
            let small = fragment(&format!("/{number}"), 0.001, 0.0, 0.001);
            let large = fragment("/large", 1.0, 0.5, 0.5);
            report.line(line("/", 2.0, &format!("{small},{large}")).as_bytes());
        }
        let (rows, others) = report.fragments.rows();
        assert!(rows.len() <= 10, "{}", rows.len());
        let large = rows.iter().find(|row| row.name == "a/large");
        assert_eq!(
            large.map(|row| row.count),
            Some(1000),
            "what takes the time stays"
        );
        let counted: u64 = rows.iter().chain(&others).map(|row| row.count).sum();
        assert_eq!(counted, 2000);
    }

    #[test]
    fn what_is_no_request_is_counted() {
        let mut report = Report::new(Query::Dropped, 10);
        report.line(line("/", 1.0, "").as_bytes());
        for broken in [
            "listening http 127.0.0.1:8080",
            "",
            "{}",
            r#"{"time":"x","host":"a","path":"/","status":200,"seconds":-1,"route":null}"#,
            r#"{"time":"x","host":"a","path":"/","status":200,"seconds":1e300,"route":null}"#,
            &line("/", 1.0, "")[..60],
        ] {
            report.line(broken.as_bytes());
        }
        report.line(b"\xff\xfe");
        assert_eq!(
            (report.requests, report.broken, report.first_broken),
            (1, 7, Some(2))
        );
    }

    #[test]
    fn a_fragment_is_named_by_host_and_path() {
        for (url, dropped, kept) in [
            ("/f?a=1", "h/f", "h/f?a=1"),
            ("http://other:81/f?a=1", "other:81/f", "other:81/f?a=1"),
            ("https://other/f", "other/f", "other/f"),
            ("//other/f", "other/f", "other/f"),
        ] {
            assert_eq!(key("h", url, Query::Dropped), dropped);
            assert_eq!(key("h", url, Query::Kept), kept);
        }
    }
}
