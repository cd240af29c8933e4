//! The recent pages of a gateway as its admin listener tells them (`GET /pages`): which of them were slowest, and where their time went.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

/// How long the admin listener may take between two bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Page {
    /// Path and query.
    pub url: String,
    /// The status that it was answered with.
    pub status: u16,
    /// Until it had ended.
    pub seconds: f64,
    /// Until its first byte.
    pub first_byte_seconds: Option<f64>,
    /// The skeleton and the fragments, in the order of their starts.
    pub spans: Vec<Span>,
}

/// A fetch of a page. Moments are in seconds since the page's start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Span {
    /// What was asked for.
    pub url: String,
    /// 0: the skeleton.
    pub depth: u16,
    /// What became of it.
    pub outcome: Option<String>,
    /// What the store had to do with it.
    pub cache: Option<String>,
    /// When it was started.
    pub started: f64,
    /// When it began to wait for a server.
    pub queued: Option<f64>,
    /// When the request went out.
    pub sent: Option<f64>,
    /// When the head of the answer came.
    pub first_byte: Option<f64>,
    /// When it was done.
    pub done: Option<f64>,
}

/// The slowest pages that the listener remembers, slowest first, at most so many.
///
/// # Errors
/// When it does not answer, or with something else.
pub fn slowest(admin: SocketAddr, token: Option<&str>, most: usize) -> Result<Vec<Page>, String> {
    let answer =
        ask(admin, token).map_err(|error| format!("the admin listener at {admin}: {error}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{admin} does not answer as an admin listener does"))?;
    match head.split(' ').nth(1) {
        Some("200") => read(body, most).map_err(|error| format!("the pages of {admin}: {error}")),
        status => Err(format!(
            "the admin listener at {admin} refuses with {}",
            status.unwrap_or("no status")
        )),
    }
}

fn read(body: &str, most: usize) -> Result<Vec<Page>, serde_json::Error> {
    let mut pages: Vec<Page> = serde_json::from_str(body)?;
    pages.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    pages.truncate(most);
    Ok(pages)
}

fn ask(admin: SocketAddr, token: Option<&str>) -> std::io::Result<String> {
    let mut socket = TcpStream::connect_timeout(&admin, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET /pages HTTP/1.0\r\nHost: {admin}\r\n{token}\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_come_first() {
        let page = |seconds: f64| {
            format!(
                r#"{{"id":"x","url":"/{seconds}","status":200,"seconds":{seconds},"first_byte_seconds":null,"spans":[
                {{"url":"/f","depth":1,"parent":0,"outcome":null,"cache":"hit","started":0.1,"queued":null,"sent":null,"first_byte":null,"done":0.2}}]}}"#
            )
        };
        let body = format!("[{},{},{}]", page(0.1), page(0.3), page(0.2));
        let pages = read(&body, 2).expect("pages");
        let urls: Vec<_> = pages.iter().map(|page| page.url.as_str()).collect();
        assert_eq!(urls, ["/0.3", "/0.2"]);
        assert_eq!(pages[0].spans[0].done, Some(0.2));
        assert!(read("{}", 2).is_err());
    }
}
