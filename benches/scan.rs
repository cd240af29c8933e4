//! Bytes per second of reading documents for tags: what a page of a bookshop costs, a page without tags, and pages made to
//! be slow. `memmem` over the same bytes is the yardstick: nobody finds tags faster than that.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use marquetry::template::{Settings, compile};
use memchr::memmem;

/// 20 KB of HTML with so many includes, evenly spread.
fn bookshop(includes: usize) -> String {
    const ROW: &str = "<li class=\"book\"><a href=\"/books/the-name-of-the-rose\"><img src=\"/covers/1.jpg\" alt=\"\"></a>\
        <p>A novel of monks, books &amp; murder, told by Adso of Melk in his old age.</p></li>\n";
    let rows = 20_000 / ROW.len();
    let mut page = String::from(
        "<!doctype html><html><head><!-- head --><title>Books</title></head><body><ul>\n",
    );
    for row in 0..rows {
        page.push_str(ROW);
        if includes > 0 && row % (rows / includes).max(1) == 0 {
            page.push_str("<esi:include src=\"/fragments/price/");
            page.push_str(&row.to_string());
            page.push_str(
                "\" onerror=\"continue\"/>
",
            );
        }
    }
    page.push_str("</ul></body></html>\n");
    page
}

fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("20 KB, 20 includes", bookshop(20)),
        ("20 KB, no tags", bookshop(0)),
        ("lone <", "<".repeat(20_000)),
        ("unclosed comments", "<!-- ".repeat(4_000)),
        ("unclosed tags", "<esi:include a=\"\" b='".repeat(1_000)),
        ("tags in values", "<esi:a b=\">\" c=".repeat(1_400)),
        ("unclosed text", "<esi:text>".repeat(2_000)),
        ("broken directives", "<!--#a b=\"".repeat(2_000)),
    ]
}

fn scan(criterion: &mut Criterion) {
    let settings = Settings::default();
    for (name, page) in pages() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(page.len() as u64));
        let document = Bytes::from(page.into_bytes());
        group.bench_function("memmem", |bencher| {
            bencher.iter(|| memmem::find_iter(black_box(&document), b"<esi:").count());
        });
        group.bench_function("compile", |bencher| {
            bencher.iter(|| compile(black_box(document.clone()), &settings));
        });
        group.finish();
    }
}

criterion_group!(benches, scan);
criterion_main!(benches);
