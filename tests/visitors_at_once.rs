//! Many visitors at once, who differ in all that an answer may depend on, ask for what is shared, what is a guest's, what is theirs, what
//! must be asked about and what sets cookies, whole and in part, by GET and HEAD: each is given what an application that says
//! truly whom its answers are for has for that visitor, and no cookie of another one's.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use support::h2::H2;
use support::{Answer, Ask, End, Gateway, Origin, Recorded, Reply, Setup, ask, within};

/// Whom an answer is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// Everybody.
    All,
    /// Guests alike, and each user for himself.
    Guests,
    /// Each for himself.
    One,
}

/// What the application has: its name, whom it is for, its fields, and whether it sets a cookie.
type Kind = (
    &'static str,
    For,
    &'static [(&'static str, &'static str)],
    bool,
);

const KINDS: &[Kind] = &[
    (
        "shared",
        For::All,
        &[("Cache-Control", "public, max-age=600")],
        false,
    ),
    (
        "expired",
        For::All,
        &[("Cache-Control", "public, max-age=60"), ("Age", "60")],
        false,
    ),
    (
        "expired-cookie",
        For::All,
        &[("Cache-Control", "public, max-age=60"), ("Age", "60")],
        true,
    ),
    (
        "grace",
        For::All,
        &[
            (
                "Cache-Control",
                "public, max-age=60, stale-while-revalidate=600, stale-if-error=600",
            ),
            ("Age", "60"),
        ],
        false,
    ),
    (
        "grace-guest",
        For::Guests,
        &[
            (
                "Cache-Control",
                "max-age=60, stale-while-revalidate=600, stale-if-error=600",
            ),
            ("Age", "60"),
        ],
        false,
    ),
    (
        "asked",
        For::All,
        &[("Cache-Control", "public, no-cache")],
        false,
    ),
    (
        "asked-guest",
        For::One,
        &[("Cache-Control", "no-cache")],
        false,
    ),
    (
        "guest",
        For::Guests,
        &[("Cache-Control", "max-age=600")],
        false,
    ),
    (
        "withheld",
        For::All,
        &[(
            "Cache-Control",
            "public, max-age=600, no-cache=\"Set-Cookie\"",
        )],
        true,
    ),
    (
        "cookie",
        For::One,
        &[("Cache-Control", "public, max-age=600")],
        true,
    ),
    (
        "private",
        For::One,
        &[("Cache-Control", "private, max-age=600")],
        true,
    ),
    ("unsaid", For::One, &[], false),
    (
        "by-cookie",
        For::One,
        &[("Cache-Control", "public, max-age=600"), ("Vary", "Cookie")],
        false,
    ),
    (
        "surrogate",
        For::All,
        &[("Surrogate-Control", "max-age=600")],
        false,
    ),
];

fn kind(name: &str) -> Kind {
    let found = KINDS.iter().find(|kind| kind.0 == name);
    *found.unwrap_or_else(|| panic!("{name}"))
}

/// What is told of a request, by the names of its fields.
fn said(kind: Kind, path: &str, field: &dyn Fn(&str) -> String) -> String {
    let credentials = match kind.1 {
        For::All => String::new(),
        For::Guests => field("cookie"),
        For::One => format!("{} {}", field("cookie"), field("authorization")),
    };
    let names = [
        "host",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-group",
        "accept-language",
    ];
    let told = names
        .map(|name| format!("{name}={}", field(name)))
        .join(" ");
    // Of some length, so that it comes in several pieces.
    format!("<{path} {told} {credentials}>{}", path.repeat(40))
}

