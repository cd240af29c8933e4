//! The shop as a gateway meets it: both origins, asked through their handlers.

use std::time::Duration;

use http::header::{CACHE_CONTROL, COOKIE, ETAG, LOCATION, SET_COOKIE, VARY};
use http::{Request as HttpRequest, StatusCode};

use super::*;
use crate::message::client::Connection;
use crate::message::{Body, Request, Response};
use crate::server::handler::Handler;

const CAPABILITY: &str = r#"marquetry="Surrogate/1.0 ESI/1.0 SSI/1.0""#;

fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Request {
    let mut request = HttpRequest::builder()
        .method(method)
        .uri(url)
        .header("host", "shop.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Body::full(body.to_owned()))
        .expect("a row is a request")
}

fn get(url: &str) -> Request {
    ask("GET", url, &[("surrogate-capability", CAPABILITY)], "")
}

async fn text(response: Response) -> String {
    let bytes = response
        .into_body()
        .collect(1 << 20)
        .await
        .expect("the body is at hand");
    String::from_utf8(bytes.to_vec()).expect("the shop speaks UTF-8")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("plain text"))
}

/// Logs in and gives the cookie.
async fn login(app: &AppInstance, name: &str) -> String {
    let response = app
        .handle(
            ask("POST", "/login", &[], &format!("name={name}&back=/ssi")),
            &Connection::NONE,
        )
        .await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&response, "location"), "/ssi");
    let cookie = header(&response, SET_COOKIE.as_str());
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    cookie
        .split(';')
        .next()
        .expect("a split has a first part")
        .to_owned()
}

async fn part_of(app: &AppInstance, cookie: &str, name: &str) -> String {
    text(
        app.handle(
            ask(
                "GET",
                &format!("/fragments/{name}"),
                &[("cookie", cookie)],
                "",
            ),
            &Connection::NONE,
        )
        .await,
    )
    .await
}

