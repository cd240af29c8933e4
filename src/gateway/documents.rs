//! Which answers are documents (composed), and what is made of one: decoded bytes and a compiled template, kept with the
//! stored object so that a hit neither decodes nor parses.

use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use memchr::memmem;

use crate::cache::object::{Attachment, Object};
use crate::compose::Composer;
use crate::config::{ComposeConfig, ComposeMode, RouteConfig};
use crate::fetch::Prepare;
use crate::gateway::coding::{self, DecodeError};
use crate::message::headers;
use crate::observe::metrics::RouteMetrics;
use crate::template::{self, Template};

/// A body as the composer wants it.
#[derive(Debug, Clone)]
pub struct Document {
    /// Decoded.
    pub body: Bytes,
    /// Compiled, where the answer is a document that may hold tags.
    pub template: Option<Arc<Template>>,
    /// What its reader was told; another one, after a reload, reads it anew.
    reader: u64,
}

/// Whether a body may hold a tag of any dialect, however it is written: each has one of these in its opener, and most fragments have neither.
fn may_hold_tags(body: &[u8]) -> bool {
    static NAME: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("esi:"));
    static MARKUP: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("<!"));
    NAME.find(body).is_some() || MARKUP.find(body).is_some()
}

/// What the words of a [`DecodeError`] may need, about, in bytes.
const LONGEST_ERROR: usize = 256;

/// Kept in place of a document that cannot be decoded, so that it is not tried again at each hit.
#[derive(Debug)]
struct Undecodable {
    error: DecodeError,
    /// As of a [`Document`].
    reader: u64,
}

/// Reads the documents of one route.
pub struct Documents {
    mode: ComposeMode,
    types: Vec<String>,
    settings: template::Settings,
    /// Largest document, decoded, in bytes.
    limit: usize,
    /// Tells readers apart that would read a document differently.
    identity: u64,
    name: String,
    metrics: RouteMetrics,
    /// Whether it has been logged that an answer holds tags that nobody declared.
    told: AtomicBool,
}

impl Documents {
    /// The reader for a route.
    pub fn new(
        route: &RouteConfig,
        compose: &ComposeConfig,
        composer: &Composer,
        metrics: RouteMetrics,
    ) -> Self {
        let settings = composer.settings("text/html", route.dialects);
        let limit = compose.max_document.as_usize();
        let mut hasher = DefaultHasher::new();
        format!(
            "{:?} {:?} {settings:?} {limit}",
            route.compose, compose.types
        )
        .hash(&mut hasher);
        Self {
            mode: route.compose,
            types: compose.types.clone(),
            settings,
            limit,
            identity: hasher.finish(),
            name: route.name.clone(),
            metrics,
            told: AtomicBool::new(false),
        }
    }

    /// Whether an answer is a document (language reference, section 1).
    pub fn is_document(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let wanted = match self.mode {
            ComposeMode::Off => false,
            ComposeMode::Always => true,
            ComposeMode::Declared => headers::declares_composition(headers),
        };
        wanted && self.could_be(status, headers)
    }

    /// Whether an answer would be a document if it were declared, and is not.
    pub fn is_undeclared(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.mode == ComposeMode::Declared
            && self.could_be(status, headers)
            && !headers::declares_composition(headers)
    }

    fn could_be(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        status == StatusCode::OK
            && headers::has_media_type(headers, &self.types)
            && (!coding::is_encoded(headers) || coding::is_readable(headers))
    }

    /// Compiles decoded bytes of this type, whatever its route says (`dca="esi"`).
    pub fn compile(&self, headers: &HeaderMap, body: Bytes) -> Arc<Template> {
        let media_type = headers::media_type(headers).unwrap_or_default();
        let settings = template::Settings {
            escape: template::escape_of(&media_type),
            ..self.settings.clone()
        };
        Arc::new(template::compile(body, &settings))
    }

