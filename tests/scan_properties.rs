//! Properties of reading and composing documents that hold for any bytes: what holds no tag comes out unchanged, nothing panics,
//! output is the same however a document was cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use marquetry::compose::source::{
    Fetched, Fragment, FragmentError, FragmentRequest, FragmentSource,
};
use marquetry::compose::url::Url;
use marquetry::compose::watch::Unwatched;
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::{Escape, RequestFacts};
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Compiler, Settings, Template, compile};
use proptest::prelude::*;

/// Every include shows its path; those of odd length fail. At hand, or after as many polls as the next of these numbers says.
#[derive(Default)]
struct Echo(Option<Mutex<Vec<u8>>>);

impl Echo {
    fn late(delays: &[u8]) -> Self {
        Self(Some(Mutex::new(delays.to_vec())))
    }

    fn delay(&self) -> Option<u8> {
        let mut delays = self.0.as_ref()?.lock().expect("delays");
        delays.rotate_left(1);
        Some(delays.last().copied().unwrap_or_default())
    }
}

impl FragmentSource for Echo {
    type Policy = ();

    fn fetch(&self, request: FragmentRequest, _: Option<&Memo>) -> Fetched<()> {
        let path = request.url.path().to_owned();
        let answer = if path.len() % 2 == 1 {
            Err(FragmentError::Status(500))
        } else {
            // Documents that are included once more hold an include themselves.
            let template = (path == "/doc").then(|| {
                let body =
                    Bytes::from_static(b"[<esi:include src=\"/b\"/>$(v)<!--#echo var=\"s\" -->]");
                Arc::new(compile(body, &Settings::default()))
            });
            Ok(Fragment {
                status: 200,
                body: path.into(),
                template,
                policy: (),
                set_cookies: Vec::new(),
                reservation: None,
            })
        };
        match self.delay() {
            None => Fetched::Now(answer),
            Some(polls) => Fetched::Later {
                expected: None,
                fragment: Box::pin(async move {
                    for _ in 0..polls {
                        tokio::task::yield_now().await;
                    }
                    answer
                }),
            },
        }
    }

    fn request(&self) -> Arc<RequestFacts> {
        Arc::new(RequestFacts {
            query: "a=1&b=<2>".into(),
            ..RequestFacts::default()
        })
    }
}