/// The URLs that a document includes, in either tag language.
fn includes(document: &str) -> Vec<String> {
    // What stands in a text area is shown, not run.
    let run = match (document.find("<esi:text>"), document.find("</esi:text>")) {
        (Some(from), Some(to)) => format!("{}{}", &document[..from], &document[to..]),
        _ => document.to_owned(),
    };
    [
        "src=\"/fragments/",
        "alt=\"/fragments/",
        "virtual=\"/fragments/",
    ]
    .iter()
    .flat_map(|opener| run.split(opener).skip(1))
    .map(|rest| {
        format!(
            "/fragments/{}",
            rest.split('"').next().expect("a value closes")
        )
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn every_part_that_a_page_asks_for_exists() {
    let shop = Bookshop::open(None);
    let mut urls: Vec<String> = ["/", "/ssi", "/about-this-demo"]
        .map(str::to_owned)
        .to_vec();
    urls.extend(
        catalogue::GENRES
            .iter()
            .map(|genre| format!("/genres/{}?page=2", genre.slug)),
    );
    urls.extend(
        Catalogue::of(SEED)
            .books()
            .iter()
            .step_by(97)
            .map(catalogue::Book::url),
    );
    let mut wanted = Vec::new();
    for url in urls {
        let response = shop.pages.handle(get(&url), &Connection::NONE).await;
        assert_eq!(response.status(), StatusCode::OK, "{url}");
        let dialect = if url == "/ssi" { "SSI/1.0" } else { "ESI/1.0" };
        assert_eq!(
            header(&response, "surrogate-control"),
            format!("content=\"{dialect}\"")
        );
        let found = includes(&text(response).await);
        assert!(found.len() >= 2, "{url} asks for {found:?}");
        wanted.extend(found);
    }
    for url in ["/login", "/basket"] {
        wanted.extend(includes(
            &text(shop.apps[0].handle(get(url), &Connection::NONE).await).await,
        ));
    }
    wanted.sort_unstable();
    wanted.dedup();
    while let Some(url) = wanted.pop() {
        let response = shop.apps[0].handle(get(&url), &Connection::NONE).await;
        let breaks =
            url == "/fragments/quote" && response.status() == StatusCode::SERVICE_UNAVAILABLE;
        assert!(
            breaks || response.status() == StatusCode::OK,
            "{url}: {}",
            response.status()
        );
        let nested = !header(&response, "surrogate-control").is_empty();
        let found = includes(&text(response).await);
        assert_eq!(nested, !found.is_empty(), "{url} says whether it includes");
        wanted.extend(found);
    }
}

#[tokio::test(start_paused = true)]
async fn personal_parts_are_kept_by_nobody_and_shared_ones_never_differ() {
    let shop = Bookshop::open(None);
    let app = &shop.apps[0];
    let ada = login(app, "ada").await;
    app.handle(
        ask("POST", "/basket/add", &[("cookie", &ada)], "book=3"),
        &Connection::NONE,
    )
    .await;
    for (name, personal) in [
        ("greeting", true),
        ("basket", true),
        ("recommendations?book=3", true),
        ("staff-note", true),
        ("best-sellers", false),
        ("staff-picks", false),
        ("readings", false),
        ("quote-of-the-house", false),
        ("stock?book=3", false),
        ("reviews?book=3", false),
    ] {
        let url = format!("/fragments/{name}");
        let hers = app
            .handle(ask("GET", &url, &[("cookie", &ada)], ""), &Connection::NONE)
            .await;
        let theirs = app
            .handle(ask("GET", &url, &[], ""), &Connection::NONE)
            .await;
        let control = header(&hers, CACHE_CONTROL.as_str()).to_owned();
        if personal {
            assert_eq!(control, "private, no-store", "{name}");
            assert!(!hers.headers().contains_key(ETAG), "{name}");
        } else {
            assert!(control.starts_with("public, max-age="), "{name}: {control}");
            assert_eq!(hers.headers()[ETAG], theirs.headers()[ETAG], "{name}");
            let tag = header(&hers, "etag");
            let again = app
                .handle(
                    ask("GET", &url, &[("if-none-match", tag)], ""),
                    &Connection::NONE,
                )
                .await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
        }
        let hers = text(hers).await;
        assert_eq!(hers.contains("data-kind=\"personal\""), personal, "{name}");
        assert!(personal || !hers.contains("ada"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_readers_never_see_each_others_parts() {
    let shop = Bookshop::open(None);
    // State is shared by the instances, so each request may meet another one.
    let (ada, grace) = (
        login(&shop.apps[0], "ada").await,
        login(&shop.apps[1], "grace").await,
    );
    assert_ne!(ada, grace);
    shop.apps[2]
        .handle(
            ask("POST", "/basket/add", &[("cookie", &ada)], "book=3"),
            &Connection::NONE,
        )
        .await;
    for (cookie, own, other, books) in [
        (&ada, "ada", "grace", "1 book"),
        (&grace, "grace", "ada", "empty"),
    ] {
        for name in ["greeting", "recommendations", "staff-note"] {
            let part = part_of(&shop.apps[3], cookie, name).await;
            assert!(
                part.contains(&format!("{own}<")) || part.contains(&format!(", {own}.")),
                "{part}"
            );
            assert!(!part.contains(other), "{part}");
        }
        assert!(
            part_of(&shop.apps[0], cookie, "basket")
                .await
                .contains(books)
        );
    }
    let stranger = part_of(
        &shop.apps[0],
        "session=00000000000000000000000000000000",
        "greeting",
    )
    .await;
    assert!(stranger.contains("stranger"));
    let out = shop.apps[0]
        .handle(
            ask("POST", "/logout", &[("cookie", &ada)], ""),
            &Connection::NONE,
        )
        .await;
    assert!(header(&out, "set-cookie").contains("Max-Age=0"));
    assert!(
        part_of(&shop.apps[0], &ada, "greeting")
            .await
            .contains("stranger")
    );
    assert!(
        part_of(&shop.apps[0], &grace, "greeting")
            .await
            .contains("grace")
    );
}

#[tokio::test(start_paused = true)]
async fn what_readers_write_is_escaped_everywhere() {
    let shop = Bookshop::open(None);
    let app = &shop.apps[0];
    // <script>'"&</script>, and tags of both languages.
    for evil in [
        "%3Cscript%3E%27%22%26%3C%2Fscript%3E",
        "%3Cesi%3Ainclude+src%3D%22%2Fx%22%2F%3E",
        "%3C%21--%23echo+var%3D%22x%22+--%3E",
    ] {
        let mallory = login(app, evil).await;
        let review = format!("book=1&stars=9&text={evil}");
        let done = app
            .handle(
                ask("POST", "/reviews", &[("cookie", &mallory)], &review),
                &Connection::NONE,
            )
            .await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER);
        let mut shown = vec![
            text(
                app.handle(
                    ask("GET", "/basket", &[("cookie", &mallory)], ""),
                    &Connection::NONE,
                )
                .await,
            )
            .await,
        ];
        shown.push(
            text(
                app.handle(
                    ask("GET", "/login?back=/%22%3E%3Cscript%3E", &[], ""),
                    &Connection::NONE,
                )
                .await,
            )
            .await,
        );
        for name in [
            "greeting",
            "recommendations",
            "staff-note",
            "reviews?book=1",
        ] {
            shown.push(part_of(app, &mallory, name).await);
        }
        for html in shown {
            for raw in [
                "<script>'",
                "<esi:include src=\"/x\"",
                "<!--#echo",
                "\"><script>",
            ] {
                assert!(!html.contains(raw), "{raw} in {html}");
            }
        }
    }
    assert!(
        part_of(app, "", "reviews?book=1")
            .await
            .contains("5 of 5 stars")
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_from_another_site_changes_nothing() {
    let shop = Bookshop::open(None);
    let app = &shop.apps[0];
    let ada = login(app, "ada").await;
    for (name, value) in [
        ("origin", "http://evil.test"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for url in ["/basket/add", "/logout", "/reviews", "/login"] {
            let headers = [("cookie", ada.as_str()), (name, value)];
            let answer = app
                .handle(
                    ask("POST", url, &headers, "book=3&text=x&name=eve"),
                    &Connection::NONE,
                )
                .await;
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{url}");
            assert!(!answer.headers().contains_key(SET_COOKIE));
        }
    }
    assert!(part_of(app, &ada, "basket").await.contains("empty"));
    assert!(part_of(app, &ada, "greeting").await.contains("ada"));
}

#[tokio::test(start_paused = true)]
async fn methods_and_forms_that_fit_nothing_are_refused() {
    let shop = Bookshop::open(None);
    let app = &shop.apps[0];
    let large = "x".repeat(9000);
    for (method, url, body, wanted) in [
        ("GET", "/logout", "", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/basket", "", StatusCode::METHOD_NOT_ALLOWED),
        (
            "POST",
            "/fragments/greeting",
            "",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        ("GET", "/fragments/nothing", "", StatusCode::NOT_FOUND),
        (
            "GET",
            "/fragments/stock?book=99999",
            "",
            StatusCode::NOT_FOUND,
        ),
        ("POST", "/basket/add", "book=0", StatusCode::BAD_REQUEST),
        (
            "POST",
            "/basket/add",
            "book=4294967296",
            StatusCode::BAD_REQUEST,
        ),
        ("POST", "/reviews", "book=1&text=+", StatusCode::BAD_REQUEST),
        (
            "POST",
            "/reviews",
            large.as_str(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        ("GET", "/elsewhere", "", StatusCode::NOT_FOUND),
    ] {
        let answer = app
            .handle(ask(method, url, &[], body), &Connection::NONE)
            .await;
        assert_eq!(answer.status(), wanted, "{method} {url}");
    }
    let nameless = app
        .handle(ask("POST", "/login", &[], "name=+%00"), &Connection::NONE)
        .await;
    assert_eq!(nameless.headers()[LOCATION], "/login?again=1");
    let away = app
        .handle(
            ask("POST", "/login", &[], "name=ada&back=//evil.test"),
            &Connection::NONE,
        )
        .await;
    assert_eq!(away.headers()[LOCATION], "/");
}

#[tokio::test(start_paused = true)]
async fn an_instance_serves_one_request_at_a_time_and_takes_20_to_300_ms() {
    let shop = Bookshop::open(None);
    let (one, other) = (&shop.apps[0], &shop.apps[1]);
    let slow = || one.handle(get("/fragments/readings"), &Connection::NONE);
    let elapsed = async |work: &mut (dyn Future<Output = ()> + Unpin)| {
        let begun = tokio::time::Instant::now();
        work.await;
        begun.elapsed()
    };
    let alone = elapsed(&mut Box::pin(async { drop(slow().await) })).await;
    assert!((280..=302).contains(&alone.as_millis()), "{alone:?}");
    let three = elapsed(&mut Box::pin(async {
        drop(tokio::join!(slow(), slow(), slow()));
    }))
    .await;
    assert!(three >= Duration::from_millis(3 * 280), "{three:?}");
    let apart = elapsed(&mut Box::pin(async {
        drop(tokio::join!(
            slow(),
            other.handle(get("/fragments/readings"), &Connection::NONE)
        ));
    }))
    .await;
    assert!(apart <= Duration::from_millis(302), "{apart:?}");
    // A client that leaves gives the turn back.
    let left = tokio::time::timeout(Duration::from_millis(10), slow()).await;
    assert!(left.is_err());
    let next = elapsed(&mut Box::pin(async { drop(slow().await) })).await;
    assert!(next <= Duration::from_millis(302), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn the_line_of_the_day_breaks_every_third_time() {
    let shop = Bookshop::open(None);
    let mut seen = Vec::new();
    for app in shop.apps.iter().cycle().take(6) {
        seen.push(
            app.handle(get("/fragments/quote"), &Connection::NONE)
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(seen, [200, 200, 503, 200, 200, 503]);
}

#[tokio::test(start_paused = true)]
async fn a_page_is_the_same_for_everybody_and_says_its_age() {
    let shop = Bookshop::open(None);
    let plain = shop.pages.handle(get("/"), &Connection::NONE).await;
    let tag = header(&plain, "etag").to_owned();
    assert_eq!(header(&plain, "cache-control"), "public, max-age=300");
    assert_eq!(plain.headers()[VARY], "Surrogate-Capability");
    let age: u64 = header(&plain, "age").parse().expect("a number");
    let with_cookie = shop
        .pages
        .handle(
            ask("GET", "/", &[(COOKIE.as_str(), "session=1")], ""),
            &Connection::NONE,
        )
        .await;
    assert!(
        !with_cookie.headers().contains_key("surrogate-control"),
        "nobody announced anything"
    );
    assert_eq!(text(plain).await, text(with_cookie).await);

    let asked = |method, tag: &str| ask(method, "/", &[("if-none-match", tag)], "");
    let current = shop
        .pages
        .handle(asked("GET", &tag), &Connection::NONE)
        .await;
    assert_eq!(current.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&current, "etag"), tag);
    let head = shop
        .pages
        .handle(asked("HEAD", "\"other\""), &Connection::NONE)
        .await;
    assert!(
        header(&head, "content-length")
            .parse::<u64>()
            .expect("a number")
            > 10_000
    );
    assert_eq!(text(head).await, "");

    tokio::time::advance(Duration::from_secs(7)).await;
    let later = shop.pages.handle(get("/"), &Connection::NONE).await;
    assert_eq!(header(&later, "age"), ((age + 7) % 300).to_string());
}

#[tokio::test(start_paused = true)]
async fn addresses_lead_somewhere_or_say_that_they_do_not() {
    let shop = Bookshop::open(Some(SocketAddr::from(([127, 0, 0, 1], 9080))));
    for (url, wanted) in [
        ("/books/1", StatusCode::MOVED_PERMANENTLY),
        ("/books/1-wrong", StatusCode::MOVED_PERMANENTLY),
        ("/books/0", StatusCode::NOT_FOUND),
        ("/books/x", StatusCode::NOT_FOUND),
        ("/genres/novels?page=x", StatusCode::NOT_FOUND),
        ("/genres/novels?page=99", StatusCode::NOT_FOUND),
        ("/covers/2000.svg", StatusCode::OK),
        ("/covers/2001.svg", StatusCode::NOT_FOUND),
        ("/assets/shop.css", StatusCode::OK),
        ("/assets/mark.svg", StatusCode::OK),
    ] {
        assert_eq!(
            shop.pages
                .handle(get(url), &Connection::NONE)
                .await
                .status(),
            wanted,
            "{url}"
        );
    }
    assert_eq!(
        shop.pages
            .handle(ask("POST", "/", &[], ""), &Connection::NONE)
            .await
            .status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let about = text(
        shop.pages
            .handle(get("/about-this-demo"), &Connection::NONE)
            .await,
    )
    .await;
    assert!(about.contains("http://127.0.0.1:9080/"));
}

#[test]
fn the_script_fits_into_a_page_that_is_composed() {
    for opener in ["</script", "<esi:", "<!--", "<![CDATA["] {
        assert!(!layout::SCRIPT.contains(opener), "{opener}");
    }
}
