//! Counters, gauges and histograms, and the text in which Prometheus reads them.
//!
//! Labels are names from the configuration and small enums, never what a client sent. A room that counts often asks once for
//! its handle ([`RouteMetrics`], [`UpstreamMetrics`], [`CacheMetrics`]) and then only adds to a number.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Metric, Registry};

use crate::observe::exposition::Exposition;
use crate::observe::gauges::{Gauges, Watched};
use crate::observe::histogram::Histogram;
use crate::observe::outcome::{CacheUse, Outcome};
use crate::observe::text::{Name, Seconds};

/// A family of histograms.
type Histograms<L> = Family<L, Histogram>;

/// All metrics of the process.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RouteStatus, Counter>,
    undeclared: Family<Route, Counter>,
    page_seconds: Histograms<Route>,
    first_byte_seconds: Histograms<Route>,
    fragments: Family<UpstreamOutcome, Counter>,
    fragment_seconds: Histograms<Upstream>,
    queue_seconds: Histograms<Upstream>,
    limits_hit: Family<Limit, Counter>,
    pub(super) template_errors: Counter,
    pub(super) overpromised: Counter,
    pub(super) cache: CacheMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteStatus {
    route: Name,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Upstream {
    upstream: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamOutcome {
    upstream: Name,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limit {
    limit: &'static str,
}

impl Metrics {
    /// All of them at zero; gauges of upstreams and store are asked of `watched` at each scrape.
    pub(super) fn new(watched: Watched) -> Self {
        let mut build = Build(Registry::with_prefix("marquetry"));
        let cache = CacheMetrics::new(&mut build);
        build.0.register_collector(Box::new(Gauges::new(watched)));
        Self {
            requests: build.add("requests", "Answered requests, by route and status"),
            undeclared: build.add(
                "undeclared",
                "Answers with tags that were not declared and passed unchanged",
            ),
            page_seconds: build.add(
                "page_seconds",
                "From a request's head to the end of its answer",
            ),
            first_byte_seconds: build.add(
                "first_byte_seconds",
                "From a request's head to the first byte of its answer",
            ),
            fragments: build.add(
                "fragments",
                "Tries to fetch a fragment, by upstream and outcome",
            ),
            fragment_seconds: build.add(
                "fragment_seconds",
                "From a fragment's start to its end, waiting included",
            ),
            queue_seconds: build.add(
                "upstream_queue_seconds",
                "How long fetches waited for servers",
            ),
            limits_hit: build.add(
                "limits_hit",
                "How often a bound of the configuration was hit",
            ),
            template_errors: build.add("template_errors", "Faults found in composed documents"),
            overpromised: build.add(
                "overpromised",
                "Fragments less cacheable than what the head of their page had promised before they came",
            ),
            cache,
            registry: build.0,
        }
    }

    /// The handle of a route; the same name gives the same series.
    pub(super) fn route(&self, name: &str) -> RouteMetrics {
        let name = Name::new(name);
        let route = Route {
            route: name.clone(),
        };
        RouteMetrics(Arc::new(RouteSeries {
            requests: self.requests.clone(),
            ok: OnceLock::new(),
            undeclared: self.undeclared.get_or_create_owned(&route),
            page_seconds: self.page_seconds.get_or_create_owned(&route),
            first_byte_seconds: self.first_byte_seconds.get_or_create_owned(&route),
            name,
        }))
    }

    /// The handle of an upstream; the same name gives the same series.
    pub(super) fn upstream(&self, name: &str) -> UpstreamMetrics {
        let name = Name::new(name);
        let upstream = Upstream {
            upstream: name.clone(),
        };
        let fragments = Outcome::ALL.map(|outcome| {
            self.fragments.get_or_create_owned(&UpstreamOutcome {
                upstream: name.clone(),
                outcome: outcome.as_str(),
            })
        });
        UpstreamMetrics(Arc::new(UpstreamSeries {
            fragments,
            fragment_seconds: self.fragment_seconds.get_or_create_owned(&upstream),
            queue_seconds: self.queue_seconds.get_or_create_owned(&upstream),
            name,
        }))
    }

    /// Counts that a bound was hit.
    pub(super) fn limit_hit(&self, limit: &'static str) {
        self.limits_hit.get_or_create(&Limit { limit }).inc();
    }

    /// How often a bound was hit.
    pub(super) fn limit_hits(&self, limit: &'static str) -> u64 {
        self.limits_hit
            .get(&Limit { limit })
            .map_or(0, |hits| hits.get())
    }

    /// All metrics as text.
    pub(super) fn expose(&self, format: Exposition) -> String {
        format.write(&self.registry)
    }
}

/// Makes metrics and registers them.
pub(super) struct Build(Registry);

impl Build {
    /// A metric of any kind; the name of a counter is given without its `_total`.
    pub(super) fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }
}

/// What is counted for one route.
#[derive(Clone)]
pub struct RouteMetrics(Arc<RouteSeries>);

struct RouteSeries {
    name: Name,
    requests: Family<RouteStatus, Counter>,
    /// That of the status that most answers have, once there was one.
    ok: OnceLock<Counter>,
    undeclared: Counter,
    page_seconds: Histogram,
    first_byte_seconds: Histogram,
}

impl RouteMetrics {
    /// The route's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// An answer carried tags, but did not declare them, and passed unchanged.
    pub fn undeclared(&self) {
        self.0.undeclared.inc();
    }

    /// How often [`RouteMetrics::undeclared`] was told: the first time is worth a line in the log.
    pub fn undeclared_so_far(&self) -> u64 {
        self.0.undeclared.get()
    }

    /// A request was answered.
    pub(super) fn answered(&self, status: u16, seconds: Seconds, first_byte: Option<Seconds>) {
        let counter = || {
            let route = self.0.name.clone();
            let labels = RouteStatus { route, status };
            self.0.requests.get_or_create_owned(&labels)
        };
        if status == 200 {
            self.0.ok.get_or_init(counter).inc();
        } else {
            counter().inc();
        }
        self.0.page_seconds.observe(seconds.0);
        if let Some(first_byte) = first_byte {
            self.0.first_byte_seconds.observe(first_byte.0);
        }
    }
}

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteMetrics").field(&self.0.name).finish()
    }
}

