//! What composition knows of the documents of one page: the texts being evaluated, and the variables that go with them.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use crate::compose::url::Url;
use crate::expr::{Escape, Scope};
use crate::template::Template;
use crate::template::tree::Body;

/// The text of a page, a fragment, or a fragment brought by `eval`. Its URL is what references in it are relative to.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) template: Arc<Template>,
    pub(super) url: Arc<Url>,
    /// The text that includes this one.
    pub(super) parent: Option<usize>,
    /// The page is at depth 0.
    pub(super) depth: usize,
}

/// The variables and functions of a page or fragment; what `eval` brings shares those of the document that evaluates it.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// Taken out while an expression of the document is evaluated.
    pub(super) scope: Option<Scope>,
    /// Functions by name: the text that defines each, and its body there.
    pub(super) functions: Option<Arc<HashMap<Bytes, Code>>>,
    /// URLs that `inline` answers, and the lists that hold the content; the newest last.
    pub(super) inlines: Vec<(Arc<Url>, usize)>,
    pub(super) ssi: Ssi,
    pub(super) escape: Escape,
    pub(super) is_page: bool,
    /// Whether functions may change the response: in a page whose bytes name them.
    pub(super) writes_head: bool,
}

/// Nodes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) unit: usize,
    pub(super) body: Body,
}

/// The state of SSI in one document.
#[derive(Debug, Clone)]
pub(super) struct Ssi {
    /// Set by `#set`, names in lower case.
    pub(super) variables: Arc<HashMap<Bytes, Bytes>>,
    /// Their names and values together, in bytes.
    pub(super) size: usize,
    /// The groups of the last match: by number and by name.
    pub(super) groups: Arc<HashMap<Bytes, Bytes>>,
    /// `errmsg`.
    pub(super) message: Bytes,
    /// `timefmt`.
    pub(super) time_format: Bytes,
    /// The blocks by name.
    pub(super) blocks: Arc<HashMap<Bytes, Code>>,
}

const MESSAGE: &[u8] = b"[an error occurred while processing the directive]";
const TIME_FORMAT: &[u8] = b"%A, %d-%b-%Y %H:%M:%S %Z";

/// The state of most documents, shared until one of them uses SSI.
static UNTOUCHED: LazyLock<Ssi> = LazyLock::new(|| Ssi {
    variables: Arc::default(),
    size: 0,
    groups: Arc::default(),
    message: Bytes::from_static(MESSAGE),
    time_format: Bytes::from_static(TIME_FORMAT),
    blocks: Arc::default(),
});

impl Ssi {
    /// The state at the start of a page.
    pub(super) fn new(silent_errors: bool) -> Self {
        let mut ssi = UNTOUCHED.clone();
        if silent_errors {
            ssi.message = Bytes::new();
        }
        ssi
    }

    /// The state with which a fragment starts: a copy of the variables and the error message, and nothing else.
    pub(super) fn inherited(&self) -> Self {
        Self {
            variables: Arc::clone(&self.variables),
            size: self.size,
            message: self.message.clone(),
            ..UNTOUCHED.clone()
        }
    }

    /// Sets a variable; false when all together would be larger than `limit` bytes.
    pub(super) fn set(&mut self, name: &Bytes, value: Bytes, limit: usize) -> bool {
        let former = self
            .variables
            .get(name)
            .map_or(0, |value| name.len() + value.len());
        let size = self.size - former + name.len() + value.len();
        if size > limit {
            return false;
        }
        self.size = size;
        Arc::make_mut(&mut self.variables).insert(name.clone(), value);
        true
    }
}
