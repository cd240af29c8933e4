//! The command that restarts one server: the operator's words with the server's address in them.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// What stands for the server in the operator's words.
const NAMES: [&str; 3] = ["{address}", "{host}", "{port}"];

/// What a server is called, in the parts that a command may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `127.0.0.1:8110`, `unix:/run/app.sock`.
    address: String,
    /// `127.0.0.1`; nothing for a socket in the file system.
    host: Option<String>,
    /// `8110`; nothing for a socket in the file system.
    port: Option<String>,
}

impl Place {
    /// From a server's name in `/status`. One of the addresses behind a host name (`app.internal:8080/10.0.0.1`) is that address.
    pub fn of(name: &str) -> Self {
        if name.starts_with("unix:") {
            return Self {
                address: name.to_owned(),
                host: None,
                port: None,
            };
        }
        let (named, behind) = match name.split_once('/') {
            Some((named, behind)) => (named, Some(behind)),
            None => (name, None),
        };
        let (host, port) = named.rsplit_once(':').unwrap_or((named, ""));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = behind.unwrap_or(bare);
        let address = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            address,
            host: Some(host.to_owned()),
            port: Some(port.to_owned()),
        }
    }

    fn part(&self, name: &str) -> Option<&str> {
        match name {
            "{address}" => Some(&self.address),
            "{host}" => self.host.as_deref(),
            _ => self.port.as_deref(),
        }
    }
}

/// The operator's words for this server.
///
/// # Errors
/// What is wanted and the server has not.
pub fn spelled(words: &str, place: &Place) -> Result<String, String> {
    let mut command = String::new();
    let mut rest = words;
    while let Some((at, name)) = first_name(rest) {
        let part = place
            .part(name)
            .ok_or_else(|| format!("{} has no {name}", place.address))?;
        command.push_str(&rest[..at]);
        command.push_str(&quoted(part));
        rest = &rest[at + name.len()..];
    }
    command.push_str(rest);
    Ok(command)
}

fn first_name(text: &str) -> Option<(usize, &'static str)> {
    let found = NAMES
        .iter()
        .filter_map(|name| Some((text.find(name)?, *name)));
    found.min()
}

/// A word that a shell takes as it is. What needs no quotes gets none, so that it may stand in the operator's own.
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// How a command failed.
#[derive(Debug)]
pub enum Failure {
    /// It could not be started.
    Start(std::io::Error),
    /// It ended badly.
    Status(ExitStatus),
    /// It was not done in time and has been killed.
    Late(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "the command cannot be started: {error}"),
            Self::Status(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "the command ended with exit code {code}"),
                (None, Some(signal)) => write!(f, "the command was ended by signal {signal}"),
                (None, None) => f.write_str("the command failed"),
            },
            Self::Late(time) => {
                write!(
                    f,
                    "the command was not done after {} s and was killed",
                    time.as_secs_f64()
                )
            }
        }
    }
}

/// Runs it by `sh -c` and waits for its end. Its output goes where ours goes. Dropping the future kills it.
pub async fn run(
    command: &str,
    upstream: &str,
    place: &Place,
    within: Duration,
) -> Result<(), Failure> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("MARQUETRY_UPSTREAM", upstream)
        .env("MARQUETRY_ADDRESS", &place.address)
        .env("MARQUETRY_HOST", place.host.as_deref().unwrap_or_default())
        .env("MARQUETRY_PORT", place.port.as_deref().unwrap_or_default())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::Start)?;
    match tokio::time::timeout(within, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Failure::Status(status)),
        Ok(Err(error)) => Err(Failure::Start(error)),
        Err(_) => {
            // It is gone or about to be; what it has started itself is its own.
            let _ = child.kill().await;
            Err(Failure::Late(within))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_spelled_so_that_no_shell_reads_more_in_it() {
        for (name, words, wanted) in [
            (
                "127.0.0.1:8110",
                "restart {address}",
                "restart 127.0.0.1:8110",
            ),
            (
                "127.0.0.1:8110",
                "systemctl restart 'app@{port}'",
                "systemctl restart 'app@8110'",
            ),
            (
                "127.0.0.1:8110",
                "{host} {port} {address} {other}",
                "127.0.0.1 8110 127.0.0.1:8110 {other}",
            ),
            ("[::1]:80", "x {address} {host}", "x '[::1]:80' ::1"),
            ("app.internal:8080", "x {host}", "x app.internal"),
            (
                "app.internal:8080/10.0.0.1",
                "x {address}",
                "x 10.0.0.1:8080",
            ),
            (
                "app.internal:8080/fd00::1",
                "x {address}",
                "x '[fd00::1]:8080'",
            ),
            ("unix:/run/app.sock", "x {address}", "x unix:/run/app.sock"),
            (
                "unix:/run/a b'; rm -r *",
                "x {address}",
                "x 'unix:/run/a b'\\''; rm -r *'",
            ),
        ] {
            assert_eq!(
                spelled(words, &Place::of(name)).as_deref(),
                Ok(wanted),
                "{name}"
            );
        }
        let socket = Place::of("unix:/run/app.sock");
        assert_eq!(
            spelled("x {port}", &socket),
            Err("unix:/run/app.sock has no {port}".to_owned())
        );
    }
}
