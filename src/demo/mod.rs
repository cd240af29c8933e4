//! The demo: a bookshop on loopback, with everything that a gateway is for.
//!
//! A [`PageCache`] gives pages without personal content, a few [`AppInstance`]s give their parts and take one request at a
//! time, with real waits. [`config::config`] is what a gateway in front of them is told, [`welcome::text`] what the terminal
//! says. The demo knows no gateway: whoever opens it binds the listeners and puts one before them. All data is made from a seed
//! and lives in memory; nothing is read from disk.

pub mod about;
pub mod app;
pub mod catalogue;
pub mod config;
pub mod counter;
pub mod cover;
pub mod form;
pub mod fragments;
pub mod layout;
pub mod page_cache;
pub mod pages;
pub mod reply;
pub mod seed;
pub mod shop;
pub mod welcome;
#[allow(missing_docs)] // Lists of words say what they are by their names.
pub mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::demo::app::AppInstance;
use crate::demo::catalogue::Catalogue;
use crate::demo::page_cache::PageCache;
use crate::demo::shop::Shop;

/// The seed of the demo's books.
pub const SEED: u64 = 1710;

/// App instances of the demo.
pub const INSTANCES: usize = 4;

/// The origins of the demo, each to be put behind a listener of its own.
#[derive(Debug)]
pub struct Bookshop {
    /// The cached layer.
    pub pages: PageCache,
    /// The servers of the app, equal but for their names.
    pub apps: Vec<AppInstance>,
}

impl Bookshop {
    /// A shop with its books on the shelves and nobody in it. `dashboard` is where the gateway's admin listener answers; the
    /// about page links to it.
    pub fn open(dashboard: Option<SocketAddr>) -> Self {
        let catalogue = Arc::new(Catalogue::of(SEED));
        let shop = Arc::new(Shop::default());
        Self {
            apps: (1..=INSTANCES)
                .map(|number| AppInstance::new(number, Arc::clone(&catalogue), Arc::clone(&shop)))
                .collect(),
            pages: PageCache::new(catalogue, dashboard),
        }
    }
}

/// Where the parts of the demo listen.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The gateway, which readers open.
    pub gateway: SocketAddr,
    /// The gateway's admin listener, if it has one.
    pub admin: Option<SocketAddr>,
    /// The page cache.
    pub pages: SocketAddr,
    /// The app instances.
    pub apps: Vec<SocketAddr>,
}

#[cfg(test)]
mod tests;
