//! `marquetry purge`: tells a running gateway what to forget, through its admin listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cache::order::Order;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

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
    /// The admin listener.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// The file that holds the token of the admin listener, if it wants one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
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
        eprintln!("marquetry: {error}");
        return ExitCode::from(super::WRONG);
    }
    match send(&order, arguments.admin, arguments.token_file.as_deref()) {
        Ok(answer) if arguments.json => {
            println!("{}", answer.trim());
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            let read: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
            let purged = read.and_then(|read| read.get("purged")?.as_u64());
            println!("purged {}", purged.unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("marquetry: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn send(order: &Order, admin: SocketAddr, token: Option<&Path>) -> Result<String, String> {
    let body = serde_json::to_string(order).map_err(|error| error.to_string())?;
    let token = match token {
        None => String::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            format!("Authorization: Bearer {}\r\n", text.trim())
        }
    };
    let request = format!(
        "POST /purge HTTP/1.0\r\nHost: {admin}\r\nContent-Type: application/json\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(admin, &request)
        .map_err(|error| format!("the admin listener at {admin}: {error}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{admin} does not answer as an admin listener does"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        status => Err(format!(
            "refused with {}: {}",
            status.unwrap_or("no status"),
            body.trim()
        )),
    }
}

fn exchange(admin: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&admin, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
