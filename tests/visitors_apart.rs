//! Whatever is remembered of pages and fragments, each visitor sees what he would see if nothing were: every way to write an include,
//! in every place where it may stand, asked for by visitors in turns who differ in cookies, queries, fields, hosts and codings, is held
//! against a gateway that stores nothing. And what a head lets others keep is the same for all whom it names.

mod support;

use std::collections::HashMap;

use support::{Answer, Ask, Gateway, Origin, Recorded, Reply, Setup, ask};

/// Ways to ask for a fragment, each with what it depends on.
const INCLUDES: &[&str] = &[
    // The URL.
    "<esi:include src='/open/a'/>",
    "<esi:include src='/open/$(HTTP_COOKIE{user}|none)'/>",
    "<esi:include src='/open/a?x=$(QUERY_STRING{q})'/>",
    "<esi:include src='/open/$(HTTP_X_GROUP)'/>",
    "<esi:include src='/open/$(HTTP_HOST)'/>",
    "<esi:include src='rel/a'/>",
    "<esi:include src='http://$(HTTP_HOST)/host'/>",
    "<esi:include src='/host'/>",
    "<esi:include src='http://static.example.com/host'/>",
    "<esi:include src='http://static.example.com/document/back'/>",
    "<esi:include src='/gone' alt='/open/$(HTTP_COOKIE{user}|none)'/>",
    "<esi:include src='$(QUERY_STRING{q})' alt='/open/alt'/>",
    // The request.
    "<esi:include src='/language'/>",
    "<esi:include src='/group'/>",
    "<esi:include src='/guest'/>",
    "<esi:include src='/me'/>",
    "<esi:include src='/cookieless/guest'/>",
    "<esi:include src='/group' setheader='X-Group: $(HTTP_COOKIE{user})'/>",
    "<esi:include src='/group' setheader='$(HTTP_COOKIE{user})'/>",
    "<esi:include src='/group' setheader='X-Group: $url_decode($(QUERY_STRING{q}))'/>",
    "<esi:include src='/group' appendheader='X-Group: $(HTTP_COOKIE{user})'/>",
    "<esi:include src='/group' removeheader='X-Group'/>",
    "<esi:include src='/group' removeheader='$(HTTP_COOKIE{user})'/>",
    "<esi:include src='/open/post' method='POST' entity='$(HTTP_COOKIE{user})'/>",
    "<esi:include src='/guest' no-store='on'/>",
    "<esi:include src='/guest' ttl='1h'/>",
    "<esi:include src='/me' ttl='1h'/>",
    // The fragment is a document.
    "<esi:include src='/document/a?q=1'/>",
    "<esi:include src='/document/a?q=$(QUERY_STRING{q})'/>",
    "<esi:include src='/document/a?q=1' dca='none'/>",
    "<esi:include src='/document/a?q=2' dca='esi'/>",
    "<esi:eval src='/document/a?q=1'/>",
    "<esi:eval src='/document/a?q=2' dca='esi'/>",
    // SSI.
    "<!--#include virtual='/open/a'-->",
    "<!--#include virtual='/open/$cookie_user'-->",
    "<!--#include virtual='/open/a?$args'-->",
    "<!--#include virtual='/open/a' set='v'--><!--#echo var='v'-->",
    "<!--#set var='v' value='$cookie_user'--><!--#include virtual='/document/b?q=1'-->",
    "<!--#block name='s'-->$cookie_user<!--#echo var='cookie_user'--><!--#endblock--><!--#include virtual='/gone' stub='s'-->",
    "<!--#include virtual='/open/a' stub='s'-->",
];

/// Places where an include (`@`) stands; `+` is text that is long enough to be remembered by itself.
const PLACES: &[&str] = &[
    "<p>@</p>",
    "+<esi:include src='/open/b'/>@<esi:include src='/open/c'/>+",
    "<esi:try><esi:attempt>a@+</esi:attempt><esi:except>e</esi:except></esi:try>",
    "<esi:choose><esi:when test=\"$(HTTP_COOKIE{user}) == 'ann'\">ann<esi:include src='/open/b'/>@</esi:when>\
     <esi:otherwise>+@<esi:include src='/open/c'/></esi:otherwise></esi:choose>",
    "<!--#if expr='$cookie_user'-->@<!--#if expr='$cookie_user = bob'-->@<!--#endif-->+<!--#endif-->",
    "<esi:choose><esi:when test=\"$(QUERY_STRING{q}) == '1'\"><esi:try><esi:attempt>@+</esi:attempt></esi:try></esi:when></esi:choose>",
    "<esi:foreach collection='[1, 2]'>$(item)@</esi:foreach>+",
    "<esi:choose><esi:when test=\"$(HTTP_COOKIE{user}) == 'bob'\"><esi:inline name='/open/a'>inline</esi:inline></esi:when></esi:choose>@+",
    "<esi:inline name='/x'>@</esi:inline><esi:include src='/x'/>",
    "<esi:assign name='v'>@</esi:assign>+<esi:vars>$(v)</esi:vars>",
    "<esi:include src='/fragment/#?q=1'/>+",
    "<esi:include src='/fragment/#?q=$(QUERY_STRING{q})'/>",
    "<esi:eval src='/fragment/#'/>+",
];

