//! Every composition vector of `fixtures/esi`, composed in process with fragments from a map: at every split of its template, the
//! body, the status, the headers that tags set, and the set of fragments asked for.
//!
//! What only a gateway does (headers of the HTTP exchange, caching, encodings) is not looked at here; a case about nothing
//! else is skipped by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use marquetry::compose::request_scope::{ReadableCookies, facts};
use marquetry::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentMethod, FragmentRequest, FragmentSource,
    HeaderEdit, Place,
};
use marquetry::compose::url::Url;
use marquetry::compose::watch::{Fallback, Watcher};
use marquetry::compose::{ComposeError, Composer, Skeleton};
use marquetry::config::{ComposeConfig, Dialects, OnError};
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Compiler, Template};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
struct Case {
    name: String,
    template: String,
    #[serde(default)]
    template_headers: BTreeMap<String, String>,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    request: Request,
    #[serde(default)]
    fragments: BTreeMap<String, Canned>,
    #[serde(default = "ok")]
    expected_status: u16,
    expected_body: Option<String>,
    expected_fetches: BTreeSet<String>,
    #[serde(default)]
    expected_headers: BTreeMap<String, String>,
    #[serde(default)]
    expected_requests: BTreeMap<String, Wanted>,
    max_ms: Option<u64>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    on_error: Option<String>,
    merge_set_cookie: bool,
    head_wait: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Request {
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    query: Option<String>,
    headers: BTreeMap<String, String>,
    cookies: toml::Table,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Canned {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
    delay_ms: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    method: Option<String>,
    body: Option<String>,
    headers: BTreeMap<String, String>,
}

fn ok() -> u16 {
    200
}

/// Cases about what stands around composition: who makes the fragment's request, how pages are cached and encoded.
const GATEWAY_ONLY: [(&str, &str); 2] = [
    (
        "head-request-fetches-no-fragments",
        "a HEAD request is not composed at all",
    ),
    (
        "private-part-makes-the-page-private",
        "the head's Cache-Control is the gateway's",
    ),
];

struct Canteen {
    composer: Composer,
    page: Arc<Url>,
    case: Case,
    facts: Arc<RequestFacts>,
    asked: Arc<Mutex<BTreeSet<String>>>,
    requests: Arc<Mutex<BTreeMap<String, FragmentRequest>>>,
}

impl Canteen {
    fn key(&self, url: &Url) -> (String, String) {
        let host = if url.authority() == self.page.authority() {
            String::new()
        } else {
            format!("//{}", url.authority())
        };
        (
            format!("{host}{}", url.target()),
            format!("{host}{}", url.path()),
        )
    }
}

impl FragmentSource for Canteen {
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        let (exact, without_query) = self.key(&request.url);
        let key = if self.case.fragments.contains_key(&exact)
            || !self.case.fragments.contains_key(&without_query)
        {
            exact
        } else {
            without_query
        };
        self.asked.lock().expect("asked").insert(key.clone());
        self.requests
            .lock()
            .expect("requests")
            .insert(key.clone(), request.clone());
        let Some(canned) = self.case.fragments.get(&key).cloned() else {
            return Fetched::Now(Err(FragmentError::Status(404)));
        };
        let answer = self.answer(&canned, &request);
        if canned.delay_ms == 0 {
            return Fetched::Now(answer);
        }
        Fetched::Later {
            expected: None,
            fragment: Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(canned.delay_ms)).await;
                answer
            }),
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::clone(&self.facts)
    }
}

impl Canteen {
    fn answer(
        &self,
        canned: &Canned,
        request: &FragmentRequest,
    ) -> Result<Fragment<()>, FragmentError> {
        if canned.headers.contains_key("Content-Encoding") {
            return Err(FragmentError::Broken("not gzip".to_owned()));
        }
        let media_type = canned
            .headers
            .get("Content-Type")
            .map_or("text/html", String::as_str);
        let body = Bytes::from(canned.body.clone());
        let known = ["text/html", "application/json", "text/xml"].contains(&media_type);
        let composed = match request.dca {
            Dca::Esi => true,
            Dca::None => false,
            Dca::Declared => known && canned.status.unwrap_or(200) == 200,
        };
        let template = composed.then(|| {
            let settings = self.composer.settings(media_type, both());
            Arc::new(marquetry::template::compile(body.clone(), &settings))
        });
        Ok(Fragment {
            status: canned.status.unwrap_or(200),
            body,
            template,
            policy: (),
            set_cookies: canned
                .headers
                .get("Set-Cookie")
                .map(|cookie| HeaderValue::from_str(cookie).expect("a header"))
                .into_iter()
                .collect(),
            reservation: None,
        })
    }
}

