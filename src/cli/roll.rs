//! `marquetry roll`: restarts the servers of an upstream one after the other, without a request that fails.
//!
//! Of each server: take it out of service, wait until nothing is in flight, run the operator's command, wait until the gateway finds that it does
//! well, put it back, wait until it has its whole share. The first failure stops it, and what is left is told, and how the server that failed stands.

mod command;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::admin::{self, Admin, AdminArguments, AdminError, Server};
use crate::cli::roll::command::Place;
use crate::cli::steer::{LOOK_AGAIN, duration, look};

/// What `/status` says of a server that is only there until its last request has ended.
const LEFT: &str = "left the configuration";

/// What to restart, and how.
#[derive(Debug, Args)]
pub struct RollArguments {
    /// The upstream, by its name in the configuration.
    upstream: String,
    /// The command that restarts one server. It ends when the old process has ended, and need not wait for the new one. `{address}`, `{host}` and `{port}`
    /// are the server's.
    #[arg(long, value_name = "COMMAND")]
    exec: String,
    /// How long a server may take to finish what it has.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    drain_timeout: Duration,
    /// How long the command may take.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    exec_timeout: Duration,
    /// How long a server may take to do well after it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    healthy_timeout: Duration,
    /// Goes on where no other server is in service meanwhile: requests fail with 503 then.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// Rolls. 0 when all servers are done, 1 when one failed or it was broken off, 2 when there is no such upstream.
pub fn roll(arguments: &RollArguments) -> ExitCode {
    admin::run(async {
        let admin = arguments.admin.open()?;
        let house = admin.house().await?;
        let mut servers = house.upstream(&arguments.upstream)?.servers.clone();
        servers.retain(|server| server.reason != LEFT);
        let places: Vec<_> = servers
            .iter()
            .map(|server| Place::of(&server.address))
            .collect();
        let spelled = places
            .iter()
            .map(|place| command::spelled(&arguments.exec, place));
        let commands = match spelled.collect::<Result<Vec<_>, _>>() {
            Ok(commands) => commands,
            Err(fault) => {
                eprintln!("marquetry: --exec: {fault}");
                return Ok(ExitCode::from(super::WRONG));
            }
        };
        let mut roll = Roll {
            arguments,
            admin,
            total: servers.len(),
            done: 0,
        };
        Ok(roll.all(&servers, &places, &commands).await)
    })
}

struct Roll<'a> {
    arguments: &'a RollArguments,
    admin: Admin,
    total: usize,
    done: usize,
}

/// How far one server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was done to it.
    Untouched,
    /// It was taken out of service here, and its command has not run: there is nothing against its service.
    Drained,
    /// It was taken out of service here, and its command has begun.
    Begun,
}

