//! `marquetry case`: runs composition vectors, each against a gateway of its own.
//!
//! A vector says what a page and its fragments are, which request is made, and what must come of it. Here it meets the real
//! gateway over real sockets on loopback, with an origin that plays the page and the fragments: what passes here, a client sees.
//! The format is that of `fixtures/esi/README.md`.

mod compare;
mod file;
mod origin;
mod play;
mod vector;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use futures::StreamExt;

use crate::cli::case::compare::Difference;
use crate::cli::case::vector::Vector;
use crate::cli::run;

/// How many gateways run at a time. Cases that bound the time have the machine for themselves.
const AT_ONCE: usize = 8;

/// Runs all cases of these files: 0 all passed, 1 some did not, 2 a file cannot be read or says what no case says.
pub fn case(files: &[PathBuf]) -> ExitCode {
    let vectors = match load(files) {
        Ok(vectors) => vectors,
        Err(faults) => {
            for fault in faults {
                eprintln!("marquetry: {fault}");
            }
            return ExitCode::from(super::WRONG);
        }
    };
    match run::runtime(0) {
        Ok(runtime) => {
            let ended = runtime.block_on(run_all(vectors));
            runtime.shutdown_background();
            ended
        }
        Err(error) => {
            eprintln!("marquetry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All cases of all files, or all that is wrong with them.
fn load(files: &[PathBuf]) -> Result<Vec<Arc<Vector>>, Vec<String>> {
    let mut vectors = Vec::new();
    let mut faults = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    for file in files {
        let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
        let cases = match read.and_then(|text| file::read(&text)) {
            Ok(cases) => cases,
            Err(error) => {
                faults.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        for case in cases {
            let case = match case {
                Ok(case) => case,
                Err(fault) => {
                    faults.push(format!("{}: {fault}", file.display()));
                    continue;
                }
            };
            if let Some(other) = names.insert(case.name.clone(), file) {
                faults.push(format!(
                    "{}: case {}: the name is taken, in {}",
                    file.display(),
                    case.name,
                    other.display()
                ));
            }
            vectors.push(Arc::new(case));
        }
    }
    if faults.is_empty() {
        Ok(vectors)
    } else {
        Err(faults)
    }
}

async fn run_all(vectors: Vec<Arc<Vector>>) -> ExitCode {
    let (timed, untimed): (Vec<_>, Vec<_>) = vectors
        .into_iter()
        .partition(|vector| vector.within.is_some());
    let mut tally = Tally::default();
    let mut results = futures::stream::iter(untimed.into_iter().map(judged)).buffered(AT_ONCE);
    while let Some((name, differences)) = results.next().await {
        tally.tell(&name, &differences);
    }
    for vector in timed {
        let (name, differences) = judged(vector).await;
        tally.tell(&name, &differences);
    }
    tally.close()
}

/// Plays a case and says what differs from what it expects.
async fn judged(vector: Arc<Vector>) -> (String, Vec<Difference>) {
    let name = vector.name.clone();
    let differences = match play::play(&vector).await {
        Ok(outcome) => compare::differences(&vector, &outcome),
        Err(fault) => vec![Difference::new("no answer", [fault])],
    };
    (name, differences)
}

/// What came of the cases so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Something of it could not be written.
    lost: bool,
}

impl Tally {
    fn tell(&mut self, name: &str, differences: &[Difference]) {
        if differences.is_empty() {
            self.passed += 1;
            self.print(&format!("ok {name}\n"));
            return;
        }
        self.failed += 1;
        let what: Vec<&str> = differences.iter().map(|it| it.what.as_str()).collect();
        let mut text = format!("FAILED {name}: {}\n", what.join(", "));
        for difference in differences {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {}", difference.what);
            for line in &difference.details {
                let _ = writeln!(text, "        {line}");
            }
        }
        self.print(&text);
    }

    fn close(mut self) -> ExitCode {
        self.print(&format!("{} passed, {} failed\n", self.passed, self.failed));
        if self.failed == 0 && !self.lost {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// To standard output. Where nobody reads that any more, the exit code still tells the outcome.
    fn print(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
            && !self.lost
        {
            self.lost = true;
            eprintln!("marquetry: standard output cannot be written: {error}");
        }
    }
}
