//! Metrics as text, in the two languages that Prometheus reads.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// In which of its two languages Prometheus is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// The classic text format, 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0, for those who accept it.
    OpenMetrics,
}

impl Exposition {
    /// All metrics of a registry in this language.
    pub fn write(self, registry: &Registry) -> String {
        let mut text = String::with_capacity(16 * 1024);
        if encode(&mut text, registry).is_err() {
            // Writing to a string does not fail; a collector could.
            tracing::error!("metrics could not be written");
        }
        match self {
            Self::OpenMetrics => text,
            Self::Prometheus => as_prometheus(&text),
        }
    }

    /// What this `Accept` header wants: `OpenMetrics` when it is named, else the format that everybody reads.
    pub fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|types| types.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// `OpenMetrics` text in the classic format: there, a counter's family carries the suffix of its samples, and nothing says where
/// the text ends.
fn as_prometheus(open_metrics: &str) -> String {
    let lines: Vec<&str> = open_metrics.lines().collect();
    let mut text = String::with_capacity(open_metrics.len() + 256);
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# EOF") || line.starts_with("# UNIT ") {
            continue;
        }
        let help = line.strip_prefix("# HELP ").and_then(|rest| {
            let counter = lines.peek().is_some_and(|next| is_counter(next));
            counter.then(|| rest.split_once(' ')).flatten()
        });
        if let Some((name, help)) = help {
            text.extend(["# HELP ", name, "_total ", help, "\n"]);
        } else if is_counter(line) {
            let name = line
                .trim_start_matches("# TYPE ")
                .trim_end_matches(" counter");
            text.extend(["# TYPE ", name, "_total counter\n"]);
        } else {
            text.extend([line, "\n"]);
        }
    }
    text
}

/// Whether the line declares a counter.
fn is_counter(line: &str) -> bool {
    line.starts_with("# TYPE ") && line.ends_with(" counter")
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::with_prefix("test");
        registry.register("hits", "Answers from store", Counter::<u64>::default());
        registry.register("open", "Open connections", Gauge::<i64>::default());
        registry
    }

    #[test]
    fn the_classic_format_names_counters_as_their_samples() {
        let text = Exposition::Prometheus.write(&registry());
        assert!(text.contains("# TYPE test_hits_total counter\n"));
        assert!(text.contains("# HELP test_hits_total Answers from store"));
        assert!(text.contains("# TYPE test_open gauge\n"));
        assert!(text.contains("\ntest_hits_total 0\n"));
        assert!(!text.contains("# EOF"), "{text}");
        assert!(!text.contains("total_total"), "{text}");
        let open = Exposition::OpenMetrics.write(&registry());
        assert!(open.contains("# TYPE test_hits counter\n"));
        assert!(open.ends_with("# EOF\n"));
    }

    #[test]
    fn open_metrics_is_for_those_who_accept_it() {
        let rows = [
            (None, Exposition::Prometheus),
            (Some("*/*"), Exposition::Prometheus),
            (Some("text/plain;version=0.0.4"), Exposition::Prometheus),
            (
                Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"),
                Exposition::OpenMetrics,
            ),
        ];
        for (accept, format) in rows {
            assert_eq!(Exposition::accepted(accept), format, "{accept:?}");
        }
    }
}
