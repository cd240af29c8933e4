//! `marquetry purge`: tells a running gateway what to forget, through its admin listener.

use std::process::ExitCode;

use clap::Args;

use crate::cache::order::{Order, OrderError};
use crate::cli::admin::{self, AdminArguments, AdminError};

/// What to purge, and where.
#[derive(Debug, Args)]
pub struct PurgeArguments {
    /// URLs, with scheme and host.
    urls: Vec<String>,
    /// A surrogate key; may be given often.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// What URLs begin with: a path (on every host), a host and path, or scheme, host and path.
    #[arg(long)]
    prefix: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
    /// Stale, instead of gone.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints what the gateway answers, as JSON.
    #[arg(long)]
    json: bool,
}

/// Sends the order. 0 when it was carried out, 1 when it could not be, 2 when it names nothing.
pub fn purge(arguments: PurgeArguments) -> ExitCode {
    let order = Order {
        urls: arguments.urls,
        keys: arguments.keys,
        prefix: arguments.prefix,
        all: arguments.all,
        soft: arguments.soft,
    };
    if let Err(error) = order.check() {
        match error {
            OrderError::Nothing => {
                eprintln!("marquetry: nothing to purge: name URLs, --key, --prefix or --all");
            }
            error => eprintln!("marquetry: {error}"),
        }
        return ExitCode::from(super::WRONG);
    }
    admin::run(send(&order, &arguments.admin, arguments.json))
}

async fn send(order: &Order, admin: &AdminArguments, json: bool) -> Result<ExitCode, AdminError> {
    let body = serde_json::json!(order).to_string();
    let answer = admin.open()?.post("/purge", &body).await?;
    if json {
        println!("{}", answer.trim());
    } else {
        let read: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
        let purged = read.and_then(|read| read.get("purged")?.as_u64());
        println!("purged {}", purged.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}
