//! `marquetry bench`: sends load to a server and tells what came back.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::bench::duel::duel;
use crate::bench::pages;
use crate::bench::plan::{Expect, Extent, Plan, Requests};
use crate::bench::progress::Progress;
use crate::bench::report::{Report, Settings, page, text};
use crate::bench::run::run;
use crate::bench::schedule::Schedule;
use crate::bench::target::Target;
use crate::bench::users::Users;
use crate::config::size::parse_duration;

/// How long a run lasts where nothing is said.
const LENGTH: Duration = Duration::from_secs(10);

/// How many of the gateway's slowest pages the report draws.
const SLOWEST: usize = 5;

/// What to send, where, and how to tell of it.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// The server: `http://host[:port][/path]`.
    url: String,
    /// Connections, each with one request at a time.
    #[arg(short = 'c', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Ends after so many requests.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Ends after so long [default: 10s].
    #[arg(short = 'd', long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// Open loop: so many requests a second, whatever comes back; latency counts from when each was due.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// So many users, each with a session cookie of their own.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    users: u32,
    /// The name of their cookie.
    #[arg(long, value_name = "NAME", default_value = "session", value_parser = token)]
    cookie_name: String,
    /// Checks that every body shows its own user's cookie value, and no other user's.
    #[arg(long)]
    expect_own: bool,
    /// Checks that no body shows another user's cookie value.
    #[arg(long)]
    check_users: bool,
    /// Checks that every body holds this text.
    #[arg(long, value_name = "TEXT")]
    expect: Option<String>,
    /// URLs of that server, or paths, one a line; one is drawn for each request.
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// Draws them by Zipf's law with this exponent, the first the likeliest; 0: all alike.
    #[arg(long, value_name = "S", default_value_t = 0.0, requires = "urls", value_parser = exponent)]
    zipf: f64,
    /// A second server: both take turns in short slices, and ratios are told.
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// How many slices each gets.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "against", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slices: u32,
    /// The method.
    #[arg(long, default_value = "GET", value_parser = token)]
    method: String,
    /// One more field of each request, as in `Accept: text/html`; may be given often.
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<String>,
    /// How long connecting, and each answer, may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    timeout: Duration,
    /// A status that counts as good besides 2xx; may be given often.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    allow_status: Vec<u16>,
    /// Worker threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// What draws are seeded by: the same seed draws the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The admin listener of the gateway: the page shows the waterfalls of its slowest pages.
    #[arg(long, value_name = "ADDRESS", requires = "html")]
    admin: Option<SocketAddr>,
    /// The file that holds the token of the admin listener, if it wants one.
    #[arg(long, value_name = "FILE", requires = "admin")]
    token_file: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Writes a report as one page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What went wrong, and by whose fault.
enum Fault {
    Usage(String),
    Failed(String),
}

/// Measures. 0 when it is a result, 1 when it is none, 2 when the arguments make no sense.
pub fn bench(arguments: &BenchArguments) -> ExitCode {
    let (code, words) = match measure(arguments) {
        Ok(report) if report.valid => return ExitCode::SUCCESS,
        Ok(report) => (
            1,
            format!("not a result:\n  {}", report.complaints.join("\n  ")),
        ),
        Err(Fault::Failed(words)) => (1, words),
        Err(Fault::Usage(words)) => (super::WRONG, words),
    };
    eprintln!("marquetry: {words}");
    ExitCode::from(code)
}

fn measure(arguments: &BenchArguments) -> Result<Report, Fault> {
    let usage = |error: &dyn std::fmt::Display| Fault::Usage(error.to_string());
    let target = Target::parse(&arguments.url).map_err(|error| usage(&error))?;
    let other = arguments.against.as_deref().map(Target::parse);
    let other = other.transpose().map_err(|error| usage(&error))?;
    if (arguments.expect_own || arguments.check_users) && arguments.users < 2 {
        return Err(Fault::Usage(
            "a check of users needs at least two: --users 2".to_owned(),
        ));
    }
    if arguments.expect_own || arguments.check_users || arguments.expect.is_some() {
        let reads_plain = arguments
            .headers
            .iter()
            .all(|field| !field.to_ascii_lowercase().starts_with("accept-encoding"));
        if arguments.method == "HEAD" || !reads_plain {
            return Err(Fault::Usage(
                "bodies can be checked only where they come, and uncompressed".to_owned(),
            ));
        }
    }
    rlimit_raised();
    let requests = requests(arguments, &target)?;
    let plan = plan(arguments);
    let time = match plan.extent {
        Extent::Time(time) => Some(time),
        Extent::Requests(_) => None,
    };
    let sides = if other.is_some() { 2 } else { 1 };
    let progress = Arc::new(Progress::new(
        arguments.requests.map(|count| count * sides),
        time.map(|time| time * sides as u32),
    ));
    let settings = settings(arguments, &plan, requests.count());
    let failed = |error: &dyn std::fmt::Display| Fault::Failed(error.to_string());
    let report = match &other {
        None => {
            let tally = run(&plan, &target, &requests, &progress, None);
            progress.wipe();
            let tally = tally.map_err(|error| failed(&error))?;
            Report::of_one(target.url, tally, settings, &arguments.allow_status)
        }
        Some(other) => {
            let others = self::requests(arguments, other)?;
            let both = [(&target, &requests), (other, &others)];
            let both = duel(&plan, both, arguments.slices, &progress);
            progress.wipe();
            let both = both.map_err(|error| failed(&error))?;
            let urls = [target.url, other.url.clone()];
            Report::of_two(urls, both, settings, &arguments.allow_status)
        }
    };
    tell(arguments, &report)?;
    Ok(report)
}

