//! What composing costs when every fragment is at hand: a 20 KB page with 1, 5, 20 and 100 includes, against copying the same
//! bytes once.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures::FutureExt;
use marquetry::compose::source::{Fetched, Fragment, FragmentRequest, FragmentSource};
use marquetry::compose::url::Url;
use marquetry::compose::watch::{Unwatched, Watcher};
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Settings, Template, compile};

#[derive(Clone)]
struct AtHand(Bytes);

impl FragmentSource for AtHand {
    type Policy = u32;

    fn fetch(&self, _: FragmentRequest, _: Option<&Memo>) -> Fetched<u32> {
        Fetched::Now(Ok(Fragment {
            status: 200,
            body: self.0.clone(),
            template: None,
            policy: 0,
            set_cookies: Vec::new(),
            reservation: None,
        }))
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::default()
    }
}

fn page(includes: usize) -> Arc<Template> {
    let text = "<p>text between two fragments</p>".repeat(600 / (includes + 1));
    let mut page = text.clone();
    for include in 0..includes {
        page.push_str("<esi:include src=\"/fragments/");
        page.push_str(&include.to_string());
        page.push_str("\"/>");
        page.push_str(&text);
    }
    Arc::new(compile(page.into(), &Settings::default()))
}

fn compose(criterion: &mut Criterion) {
    let composer = Composer::new(ComposeConfig::default());
    let source = AtHand(Bytes::from("<b>fragment</b>".repeat(20)));
    let url = Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL"));
    let watcher: Arc<dyn Watcher> = Arc::new(Unwatched);
    // Nothing waits, but deadlines are instants of the runtime's clock.
    let deadline = Deadline::after(Duration::from_secs(86_400));
    let mut group = criterion.benchmark_group("compose");
    for includes in [1, 5, 20, 100] {
        let template = page(includes);
        let composed = || {
            let skeleton = Skeleton {
                template: Arc::clone(&template),
                url: Arc::clone(&url),
                deadline,
                reservation: None,
            };
            composer
                .compose(skeleton, source.clone(), Arc::clone(&watcher))
                .now_or_never()
                .expect("at hand")
                .expect("a page")
        };
        group.bench_function(BenchmarkId::new("includes", includes), |bencher| {
            bencher.iter(|| black_box(composed()));
        });
        let whole = composed().body.as_full().expect("one piece").clone();
        group.bench_function(BenchmarkId::new("copy", includes), |bencher| {
            bencher.iter(|| {
                let mut copy = BytesMut::with_capacity(whole.len());
                copy.extend_from_slice(black_box(&whole));
                copy.freeze()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, compose);
criterion_main!(benches);
