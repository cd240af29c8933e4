//! Many who ask for one thing cost one fetch when the answer is for all of them, and never stand behind each other when it is not.

mod support;

use support::{Answer, Client, End, Gate, Gateway, Origin, Reply, Setup, ask};

const ASKERS: usize = 20;

fn shared(body: &str) -> Reply {
    Reply::html(body).header("Cache-Control", "public, s-maxage=60")
}

fn personal(body: &str) -> Reply {
    Reply::html(body).header("Cache-Control", "private")
}

/// Sends the request on as many connections.
async fn send_all(gateway: &Gateway, target: &str, askers: std::ops::Range<usize>) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in askers {
        let mut client = gateway.client().await;
        let cookie = format!("session=user-{number}");
        client
            .send(ask("GET", target).header("Cookie", &cookie).bytes())
            .await;
        clients.push(client);
    }
    clients
}

async fn answers(clients: Vec<Client>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for mut client in clients {
        answers.push(client.answer().await);
    }
    answers
}

/// Lets the gateway read what was sent before: each of these requests is accepted, read and answered after it.
async fn settle(gateway: &Gateway) {
    for _ in 0..10 {
        gateway.get("/settle").await;
    }
}

#[tokio::test]
async fn many_askers_of_a_shared_answer_cost_one_fetch() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/page", shared("[<esi:include src=\"/top\"/>]"));
    origin.on("/top", shared("top").behind(&gate));
    let gateway = Setup::composing(&origin).start().await;
    let clients = send_all(&gateway, "/page", 0..ASKERS).await;
    origin.arrived("/top", 1).await;
    gate.open();
    for answer in answers(clients).await {
        answer.is(200, "[top]");
    }
    assert_eq!((origin.count("/page"), origin.count("/top")), (1, 1));
}

#[tokio::test]
async fn one_page_that_names_a_shared_fragment_often_fetches_it_once() {
    let origin = Origin::start().await;
    origin.on(
        "/page",
        Reply::html("<esi:include src=\"/top\"/>".repeat(10)),
    );
    origin.on("/top", shared("t"));
    let gateway = Setup::composing(&origin).start().await;
    gateway.get("/page").await.is(200, "tttttttttt");
    assert_eq!(origin.count("/top"), 1);
}

#[tokio::test]
async fn those_who_wait_are_served_though_the_first_asker_leaves() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/top", shared("top").behind(&gate));
    let gateway = Setup::composing(&origin).start().await;
    let first = send_all(&gateway, "/top", 0..1).await;
    origin.arrived("/top", 1).await;
    let waiters = send_all(&gateway, "/top", 1..ASKERS).await;
    settle(&gateway).await;
    drop(first);
    settle(&gateway).await;
    gate.open();
    for answer in answers(waiters).await {
        answer.is(200, "top");
    }
    assert_eq!(origin.count("/top"), 1);
}

#[tokio::test]
async fn when_the_answer_is_personal_all_who_wait_fetch_at_once() {
    let origin = Origin::start().await;
    let (first, others, again) = (Gate::new(), Gate::new(), Gate::new());
    let mut replies = vec![personal("first").behind(&first)];
    replies.extend(vec![personal("own").behind(&others); ASKERS - 1]);
    replies.push(personal("again").behind(&again));
    origin.on_each("/me", replies);
    let gateway = Setup::composing(&origin).start().await;
    let clients = send_all(&gateway, "/me", 0..ASKERS).await;
    origin.arrived("/me", 1).await;
    first.open();
    // None of these is answered before the last one has arrived.
    origin.arrived("/me", ASKERS).await;
    others.open();
    for answer in answers(clients).await {
        assert_eq!(answer.status, 200);
    }
    // The second wave knows: nobody waits for anybody.
    let clients = send_all(&gateway, "/me", 0..ASKERS).await;
    origin.arrived("/me", 2 * ASKERS).await;
    again.open();
    for answer in answers(clients).await {
        answer.is(200, "again");
    }
}

