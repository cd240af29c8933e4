//! A hundred users for some seconds: shared, personal and nested fragments mixed, clients that leave, origins that fail and come
//! back, and not one byte of another user.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Answer, Client, End, Gateway, Origin, Recorded, Reply, Setup, ask};

const USERS: usize = 100;
const LASTING: Duration = Duration::from_secs(6);
const MARK: &str = "token-of-";

/// Ways in which an application says, or forgets to say, that its answer is one user's.
const PERSONAL: &[&[(&str, &str)]] = &[
    &[],
    &[("Cache-Control", "private, max-age=60")],
    &[("Cache-Control", "no-store")],
    &[("Cache-Control", "max-age=60")],
    &[("Cache-Control", "public, s-maxage=60"), ("Vary", "Cookie")],
    &[
        ("Cache-Control", "public, s-maxage=60"),
        ("Set-Cookie", "seen=1"),
    ],
    &[("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
];

#[derive(Default)]
struct Tally {
    whole_pages: AtomicUsize,
    failures: AtomicUsize,
    left: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_users_never_see_a_byte_of_each_other() {
    let pages = page_cache().await;
    let mut apps = [app().await, app().await];
    let gateway = Setup::new()
        .upstream("pages", &pages, "")
        .servers(
            "app",
            &[apps[0].address, apps[1].address],
            "max_in_flight = 4\nqueue = 2000\nqueue_timeout = \"5s\"",
        )
        .compose("fragment_timeout = \"2s\"")
        .route(
            "/",
            "pages",
            "compose = \"always\"\nforward_cookies = false",
        )
        .route(
            "/app",
            "app",
            "compose = \"always\"\nforward_cookies = true",
        )
        .start()
        .await;
    let gateway = Arc::new(gateway);
    let tally = Arc::new(Tally::default());
    let until = Instant::now() + LASTING;
    let mut users = tokio::task::JoinSet::new();
    for number in 0..USERS {
        users.spawn(user(number, gateway.clone(), tally.clone(), until));
    }
    let mut round = 0;
    while Instant::now() < until {
        let dying = &mut apps[round % 2];
        round += 1;
        let served = dying.requests().len();
        // It serves some, then dies in the middle of others.
        let enough =
            tokio::time::timeout(Duration::from_secs(1), dying.arrived_in_all(served + 40));
        let _ = enough.await;
        dying.restart().await;
    }
    while let Some(done) = users.join_next().await {
        done.expect("a user saw nothing but its own");
    }
    for origin in &apps {
        assert!(origin.most_in_flight() <= 4, "{}", origin.most_in_flight());
    }
    let whole = tally.whole_pages.load(Ordering::SeqCst);
    let failures = tally.failures.load(Ordering::SeqCst);
    let left = tally.left.load(Ordering::SeqCst);
    println!("{whole} whole pages, {failures} failures, {left} left early, {round} restarts");
    assert!(whole > USERS, "only {whole} whole pages");
    gateway.get("/page/1").await;
}

/// The long-tail layer: pages for everybody.
async fn page_cache() -> Origin {
    let origin = Origin::start().await;
    origin.answer("/page*", |request| {
        let number = request.target.len() % 3;
        Reply::html(format!(
            "<h1>page</h1><esi:include src=\"/app/shared/{number}\"/>\
             <esi:include src=\"/app/me/1\"/><!--#include virtual=\"/app/nested/{number}\" -->\
             <esi:include src=\"/app/me/2\" alt=\"/app/me/3\"/><esi:include src=\"/app/flaky\" onerror=\"continue\"/><hr>"
        ))
        .header("Cache-Control", "public, max-age=1")
        .header("ETag", "\"page\"")
    });
    origin
}

/// An application that tells each user about nobody else.
async fn app() -> Origin {
    let origin = Origin::start().await;
    let count = Arc::new(AtomicUsize::new(0));
    origin.on(
        "/app/shared*",
        Reply::html("<i>for all</i>").header("Cache-Control", "public, s-maxage=1"),
    );
    origin.answer("/app/me*", move |request| {
        mine(request, count.fetch_add(1, Ordering::SeqCst))
    });
    origin.answer("/app/nested*", |request| {
        let reply = Reply::html(
            "<div><esi:include src=\"/app/me/4\"/><esi:include src=\"/app/shared/9\"/></div>",
        );
        let _ = request;
        reply.header("Cache-Control", "public, s-maxage=1")
    });
    let flaky = AtomicUsize::new(0);
    origin.answer("/app/flaky", move |request| {
        match flaky.fetch_add(1, Ordering::SeqCst) % 5 {
            0 => Reply::error(500),
            1 => Reply::html(token(request)).cut(),
            2 => Reply::html(token(request)).chunked().cut(),
            3 => Reply::slam(),
            _ => mine(request, 0),
        }
    });
    origin
}

fn token(request: &Recorded) -> String {
    let cookie = request.head.first("cookie").unwrap_or("session=nobody;");
    cookie.replace("session=", "")
}

fn mine(request: &Recorded, turn: usize) -> Reply {
    let mut reply = Reply::html(format!("<b>{}</b>", token(request)));
    for (name, value) in PERSONAL[turn % PERSONAL.len()] {
        reply = if *name == "Set-Cookie" {
            reply.header(name, &format!("own={}", token(request)))
        } else {
            reply.header(name, value)
        };
    }
    if turn.is_multiple_of(3) {
        reply = reply.chunked();
    }
    reply
}

async fn user(number: usize, gateway: Arc<Gateway>, tally: Arc<Tally>, until: Instant) {
    let own = format!("{MARK}{number}.");
    let cookie = format!("session={own}");
    let mut chance = number as u64 * 7919 + 1;
    let mut client = gateway.client().await;
    while Instant::now() < until {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let dice = (chance >> 33) % 100;
        let request = match dice {
            0..60 => ask("GET", &format!("/page/{}", "x".repeat(dice as usize % 7))),
            60..80 => ask("GET", &format!("/app/me/{}", dice % 5)),
            80..85 => ask("POST", "/app/me/post").body(format!("from {own}")),
            85..90 => ask("HEAD", "/page/x"),
            _ => ask("GET", &format!("/app/nested/{}", dice % 3)),
        };
        let request = request.header("Cookie", &cookie);
        if client.try_send(request.bytes()).await.is_err() {
            client = gateway.client().await;
            continue;
        }
        if dice.is_multiple_of(17) {
            tally.left.fetch_add(1, Ordering::SeqCst);
            client = gateway.client().await;
            continue;
        }
        let method = if (85..90).contains(&dice) {
            "HEAD"
        } else {
            "GET"
        };
        let answer = read(&mut client, method).await;
        let Some(answer) = answer else {
            tally.failures.fetch_add(1, Ordering::SeqCst);
            client = gateway.client().await;
            continue;
        };
        holds_nothing_foreign(&answer, &own);
        if answer.end == End::Cut {
            client = gateway.client().await;
        }
        let whole = answer.status == 200 && answer.end == End::Complete;
        if dice < 60 && whole && answer.text().matches(&own).count() >= 3 {
            tally.whole_pages.fetch_add(1, Ordering::SeqCst);
        } else if !whole {
            tally.failures.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn read(client: &mut Client, method: &str) -> Option<Answer> {
    Some(client.try_incoming(method).await?.finish().await)
}

fn holds_nothing_foreign(answer: &Answer, own: &str) {
    let head = String::from_utf8_lossy(&answer.head.raw).into_owned();
    for (what, text) in [("body", answer.text()), ("head", head)] {
        for (at, _) in text.match_indices(MARK) {
            let found = &text[at..];
            // A page may be cut within its user's own token, and nowhere else.
            let is_own =
                found.starts_with(own) || (answer.end == End::Cut && own.starts_with(found));
            assert!(is_own, "{own} was shown, in the {what}: {text}");
        }
    }
}
