//! Fragments from one server: whatever host an include names, this address alone is spoken to.

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::compose::source::{FragmentError, FragmentMethod, FragmentRequest};
use crate::config::pattern::ServerAddress;
use crate::config::{ServerEntry, UpstreamConfig};
use crate::gateway::coding;
use crate::message::deadline::Deadline;
use crate::message::{Body, BodyError, Request};
use crate::observe::span::Notes;
use crate::upstream::Upstream;
use crate::upstream::error::UpstreamError;

/// The server as `--upstream` names it.
#[derive(Debug, Clone)]
pub struct Origin(ServerAddress);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "an upstream is written http://host:port";
        let authority = text.strip_prefix("http://").ok_or(FORM)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.starts_with("unix:") {
            return Err(FORM);
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.contains(']'));
        let parsed = if has_port {
            ServerAddress::parse(authority)
        } else {
            ServerAddress::parse(&format!("{authority}:80"))
        };
        parsed.map(Self).ok_or(FORM)
    }
}

/// What a server answered to a request that went well.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body, decoded.
    pub body: Bytes,
}

/// The server.
#[derive(Clone)]
pub struct Server(Arc<Upstream>);

impl Server {
    /// The server at this address.
    pub fn new(origin: &Origin) -> Self {
        let entry = ServerEntry {
            address: origin.0.clone(),
            weight: 1,
        };
        let config = UpstreamConfig::new(vec![entry]);
        Self(Arc::new(Upstream::new("upstream", &config)))
    }

    /// Asks for a fragment; `limit` bounds its body in bytes.
    pub async fn ask(
        &self,
        request: FragmentRequest,
        headers: HeaderMap,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Answer, FragmentError> {
        let asked = self.exchange(request, headers, limit, deadline);
        deadline
            .bound(asked)
            .await
            .unwrap_or(Err(FragmentError::TimedOut))
    }

    async fn exchange(
        &self,
        request: FragmentRequest,
        headers: HeaderMap,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Answer, FragmentError> {
        let mut outgoing = Request::new(request.entity.map_or_else(Body::empty, Body::full));
        if request.method == FragmentMethod::Post {
            *outgoing.method_mut() = Method::POST;
        }
        *outgoing.headers_mut() = headers;
        let target = request.url.target().parse();
        *outgoing.uri_mut() =
            target.map_err(|_| FragmentError::Broken("not a request target".to_owned()))?;
        let sent = self.0.send(outgoing, deadline, &Notes::unobserved()).await;
        let (head, body) = sent
            .map_err(|error| unanswered(&error))?
            .response
            .into_parts();
        let body = body.collect(limit).await.map_err(|error| cut(&error))?;
        let decoded = coding::decode(&head.headers, &body, limit);
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: decoded.map_err(|error| FragmentError::Broken(error.to_string()))?,
        })
    }
}

fn unanswered(error: &UpstreamError) -> FragmentError {
    FragmentError::Connection(error.to_string())
}

fn cut(error: &BodyError) -> FragmentError {
    match error {
        BodyError::Stalled | BodyError::TooLate => FragmentError::TimedOut,
        BodyError::TooLarge(limit) => FragmentError::TooLarge(*limit),
        other => FragmentError::Connection(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_a_port() {
        for (text, wanted) in [
            ("http://127.0.0.1:8110", Some("127.0.0.1:8110")),
            ("http://localhost:8110/", Some("localhost:8110")),
            ("http://app.internal", Some("app.internal:80")),
            ("http://[::1]:81", Some("[::1]:81")),
            ("http://[::1]", Some("[::1]:80")),
            ("https://app.internal", None),
            ("http://h:1/path", None),
            ("http://user@h:1", None),
            ("http://unix:/run/app.sock", None),
            ("127.0.0.1:8110", None),
            ("http://", None),
        ] {
            let parsed = text.parse::<Origin>().ok();
            let address = parsed.map(|origin| origin.0.to_string());
            assert_eq!(address.as_deref(), wanted, "{text}");
        }
    }
}
