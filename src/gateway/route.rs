//! A route at work: its configuration with the upstream, the handles for metrics and the reader of its documents.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::RouteConfig;
use crate::gateway::documents::Documents;
use crate::observe::metrics::{RouteMetrics, UpstreamMetrics};
use crate::upstream::Upstream;

/// Where requests of one host and path prefix go, and what is made of the answers.
pub struct Route {
    /// As configured.
    pub config: RouteConfig,
    /// Who answers.
    pub upstream: Arc<Upstream>,
    /// Counts for the route.
    pub metrics: RouteMetrics,
    /// Counts for its upstream.
    pub upstream_metrics: UpstreamMetrics,
    /// Which answers are documents, and their templates.
    pub documents: Arc<Documents>,
    /// Whether it has been logged that a fragment sets a cookie that is dropped.
    pub told_cookie: AtomicBool,
}

impl Route {
    /// Whether cookies tell which of its answers one is given. Those behind us know nothing of that, so a part by this route is its
    /// user's to them.
    pub fn tells_by_cookie(&self) -> bool {
        !self.config.key_cookies.is_empty()
    }

    /// A fragment of this route sets a cookie, which no page hands on: told once.
    pub fn drops_cookie(&self) {
        if !self.told_cookie.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                route = %self.config.name,
                "a fragment sets a cookie, which is dropped: with `compose.merge_set_cookie = true` pages wait for their fragments and \
                 hand it on"
            );
        }
    }
}
