//! Composes an example in process, its fragments from a list, and tells where it differs from what it says.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use marquetry::compose::request_scope::{ReadableCookies, facts};
use marquetry::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentMethod, FragmentRequest, FragmentSource,
    HeaderEdit, Place,
};
use marquetry::compose::url::Url;
use marquetry::compose::watch::{Fallback, Watcher};
use marquetry::compose::{ComposeError, Composer, Skeleton};
use marquetry::config::{Config, Dialects};
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template;
use marquetry::template::memo::Memo;

use crate::notation::{self, Example, Outcome, Wanted};

/// What is not as the example says.
pub(crate) async fn differences(example: &Example) -> Vec<String> {
    let (outcome, asked) = compose(example).await;
    let mut found = Vec::new();
    if outcome != example.gives {
        found.push(format!("gives {outcome:?} instead of {:?}", example.gives));
    }
    let urls: BTreeSet<&str> = asked.iter().map(|(url, _)| &url[..]).collect();
    let wanted: BTreeSet<&str> = example
        .fragments
        .iter()
        .filter(|fragment| fragment.asked)
        .map(|fragment| &fragment.url[..])
        .collect();
    if urls != wanted {
        found.push(format!("asks for {urls:?} instead of {wanted:?}"));
    }
    for fragment in &example.fragments {
        for (_, request) in asked.iter().filter(|(url, _)| *url == fragment.url) {
            let unmet = fragment
                .wanted
                .iter()
                .filter(|wanted| !met(wanted, request));
            found.extend(unmet.map(|unmet| format!("{} is not asked {unmet:?}", fragment.url)));
        }
    }
    found
}

fn met(wanted: &Wanted, request: &FragmentRequest) -> bool {
    let entity = request.entity.as_deref().unwrap_or_default();
    match wanted {
        Wanted::Post(body) => request.method == FragmentMethod::Post && entity == body.as_bytes(),
        Wanted::With(name, value) => request.headers.iter().any(|edit| match edit {
            HeaderEdit::Set(known, set) | HeaderEdit::Append(known, set) => {
                known == name.as_str() && set == value.as_str()
            }
            HeaderEdit::Remove(_) => false,
        }),
        Wanted::Without(name) => request
            .headers
            .iter()
            .any(|edit| matches!(edit, HeaderEdit::Remove(known) if known == name.as_str())),
        Wanted::Kept(time) => request.ttl == Some(*time),
        Wanted::NeverKept => request.no_store,
    }
}

type Asked = Arc<Mutex<Vec<(String, FragmentRequest)>>>;

struct Larder {
    composer: Composer,
    page: Arc<Url>,
    fragments: Vec<notation::Fragment>,
    facts: Arc<RequestFacts>,
    asked: Asked,
}

impl FragmentSource for Larder {
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        let url = &request.url;
        let mut key = url.target().to_owned();
        if url.authority() != self.page.authority() {
            key = format!("//{}{key}", url.authority());
        }
        let known = self.fragments.iter().find(|known| known.url == key);
        let answer = known.map_or(Err(FragmentError::Status(404)), |known| {
            Ok(self.fragment(known, request.dca))
        });
        let delay = known.map_or(Duration::ZERO, |known| known.delay);
        self.asked.lock().expect("asked").push((key, request));
        Fetched::Later {
            expected: None,
            fragment: Box::pin(async move {
                tokio::time::sleep(delay).await;
                answer
            }),
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::clone(&self.facts)
    }
}

impl Larder {
    fn fragment(&self, known: &notation::Fragment, dca: Dca) -> Fragment<()> {
        let body = Bytes::from(known.body.clone());
        let is_document = match dca {
            Dca::Esi => true,
            Dca::None => false,
            Dca::Declared => known.status == 200 && known.media_type == "text/html",
        };
        let template = is_document.then(|| {
            let settings = self.composer.settings(&known.media_type, BOTH);
            Arc::new(template::compile(body.clone(), &settings))
        });
        Fragment {
            status: known.status,
            body,
            template,
            policy: (),
            set_cookies: Vec::new(),
            reservation: None,
        }
    }
}

const BOTH: Dialects = Dialects {
    esi: true,
    ssi: true,
};

/// How often an error was logged.
#[derive(Default)]
struct Log(AtomicUsize);

impl Watcher for Log {
    fn template_error(&self, _: &Place, _: &dyn std::fmt::Display) {
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

async fn compose(example: &Example) -> (Outcome, Vec<(String, FragmentRequest)>) {
    let config = config(example);
    let readable = ReadableCookies::new(
        config.compose.readable_cookies.as_deref(),
        &config.identity.session_cookies,
    );
    let composer = Composer::new(config.compose);
    let request = &example.request;
    let page = Url::new(false, HOST.as_bytes(), request.target.as_bytes()).expect("a URL");
    let page = Arc::new(page);
    let asked = Asked::default();
    let larder = Larder {
        composer: composer.clone(),
        page: Arc::clone(&page),
        fragments: example.fragments.clone(),
        facts: Arc::new(request_facts(request, &readable)),
        asked: Arc::clone(&asked),
    };
    let log = Arc::new(Log::default());
    let settings = composer.settings(example.media_type, BOTH);
    let skeleton = Skeleton {
        template: Arc::new(template::compile(example.page.clone().into(), &settings)),
        url: page,
        deadline: Deadline::after(Duration::from_secs(30)),
        reservation: None,
    };
    let mut outcome = Outcome {
        status: 200,
        ..Outcome::default()
    };
    let watcher: Arc<dyn Watcher> = Arc::clone(&log) as _;
    match composer.compose(skeleton, larder, watcher).await {
        Ok(composed) => {
            let edits = composed.edits;
            outcome.status = edits.final_status().unwrap_or(200);
            let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
            outcome.headers = edits
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value)))
                .chain(
                    edits
                        .redirect
                        .iter()
                        .map(|url| ("location".to_owned(), text(url))),
                )
                .collect();
            let body = composed
                .body
                .collect(usize::MAX)
                .await
                .expect("a whole body");
            outcome.body = String::from_utf8(body.to_vec()).expect("UTF-8");
        }
        Err(ComposeError::Include { .. }) => outcome.status = 502,
        Err(error) => panic!("README.md:{}: {error}", example.line),
    }
    outcome.logged = log.0.load(Ordering::Relaxed) > 0;
    let asked = std::mem::take(&mut *asked.lock().expect("asked"));
    (outcome, asked)
}

/// The host of every page.
const HOST: &str = "www.example.com";

fn request_facts(request: &notation::Request, readable: &ReadableCookies) -> RequestFacts {
    let mut head = http::Request::builder()
        .method(&request.method[..])
        .uri(&request.target)
        .header("Host", HOST);
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let (head, ()) = head.body(()).expect("a request").into_parts();
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17));
    facts(&head.method, &head.uri, &head.headers, client, readable)
}

/// The settings of the example, read as the file of an operator is. A line of another section names it.
fn config(example: &Example) -> Config {
    let (other, compose): (Vec<&str>, Vec<&str>) = example
        .settings
        .lines()
        .partition(|line| line.starts_with("identity."));
    let text = format!(
        "{}\nupstreams.app.servers = [\"127.0.0.1:1\"]\nroutes = [{{ path = \"/\", upstream = \"app\" }}]\n[compose]\n{}\n",
        other.join("\n"),
        compose.join("\n")
    );
    let read = Config::parse(&text, Path::new("README.md"));
    let (config, _) =
        read.unwrap_or_else(|error| panic!("README.md:{}: {}", example.line, error.render(false)));
    config
}