/// The page, when it does not fail.
fn composed(template: Template, source: Echo) -> Option<Bytes> {
    let composer = Composer::new(ComposeConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let at_hand = source.0.is_none();
    runtime.block_on(async {
        let skeleton = Skeleton {
            template: Arc::new(template),
            url: Arc::new(Url::new(false, b"www.example.com", b"/page?a=1").expect("a URL")),
            deadline: Deadline::after(Duration::from_secs(60)),
            reservation: None,
        };
        let composing = composer.compose(skeleton, source, Arc::new(Unwatched));
        // What is at hand makes no page wait.
        let composed = if at_hand {
            composing.now_or_never().expect("nothing to wait for")
        } else {
            composing.await
        };
        let body = composed.ok()?.body;
        if at_hand {
            assert!(body.as_full().is_some(), "a body in one piece");
        }
        body.collect(usize::MAX).await.ok()
    })
}

fn settings(escape: Escape) -> Settings {
    Settings {
        escape,
        ..Settings::default()
    }
}

/// Pieces of which hostile documents are made.
const TAGS: &[&str] = &[
    "<esi:include src=\"/a\"/>",
    "<esi:include src=\"/ab\" alt=\"/b\"/>",
    "<esi:include src=\"/doc\"/>",
    "<esi:include src=\"/b\"/>",
    "<esi:include src='/ab' alt=/c onerror=continue>",
    "<esi:include src=\\\"\\/x\\\"\\/>",
    "<esi:",
    "</esi:",
    "<esi:vars>",
    "</esi:vars>",
    "<esi:vars name=\"$(QUERY_STRING{a})\"/>",
    "$(QUERY_STRING{b})",
    "<esi:choose>",
    "</esi:choose>",
    "<esi:when test=\"$(QUERY_STRING{a}) == 1\">",
    "<esi:when test=\"!\">",
    "</esi:when>",
    "<esi:otherwise>",
    "</esi:otherwise>",
    "<esi:try>",
    "</esi:try>",
    "<esi:attempt>",
    "</esi:attempt>",
    "<esi:except>",
    "</esi:except>",
    "<esi:remove>",
    "</esi:remove>",
    "<esi:comment text=\"x\"/>",
    "<esi:text>",
    "</esi:text>",
    "<esi:assign name=\"v\" value=\"1 + 1\"/>",
    "<esi:assign name=\"v\">",
    "</esi:assign>",
    "$(v)",
    "$f('x')",
    "$f(",
    "<esi:function name=\"f\">",
    "</esi:function>",
    "<esi:return value=\"$(ARGS{0})\"/>",
    "<esi:break/>",
    "<esi:foreach collection=\"[1..3]\" item=\"i\">",
    "</esi:foreach>",
    "$(i)",
    "<esi:inline name=\"/ab\">",
    "</esi:inline>",
    "<esi:eval src=\"/ab\"/>",
    "<esi:eval src=\"/ab\" dca=\"esi\"/>",
    "<esi:unknown>",
    "</esi:unknown>",
    "<!--esi ",
    "<!--esi-->",
    "-->",
    "<!--",
    "<!---->",
    "<!-->",
    "<![CDATA[",
    "]]>",
    "<!--#",
    "<!--#include virtual=\"/a\" -->",
    "<!--#include virtual=\"/ab\" set=\"s\" -->",
    "<!--#include virtual=\"/a\" stub=\"b\" wait=\"yes\" -->",
    "<!--#block name=\"b\" -->",
    "<!--#endblock -->",
    "<!--#if expr=\"$arg_a = 1\" -->",
    "<!--#if expr=\"$s\" -->",
    "<!--#elif expr=\"(\" -->",
    "<!--#else -->",
    "<!--#endif -->",
    "<!--#echo var=\"s\" -->",
    "<!--#set var=\"s\" value=\"$s.\" -->",
    "<!--#config errmsg=\"E\" -->",
    "\"",
    "'",
    "\\",
    "=",
    ">",
    "<",
    "/>",
    " ",
    "$(",
    "a",
    "\u{fc}",
    "{\"k\": \"",
];

fn shard() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::sample::select(TAGS).prop_map(|tag| tag.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// A document, shown as text when it fails.
struct Document(Vec<u8>);

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

fn document() -> impl Strategy<Value = Document> {
    prop::collection::vec(shard(), 0..40).prop_map(|shards| Document(shards.concat()))
}

proptest! {
    #[test]
    fn bytes_without_tags_come_out_unchanged(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assume!(![&b"<esi:"[..], b"</esi:", b"<!--esi", b"<!--#"].iter().any(|opener| memchr::memmem::find(&bytes, opener).is_some()));
        let template = compile(bytes.clone().into(), &settings(Escape::Html));
        prop_assert!(!template.has_tags());
        prop_assert_eq!(template.issues(), &[]);
        prop_assert_eq!(composed(template, Echo::default()), Some(bytes.into()));
    }

    #[test]
    fn any_document_composes_without_waiting(Document(bytes) in document(), json in any::<bool>()) {
        let escape = if json { Escape::Json } else { Escape::Html };
        let template = compile(bytes.into(), &settings(escape));
        prop_assert!(composed(template, Echo::default()).is_some());
    }

    #[test]
    fn no_cut_changes_a_template(Document(bytes) in document(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = compile(bytes.clone().into(), &settings(Escape::Html));
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut compiler = Compiler::new(settings(Escape::Html));
        let mut from = 0;
        for place in places {
            compiler.feed(&bytes[from..place]);
            from = place;
        }
        compiler.feed(&bytes[from..]);
        let split = compiler.finish();
        prop_assert_eq!(split.issues(), whole.issues());
        prop_assert_eq!(composed(split, Echo::default()), composed(whole, Echo::default()));
    }

    #[test]
    fn what_comes_late_makes_the_same_page(Document(bytes) in document(), delays in prop::collection::vec(0..6_u8, 1..8)) {
        let at_hand = composed(compile(bytes.clone().into(), &settings(Escape::Html)), Echo::default());
        let late = composed(compile(bytes.into(), &settings(Escape::Html)), Echo::late(&delays));
        prop_assert_eq!(late, at_hand);
    }

    #[test]
    fn issues_stand_inside_the_document(Document(bytes) in document()) {
        let template = compile(bytes.clone().into(), &settings(Escape::Html));
        for issue in template.issues() {
            prop_assert!(issue.offset <= bytes.len());
        }
    }
}