fn tag(body: &str) -> String {
    let sum = body.bytes().fold(7_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    format!("\"{sum:x}\"")
}

/// An application that fails now and then, before its answer or in the middle of it.
fn failing(request: &Recorded) -> Reply {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    match ASKED.fetch_add(1, Ordering::Relaxed) % 9 {
        3 => Reply::error(503),
        6 => reply(request).cut(),
        _ => reply(request),
    }
}

fn reply(request: &Recorded) -> Reply {
    let target = request.target.clone();
    let path = target.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let kind = kind(name);
    let head = &request.head;
    let body = said(kind, &target, &|name| {
        head.first(name).unwrap_or("-").to_owned()
    });
    let tag = tag(&body);
    let known = head.first("if-none-match") == Some(&tag);
    let made = if known {
        Reply::bare("").status(304)
    } else {
        let whole = Reply::html(&body);
        if body.len().is_multiple_of(2) {
            whole.in_pieces(100)
        } else {
            whole
        }
    };
    let made = made
        .header("ETag", &tag)
        .header("Vary", "X-Group, Accept-Language");
    // One that sets a cookie is fresh again once it has been asked about.
    let counts = |name: &str| name != "Age" || !(known && kind.3);
    let fields = kind.2.iter().filter(|(name, _)| counts(name));
    let mut made = fields.fold(made, |made, (name, value)| made.header(name, value));
    // One that is expired begins a session when it is asked about.
    if kind.3 && (kind.0 != "expired-cookie" || head.has("if-none-match")) {
        let visitor = head.first("x-visitor").unwrap_or("-");
        made = made
            .header("Set-Cookie", &format!("seen={visitor}"))
            .header("X-Of", visitor);
    }
    made.late(std::time::Duration::from_millis(body.len() as u64 % 3))
}

async fn site(answers: fn(&Recorded) -> Reply) -> (Origin, Gateway) {
    let origin = Origin::start().await;
    for (name, ..) in KINDS {
        for folder in ["/pass/", "/languages/"] {
            origin.answer(&format!("{folder}{name}"), answers);
        }
        for (folder, control) in [("/page/", "public, max-age=600"), ("/anew/", "private")] {
            let include = format!("[<esi:include src='/pass/{name}?a=1'/>]");
            let twice = format!("{include}<esi:try><esi:attempt>{include}</esi:attempt></esi:try>");
            let page = Reply::html(twice).header("Cache-Control", control);
            origin.on(&format!("{folder}{name}"), page);
        }
    }
    let gateway = Setup::new()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .compose("merge_set_cookie = true")
        .upstream("app", &origin, "")
        .route("/", "app", "compose = \"always\"\nstale_for_sessions = true")
        .route(
            "/pass/",
            "app",
            "compose = \"off\"\nsort_query = true\nignore_query = [\"utm_*\"]\nstale_for_sessions = true\n\
             request_cache_control = \"everybody\"",
        )
        .route("/languages/", "app", "compose = \"off\"\nlanguages = [\"en\", \"de\"]")
        .start()
        .await;
    (origin, gateway)
}

/// Numbers that come in no order.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A request, what its answer holds, and who asks.
struct Asked {
    ask: Ask,
    url: String,
    fields: Vec<(String, String)>,
    method: &'static str,
    composed: bool,
    body: String,
    visitor: String,
}

static VISITORS: AtomicUsize = AtomicUsize::new(0);

fn anybody(dice: &mut Dice, kind: Kind) -> Asked {
    let folder = dice.of(&["/pass/", "/pass/", "/languages/", "/page/", "/anew/"]);
    let query = if folder == "/pass/" {
        dice.of(&["?a=1", "?b=2&a=1", "?a=1&b=2", "?a=1&utm_x=3"])
    } else {
        ""
    };
    let host = dice.of(&["www.example.com", "shop.example.com"]);
    let visitor = VISITORS.fetch_add(1, Ordering::Relaxed).to_string();
    let method = dice.of(&["GET", "GET", "GET", "HEAD"]);
    let mut fields: Vec<(&str, &str)> = vec![("X-Visitor", &visitor)];
    let pick = |dice: &mut Dice,
                fields: &mut Vec<(&'static str, &'static str)>,
                name,
                values: &[&'static str]| {
        let value = dice.of(values);
        if !value.is_empty() {
            fields.push((name, value));
        }
    };
    let mut picked = Vec::new();
    pick(
        dice,
        &mut picked,
        "Cookie",
        &["", "", "user=ann", "user=bob"],
    );
    pick(
        dice,
        &mut picked,
        "Authorization",
        &["", "", "", "Basic YTpi"],
    );
    pick(dice, &mut picked, "X-Group", &["", "gold"]);
    pick(
        dice,
        &mut picked,
        "Accept-Language",
        &["", "de", "en;q=0.1,de"],
    );
    pick(dice, &mut picked, "X-Forwarded-Proto", &["", "https"]);
    pick(
        dice,
        &mut picked,
        "X-Forwarded-Host",
        &["", "", "a.example.com"],
    );
    pick(
        dice,
        &mut picked,
        "Cache-Control",
        &["", "", "", "no-store", "no-cache", "max-age=0"],
    );
    pick(dice, &mut picked, "Range", &["", "", "", "bytes=0-20"]);
    pick(dice, &mut picked, "Accept-Encoding", &["", "br"]);
    let of = |name: &str| {
        let found = picked
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    };
    let field = |name: &str| match name {
        "host" => host.to_owned(),
        "x-forwarded-host" => of(name).unwrap_or(host).to_owned(),
        "x-forwarded-proto" => of(name).unwrap_or("http").to_owned(),
        "accept-language" if folder == "/languages/" && of(name).is_some() => "de".to_owned(),
        _ => of(name).unwrap_or("-").to_owned(),
    };
    let composed = matches!(folder, "/page/" | "/anew/");
    let body = if composed {
        let part = format!("[{}]", said(kind, &format!("/pass/{}?a=1", kind.0), &field));
        format!("{part}{part}")
    } else {
        let query = match query {
            "?b=2&a=1" => "?a=1&b=2",
            "?a=1&utm_x=3" => "?a=1",
            query => query,
        };
        said(kind, &format!("{folder}{}{query}", kind.0), &field)
    };
    let own_tag = tag(&body);
    fields.extend(&picked);
    if dice.below(4) == 0 {
        fields.push(("If-None-Match", &own_tag));
    }
    let target = format!("{folder}{}{query}", kind.0);
    let asked = ask(method, &target).host(host);
    let ask = fields
        .iter()
        .fold(asked, |ask, (name, value)| ask.header(name, value));
    let own = |(name, value): &(&str, &str)| (name.to_ascii_lowercase(), (*value).to_owned());
    let fields = fields.iter().map(own).collect();
    Asked {
        ask,
        url: format!("http://{host}{target}"),
        fields,
        method,
        composed,
        body,
        visitor,
    }
}

/// What of the body goes with a status.
fn wanted(asked: &Asked, status: u16) -> Option<&str> {
    match status {
        200 => Some(&asked.body),
        206 => Some(&asked.body[..=20]),
        304 => Some(""),
        _ => None,
    }
}

fn hold(asked: &Asked, answer: &Answer) {
    let what = || format!("{:?}\n{answer:?}", asked.ask);
    let wanted = wanted(asked, answer.status).filter(|_| asked.method != "HEAD");
    let text = answer.text();
    assert_eq!(text, wanted.unwrap_or_default(), "{}", what());
    assert!(answer.status < 400, "{}", what());
    let known = (!asked.composed).then(|| tag(&asked.body));
    let told = answer.header("etag").filter(|_| known.is_some());
    assert_eq!(told, known.as_deref(), "{}", what());
    assert!(!asked.composed || answer.status == 200, "{}", what());
    let own = format!("seen={}", asked.visitor);
    for name in ["set-cookie", "x-of"] {
        for value in answer.head.all(name) {
            // What is said beside a cookie that is withheld from the store may be of anybody.
            let fits = value == own
                || value == asked.visitor
                || (name == "x-of" && asked.body.contains("/withheld"));
            assert!(fits, "{name}: {value}: {}", what());
        }
    }
}

/// The same of what may have failed, in whole or in part.
fn hold_what_came(asked: &Asked, answer: &Answer) {
    let part = &asked.body[..asked.body.len() / 2];
    let text = answer.text();
    if answer.end == End::Complete && [200, 206, 304].contains(&answer.status) {
        let of_composed = [format!("[]{part}"), "[]".to_owned(), part.to_owned()];
        if !asked.composed || !of_composed.contains(&text) {
            hold(asked, answer);
        }
        return;
    }
    let begins = asked.body.starts_with(&text);
    let failed = answer.status >= 500 && (!asked.composed || !text.contains("ERROR BODY"));
    assert!(begins || failed, "{:?}\n{answer:?}", asked.ask);
}

async fn hold_all(seed: u64, answers: fn(&Recorded) -> Reply, hold: fn(&Asked, &Answer)) {
    let (origin, gateway) = site(answers).await;
    let mut dice = Dice(seed);
    let mut count = 0;
    for _ in 0..150 {
        // They ask for the same thing, by itself or as a part of pages.
        let kind = dice.of(KINDS);
        let asked: Vec<Asked> = (0..8).map(|_| anybody(&mut dice, kind)).collect();
        count += asked.len();
        // One of them leaves before the answer has come.
        let mut leaves = gateway.client().await;
        leaves.send(anybody(&mut dice, kind).ask.bytes()).await;
        let all = asked.iter().map(|asked| gateway.fetch(&asked.ask));
        let (answers, ()) = tokio::join!(
            within("all answers", futures::future::join_all(all)),
            async move {
                tokio::task::yield_now().await;
                drop(leaves);
            }
        );
        for (asked, answer) in asked.iter().zip(&answers) {
            hold(asked, answer);
        }
    }
    assert!(origin.requests().len() < count * 2, "nothing was stored");
}

#[tokio::test]
async fn each_is_given_his_own() {
    hold_all(20_261_127, reply, hold).await;
}

#[tokio::test]
async fn each_is_given_his_own_or_nothing_while_the_application_fails() {
    hold_all(20_261_128, failing, hold_what_came).await;
}

#[tokio::test]
async fn each_is_given_his_own_on_one_http_2_connection() {
    let (_origin, gateway) = site(reply).await;
    let stream = tokio::net::TcpStream::connect(gateway.http).await;
    let client = H2::over(stream.expect("the gateway accepts")).await;
    let mut dice = Dice(20_261_129);
    for _ in 0..100 {
        let kind = dice.of(KINDS);
        let asked: Vec<Asked> = (0..8).map(|_| anybody(&mut dice, kind)).collect();
        let answers = asked.iter().map(|asked| {
            let mut client = client.clone();
            async move {
                let fields = asked.fields.iter();
                let fields: Vec<(&str, &str)> = fields
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                client.get(&asked.url, &fields).await
            }
        });
        let answers = futures::future::join_all(answers).await;
        for (asked, (head, status, text)) in asked.iter().zip(&answers) {
            let what = || format!("{:?}\n{status} {head:?}\n{text}", asked.ask);
            assert_eq!(Some(&**text), wanted(asked, *status), "{}", what());
            let own = format!("seen={}", asked.visitor);
            let mut cookies = head.get_all("set-cookie").iter();
            assert!(cookies.all(|cookie| *cookie == own), "{}", what());
        }
    }
}
