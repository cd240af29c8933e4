//! What would become of a request, in words: its route, its key, its cookies; and, once it was sent, whether its answer is composed
//! and stored, and by which field. Nothing is stored by it.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, EXPIRES, HeaderName, SET_COOKIE, VARY};
use http::{HeaderMap, StatusCode};

use crate::cache::freshness::Defaults;
use crate::cache::key::{Asker, CacheKey};
use crate::cache::storable::{Answered, Asked, Grant, Reason, Verdict, judge};
use crate::config::{ComposeMode, RouteConfig};
use crate::gateway::Gateway;
use crate::gateway::cache_policy::{self, Keyed};
use crate::gateway::error::GatewayError;
use crate::gateway::origin_request::{self, Purpose};
use crate::gateway::route::Route;
use crate::gateway::visit::Visit;
use crate::message::client::Connection;
use crate::message::deadline::Deadline;
use crate::message::headers::{
    CDN_CACHE_CONTROL, EDGE_CONTROL, MARQUETRY_CACHE_CONTROL, SURROGATE_CAPABILITY,
    SURROGATE_CONTROL, X_ESI, remove_hop_by_hop,
};
use crate::message::{Body, Request, cookie};
use crate::observe::span::Notes;

/// One thing that is told: what about, and what.
pub type Line = (&'static str, String);

/// The fields by which a lifetime is given or forbidden, in the order in which they decide.
const TERMS: [HeaderName; 5] = [
    MARQUETRY_CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    SURROGATE_CONTROL,
    CACHE_CONTROL,
    EXPIRES,
];

impl Gateway {
    /// Explains a GET as if it came on the connection `from`; `fetch` sends it and explains its answer too.
    ///
    /// # Errors
    /// No route, a refused target, or an upstream that gives no answer.
    pub async fn explain(
        &self,
        request: Request,
        from: &Connection,
        fetch: bool,
    ) -> Result<Vec<Line>, GatewayError> {
        let (visit, _) = Visit::new(request, from, &self.trust).map_err(|turned| turned.reason)?;
        let route = self
            .routes
            .find(&visit.host, visit.path())
            .ok_or(GatewayError::NoRoute)?;
        let fields = origin_request::fields(&visit, &route.config, &visit.host, Purpose::Page);
        let (host, target) = (&visit.host, visit.target());
        let (key, told) = cache_policy::key(&visit, &route.config, host, target, &fields);
        let mut lines = asked(&visit, &route.config, (&key, told), &fields);
        if fetch {
            let mut request = Request::new(Body::empty());
            *request.headers_mut() = fields.clone();
            *request.uri_mut() = cache_policy::uri(&visit, &route.config);
            let deadline = Deadline::after(self.compose.page_timeout);
            let notes = Notes::unobserved();
            let answer = route.upstream.send(request, deadline, &notes).await;
            let answer = answer.map_err(crate::fetch::error::FetchError::from)?;
            let delay = answer.delay;
            let mut headers = answer.response.headers().clone();
            remove_hop_by_hop(&mut headers);
            let policy = cache_policy::policy(&visit, &route.config, told);
            let status = answer.response.status();
            lines.push(("answer", head(status, &headers)));
            lines.push(("composed", composed(route, status, &headers)));
            let about = Asked {
                method: &visit.method,
                asker: Asker {
                    fields: &fields,
                    keyed: policy.keyed,
                },
                ttl: None,
                defaults: policy.defaults,
            };
            let answered = Answered {
                status,
                headers: &headers,
                at: SystemTime::now(),
                delay,
            };
            lines.push((
                "stored",
                stored(&route.config, judge(about, answered), &headers),
            ));
            lines.extend(warning(route, status, &headers));
        }
        Ok(lines)
    }
}

/// What is known before it is sent.
fn asked(
    visit: &Visit,
    route: &RouteConfig,
    (key, told): (&CacheKey, Keyed),
    fields: &HeaderMap,
) -> Vec<Line> {
    let url = key.url();
    let key = match key.as_str().split_once('\n') {
        None => url.to_owned(),
        Some((_, "")) => format!("{url} without cookies of `key_cookies`"),
        Some(_) => format!("{url} with the cookies of `key_cookies` that it carries"),
    };
    let names: Vec<_> = cookie::pairs(fields)
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    let cookies = if names.is_empty() {
        "none go upstream".to_owned()
    } else {
        format!("{} go upstream", names.join(", "))
    };
    let user = match (visit.logged_in, route.stale_for_sessions) {
        (false, _) => "nobody is logged in: may be answered stale where the terms allow",
        (true, false) => "logged in: never answered stale",
        (true, true) => "logged in, and the route has `stale_for_sessions`: may be answered stale",
    };
    vec![
        ("route", route.name.clone()),
        ("upstream", route.upstream.clone()),
        (
            "key",
            if !route.cache {
                format!("{key}, not used: the route has `cache = false`")
            } else if told == Keyed::Unsure {
                format!("{key}, not used: the cookies are not written as in RFC 6265 4.2.1")
            } else {
                key
            },
        ),
        ("cookies", cookies),
        ("user", user.to_owned()),
    ]
}

fn head(status: StatusCode, headers: &HeaderMap) -> String {
    let media = headers
        .get(CONTENT_TYPE)
        .and_then(|media| media.to_str().ok());
    format!(
        "{}, {}",
        status.as_u16(),
        media.unwrap_or("no Content-Type")
    )
}

fn composed(route: &Route, status: StatusCode, headers: &HeaderMap) -> String {
    let declared = quoted(headers, &[SURROGATE_CONTROL, X_ESI, EDGE_CONTROL]);
    if route.documents.is_document(status, headers) {
        let elsewhere = if route.config.delegate {
            "; or by a trusted surrogate in front that can, since the route has `delegate = true`"
        } else {
            ""
        };
        return match route.config.compose {
            ComposeMode::Always => {
                format!("yes: the route has `compose = \"always\"`{elsewhere}")
            }
            _ => format!("yes: it says {declared}{elsewhere}"),
        };
    }
    if route.config.compose == ComposeMode::Off {
        return "no: the route has `compose = \"off\"`".to_owned();
    }
    if status != StatusCode::OK {
        return format!("no: its status is {}", status.as_u16());
    }
    if route.documents.is_undeclared(status, headers) {
        return "no: it does not declare tags, as by `Surrogate-Control: content=\"ESI/1.0\"`"
            .to_owned();
    }
    format!(
        "no: {} is none of `compose.types`, or its coding cannot be read",
        quoted(headers, &[CONTENT_TYPE])
    )
}

fn stored(route: &RouteConfig, verdict: Verdict, headers: &HeaderMap) -> String {
    match verdict {
        Verdict::Share(_) if !route.cache => "no: the route has `cache = false`".to_owned(),
        Verdict::Share(grant) => format!(
            "yes, {}: it says {}",
            granted(&grant, route),
            quoted(headers, &TERMS)
        ),
        Verdict::Personal(reason) => {
            format!("no: {}{}", reason.as_str(), evidence(reason, headers))
        }
    }
}

fn granted(grant: &Grant, route: &RouteConfig) -> String {
    let whom = if grant.explicit {
        "for everybody"
    } else {
        "for requests that take no cookie upstream"
    };
    let left = grant
        .times
        .lifetime()
        .saturating_sub(grant.times.age(std::time::Duration::ZERO));
    let mut told = format!("{whom}, fresh for {} s", left.as_secs());
    let (while_asked, on_error) = grant.times.grace();
    for (name, grace) in [
        ("while it is asked for anew", while_asked),
        ("where the upstream fails", on_error),
    ] {
        if !grace.is_zero() {
            // Writing into a string cannot fail.
            let _ = write!(told, ", then {} s stale {name}", grace.as_secs());
        }
    }
    let of_route = Defaults {
        stale_while_revalidate: route.stale_while_revalidate,
        stale_if_error: route.stale_if_error,
        heuristic: route.heuristic_freshness,
    };
    if of_route != Defaults::default() {
        told.push_str(" (the route's settings counted in)");
    }
    told
}

/// The field that a reason speaks of.
fn evidence(reason: Reason, headers: &HeaderMap) -> String {
    let shown = match reason {
        Reason::Vary => quoted(headers, &[VARY]),
        // Its value is a user's.
        Reason::SetCookie if headers.contains_key(SET_COOKIE) => "`Set-Cookie: …`".to_owned(),
        Reason::Request | Reason::RequestNoStore | Reason::Status | Reason::SetCookie => {
            return String::new();
        }
        _ => quoted(headers, &TERMS),
    };
    format!(" ({shown})")
}

/// The lines of these fields, as they came.
fn quoted(headers: &HeaderMap, names: &[HeaderName]) -> String {
    let mut lines = Vec::new();
    for name in names {
        for value in headers.get_all(name) {
            lines.push(format!(
                "`{name}: {}`",
                String::from_utf8_lossy(value.as_bytes())
            ));
        }
    }
    if lines.is_empty() {
        "nothing of it".to_owned()
    } else {
        lines.join(", ")
    }
}

/// A page that is written otherwise for those who compose, and does not say so, is mixed up by every cache in between.
fn warning(route: &Route, status: StatusCode, headers: &HeaderMap) -> Option<Line> {
    let declares = route.config.compose == ComposeMode::Declared
        && route.documents.is_document(status, headers);
    let says = headers
        .get_all(VARY)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|name| {
            name.trim()
                .eq_ignore_ascii_case(SURROGATE_CAPABILITY.as_str())
        });
    (declares && !says).then(|| {
        let text = "the page declares tags and lacks `Vary: Surrogate-Capability`: a cache in between would give pages with tags to \
                    those who do not compose";
        ("warning", text.to_owned())
    })
}

/// A request as `check --explain` asks about it, and the connection that it would come on.
///
/// # Errors
/// What is no absolute URL of http or https, or no cookie line.
pub fn request(url: &str, cookie: Option<&str>) -> Result<(Request, Connection), String> {
    let parts = crate::cache::order::parts(url).ok_or_else(|| {
        format!("{url:?} is no URL that begins with http:// or https:// and a host")
    })?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = parts
        .target
        .parse()
        .map_err(|_| format!("{url:?} holds what a URL may not"))?;
    let value = |text: &str| {
        text.parse()
            .map_err(|_| format!("{text:?} holds what a field may not"))
    };
    let headers = request.headers_mut();
    headers.insert(http::header::HOST, value(&parts.host.to_ascii_lowercase())?);
    if let Some(cookie) = cookie {
        headers.insert(COOKIE, value(cookie)?);
    }
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let from = Connection {
        peer: nowhere,
        local: nowhere,
        tls: parts.scheme == "https",
    };
    Ok((request, from))
}
