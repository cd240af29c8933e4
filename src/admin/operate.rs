//! `POST /upstreams/NAME/servers/ADDR`: takes a server out of service, puts it back, gives it another share, asks how it does.
//!
//! It changes something, so it stands behind the same doors as a purge.

use futures::future::BoxFuture;
use http::StatusCode;
use serde::Deserialize;

use crate::admin::answer;
use crate::message::{Request, Response};
use crate::observe::status::ServerStatus;

/// Longest order, in bytes.
const LONGEST: usize = 64 * 1024;

/// The largest weight, as in the configuration.
const MOST_WEIGHT: u32 = 65_535;

/// What is asked of a server, in the order in which it is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOrder {
    /// Another share.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Ask it now whether it does well: by the upstream's health check, or else by connecting.
    #[serde(default)]
    pub check: bool,
    /// Out of service, or back.
    #[serde(default)]
    pub state: Option<WantedState>,
}

/// The state that an operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WantedState {
    /// No new requests.
    Drain,
    /// New requests again.
    Ready,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such upstream or server; the text names those that there are.
    #[error("{0}")]
    Unknown(String),
    /// It was asked how it does, and does not do well.
    #[error("{0}")]
    Unwell(String),
}

/// Who carries orders out.
pub trait Operator: Send + Sync {
    /// Carries out an order for the servers of an upstream that this address names (a host name may stand for several), and tells how they stand
    /// then.
    fn order<'a>(
        &'a self,
        upstream: &'a str,
        server: &'a str,
        order: ServerOrder,
    ) -> BoxFuture<'a, Result<Vec<ServerStatus>, Refused>>;
}

/// The upstream and the server of a path, the latter percent-decoded; `None` for other paths.
pub(super) fn target(path: &str) -> Option<(&str, String)> {
    let (upstream, server) = path.strip_prefix("/upstreams/")?.split_once("/servers/")?;
    Some((upstream, decoded(server)?))
}

/// What a path's part says, its escapes undone.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digit = |byte: u8| char::from(byte).to_digit(16);
            bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Answers a request for the path of a server that carries the token, if there is one; `open` says that there is none.
pub(super) async fn answer(
    request: Request,
    operator: Option<&dyn Operator>,
    open: bool,
) -> Response {
    if let Some(refusal) = answer::refusal(&request, open) {
        return refusal;
    }
    let path = request.uri().path().to_owned();
    let order = match read(request).await {
        Ok(order) => order,
        Err(fault) => return answer::text(StatusCode::BAD_REQUEST, &fault),
    };
    let (Some((upstream, server)), Some(operator)) = (target(&path), operator) else {
        return answer::text(StatusCode::NOT_FOUND, "there is no such server");
    };
    match operator.order(upstream, &server, order).await {
        Ok(rows) => match rows.as_slice() {
            [row] => answer::json(row),
            rows => answer::json(&rows),
        },
        Err(refused) => {
            let status = match refused {
                Refused::Unknown(_) => StatusCode::NOT_FOUND,
                Refused::Unwell(_) => StatusCode::BAD_GATEWAY,
            };
            answer::text(status, &refused.to_string())
        }
    }
}

async fn read(request: Request) -> Result<ServerOrder, String> {
    let body = request.into_body().collect(LONGEST).await;
    let body = body.map_err(|error| error.to_string())?;
    let order: ServerOrder =
        serde_json::from_slice(&body).map_err(|error| format!("not an order: {error}"))?;
    if order == ServerOrder::default() {
        return Err(
            "an order names `state` (\"drain\" or \"ready\"), `weight` or `check`".to_owned(),
        );
    }
    if order.weight.is_some_and(|weight| weight > MOST_WEIGHT) {
        return Err(format!(
            "`weight` is a whole number from 0 to {MOST_WEIGHT}"
        ));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_server() {
        for (path, wanted) in [
            (
                "/upstreams/app/servers/127.0.0.1:8110",
                Some(("app", "127.0.0.1:8110")),
            ),
            (
                "/upstreams/app/servers/unix:%2Frun%2Fapp.sock",
                Some(("app", "unix:/run/app.sock")),
            ),
            (
                "/upstreams/app/servers/unix:/run/app.sock",
                Some(("app", "unix:/run/app.sock")),
            ),
            (
                "/upstreams/app/servers/%5B::1%5d:80",
                Some(("app", "[::1]:80")),
            ),
            ("/upstreams/app/servers/%2", None),
            ("/upstreams/app/servers/%+1", None),
            ("/upstreams/app/servers/%ff", None),
            ("/upstreams/app", None),
            ("/purge", None),
        ] {
            let target = target(path);
            let target = target
                .as_ref()
                .map(|(upstream, server)| (*upstream, server.as_str()));
            assert_eq!(target, wanted, "{path}");
        }
    }
}
