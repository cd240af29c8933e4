//! The most specific route answers, and nothing that a client or a template writes leads anywhere but to configured routes.

mod support;

use std::net::SocketAddr;

use support::{Gateway, Origin, Reply, Setup, ask, each};

/// One origin; the upstream that a request went to shows in its answer.
async fn site(routes: &[(&str, &str, &str)]) -> (Vec<Origin>, Gateway) {
    let mut origins = Vec::new();
    let mut setup = Setup::new();
    for (host, path, name) in routes {
        let origin = Origin::start().await;
        let own = (*name).to_owned();
        origin.answer("*", move |request| {
            Reply::text(format!("{own} {}", request.target))
        });
        setup = setup.upstream(name, &origin, "");
        setup = if host.is_empty() {
            setup.route(path, name, "")
        } else {
            setup.host_route(host, path, name, "")
        };
        origins.push(origin);
    }
    let gateway = setup.start().await;
    (origins, gateway)
}

#[tokio::test]
async fn the_host_chooses_by_name_then_by_its_end_then_any() {
    let (_origins, gateway) = site(&[
        ("", "/", "any"),
        ("*.example.com", "/", "wildcard"),
        ("www.example.com", "/", "exact"),
    ])
    .await;
    for (host, wanted) in [
        ("www.example.com", "exact"),
        ("WWW.Example.Com", "exact"),
        ("www.example.com:8080", "exact"),
        ("shop.example.com", "wildcard"),
        ("SHOP.EXAMPLE.COM:80", "wildcard"),
        ("example.com", "any"),
        ("wwwexample.com", "any"),
        ("www.example.com.evil.org", "any"),
        ("127.0.0.1", "any"),
        ("[::1]:80", "any"),
    ] {
        let answer = gateway.fetch(&ask("GET", "/x").host(host)).await;
        assert_eq!(answer.text(), format!("{wanted} /x"), "{host}");
    }
}

#[tokio::test]
async fn the_longest_path_answers_and_ends_at_a_segment() {
    let (_origins, gateway) = site(&[
        ("", "/", "root"),
        ("", "/shop", "shop"),
        ("", "/shop/cart/", "cart"),
        ("", "/@@tile-*", "tile"),
    ])
    .await;
    for (target, wanted) in [
        ("/", "root"),
        ("/x", "root"),
        ("/shop", "shop"),
        ("/shop/", "shop"),
        ("/shop/x", "shop"),
        ("/shop?x=/shop/cart/", "shop"),
        ("/shopping", "root"),
        ("/Shop", "root"),
        ("/shop/cart/1", "cart"),
        ("/shop/carton", "shop"),
        ("/@@tile-1", "tile"),
        ("/@@tile-", "tile"),
        ("/@@tile", "root"),
        ("//shop", "root"),
    ] {
        let answer = gateway.get(target).await;
        assert_eq!(answer.text(), format!("{wanted} {target}"), "{target}");
    }
}

#[tokio::test]
async fn a_request_without_a_route_is_404_and_reaches_nobody() {
    let (origins, gateway) = site(&[("www.example.com", "/known", "app")]).await;
    for (host, target) in [
        ("www.example.com", "/"),
        ("www.example.com", "/unknown"),
        ("www.example.com", "/knownnot"),
        ("other.example.com", "/known"),
        ("www.example.com", "/metrics"),
        ("www.example.com", "/readyz"),
        ("www.example.com", "/status"),
    ] {
        let answer = gateway.fetch(&ask("GET", target).host(host)).await;
        assert_eq!(answer.status, 404, "{host}{target}");
    }
    assert_eq!(origins[0].requests().len(), 0);
}

#[tokio::test]
async fn dots_are_removed_before_routing() {
    let (_origins, gateway) = site(&[("", "/", "root"), ("", "/admin", "admin")]).await;
    for (target, wanted) in [
        ("/public/../admin/x", "admin /admin/x"),
        ("/public/%2e%2e/admin/x", "admin /admin/x"),
        ("/public/%2E./admin/x", "admin /admin/x"),
        ("/public/.%2e/admin", "admin /admin"),
        ("/./admin/./x", "admin /admin/x"),
        ("/%2e/admin", "admin /admin"),
        ("/../../admin/x", "admin /admin/x"),
        ("/admin/../x", "root /x"),
        ("/admin/..", "root /"),
        ("/admin/x/.", "admin /admin/x/"),
        ("/admin/...", "admin /admin/..."),
        ("/.hidden/..x/y..", "root /.hidden/..x/y.."),
    ] {
        assert_eq!(gateway.get(target).await.text(), wanted, "{target}");
    }
}

