//! The composer as a library: a page and its fragments from a map, no sockets.
//!
//! ```text
//! cargo run --example compose_in_process
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use marquetry::compose::source::{
    Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource,
};
use marquetry::compose::url::Url;
use marquetry::compose::watch::Unwatched;
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::{ComposeConfig, Dialects};
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::{compile, memo::Memo};

const PAGE: &str = r#"<html><body>
<esi:include src="/header"/>
<esi:vars><p>Hello $(HTTP_COOKIE{name}|'guest')!</p></esi:vars>
<esi:try>
  <esi:attempt><esi:include src="/offers/$(QUERY_STRING{genre})"/></esi:attempt>
  <esi:except><p>No offers today.</p></esi:except>
</esi:try>
<esi:remove><p>This page needs an edge.</p></esi:remove>
</body></html>"#;

/// Gives what stands in the map; whatever does not is a 404.
struct Shelf(HashMap<&'static str, &'static str>);

impl FragmentSource for Shelf {
    /// Nothing here decides about caching.
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        let body = self.0.get(request.url.path()).copied();
        Fetched::Now(match body {
            Some(body) => Ok(Fragment {
                status: 200,
                body: Bytes::from_static(body.as_bytes()),
                template: None,
                policy: (),
                set_cookies: Vec::new(),
                reservation: None,
            }),
            None => Err(FragmentError::Status(404)),
        })
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::new(RequestFacts {
            query: "genre=poetry".into(),
            cookies: vec![("name".into(), "Ann <3".into())],
            ..RequestFacts::default()
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let composer = Composer::new(ComposeConfig::default());
    let both = Dialects {
        esi: true,
        ssi: true,
    };
    let template = compile(
        Bytes::from_static(PAGE.as_bytes()),
        &composer.settings("text/html", both),
    );
    let skeleton = Skeleton {
        template: Arc::new(template),
        url: Arc::new(Url::new(false, b"www.example.com", b"/shop?genre=poetry")?),
        deadline: Deadline::after(Duration::from_secs(5)),
        reservation: None,
    };
    let shelf = Shelf(HashMap::from([
        ("/header", "<h1>Bookshop</h1>"),
        ("/offers/poetry", "<p>Sonnets, half price.</p>"),
    ]));
    let composed = composer
        .compose(skeleton, shelf, Arc::new(Unwatched))
        .await?;
    let page = composed.body.collect(1 << 20).await?;
    println!("{}", String::from_utf8_lossy(&page));
    Ok(())
}