/// What is counted for one upstream.
#[derive(Clone)]
pub struct UpstreamMetrics(Arc<UpstreamSeries>);

struct UpstreamSeries {
    name: Name,
    /// By the discriminant of [`Outcome`].
    fragments: [Counter; Outcome::ALL.len()],
    fragment_seconds: Histogram,
    queue_seconds: Histogram,
}

impl UpstreamMetrics {
    /// The upstream's name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// A fetch has waited so long for servers, all tries together. Spans tell it themselves.
    pub(super) fn waited(&self, time: Seconds) {
        self.0.queue_seconds.observe(time.0);
    }

    /// A try to fetch a fragment has ended. Spans tell it themselves.
    pub(super) fn fragment(&self, outcome: Outcome, seconds: Seconds) {
        if let Some(counter) = self.0.fragments.get(outcome as usize) {
            counter.inc();
        }
        self.0.fragment_seconds.observe(seconds.0);
    }

    /// So many fragments were at hand.
    pub(super) fn hits(&self, count: u64) {
        if let Some(counter) = self.0.fragments.get(Outcome::Hit as usize) {
            counter.inc_by(count);
        }
        self.0.fragment_seconds.observe_all(Duration::ZERO, count);
    }
}

impl fmt::Debug for UpstreamMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamMetrics")
            .field(&self.0.name)
            .finish()
    }
}

/// What is counted at the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    hits: Counter,
    misses: Counter,
    passes: Counter,
    stores: Counter,
    coalesced: Counter,
    hit_for_miss: Counter,
}

impl CacheMetrics {
    fn new(build: &mut Build) -> Self {
        Self {
            hits: build.add("cache_hits", "Answers from store, stale ones included"),
            misses: build.add("cache_misses", "Look-ups that led to a fetch"),
            passes: build.add("cache_passes", "Requests fetched without a look-up"),
            stores: build.add("cache_stores", "Objects stored"),
            coalesced: build.add(
                "cache_coalesced",
                "Requests that shared another one's fetch",
            ),
            hit_for_miss: build.add(
                "cache_hit_for_miss",
                "Look-ups that met a remembered \"not storable\"",
            ),
        }
    }