fn text() -> String {
    "<i>text that stands on many pages</i> ".repeat(27)
}

/// An application that says of each answer truly whom it is for.
async fn site() -> Origin {
    let origin = Origin::start().await;
    let public = |body: String| Reply::html(body).header("Cache-Control", "public, max-age=600");
    let field = |request: &Recorded, name| request.head.first(name).unwrap_or("-").to_owned();
    let open = move |request: &Recorded| {
        let posted = String::from_utf8_lossy(&request.body).into_owned();
        public(format!("[{} {posted}]", request.target))
    };
    origin.answer("/open/*", open);
    for place in 0..PLACES.len() {
        origin.answer(&format!("/p/{place}/rel/*"), open);
    }
    origin.answer("/fragment/rel/*", open);
    origin.answer("/host", move |request| {
        let names = ["host", "x-forwarded-host", "x-forwarded-proto"];
        public(format!("{:?}", names.map(|name| field(request, name))))
    });
    for (target, name, vary) in [
        ("/language", "accept-language", "Accept-Language"),
        ("/group", "x-group", "X-Group"),
    ] {
        origin.answer(target, move |request| {
            let values = request.head.all(name).join(", ");
            public(format!("<{values}>")).header("Vary", vary)
        });
    }
    let credentials = move |request: &Recorded| {
        let names = ["cookie", "authorization"];
        format!("{:?}", names.map(|name| field(request, name)))
    };
    for guest in ["/guest", "/cookieless/guest"] {
        origin.answer(guest, move |request| {
            // One who has only `Authorization` may have it (RFC 9111 3.5 speaks of what is stored), so it does not depend on that.
            Reply::html(field(request, "cookie")).header("Cache-Control", "max-age=600")
        });
    }
    origin.answer("/me", move |request| {
        Reply::html(credentials(request)).header("Cache-Control", "private, max-age=600")
    });
    let document = "d<esi:include src='in'/>+<!--#echo var='arg_q'--><!--#include virtual='/open/$arg_q'-->\
        <!--#include virtual='/open/v$v'--><esi:include src='/group'/><esi:try><esi:attempt><esi:include src='/open/d'/></esi:attempt></esi:try>\
        <esi:choose><esi:when test=\"$(HTTP_COOKIE{user}) == 'ann'\"><esi:include src='/guest'/>+</esi:when></esi:choose>";
    let document = document.replace('+', &text());
    origin.on("/document/in", public("in".to_owned()));
    let back = "<esi:include src='http://www.example.com/host'/><esi:include src='/host'/>";
    origin.on("/document/back", public(back.to_owned()));
    for name in ["a", "b"] {
        origin.on(&format!("/document/{name}"), public(document.clone()));
    }
    for (number, include) in INCLUDES.iter().enumerate() {
        let fragment = format!("f{include}{}{include}", text());
        origin.on(&format!("/fragment/{number}"), public(fragment));
        for (place, written) in PLACES.iter().enumerate() {
            origin.on(
                &format!("/p/{place}/{number}"),
                public(page(written, number)),
            );
        }
    }
    origin
}

fn page(place: &str, include: usize) -> String {
    place
        .replace('+', &text())
        .replace('#', "\u{0}")
        .replace("<!--\u{0}", "<!--#")
        .replace('\u{0}', &include.to_string())
        .replace('@', INCLUDES[include])
}

async fn gateway(origin: &Origin, cache: bool) -> Gateway {
    let cache = format!("cache = {cache}\n");
    let always = format!("compose = \"always\"\n{cache}");
    let ignoring = format!("{always}ignore_query = [\"q\", \"utm_*\"]\n");
    Setup::new()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .compose("readable_cookies = [\"user\"]")
        .upstream("app", origin, "")
        .route("/", "app", &format!("compose = \"off\"\n{cache}"))
        .route("/p/", "app", &ignoring)
        .route("/fragment/", "app", &ignoring)
        .route("/document/", "app", &ignoring)
        .route(
            "/cookieless/",
            "app",
            &format!("{cache}forward_cookies = false"),
        )
        .start()
        .await
}

/// A visitor: his query, host and fields.
type Visitor = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const WWW: &str = "www.example.com";