    /// Decodes a body and, where it is a document that may hold tags, compiles it.
    ///
    /// # Errors
    /// What cannot be decoded.
    pub fn read(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Document, DecodeError> {
        let body = coding::decode(headers, body, self.limit)?;
        let template = (may_hold_tags(&body) && self.is_document(status, headers))
            .then(|| self.compile(headers, body.clone()));
        Ok(Document {
            body,
            template,
            reader: self.identity,
        })
    }

    /// The document of a stored object: what was made of it when it was stored, else made now.
    ///
    /// # Errors
    /// What cannot be decoded.
    pub fn of(&self, object: &Object) -> Result<Document, DecodeError> {
        if let Some(document) = self.known(object) {
            return Ok(document.clone());
        }
        let undecodable = object
            .attachment
            .as_ref()
            .and_then(|attachment| attachment.value.downcast_ref::<Undecodable>());
        match undecodable {
            Some(known) if known.reader == self.identity => return Err(known.error.clone()),
            _ => {}
        }
        self.read(object.status, &object.headers, &object.body)
    }

    /// The document of a stored object, where one was made of it when it was stored.
    pub fn known<'o>(&self, object: &'o Object) -> Option<&'o Document> {
        let attachment = object.attachment.as_ref()?;
        let document = attachment.value.downcast_ref::<Document>()?;
        (document.reader == self.identity).then_some(document)
    }

    /// An answer that passes undeclared holds these bytes: tags among them are counted, and told once a route.
    pub fn notice_undeclared(&self, bytes: &[u8]) -> bool {
        let esi = self.settings.dialects.esi && memmem::find(bytes, b"<esi:").is_some();
        let ssi = self.settings.dialects.ssi && memmem::find(bytes, b"<!--#").is_some();
        if !esi && !ssi {
            return false;
        }
        self.metrics.undeclared();
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                route = %self.name,
                "an answer holds tags and does not declare them, so it passes as it is: let the application send \
                 `Surrogate-Control: content=\"ESI/1.0\"`, or set `compose = \"always\"` on this route"
            );
        }
        true
    }
}

impl Prepare for Documents {
    /// A document is composed, and for that read whole.
    fn wants_whole(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.is_document(status, headers)
    }

    fn prepare(&self, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Option<Attachment> {
        if self.is_undeclared(status, headers) {
            self.notice_undeclared(body);
        }
        if !self.is_document(status, headers) {
            return None;
        }
        let document = match self.read(status, headers, body) {
            Ok(document) => document,
            Err(error) => {
                // Whoever wants to use it tells.
                let value = Undecodable {
                    error,
                    reader: self.identity,
                };
                return Some(Attachment {
                    weight: size_of::<Undecodable>() + LONGEST_ERROR,
                    value: Arc::new(value),
                });
            }
        };
        let decoded = if coding::is_encoded(headers) {
            document.body.len()
        } else {
            0
        };
        let compiled = document
            .template
            .as_ref()
            .map_or(0, |template| template.weight());
        let value: Arc<dyn Any + Send + Sync> = Arc::new(document);
        Some(Attachment {
            value,
            weight: decoded + compiled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::epochs::Labels;
    use crate::cache::object::tests::object_for;
    use crate::compose::coder::Coder;
    use crate::gateway::gzip::Gzip;
    use crate::observe::Observer;
    use crate::observe::access_log::AccessLog;
    use bytes::BytesMut;
    use http::HeaderValue;
    use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

    fn documents(limit: &str) -> Documents {
        let compose = ComposeConfig {
            max_document: crate::config::size::ByteSize::parse(limit).expect("a size"),
            ..ComposeConfig::default()
        };
        let mut route = RouteConfig::new("app");
        route.compose = ComposeMode::Always;
        let observer = Observer::new(AccessLog::Off);
        let composer = Composer::new(compose.clone());
        Documents::new(&route, &compose, &composer, observer.route("/"))
    }

    #[tokio::test]
    async fn what_cannot_be_decoded_is_tried_once() {
        let documents = documents("1MiB");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let broken = Bytes::from_static(b"not gzip");
        let attachment = documents.prepare(StatusCode::OK, &headers, &broken);
        let mut object = object_for(&[], &[("cache-control", "max-age=60")], Labels::default());
        object.headers.extend(headers);
        object.attachment = attachment;
        // Had it to be decoded again it would be found good.
        let (mut gzip, mut encoded) = (Gzip::new(), BytesMut::new());
        gzip.apart(b"good", &mut encoded);
        gzip.finish(&mut encoded);
        object.body = encoded.freeze();
        assert!(matches!(
            documents.of(&object),
            Err(DecodeError::Broken { .. })
        ));
        object.attachment = None;
        assert_eq!(documents.of(&object).expect("it is good").body, "good");
        // Another reader, after a reload, looks for itself.
        object.attachment = documents.prepare(StatusCode::OK, &object.headers, &broken);
        let later = self::documents("2MiB");
        assert_eq!(later.of(&object).expect("it is good").body, "good");
    }
}