#[tokio::test]
async fn personal_fragments_of_one_address_do_not_wait_for_each_other() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/page", shared("[<esi:include src=\"/me\"/>]"));
    origin.on_each(
        "/me",
        vec![personal("first"), personal("own").behind(&gate)],
    );
    let gateway = Setup::composing(&origin).start().await;
    gateway
        .get_as("/page", "session=first")
        .await
        .is(200, "[first]");
    let clients = send_all(&gateway, "/page", 0..ASKERS).await;
    origin.arrived("/me", 1 + ASKERS).await;
    gate.open();
    for answer in answers(clients).await {
        answer.is(200, "[own]");
    }
}

#[tokio::test]
async fn the_first_answer_for_all_ends_the_memory_of_a_personal_one() {
    let origin = Origin::start().await;
    origin.on_each(
        "/top",
        vec![personal("mine"), shared("ours"), personal("never seen")],
    );
    let gateway = Setup::composing(&origin).start().await;
    gateway.get_as("/top", "session=ann").await.is(200, "mine");
    for user in ["session=bob", "session=cid", "session=dan"] {
        gateway.get_as("/top", user).await.is(200, "ours");
    }
}

#[tokio::test]
async fn a_failed_fetch_is_nobodys_but_its_askers() {
    let origin = Origin::start().await;
    for (target, failure) in [
        ("/error", Reply::error(500)),
        ("/cut", Reply::html("half").cut()),
        ("/slam", Reply::slam()),
    ] {
        let gate = Gate::new();
        origin.on_each(target, vec![failure.behind(&gate), shared("whole")]);
        let gateway = Setup::new()
            .upstream("app", &origin, "retries = 0")
            .route("/", "app", "compose = \"always\"")
            .start()
            .await;
        let first = send_all(&gateway, target, 0..1).await;
        origin.arrived(target, 1).await;
        let waiters = send_all(&gateway, target, 1..ASKERS).await;
        settle(&gateway).await;
        gate.open();
        for answer in answers(first).await {
            let honest = answer.status >= 500 || answer.end == End::Cut;
            assert!(honest, "{target}: {answer:?}");
        }
        for answer in answers(waiters).await {
            answer.is(200, "whole");
        }
    }
}

#[tokio::test]
async fn those_who_wait_are_not_given_another_variant() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let behind = gate.clone();
    origin.answer("/hello", move |request| {
        let language = request.head.first("accept-language").unwrap_or("none");
        shared(language)
            .header("Vary", "Accept-Language")
            .behind(&behind)
    });
    let gateway = Setup::composing(&origin).start().await;
    let mut clients = Vec::new();
    for number in 0..ASKERS {
        let language = ["de", "en", "fr"][number % 3];
        let mut client = gateway.client().await;
        client
            .send(
                ask("GET", "/hello")
                    .header("Accept-Language", language)
                    .bytes(),
            )
            .await;
        clients.push((client, language));
    }
    origin.arrived("/hello", 1).await;
    settle(&gateway).await;
    gate.open();
    for (mut client, language) in clients {
        client.answer().await.is(200, language);
    }
    assert!(origin.count("/hello") < ASKERS, "variants are shared, too");
}

#[tokio::test]
async fn requests_with_side_effects_are_never_joined() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/order", shared("done").behind(&gate));
    let gateway = Setup::composing(&origin).start().await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = gateway.client().await;
        client
            .send(ask("POST", "/order").body(format!("n={number}")).bytes())
            .await;
        clients.push(client);
    }
    origin.arrived("/order", 5).await;
    gate.open();
    for answer in answers(clients).await {
        answer.is(200, "done");
    }
    let mut bodies: Vec<_> = origin
        .requests_to("/order")
        .into_iter()
        .map(|it| it.body)
        .collect();
    bodies.sort();
    assert_eq!(bodies, [b"n=0", b"n=1", b"n=2", b"n=3", b"n=4"]);
}