#[tokio::test]
async fn an_encoded_slash_beside_dots_is_refused() {
    let (origins, gateway) = site(&[("", "/", "root"), ("", "/admin", "admin")]).await;
    for target in [
        "/x/..%2fadmin",
        "/x/..%2Fadmin",
        "/x%2f..%2fadmin",
        "/x%2f../admin",
        "/x/%2e%2e%2fadmin",
        "/x/..%5cadmin",
        "/x%5c..%5cadmin",
        "/x/.%2e%2fadmin",
        "/..%2f..%2fadmin",
    ] {
        // Refused with all that follows it on its connection.
        let mut client = gateway.client().await;
        client.send(ask("GET", target).bytes()).await;
        let _ = client.try_send(ask("GET", "/next").bytes()).await;
        assert_eq!(client.answer().await.status, 400, "{target}");
        assert!(client.closed().await.is_empty(), "{target}");
    }
    assert!(origins.iter().all(|origin| origin.requests().is_empty()));
}

#[tokio::test]
async fn nothing_else_of_a_target_is_changed() {
    let (_origins, gateway) = site(&[("", "/", "root")]).await;
    for target in [
        "/a%20b%41?x=%2F..%2F&y=a+b",
        "/a%2fb",
        "/a%5cb",
        "/a//b",
        "/a;b=c/d",
        "/%E4%B8%AD?q=%ff",
        "/x?",
        "/x??a=1&&b",
        "/x?_hash=a%2Bb%3D&_path=_controller%3DApp",
        "/~x!$&'()*+,;=:@",
        "/x?a=[b]|{c}",
    ] {
        assert_eq!(gateway.get(target).await.text(), format!("root {target}"));
    }
}

#[tokio::test]
async fn an_absolute_target_is_read_as_its_host_and_path() {
    let (origins, gateway) = site(&[("www.example.com", "/", "exact")]).await;
    let answer = gateway.get("http://www.example.com/x?y=1").await;
    answer.is(200, "exact /x?y=1");
    assert_eq!(origins[0].requests()[0].host(), "www.example.com");
}

/// Targets that would lead to `outside` if anything but routes were asked.
fn leading_outside(outside: SocketAddr) -> Vec<String> {
    let port = outside.port();
    [
        "http://127.0.0.1:PORT/x",
        "https://127.0.0.1:PORT/x",
        "//127.0.0.1:PORT/x",
        "http://www.example.com@127.0.0.1:PORT/x",
        "//user:secret@127.0.0.1:PORT/x",
        "http://127.0.0.1:PORT#www.example.com/x",
        "http://127.0.0.1:PORT?www.example.com/x",
        "\\\\127.0.0.1:PORT\\x",
        "/\\127.0.0.1:PORT/x",
        "\\/127.0.0.1:PORT/x",
        "http:\\\\127.0.0.1:PORT\\x",
        "http:/\\127.0.0.1:PORT/x",
        "http:127.0.0.1:PORT/x",
        "http:///127.0.0.1:PORT/x",
        "http://2130706433:PORT/x",
        "http://0x7f000001:PORT/x",
        "http://0x7f.1:PORT/x",
        "http://0177.0.0.1:PORT/x",
        "http://127.1:PORT/x",
        "http://[::1]:PORT/x",
        "http://[::ffff:127.0.0.1]:PORT/x",
        "http://localhost:PORT/x",
        "http://127.0.0.1%2f@www.example.com:PORT/x",
        "HTTP://127.0.0.1:PORT/x",
        "file:///etc/passwd",
        "file://127.0.0.1:PORT/etc/passwd",
        "ftp://127.0.0.1:PORT/x",
        "gopher://127.0.0.1:PORT/_GET%20/x",
        "unix:/var/run/docker.sock",
        "data:text/html,hello",
        "javascript:alert(1)",
        "ws://127.0.0.1:PORT/x",
    ]
    .map(|url| url.replace("PORT", &port.to_string()))
    .to_vec()
}