    /// What a look-up, or doing without one, came to. A coalesced request counts as that alone, its leader as the miss.
    pub fn used(&self, cache: CacheUse) {
        let counter = match cache {
            CacheUse::Hit | CacheUse::Stale | CacheUse::Covered | CacheUse::Revalidated(_) => {
                &self.hits
            }
            CacheUse::Miss(_) => &self.misses,
            CacheUse::Coalesced(_) => &self.coalesced,
            CacheUse::HitForMiss => &self.hit_for_miss,
            CacheUse::Pass => &self.passes,
        };
        counter.inc();
    }

    /// So many hits.
    pub fn hits(&self, count: u64) {
        self.hits.inc_by(count);
    }

    /// An object was stored.
    pub fn stored(&self) {
        self.stores.inc();
    }

    /// The counts so far.
    pub fn counts(&self) -> CacheCounts {
        CacheCounts {
            hits: self.hits.get(),
            misses: self.misses.get(),
            passes: self.passes.get(),
            stores: self.stores.get(),
            coalesced: self.coalesced.get(),
            hit_for_miss: self.hit_for_miss.get(),
        }
    }
}

/// The counts of the store since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct CacheCounts {
    /// Answers from store, stale ones included.
    pub hits: u64,
    /// Look-ups that led to a fetch.
    pub misses: u64,
    /// Requests fetched without a look-up.
    pub passes: u64,
    /// Objects stored.
    pub stores: u64,
    /// Requests that shared another one's fetch.
    pub coalesced: u64,
    /// Look-ups that met a remembered "not storable".
    pub hit_for_miss: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn metrics() -> Metrics {
        Metrics::new(Watched::default())
    }

    /// The lines that are samples, not comments.
    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn what_is_counted_is_exposed() {
        let metrics = metrics();
        let route = metrics.route("www.example.com/");
        route.answered(
            200,
            Seconds(Duration::from_millis(7)),
            Some(Seconds(Duration::from_millis(2))),
        );
        route.answered(503, Seconds(Duration::ZERO), None);
        route.undeclared();
        let app = metrics.upstream("app");
        app.fragment(Outcome::Ok, Seconds(Duration::from_millis(30)));
        app.fragment(Outcome::Timeout, Seconds(Duration::from_secs(2)));
        app.waited(Seconds(Duration::from_millis(1)));
        metrics.cache.used(CacheUse::Hit);
        metrics.cache.used(CacheUse::HitForMiss);
        metrics.cache.stored();
        metrics.limit_hit("compose.max_depth");
        metrics.template_errors.inc_by(3);
        let text = metrics.expose(Exposition::Prometheus);
        for line in [
            r#"marquetry_requests_total{route="www.example.com/",status="200"} 1"#,
            r#"marquetry_requests_total{route="www.example.com/",status="503"} 1"#,
            r#"marquetry_undeclared_total{route="www.example.com/"} 1"#,
            r#"marquetry_page_seconds_count{route="www.example.com/"} 2"#,
            r#"marquetry_page_seconds_bucket{le="0.01",route="www.example.com/"} 2"#,
            r#"marquetry_first_byte_seconds_count{route="www.example.com/"} 1"#,
            r#"marquetry_fragments_total{upstream="app",outcome="ok"} 1"#,
            r#"marquetry_fragments_total{upstream="app",outcome="timeout"} 1"#,
            r#"marquetry_fragments_total{upstream="app",outcome="failed"} 0"#,
            r#"marquetry_fragment_seconds_count{upstream="app"} 2"#,
            r#"marquetry_upstream_queue_seconds_count{upstream="app"} 1"#,
            "marquetry_cache_hits_total 1",
            "marquetry_cache_hit_for_miss_total 1",
            "marquetry_cache_stores_total 1",
            "marquetry_cache_misses_total 0",
            r#"marquetry_limits_hit_total{limit="compose.max_depth"} 1"#,
            "marquetry_template_errors_total 3",
        ] {
            assert!(
                samples(&text).contains(&line),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn the_same_name_is_the_same_series() {
        let metrics = metrics();
        metrics.route("/").undeclared();
        metrics.route("/").undeclared();
        assert_eq!(metrics.route("/").undeclared_so_far(), 2);
    }

    #[test]
    fn label_values_are_escaped() {
        let metrics = metrics();
        metrics.route("a\"b\\c\nd").undeclared();
        let text = metrics.expose(Exposition::Prometheus);
        let line = r#"marquetry_undeclared_total{route="a\"b\\c\nd"} 1"#;
        assert!(samples(&text).contains(&line), "{text}");
    }
}
