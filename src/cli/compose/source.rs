//! The fragment source of the bench: from files, from a server, or from nowhere; every fragment of a type that is composed is a
//! document.

use std::sync::Arc;

use bytes::Bytes;

use crate::cli::compose::client::Client;
use crate::cli::compose::folder::Folder;
use crate::cli::compose::media;
use crate::cli::compose::reports::{Known, Reports};
use crate::cli::compose::server::{Answer, Server};
use crate::compose::Composer;
use crate::compose::source::{
    Dca, Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource,
};
use crate::config::{ComposeConfig, Dialects};
use crate::expr::RequestFacts;
use crate::message::deadline::Deadline;
use crate::message::headers;
use crate::template::memo::Memo;
use crate::template::{self, Template};

/// U+FEFF at the front of a file: it belongs to the file, not to the page that shows it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where fragments come from.
#[derive(Clone)]
pub enum Fragments {
    /// The command line does not say.
    Nowhere,
    /// Files.
    Folder(Folder),
    /// A server.
    Server(Server),
}

/// Gives the fragments of one page.
#[derive(Clone)]
pub struct Offline {
    /// Whose request it is.
    pub client: Arc<Client>,
    /// Where they come from.
    pub fragments: Fragments,
    /// Knows how documents are compiled.
    pub composer: Composer,
    /// The bounds and types of documents.
    pub config: ComposeConfig,
    /// Which tags are seen.
    pub dialects: Dialects,
    /// Hears of each document, so that places in it can be told.
    pub reports: Arc<Reports>,
}

impl FragmentSource for Offline {
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        match &self.fragments {
            Fragments::Nowhere => Fetched::Now(Err(FragmentError::Broken(
                "neither --fragments nor --upstream says where fragments are".to_owned(),
            ))),
            Fragments::Folder(folder) => Fetched::Now(self.read(folder, &request)),
            Fragments::Server(server) => Fetched::Later {
                expected: None,
                fragment: Box::pin(self.clone().ask(server.clone(), request)),
            },
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::new(self.client.facts())
    }
}

impl Offline {
    fn read(
        &self,
        folder: &Folder,
        request: &FragmentRequest,
    ) -> Result<Fragment<()>, FragmentError> {
        let limit = self.config.max_document.as_u64();
        let found = folder.find(&request.url, &self.client.url, limit)?;
        let media_type = media::of_name(&found.label);
        let body = without_mark(found.body);
        let template = self.document(request, found.label, media_type, &body);
        Ok(fragment(200, body, template))
    }

    async fn ask(
        self,
        server: Server,
        request: FragmentRequest,
    ) -> Result<Fragment<()>, FragmentError> {
        let fields = self.client.fragment_fields(&request);
        let limit = self.config.max_document.as_usize();
        let time = request.max_wait.unwrap_or(self.config.fragment_timeout);
        let deadline = Deadline::after(time);
        let answer = server.ask(request.clone(), fields, limit, deadline).await?;
        let Answer {
            status,
            headers,
            body,
        } = answer;
        if !(200..300).contains(&status) {
            return Err(FragmentError::Status(status));
        }
        let media_type = headers::media_type(&headers).unwrap_or_default();
        let body = without_mark(body);
        let composed = status == 200 || request.dca == Dca::Esi;
        let label = request.url.to_string();
        let template = composed.then(|| self.document(&request, label, &media_type, &body));
        Ok(fragment(status, body, template.flatten()))
    }

    /// The template of a fragment that is a document.
    fn document(
        &self,
        request: &FragmentRequest,
        label: String,
        media_type: &str,
        body: &Bytes,
    ) -> Option<Arc<Template>> {
        let composed = match request.dca {
            Dca::None => false,
            Dca::Esi => true,
            Dca::Declared => self.config.types.iter().any(|known| known == media_type),
        };
        composed.then(|| {
            let settings = self.composer.settings(media_type, self.dialects);
            let template = Arc::new(template::compile(body.clone(), &settings));
            let known = Known {
                label,
                template: Arc::clone(&template),
            };
            self.reports.documents.put(&request.url, known);
            template
        })
    }
}

fn fragment(status: u16, body: Bytes, template: Option<Arc<Template>>) -> Fragment<()> {
    Fragment {
        status,
        body,
        template,
        policy: (),
        set_cookies: Vec::new(),
        reservation: None,
    }
}

fn without_mark(body: Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.slice(BYTE_ORDER_MARK.len()..)
    } else {
        body
    }
}
