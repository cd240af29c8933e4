//! Composed pages are sent as their clients like them: gzip as one member, br and zstd where a page is remembered as a whole; the
//! bytes inside are those of the plain page.

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use support::{Answer, Gate, Gateway, Origin, Reply, Setup, ask, within};

fn public(body: &str) -> Reply {
    Reply::html(body).header("Cache-Control", "public, max-age=3600")
}

/// The plain bytes of an answer. gzip must be one member with nothing behind it.
fn decoded(answer: &Answer) -> Vec<u8> {
    let mut text = Vec::new();
    match answer.header("content-encoding") {
        None => text.clone_from(&answer.body),
        Some("gzip") => {
            let mut decoder = flate2::bufread::GzDecoder::new(&answer.body[..]);
            decoder.read_to_end(&mut text).expect("it is gzip");
            assert!(decoder.into_inner().is_empty(), "one member");
            assert_eq!(text, by_gzip(&answer.body).unwrap_or_else(|| text.clone()));
        }
        Some(coding) => {
            let coding = [("content-encoding", coding)].map(|(name, value)| {
                let value = value.parse().expect("a value");
                (http::HeaderName::from_static(name), value)
            });
            let headers = coding.into_iter().collect();
            let body = answer.body.clone().into();
            text = marquetry::gateway::coding::decode(&headers, &body, 1 << 24)
                .expect("it is what it says")
                .to_vec();
        }
    }
    text
}

/// What the program `gzip` makes of it, where there is one.
fn by_gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped in part: no program gzip");
        return None;
    };
    let mut input = child.stdin.take().expect("it is piped");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().expect("it runs");
    assert!(output.status.success(), "gzip -dc");
    writer.join().expect("no panic").expect("it reads all");
    Some(output.stdout)
}

const TEXT: &str = "<p>words that stand on many pages, and stand there often</p>\n";

async fn fetched(gateway: &Gateway, wish: &str, user: &str) -> Answer {
    let asked = ask("GET", "/page")
        .header("Accept-Encoding", wish)
        .header("Cookie", user);
    gateway.fetch(&asked).await
}

#[tokio::test]
async fn a_shared_page_is_sent_in_the_coding_that_its_client_likes_best() {
    let origin = Origin::start().await;
    let text = TEXT.repeat(40);
    origin.on(
        "/page",
        public(&format!("{text}<esi:include src=\"/a\"/>{text}")),
    );
    origin.on("/a", public(&TEXT.repeat(20)));
    let gateway = Setup::composing(&origin).start().await;
    let plain = format!("{text}{}{text}", TEXT.repeat(20));
    let mut tags = Vec::new();
    for round in 0..5 {
        for (wish, coding) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("zstd, gzip;q=0.9", Some("zstd")),
            ("br;q=0, *;q=0.1, gzip;q=0", Some("zstd")),
            ("identity", None),
            ("", None),
            ("gzip;q=0", None),
        ] {
            let answer = fetched(&gateway, wish, "a=1").await;
            assert_eq!(answer.status, 200);
            assert_eq!(decoded(&answer), plain.as_bytes(), "{wish} {round}");
            assert!(answer.lists("vary", "accept-encoding"), "{wish}");
            let told = answer.header("content-encoding");
            // Before it is remembered only gzip can be written.
            if round > 2 {
                assert_eq!(told, coding, "{wish}");
                assert!(told.is_none() || answer.body.len() < plain.len() / 10);
                tags.push((
                    told.map(str::to_owned),
                    answer.header("etag").map(str::to_owned),
                ));
            }
        }
    }
    // One tag for each coding, the same each time.
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 4, "{tags:?}");
    assert!(tags.iter().all(|(_, tag)| tag.is_some()), "{tags:?}");
    let mut seen: Vec<_> = tags.iter().map(|(_, tag)| tag).collect();
    seen.dedup();
    assert_eq!(seen.len(), 4, "{tags:?}");
}

#[tokio::test]
async fn a_page_with_personal_parts_is_one_member_for_each_user() {
    let origin = Origin::start().await;
    let text = TEXT.repeat(30);
    let include = |path: &str| format!("<esi:include src=\"{path}\"/>");
    let page = format!(
        "{text}{}{text}{}{text}<esi:vars>$(QUERY_STRING{{q}}) $(HTTP_COOKIE{{user}})</esi:vars>{text}{}",
        include("/a"),
        include("/me"),
        include("/me?again"),
    );
    origin.on("/page", public(&page));
    origin.on("/a", public(&TEXT.repeat(20)));
    origin.answer("/me*", |request| {
        let user = request.head.first("cookie").unwrap_or("guest");
        Reply::html(user.repeat(100)).header("Cache-Control", "private")
    });
    let gateway = Setup::composing(&origin)
        .compose("readable_cookies = [\"user\"]")
        .start()
        .await;
    for round in 0..12 {
        let user = format!("user={}", round % 3);
        let plain = fetched(&gateway, "identity", &user).await;
        let answer = fetched(&gateway, "br, gzip", &user).await;
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert!(plain.text().contains(&user.repeat(100)));
        assert_eq!(decoded(&answer), plain.body, "{round}");
        assert!(
            answer.body.len() < plain.body.len() / 8,
            "{}",
            answer.body.len()
        );
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        // What cannot be stitched is not used where users' bytes stand beside others'.
        let only_brotli = fetched(&gateway, "br", &user).await;
        assert_eq!(only_brotli.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn small_pages_are_plain() {
    let origin = Origin::start().await;
    origin.on("/page", public("<esi:include src=\"/a\"/>"));
    origin.on("/a", public("small"));
    let gateway = Setup::composing(&origin).start().await;
    // The first one streams before its size is known.
    fetched(&gateway, "gzip", "a=1").await;
    for _ in 0..4 {
        let answer = fetched(&gateway, "gzip", "a=1").await;
        assert_eq!(answer.header("content-encoding"), None);
        answer.is(200, "small");
    }
}

#[tokio::test]
async fn what_has_come_can_be_read_while_composition_waits() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on(
        "/page",
        public("the first part <esi:include src=\"/late\"/> the last"),
    );
    origin.on("/late", public("late").behind(&gate));
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    let asked = ask("GET", "/page").header("Accept-Encoding", "gzip");
    let mut incoming = client.begin(&asked).await;
    // A stored or flushed segment: the text stands there before the fragment does.
    within("the first part", async {
        while !support::contains(&inflated(incoming.more().await), b"the first part") {}
    })
    .await;
    gate.open();
    let answer = incoming.finish().await;
    assert_eq!(decoded(&answer), b"the first part late the last");
}

/// As much as a client can read of a stream that goes on.
fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut text);
    text
}
