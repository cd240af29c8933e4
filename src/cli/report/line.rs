//! One line of the access log, as far as the report reads it.

use std::borrow::Cow;

use serde::Deserialize;

/// A request. What the report does not need is not read; a line that lacks the rest is none of the access log's.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// When it came, RFC 3339.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// The host that it named.
    #[serde(borrow)]
    pub host: Cow<'a, str>,
    /// What the client was sent.
    pub status: u16,
    /// From its head to the end of its answer.
    pub seconds: f64,
    /// Its route; nothing where there was none.
    #[serde(borrow)]
    pub route: Option<Cow<'a, str>>,
    /// The fetch of the answer itself, or of the page's skeleton.
    #[serde(borrow)]
    pub skeleton: Option<Fetch<'a>>,
    /// The fetches of its fragments.
    #[serde(borrow, default)]
    pub fragments: Fragments<'a>,
}

/// The fragments of a request.
#[derive(Debug, Default, Deserialize)]
pub struct Fragments<'a> {
    /// Those that were recorded.
    #[serde(borrow, default)]
    pub each: Vec<Fetch<'a>>,
}

/// One fetch.
#[derive(Debug, Deserialize)]
pub struct Fetch<'a> {
    /// As the page named it.
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    /// From its start to its end; nothing when the page ended before it.
    pub seconds: Option<f64>,
    /// How long it waited for servers.
    #[serde(default)]
    pub queue_seconds: f64,
    /// How long servers worked for it.
    #[serde(default)]
    pub cost_seconds: f64,
    /// What became of it.
    #[serde(borrow)]
    pub outcome: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    /// Reads a line; `None` where it is no request of an access log.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(bytes).ok()?;
        let fetches = line.skeleton.iter().chain(&line.fragments.each);
        let sound = is_time(line.seconds) && fetches.into_iter().all(Fetch::is_sound);
        sound.then_some(line)
    }
}

impl Fetch<'_> {
    fn is_sound(&self) -> bool {
        [
            self.seconds.unwrap_or(0.0),
            self.queue_seconds,
            self.cost_seconds,
        ]
        .into_iter()
        .all(is_time)
    }

    /// Whether the page lacked it through a fault.
    pub fn failed(&self) -> bool {
        let outcome = self.outcome.as_deref();
        matches!(outcome, Some("onerror" | "failed" | "timeout" | "refused"))
    }
}

/// Whether a number of seconds can be one.
fn is_time(seconds: f64) -> bool {
    (0.0..1e9).contains(&seconds)
}