fn both() -> Dialects {
    Dialects {
        esi: true,
        ssi: true,
    }
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl Watcher for Counter {
    fn template_error(&self, _: &Place, _: &dyn Display) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn fragment_failed(&self, _: &Place, _: Option<&Url>, _: &FragmentError, fallback: Fallback) {
        if matches!(
            fallback,
            Fallback::Empty | Fallback::Message | Fallback::Page
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/esi");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("fixtures/esi")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a fixture");
        toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.into_iter().flat_map(|path| read(path).case).collect()
}

/// The compiled template of a case, its bytes cut at `cuts`.
fn compiled(case: &Case, composer: &Composer, cuts: &[usize]) -> Template {
    let media_type = case
        .template_headers
        .get("Content-Type")
        .map_or("text/html", String::as_str);
    let mut compiler = Compiler::new(composer.settings(media_type, both()));
    let bytes = case.template.as_bytes();
    let mut from = 0;
    for cut in cuts {
        compiler.feed(&bytes[from..*cut]);
        from = *cut;
    }
    compiler.feed(&bytes[from..]);
    compiler.finish()
}

fn composer(case: &Case) -> Composer {
    let mut config = ComposeConfig::default();
    if case.options.on_error.as_deref() == Some("fail") {
        config.on_error = OnError::Fail;
    }
    config.merge_set_cookie = case.options.merge_set_cookie;
    if case.options.head_wait.is_some() {
        config.head_wait = Duration::from_secs(2);
    }
    Composer::new(config)
}

struct Outcome {
    status: u16,
    body: Option<String>,
    headers: BTreeMap<String, String>,
    asked: BTreeSet<String>,
    requests: BTreeMap<String, FragmentRequest>,
    errors: usize,
}

async fn run(case: &Case, cuts: &[usize]) -> Outcome {
    let composer = composer(case);
    let request = &case.request;
    let host = request.host.as_deref().unwrap_or("www.example.com");
    let mut target = request.path.clone().unwrap_or("/page".to_owned());
    if let Some(query) = &request.query {
        target = format!("{target}?{query}");
    }
    let page = Arc::new(Url::new(false, host.as_bytes(), target.as_bytes()).expect("a URL"));
    let mut head = http::Request::builder()
        .method(request.method.as_deref().unwrap_or("GET"))
        .uri(&target)
        .header("Host", host);
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let cookies: Vec<_> = request
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().expect("text")))
        .collect();
    if !cookies.is_empty() {
        head = head.header("Cookie", cookies.join("; "));
    }
    let (head, ()) = head.body(()).expect("a request").into_parts();
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let source = Canteen {
        composer: composer.clone(),
        page: Arc::clone(&page),
        case: case.clone(),
        facts: Arc::new(facts(
            &head.method,
            &head.uri,
            &head.headers,
            client,
            &ReadableCookies::new(None, &[]),
        )),
        asked: Arc::default(),
        requests: Arc::default(),
    };
    let (asked, requests) = (Arc::clone(&source.asked), Arc::clone(&source.requests));
    let counter = Arc::new(Counter::default());
    let skeleton = Skeleton {
        template: Arc::new(compiled(case, &composer, cuts)),
        url: page,
        deadline: Deadline::after(Duration::from_secs(30)),
        reservation: None,
    };
    let watcher: Arc<dyn Watcher> = Arc::clone(&counter) as _;
    let composed = composer.compose(skeleton, source, watcher).await;
    let mut outcome = Outcome {
        status: 200,
        body: None,
        headers: BTreeMap::new(),
        asked: BTreeSet::new(),
        requests: BTreeMap::new(),
        errors: 0,
    };
    match composed {
        Ok(composed) => {
            outcome.status = composed.edits.final_status().unwrap_or(200);
            let set = composed
                .edits
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value));
            let cookies = composed
                .set_cookies
                .iter()
                .map(|value| ("set-cookie".to_owned(), value));
            outcome.headers = set
                .chain(cookies)
                .map(|(name, value)| (name, value.to_str().expect("text").to_owned()))
                .collect();
            let body = composed
                .body
                .collect(usize::MAX)
                .await
                .expect("a whole body");
            outcome.body = Some(String::from_utf8(body.to_vec()).expect("UTF-8"));
        }
        Err(ComposeError::Include { .. }) => outcome.status = 502,
        Err(error) => panic!("{}: {error}", case.name),
    }
    outcome.asked = std::mem::take(&mut *asked.lock().expect("asked"));
    outcome.requests = std::mem::take(&mut *requests.lock().expect("requests"));
    outcome.errors = counter.0.load(Ordering::Relaxed);
    outcome
}

