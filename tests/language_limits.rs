//! The bounds of the language (reference, section 12) stand where it says: what is just within is carried out, what is one beyond
//! is not, and the rest of the page is there in both cases.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use marquetry::compose::source::{Fetched, FragmentError, FragmentRequest, FragmentSource};
use marquetry::compose::url::Url;
use marquetry::compose::watch::Unwatched;
use marquetry::compose::{Composer, Skeleton};
use marquetry::config::ComposeConfig;
use marquetry::expr::RequestFacts;
use marquetry::message::deadline::Deadline;
use marquetry::template::memo::Memo;
use marquetry::template::{Settings, compile};

/// These pages fetch nothing.
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

fn composed(page: &str) -> String {
    let template = compile(
        Bytes::copy_from_slice(page.as_bytes()),
        &Settings::default(),
    );
    let skeleton = Skeleton {
        template: Arc::new(template),
        url: Arc::new(Url::new(false, b"www.example.com", b"/page").expect("a URL")),
        deadline: Deadline::after(Duration::from_secs(60)),
        reservation: None,
    };
    let composed = Composer::new(ComposeConfig::default())
        .compose(skeleton, Nothing, Arc::new(Unwatched))
        .now_or_never()
        .expect("nothing is waited for")
        .expect("no page fails");
    let body = composed.body.as_full().expect("all is at hand");
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

/// Each row makes a page of a size: what it holds at the largest that is carried out, and one beyond.
type Row = (
    &'static str,
    usize,
    fn(usize) -> String,
    &'static str,
    &'static str,
);

const ROWS: &[Row] = &[
    (
        "elements nest 64 deep",
        64,
        |depth| {
            format!(
                "a{}b{}c",
                "<esi:vars>".repeat(depth),
                "</esi:vars>".repeat(depth)
            )
        },
        "abc",
        "ac",
    ),
    (
        "#if nests 64 deep",
        64,
        |depth| {
            format!(
                "a{}b{}c",
                "<!--#if expr=\"1\" -->".repeat(depth),
                "<!--#endif -->".repeat(depth)
            )
        },
        "abc",
        "ac",
    ),
    (
        "a tag has 65536 bytes",
        65_536,
        |length| {
            let tag = "<esi:vars name=\"b\" x=\"\"/>";
            format!(
                "a<esi:vars name=\"b\" x=\"{}\"/>c",
                "x".repeat(length - tag.len())
            )
        },
        "abc",
        "ac",
    ),
    (
        "an end tag has 65536 bytes",
        65_536,
        |length| {
            format!(
                "<esi:vars>$dollar()</esi:vars{}>c",
                " ".repeat(length - "</esi:vars>".len())
            )
        },
        "$c",
        "$dollar()c",
    ),
    (
        "an expression has 8192 bytes",
        8192,
        |length| {
            let test = format!("1{}", " ".repeat(length - 1));
            format!("a<esi:choose><esi:when test=\"{test}\">b</esi:when></esi:choose>c")
        },
        "abc",
        "ac",
    ),
    (
        "an expression is 64 deep",
        64,
        |depth| {
            let test = format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
            format!("a<esi:choose><esi:when test=\"{test}\">b</esi:when></esi:choose>c")
        },
        "abc",
        "ac",
    ),
    (
        "a range has 10000 entries",
        10_000,
        |count| {
            format!(
                "<esi:assign name=\"l\" value=\"[1..{count}]\"/><esi:vars>$len($(l))</esi:vars>c"
            )
        },
        "10000c",
        "0c",
    ),
    (
        "a list has 10000 entries",
        10_000,
        |count| {
            let text = vec!["x"; count - 1].join(",");
            format!(
                "<esi:assign name=\"t\">{text}</esi:assign><esi:vars>$len($string_split($(t), ',') + [1])</esi:vars>c"
            )
        },
        "10000c",
        "c",
    ),
    (
        "loops have 10000 rounds",
        10_000,
        |rounds| {
            let loops =
                |count: usize| format!("<esi:foreach collection=\"[1..{count}]\"></esi:foreach>");
            format!(
                "{}{}<esi:foreach collection=\"'one more'\">b</esi:foreach>c",
                loops(9000),
                loops(rounds - 9001)
            )
        },
        "bc",
        "c",
    ),
    (
        "functions call each other 32 deep",
        32,
        |depth| {
            let function = "<esi:function name=\"f\"><esi:choose><esi:when test=\"$(ARGS{0}) > 1\">\
                <esi:return value=\"$f($(ARGS{0}) - 1)\"/></esi:when></esi:choose><esi:return value=\"'b'\"/></esi:function>";
            format!("a{function}<esi:vars>$f({depth})</esi:vars>c")
        },
        "abc",
        "ac",
    ),
    (
        "a name has 256 bytes",
        256,
        |length| {
            let name = "n".repeat(length);
            format!("a<esi:assign name=\"{name}\" value=\"'b'\"/><esi:vars name=\"$({name}|)\"/>c")
        },
        "abc",
        "",
    ),
];

#[test]
fn what_is_within_a_bound_is_carried_out_and_what_is_beyond_is_not() {
    for (name, most, page, within, beyond) in ROWS {
        assert_eq!(composed(&page(*most)), *within, "{name}");
        let larger = composed(&page(most + 1));
        // The name that is too long is no name, so that its reference is text.
        if !beyond.is_empty() {
            assert_eq!(larger, *beyond, "{name}: one beyond");
        }
    }
}

/// All variables together have a mebibyte: a text that doubles ends below it, and keeps its last value.
#[test]
fn variables_have_a_mebibyte() {
    let double = "<esi:assign name=\"a\" value=\"$(a) + $(a)\"/>".repeat(25);
    let page =
        format!("<esi:assign name=\"a\" value=\"'x'\"/>{double}<esi:vars>$len($(a))</esi:vars>");
    assert_eq!(composed(&page), (1 << 19).to_string());
}
