//! The language: how fast a page is compiled, what its evaluation costs once it is, and that hostile pages cost no more than
//! honest ones.
//!
//! Beside ours runs the parser of the `esi` crate 0.7 on pages that both understand. Its evaluation is bound to its vendor's
//! platform and does not link here, so evaluation stands against its parsing alone: it parses each page anew for each request, and
//! evaluates on top. `benches/esi-peer` is a package of its own that links it all the same and measures the two together.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use marquetry::compose::source::{Fetched, FragmentError, FragmentRequest, FragmentSource};
use marquetry::compose::url::Url;
use marquetry::compose::watch::{Unwatched, Watcher};
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Settings, Template, compile};

/// Counts allocations on their way to the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: each call is handed to the system's allocator as it came; counting touches no memory of the caller.
#[allow(unsafe_code)] // A bench counts what the product allocates; there is no safe way to be an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A page of expressions fetches nothing.
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

/// A hundred expressions: tests, variables with defaults, arithmetic, functions.
fn hundred_expressions() -> String {
    let row = "<li><esi:assign name=\"n\" value=\"2 + 3 * 4\"/>\
        <esi:choose><esi:when test=\"$(HTTP_COOKIE{group}) == 'gold' &amp;&amp; $(n) > 3\">\
        <esi:vars>Dear $(HTTP_COOKIE{name}), $(n) for you</esi:vars></esi:when>\
        <esi:otherwise>nothing here</esi:otherwise></esi:choose>\
        <esi:vars>$upper($(QUERY_STRING{q}))</esi:vars> some text between two rows of a list</li>\n";
    format!("<ul>\n{}</ul>\n", row.repeat(20))
}

/// The same, and each row asks for names of its own: nothing that was read is met again.
fn hundred_different() -> String {
    let rows = (b'a'..).take(20).map(|letter| {
        let x = char::from(letter);
        format!(
            "<li><esi:assign name=\"n{x}\" value=\"{letter} + 3 * 4\"/>\
            <esi:choose><esi:when test=\"$(HTTP_COOKIE{{group{x}}}) == 'gold{x}' &amp;&amp; $(n{x}) > 3\">\
            <esi:vars>Dear $(HTTP_COOKIE{{name{x}}}), $(n{x}) for you</esi:vars></esi:when>\
            <esi:otherwise>nothing here</esi:otherwise></esi:choose>\
            <esi:vars>$upper($(QUERY_STRING{{q{x}}}))</esi:vars> some text between two rows of a list</li>\n"
        )
    });
    format!("<ul>\n{}</ul>\n", rows.collect::<String>())
}

/// Text with an include now and then, as shops have it.
fn shop(bytes: usize) -> String {
    let row = "<li class=\"book\"><a href=\"/books/7\">The Name of the Rose</a> <p>A novel of monks, books and murder.</p></li>\n";
    let mut page = String::new();
    let mut rows = 0;
    while page.len() < bytes {
        page += row;
        rows += 1;
        if rows % 8 == 0 {
            page += "<esi:include src=\"/fragments/price/7\" onerror=\"continue\"/>\n";
        }
    }
    page
}

fn compiling(criterion: &mut Criterion) {
    let settings = Settings::default();
    for (name, page) in [
        ("compile/20 KB shop", shop(20_000)),
        ("compile/100 expressions", hundred_expressions()),
        ("compile/100 different expressions", hundred_different()),
    ] {
        let document = Bytes::from(page);
        assert!(
            compile(document.clone(), &settings).issues().is_empty(),
            "{name} is an honest page"
        );
        assert!(
            esi::parse_complete(&document).is_ok(),
            "the other one understands {name}"
        );
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(document.len() as u64));
        group.bench_function("ours", |bencher| {
            bencher.iter(|| compile(black_box(document.clone()), &settings));
        });
        group.bench_function("esi 0.7, parsing", |bencher| {
            bencher.iter(|| esi::parse_complete(black_box(&document)).is_ok());
        });
        group.finish();
    }
}

