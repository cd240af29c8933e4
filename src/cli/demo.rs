//! `marquetry demo`: the bookshop's origins and a gateway before them, all on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cli::run;
use crate::cli::wire::{self, StartError};
use crate::config::AdminConfig;
use crate::demo::config::config;
use crate::demo::{Addresses, Bookshop, INSTANCES, welcome};
use crate::observe::log;
use crate::server::drain::Drain;
use crate::server::handler::Handler;
use crate::server::{Limits, Listener};

/// How far above the gateway's port the admin listener's is.
const ADMIN_ABOVE: u16 = 1000;

/// Opens the shop until a signal closes it.
pub fn demo(port: u16) -> ExitCode {
    let opened = run::runtime(0)
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            let ended = runtime.block_on(open(port));
            runtime.shutdown_background();
            ended
        });
    opened.unwrap_or_else(|error| {
        eprintln!("marquetry: {error}");
        ExitCode::FAILURE
    })
}

async fn open(port: u16) -> Result<ExitCode, String> {
    log::start("warn").map_err(|error| error.to_string())?;
    let drain = Drain::new();
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let admin_port = if port == 0 {
        0
    } else {
        port.saturating_add(ADMIN_ABOVE)
    };
    let bind = |address| listener(address).map_err(|error| error.to_string());
    let pages = bind(loopback(0))?;
    let apps = (0..INSTANCES)
        .map(|_| bind(loopback(0)))
        .collect::<Result<Vec<_>, _>>()?;
    let address = |listener: &Listener| listener.address().map_err(|error| error.to_string());
    let mut addresses = Addresses {
        gateway: loopback(port),
        admin: Some(loopback(admin_port)),
        pages: address(&pages)?,
        apps: apps.iter().map(address).collect::<Result<_, _>>()?,
    };
    let mut settled = config(&addresses);
    settled.admin = Some(AdminConfig {
        listen: loopback(admin_port),
        token_file: None,
    });
    let bound = match wire::bind(&settled) {
        Ok(bound) => bound,
        Err(error @ StartError::Listen { .. }) => {
            eprintln!("marquetry: {}", with_advice(&error, port));
            return Ok(ExitCode::from(super::WRONG));
        }
        Err(error) => return Err(error.to_string()),
    };
    addresses.gateway = bound
        .addresses()
        .http
        .first()
        .copied()
        .unwrap_or(addresses.gateway);
    addresses.admin = bound.addresses().admin;
    let shop = Bookshop::open(addresses.admin);
    serve(pages, shop.pages, &drain);
    for (listener, app) in apps.into_iter().zip(shop.apps) {
        serve(listener, app, &drain);
    }
    let signals = run::Signals::new().map_err(|error| error.to_string())?;
    let mut running = bound.start();
    print!("{}", welcome::text(&addresses));
    // There is no file to read again: SIGHUP finds none and changes nothing.
    let nowhere = Path::new("the demo has no configuration file");
    Ok(run::until_ended(nowhere, &mut running, signals).await)
}

fn listener(address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address, Limits::default(), Arc::new(Semaphore::new(1024)))
        .map_err(|source| StartError::Listen { address, source })
}

fn serve<H: Handler>(listener: Listener, handler: H, drain: &Drain) {
    tokio::spawn(listener.run(Arc::new(handler), drain.clone()));
}

fn with_advice(error: &StartError, port: u16) -> String {
    let other = port.wrapping_add(10);
    format!("{error}\ntry another port: marquetry demo --port {other}")
}
