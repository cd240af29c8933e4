//! Gauges that are not kept but asked for: at each scrape, of whoever implements [`Status`].

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::observe::status::{ServerState, Status, UpstreamStatus};

/// Where the house's [`Status`] is put once it stands, and replaced when it is rebuilt.
#[derive(Clone, Default)]
pub(super) struct Watched(Arc<RwLock<Option<Arc<dyn Status>>>>);

impl Watched {
    /// From now on this one is asked.
    pub(super) fn set(&self, status: Arc<dyn Status>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// Who is asked.
    pub(super) fn get(&self) -> Option<Arc<dyn Status>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

/// The gauges of upstreams and store, as a collector of the registry.
#[derive(Debug)]
pub(super) struct Gauges(Watched);

impl Gauges {
    /// The gauges of who is watched; the registry puts its prefix before their names.
    pub(super) fn new(watched: Watched) -> Self {
        Self(watched)
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.get();
        let upstreams = status.as_ref().map(|status| status.upstreams());
        let upstreams = upstreams.unwrap_or_default();
        let connections = status.as_ref().map_or(0, |status| status.connections());
        let cache = status.map(|status| status.cache()).unwrap_or_default();
        let encoder = &mut encoder;
        each(
            encoder,
            ("upstream_in_flight", "Requests sent and not finished"),
            &upstreams,
            UpstreamStatus::in_flight,
        )?;
        each(
            encoder,
            ("upstream_queued", "Requests that wait for a server"),
            &upstreams,
            |upstream| upstream.queued,
        )?;
        servers(encoder, &upstreams)?;
        one(
            encoder,
            ("connections", "Open client connections"),
            &ConstGauge::new(connections as u64),
        )?;
        one(
            encoder,
            ("cache_bytes", "What the stored objects weigh"),
            &ConstGauge::new(cache.bytes),
        )?;
        one(
            encoder,
            ("cache_objects", "Stored objects"),
            &ConstGauge::new(cache.objects),
        )?;
        one(
            encoder,
            ("cache_evictions", "Objects that had to leave for others"),
            &ConstCounter::new(cache.evictions),
        )
    }
}

/// One number for each upstream.
fn each(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    upstreams: &[UpstreamStatus],
    number: impl Fn(&UpstreamStatus) -> usize,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for upstream in upstreams {
        let labels = [("upstream", upstream.name.as_str())];
        ConstGauge::new(number(upstream) as u64).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// How many servers of each upstream are in each state.
fn servers(encoder: &mut DescriptorEncoder<'_>, upstreams: &[UpstreamStatus]) -> fmt::Result {
    let name = "upstream_servers";
    let help = "Servers of an upstream, by state";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for upstream in upstreams {
        for state in ServerState::ALL {
            let labels = [
                ("upstream", upstream.name.as_str()),
                ("state", state.as_str()),
            ];
            let number = upstream.servers_in(state) as u64;
            ConstGauge::new(number).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// One number without labels.
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    metric: &impl EncodeMetric,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