const VISITORS: &[Visitor] = &[
    ("q=1", WWW, &[]),
    (
        "q=2",
        WWW,
        &[("Cookie", "user=ann"), ("Accept-Encoding", "gzip")],
    ),
    (
        "q=1&utm_a=2",
        WWW,
        &[("Cookie", "user=bob; s=1"), ("X-Group", "gold")],
    ),
    (
        "",
        WWW,
        &[("Accept-Language", "de"), ("Accept-Encoding", "br, gzip")],
    ),
    (
        "q=%0A",
        "shop.example.com",
        &[("X-Forwarded-Proto", "https"), ("Accept-Encoding", "gzip")],
    ),
    ("q=1", WWW, &[("X-Forwarded-Host", "a.example.com")]),
    (
        "q=1",
        WWW,
        &[("Authorization", "Basic YTpi"), ("X-Group", "silver")],
    ),
    (
        "q=/open/q",
        WWW,
        &[("Cookie", "user=X-Group: x"), ("Accept-Encoding", "gzip")],
    ),
];

fn asked(method: &str, path: &str, visitor: Visitor) -> Ask {
    let (query, host, fields) = visitor;
    let target = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    fields
        .iter()
        .fold(ask(method, &target).host(host), |asked, (name, value)| {
            asked.header(name, value)
        })
}

/// The plain text of an answer.
fn plain(answer: &Answer) -> String {
    let coding = answer.header("content-encoding").unwrap_or("identity");
    let coding = coding.parse().expect("a value");
    let headers = [(http::header::CONTENT_ENCODING, coding)]
        .into_iter()
        .collect();
    let decoded =
        marquetry::gateway::coding::decode(&headers, &answer.body.clone().into(), 1 << 24);
    let decoded = decoded.expect("it is what it says");
    String::from_utf8_lossy(&decoded).replace(&text(), "+")
}

/// Whether one whose answer has this head lets another visitor have it too, by its `Vary`.
fn may_keep_for(answer: &Answer, own: Visitor, other: Visitor) -> bool {
    let control = answer.header("cache-control").unwrap_or_default();
    let is_shared = ["private", "no-store"]
        .iter()
        .all(|word| !control.contains(word));
    let told = |visitor: Visitor, name: &str| {
        let mut fields = visitor.2.iter();
        let field = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| *value)
    };
    let same = |name: &str| told(own, name) == told(other, name);
    let vary = answer.header("vary").unwrap_or_default();
    let key = ["x-forwarded-host", "x-forwarded-proto"];
    // Without a word of its own it is for those without credentials (RFC 9111 3.5).
    let credentials = ["cookie", "authorization"];
    is_shared
        && (own.0, own.1) == (other.0, other.1)
        && key.into_iter().all(same)
        && vary.split(',').map(str::trim).all(same)
        && (control.contains("public") || credentials.into_iter().all(same))
}

/// Who of the visitors of a page comes when: some twice at once, so that what they see is remembered, and each after each.
const TURNS: &[usize] = &[0, 0, 0, 1, 2, 3, 1, 0, 2, 3];

/// Holds all includes at these places against what they are when nothing is stored.
async fn hold(places: std::ops::Range<usize>) {
    let origin = site().await;
    let (stores, stores_nothing) = (gateway(&origin, true).await, gateway(&origin, false).await);
    let (mut client, mut anew) = (stores.client().await, stores_nothing.client().await);
    let mut tags: HashMap<String, String> = HashMap::new();
    for (place, include) in
        places.flat_map(|place| (0..INCLUDES.len()).map(move |include| (place, include)))
    {
        let path = format!("/p/{place}/{include}");
        let what = || format!("{} in {}", INCLUDES[include], PLACES[place]);
        // Half of them for each page; all pairs meet somewhere.
        let visitors = [0, 3, 6, 9].map(|step| VISITORS[(place + include + step) % VISITORS.len()]);
        let mut wanted = Vec::new();
        for visitor in visitors {
            let answer = anew.fetch(&asked("GET", &path, visitor)).await;
            assert_eq!(answer.status, 200, "{}", what());
            wanted.push(plain(&answer));
        }
        for turn in TURNS {
            let visitor = visitors[*turn];
            let answer = client.fetch(&asked("GET", &path, visitor)).await;
            let text = plain(&answer);
            assert_eq!(text, wanted[*turn], "{} for {visitor:?}", what());
            for (other, wanted) in visitors.into_iter().zip(&wanted) {
                let fits = !may_keep_for(&answer, visitor, other) || text == *wanted;
                assert!(fits, "{} kept for {other:?}: {answer:?}", what());
            }
            if let Some(tag) = answer.header("etag") {
                let known = tags.entry(tag.to_owned()).or_insert_with(|| text.clone());
                assert_eq!(known, &text, "{}", what());
            }
        }
        let head = asked("HEAD", &path, visitors[include % visitors.len()]);
        assert_eq!(client.fetch(&head).await.body, b"", "{}", what());
    }
}

#[tokio::test]
async fn in_pages_and_attempts() {
    hold(0..3).await;
}

#[tokio::test]
async fn in_branches() {
    hold(3..6).await;
}

#[tokio::test]
async fn in_what_is_shown_more_than_once_or_elsewhere() {
    hold(6..10).await;
}

#[tokio::test]
async fn in_fragments_that_are_documents() {
    hold(10..PLACES.len()).await;
}
