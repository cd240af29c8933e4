//! What a run sends: plain values, checked by who made them.

use std::time::Duration;

use bytes::Bytes;

use crate::bench::schedule::Schedule;
use crate::bench::target::Target;
use crate::bench::users::Users;
use crate::bench::zipf::{Dice, Zipf};

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// After so many requests.
    Requests(u64),
    /// After so long; what is under way then is read to its end.
    Time(Duration),
}

/// How load is made, whoever it is sent to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Connections, each with one request at a time; at least 1.
    pub connections: usize,
    /// Worker threads; at least 1.
    pub threads: usize,
    /// When it ends.
    pub extent: Extent,
    /// An open loop; none: the next request is sent when an answer has come.
    pub schedule: Option<Schedule>,
    /// How long connecting, and one exchange, may take.
    pub timeout: Duration,
    /// The users.
    pub users: Users,
    /// What is held against each body.
    pub expect: Expect,
    /// What draws are seeded by.
    pub seed: u64,
}

/// What each body must hold.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// This text.
    pub text: Option<Bytes>,
    /// Its own user's value.
    pub own: bool,
    /// No other user's value.
    pub no_other: bool,
}

impl Expect {
    /// Whether bodies must be kept to be looked at.
    pub fn looks(&self) -> bool {
        self.text.is_some() || self.own || self.no_other
    }
}

/// The requests to one target, written out in advance.
#[derive(Debug, Clone)]
pub struct Requests {
    /// For each URL, the request but for its cookie and its last line.
    heads: Vec<Bytes>,
    paths: Vec<String>,
    law: Zipf,
    /// What stands before the user's value, `Cookie: session=`.
    cookie: Bytes,
    /// Whether answers have no body.
    pub head_only: bool,
    /// Whether a request may be sent again when its connection turns out to be closed.
    pub safe: bool,
}

impl Requests {
    /// `fields` are whole lines without their end; `cookie_name` is a token; `paths` is not empty.
    pub fn new(
        target: &Target,
        method: &str,
        paths: Vec<String>,
        fields: &[String],
        cookie_name: &str,
        zipf: f64,
    ) -> Self {
        let own_host = fields.iter().any(|field| is_named(field, "host"));
        let bodiless = matches!(method, "GET" | "HEAD");
        let heads = paths.iter().map(|path| {
            let mut head = format!("{method} {path} HTTP/1.1\r\n");
            if !own_host {
                head += "Host: ";
                head += &target.authority;
                head += "\r\n";
            }
            if !bodiless {
                head += "Content-Length: 0\r\n";
            }
            for field in fields {
                head += field;
                head += "\r\n";
            }
            Bytes::from(head)
        });
        Self {
            heads: heads.collect(),
            law: Zipf::new(paths.len(), zipf),
            paths,
            cookie: Bytes::from(format!("Cookie: {cookie_name}=")),
            head_only: method == "HEAD",
            safe: bodiless,
        }
    }

    /// Writes the next request over `out`; which path it is for.
    pub fn write(&self, out: &mut Vec<u8>, dice: &mut Dice, user: Option<&Bytes>) -> usize {
        let chosen = if self.heads.len() == 1 {
            0
        } else {
            self.law.rank(dice.roll())
        };
        out.clear();
        out.extend_from_slice(&self.heads[chosen]);
        if let Some(value) = user {
            out.extend_from_slice(&self.cookie);
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        chosen
    }

    /// How many URLs there are.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// The path of this number.
    pub fn path(&self, chosen: usize) -> &str {
        self.paths.get(chosen).map_or("", String::as_str)
    }
}

fn is_named(field: &str, name: &str) -> bool {
    let found = field.split(':').next().unwrap_or_default();
    found.trim().eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_with_its_users_cookie() {
        let target = Target::parse("http://127.0.0.1:81/").expect("a target");
        let fields = ["Accept: x".to_owned()];
        let requests = Requests::new(&target, "GET", vec!["/a".to_owned()], &fields, "id", 0.0);
        let users = Users::new(1, 1);
        let mut out = b"old".to_vec();
        requests.write(&mut out, &mut Dice::new(1), users.value(0));
        let wanted = "GET /a HTTP/1.1\r\nHost: 127.0.0.1:81\r\nAccept: x\r\nCookie: id=mqbench-00000001-000000\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), wanted);
        let host = ["host: shop.example".to_owned()];
        let requests = Requests::new(&target, "POST", vec!["/a".to_owned()], &host, "id", 0.0);
        requests.write(&mut out, &mut Dice::new(1), None);
        let wanted = "POST /a HTTP/1.1\r\nContent-Length: 0\r\nhost: shop.example\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }
}
