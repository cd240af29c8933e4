//! Every composition vector of `fixtures/esi`, as a user would see it: a gateway with an empty cache for each case, a page and its
//! fragments from a scripted origin, real sockets in between.
//!
//! A case that needs what is not built is named in [`NOT_YET`]; the run prints how many ran and which were skipped.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde::Deserialize;
use support::{Answer, End, Gateway, Origin, Reply, Setup, ask};

/// Cases that need what is not built.
const NOT_YET: &[&str] = &[];

/// How many cases run at least.
const AT_LEAST: usize = 188;

/// Cases at a time.
const AT_ONCE: usize = 4;

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "feature")]
    _feature: String,
    #[serde(rename = "source")]
    _source: String,
    template: String,
    template_headers: Option<BTreeMap<String, String>>,
    chunk_bytes: Option<usize>,
    #[serde(default)]
    options: toml::Table,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    fragments: BTreeMap<String, Fragment>,
    expected_status: Option<u16>,
    expected_body: Option<String>,
    expected_fetches: BTreeSet<String>,
    #[serde(default)]
    expected_requests: BTreeMap<String, ExpectedRequest>,
    #[serde(default)]
    expected_headers: BTreeMap<String, String>,
    #[serde(default)]
    absent_response_headers: Vec<String>,
    max_ms: Option<u64>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(rename = "confirmed_on")]
    _confirmed_on: Vec<String>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields)]
struct Request {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    query: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    cookies: Option<toml::Table>,
    body: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Fragment {
    status: Option<u16>,
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    method: Option<String>,
    body: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    absent_headers: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_of_what_is_built_holds_through_real_sockets() {
    let (run, skipped) = split(load());
    let ran = run.len();
    // Cases that bound the time have the machine for themselves.
    let (timed, untimed): (Vec<Case>, Vec<Case>) =
        run.into_iter().partition(|case| case.max_ms.is_some());
    let mut faults = run_all(untimed, run_case).await;
    for case in timed {
        faults.extend(run_case(case).await.err());
    }
    // Past the capture of test output: what ran is told whether or not it passed.
    let _ = writeln!(
        std::io::stderr(),
        "composition vectors through the gateway: {ran} ran, {} passed, {} skipped: {}",
        ran - faults.len(),
        skipped.len(),
        skipped.join(", ")
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
    assert!(ran >= AT_LEAST, "only {ran} cases ran");
}

/// Pages and fragments that everybody may keep, asked for again and again, plain and compressed: what is remembered and what is
/// stitched is what was composed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_holds_when_it_is_kept_and_compressed() {
    let (mut run, _) = split(load());
    run.retain(|case| case.request.method.is_none() && case.max_ms.is_none());
    let ran = run.len();
    let faults = run_all(run, run_case_kept).await;
    assert!(faults.is_empty(), "\n{}", faults.join("\n\n"));
    assert!(ran >= AT_LEAST / 2, "only {ran} cases ran");
}

/// Runs all cases, a few at a time; what does not hold.
async fn run_all<F>(cases: Vec<Case>, run: fn(Case) -> F) -> Vec<String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let mut faults = Vec::new();
    let mut waiting = cases.into_iter();
    let mut running = tokio::task::JoinSet::new();
    for case in waiting.by_ref().take(AT_ONCE) {
        running.spawn(run(case));
    }
    while let Some(done) = running.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => faults.push(fault),
            Err(panic) => faults.push(format!("a case ended early: {panic}")),
        }
        if let Some(case) = waiting.next() {
            running.spawn(run(case));
        }
    }
    faults
}

#[test]
fn every_skipped_name_is_a_case() {
    let cases = load();
    for name in NOT_YET {
        assert!(cases.iter().any(|case| case.name == *name), "{name}");
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "names are unique");
}

fn load() -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/esi");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of the vectors")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a readable vector");
        let file: File =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        cases.extend(file.case);
    }
    cases
}

fn split(cases: Vec<Case>) -> (Vec<Case>, Vec<String>) {
    let (skipped, run): (Vec<Case>, Vec<Case>) = cases
        .into_iter()
        .partition(|case| NOT_YET.contains(&case.name.as_str()));
    (run, skipped.into_iter().map(|case| case.name).collect())
}

