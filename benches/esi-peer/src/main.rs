//! Three pages, one of a hundred expressions, as a loop writes them, one where each is another, and one of much text with a few, by Marquetry and by the `esi` crate 0.7: compiled
//! once and parsed, then composed from the compiled template and parsed and evaluated anew, as the crate does for each request.
//! Time and allocations, in one run, turn by turn.
//!
//! The peer's whole way runs here, `Processor::process_stream` from memory to memory, over a request with the same cookies and
//! query. The pages fetch nothing, so nothing is asked of the peer's platform. Both give the same bytes, which is checked first.
//!
//! `cargo run --release --manifest-path benches/esi-peer/Cargo.toml [ROUNDS]`

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use esi::{Configuration, Processor};
use fastly::Request;
use fastly::http::Method;
use futures::FutureExt;
use marquetry::allocator::Mimalloc;
use marquetry::compose::source::{Fetched, FragmentError, FragmentRequest, FragmentSource};
use marquetry::compose::url::Url;
use marquetry::compose::watch::{Unwatched, Watcher};
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Settings, Template, compile};

/// Counts allocations on their way to the gateway's allocator.
struct Counting(Mimalloc);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: each call is handed on as it came; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(Mimalloc);

/// What stands in for each function of the peer's platform (`build.rs`): a measurement that asked it anything would be wrong.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
extern "C" fn asked_of_the_platform() -> ! {
    eprintln!("the peer asked its platform for something");
    std::process::abort()
}

/// Keeps the function above in the program.
#[used]
static STAND_IN: extern "C" fn() -> ! = asked_of_the_platform;

/// The page fetches nothing.
struct Nothing(Arc<RequestFacts>);

impl FragmentSource for Nothing {
    type Policy = ();

    fn fetch(&self, _: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        Fetched::Now(Err(FragmentError::NoRoute))
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::clone(&self.0)
    }
}

/// Tests, variables, arithmetic, functions: the page of `benches/language.rs`. The peer reckons from left to right, so the
/// product stands first.
fn hundred_expressions() -> String {
    let row = "<li><esi:assign name=\"n\" value=\"3 * 4 + 2\"/>\
        <esi:choose><esi:when test=\"$(HTTP_COOKIE{group}) == 'gold' &amp;&amp; $(n) > 3\">\
        <esi:vars>Dear $(HTTP_COOKIE{name}), $(n) for you</esi:vars></esi:when>\
        <esi:otherwise>nothing here</esi:otherwise></esi:choose>\
        <esi:vars>$upper($(QUERY_STRING{q}))</esi:vars> some text between two rows of a list</li>\n";
    format!("<ul>\n{}</ul>\n", row.repeat(20))
}

/// The same, and each row asks for names of its own.
fn hundred_different() -> String {
    let rows = (b'a'..).take(20).map(|letter| {
        let x = char::from(letter);
        format!(
            "<li><esi:assign name=\"n{x}\" value=\"3 * 4 + {letter}\"/>\
            <esi:choose><esi:when test=\"$(HTTP_COOKIE{{group{x}}}) == 'gold{x}' &amp;&amp; $(n{x}) > 3\">\
            <esi:vars>Dear $(HTTP_COOKIE{{name{x}}}), $(n{x}) for you</esi:vars></esi:when>\
            <esi:otherwise>nothing here</esi:otherwise></esi:choose>\
            <esi:vars>$upper($(QUERY_STRING{{q{x}}}))</esi:vars> some text between two rows of a list</li>\n"
        )
    });
    format!("<ul>\n{}</ul>\n", rows.collect::<String>())
}

/// A page as a shop has it: much text, and now and then a greeting, a choice, something that is left out.
fn shop() -> String {
    let book = "<li class=\"book\"><a href=\"/books/7\">The Name of the Rose</a> <p>A novel of monks, books and murder.</p></li>\n";
    let shelf = "<esi:comment text=\"a shelf\"/>\
        <esi:choose><esi:when test=\"$(HTTP_COOKIE{group}) == 'gold'\"><p>Ten of a hundred less for you.</p></esi:when>\
        <esi:otherwise><p>Join us.</p></esi:otherwise></esi:choose>\
        <esi:remove><a href=\"/plain\">without ESI</a></esi:remove>\
        <p>Looked for: <esi:vars>$(QUERY_STRING{q})</esi:vars></p>\n";
    format!("<ul>\n{}</ul>\n", format!("{}{shelf}", book.repeat(8)).repeat(15))
}