fn evaluating(criterion: &mut Criterion) {
    let document = Bytes::from(hundred_expressions());
    let template = Arc::new(compile(document.clone(), &Settings::default()));
    let facts = Arc::new(RequestFacts {
        query: Bytes::from_static(b"q=roses"),
        cookies: vec![
            (Bytes::from_static(b"group"), Bytes::from_static(b"gold")),
            (Bytes::from_static(b"name"), Bytes::from_static(b"Ann")),
        ],
        ..RequestFacts::default()
    });
    let composer = Composer::new(ComposeConfig::default());
    let evaluate = || evaluated(&composer, &template, &facts);
    let page = evaluate();
    assert!(
        page.windows(8).any(|eight| eight == b"Dear Ann"),
        "it is evaluated"
    );
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    evaluate();
    let ours = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(esi::parse_complete(&document).is_ok());
    let theirs = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!(
        "100 expressions: {ours} allocations to evaluate, {theirs} for the esi crate to parse"
    );
    let mut group = criterion.benchmark_group("evaluate/100 expressions");
    group.bench_function("ours, compiled once", |bencher| {
        bencher.iter(|| black_box(evaluate()));
    });
    group.bench_function("esi 0.7, parsing alone", |bencher| {
        bencher.iter(|| esi::parse_complete(black_box(&document)).is_ok());
    });
    group.finish();
}

fn evaluated(composer: &Composer, template: &Arc<Template>, facts: &Arc<RequestFacts>) -> Bytes {
    let skeleton = Skeleton {
        template: Arc::clone(template),
        url: Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL")),
        deadline: Deadline::after(Duration::from_secs(60)),
        reservation: None,
    };
    let watcher: Arc<dyn Watcher> = Arc::new(Unwatched);
    let composed = composer
        .compose(skeleton, Nothing(Arc::clone(facts)), watcher)
        .now_or_never();
    let composed = composed
        .expect("nothing is waited for")
        .expect("nothing fails");
    composed.body.as_full().expect("all is at hand").clone()
}

/// Pages of one megabyte each, made to be slow, beside an honest one.
fn hostile(criterion: &mut Criterion) {
    const SIZE: usize = 1 << 20;
    let fill = |piece: &str| piece.repeat(SIZE / piece.len());
    let nested = format!(
        "{}{}",
        "<esi:vars>".repeat(10_000),
        "x".repeat(SIZE - 100_000)
    );
    let rows = [
        ("honest", shop(SIZE)),
        ("<", fill("<")),
        ("<esi:", fill("<esi:")),
        ("10,000 nested elements", nested),
        ("unclosed quotes", fill("<esi:include src=\"")),
        ("$(", format!("<esi:vars>{}</esi:vars>", fill("$("))),
        ("$x(", format!("<esi:vars>{}</esi:vars>", fill("$x("))),
        (
            "$x( and a bracket now and then",
            format!(
                "<esi:vars>{}</esi:vars>",
                fill(&format!("{})", "$x(".repeat(2000)))
            ),
        ),
        ("<!--", fill("<!--")),
        ("<!--#", fill("<!--#if expr=\"")),
        ("<![CDATA[", fill("<![CDATA[")),
        ("<!--esi ", fill("<!--esi ")),
        ("</esi:vars>", fill("</esi:vars>")),
    ];
    let settings = Settings::default();
    let mut group = criterion.benchmark_group("hostile");
    group
        .throughput(Throughput::Bytes(SIZE as u64))
        .sample_size(10);
    for (name, page) in rows {
        let document = Bytes::from(page);
        group.bench_function(name, |bencher| {
            bencher.iter(|| compile(black_box(document.clone()), &settings));
        });
    }
    group.finish();
}

criterion_group!(benches, compiling, evaluating, hostile);
criterion_main!(benches);