/// What is passed on as it comes, so that many can read along.
async fn passing(origin: &Origin, lines: &str) -> Gateway {
    Setup::new()
        .upstream("app", origin, "retries = 0")
        .route("/", "app", "compose = \"off\"")
        .more(lines)
        .start()
        .await
}

#[tokio::test]
async fn all_who_ask_read_along_while_the_body_arrives() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/file", shared("begin-").then_behind(&gate).and("end"));
    let gateway = passing(&origin, "").await;
    let mut clients = Vec::new();
    for number in 0..ASKERS {
        let mut client = gateway.client().await;
        let mut incoming = client.begin(&ask("GET", "/file")).await;
        // Each has the beginning before the end has come, also those who ask later.
        incoming.until("begin-").await;
        drop(incoming);
        clients.push((number, client));
    }
    assert_eq!(origin.count("/file"), 1);
    gate.open();
    gateway.get("/file").await.is(200, "begin-end");
    assert_eq!(origin.count("/file"), 1);
}

#[tokio::test]
async fn a_body_goes_on_for_the_others_when_its_first_reader_leaves() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/file", shared("begin-").then_behind(&gate).and("end"));
    let gateway = passing(&origin, "").await;
    let mut first = gateway.client().await;
    first
        .begin(&ask("GET", "/file"))
        .await
        .until("begin-")
        .await;
    let mut second = gateway.client().await;
    let mut incoming = second.begin(&ask("GET", "/file")).await;
    incoming.until("begin-").await;
    drop(first);
    settle(&gateway).await;
    gate.open();
    incoming.finish().await.is(200, "begin-end");
    gateway.get("/file").await.is(200, "begin-end");
    assert_eq!(origin.count("/file"), 1);
}

#[tokio::test]
async fn a_body_that_nobody_reads_any_more_is_given_up() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/file", shared("begin-").then_behind(&gate).and("end"));
    let gateway = passing(&origin, "").await;
    let mut only = gateway.client().await;
    only.begin(&ask("GET", "/file")).await.until("begin-").await;
    drop(only);
    origin.abandoned("/file").await;
}

#[tokio::test]
async fn those_who_come_after_a_change_read_along_with_nothing_older() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let behind = gate.clone();
    let reads = std::sync::atomic::AtomicUsize::new(0);
    origin.answer("/file", move |request| {
        if request.method == "POST" {
            return Reply::text("changed");
        }
        match reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => shared("old-").then_behind(&behind).and("end"),
            _ => shared("new"),
        }
    });
    let gateway = passing(&origin, "").await;
    let mut first = gateway.client().await;
    let mut incoming = first.begin(&ask("GET", "/file")).await;
    incoming.until("old-").await;
    gateway
        .fetch(&ask("POST", "/file").body("x"))
        .await
        .is(200, "changed");
    gateway.get("/file").await.is(200, "new");
    gate.open();
    incoming.finish().await.is(200, "old-end");
    gateway.get("/file").await.is(200, "new");
}

#[tokio::test]
async fn what_is_too_large_to_be_stored_is_read_along_and_then_by_each_alone() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let large = shared("begin-")
        .chunked()
        .then_behind(&gate)
        .repeated("x".repeat(1000), 100);
    origin.on("/file", large);
    let gateway = passing(&origin, "[cache]\nmax_object = \"10KiB\"").await;
    let wanted = format!("begin-{}", "x".repeat(100_000));
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = gateway.client().await;
        client
            .begin(&ask("GET", "/file"))
            .await
            .until("begin-")
            .await;
        clients.push(client);
    }
    assert_eq!(origin.count("/file"), 1);
    drop(clients);
    gate.open();
    gateway.get("/file").await.is(200, &wanted);
    gateway.get("/file").await.is(200, &wanted);
    assert!(origin.count("/file") >= 2, "it is not stored");
}

