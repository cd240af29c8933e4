//! Commands and their arguments. People read standard error, programs standard output.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

pub mod admin;
pub mod balancers;
pub mod bench;
pub mod case;
pub mod check;
pub mod compose;
pub mod demo;
pub mod explain;
pub mod lint;
pub mod purge;
pub mod report;
pub mod restart;
pub mod roll;
pub mod run;
pub mod status;
pub mod steer;
mod table;
pub mod wire;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An edge-side-include composition gateway: personalised fragments, shared caches, streamed pages.
#[derive(Debug, Parser)]
#[command(name = "marquetry", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway.
    Run {
        /// The configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tells all faults of a configuration at once.
    Check {
        /// The configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Explains what would become of a GET for this URL (with scheme and host): route, key, cookies.
        #[arg(long, value_name = "URL")]
        explain: Option<String>,
        /// The cookies of that request, as in `session=1; lang=de`.
        #[arg(long, value_name = "COOKIES", requires = "explain")]
        cookie: Option<String>,
        /// Sends it, and explains whether its answer is composed and stored.
        #[arg(long, requires = "explain")]
        fetch: bool,
    },
    /// Tells a running gateway what to forget: URLs, surrogate keys, a prefix, or all.
    Purge(purge::PurgeArguments),
    /// Shows the upstreams of a running gateway and how their servers stand.
    Status(status::StatusArguments),
    /// Takes a server out of service: it finishes what it has and gets nothing new.
    Drain(steer::DrainArguments),
    /// Puts a drained server into service again.
    Ready(steer::ServerArguments),
    /// Gives a server another share.
    Weight(steer::WeightArguments),
    /// Restarts the servers of an upstream one after the other, while the others serve.
    Roll(roll::RollArguments),
    /// Reads an access log and tells where the time went: in applications, or waiting for them.
    Report(report::ReportArguments),
    /// Tells the faults of pages (ESI and SSI): exit code 0, 1 for warnings with --strict, 2 for errors.
    Lint(lint::LintArguments),
    /// Composes one page offline and prints it.
    Compose(compose::Options),
    /// Runs composition vectors, each against a gateway of its own.
    Case {
        /// Files of cases (TOML).
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Sends load to a server and tells rate, latency quantiles and whether each user got their own page.
    Bench(Box<bench::BenchArguments>),
    /// Opens an embedded bookshop behind a gateway on loopback: nothing else is needed.
    Demo {
        /// Where the gateway listens; the admin listener takes the port 1000 above. 0 takes free ones.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check {
            config,
            explain: Some(url),
            cookie,
            fetch,
        } => {
            let question = explain::Question {
                url: &url,
                cookie: cookie.as_deref(),
                fetch,
            };
            explain::explain(&config, &question)
        }
        Command::Check { config, .. } => check::check(&config),
        Command::Purge(arguments) => purge::purge(arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Drain(arguments) => steer::drain(&arguments),
        Command::Ready(arguments) => steer::ready(&arguments),
        Command::Weight(arguments) => steer::weight(&arguments),
        Command::Roll(arguments) => roll::roll(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Case { files } => case::case(&files),
        Command::Compose(options) => compose::compose(options),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Demo { port } => demo::demo(port),
    }
}

/// Whether standard error takes colour.
fn color() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The exit code for wrong usage or configuration.
const WRONG: u8 = 2;