/// A request, as each side has it before it begins.
struct Asked {
    url: Arc<Url>,
    facts: Arc<RequestFacts>,
    watcher: Arc<dyn Watcher>,
}

fn ours(composer: &Composer, template: &Arc<Template>, asked: &Asked) -> Bytes {
    let skeleton = Skeleton {
        template: Arc::clone(template),
        url: Arc::clone(&asked.url),
        deadline: Deadline::after(Duration::from_secs(60)),
        reservation: None,
    };
    let source = Nothing(Arc::clone(&asked.facts));
    let composed = composer
        .compose(skeleton, source, Arc::clone(&asked.watcher))
        .now_or_never()
        .expect("nothing is waited for")
        .expect("nothing fails");
    composed.body.as_full().expect("all is at hand").clone()
}

fn theirs(page: &[u8], request: &Request) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len());
    let mut processor = Processor::new(Some(request.clone_without_body()), Configuration::default());
    processor
        .process_stream(page, &mut out, None, None)
        .expect("the peer understands the page");
    out
}

/// Time and allocations of one round.
fn measured<T>(work: impl FnOnce() -> T) -> (Duration, u64) {
    let (before, start) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
    let done = black_box(work());
    let taken = start.elapsed();
    drop(done);
    (taken, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

/// What each of the four ways takes, turn by turn.
#[derive(Default)]
struct Way {
    times: Vec<Duration>,
    allocations: u64,
}

impl Way {
    fn take<T>(&mut self, work: impl FnOnce() -> T) {
        let (time, allocations) = measured(work);
        self.times.push(time);
        self.allocations = allocations;
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

fn compare(name: &str, page: String, rounds: usize) {
    let page = Bytes::from(page);
    let settings = Settings::default();
    let template = Arc::new(compile(page.clone(), &settings));
    assert!(template.issues().is_empty(), "an honest page");
    let facts = Arc::new(RequestFacts {
        query: Bytes::from_static(b"q=roses"),
        cookies: vec![
            (Bytes::from_static(b"group"), Bytes::from_static(b"gold")),
            (Bytes::from_static(b"name"), Bytes::from_static(b"Ann")),
        ],
        ..RequestFacts::default()
    });
    let asked = Asked {
        url: Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL")),
        facts,
        watcher: Arc::new(Unwatched),
    };
    let composer = Composer::new(ComposeConfig::default());
    let request = Request::new(Method::GET, "http://www.example.com/page?q=roses")
        .with_header("cookie", "group=gold; name=Ann");
    let (our_page, their_page) = (ours(&composer, &template, &asked), theirs(&page, &request));
    assert_eq!(
        String::from_utf8_lossy(&our_page),
        String::from_utf8_lossy(&their_page),
        "both compose the same page"
    );
    let [mut compiling, mut parsing, mut evaluating, mut both] = [(); 4].map(|()| Way::default());
    for _ in 0..rounds {
        compiling.take(|| compile(page.clone(), &settings));
        parsing.take(|| esi::parse_complete(&page).is_ok());
        evaluating.take(|| ours(&composer, &template, &asked));
        both.take(|| theirs(&page, &request));
    }
    println!("{name}, {} bytes: medians of {rounds} rounds, turn by turn", page.len());
    let row = |what: &str, (our, us): (&str, &Way), (their, them): (&str, &Way)| {
        println!(
            "  {what}  marquetry {our} {:.1?}, {} allocations; esi 0.7 {their} {:.1?}, {}: {:.1} times",
            us.median(),
            us.allocations,
            them.median(),
            them.allocations,
            them.median().as_secs_f64() / us.median().as_secs_f64()
        );
    };
    row("once for a page:    ", ("compiles in", &compiling), ("parses in", &parsing));
    row("for every request:  ", ("evaluates in", &evaluating), ("parses and evaluates in", &both));
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(2000, |text| text.parse().expect("a number of rounds"));
    compare("a page of 100 expressions", hundred_expressions(), rounds);
    compare("a page of 100 expressions, each another", hundred_different(), rounds);
    compare("a shop's page", shop(), rounds);
}