/// Raises the soft limit of descriptors as far as it goes; where it cannot be, connections fail and are counted.
fn rlimit_raised() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

fn requests(arguments: &BenchArguments, target: &Target) -> Result<Requests, Fault> {
    let paths = match &arguments.urls {
        None => vec![target.path.clone()],
        Some(file) => {
            let told = |error: &dyn std::fmt::Display| {
                Fault::Usage(format!("{}: {error}", file.display()))
            };
            let list = std::fs::read_to_string(file).map_err(|error| told(&error))?;
            let paths = target.paths(&list).map_err(|error| told(&error))?;
            if paths.is_empty() {
                return Err(told(&"no URL in it"));
            }
            paths
        }
    };
    Ok(Requests::new(
        target,
        &arguments.method,
        paths,
        &arguments.headers,
        &arguments.cookie_name,
        arguments.zipf,
    ))
}

fn plan(arguments: &BenchArguments) -> Plan {
    let time = Extent::Time(arguments.duration.unwrap_or(LENGTH));
    Plan {
        connections: arguments.connections as usize,
        threads: arguments.threads as usize,
        extent: arguments.requests.map_or(time, Extent::Requests),
        schedule: arguments.rate.map(Schedule::new),
        timeout: arguments.timeout,
        users: Users::new(arguments.users as usize, rand::random()),
        expect: Expect {
            text: arguments.expect.clone().map(Into::into),
            own: arguments.expect_own,
            no_other: arguments.check_users,
        },
        seed: arguments.seed,
    }
}

fn settings(arguments: &BenchArguments, plan: &Plan, urls: usize) -> Settings {
    let (requests, duration) = match plan.extent {
        Extent::Requests(count) => (Some(count), None),
        Extent::Time(time) => (None, Some(time.as_secs_f64())),
    };
    Settings {
        method: arguments.method.clone(),
        connections: plan.connections,
        threads: plan.threads.min(plan.connections),
        requests,
        duration_seconds: duration,
        rate: arguments.rate,
        users: arguments.users as usize,
        urls,
        zipf: arguments.zipf,
        slices: arguments.against.as_ref().map(|_| arguments.slices),
    }
}

/// Prints the report, and writes the page.
fn tell(arguments: &BenchArguments, report: &Report) -> Result<(), Fault> {
    let printed = if arguments.json {
        serde_json::to_string_pretty(report).map(|text| text + "\n")
    } else {
        Ok(text::draw(report))
    };
    let printed = printed.map_err(|error| Fault::Failed(error.to_string()))?;
    // Whoever reads standard output may have gone; the exit code tells the rest.
    let _ = std::io::stdout().lock().write_all(printed.as_bytes());
    let Some(file) = &arguments.html else {
        return Ok(());
    };
    let (slowest, fault) = match arguments.admin {
        None => (None, None),
        Some(admin) => match slowest(admin, arguments.token_file.as_deref()) {
            Ok(slowest) => (Some(slowest), None),
            Err(words) => (None, Some(words)),
        },
    };
    let written = std::fs::write(file, page::draw(report, slowest.as_deref()));
    written.map_err(|error| Fault::Failed(format!("{}: {error}", file.display())))?;
    eprintln!("wrote {}", file.display());
    fault.map_or(Ok(()), |words| Err(Fault::Failed(words)))
}

fn slowest(admin: SocketAddr, token: Option<&Path>) -> Result<Vec<pages::Page>, String> {
    let token = token.map(|path| {
        let read = std::fs::read_to_string(path);
        read.map_err(|error| format!("{}: {error}", path.display()))
    });
    let token = token.transpose()?;
    pages::slowest(admin, token.as_deref().map(str::trim), SLOWEST)
}

fn time(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).filter(|time| !time.is_zero());
    read.ok_or_else(|| "accepted: a time above 0 with its unit, as in 250ms, 10s, 5m".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let read = text
        .parse()
        .ok()
        .filter(|rate| (0.001..=1e7).contains(rate));
    read.ok_or_else(|| "accepted: requests a second, 0.001 to 10000000".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let read = text.parse().ok().filter(|s| (0.0..=10.0).contains(s));
    read.ok_or_else(|| "accepted: a number from 0 to 10".to_owned())
}

fn token(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_token) {
        Ok(text.to_owned())
    } else {
        Err("accepted: letters, digits and !#$%&'*+-.^_`|~".to_owned())
    }
}

fn field(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once(':').ok_or("accepted: `name: value`")?;
    token(name)?;
    if [
        "connection",
        "content-length",
        "transfer-encoding",
        "expect",
        "upgrade",
    ]
    .contains(&name.to_ascii_lowercase().as_str())
    {
        return Err(format!("`{name}` is this tool's own to say"));
    }
    if value
        .bytes()
        .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    {
        return Err("a value holds no control characters".to_owned());
    }
    Ok(format!("{name}: {}", value.trim()))
}
