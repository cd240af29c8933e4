//! A histogram of seconds that is counted up without a lock, and by many equal values at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper ends of the buckets of all histograms, in seconds: from a hit in memory to the longest page time.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Cheap to clone; all clones are one histogram.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By bucket; the last one has no upper end.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// One value.
    pub(super) fn observe(&self, value: Duration) {
        self.observe_all(value, 1);
    }

    /// So many values that are alike.
    pub(super) fn observe_all(&self, value: Duration, count: u64) {
        let seconds = value.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end);
        // Without an end that it is below it belongs into the last one, which is there.
        self.0.buckets[bucket.unwrap_or(BUCKETS.len())].fetch_add(count, Ordering::Relaxed);
        let nanoseconds = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if nanoseconds > 0 {
            let all = nanoseconds.saturating_mul(count);
            self.0.nanoseconds.fetch_add(all, Ordering::Relaxed);
        }
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let ends = BUCKETS.iter().copied().chain([f64::INFINITY]);
        let counts = self
            .0
            .buckets
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = ends.zip(counts).collect();
        let sum = self.0.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn the_last_bucket_has_no_end() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(1_000_000));
        let mut registry = Registry::default();
        registry.register("page_seconds", "Pages", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        assert!(
            text.contains("page_seconds_bucket{le=\"+Inf\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("page_seconds_count 1\n"), "{text}");
    }
}
