//! Varnish in front of Marquetry and behind it, with the VCL of `examples/varnish`. Skipped, with a word, where there is no
//! `varnishd`.

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use support::{Answer, Client, Origin, Reply, Setup, address_of_ours, ask, within};

const FRONT: &str = include_str!("../examples/varnish/front.vcl");
const BEHIND: &str = include_str!("../examples/varnish/behind.vcl");
const COMPOSING: &str = include_str!("../examples/varnish/composing.vcl");

/// A running Varnish; ends with its value.
struct Varnish {
    address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Varnish {
    /// Starts one with this VCL, its backend put in the place of that of the example.
    async fn start(vcl: &str, port: &str, backend: SocketAddr) -> Option<Self> {
        let there = Command::new("varnishd")
            .arg("-V")
            .stderr(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no varnishd here");
            return None;
        }
        let folder = tempfile::TempDir::new().expect("a folder of our own");
        let file = folder.path().join("default.vcl");
        let vcl = vcl.replace(
            &format!(".port = \"{port}\""),
            &format!(".port = \"{}\"", backend.port()),
        );
        std::fs::write(&file, vcl).expect("a file in our own folder");
        let address = address_of_ours();
        let process = Command::new("varnishd")
            .args(["-F", "-s", "malloc,16m", "-j", "none"])
            .args(["-a", &address.to_string()])
            .arg("-n")
            .arg(folder.path().join("work"))
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("varnishd starts");
        within("varnishd to listen", async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Some(Self {
            address,
            process,
            _folder: folder,
        })
    }

    async fn fetch(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let mut asked = ask(method, target);
        for (name, value) in fields {
            asked = asked.header(name, value);
        }
        Client::connect(self.address).await.fetch(&asked).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.fetch("GET", target, &[]).await
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn public(body: &str) -> Reply {
    Reply::html(body).header("Cache-Control", "public, max-age=60")
}

fn number(text: Option<&str>) -> u32 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_front_of_marquetry() {
    let origin = Origin::start().await;
    origin.on("/page", public("[<esi:include src=\"/f\"/>]"));
    origin.on(
        "/f",
        public("a")
            .header("Age", "20")
            .header("Surrogate-Key", "part"),
    );
    origin.on("/mine", public("[<esi:include src=\"/me\"/>]"));
    origin.answer("/me", |request| {
        let user = request.head.first("cookie").unwrap_or("nobody");
        Reply::html(user).header("Cache-Control", "private")
    });
    let gateway = Setup::composing(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .more("[cache]\npurge_from = [\"127.0.0.1\"]")
        .start()
        .await;
    let Some(front) = Varnish::start(FRONT, "8080", gateway.http).await else {
        return;
    };
    // The first asker's page has parts on their way, and is kept by nobody.
    gateway.get("/page").await.is(200, "[a]");
    for _ in 0..3 {
        let page = front.get("/page").await;
        page.is(200, "[a]");
        let control = page.header("cache-control").unwrap_or_default().to_owned();
        let lives = number(control.rsplit("max-age=").next());
        let age = number(page.header("age"));
        assert!(lives <= 40 && age < 20, "{control}, age {age}");
        assert_eq!(page.header("surrogate-key"), None);
    }
    for user in ["session=ann", "session=bob"] {
        let page = front.fetch("GET", "/mine", &[("Cookie", user)]).await;
        page.is(200, &format!("[{user}]"));
    }
    front.get("/mine").await.is(200, "[nobody]");

    // A purge of the fragment's key reaches the page in front and the fragment here.
    origin.on("/f", public("b").header("Surrogate-Key", "part"));
    front.get("/page").await.is(200, "[a]");
    let purged = front
        .fetch("PURGE", "/", &[("Surrogate-Key", "part")])
        .await;
    assert_eq!(purged.status, 200);
    front.get("/page").await.is(200, "[b]");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_marquetry() {
    let origin = Origin::start().await;
    let declared = |control: &str, body: &str| {
        Reply::html(body)
            .header("Surrogate-Control", "content=\"ESI/1.0\"")
            .header("Cache-Control", control)
    };
    origin.on(
        "/page",
        declared("public, max-age=60", "[<esi:include src=\"/f\"/>]"),
    );
    origin.on("/private", declared("private, no-cache", "mine"));
    origin.on("/f", Reply::html("f").header("Cache-Control", "private"));
    let Some(behind) = Varnish::start(BEHIND, "8000", origin.address).await else {
        return;
    };
    let gateway = Setup::new()
        .servers("pages", &[behind.address], "")
        .upstream("app", &origin, "")
        .route("/", "pages", "forward_cookies = false")
        .route("/f", "app", "")
        .start()
        .await;
    for user in ["session=ann", "session=bob"] {
        gateway.get_as("/page", user).await.is(200, "[f]");
        gateway.get_as("/private", user).await.is(200, "mine");
    }
    assert_eq!((origin.count("/page"), origin.count("/private")), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn composing_in_front_of_marquetry() {
    let origin = Origin::start().await;
    // Varnish composes what begins with a tag.
    let page = "<p><esi:include src=\"/f\"/><esi:include src=\"/me\"/></p>";
    let declared = public(page).header("Surrogate-Control", "content=\"ESI/1.0\"");
    origin.on("/page", declared.header("Vary", "Surrogate-Capability"));
    let other = "<!--#include virtual=\"/f\" -->";
    origin.on(
        "/ssi",
        public(other).header("Surrogate-Control", "content=\"SSI/1.0\""),
    );
    origin.on("/f", public("a"));
    origin.answer("/me", |request| {
        let user = request.head.first("cookie").unwrap_or("nobody");
        Reply::html(user).header("Cache-Control", "private")
    });
    let gateway = Setup::new()
        .upstream("app", &origin, "")
        .route("/", "app", "delegate = true")
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let Some(front) = Varnish::start(COMPOSING, "8080", gateway.http).await else {
        return;
    };
    for round in 0..2 {
        for user in ["session=ann", "session=bob"] {
            let page = front.fetch("GET", "/page", &[("Cookie", user)]).await;
            page.is(200, &format!("<p>a{user}</p>"));
            assert_eq!(page.header("surrogate-control"), None);
            // Past Varnish the same page is composed here.
            gateway
                .get_as("/page", user)
                .await
                .is(200, &format!("<p>a{user}</p>"));
        }
        front.get("/page").await.is(200, "<p>anobody</p>");
        // What it cannot do is done here.
        front.get("/ssi").await.is(200, "a");
        // One skeleton for each of both forms, one copy of the shared part, a fetch for each user's own.
        let counts = ["/page", "/f", "/me"].map(|target| origin.count(target));
        assert_eq!(counts, [2, 1, 5 * (round + 1)]);
    }
}

/// The page cache's own misses go through a balancer: they take their places with the fragments, and the applications know that their pages are
/// composed, and for which request.
#[tokio::test(flavor = "multi_thread")]
async fn behind_marquetry_and_before_a_balancer() {
    let origin = Origin::start().await;
    origin.answer("/page", |request| {
        let capability = request.head.first("surrogate-capability");
        if capability.is_some_and(|it| it.contains("marquetry=") && it.contains("ESI/1.0")) {
            Reply::html("[<esi:include src=\"/f\"/>]")
                .header("Surrogate-Control", "content=\"ESI/1.0\"")
                .header("Cache-Control", "public, max-age=60")
        } else {
            Reply::html("rendered in place")
        }
    });
    origin.on("/f", Reply::html("f").header("Cache-Control", "private"));
    let balancer = address_of_ours();
    let Some(behind) = Varnish::start(BEHIND, "8000", balancer).await else {
        return;
    };
    let gateway = Setup::new()
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .servers("pages", &[behind.address], "")
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "pages", "forward_cookies = false")
        .route("/f", "app", "")
        .more(&format!(
            "[[balancers]]\nlisten = \"{balancer}\"\nupstream = \"app\""
        ))
        .start()
        .await;
    let pages = (0..20).map(|number| {
        let target = format!("/page?{number}");
        let (gateway, origin) = (&gateway, &origin);
        async move {
            let page = gateway.get_as(&target, "session=ann").await;
            page.is(200, "[f]");
            let asked = origin.last(&target);
            assert_eq!(asked.head.all("cookie"), Vec::<&str>::new());
            assert_eq!(
                asked.head.first("x-request-id"),
                page.header("x-request-id")
            );
        }
    });
    futures::future::join_all(pages).await;
    gateway.get("/page?0").await.is(200, "[f]");
    assert_eq!(origin.count("/page?0"), 1, "the page cache had it");
    assert_eq!(origin.most_in_flight(), 1);
}
