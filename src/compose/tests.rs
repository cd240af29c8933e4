//! Behaviour of composition over time and at its bounds: what is sent when, what is fetched at once, what is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::HeaderValue;
use tokio::sync::oneshot;

use super::coder::{Coded, Coder};
use super::runs::Run;
use super::source::{
    Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource, Part, Place,
};
use super::url::Url;
use super::watch::{Fallback, Watcher};
use super::{ComposeError, Composed, Composer, Skeleton};
use crate::config::{ComposeConfig, OnError};
use crate::expr::RequestFacts;
use crate::message::BodyError;
use crate::message::deadline::Deadline;
use crate::template::memo::Memo;
use crate::template::{Settings, compile};

type Answer = Result<Fragment<String>, FragmentError>;

/// A source whose fragments come when the test says so.
#[derive(Default, Clone)]
struct Stage {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// At hand: by path.
    at_hand: Mutex<HashMap<String, String>>,
    /// Asked for, and not answered: by path.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// Paths in the order in which they were asked for.
    asked: Mutex<Vec<String>>,
    /// Fetches that were polled at least once, and those that were dropped before their end.
    begun: AtomicUsize,
    dropped: AtomicUsize,
    late_parts: AtomicUsize,
    errors: AtomicUsize,
    fallbacks: Mutex<Vec<Fallback>>,
}

impl Stage {
    fn with(fragments: &[(&str, &str)]) -> Self {
        let stage = Self::default();
        let all = fragments
            .iter()
            .map(|(path, body)| ((*path).to_owned(), (*body).to_owned()));
        stage.shared.at_hand.lock().expect("at hand").extend(all);
        stage
    }

    fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("asked").clone()
    }

    /// Answers a fetch that waits.
    fn answer(&self, path: &str, answer: Answer) {
        let waiting = self.shared.waiting.lock().expect("waiting").remove(path);
        let sender = waiting.unwrap_or_else(|| panic!("{path} was not asked for"));
        // A fetch that was given up has nobody who listens.
        let _ = sender.send(answer);
    }

    fn count(&self, counter: impl Fn(&Shared) -> &AtomicUsize) -> usize {
        counter(&self.shared).load(Ordering::SeqCst)
    }
}

/// A fragment; its policy is its body. Bodies with tags are documents.
fn fragment(body: &str) -> Fragment<String> {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let template = compile(bytes.clone(), &Settings::default());
    Fragment {
        status: 200,
        body: bytes,
        template: template.has_tags().then(|| Arc::new(template)),
        policy: body.to_owned(),
        set_cookies: Vec::new(),
        reservation: None,
    }
}

