//! A source that writes down what is asked for. It never waits, so what happens at one include happens in one go: the request, its
//! failure, the request for its `alt`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::cli::compose::reports::Reports;
use crate::cli::compose::source::{Fragments, Offline};
use crate::compose::source::{
    Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource, Place,
};
use crate::compose::url::Url;
use crate::compose::watch::{Fallback, Watcher};
use crate::expr::RequestFacts;
use crate::template::memo::Memo;

/// What becomes of the fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Files are read; everything else is there, and empty.
    Given,
    /// All fail.
    Failing,
}

/// An include that was reached once.
#[derive(Debug, Clone)]
pub struct Asked {
    place: Place,
    /// None when it has no URL that could be asked for.
    pub request: Option<FragmentRequest>,
    /// The URL of its `alt`, where that was asked for too.
    pub alt: Option<String>,
    /// Why nothing can come of it: what is wrong with its URL, or the file that is not there.
    pub failure: Option<FragmentError>,
}

impl Asked {
    /// The URL whose fragment is shown.
    pub fn shown_url(&self) -> Option<String> {
        match (&self.alt, &self.failure) {
            (Some(alt), Some(_)) => Some(alt.clone()),
            _ => Some(self.request.as_ref()?.url.to_string()),
        }
    }
}

/// Writes down what is asked for.
#[derive(Clone)]
pub struct Recorder {
    source: Offline,
    run: Run,
    reports: Arc<Reports>,
    asked: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    asked: Vec<Asked>,
    /// The next request is for the `alt` of the last one.
    alt_is_next: bool,
}

impl Recorder {
    /// Nothing was asked for yet.
    pub fn new(source: Offline, run: Run, reports: Arc<Reports>) -> Self {
        Self {
            source,
            run,
            reports,
            asked: Arc::default(),
        }
    }

    /// The URLs of the documents that asked, in order of asking, and of those that hold no include.
    pub fn documents(&self) -> Vec<String> {
        let mut urls = vec![self.source.client.url.to_string()];
        let log = self.log();
        let held = log
            .asked
            .iter()
            .map(|asked| asked.place.document.to_string());
        let brought = log.asked.iter().filter_map(Asked::shown_url);
        for url in held.chain(brought) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }

    /// What the tag at `offset` of a document asked for.
    pub fn at(&self, document: &str, offset: usize) -> Vec<Asked> {
        let log = self.log();
        let here = |asked: &&Asked| {
            asked.place.offset == offset && asked.place.document.as_str() == document
        };
        log.asked.iter().filter(here).cloned().collect()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &FragmentRequest) -> Result<Fragment<()>, FragmentError> {
        if self.run == Run::Failing {
            return Err(FragmentError::Status(503));
        }
        if let Fragments::Folder(_) = &self.source.fragments
            && let Fetched::Now(answer) = self.source.fetch(request.clone(), None)
        {
            return answer;
        }
        Ok(Fragment {
            status: 200,
            // Not empty: an empty fragment would be replaced by its stub.
            body: Bytes::from_static(b" "),
            template: None,
            policy: (),
            set_cookies: Vec::new(),
            reservation: None,
        })
    }
}

impl FragmentSource for Recorder {
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        let answer = self.answer(&request);
        let mut log = self.log();
        let is_alt = std::mem::take(&mut log.alt_is_next);
        match log.asked.last_mut() {
            Some(last) if is_alt => last.alt = Some(request.url.to_string()),
            _ => log.asked.push(Asked {
                place: request.place.clone(),
                request: Some(request),
                alt: None,
                failure: answer.as_ref().err().cloned(),
            }),
        }
        Fetched::Now(answer)
    }

    fn request(&self) -> Arc<RequestFacts> {
        self.source.request()
    }
}

impl Watcher for Recorder {
    fn template_error(&self, place: &Place, error: &dyn std::fmt::Display) {
        self.reports.template_error(place, error);
    }

    fn fragment_failed(
        &self,
        place: &Place,
        url: Option<&Url>,
        error: &FragmentError,
        fallback: Fallback,
    ) {
        self.reports.fragment_failed(place, url, error, fallback);
        let mut log = self.log();
        let unsent = matches!(
            error,
            FragmentError::NoUrl
                | FragmentError::Url(_)
                | FragmentError::Depth(_)
                | FragmentError::Ancestor
                | FragmentError::TooMany(_)
        );
        // The `alt` of an include that was asked for may be what cannot be asked for.
        let was_alt = std::mem::take(&mut log.alt_is_next);
        if unsent && !was_alt {
            log.asked.push(Asked {
                place: place.clone(),
                request: None,
                alt: None,
                failure: Some(error.clone()),
            });
        }
        log.alt_is_next = fallback == Fallback::Alt;
    }
}
