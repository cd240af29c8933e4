//! `marquetry compose`: one page composed offline, as the gateway would compose it, for whoever writes templates.
//!
//! The page comes from a file or from standard input, its fragments from files or from one server; no cache, no routes, no
//! session: all cookies of the given request may be read. The page goes to standard output; what its tags do wrong, and what
//! they change in the response's head, to standard error with the place of each tag.

mod client;
mod folder;
mod media;
mod plan;
mod reports;
mod server;
mod source;

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::ValueEnum;

use crate::cli::compose::client::{Client, Cookie, Field};
use crate::cli::compose::folder::Folder;
use crate::cli::compose::reports::{Known, Reports};
use crate::cli::compose::server::{Origin, Server};
use crate::cli::compose::source::{Fragments, Offline};
use crate::compose::{Composed, Composer, HeadEdits, Skeleton};
use crate::config::{ComposeConfig, Dialects};
use crate::message::deadline::Deadline;
use crate::template::{self, Template};

/// What the command line says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 composed; 1 an include failed and nothing that the page names (alt, onerror, except, stub) stood in for it, or the \
page or a fragment has errors; 2 wrong usage, or a file that cannot be read.")]
pub struct Options {
    /// The page, a file; `-` reads standard input.
    page: PathBuf,
    /// Fragments are files below this folder: /a/b is DIR/a/b, else DIR/a/b.html or DIR/a/b/index.html; with a query the name with the query
    /// is tried first. Those of another host are below DIR/HOST/.
    #[arg(long, value_name = "DIR", conflicts_with = "upstream")]
    fragments: Option<PathBuf>,
    /// Fragments come from this server (http://host:port) and from nowhere else, whatever host an include names.
    #[arg(long, value_name = "URL")]
    upstream: Option<Origin>,
    /// The method of the client's request.
    #[arg(long, default_value = "GET")]
    method: http::Method,
    /// The page's URL, where it names no host on localhost [default: the name of the page, on localhost].
    #[arg(long)]
    url: Option<String>,
    /// A field of the client's request, may be repeated.
    #[arg(long = "header", value_name = "'NAME: VALUE'")]
    headers: Vec<Field>,
    /// A cookie of the client's request, may be repeated.
    #[arg(long = "cookie", value_name = "'NAME=VALUE'")]
    cookies: Vec<Cookie>,
    /// Which tags are seen.
    #[arg(long, value_enum, default_value_t = Dialect::Both)]
    dialect: Dialect,
    /// The media type of the page [default: by the name of the file, else text/html].
    #[arg(long = "type", value_name = "MEDIA-TYPE")]
    media_type: Option<String>,
    /// Prints what would be fetched instead of the page. No server is asked; files of --fragments are read, so that what they
    /// include is known too.
    #[arg(long)]
    plan: bool,
    /// The plan as JSON.
    #[arg(long, requires = "plan")]
    json: bool,
}

/// The tag languages of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    /// Tags of ESI.
    Esi,
    /// Directives of SSI.
    Ssi,
    /// Both.
    Both,
}