struct Running<'s>(&'s Shared, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl FragmentSource for Stage {
    type Policy = String;

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<String> {
        let path = request.url.path().to_owned();
        self.shared.asked.lock().expect("asked").push(path.clone());
        if let Some(body) = self.shared.at_hand.lock().expect("at hand").get(&path) {
            return Fetched::Now(Ok(fragment(body)));
        }
        let (sender, receiver) = oneshot::channel();
        self.shared
            .waiting
            .lock()
            .expect("waiting")
            .insert(path, sender);
        let shared = Arc::clone(&self.shared);
        Fetched::Later {
            expected: None,
            fragment: Box::pin(async move {
                shared.begun.fetch_add(1, Ordering::SeqCst);
                let mut running = Running(&shared, false);
                let answer = receiver.await.expect("the stage answers or is dropped");
                running.1 = true;
                answer
            }),
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::default()
    }

    fn late_part(&self, _: &Part<String>) {
        self.shared.late_parts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Watcher for Stage {
    fn template_error(&self, _: &Place, _: &dyn std::fmt::Display) {
        self.shared.errors.fetch_add(1, Ordering::SeqCst);
    }

    fn fragment_failed(&self, _: &Place, _: Option<&Url>, _: &FragmentError, fallback: Fallback) {
        self.shared
            .fallbacks
            .lock()
            .expect("fallbacks")
            .push(fallback);
    }
}

fn skeleton(page: &str) -> Skeleton {
    Skeleton {
        template: Arc::new(compile(
            Bytes::copy_from_slice(page.as_bytes()),
            &Settings::default(),
        )),
        url: Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL")),
        deadline: Deadline::after(Duration::from_secs(30)),
        reservation: None,
    }
}

async fn compose_with(
    config: ComposeConfig,
    page: &str,
    stage: &Stage,
) -> Result<Composed<String>, ComposeError> {
    Composer::new(config)
        .compose(skeleton(page), stage.clone(), Arc::new(stage.clone()))
        .await
}

async fn compose(page: &str, stage: &Stage) -> Composed<String> {
    compose_with(ComposeConfig::default(), page, stage)
        .await
        .expect("a page")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What can be read of a body without anything arriving.
fn at_once(composed: &mut Composed<String>) -> String {
    let mut read = String::new();
    while let Some(Some(Ok(bytes))) = composed.body.next().now_or_never() {
        read.push_str(&text(&bytes));
    }
    read
}

async fn rest(composed: Composed<String>) -> String {
    text(
        &composed
            .body
            .collect(usize::MAX)
            .await
            .expect("a whole body"),
    )
}

#[tokio::test(start_paused = true)]
async fn text_and_what_is_there_leave_before_the_first_unfinished_include() {
    let stage = Stage::with(&[("/here", "H")]);
    let mut composed = compose(
        "a<esi:include src='/here'/>b<esi:include src='/slow'/>c<esi:include src='/slower'/>d",
        &stage,
    )
    .await;
    assert_eq!(at_once(&mut composed), "aHb");
    stage.answer("/slower", Ok(fragment("2")));
    assert_eq!(
        at_once(&mut composed),
        "",
        "what comes early waits for its turn"
    );
    stage.answer("/slow", Ok(fragment("1")));
    assert_eq!(rest(composed).await, "1c2d");
}

#[tokio::test(start_paused = true)]
async fn a_page_at_hand_is_one_body_of_known_size() {
    let stage = Stage::with(&[("/a", "[<esi:include src='/b'/>]"), ("/b", "B")]);
    let composed = compose("<p><esi:include src='/a'/></p>", &stage).await;
    assert_eq!(
        composed.body.as_full().map(|body| text(body)),
        Some("<p>[B]</p>".to_owned())
    );
    assert_eq!(composed.parts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn all_includes_are_asked_for_at_once_and_nested_ones_as_they_come() {
    let stage = Stage::default();
    let mut composed = compose(
        "<esi:include src='/1'/><esi:foreach collection='[2,3]'><esi:include src='/$(item)'/></esi:foreach>",
        &stage,
    )
    .await;
    assert_eq!(stage.asked(), ["/1", "/2", "/3"]);
    at_once(&mut composed);
    stage.answer("/3", Ok(fragment("<esi:include src='/nested'/>")));
    at_once(&mut composed);
    assert_eq!(stage.asked(), ["/1", "/2", "/3", "/nested"]);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_fetches_run_at_a_time() {
    let config = ComposeConfig {
        concurrency: 2,
        ..ComposeConfig::default()
    };
    let stage = Stage::default();
    let page = [0, 1, 2, 3, 4]
        .map(|n| format!("<esi:include src='/{n}'/>"))
        .concat();
    let mut composed = compose_with(config, &page, &stage).await.expect("a page");
    at_once(&mut composed);
    assert_eq!(stage.count(|shared| &shared.begun), 2);
    stage.answer("/1", Ok(fragment("x")));
    at_once(&mut composed);
    assert_eq!(stage.count(|shared| &shared.begun), 3);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_body_drops_what_is_in_flight() {
    let stage = Stage::default();
    let mut composed = compose("<esi:include src='/1'/><esi:include src='/2'/>", &stage).await;
    at_once(&mut composed);
    drop(composed);
    assert_eq!(stage.count(|shared| &shared.dropped), 2);
    let config = ComposeConfig {
        merge_set_cookie: true,
        ..ComposeConfig::default()
    };
    let waiting = compose_with(config, "<esi:include src='/3'/>", &stage).now_or_never();
    assert!(waiting.is_none());
    assert_eq!(stage.count(|shared| &shared.dropped), 3);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_held_back_until_its_outcome_is_known() {
    let stage = Stage::default();
    let mut composed = compose(
        "a<esi:try><esi:attempt>b<esi:include src='/1'/></esi:attempt><esi:except>c</esi:except></esi:try>d<esi:include src='/2'/>",
        &stage,
    )
    .await;
    assert_eq!(
        stage.asked(),
        ["/1", "/2"],
        "evaluation does not wait for it"
    );
    assert_eq!(at_once(&mut composed), "a");
    stage.answer("/1", Err(FragmentError::Status(500)));
    assert_eq!(at_once(&mut composed), "cd");
    stage.answer("/2", Ok(fragment("e")));
    assert_eq!(rest(composed).await, "e");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_assigns_is_waited_for() {
    let stage = Stage::default();
    let mut composed = compose(
        "a<esi:try><esi:attempt><esi:assign name='v' value='1'/><esi:include src='/1'/></esi:attempt></esi:try><esi:include src='/$(v|0)'/>",
        &stage,
    )
    .await;
    assert_eq!(at_once(&mut composed), "a");
    assert_eq!(stage.asked(), ["/1"]);
    stage.answer("/1", Err(FragmentError::TimedOut));
    assert_eq!(at_once(&mut composed), "");
    assert_eq!(stage.asked(), ["/1", "/0"]);
}

#[tokio::test(start_paused = true)]
async fn when_one_include_fails_the_attempt_does_not_wait_for_the_others() {
    let stage = Stage::default();
    let mut composed = compose(
        "<esi:try><esi:attempt><esi:include src='/1'/><esi:include src='/2'/></esi:attempt><esi:except>E</esi:except></esi:try>.",
        &stage,
    )
    .await;
    at_once(&mut composed);
    stage.answer("/2", Err(FragmentError::NoRoute));
    assert_eq!(at_once(&mut composed), "E.");
}

#[tokio::test(start_paused = true)]
async fn with_on_error_fail_the_head_waits_for_the_includes_of_the_page() {
    let config = ComposeConfig {
        on_error: OnError::Fail,
        ..ComposeConfig::default()
    };
    let stage = Stage::default();
    let failing = compose_with(config.clone(), "a<esi:include src='/1'/>", &stage);
    let mut failing = Box::pin(failing);
    assert!(
        failing.as_mut().now_or_never().is_none(),
        "nothing is decided yet"
    );
    stage.answer("/1", Err(FragmentError::Status(404)));
    let error = failing.await.expect_err("the page fails");
    assert!(
        matches!(error, ComposeError::Include { offset: 1, .. }),
        "{error:?}"
    );
    assert_eq!(
        *stage.shared.fallbacks.lock().expect("fallbacks"),
        [Fallback::Page]
    );

    let stage = Stage::with(&[("/1", "[<esi:include src='/nested'/>]")]);
    let page = "<esi:include src='/1'/><esi:include src='/2' onerror='continue'/>";
    let mut waiting = Box::pin(compose_with(config, page, &stage));
    assert!(waiting.as_mut().now_or_never().is_none());
    stage.answer("/2", Err(FragmentError::TimedOut));
    let mut composed = waiting.await.expect("a page");
    assert_eq!(
        at_once(&mut composed),
        "[",
        "what a fragment includes cannot fail the page"
    );
    stage.answer("/nested", Err(FragmentError::TimedOut));
    assert_eq!(rest(composed).await, "]");
}

#[tokio::test(start_paused = true)]
async fn maxwait_runs_out_for_each_of_two_urls() {
    let stage = Stage::default();
    let start = tokio::time::Instant::now();
    let composed = compose("[<esi:include src='/1' alt='/2' maxwait='100'/>]", &stage).await;
    assert_eq!(rest(composed).await, "[]");
    assert_eq!(start.elapsed(), Duration::from_millis(200));
    assert_eq!(stage.asked(), ["/1", "/2"]);
    assert_eq!(
        *stage.shared.fallbacks.lock().expect("fallbacks"),
        [Fallback::Alt, Fallback::Empty]
    );
    assert_eq!(stage.count(|shared| &shared.dropped), 2);
}

#[tokio::test(start_paused = true)]
async fn a_page_past_its_deadline_looks_cut() {
    let stage = Stage::default();
    let composed = compose("a<esi:include src='/never'/>b", &stage).await;
    let cut = composed.body.collect(usize::MAX).await;
    assert_eq!(cut, Err(BodyError::TooLate));
    let written = compose_with(
        ComposeConfig::default(),
        "<esi:include src='/never2'/><esi:vars>$set_response_code(404)</esi:vars>",
        &stage,
    );
    assert_eq!(written.await.expect_err("no head"), ComposeError::TooLate);
}

#[tokio::test(start_paused = true)]
async fn a_page_beyond_its_size_fails_or_looks_cut() {
    let config = ComposeConfig {
        max_page: crate::config::size::ByteSize::bytes(10),
        ..ComposeConfig::default()
    };
    let stage = Stage::with(&[("/here", "0123456789")]);
    let page = "a<esi:include src='/here'/>";
    let error = compose_with(config.clone(), page, &stage)
        .await
        .expect_err("too large");
    assert_eq!(error, ComposeError::TooLarge(10));
    let mut composed = compose_with(config, "a<esi:include src='/late'/>", &stage)
        .await
        .expect("a head");
    assert_eq!(at_once(&mut composed), "a");
    stage.answer("/late", Ok(fragment("0123456789")));
    assert_eq!(
        composed.body.next().await,
        Some(Err(BodyError::TooLarge(10)))
    );
    assert_eq!(composed.body.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn set_cookie_lines_come_in_page_order() {
    let config = ComposeConfig {
        merge_set_cookie: true,
        ..ComposeConfig::default()
    };
    let stage = Stage::default();
    let with = |body: &str, cookie: &'static str| Fragment {
        set_cookies: vec![HeaderValue::from_static(cookie)],
        ..fragment(body)
    };
    let page = "<esi:include src='/1'/><esi:try><esi:attempt><esi:include src='/2'/><esi:include src='/3'/></esi:attempt></esi:try>\
        <!--#include virtual='/4' set='v' -->";
    let mut composing = Box::pin(compose_with(config, page, &stage));
    assert!(composing.as_mut().now_or_never().is_none());
    stage.answer("/4", Ok(with("4", "d=4")));
    stage.answer("/2", Ok(with("2", "dropped=2")));
    stage.answer("/3", Err(FragmentError::NoRoute));
    stage.answer("/1", Ok(with("<esi:include src='/5'/>", "a=1")));
    assert!(composing.as_mut().now_or_never().is_none());
    stage.answer("/5", Ok(with("5", "b=5")));
    let composed = composing.await.expect("a page");
    assert_eq!(composed.set_cookies, ["a=1", "b=5", "d=4"]);
    assert_eq!(rest(composed).await, "5");
}

#[tokio::test(start_paused = true)]
async fn the_head_knows_what_came_in_time() {
    let shown = |composed: &Composed<String>| {
        let parts = composed.parts.iter().map(|part| format!("{part:?}"));
        parts.collect::<Vec<_>>()
    };
    let stage = Stage::with(&[("/here", "H")]);
    let page = "<esi:include src='/here'/><esi:include src='/bad'/><esi:include src='/slow'/>";
    let mut composed = compose(page, &stage).await;
    assert_eq!(shown(&composed), ["Here(\"H\")", "Unknown", "Unknown"]);
    at_once(&mut composed);
    stage.answer("/slow", Ok(fragment("S")));
    stage.answer("/bad", Err(FragmentError::NoRoute));
    assert_eq!(rest(composed).await, "S");
    assert_eq!(stage.count(|shared| &shared.late_parts), 2);

    let config = ComposeConfig {
        head_wait: Duration::from_secs(1),
        ..ComposeConfig::default()
    };
    let mut waiting = Box::pin(compose_with(config, page, &stage));
    assert!(waiting.as_mut().now_or_never().is_none());
    stage.answer("/bad", Err(FragmentError::NoRoute));
    let composed = waiting.await.expect("a page");
    assert_eq!(shown(&composed), ["Here(\"H\")", "Failed", "Unknown"]);
}

#[tokio::test(start_paused = true)]
async fn every_bound_ends_what_goes_beyond_it() {
    let tight = ComposeConfig {
        max_includes: 2,
        max_depth: 1,
        ssi_silent_errors: true,
        limits: crate::config::LanguageLimits {
            loop_rounds: 3,
            function_depth: 2,
            variables: crate::config::size::ByteSize::bytes(1000),
            ..crate::config::LanguageLimits::default()
        },
        ..ComposeConfig::default()
    };
    let long = "x".repeat(2000);
    let rows = [
        (
            "<esi:include src='/a'/><esi:include src='/a'/>[<esi:include src='/a'/>]".to_owned(),
            "AA[]",
        ),
        ("<esi:include src='/deep'/>".to_owned(), "[]"),
        (
            "<esi:include src='/page'/>|<esi:include src='http://www.example.com/page'/>"
                .to_owned(),
            "|",
        ),
        (
            "<esi:foreach collection='[1..9]'>$(item)</esi:foreach>.".to_owned(),
            "123.",
        ),
        (
            "<esi:function name='f'>x$f()</esi:function><esi:vars>[$f()]</esi:vars>".to_owned(),
            "[xx]",
        ),
        (
            format!("<esi:assign name='v'>{long}</esi:assign><esi:vars>[$(v)]</esi:vars>"),
            "[]",
        ),
        (
            format!("<!--#set var='v' value='{long}' -->[<!--#echo var='v' default='' -->]"),
            "[]",
        ),
    ];
    for (page, wanted) in rows {
        let stage = Stage::with(&[("/a", "A"), ("/deep", "[<esi:include src='/a'/>]")]);
        let composed = compose_with(tight.clone(), &page, &stage)
            .await
            .expect("a page");
        assert_eq!(rest(composed).await, wanted, "{page}");
        let told = stage.count(|shared| &shared.errors)
            + stage.shared.fallbacks.lock().expect("fallbacks").len();
        assert!(told > 0, "{page}: it is told");
    }
}

#[tokio::test(start_paused = true)]
async fn elements_nested_too_deeply_are_dropped_with_their_content() {
    let nested = |depth: usize| {
        format!(
            "{}x{}",
            "<esi:vars>".repeat(depth),
            "</esi:vars>".repeat(depth)
        )
    };
    assert_eq!(
        rest(compose(&nested(64), &Stage::default()).await).await,
        "x"
    );
    assert_eq!(
        rest(compose(&nested(65), &Stage::default()).await).await,
        ""
    );
    // An element that is never closed is not there, so it does not nest either.
    let open = format!("{}{}", "<esi:vars>".repeat(100), nested(64));
    assert_eq!(rest(compose(&open, &Stage::default()).await).await, "x");
}

/// Two values that each of them are more than text.
const VALUES: &str = "<esi:assign name='a' value=\"'A'\"/><esi:assign name='b' value=\"'B'\"/>";

#[tokio::test(start_paused = true)]
async fn values_that_were_sent_do_not_swallow_those_behind_them() {
    let rows = [
        ("$(a)<esi:eval src='/slow'/>$(b)$(a)", "A", "ASBA"),
        ("$(a)<esi:include src='/slow'/>$(b)$(a)", "A", "ASBA"),
        (
            "$(a)<esi:assign name='s'><esi:include src='/slow'/></esi:assign>$(b)$(s)$(a)",
            "",
            "ABSA",
        ),
        (
            "$(a)<esi:try><esi:attempt>$(b)<esi:include src='/slow'/></esi:attempt></esi:try>$(b)",
            "A",
            "ABSB",
        ),
    ];
    for (inside, first, wanted) in rows {
        let stage = Stage::default();
        let page = format!("{VALUES}<esi:vars>{inside}</esi:vars>");
        let mut composed = compose(&page, &stage).await;
        assert_eq!(at_once(&mut composed), first, "{inside}");
        stage.answer("/slow", Ok(fragment("S")));
        assert_eq!(first.to_owned() + &rest(composed).await, wanted, "{inside}");
    }
}

/// Writes down what it is told.
struct Noting(Arc<Mutex<Vec<String>>>);

impl Noting {
    fn note(&self, what: &str, bytes: &[u8], out: &mut BytesMut) {
        let note = format!("{what} {}", text(bytes));
        self.0.lock().expect("notes").push(note);
        out.extend_from_slice(bytes);
    }
}

impl Coder for Noting {
    fn run(&mut self, run: &Run, out: &mut BytesMut) {
        self.note("run", run.bytes(), out);
    }

    fn text(&mut self, _: usize, bytes: &[u8], out: &mut BytesMut) {
        self.note("text", bytes, out);
    }

    fn apart(&mut self, bytes: &[u8], out: &mut BytesMut) {
        self.note("apart", bytes, out);
    }

    fn flush(&mut self, _: &mut BytesMut) {}

    fn finish(&mut self, _: &mut BytesMut) {}
}

/// What one user must not learn of another by the length of a page stands in no piece with anything else.
#[tokio::test(start_paused = true)]
async fn a_coder_sees_every_value_and_every_text_by_itself() {
    let page = format!(
        "{VALUES}<esi:choose><esi:when test='1'>m<esi:vars>$(a)$(b)n$(a)</esi:vars></esi:when></esi:choose>"
    );
    let notes = Arc::new(Mutex::new(Vec::new()));
    let coded = Coded {
        coder: Box::new(Noting(Arc::clone(&notes))),
        worth: 0,
    };
    let stage = Stage::default();
    let composed = Composer::new(ComposeConfig::default())
        .compose_coded(
            skeleton(&page),
            stage.clone(),
            Arc::new(stage.clone()),
            Some(coded),
        )
        .await
        .expect("a page");
    assert_eq!(rest(composed).await, "mABnA");
    let wanted = ["text m", "apart A", "apart B", "text n", "apart A"];
    assert_eq!(*notes.lock().expect("notes"), wanted);
}