#[tokio::test]
async fn includes_reach_configured_routes_only() {
    let inside = Origin::start().await;
    let outside = Origin::start().await;
    outside.on("*", Reply::html("OUTSIDE"));
    inside.on("*", Reply::error(404));
    let setup = Setup::new().upstream("app", &inside, "").host_route(
        "www.example.com",
        "/",
        "app",
        "compose = \"always\"",
    );
    let gateway = setup.start().await;
    let mut urls = leading_outside(outside.address);
    urls.push(format!("http://{}/metrics", gateway.admin));
    urls.push(format!("//{}/status", gateway.admin));
    let page = each(&urls, |url| {
        format!(
            "<esi:include src=\"{url}\"/><esi:include src=\"/gone\" alt=\"{url}\"/><!--#include virtual=\"{url}\" -->"
        )
    });
    inside.on("/page", Reply::html(page));
    let answer = gateway.get("/page").await;
    assert_eq!(answer.status, 200);
    for word in ["OUTSIDE", "root:", "marquetry_"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
    assert_eq!(outside.connections(), 0, "a connection outside was opened");
    for request in inside.requests() {
        assert_eq!(request.host(), "www.example.com", "{}", request.target);
    }
}

#[tokio::test]
async fn a_route_for_any_host_still_leads_to_its_own_upstream() {
    let inside = Origin::start().await;
    let outside = Origin::start().await;
    outside.on("*", Reply::html("OUTSIDE"));
    inside.on("*", Reply::html("in"));
    let page = each(leading_outside(outside.address), |url| {
        format!("<esi:include src=\"{url}\"/>")
    });
    inside.on("/page", Reply::html(page));
    let gateway = Setup::composing(&inside).start().await;
    let answer = gateway.get("/page").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.text().contains("OUTSIDE"));
    assert_eq!(outside.connections(), 0, "a connection outside was opened");
}

#[tokio::test]
async fn a_redirect_of_a_fragment_is_not_followed() {
    let inside = Origin::start().await;
    let outside = Origin::start().await;
    outside.on("*", Reply::html("OUTSIDE"));
    inside.on("/page", Reply::html("[<esi:include src=\"/moved\"/>]"));
    let there = format!("http://{}/x", outside.address);
    inside.on(
        "/moved",
        Reply::html("moved").status(302).header("Location", &there),
    );
    let gateway = Setup::composing(&inside).start().await;
    gateway.get("/page").await.is(200, "[]");
    assert_eq!(outside.connections(), 0);
}

#[tokio::test]
async fn no_control_character_of_a_tag_becomes_part_of_a_request_head() {
    let origin = Origin::start().await;
    let urls = [
        "/f?a=1&#13;&#10;X-Evil: 1",
        "/f?a=1&#x0d;&#x0a;&#x0d;&#x0a;GET /smuggled HTTP/1.1",
        "/f\r\nX-Evil: 1",
        "/f HTTP/1.1",
        "/f&#0;",
        "/f\tx",
        "http://www.example.com&#13;&#10;X-Evil: 1/f",
    ];
    let page = each(urls, |url| {
        format!("<esi:include src=\"{url}\"/><!--#include virtual=\"{url}\" -->")
    });
    origin.on("*", Reply::html("."));
    origin.on("/page", Reply::html(page));
    let gateway = Setup::composing(&origin).start().await;
    assert_eq!(gateway.get("/page").await.status, 200);
    for request in origin.requests() {
        assert!(!request.head.has("x-evil"), "{:?}", request.head);
        assert_ne!(request.target, "/smuggled");
        assert!(
            request.head.start.ends_with(" HTTP/1.1"),
            "{:?}",
            request.head
        );
        assert_eq!(
            request.head.start.split(' ').count(),
            3,
            "{:?}",
            request.head
        );
    }
}

#[tokio::test]
async fn queries_of_includes_go_out_exactly_as_written() {
    let origin = Origin::start().await;
    origin.on("*", Reply::html("."));
    let queries = [
        "/f?_hash=aB%2Bc%3D&_path=_controller%3DApp%5CX",
        "/f?a=1&b=2&amp;c=3",
        "/f?q=%ff%FE&r=a+b",
        "/f?a=%2e%2e/%2F",
        "/f?x='y'",
    ];
    let page = each(queries, |url| format!("<esi:include src=\"{url}\"/>"));
    origin.on("/page", Reply::html(page));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, ".....");
    let mut asked: Vec<String> = origin
        .requests()
        .into_iter()
        .skip(1)
        .map(|it| it.target)
        .collect();
    asked.sort();
    let mut wanted: Vec<String> = queries.iter().map(|it| it.replace("&amp;", "&")).collect();
    wanted.sort();
    assert_eq!(asked, wanted);
}
