//! TLS by rustls with ALPN for HTTP/2 and HTTP/1.1, and cleartext HTTP/2 with prior knowledge.

mod support;

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};
use support::h2::H2;
use support::{Client, Gateway, Origin, Reply, Setup, ask, within};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PAGE: &str = "https://www.example.com/page";

async fn site() -> (Origin, Gateway, CertificateDer<'static>) {
    let origin = Origin::start().await;
    origin.on("/page", Reply::html("[<esi:include src=\"/me\"/>]"));
    origin.answer("/me", |request| {
        let who = request.head.first("cookie").unwrap_or("nobody");
        Reply::html(who).header("Cache-Control", "private")
    });
    let made = rcgen::generate_simple_self_signed(vec!["www.example.com".to_owned()])
        .expect("a certificate");
    let gateway = Setup::composing(&origin)
        .https(&made.cert.pem(), &made.signing_key.serialize_pem())
        .start()
        .await;
    (origin, gateway, made.cert.der().clone())
}

/// Shakes hands, offering these protocols.
async fn shake(
    gateway: &Gateway,
    certificate: &CertificateDer<'static>,
    offer: &[&str],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("our own certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that ring can do")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offer.iter().map(|it| it.as_bytes().to_vec()).collect();
    let address = gateway.https.expect("a TLS listener");
    let stream = within("a connection", TcpStream::connect(address)).await;
    let name = ServerName::try_from("www.example.com").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = connector.connect(name, stream.expect("the gateway accepts"));
    within("a TLS handshake", shaken)
        .await
        .expect("a handshake")
}

fn chosen(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

#[tokio::test]
async fn alpn_offers_http_2_first() {
    let (origin, gateway, certificate) = site().await;
    let stream = shake(&gateway, &certificate, &["http/1.1", "h2"]).await;
    assert_eq!(chosen(&stream), Some(&b"h2"[..]));
    let mut client = H2::over(stream).await;
    for user in ["session=ann", "session=bob"] {
        let (_, status, body) = client.get(PAGE, &[("cookie", user)]).await;
        assert_eq!((status, body), (200, format!("[{user}]")));
    }
    let head = origin.last("/page").head;
    assert_eq!(head.all("x-forwarded-proto"), ["https"]);
    assert_eq!(head.all("host"), ["www.example.com"]);
}

#[tokio::test]
async fn who_offers_http_1_alone_gets_it() {
    let (_origin, gateway, certificate) = site().await;
    for offer in [&["http/1.1"][..], &[]] {
        let stream = shake(&gateway, &certificate, offer).await;
        assert_eq!(chosen(&stream), offer.first().map(|it| it.as_bytes()));
        let mut client = Client::over(stream);
        for user in ["session=ann", "session=bob"] {
            let answer = client
                .fetch(&ask("GET", "/page").header("Cookie", user))
                .await;
            answer.is(200, &format!("[{user}]"));
        }
    }
}

#[tokio::test]
async fn cleartext_http_2_needs_no_upgrade() {
    let (_origin, gateway, _certificate) = site().await;
    let stream = TcpStream::connect(gateway.http)
        .await
        .expect("the gateway accepts");
    let mut client = H2::over(stream).await;
    let (head, status, body) = client
        .get(
            "http://www.example.com/page",
            &[("cookie", "a=1"), ("cookie", "session=ann")],
        )
        .await;
    assert_eq!(
        (status, body.as_str()),
        (200, "[a=1; session=ann]"),
        "crumbs are joined"
    );
    assert!(head.get("connection").is_none());
}

#[tokio::test]
async fn requests_of_one_http_2_connection_do_not_mix() {
    let (_origin, gateway, certificate) = site().await;
    let stream = shake(&gateway, &certificate, &["h2"]).await;
    let client = H2::over(stream).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..50 {
        let mut client = client.clone();
        asking.spawn(async move {
            let user = format!("session=user-{number}-");
            let (_, status, body) = client.get(PAGE, &[("cookie", &user)]).await;
            assert_eq!((status, body), (200, format!("[{user}]")));
        });
    }
    while let Some(done) = asking.join_next().await {
        done.expect("its own answer");
    }
}

#[tokio::test]
async fn a_tls_listener_survives_those_who_do_not_speak_it() {
    let (_origin, gateway, certificate) = site().await;
    let address = gateway.https.expect("a TLS listener");
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &[0; 1000],
    ] {
        let mut client = Client::connect(address).await;
        let _ = client.try_send(bytes).await;
        client.shut().await;
        client.closed().await;
    }
    let mut client = Client::over(shake(&gateway, &certificate, &["http/1.1"]).await);
    client.fetch(&ask("GET", "/page")).await.is(200, "[nobody]");
}
