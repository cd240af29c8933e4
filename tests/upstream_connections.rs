//! Connections to servers: TLS by given roots and names, HTTP/2, Unix sockets, host names, and when a connection is kept.

mod support;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use marquetry::config::pattern::ServerAddress;
use marquetry::config::{ServerEntry, UpstreamConfig};
use marquetry::message::deadline::Deadline;
use marquetry::message::{Body, Request};
use marquetry::observe::span::Notes;
use marquetry::upstream::Upstream;
use marquetry::upstream::error::UpstreamError;
use marquetry::upstream::resolve::Lookup;
use rcgen::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::meter::{Manner, Meter, Work, quick};
use support::{Gate, Gateway, Origin, Reply, Setup, ask, within};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey as Chain;

/// A server's certificate, and the names that clients asked for.
#[derive(Debug)]
struct Certificate {
    chain: Arc<Chain>,
    asked: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<Chain>> {
        let name = hello.server_name().map(str::to_owned);
        self.asked.lock().expect("no panic holds it").push(name);
        Some(Arc::clone(&self.chain))
    }
}

/// A server's TLS for these names and protocols: its configuration, its certificate as PEM, the names asked for.
fn tls(names: &[&str], alpn: &[&str]) -> (Arc<ServerConfig>, String, Arc<Certificate>) {
    let names: Vec<_> = names.iter().map(|it| (*it).to_owned()).collect();
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let chain = Chain::from_der(vec![cert.der().clone()], key, &provider).expect("a key of ours");
    let certificate = Arc::new(Certificate {
        chain: Arc::new(chain),
        asked: Mutex::default(),
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that ring can do")
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = alpn.iter().map(|it| it.as_bytes().to_vec()).collect();
    (Arc::new(config), cert.pem(), certificate)
}

/// A gateway before one server, by an address in the words of the file.
async fn before(address: &str, lines: &str, files: &[(&str, &str)]) -> Gateway {
    let mut setup = Setup::new();
    for (name, text) in files {
        setup = setup.file(name, text);
    }
    setup
        .more(&format!(
            "[upstreams.app]\nservers = [\"{address}\"]\n{lines}"
        ))
        .route("/", "app", "cache = false")
        .start()
        .await
}

async fn secure(names: &[&str], alpn: &[&str]) -> (Meter, String, Arc<Certificate>) {
    let (config, pem, certificate) = tls(names, alpn);
    let manner = Manner {
        tls: Some(config),
        ..Manner::default()
    };
    (Meter::with(manner, quick).await, pem, certificate)
}

#[tokio::test]
async fn tls_trusts_given_roots_and_asks_for_a_name() {
    let (server, pem, certificate) = secure(&["app.internal"], &["http/1.1"]).await;
    let lines = "tls = { ca = \"roots.pem\", server_name = \"app.internal\" }";
    let gateway = before(&server.address.to_string(), lines, &[("roots.pem", &pem)]).await;
    for number in 0..5 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
    }
    assert_eq!(server.connections(), 1, "it is kept");
    let asked = certificate.asked.lock().expect("no panic holds it").clone();
    assert_eq!(asked, [Some("app.internal".to_owned())]);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_of_nobody_is_refused() {
    let (server, pem, _) = secure(&["other.internal"], &[]).await;
    for (lines, reason) in [
        (
            "tls = { ca = \"roots.pem\", server_name = \"app.internal\" }",
            "certificate not valid for name",
        ),
        ("tls = true", "invalid peer certificate"),
    ] {
        let gateway = before(&server.address.to_string(), lines, &[("roots.pem", &pem)]).await;
        let answer = gateway.get("/secret").await;
        assert_eq!(answer.status, 502, "{lines}");
        let log = gateway.logged("server down").await;
        // Where the system has no roots there is no TLS at all.
        assert!(
            log.contains(reason) || log.contains("no trusted roots"),
            "{log}"
        );
    }
    assert_eq!(server.requests().len(), 0, "nothing was sent");
}

#[tokio::test]
async fn without_a_name_the_certificate_must_have_the_servers_address() {
    let (server, pem, certificate) = secure(&["127.0.0.1"], &[]).await;
    let gateway = before(
        &server.address.to_string(),
        "tls = { ca = \"roots.pem\" }",
        &[("roots.pem", &pem)],
    )
    .await;
    gateway.get("/x").await.is(200, "/x");
    let asked = certificate.asked.lock().expect("no panic holds it").clone();
    assert_eq!(asked, [None], "an address is no name to ask for");
}

#[tokio::test]
async fn a_server_in_the_clear_is_not_taken_for_one_with_tls() {
    let server = Meter::start(quick).await;
    let gateway = before(&server.address.to_string(), "tls = true", &[]).await;
    assert_eq!(gateway.get("/x").await.status, 502);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn http2_over_tls_is_agreed_on_and_http1_taken_where_it_is_not() {
    for (alpn, connections) in [
        (vec!["h2", "http/1.1"], 1),
        (vec!["http/1.1"], 8),
        (vec![], 8),
    ] {
        let (config, pem, _) = tls(&["127.0.0.1"], &alpn);
        let gate = Gate::new();
        let held = gate.clone();
        let manner = Manner {
            tls: Some(config),
            ..Manner::default()
        };
        let server = Meter::with(manner, move |_| Work {
            gate: Some(held.clone()),
            ..Work::default()
        })
        .await;
        let gateway = before(
            &server.address.to_string(),
            "tls = { ca = \"roots.pem\" }\nhttp2 = true",
            &[("roots.pem", &pem)],
        )
        .await;
        let targets: Vec<_> = (0..8).map(|number| format!("/{number}")).collect();
        let asked = targets.iter().map(|target| gateway.get(target));
        let opened = async {
            server.arrived(8).await;
            gate.open();
        };
        let (answers, ()) = futures::future::join(futures::future::join_all(asked), opened).await;
        for (answer, target) in answers.iter().zip(&targets) {
            answer.is(200, target);
        }
        assert_eq!(server.connections(), connections, "{alpn:?}");
    }
}

async fn http2(threads: usize, script: impl Fn(&str) -> Work + Send + Sync + 'static) -> Meter {
    let manner = Manner {
        threads,
        http2: true,
        tls: None,
    };
    Meter::with(manner, script).await
}

#[tokio::test]
async fn http2_in_the_clear_has_one_connection_for_many() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = http2(0, move |_| Work {
        gate: Some(held.clone()),
        ..Work::default()
    })
    .await;
    let gateway = before(&server.address.to_string(), "http2 = true", &[]).await;
    let asked = (0..20).map(|_| gateway.get("/x?a=1"));
    let opened = async {
        server.arrived(20).await;
        gate.open();
    };
    let (answers, ()) = futures::future::join(futures::future::join_all(asked), opened).await;
    for answer in &answers {
        answer.is(200, "/x?a=1");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_broken_off_counts_until_its_server_has_ended_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = http2(1, move |target| Work {
        gate: (target == "/held").then(|| held.clone()),
        ..Work::default()
    })
    .await;
    let lines =
        "http2 = true\nmax_in_flight = 1\nqueue_timeout = \"20s\"\nfirst_byte_timeout = \"20s\"";
    let gateway = before(&server.address.to_string(), lines, &[]).await;
    let mut leaves = gateway.client().await;
    leaves.send(ask("GET", "/held").bytes()).await;
    server.arrived(1).await;
    drop(leaves);
    let mut waits = gateway.client().await;
    waits.send(ask("GET", "/next").bytes()).await;
    gateway
        .metric_reaches("marquetry_upstream_queued", "app", 1.0)
        .await;
    assert_eq!(server.requests(), ["/held"]);
    gate.open();
    waits.answer().await.is(200, "/next");
    assert_eq!(server.most(), 1);
}

#[tokio::test]
async fn an_http2_connection_that_has_ended_is_replaced() {
    let mut server = http2(0, quick).await;
    let gateway = before(&server.address.to_string(), "http2 = true", &[]).await;
    gateway.get("/1").await.is(200, "/1");
    server.restart().await;
    gateway.get("/2").await.is(200, "/2");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_unix_socket_is_a_server() {
    let folder = tempfile::TempDir::new().expect("a folder of our own");
    let path = folder.path().join("app.sock");
    let server = Meter::at(&path, Manner::default(), quick);
    let address = format!("unix:{}", path.display());
    let gateway = before(&address, "max_in_flight = 1", &[]).await;
    for number in 0..5 {
        let target = format!("/{number}");
        gateway.get(&target).await.is(200, &target);
    }
    assert_eq!(server.connections(), 1);
    let status = gateway.admin("/status").await.text();
    assert!(status.contains(&address), "{status}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_found_before_use() {
    let mut server = Meter::start(quick).await;
    let gateway = before(&server.address.to_string(), "retries = 0", &[]).await;
    for round in 0..5 {
        let target = format!("/{round}");
        // A POST would not be sent twice: it is sent once, on a connection that lives.
        let answer = gateway.fetch(&ask("POST", &target).body("x")).await;
        answer.is(200, &target);
        server.restart().await;
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn without_keep_alive_each_exchange_has_its_connection() {
    let origin = Origin::start().await;
    origin.on("/x", Reply::text("fine"));
    let gateway = before(&origin.address.to_string(), "keep_alive = false", &[]).await;
    for _ in 0..4 {
        gateway.get("/x").await.is(200, "fine");
    }
    let requests = origin.requests();
    assert_eq!(origin.connections(), 4);
    assert!(
        requests
            .iter()
            .all(|it| it.head.first("connection") == Some("close"))
    );
}

/// A resolver with a script.
#[derive(Default)]
struct Names(Mutex<(Vec<SocketAddr>, usize, bool)>);

impl Names {
    fn say(&self, addresses: &[SocketAddr]) {
        self.0.lock().expect("no panic holds it").0 = addresses.to_vec();
    }

    fn asked(&self) -> usize {
        self.0.lock().expect("no panic holds it").1
    }
}

impl Lookup for Names {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        assert_eq!(host, "app.internal");
        let mut names = self.0.lock().expect("no panic holds it");
        names.1 += 1;
        let found = names.0.clone();
        Box::pin(async move {
            if found.is_empty() {
                return Err(io::Error::other("no such name"));
            }
            Ok(found)
        })
    }
}

fn named(names: &Arc<Names>, interval: Duration) -> Upstream {
    let address = ServerAddress::parse("app.internal:80").expect("a name");
    let config = UpstreamConfig {
        max_in_flight: 1,
        resolve_interval: interval,
        ..UpstreamConfig::new(vec![ServerEntry { address, weight: 1 }])
    };
    let lookup = Arc::clone(names) as Arc<dyn Lookup>;
    Upstream::with_lookup("app", &config, lookup)
}

async fn get(upstream: &Upstream, target: &str) -> Result<String, UpstreamError> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = target.parse().expect("a target");
    let deadline = Deadline::after(Duration::from_secs(20));
    let answer = upstream
        .send(request, deadline, &Notes::unobserved())
        .await?;
    let body = answer.response.into_body().collect(1024).await;
    Ok(String::from_utf8_lossy(&body.expect("a whole answer")).into_owned())
}

#[tokio::test]
async fn a_name_with_several_addresses_is_as_many_servers() {
    let servers = [
        Meter::start(quick).await,
        Meter::start(quick).await,
        Meter::start(quick).await,
    ];
    let [one, two, three] = servers.each_ref().map(|it| it.address);
    let names = Arc::new(Names::default());
    let upstream = named(&names, Duration::from_millis(1));
    let failed = get(&upstream, "/x").await.expect_err("it is not known yet");
    assert!(failed.to_string().contains("no such name"), "{failed}");
    names.say(&[two, one]);
    within("the name to be asked for again", async {
        while get(&upstream, "/first").await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..9 {
        get(&upstream, "/x").await.expect("both are there");
    }
    assert_eq!(servers[0].requests().len(), 5);
    assert_eq!(servers[1].requests().len(), 5);
    // One goes, another comes.
    names.say(&[three, two]);
    within("the new one to be used", async {
        while servers[2].requests().is_empty() {
            get(&upstream, "/y").await.expect("all live");
        }
    })
    .await;
    let before = servers[0].requests().len();
    for _ in 0..10 {
        get(&upstream, "/z").await.expect("both are there");
    }
    assert_eq!(servers[0].requests().len(), before, "it has left");
    // The resolver fails: what it said last holds.
    names.say(&[]);
    let asked = names.asked();
    within("the name to be asked for in vain", async {
        while names.asked() < asked + 2 {
            get(&upstream, "/z").await.expect("both are there still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // An order for the name is one for all that it stands for.
    upstream
        .pool()
        .drain("app.internal:80")
        .expect("it is known");
    upstream
        .pool()
        .drained("app.internal:80")
        .await
        .expect("it is known");
    let failed = get(&upstream, "/z").await.expect_err("all are drained");
    assert!(matches!(failed, UpstreamError::NoServer { .. }), "{failed}");
    let error = upstream
        .pool()
        .drain("app.internal")
        .expect_err("that is no server");
    assert!(
        error.to_string().contains("it has app.internal:80, "),
        "{error}"
    );
}
