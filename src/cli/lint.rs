//! `marquetry lint`: the faults of pages, as a compiler would tell them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::ValueEnum;

use crate::diagnostic::Severity;
use crate::lint::{Report, lint};
use crate::template::{Dialects, Settings, escape_of};

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct LintArguments {
    /// The pages; `-` reads standard input.
    #[arg(required = true, value_name = "PAGE")]
    pages: Vec<PathBuf>,
    /// Which tags are seen.
    #[arg(long, value_enum, default_value_t = DialectChoice::Both)]
    dialect: DialectChoice,
    /// The type of the pages: html, xml, json, text, or a media type. Left out, the end of a page's name says it.
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<String>,
    /// Warnings count: the exit code is then 1.
    #[arg(long)]
    strict: bool,
    /// Writes one JSON array of findings to standard output.
    #[arg(long)]
    json: bool,
}

/// The tag languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DialectChoice {
    /// `<esi:…>` alone.
    Esi,
    /// `<!--#…-->` alone.
    Ssi,
    /// Both.
    Both,
}

/// Tells what is wrong with the pages: 0 when nothing is, 1 for warnings that count, 2 for errors and pages that cannot be read.
pub fn run(arguments: &LintArguments) -> ExitCode {
    let mut gravest = 0;
    let mut rows = Vec::new();
    for page in &arguments.pages {
        let name = if page == Path::new("-") {
            Path::new("<stdin>")
        } else {
            page
        };
        let report = match read(page).map(Bytes::from) {
            Ok(document) => {
                let findings = lint(document.clone(), &settings(arguments, page));
                Report::new(name, &document, &findings)
            }
            Err(error) => Report::unreadable(name, &error),
        };
        gravest = gravest.max(weight(report.gravest(), arguments.strict));
        if arguments.json {
            rows.extend_from_slice(report.rows());
        } else {
            eprint!("{}", report.render(super::color()));
        }
    }
    if arguments.json && !print(&rows) {
        return ExitCode::FAILURE;
    }
    ExitCode::from(gravest)
}

fn read(page: &Path) -> io::Result<Vec<u8>> {
    if page != Path::new("-") {
        return fs::read(page);
    }
    let mut document = Vec::new();
    io::stdin().lock().read_to_end(&mut document)?;
    Ok(document)
}

/// Writes the findings to standard output; false when it cannot be written, as when its reader has gone.
fn print(rows: &[crate::lint::Row]) -> bool {
    use std::io::Write;
    let mut out = io::stdout().lock();
    let written = serde_json::to_writer_pretty(&mut out, rows);
    written.is_ok() && writeln!(out).is_ok()
}

fn weight(gravest: Option<Severity>, strict: bool) -> u8 {
    match gravest {
        Some(Severity::Error) => super::WRONG,
        Some(Severity::Warning) if strict => 1,
        _ => 0,
    }
}

fn settings(arguments: &LintArguments, page: &Path) -> Settings {
    Settings {
        dialects: Dialects {
            esi: arguments.dialect != DialectChoice::Ssi,
            ssi: arguments.dialect != DialectChoice::Esi,
        },
        escape: escape_of(media_type(arguments.media_type.as_deref(), page)),
        ..Settings::default()
    }
}

/// The media type of a page: what is said, else what the end of its name means, else HTML.
fn media_type<'a>(said: Option<&'a str>, page: &'a Path) -> &'a str {
    let word = said.or_else(|| page.extension()?.to_str());
    match word.map(str::to_ascii_lowercase).as_deref() {
        Some("json") => "application/json",
        Some("xml" | "xhtml" | "svg" | "rss" | "atom") => "text/xml",
        Some("txt" | "text" | "css" | "js") => "text/plain",
        _ => said
            .filter(|said| said.contains('/'))
            .unwrap_or("text/html"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_said_or_read_from_the_name() {
        for (said, page, wanted) in [
            (None, "a.json", "application/json"),
            (None, "a.JSON", "application/json"),
            (None, "a.xml", "text/xml"),
            (None, "a.shtml", "text/html"),
            (None, "-", "text/html"),
            (Some("json"), "-", "application/json"),
            (Some("html"), "a.json", "text/html"),
            (Some("application/ld+json"), "-", "application/ld+json"),
        ] {
            assert_eq!(media_type(said, Path::new(page)), wanted, "{said:?} {page}");
        }
    }
}
