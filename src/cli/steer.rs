//! `marquetry drain`, `ready` and `weight`: change how a server of a running gateway stands.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::admin::{self, Admin, AdminArguments, AdminError, Server};
use crate::config::size::parse_duration;

/// How often a server is looked at while it is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Which server.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// The upstream, by its name in the configuration.
    upstream: String,
    /// The server, as `marquetry status` shows it: `127.0.0.1:8110`, `unix:/run/app.sock`.
    server: String,
    /// Prints the server's row, as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArguments,
}

/// `drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Waits until nothing is in flight there.
    #[arg(long)]
    wait: bool,
    /// How long at most.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "wait")]
    timeout: Duration,
}

/// `weight`.
#[derive(Debug, Args)]
pub struct WeightArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Its share: 2 is twice that of 1; 0 drains it.
    #[arg(value_parser = clap::value_parser!(u32).range(0..=65_535))]
    weight: u32,
}

/// Reads a duration of the command line.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration is written as 250ms, 10s or 5m".to_owned())
}

/// Takes a server out of service. 0 when that is done (with `--wait`: when nothing is in flight there), 1 when it could not be, 2 when there is no such
/// server.
pub fn drain(arguments: &DrainArguments) -> ExitCode {
    admin::run(async {
        let named = &arguments.server;
        let admin = named.admin.open()?;
        let rows = order(&admin, named, &json!({"state": "drain"})).await?;
        if !arguments.wait {
            return Ok(tell(named, &rows));
        }
        let until = Instant::now() + arguments.timeout;
        loop {
            let rows = look(&admin, &named.upstream, &rows).await?;
            if rows.iter().all(|row| row.in_flight == 0) {
                return Ok(tell(named, &rows));
            }
            if Instant::now() >= until {
                tell(named, &rows);
                let seconds = arguments.timeout.as_secs_f64();
                eprintln!("marquetry: not idle after {seconds} s; it goes on draining");
                return Ok(ExitCode::FAILURE);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
}

/// Puts a server into service again; exit codes as of [`drain`].
pub fn ready(arguments: &ServerArguments) -> ExitCode {
    carry_out(arguments, &json!({"state": "ready"}))
}

/// Gives a server another share; exit codes as of [`drain`].
pub fn weight(arguments: &WeightArguments) -> ExitCode {
    carry_out(&arguments.server, &json!({"weight": arguments.weight}))
}

fn carry_out(named: &ServerArguments, wanted: &Value) -> ExitCode {
    admin::run(async {
        let rows = order(&named.admin.open()?, named, wanted).await?;
        Ok(tell(named, &rows))
    })
}

async fn order(
    admin: &Admin,
    named: &ServerArguments,
    order: &Value,
) -> Result<Vec<Server>, AdminError> {
    admin.order(&named.upstream, &named.server, order).await
}

/// How these servers stand now; those that have left with their last request are not there any more.
pub async fn look(
    admin: &Admin,
    upstream: &str,
    rows: &[Server],
) -> Result<Vec<Server>, AdminError> {
    let house = admin.house().await?;
    let mut now = house.upstream(upstream)?.servers.clone();
    now.retain(|row| rows.iter().any(|before| before.address == row.address));
    Ok(now)
}

fn tell(named: &ServerArguments, rows: &[Server]) -> ExitCode {
    for row in rows {
        if named.json {
            println!("{}", json!(row));
        } else {
            println!("{} {}", named.upstream, line(row));
        }
    }
    ExitCode::SUCCESS
}

/// A server in one line.
fn line(row: &Server) -> String {
    format!(
        "{}: {}, weight {}, {} in flight",
        row.address, row.state, row.weight, row.in_flight
    )
}