/// Runs one case; what does not hold, all of it.
async fn run_case(case: Case) -> Result<(), String> {
    let origin = Origin::start().await;
    let host = case.host();
    for (key, fragment) in &case.fragments {
        let (_, target) = host_and_target(key, &host);
        origin.on(target, fragment.reply());
    }
    // Fragments of two hosts with one path would need rules by host; no vector has them.
    origin.on(&case.target(), case.page());
    let gateway = case.setup(&origin).start().await;

    let started = Instant::now();
    let answer = gateway.fetch(&case.ask()).await;
    let took = started.elapsed();

    let mut faults = case.faults_of_answer(&answer, took);
    // A page may be complete before the last fetch of an attempt that has failed has come to the origin.
    let all = origin.arrived_in_all(1 + case.expected_fetches.len());
    let _ = tokio::time::timeout(Duration::from_millis(500), all).await;
    faults.extend(case.faults_of_requests(&origin));
    if case.flags.iter().any(|flag| flag == "error_logged") && !error_is_logged(&gateway).await {
        faults.push("no error was logged and counted".to_owned());
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!("{}:\n  {}", case.name, faults.join("\n  ")))
    }
}

/// Runs one case with answers that are kept.
async fn run_case_kept(case: Case) -> Result<(), String> {
    let origin = Origin::start().await;
    let host = case.host();
    let kept = |reply: Reply| reply.header("Cache-Control", "public, max-age=600");
    for (key, fragment) in &case.fragments {
        let (_, target) = host_and_target(key, &host);
        let own = fragment.headers.iter().flatten();
        let is_own = own
            .into_iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
        let reply = fragment.reply();
        origin.on(target, if is_own { reply } else { kept(reply) });
    }
    origin.on(&case.target(), kept(case.page()));
    let gateway = case.setup(&origin).start().await;
    for round in 0..8 {
        let mut ask = case.ask();
        if round % 2 == 1 {
            ask = ask.header("Accept-Encoding", "gzip");
        }
        let mut answer = gateway.fetch(&ask).await;
        if answer.header("content-encoding") == Some("gzip") {
            let mut plain = Vec::new();
            let mut decoder = flate2::bufread::GzDecoder::new(&answer.body[..]);
            let read = decoder.read_to_end(&mut plain);
            if read.is_err() || !decoder.into_inner().is_empty() {
                return Err(format!("{}: {round}: no gzip member", case.name));
            }
            answer.body = plain;
        }
        let status = case.expected_status.unwrap_or(200);
        let wanted = case.expected_body.as_ref().map(String::as_bytes);
        if answer.status != status || wanted.is_some_and(|wanted| wanted != answer.body) {
            let (name, text) = (&case.name, answer.text());
            return Err(format!("{name}: {round}: {} {text:?}", answer.status));
        }
    }
    Ok(())
}

/// Whether a template error or a failed fragment is counted, and an error stands on standard error. Both may come a moment after the
/// answer.
async fn error_is_logged(gateway: &Gateway) -> bool {
    let counted = async {
        loop {
            let logged = gateway.stderr().iter().any(|line| line.contains("ERROR"));
            if logged && faults_counted(gateway).await > 0.0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted)
        .await
        .is_ok()
}

/// Faults of documents and includes that came to nothing.
async fn faults_counted(gateway: &Gateway) -> f64 {
    let mut faults = gateway.metric("marquetry_template_errors_total", "").await;
    for outcome in ["failed", "timeout", "refused"] {
        let label = format!("outcome=\"{outcome}\"");
        faults += gateway.metric("marquetry_fragments_total", &label).await;
    }
    faults
}

/// The host and the target that a fragment's key names.
fn host_and_target<'a>(key: &'a str, page_host: &'a str) -> (&'a str, &'a str) {
    match key.strip_prefix("//") {
        None => (page_host, key),
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
    }
}

impl Case {
    fn host(&self) -> String {
        self.request
            .host
            .clone()
            .unwrap_or_else(|| "www.example.com".to_owned())
    }

    fn target(&self) -> String {
        let path = self.request.path.as_deref().unwrap_or("/page");
        match &self.request.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    fn page(&self) -> Reply {
        let mut reply = Reply::bare(&self.template);
        let headers = self.template_headers.clone().unwrap_or_default();
        for (name, value) in &headers {
            reply = reply.header(name, value);
        }
        if !headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("content-type"))
        {
            reply = reply.header("Content-Type", "text/html; charset=utf-8");
        }
        match self.chunk_bytes {
            Some(bytes) => reply.in_pieces(bytes),
            None => reply,
        }
    }

