//! `marquetry run`: the gateway, until a signal ends it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::restart;
use crate::cli::wire::{self, Addresses, Running};
use crate::config::Config;
use crate::gateway::Gateway;
use crate::observe::log;

/// Runs the gateway of this configuration. 0 after SIGTERM when all requests could end; SIGINT ends it at once.
pub fn run(path: &Path) -> ExitCode {
    let (config, warnings) = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprint!("{}", error.render(super::color()));
            return ExitCode::from(super::WRONG);
        }
    };
    if let Err(error) = log::start(&config.log.level) {
        eprintln!("marquetry: {error}");
        return ExitCode::from(super::WRONG);
    }
    for warning in warnings {
        tracing::warn!(file = %path.display(), "{warning}");
    }
    let runtime = match runtime(config.server.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("marquetry: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(path, &config));
    // What still runs after the drain is dropped, not waited for.
    runtime.shutdown_background();
    ended
}

/// A runtime with so many workers; 0: one a core.
pub fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

async fn serve(path: &Path, config: &Config) -> ExitCode {
    let bound = match wire::bind(config) {
        Ok(bound) => bound,
        Err(error) => {
            eprintln!("marquetry: {error}");
            return ExitCode::from(super::WRONG);
        }
    };
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("marquetry: no signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut running = bound.start();
    announce(&running.addresses);
    until_ended(path, &mut running, signals).await
}

/// One line for each listener, on standard output: programs wait for them.
fn announce(addresses: &Addresses) {
    let http = addresses
        .http
        .iter()
        .map(|address| format!("listening http {address}\n"));
    let https = addresses
        .https
        .map(|address| format!("listening https {address}\n"));
    let admin = addresses
        .admin
        .map(|address| format!("listening admin {address}\n"));
    let balancers = Some(told(&addresses.balancers)).into_iter();
    print(
        &http
            .chain(https)
            .chain(balancers)
            .chain(admin)
            .collect::<String>(),
    );
}

fn told(balancers: &[(String, SocketAddr)]) -> String {
    balancers
        .iter()
        .fold(String::new(), |lines, (name, address)| {
            lines + &format!("listening balancer {name} {address}\n")
        })
}

fn print(lines: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may read standard output; that is no reason not to serve.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

/// The signals that are listened to from now on. To be had before anybody is told that the gateway runs: a SIGHUP that comes earlier ends
/// the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens to them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// SIGTERM drains, SIGINT ends at once, SIGHUP reloads.
pub async fn until_ended(path: &Path, running: &mut Running, mut signals: Signals) -> ExitCode {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => {
                running.observer.flush();
                return ExitCode::SUCCESS;
            }
            _ = signals.hang_up.recv() => reload(path, running).await,
        }
    }
    tracing::info!(connections = running.drain.open(), "draining");
    let drained = tokio::select! {
        all = running.drain() => all,
        _ = signals.interrupt.recv() => false,
    };
    if !drained {
        tracing::warn!(
            connections = running.drain.open(),
            "ended before all requests had"
        );
    }
    ExitCode::SUCCESS
}

/// Puts a new gateway of the same cache in the place of the old one; requests under way end in the old one. Listeners stay as
/// they are. A bad file changes nothing.
async fn reload(path: &Path, running: &mut Running) {
    match Config::load(path) {
        Ok((config, warnings)) => {
            for warning in warnings {
                tracing::warn!(file = %path.display(), "{warning}");
            }
            for setting in restart::needed(&running.config, &config) {
                tracing::warn!(file = %path.display(), setting, "changed, but read at start only: it takes a restart");
            }
            let reserved = match running.reserve(&config) {
                Ok(reserved) => reserved,
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "not reloaded, the old configuration stays");
                    return;
                }
            };
            let old = running.gateway.now();
            running.gateway.exchange(Gateway::succeed(&old, &config));
            running.observer.reopen_access_log();
            print(&told(&running.follow(&config, reserved).await));
            tracing::info!(file = %path.display(), "reloaded");
        }
        Err(error) => {
            tracing::error!(file = %path.display(), "not reloaded, the old configuration stays");
            eprint!("{}", error.render(super::color()));
        }
    }
}
