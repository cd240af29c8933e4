//! What was measured, by one worker or all: counts, histograms, and the course of the run. Workers fill their own; they are merged at
//! the end, without loss.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;

/// Most stretches of a timeline.
const MOST_STRETCHES: usize = 600;

/// Why a request has no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// No connection could be had.
    Connect,
    /// The answer took longer than it may.
    Timeout,
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The connection was closed within the answer.
    Cut,
    /// What came is no HTTP/1 answer.
    Malformed,
    /// It was due, but no connection was free until the run had ended (open loop).
    Unsent,
}

impl Fault {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Malformed => "malformed",
            Self::Unsent => "unsent",
        }
    }
}

/// How long answers took.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3);
        Self(histogram.expect("bounds in order and digits between 0 and 5"))
    }
}

impl Latency {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
        self.0.saturating_record(micros.clamp(1, LONGEST));
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency, in seconds, that this share (0 to 1) of answers did not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        seconds(self.0.value_at_quantile(share))
    }

    /// The largest, in seconds.
    pub fn max(&self) -> f64 {
        seconds(self.0.max())
    }

    /// The mean, in seconds.
    pub fn mean(&self) -> f64 {
        if self.0.is_empty() {
            0.0
        } else {
            self.0.mean() / 1e6
        }
    }

    fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A stretch of a run.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// Answers that were read to their end in it.
    pub answers: u64,
    /// Requests without a whole answer that ended in it.
    pub faults: u64,
    latency: Histogram<u32>,
}

impl Default for Stretch {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 2);
        Self {
            answers: 0,
            faults: 0,
            latency: latency.expect("bounds in order and digits between 0 and 5"),
        }
    }
}

impl Stretch {
    /// As [`Latency::quantile`].
    pub fn quantile(&self, share: f64) -> f64 {
        seconds(self.latency.value_at_quantile(share))
    }

    fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.faults += other.faults;
        let added = self.latency.add(&other.latency);
        added.expect("histograms of the same bounds");
    }
}

/// The course of a run: a second a stretch, more when it is long.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// How long a stretch is, in seconds.
    pub width: u64,
    /// From the start of the run.
    pub stretches: Vec<Stretch>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            width: 1,
            stretches: Vec::new(),
        }
    }
}

impl Timeline {
    fn at(&mut self, since_start: Duration) -> &mut Stretch {
        while since_start.as_secs() / self.width >= MOST_STRETCHES as u64 {
            self.widen();
        }
        // Below the bound that the loop has made sure of.
        let index = (since_start.as_secs() / self.width) as usize;
        if self.stretches.len() <= index {
            self.stretches.resize_with(index + 1, Stretch::default);
        }
        &mut self.stretches[index]
    }

    /// Twice as wide, half as many.
    fn widen(&mut self) {
        self.width *= 2;
        let pairs = self.stretches.chunks(2).map(|pair| {
            let mut sum = pair[0].clone();
            if let Some(second) = pair.get(1) {
                sum.add(second);
            }
            sum
        });
        self.stretches = pairs.collect();
    }

    fn add(&mut self, mut other: Self) {
        while self.width < other.width {
            self.widen();
        }
        while other.width < self.width {
            other.widen();
        }
        if self.stretches.len() < other.stretches.len() {
            self.stretches
                .resize_with(other.stretches.len(), Stretch::default);
        }
        for (mine, theirs) in self.stretches.iter_mut().zip(&other.stretches) {
            mine.add(theirs);
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Its status.
    pub status: u16,
    /// Until its first byte, from when the request was to be sent.
    pub first_byte: Duration,
    /// Until its last byte, from when the request was to be sent.
    pub total: Duration,
    /// Until its last byte, from when the request was sent.
    pub from_send: Duration,
    /// Bytes of body, after chunks are undone.
    pub body: u64,
    /// All bytes that came.
    pub wire: u64,
}

/// What a body has that it should not, or lacks.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// Bodies that were looked at.
    pub bodies: u64,
    /// Bodies without the expected text.
    pub without_text: u64,
    /// Bodies without their own user's value.
    pub without_own: u64,
    /// Bodies with the value of another user.
    pub with_other: u64,
    /// The first of them, told.
    pub first: Option<String>,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Whole answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without one, by reason.
    pub faults: BTreeMap<Fault, u64>,
    /// The first fault's own words.
    pub first_fault: Option<String>,
    /// Until the first byte.
    pub first_byte: Latency,
    /// Until the last.
    pub total: Latency,
    /// Until the last, from the moment of sending: what a tool that omits would show.
    pub from_send: Latency,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// All bytes received.
    pub wire_bytes: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// What bodies were held against.
    pub checks: Checks,
    /// Its course.
    pub timeline: Timeline,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// Processor time of the workers; none where it cannot be told.
    pub cost: Option<Duration>,
}

impl Tally {
    /// An answer that ended so long after the start of the timeline.
    pub fn answer(&mut self, seen: &Seen, since_start: Duration) {
        *self.statuses.entry(seen.status).or_default() += 1;
        self.first_byte.record(seen.first_byte);
        self.total.record(seen.total);
        self.from_send.record(seen.from_send);
        self.body_bytes += seen.body;
        self.wire_bytes += seen.wire;
        let stretch = self.timeline.at(since_start);
        stretch.answers += 1;
        let micros = u64::try_from(seen.total.as_micros()).unwrap_or(LONGEST);
        stretch.latency.saturating_record(micros.clamp(1, LONGEST));
    }