#[tokio::test]
async fn what_finds_no_room_while_it_arrives_is_given_to_each_and_stored_another_time() {
    let origin = Origin::start().await;
    let (gate, other) = (Gate::new(), Gate::new());
    let half = "x".repeat(6000);
    let reply = |gate: &Gate| shared(&half).then_behind(gate).and("end");
    origin.on("/one", reply(&gate));
    origin.on("/other", reply(&other).chunked());
    let gateway = passing(
        &origin,
        "[cache]\nmax_object = \"8KiB\"\narriving = \"10KiB\"",
    )
    .await;
    let wanted = format!("{half}end");
    let mut one = gateway.client().await;
    let mut begun = one.begin(&ask("GET", "/one")).await;
    begun.until(&half).await;
    // There is no room for both, by their length or by what has come of them.
    let mut third = gateway.client().await;
    origin.on("/third", shared(&half).and("end"));
    third.fetch(&ask("GET", "/third")).await.is(200, &wanted);
    let mut second = gateway.client().await;
    let mut late = second.begin(&ask("GET", "/other")).await;
    late.until(&half).await;
    other.open();
    late.finish().await.is(200, &wanted);
    let hits = gateway
        .metric("marquetry_limits_hit_total", "cache.arriving")
        .await;
    assert!(hits >= 2.0, "{hits}");
    gate.open();
    begun.finish().await.is(200, &wanted);
    // Once there is room it is stored, and nothing was held against it.
    for path in ["/other", "/third"] {
        for _ in 0..2 {
            gateway.get(path).await.is(200, &wanted);
        }
        assert_eq!(origin.count(path), 2, "{path}");
    }
    gateway.get("/one").await.is(200, &wanted);
    assert_eq!(origin.count("/one"), 1);
}

#[tokio::test]
async fn who_waits_has_a_time_of_its_own() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/f", shared("late").behind(&gate));
    origin.on("/patient", Reply::html("[<esi:include src=\"/f\"/>]"));
    let hurried = "[<esi:include src=\"/f\" maxwait=\"100\" onerror=\"continue\"/>]";
    origin.on("/hurried", Reply::html(hurried));
    let gateway = Setup::composing(&origin).start().await;
    let mut patient = gateway.client().await;
    patient.send(ask("GET", "/patient").bytes()).await;
    origin.arrived("/f", 1).await;
    // It waits for the other's fetch as long as it can, and no longer; the other waits on.
    gateway.get("/hurried").await.is(200, "[]");
    assert_eq!(origin.count("/f"), 1);
    gate.open();
    patient.answer().await.is(200, "[late]");
    gateway.get("/hurried").await.is(200, "[late]");
    assert_eq!(origin.count("/f"), 1);
}

#[tokio::test]
async fn a_personal_variant_makes_nobody_fetch_another_one_alone() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let behind = gate.clone();
    origin.answer("/file", move |request| {
        let reply = match request.head.first("accept-language") {
            Some("de") => personal("mine"),
            _ => shared("all").behind(&behind),
        };
        reply.header("Vary", "Accept-Language")
    });
    let gateway = passing(&origin, "").await;
    let in_language = |language: &str| ask("GET", "/file").header("Accept-Language", language);
    gateway.fetch(&in_language("de")).await.is(200, "mine");
    let mut clients = Vec::new();
    for _ in 0..ASKERS {
        let mut client = gateway.client().await;
        client.send(in_language("en").bytes()).await;
        clients.push(client);
    }
    settle(&gateway).await;
    assert_eq!(origin.count("/file"), 2, "one for each language");
    gate.open();
    for answer in answers(clients).await {
        answer.is(200, "all");
    }
    // The personal one is remembered as such: those who ask for it do not wait for each other.
    let before = origin.count("/file");
    gateway.fetch(&in_language("de")).await.is(200, "mine");
    assert_eq!(origin.count("/file"), before + 1);
}
