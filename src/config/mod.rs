//! What an operator has settled, as checked plain values.
//!
//! Nothing here reads a file or refuses anything: [`file`](mod@file) turns TOML text into a [`Config`] and reports every fault with its
//! place. Each module receives its own section by value and never asks the file again. All times are [`Duration`]s, all sizes
//! bytes; a field that a default can fill is never an `Option`.

pub mod error;
pub mod file;
pub mod pattern;
pub mod size;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::pattern::{HostPattern, Network, PathPattern, ServerAddress};
use crate::config::size::ByteSize;

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The main listeners and what they bound.
    pub server: ServerConfig,
    /// The listener for operators; absent when the file has no `[admin]`.
    pub admin: Option<AdminConfig>,
    /// Where logs go.
    pub log: LogConfig,
    /// Who counts as a logged-in user.
    pub identity: IdentityConfig,
    /// The shared cache.
    pub cache: CacheConfig,
    /// Composition.
    pub compose: ComposeConfig,
    /// The groups of servers, by name.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// The listeners onto the servers of an upstream, in the order of the file.
    pub balancers: Vec<BalancerConfig>,
    /// The routes in the order of the file.
    pub routes: Vec<RouteConfig>,
}

/// `[server]`: the main listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Cleartext listeners (HTTP/1.1 and HTTP/2 with prior knowledge); port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// TLS listener, if any.
    pub tls: Option<TlsConfig>,
    /// Client connections at a time, all main listeners together.
    pub max_connections: usize,
    /// A whole request head, from its first byte.
    pub header_timeout: Duration,
    /// A kept connection without a request.
    pub idle_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_idle_timeout: Duration,
    /// A whole request body.
    pub body_timeout: Duration,
    /// A client that does not read: how long a write may make no progress.
    pub write_timeout: Duration,
    /// Largest request head.
    pub max_request_head: ByteSize,
    /// Largest request body.
    pub max_request_body: ByteSize,
    /// Networks whose `X-Forwarded-*`, `traceparent` and `Surrogate-Capability` are believed.
    pub trusted_proxies: Vec<Network>,
    /// Client networks that are shown `Server-Timing`.
    pub debug_from: Vec<Network>,
    /// How long requests in flight may take to end after SIGTERM.
    pub drain_timeout: Duration,
    /// Worker threads; 0: one a core.
    pub threads: usize,
}

/// `[server.tls]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// PEM file: the certificate and its chain.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdminConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// File that holds the bearer token, if one is wanted.
    pub token_file: Option<PathBuf>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a directive list of `tracing`'s `EnvFilter`.
    pub level: String,
    /// Where the line for each request goes.
    pub access: AccessLog,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessLog {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to a file.
    File(PathBuf),
}

/// `[identity]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct IdentityConfig {
    /// Cookies that make a request a logged-in user's; none: any cookie does.
    pub session_cookies: Vec<String>,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    /// Memory of all stored objects.
    pub memory: ByteSize,
    /// Largest stored body.
    pub max_object: ByteSize,
    /// Answers that are stored once they are whole, while they arrive: all together.
    pub arriving: ByteSize,
    /// Who may send PURGE to the main listeners.
    pub purge_from: Vec<Network>,
}

/// `[compose]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ComposeConfig {
    /// Media types that are documents, lower case, without parameters.
    pub types: Vec<String>,
    /// How deep includes may nest: the page's own includes are at depth 1.
    pub max_depth: usize,
    /// Includes of a whole page, all depths.
    pub max_includes: usize,
    /// One document or fragment, decoded.
    pub max_document: ByteSize,
    /// A composed page.
    pub max_page: ByteSize,
    /// Documents being composed, all pages together.
    pub memory: ByteSize,
    /// Fragments in flight for one page.
    pub concurrency: usize,
    /// A fragment, where its route says nothing else.
    pub fragment_timeout: Duration,
    /// A whole page.
    pub page_timeout: Duration,
    /// What an include that fails without `alt`, `onerror` or `try` does.
    pub on_error: OnError,
    /// How long the head waits for the heads of fragments.
    pub head_wait: Duration,
    /// How long a page in which a part failed may be kept by those in front.
    pub failed_max_age: Duration,
    /// What a part for everybody that gives no lifetime counts as in that of its page.
    pub default_max_age: Duration,
    /// Whether a page with a personal part may be kept by its user's browser as long as its parts allow.
    pub private_max_age: bool,
    /// Whether `Set-Cookie` of fragments joins the page's.
    pub merge_set_cookie: bool,
    /// Cookies that templates may read; `None`: all but the session cookies.
    pub readable_cookies: Option<Vec<String>>,
    /// Whether errors of SSI directives emit nothing instead of the error message.
    pub ssi_silent_errors: bool,
    /// The bounds of the language.
    pub limits: LanguageLimits,
}