    /// A request without a whole answer.
    pub fn fault(&mut self, fault: Fault, words: impl FnOnce() -> String, since_start: Duration) {
        *self.faults.entry(fault).or_default() += 1;
        self.first_fault.get_or_insert_with(words);
        self.timeline.at(since_start).faults += 1;
    }

    /// Whole answers.
    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Requests without one.
    pub fn failed(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.answers() as f64 / seconds
        } else {
            0.0
        }
    }

    /// Processor seconds of the tool for 1,000 answers.
    pub fn cost_per_thousand(&self) -> Option<f64> {
        let answers = self.answers();
        let cost = self.cost.filter(|_| answers > 0)?;
        Some(cost.as_secs_f64() * 1000.0 / answers as f64)
    }

    /// Answers of each class, from 1xx.
    pub fn classes(&self) -> BTreeMap<u16, u64> {
        let mut classes = BTreeMap::new();
        for (status, count) in &self.statuses {
            *classes.entry(status / 100).or_default() += count;
        }
        classes
    }

    /// Takes another worker's in; `elapsed` is the longer of both.
    pub fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (fault, count) in other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        self.first_fault = self.first_fault.take().or(other.first_fault);
        self.first_byte.add(&other.first_byte);
        self.total.add(&other.total);
        self.from_send.add(&other.from_send);
        self.body_bytes += other.body_bytes;
        self.wire_bytes += other.wire_bytes;
        self.connections += other.connections;
        let (mine, theirs) = (&mut self.checks, other.checks);
        mine.bodies += theirs.bodies;
        mine.without_text += theirs.without_text;
        mine.without_own += theirs.without_own;
        mine.with_other += theirs.with_other;
        mine.first = mine.first.take().or(theirs.first);
        self.timeline.add(other.timeline);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.cost = match (self.cost, other.cost) {
            (Some(mine), Some(theirs)) => Some(mine + theirs),
            (mine, theirs) => mine.or(theirs),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(millis: u64) -> Seen {
        let total = Duration::from_millis(millis);
        Seen {
            status: 200,
            first_byte: total / 2,
            total,
            from_send: total,
            body: 10,
            wire: 15,
        }
    }

    #[test]
    fn workers_merged_are_as_one_that_saw_all() {
        let mut whole = Tally::default();
        let mut parts = [Tally::default(), Tally::default(), Tally::default()];
        for number in 0..3000_u64 {
            let at = Duration::from_millis(number * 7);
            whole.answer(&seen(number % 997), at);
            parts[(number % 3) as usize].answer(&seen(number % 997), at);
        }
        whole.fault(Fault::Cut, || "a".to_owned(), Duration::from_secs(99));
        parts[2].fault(Fault::Cut, || "a".to_owned(), Duration::from_secs(99));
        let mut merged = Tally::default();
        for part in parts {
            merged.add(part);
        }
        assert_eq!(merged.answers(), 3000);
        assert_eq!(merged.faults, whole.faults);
        assert_eq!((merged.body_bytes, merged.wire_bytes), (30_000, 45_000));
        for share in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert!((merged.total.quantile(share) - whole.total.quantile(share)).abs() < 1e-9);
            assert!(
                (merged.first_byte.quantile(share) - whole.first_byte.quantile(share)).abs() < 1e-9
            );
        }
        let counts = |tally: &Tally| -> Vec<u64> {
            tally
                .timeline
                .stretches
                .iter()
                .map(|it| it.answers + it.faults)
                .collect()
        };
        assert_eq!(counts(&merged), counts(&whole));
        assert_eq!(counts(&merged).len(), 100);
    }

    #[test]
    fn quantiles_are_exact_to_three_digits() {
        let mut latency = Latency::default();
        for millis in 1..=1000 {
            latency.record(Duration::from_millis(millis));
        }
        for (share, wanted) in [(0.5, 0.5), (0.9, 0.9), (0.99, 0.99), (0.999, 0.999)] {
            let off: f64 = latency.quantile(share) - wanted;
            assert!(
                off.abs() / wanted < 0.001,
                "{share}: {}",
                latency.quantile(share)
            );
        }
        assert!((latency.max() - 1.0).abs() < 0.001);
    }

    #[test]
    fn a_long_run_has_wider_stretches_and_loses_nothing() {
        let mut long = Timeline::default();
        for second in 0..5000 {
            long.at(Duration::from_secs(second)).answers += 1;
        }
        assert!(long.stretches.len() <= MOST_STRETCHES);
        assert_eq!(long.width, 16);
        let mut short = Timeline::default();
        short.at(Duration::from_secs(17)).answers += 1;
        short.add(long);
        assert_eq!(short.width, 16);
        assert_eq!(short.stretches[1].answers, 17);
        assert_eq!(
            short.stretches.iter().map(|it| it.answers).sum::<u64>(),
            5001
        );
    }
}