/// Composes the page.
pub fn compose(options: Options) -> ExitCode {
    let bench = match Bench::new(options) {
        Ok(bench) => bench,
        Err(fault) => {
            eprintln!("marquetry: {fault}");
            return ExitCode::from(super::WRONG);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(bench.work()),
        Err(error) => {
            eprintln!("marquetry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All that one run needs, read and checked.
struct Bench {
    composer: Composer,
    config: ComposeConfig,
    /// The page's name for people.
    label: String,
    template: Arc<Template>,
    client: Arc<Client>,
    fragments: Fragments,
    dialects: Dialects,
    reports: Arc<Reports>,
    plan: bool,
    json: bool,
}

impl Bench {
    /// Reads what the options name; says what is wrong with it.
    fn new(options: Options) -> Result<Self, String> {
        let (label, body) = read_page(&options.page)?;
        let media_type = match options.media_type {
            Some(media_type) => media::parse(&media_type)?,
            None => media::of_name(&label).to_owned(),
        };
        let client = Client::new(
            options.url.as_deref(),
            &label,
            options.method,
            &options.headers,
            &options.cookies,
        )?;
        let fragments = match (options.fragments, options.upstream) {
            (Some(folder), _) => Fragments::Folder(Folder::open(&folder)?),
            (None, Some(origin)) => Fragments::Server(Server::new(&origin)),
            (None, None) => Fragments::Nowhere,
        };
        let config = ComposeConfig::default();
        let composer = Composer::new(config.clone());
        let dialects = Dialects {
            esi: options.dialect != Dialect::Ssi,
            ssi: options.dialect != Dialect::Esi,
        };
        let settings = composer.settings(&media_type, dialects);
        let template = Arc::new(template::compile(body, &settings));
        let reports = Arc::new(Reports::default());
        reports.documents.put(
            &client.url,
            Known {
                label: label.clone(),
                template: Arc::clone(&template),
            },
        );
        Ok(Self {
            composer,
            config,
            label,
            template,
            client: Arc::new(client),
            fragments,
            dialects,
            reports,
            plan: options.plan,
            json: options.json,
        })
    }

    async fn work(self) -> ExitCode {
        if self.plan {
            return self.print_plan().await;
        }
        let composed = self
            .composer
            .compose(
                self.skeleton(),
                self.source(),
                Arc::clone(&self.reports) as Arc<_>,
            )
            .await;
        let ended = match composed {
            Ok(composed) => self.print(composed).await,
            Err(error) => Err(error.to_string()),
        };
        self.tell(&ended)
    }

    async fn print_plan(self) -> ExitCode {
        let plan = plan::make(&self).await;
        let text = match plan {
            Ok(plan) if self.json => plan.json(),
            Ok(plan) => plan.text(),
            Err(error) => return self.tell(&Err(error)),
        };
        let written = write(text.as_bytes());
        self.tell(&written)
    }

    fn skeleton(&self) -> Skeleton {
        Skeleton {
            template: Arc::clone(&self.template),
            url: Arc::clone(&self.client.url),
            deadline: Deadline::after(self.config.page_timeout),
            reservation: None,
        }
    }

    fn source(&self) -> Offline {
        Offline {
            client: Arc::clone(&self.client),
            fragments: self.fragments.clone(),
            composer: self.composer.clone(),
            config: self.config.clone(),
            dialects: self.dialects,
            reports: Arc::clone(&self.reports),
        }
    }

    /// The page's bytes, as they come.
    async fn print(&self, composed: Composed<()>) -> Result<(), String> {
        let mut body = composed.body;
        while let Some(bytes) = body.next().await {
            write(&bytes.map_err(|error| error.to_string())?)?;
        }
        self.tell_edits(&composed.edits);
        Ok(())
    }

    fn tell_edits(&self, edits: &HeadEdits) {
        let label = &self.label;
        if let Some(status) = edits.final_status() {
            eprintln!("{label}: the response has status {status}");
        }
        if let Some(url) = &edits.redirect {
            eprintln!("{label}: the response redirects to {}", shown(url));
        }
        for (name, value) in &edits.headers {
            eprintln!(
                "{label}: the response has the header {name}: {}",
                shown(value)
            );
        }
    }

    /// Tells what went wrong; the exit code says whether anything did.
    fn tell(&self, ended: &Result<(), String>) -> ExitCode {
        eprint!("{}", self.reports.text());
        if let Err(error) = ended {
            eprintln!("{}: error: {error}", self.label);
        }
        if ended.is_err() || self.reports.has_errors() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// The page and its name for people.
fn read_page(path: &PathBuf) -> Result<(String, Bytes), String> {
    if path.as_os_str() == "-" {
        let mut body = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut body);
        read.map_err(|error| format!("standard input cannot be read: {error}"))?;
        return Ok(("<stdin>".to_owned(), body.into()));
    }
    let label = path.display().to_string();
    match std::fs::read(path) {
        Ok(body) => Ok((label, body.into())),
        Err(error) => Err(format!("{label} cannot be read: {error}")),
    }
}

fn write(bytes: &[u8]) -> Result<(), String> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| format!("standard output: {error}"))
}

/// The value of a header for people.
fn shown(value: &http::HeaderValue) -> String {
    value.as_bytes().escape_ascii().to_string()
}