impl Roll<'_> {
    async fn all(&mut self, servers: &[Server], places: &[Place], commands: &[String]) -> ExitCode {
        let began = Instant::now();
        let signals = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            eprintln!("marquetry: no signals");
            return ExitCode::FAILURE;
        };
        for ((server, place), command) in servers.iter().zip(places).zip(commands) {
            let mut stage = Stage::Untouched;
            let stop = tokio::select! {
                done = self.one(server, place, command, &mut stage) => done.err(),
                _ = interrupt.recv() => Some("broken off".to_owned()),
                _ = terminate.recv() => Some("broken off".to_owned()),
            };
            if let Some(reason) = stop {
                eprintln!("marquetry: {}: {reason}", server.address);
                self.stopped(server, stage).await;
                let left: Vec<_> = servers[self.done..]
                    .iter()
                    .map(|it| it.address.as_str())
                    .collect();
                eprintln!(
                    "marquetry: {} of {} servers of {} done; left: {}",
                    self.done,
                    self.total,
                    self.arguments.upstream,
                    left.join(", ")
                );
                return ExitCode::FAILURE;
            }
            self.done += 1;
        }
        eprintln!(
            "{}: all {} servers are done, in {}",
            self.arguments.upstream,
            self.total,
            since(began)
        );
        ExitCode::SUCCESS
    }

    /// One server, until it has its whole share again. One that was out of service before stays so.
    async fn one(
        &self,
        server: &Server,
        place: &Place,
        command: &str,
        stage: &mut Stage,
    ) -> Result<(), String> {
        self.drain(server, stage).await?;
        let was_drained = *stage == Stage::Untouched;
        self.say(server, &format!("idle; running: {command}"));
        let running = Instant::now();
        if !was_drained {
            *stage = Stage::Begun;
        }
        let (upstream, within) = (&self.arguments.upstream, self.arguments.exec_timeout);
        command::run(command, upstream, place, within)
            .await
            .map_err(|failure| failure.to_string())?;
        self.say(server, &format!("the command took {}", since(running)));
        self.wait_until_well(server).await?;
        if was_drained {
            self.say(
                server,
                "does well; it was out of service before and stays so",
            );
            return Ok(());
        }
        self.order(server, &json!({"state": "ready"})).await?;
        self.say(server, "does well and is in service");
        self.wait_for_its_share(server).await
    }

    /// Takes it out of service, unless it is, and waits until nothing is in flight.
    async fn drain(&self, server: &Server, stage: &mut Stage) -> Result<(), String> {
        let before = self.row(server).await?;
        if is_drained(&before) {
            return self.wait_until_idle(server).await;
        }
        if !self.arguments.force && !self.others_serve(server).await? {
            return Err(
                "no other server is in service, and without one requests fail; --force goes on all the same"
                    .to_owned(),
            );
        }
        *stage = Stage::Drained;
        self.order(server, &json!({"state": "drain"})).await?;
        self.say(server, &format!("draining, {} in flight", before.in_flight));
        self.wait_until_idle(server).await
    }

    async fn wait_until_idle(&self, server: &Server) -> Result<(), String> {
        let until = Instant::now() + self.arguments.drain_timeout;
        loop {
            let row = self.row(server).await?;
            if row.in_flight == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                let seconds = self.arguments.drain_timeout.as_secs_f64();
                return Err(format!(
                    "{} still in flight after {seconds} s",
                    row.in_flight
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Asks the gateway until it finds the server well: by the upstream's health check, or else by connecting.
    async fn wait_until_well(&self, server: &Server) -> Result<(), String> {
        let until = Instant::now() + self.arguments.healthy_timeout;
        let (upstream, check) = (&self.arguments.upstream, json!({"check": true}));
        loop {
            let asked = self.admin.order(upstream, &server.address, &check);
            let fault = match asked.await {
                // One good answer may not be enough to bring back a server that was found down.
                Ok(rows) if rows.iter().all(|row| row.healthy) => return Ok(()),
                Ok(_) => "it has not done well often enough yet".to_owned(),
                Err(AdminError::Refused { status: 502, text }) => {
                    let named = format!("{}: ", server.address);
                    text.strip_prefix(&named).unwrap_or(&text).to_owned()
                }
                Err(error) => return Err(error.to_string()),
            };
            if Instant::now() >= until {
                let seconds = self.arguments.healthy_timeout.as_secs_f64();
                return Err(format!("it does not do well after {seconds} s: {fault}"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// While it starts slowly. That ends by itself, as the configuration says.
    async fn wait_for_its_share(&self, server: &Server) -> Result<(), String> {
        let began = Instant::now();
        let mut told = false;
        loop {
            let row = self.row(server).await?;
            if row.state != "active" {
                return Err(format!("it is {} again: {}", row.state, row.reason));
            }
            if row.effective_weight >= f64::from(row.weight) {
                if told {
                    self.say(
                        server,
                        &format!("has its whole share after {}", since(began)),
                    );
                }
                return Ok(());
            }
            if !told {
                told = true;
                self.say(server, "starts slowly");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn others_serve(&self, server: &Server) -> Result<bool, String> {
        let house = self
            .admin
            .house()
            .await
            .map_err(|error| error.to_string())?;
        let upstream = house
            .upstream(&self.arguments.upstream)
            .map_err(|error| error.to_string())?;
        let mut others = upstream
            .servers
            .iter()
            .filter(|it| it.address != server.address);
        Ok(others.any(|other| other.state == "active"))
    }

    async fn row(&self, server: &Server) -> Result<Server, String> {
        let rows = look(
            &self.admin,
            &self.arguments.upstream,
            std::slice::from_ref(server),
        );
        let rows = rows.await.map_err(|error| error.to_string())?;
        let row = rows.into_iter().next();
        row.ok_or_else(|| "it has left the configuration".to_owned())
    }

    async fn order(&self, server: &Server, order: &serde_json::Value) -> Result<(), String> {
        let upstream = &self.arguments.upstream;
        let ordered = self.admin.order(upstream, &server.address, order).await;
        ordered.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Says how the server stands that it has stopped at. One whose command has not run is put back: nothing has been done to it.
    async fn stopped(&self, server: &Server, stage: Stage) {
        let (upstream, address) = (&self.arguments.upstream, &server.address);
        if stage == Stage::Drained
            && let Err(error) = self.order(server, &json!({"state": "ready"})).await
        {
            eprintln!("marquetry: {address}: cannot be put back into service: {error}");
        }
        match self.row(server).await {
            Ok(row) => {
                let well = if row.healthy {
                    ""
                } else {
                    " and does not do well"
                };
                let why = match row.state.as_str() {
                    "active" => String::new(),
                    _ => format!(": {}", row.reason),
                };
                eprintln!("marquetry: {address} is {}{well}{why}", row.state);
                if stage == Stage::Begun && is_drained(&row) {
                    let place = self.arguments.admin.as_words();
                    let address = command::quoted(address);
                    eprintln!(
                        "marquetry: to put it back: marquetry ready {upstream} {address}{place}"
                    );
                }
            }
            Err(error) => eprintln!("marquetry: how {address} stands is not known: {error}"),
        }
    }

    fn say(&self, server: &Server, what: &str) {
        eprintln!(
            "{}/{} {}: {what}",
            self.done + 1,
            self.total,
            server.address
        );
    }
}

fn is_drained(server: &Server) -> bool {
    matches!(server.state.as_str(), "draining" | "drained")
}

fn since(began: Instant) -> String {
    format!("{:.1} s", began.elapsed().as_secs_f64())
}
