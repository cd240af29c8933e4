//! The gateway that answers now, to be exchanged while requests run: each request keeps the one that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::gateway::Gateway;
use crate::message::client::Connection;
use crate::message::{Request, Response};
use crate::server::handler::{Handler, Refused};

/// A gateway that can be put in another's place.
pub struct Current(ArcSwap<Gateway>);

impl Current {
    /// This one answers.
    pub fn new(gateway: Gateway) -> Self {
        Self(ArcSwap::from_pointee(gateway))
    }

    /// The one that answers now.
    pub fn now(&self) -> Arc<Gateway> {
        self.0.load_full()
    }

    /// From now on this one answers.
    pub fn exchange(&self, gateway: Gateway) {
        self.0.store(Arc::new(gateway));
    }
}

impl Handler for Current {
    fn handle(&self, request: Request, from: &Connection) -> impl Future<Output = Response> + Send {
        let gateway = self.now();
        async move { gateway.answer(request, from).await }
    }

    fn refused(&self, refused: &Refused<'_>, response: &mut Response, from: &Connection) {
        self.now().refused(refused, response, from, None);
    }
}
