//! `marquetry check --explain URL`: what would become of a request, in words.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cache::Cache;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::gateway::error::GatewayError;
use crate::gateway::explain::{self, Line};
use crate::message::Request;
use crate::message::client::Connection;
use crate::observe::Observer;
use crate::observe::access_log::AccessLog;

/// What is to be explained.
#[derive(Debug)]
pub struct Question<'a> {
    /// With scheme and host.
    pub url: &'a str,
    /// A Cookie line.
    pub cookie: Option<&'a str>,
    /// Whether the request is sent and its answer explained too.
    pub fetch: bool,
}

/// Explains. 0 when it could be, 1 when there is no route or no answer, 2 when the file or the question is wrong.
pub fn explain(path: &Path, question: &Question<'_>) -> ExitCode {
    let config = match Config::load(path) {
        Ok((config, _)) => config,
        Err(error) => {
            eprint!("{}", error.render(super::color()));
            return ExitCode::from(super::WRONG);
        }
    };
    let (request, from) = match explain::request(question.url, question.cookie) {
        Ok(asked) => asked,
        Err(fault) => {
            eprintln!("marquetry: {fault}");
            return ExitCode::from(super::WRONG);
        }
    };
    let told = super::run::runtime(1)
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            let asked = ask(&config, request, &from, question.fetch);
            runtime.block_on(asked).map_err(|error| error.to_string())
        });
    match told {
        Ok(lines) => {
            for (about, what) in lines {
                println!("{about:<9} {what}");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("marquetry: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(
    config: &Config,
    request: Request,
    from: &Connection,
    fetch: bool,
) -> Result<Vec<Line>, GatewayError> {
    let observer = Observer::new(AccessLog::Off);
    let cache = Arc::new(Cache::new(&config.cache));
    let gateway = Gateway::new(config, cache, observer, None);
    gateway.explain(request, from, fetch).await
}