/// `[compose.limits]`: bounds of the language, each visible in the log when it is hit.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageLimits {
    /// Longest tag.
    pub tag: ByteSize,
    /// Nesting of elements in one document.
    pub nesting: usize,
    /// Longest expression.
    pub expression: ByteSize,
    /// Nesting of an expression.
    pub expression_depth: usize,
    /// Entries of a list, range or dictionary.
    pub list_entries: usize,
    /// Rounds of all loops of a page.
    pub loop_rounds: usize,
    /// Nesting of calls of the document's own functions.
    pub function_depth: usize,
    /// Variables of one document, all together.
    pub variables: ByteSize,
    /// A compiled regular expression.
    pub regex: ByteSize,
}

/// `compose.on_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// Nothing is emitted, the failure is logged.
    Empty,
    /// The page fails with 502.
    Fail,
}

/// `[upstreams.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamConfig {
    /// The servers, port ranges spelled out, in the order of the file.
    pub servers: Vec<ServerEntry>,
    /// How a server is chosen.
    pub balance: Balance,
    /// Requests in flight at one server; 0: no limit.
    pub max_in_flight: usize,
    /// Requests that may wait for a server, whole upstream.
    pub queue: usize,
    /// How long one may wait.
    pub queue_timeout: Duration,
    /// To connect.
    pub connect_timeout: Duration,
    /// From the request sent to the head of its answer.
    pub first_byte_timeout: Duration,
    /// Between two reads of an answer's body.
    pub body_idle_timeout: Duration,
    /// Further tries of an idempotent request of whose answer nothing was received.
    pub retries: usize,
    /// How long a server that comes (back) into service takes to its full share; zero: it has it at once.
    pub slow_start: Duration,
    /// TLS to the servers.
    pub tls: Option<UpstreamTls>,
    /// HTTP/2 to the servers: with prior knowledge in the clear, by ALPN over TLS.
    pub http2: bool,
    /// Whether connections are kept between exchanges.
    pub keep_alive: bool,
    /// How often the names among the servers are resolved anew.
    pub resolve_interval: Duration,
    /// Active health checks.
    pub health: Option<HealthConfig>,
}

/// `tls` of an upstream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpstreamTls {
    /// The roots that are trusted; left out: those of the system.
    pub ca: Option<Roots>,
    /// The name that is asked for (SNI) and that the certificate must have; left out: the server's own.
    pub server_name: Option<String>,
}

/// `tls.ca` of an upstream: a PEM file as it was when the configuration was read.
#[derive(Clone, PartialEq)]
pub struct Roots {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub pem: Vec<u8>,
}

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Roots").field(&self.path).finish()
    }
}

/// `health` of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// What is asked for; an answer of 2xx or 3xx is a good one.
    pub path: String,
    /// Between two probes of a server that is up. One that is down is asked more often where that is needed to be back in time.
    pub interval: Duration,
    /// For the whole answer, connecting included.
    pub timeout: Duration,
    /// Bad ones in a row that take a server out.
    pub fall: u32,
    /// Good ones in a row that bring it back.
    pub rise: u32,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerEntry {
    /// Where it listens.
    pub address: ServerAddress,
    /// Its share; 0: takes no new requests.
    pub weight: u32,
}

/// `balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The server with the fewest requests in flight for its weight.
    LeastConnections,
    /// One after another, by weight.
    RoundRobin,
    /// The same server for the same URL, unless it is busy.
    Affinity,
}

/// `[[balancers]]`: a plain listener onto the servers of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name of the upstream.
    pub upstream: String,
}

/// `[[routes]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteConfig {
    /// A name for logs and metrics: `host` and `path` as written.
    pub name: String,
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Name of the upstream.
    pub upstream: String,
    /// Which answers are composed.
    pub compose: ComposeMode,
    /// Which tag languages are seen.
    pub dialects: Dialects,
    /// Which cookies go upstream.
    pub forward_cookies: ForwardCookies,
    /// Whether answers may be stored.
    pub cache: bool,
    /// A fragment's time, instead of `compose.fragment_timeout`.
    pub timeout: Option<Duration>,
    /// Cookies whose values are part of the cache key.
    pub key_cookies: Vec<String>,
    /// Parameters of the query that are no part of the cache key, and of a GET not sent upstream: names, or `prefix*`.
    pub ignore_query: Vec<String>,
    /// Whether parameters are sorted by name, in the cache key and upstream.
    pub sort_query: bool,
    /// How long past its lifetime an answer that does not say may be served while it is asked for anew.
    pub stale_while_revalidate: Duration,
    /// How long past its lifetime an answer that does not say may be served where the upstream fails.
    pub stale_if_error: Duration,
    /// Whether logged-in users may be given what is stale.
    pub stale_for_sessions: bool,
    /// Whether the lifetime of answers that do not say is guessed from `Last-Modified`.
    pub heuristic_freshness: bool,
    /// What stored answers tell of their age.
    pub downstream_age: DownstreamAge,
    /// Whose `Cache-Control` in requests is heeded.
    pub request_cache_control: Heed,
    /// Whether a surrogate in front that can compose a document is given its tags.
    pub delegate: bool,
    /// The languages in which the site answers, lower case; empty: `Accept-Language` counts as it is.
    pub languages: Vec<String>,
}