    fn setup(&self, origin: &Origin) -> Setup {
        let mut hosts = BTreeSet::from([self.host()]);
        for key in self.fragments.keys() {
            hosts.insert(host_and_target(key, &self.host()).0.to_owned());
        }
        let mut setup = Setup::new()
            .compose(&toml::to_string(&self.options).expect("options are plain values"))
            .upstream("app", origin, "");
        for host in hosts {
            setup = setup.host_route(&host, "/", "app", "compose = \"always\"");
        }
        setup
    }

    fn ask(&self) -> support::Ask {
        let method = self.request.method.as_deref().unwrap_or("GET");
        let mut ask = ask(method, &self.target()).host(&self.host());
        for (name, value) in &self.request.headers {
            ask = ask.header(name, value);
        }
        if let Some(cookies) = &self.request.cookies {
            let pairs: Vec<String> = cookies
                .iter()
                .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                .collect();
            ask = ask.header("Cookie", &pairs.join("; "));
        }
        match &self.request.body {
            Some(body) => ask.body(body),
            None => ask,
        }
    }

    fn faults_of_answer(&self, answer: &Answer, took: Duration) -> Vec<String> {
        let mut faults = Vec::new();
        let status = self.expected_status.unwrap_or(200);
        if answer.status != status {
            faults.push(format!("status {} instead of {status}", answer.status));
        }
        if answer.end == End::Cut {
            faults.push("the answer was cut".to_owned());
        }
        if let Some(body) = &self.expected_body
            && answer.body != body.as_bytes()
        {
            faults.push(format!("body   {:?}\n  wanted {body:?}", answer.text()));
        }
        for (name, value) in &self.expected_headers {
            let found = answer.head.all(name);
            if found != [value.as_str()] {
                faults.push(format!("{name}: {found:?} instead of {value:?}"));
            }
        }
        for name in &self.absent_response_headers {
            if answer.head.has(name) {
                faults.push(format!("{name} is there"));
            }
        }
        if let Some(limit) = self.max_ms
            && took > Duration::from_millis(limit)
        {
            faults.push(format!("took {took:?}, not {limit} ms"));
        }
        faults
    }

    fn faults_of_requests(&self, origin: &Origin) -> Vec<String> {
        let mut faults = Vec::new();
        let mut requests = origin.requests();
        let own = requests
            .iter()
            .position(|request| request.target == self.target());
        if let Some(own) = own {
            requests.remove(own);
        } else {
            faults.push("the page was not fetched".to_owned());
        }
        let key = |request: &support::Recorded| {
            if request.host() == self.host() {
                request.target.clone()
            } else {
                format!("//{}{}", request.host(), request.target)
            }
        };
        let fetched: BTreeSet<String> = requests.iter().map(key).collect();
        if fetched != self.expected_fetches {
            let wanted = &self.expected_fetches;
            faults.push(format!("fetched {fetched:?} instead of {wanted:?}"));
        }
        for (wanted_key, wanted) in &self.expected_requests {
            match requests.iter().find(|request| key(request) == *wanted_key) {
                None => faults.push(format!("no request for {wanted_key}")),
                Some(request) => faults.extend(wanted.faults(request)),
            }
        }
        faults
    }
}

impl Fragment {
    fn reply(&self) -> Reply {
        let mut reply = Reply::bare(&self.body)
            .status(self.status.unwrap_or(200))
            .late(Duration::from_millis(self.delay_ms));
        let headers = self.headers.clone().unwrap_or_default();
        if !headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("content-type"))
        {
            reply = reply.header("Content-Type", "text/html; charset=utf-8");
        }
        for (name, value) in &headers {
            reply = reply.header(name, value);
        }
        reply
    }
}

impl ExpectedRequest {
    fn faults(&self, request: &support::Recorded) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(method) = &self.method
            && request.method != *method
        {
            faults.push(format!("{} instead of {method}", request.method));
        }
        if let Some(body) = &self.body
            && request.body != body.as_bytes()
        {
            let found = String::from_utf8_lossy(&request.body);
            faults.push(format!("sent {found:?} instead of {body:?}"));
        }
        for (name, value) in &self.headers {
            let found = request.head.all(name);
            if found != [value.as_str()] {
                faults.push(format!("sent {name}: {found:?} instead of {value:?}"));
            }
        }
        for name in &self.absent_headers {
            if request.head.has(name) {
                faults.push(format!("sent {name}"));
            }
        }
        faults
    }
}
