//! What operators see: metrics, the waterfalls of recent pages, the access log, the log.
//!
//! The walk hands over facts through the handles of this module (queued, sent, first byte, done, outcome); what becomes of them
//! is decided here and nowhere else. Nothing here knows routing, caches or sockets. Cookies and credentials are never handed
//! over, and URLs lose theirs at the door.

pub mod access_log;
pub mod exposition;
pub mod gauges;
mod histogram;
pub mod hits;
pub mod live;
pub mod log;
pub mod metrics;
pub mod open;
pub mod outcome;
pub mod page;
pub mod recent;
pub mod request_id;
pub mod server_timing;
pub mod span;
pub mod status;
pub mod text;
pub mod trace_context;
pub mod waterfall;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::access_log::AccessLog;
use crate::observe::exposition::Exposition;
use crate::observe::gauges::Watched;
use crate::observe::live::Live;
use crate::observe::metrics::{CacheMetrics, Metrics, RouteMetrics, UpstreamMetrics};
use crate::observe::open::Open;
use crate::observe::page::{OpenPage, Page, PageStart};
use crate::observe::recent::{Recent, RecentLimits};
use crate::observe::status::Status;
use crate::observe::waterfall::Waterfall;

/// The route of requests for which none was found, in metrics.
const NO_ROUTE: &str = "-";

/// The handle that the other rooms are given. Cheap to clone; all clones are one observer.
#[derive(Clone)]
pub struct Observer(Arc<Shared>);

struct Shared {
    started: Instant,
    metrics: Metrics,
    unrouted: RouteMetrics,
    watched: Watched,
    open: Open<OpenPage>,
    recent: Recent,
    live: Live,
    access_log: AccessLog,
}

impl Observer {
    /// An observer that writes its access log there.
    pub fn new(access_log: AccessLog) -> Self {
        Self::with_limits(access_log, RecentLimits::default())
    }

    /// An observer that keeps so many recent pages.
    pub fn with_limits(access_log: AccessLog, recent: RecentLimits) -> Self {
        let watched = Watched::default();
        let metrics = Metrics::new(watched.clone());
        Self(Arc::new(Shared {
            started: Instant::now(),
            unrouted: metrics.route(NO_ROUTE),
            metrics,
            watched,
            open: Open::default(),
            recent: Recent::new(recent),
            live: Live::default(),
            access_log,
        }))
    }

    /// Whose state is shown from now on. Whoever builds the house calls it, and again when a reload has built it anew.
    pub fn watch(&self, status: Arc<dyn Status>) {
        self.0.watched.set(status);
    }

    /// Whose state is shown.
    pub fn status(&self) -> Option<Arc<dyn Status>> {
        self.0.watched.get()
    }

    /// A request has come.
    pub fn page(&self, start: &PageStart<'_>) -> Page {
        Page::start(self, start)
    }

    /// The handle of a route; ask once, when the route is made.
    pub fn route(&self, name: &str) -> RouteMetrics {
        self.0.metrics.route(name)
    }

    /// The handle of an upstream; ask once, when the upstream is made.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        self.0.metrics.upstream(name)
    }

    /// The counters of the store.
    pub fn cache(&self) -> &CacheMetrics {
        &self.0.metrics.cache
    }

    /// A bound of the configuration was hit. The name is that of the setting, as `compose.max_depth`, so that who sees it knows
    /// what to change.
    pub fn limit_hit(&self, limit: &'static str) {
        self.0.metrics.limit_hit(limit);
    }

    /// How often a bound was hit.
    pub fn limit_hits(&self, limit: &'static str) -> u64 {
        self.0.metrics.limit_hits(limit)
    }

    /// Faults were found in a document that belongs to no page under way; [`page::PageTrace::template_errors`] tells those of
    /// one that does.
    pub fn template_errors(&self, number: usize) {
        self.0.metrics.template_errors.inc_by(number as u64);
    }

    /// A fragment came that is less cacheable than what the head of its page has promised.
    pub fn overpromised(&self) {
        self.0.metrics.overpromised.inc();
    }

    /// All metrics as text.
    pub fn metrics(&self, format: Exposition) -> String {
        self.0.metrics.expose(format)
    }

    /// The latest pages.
    pub fn recent(&self) -> &Recent {
        &self.0.recent
    }

    /// Pages as they finish.
    pub fn live(&self) -> &Live {
        &self.0.live
    }

    /// The requests under way that [wait](page::PageTrace::waits) for something.
    pub fn open(&self) -> &Open<OpenPage> {
        &self.0.open
    }

    /// Since this observer was made.
    pub fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Waits until the access log is written, at most a few seconds. It blocks: call it at the end, or where blocking is meant.
    pub fn flush(&self) {
        self.0.access_log.flush();
    }

    /// Opens the file of the access log anew, after it was moved away.
    pub fn reopen_access_log(&self) {
        self.0.access_log.reopen();
    }

    /// A page has ended: count it, log it, call it out, keep it.
    fn ended(&self, route: Option<&RouteMetrics>, page: Waterfall) {
        let shared = &*self.0;
        let route = route.unwrap_or(&shared.unrouted);
        route.answered(page.status, page.seconds, page.first_byte);
        let page = Arc::new(page);
        if shared.access_log.write(&page).is_err() {
            self.limit_hit("access_log");
        }
        shared.live.tell(&page);
        shared.recent.push(page);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

#[cfg(test)]
mod tests;
