//! A route at work: its configuration with the upstream, the handles for metrics and the reader of its documents.

use std::sync::Arc;

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
}
