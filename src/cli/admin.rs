//! The admin listener of a running gateway, asked by commands: one request, one answer, and what is wrong in words.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the gateway may take to connect, and then to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Where the admin listener is.
#[derive(Debug, Clone, Args)]
pub struct AdminArguments {
    /// The admin listener.
    #[arg(long, value_name = "ADDRESS", default_value = DEFAULT)]
    admin: SocketAddr,
    /// The file that holds the token of the admin listener, if it wants one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// An admin listener.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
}

/// Why the gateway did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The token file is of no use.
    #[error("{}: {source}", .path.display())]
    Token {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody is there.
    #[error("no admin listener answers at {address}: {source}; --admin says where it is")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else is there.
    #[error("what answers at {address} is no admin listener; --admin says where it is")]
    Strange {
        /// Where.
        address: SocketAddr,
    },
    /// It wants the token, or another one.
    #[error(
        "the admin listener at {address} wants a token, or another one: --token-file names the file that holds it"
    )]
    NoToken {
        /// Where.
        address: SocketAddr,
    },
    /// It says no.
    #[error("{text}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its words.
        text: String,
    },
}

impl AdminError {
    /// The exit code: what was asked for is not there, or something has failed.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Token { .. }
            | Self::Refused {
                status: 400 | 404, ..
            } => ExitCode::from(super::WRONG),
            _ => ExitCode::FAILURE,
        }
    }
}

impl AdminArguments {
    /// The listener that they name.
    pub fn open(&self) -> Result<Admin, AdminError> {
        let token = self.token_file.as_deref().map(token).transpose()?;
        Ok(Admin {
            address: self.admin,
            token,
        })
    }
}

/// The address that is asked where no other is named.
const DEFAULT: &str = "127.0.0.1:9090";

impl AdminArguments {
    /// The same, for a line that somebody may copy; nothing for what is said by default.
    pub fn as_words(&self) -> String {
        let away = self.admin.to_string() != DEFAULT;
        let admin = away.then(|| format!(" --admin {}", self.admin));
        let file = self.token_file.as_ref();
        let token = file.map(|file| format!(" --token-file {}", file.display()));
        admin.unwrap_or_default() + &token.unwrap_or_default()
    }
}

fn token(path: &Path) -> Result<String, AdminError> {
    let failed = |source| AdminError::Token {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let reason = "it must hold one token, visible ASCII without spaces";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
    }
    Ok(token.to_owned())
}

impl Admin {
    /// What a GET for this path answers, as text.
    pub async fn get(&self, path: &str) -> Result<String, AdminError> {
        self.ask("GET", path, "").await
    }

    /// What a POST of this JSON answers, as text.
    pub async fn post(&self, path: &str, json: &str) -> Result<String, AdminError> {
        self.ask("POST", path, json).await
    }

    /// The state of the house.
    pub async fn house(&self) -> Result<House, AdminError> {
        let text = self.get("/status").await?;
        self.read(&text)
    }

    /// Gives an order for a server, and tells how the servers that it names stand then.
    pub async fn order(
        &self,
        upstream: &str,
        server: &str,
        order: &serde_json::Value,
    ) -> Result<Vec<Server>, AdminError> {
        let path = format!(
            "/upstreams/{}/servers/{}",
            encoded(upstream),
            encoded(server)
        );
        let text = self.post(&path, &order.to_string()).await?;
        match self.read(&text)? {
            Rows::One(server) => Ok(vec![server]),
            Rows::Several(servers) => Ok(servers),
        }
    }

    fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, AdminError> {
        serde_json::from_str(text).map_err(|_| AdminError::Strange {
            address: self.address,
        })
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, AdminError> {
        let address = self.address;
        let token = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        // HTTP/1.0: the answer ends with the connection and is not chunked.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n{token}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let unreachable = |source| AdminError::Unreachable { address, source };
        let answer = exchange(address, &request).await.map_err(unreachable)?;
        let answer = String::from_utf8_lossy(&answer);
        let strange = || AdminError::Strange { address };
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(strange)?;
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status: u16 = status
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(strange)?;
        match status {
            200 => Ok(body.to_owned()),
            401 => Err(AdminError::NoToken { address }),
            _ if is_ours(head) => Err(AdminError::Refused {
                status,
                text: super::table::printable(body.trim()),
            }),
            _ => Err(strange()),
        }
    }
}

/// Whether an answer has what all answers of an admin listener have, and few others together with a line of text.
fn is_ours(head: &str) -> bool {
    let has = |wanted: &str| head.lines().any(|line| line.eq_ignore_ascii_case(wanted));
    has("x-frame-options: DENY") && has("content-type: text/plain; charset=utf-8")
}

async fn exchange(address: SocketAddr, request: &str) -> io::Result<Vec<u8>> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
    let mut socket = connecting.await.map_err(late)??;
    tokio::time::timeout(PATIENCE, async {
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.take(LONGEST).read_to_end(&mut answer).await?;
        Ok(answer)
    })
    .await
    .map_err(late)?
}

/// A part of a path: whatever could end it, or be read otherwise, is escaped.
fn encoded(part: &str) -> String {
    let mut path = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

/// Runs a command that asks an admin listener, and tells what was wrong.
pub fn run<F>(asking: F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, AdminError>>,
{
    let runtime = match super::run::runtime(1) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("marquetry: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(asking) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("marquetry: {error}");
            error.exit_code()
        }
    }
}

/// The state of the house, as `/status` tells it.
#[derive(Debug, Deserialize)]
pub struct House {
    /// Of the gateway.
    pub version: String,
    /// Since its start.
    pub uptime_seconds: f64,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Of clients.
    pub connections: u64,
    /// Under way.
    pub requests_open: u64,
    /// By name.
    pub upstreams: Vec<Upstream>,
}

/// A group of servers.
#[derive(Debug, Deserialize)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// In the order of the configuration.
    pub servers: Vec<Server>,
    /// Requests that wait for one of them.
    pub queued: u64,
}

/// One server.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Server {
    /// What it is called.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Its share now.
    pub effective_weight: f64,
    /// `active`, `draining`, `drained` or `down`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// For how long.
    pub since_seconds: f64,
    /// Whether connections and health checks go well.
    pub healthy: bool,
    /// Sent and not finished.
    pub in_flight: u64,
    /// Answered so far.
    pub served: u64,
    /// Failed so far.
    pub errors: u64,
    /// To the first byte, half of the latest answers.
    pub p50_seconds: Option<f64>,
    /// To the first byte, all but one in a hundred of the latest answers.
    pub p99_seconds: Option<f64>,
    /// The last health check.
    pub last_probe: Option<Probe>,
}

/// A health check.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Probe {
    /// When it ended, RFC 3339.
    pub time: String,
    /// What came of it.
    pub good: bool,
    /// The same in words.
    pub outcome: String,
}

/// A host name may stand for several servers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rows {
    One(Server),
    Several(Vec<Server>),
}

impl House {
    /// The upstream of that name, or what is said where there is none.
    pub fn upstream(&self, name: &str) -> Result<&Upstream, AdminError> {
        let known: Vec<_> = self.upstreams.iter().map(|it| it.name.as_str()).collect();
        let found = self.upstreams.iter().find(|it| it.name == name);
        found.ok_or_else(|| AdminError::Refused {
            status: 404,
            text: format!(
                "there is no upstream {name}; there are {}",
                known.join(", ")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(encoded("127.0.0.1:8110"), "127.0.0.1:8110");
        assert_eq!(encoded("unix:/run/a b.sock"), "unix:%2Frun%2Fa%20b.sock");
        assert_eq!(encoded("[::1]:80/ä"), "%5B::1%5D:80%2F%C3%A4");
    }
}