/// `downstream_age` of a route (RFC 9213 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownstreamAge {
    /// `Age` as it is: those behind us count our time.
    Keep,
    /// Where a field for surrogates gave the lifetime, those behind us begin to count anew.
    Reset,
}

/// `request_cache_control` of a route: whose `no-cache`, `max-age`, `min-fresh` and `only-if-cached` are heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heed {
    /// Nobody's.
    Nobody,
    /// Those of trusted proxies that announce themselves as surrogates.
    Surrogates,
    /// Everybody's.
    Everybody,
}

/// `compose` of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComposeMode {
    /// Answers that declare it.
    Declared,
    /// Every answer of `compose.types`.
    Always,
    /// None.
    Off,
}

/// `dialects` of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    /// `<esi:…>`.
    pub esi: bool,
    /// `<!--#…-->`.
    pub ssi: bool,
}

/// `forward_cookies` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardCookies {
    /// Left out: all for the client's own host, none for includes that lead to another.
    OwnHost,
    /// All of them, `Authorization` too.
    All,
    /// None, nor `Authorization`.
    None,
    /// Those named, and `Authorization` not.
    Named(Vec<String>),
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            tls: None,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(30),
            max_request_head: ByteSize::kibibytes(32),
            max_request_body: ByteSize::mebibytes(16),
            trusted_proxies: Vec::new(),
            debug_from: Vec::new(),
            drain_timeout: Duration::from_secs(30),
            threads: 0,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            access: AccessLog::Stdout,
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize::mebibytes(256),
            max_object: ByteSize::mebibytes(8),
            arriving: ByteSize::mebibytes(64),
            purge_from: Vec::new(),
        }
    }
}

impl Default for ComposeConfig {
    fn default() -> Self {
        Self {
            types: [
                "text/html",
                "application/xhtml+xml",
                "text/xml",
                "application/xml",
                "application/json",
            ]
            .map(str::to_owned)
            .to_vec(),
            max_depth: 5,
            max_includes: 512,
            max_document: ByteSize::mebibytes(10),
            max_page: ByteSize::mebibytes(32),
            memory: ByteSize::mebibytes(512),
            concurrency: 64,
            fragment_timeout: Duration::from_secs(10),
            page_timeout: Duration::from_secs(30),
            on_error: OnError::Empty,
            head_wait: Duration::ZERO,
            failed_max_age: Duration::ZERO,
            default_max_age: Duration::ZERO,
            private_max_age: false,
            merge_set_cookie: false,
            readable_cookies: None,
            ssi_silent_errors: false,
            limits: LanguageLimits::default(),
        }
    }
}

impl Default for LanguageLimits {
    fn default() -> Self {
        Self {
            tag: ByteSize::kibibytes(64),
            nesting: 64,
            expression: ByteSize::kibibytes(8),
            expression_depth: 64,
            list_entries: 10_000,
            loop_rounds: 10_000,
            function_depth: 32,
            variables: ByteSize::mebibytes(1),
            regex: ByteSize::mebibytes(1),
        }
    }
}

impl UpstreamConfig {
    /// The defaults of an upstream with these servers.
    pub fn new(servers: Vec<ServerEntry>) -> Self {
        Self {
            servers,
            balance: Balance::LeastConnections,
            max_in_flight: 0,
            queue: 1000,
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(10),
            retries: 1,
            slow_start: Duration::ZERO,
            tls: None,
            http2: false,
            keep_alive: true,
            resolve_interval: Duration::from_secs(30),
            health: None,
        }
    }
}

impl HealthConfig {
    /// The defaults of health checks that ask for this path.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
        }
    }
}

impl RouteConfig {
    /// The defaults of a route for every host and every path to `upstream`.
    pub fn new(upstream: &str) -> Self {
        Self {
            name: "/".to_owned(),
            host: HostPattern::Any,
            path: PathPattern::root(),
            upstream: upstream.to_owned(),
            compose: ComposeMode::Declared,
            dialects: Dialects {
                esi: true,
                ssi: true,
            },
            forward_cookies: ForwardCookies::OwnHost,
            cache: true,
            timeout: None,
            key_cookies: Vec::new(),
            ignore_query: Vec::new(),
            sort_query: false,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_for_sessions: false,
            heuristic_freshness: false,
            downstream_age: DownstreamAge::Keep,
            request_cache_control: Heed::Surrogates,
            delegate: false,
            languages: Vec::new(),
        }
    }
}