fn differences(case: &Case, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if outcome.status != case.expected_status {
        found.push(format!(
            "status {} instead of {}",
            outcome.status, case.expected_status
        ));
    }
    if case.expected_body.is_some() && outcome.body != case.expected_body {
        found.push(format!(
            "body {:?} instead of {:?}",
            outcome.body, case.expected_body
        ));
    }
    if outcome.asked != case.expected_fetches {
        found.push(format!(
            "asked for {:?} instead of {:?}",
            outcome.asked, case.expected_fetches
        ));
    }
    for (name, value) in &case.expected_headers {
        let by_tags = name.starts_with("x-") || case.options.merge_set_cookie;
        if by_tags && outcome.headers.get(name) != Some(value) {
            found.push(format!(
                "header {name}: {:?} instead of {value:?}",
                outcome.headers.get(name)
            ));
        }
    }
    for (key, wanted) in &case.expected_requests {
        found.extend(request_differences(key, wanted, outcome.requests.get(key)));
    }
    if case.flags.iter().any(|flag| flag == "error_logged") && outcome.errors == 0 {
        found.push("no error was told".to_owned());
    }
    found
}

fn request_differences(
    key: &str,
    wanted: &Wanted,
    request: Option<&FragmentRequest>,
) -> Vec<String> {
    let Some(request) = request else {
        return vec![format!("{key} was not asked for")];
    };
    let mut found = Vec::new();
    let method = match request.method {
        FragmentMethod::Get => "GET",
        FragmentMethod::Post => "POST",
    };
    if wanted
        .method
        .as_deref()
        .is_some_and(|wanted| wanted != method)
    {
        found.push(format!("{key} by {method}"));
    }
    let body = request.entity.clone().unwrap_or_default();
    if wanted
        .body
        .as_deref()
        .is_some_and(|wanted| wanted.as_bytes() != body)
    {
        found.push(format!("{key} with body {body:?}"));
    }
    for (name, value) in wanted
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-"))
    {
        let set = request.headers.iter().any(|edit| {
            matches!(edit, HeaderEdit::Set(known, set) if known == name.as_str() && set == value.as_bytes())
        });
        if !set {
            found.push(format!("{key} without {name}"));
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn every_case_composes_as_it_says() {
    let mut failures = Vec::new();
    let mut run_count = 0;
    for case in cases() {
        if let Some((name, why)) = GATEWAY_ONLY.iter().find(|(name, _)| *name == case.name) {
            println!("skipped {name}: {why}");
            continue;
        }
        run_count += 1;
        let start = tokio::time::Instant::now();
        let outcome = run(&case, &[]).await;
        let took = start.elapsed();
        let mut found = differences(&case, &outcome);
        if case
            .max_ms
            .is_some_and(|most| took > Duration::from_millis(most))
        {
            found.push(format!("took {took:?}"));
        }
        failures.extend(
            found
                .into_iter()
                .map(|found| format!("{}: {found}", case.name)),
        );
    }
    println!("{run_count} cases ran");
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn no_split_of_a_template_changes_the_page() {
    for case in cases() {
        if GATEWAY_ONLY.iter().any(|(name, _)| *name == case.name) {
            continue;
        }
        let length = case.template.len();
        let bytewise: Vec<_> = (0..length).collect();
        let whole = compiled(&case, &composer(&case), &[]);
        let shown = format!("{:?}", whole.issues());
        for cuts in (0..length).map(|cut| vec![cut]).chain([bytewise]) {
            let split = compiled(&case, &composer(&case), &cuts);
            assert_eq!(
                format!("{:?}", split.issues()),
                shown,
                "{} cut at {cuts:?}",
                case.name
            );
            assert_eq!(
                format!("{:?}", split.root()),
                format!("{:?}", whole.root()),
                "{}",
                case.name
            );
        }
        let outcome = run(&case, &(0..length).collect::<Vec<_>>()).await;
        let found = differences(&case, &outcome);
        assert!(
            found.is_empty(),
            "{} byte by byte: {}",
            case.name,
            found.join("; ")
        );
    }
}
