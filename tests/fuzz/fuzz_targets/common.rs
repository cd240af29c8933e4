//! What the targets share: a page composed with no fragment at hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use marquetry::compose::source::{Fetched, FragmentError, FragmentRequest, FragmentSource};
use marquetry::compose::url::Url;
use marquetry::compose::watch::Unwatched;
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Dialects, Settings, Template, compile};

/// How pages are read.
pub fn settings(dialects: Dialects) -> Settings {
    Settings { dialects, ..Settings::default() }
}

/// The template of a page.
pub fn compiled(page: &[u8], settings: &Settings) -> Arc<Template> {
    Arc::new(compile(Bytes::copy_from_slice(page), settings))
}

/// The page; none where it may fail (it is larger than a page may be).
pub fn composed(template: Arc<Template>) -> Option<Bytes> {
    let runtime = runtime_of_one();
    let _guard = runtime.enter();
    let skeleton = Skeleton {
        template,
        url: Arc::new(Url::new(false, b"www.example.com", b"/page?a=1").expect("a URL")),
        deadline: Deadline::after(Duration::from_secs(60)),
        reservation: None,
    };
    let composer = Composer::new(ComposeConfig::default());
    let composed = runtime.block_on(composer.compose(skeleton, Nothing, Arc::new(Unwatched))).ok()?;
    runtime.block_on(composed.body.collect(64 << 20)).ok()
}

fn runtime_of_one() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Every fragment fails.
struct Nothing;

impl FragmentSource for Nothing {
    type Policy = ();

    fn fetch(&self, _: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        Fetched::Now(Err(FragmentError::NoRoute))
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::default()
    }
}
