//! Evaluation runs ahead of the fragments: what it reaches is asked for at once, what it does not reach is never asked for, and it
//! waits only where the language says so. All of it is read from the origin's log; gates make the order.

mod support;

use std::collections::BTreeSet;

use support::{Gate, Gateway, Origin, Reply, Setup, ask, each};

/// A fragment of its own for each URL, that nobody may share.
fn fragment(text: &str) -> Reply {
    Reply::html(text).header("Cache-Control", "private")
}

/// Fifty includes inside tries, branches, loops, SSI conditions and with stubs, ESI blocks, inlines, and all of these at once; and what
/// the page gives.
fn page_of_fifty() -> (String, String) {
    let include = |number: usize| format!("<esi:include src=\"/f/{number}\"/>");
    let shown = |number: usize| format!("<{number}>");
    let tries = each(0..10, |number| {
        let open = "<esi:try><esi:attempt>".repeat(number % 3 + 1);
        let close =
            "</esi:attempt><esi:except><esi:include src=\"/never\"/></esi:except></esi:try>"
                .repeat(number % 3 + 1);
        format!("{open}{}{close}", include(number))
    });
    let branches = each(10..20, |number| {
        let (taken, other) = (include(number), "<esi:include src=\"/never\"/>");
        match number % 3 {
            0 => format!(
                "<esi:choose><esi:when test=\"$(QUERY_STRING{{on}}) == 1\">{taken}</esi:when><esi:otherwise>{other}</esi:otherwise></esi:choose>"
            ),
            1 => format!(
                "<esi:choose><esi:when test=\"0\">{other}</esi:when><esi:otherwise>{taken}</esi:otherwise></esi:choose>"
            ),
            _ => format!(
                "<esi:choose><esi:when test=\"1\"><esi:choose><esi:when test=\"1 > 2\">{other}</esi:when><esi:when test=\"1\">{taken}</esi:when></esi:choose></esi:when></esi:choose>"
            ),
        }
    });
    let loops = "<esi:foreach collection=\"[2..3]\" item=\"ten\"><esi:foreach collection=\"[0..4]\" item=\"one\">\
                 <esi:include src=\"/f/$(ten)$(one)\"/></esi:foreach></esi:foreach>";
    let directives = each(25..30, |number| {
        let taken = format!("<!--#include virtual=\"/f/{number}\" stub=\"none\" -->");
        let other = "<!--#include virtual=\"/never\" -->";
        format!("<!--#if expr=\"$arg_on = 1\" -->{taken}<!--#else -->{other}<!--#endif -->")
    });
    let block = "<!--#block name=\"none\" --><!--#include virtual=\"/never\" --><!--#endblock -->";
    let blocks = each(35..42, |number| format!("<!--esi\n{}-->", include(number)));
    let inlines = each(42..46, |number| {
        format!(
            "<esi:inline name=\"/card/{number}\">{}</esi:inline>",
            include(number)
        )
    });
    let mixed = each(46..50, |number| {
        format!(
            "<esi:try><esi:attempt><esi:foreach collection=\"['x']\"><!--#if expr=\"a\" --><esi:choose>\
             <esi:when test=\"$(item) == 'x'\"><esi:vars>{}</esi:vars></esi:when></esi:choose><!--#endif --></esi:foreach>\
             </esi:attempt></esi:try>",
            include(number)
        )
    });
    let page = format!("{tries}|{branches}|{loops}|{block}{directives}|{blocks}|{inlines}|{mixed}");
    let output = [
        each(0..10, shown),
        each(10..20, shown),
        each((20..25).chain(30..35), shown),
        each(25..30, shown),
        each(35..42, |number| format!("\n{}", shown(number))),
        each(42..46, shown),
        each(46..50, shown),
    ];
    (page, output.join("|"))
}

#[tokio::test]
async fn fifty_includes_start_within_one_round_trip() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let (page, wanted) = page_of_fifty();
    origin.on("/page", Reply::html(page));
    for number in 0..50 {
        let reply = fragment(&format!("<{number}>")).behind(&gate);
        origin.on(&format!("/f/{number}"), reply);
    }
    let gateway = Setup::composing(&origin).start().await;
    let mut client = gateway.client().await;
    client.send(ask("GET", "/page?on=1").bytes()).await;
    origin.arrived_in_all(51).await;
    assert_eq!(origin.answered(), 1, "only the page itself was answered");
    let asked: BTreeSet<String> = origin.requests().into_iter().map(|it| it.target).collect();
    assert_eq!(
        asked.len(),
        51,
        "each fragment was asked for once: {asked:?}"
    );
    gate.open();
    client.answer().await.is(200, &wanted);
    assert_eq!(origin.requests().len(), 51);
}

/// What evaluation does not reach, and what the page shows instead.
const UNREACHED: &[(&str, &str, &str)] = &[
    (
        "a branch not taken",
        "<esi:choose><esi:when test=\"1 == 2\">{}</esi:when><esi:otherwise>a</esi:otherwise></esi:choose>",
        "a",
    ),
    (
        "a branch behind the one taken",
        "<esi:choose><esi:when test=\"1\">b</esi:when><esi:when test=\"1\">{}</esi:when><esi:otherwise>{}</esi:otherwise></esi:choose>",
        "b",
    ),
    (
        "a test that fails",
        "<esi:choose><esi:when test=\"1 / 0\">{}</esi:when></esi:choose>",
        "",
    ),
    (
        "`remove`",
        "<esi:remove>{}<!--#include virtual=\"/never\" --></esi:remove>",
        "",
    ),
    ("`comment`", "<esi:comment>{}</esi:comment>", ""),
    (
        "`text`",
        "<esi:text>[<esi:vars/>]</esi:text>",
        "[<esi:vars/>]",
    ),
    ("an HTML comment", "<!-- {} -->", "<!-- {} -->"),
    (
        "`except` of a good attempt",
        "<esi:try><esi:attempt><esi:include src=\"/good\"/></esi:attempt><esi:except>{}</esi:except></esi:try>",
        "good",
    ),
    (
        "`except` of an attempt that waits",
        "<esi:try><esi:attempt><esi:include src=\"/good\"/><esi:assign name=\"x\" value=\"1\"/></esi:attempt><esi:except>{}</esi:except></esi:try>",
        "good",
    ),
    (
        "`except` of an outer try whose inner one coped",
        "<esi:try><esi:attempt><esi:try><esi:attempt><esi:include src=\"/bad\"/></esi:attempt><esi:except>c</esi:except></esi:try></esi:attempt><esi:except>{}</esi:except></esi:try>",
        "c",
    ),
    (
        "`alt` of an include that came",
        "<esi:include src=\"/good\" alt=\"/never\"/>",
        "good",
    ),
    (
        "the rest of a round after `break`",
        "<esi:foreach collection=\"[1..3]\">$(item)<esi:break/>{}</esi:foreach>",
        "1",
    ),
    (
        "rounds after `break`",
        "<esi:foreach collection=\"[1..3]\"><esi:choose><esi:when test=\"$(item) == 2\"><esi:break/></esi:when></esi:choose><esi:include src=\"/round/$(item)\"/></esi:foreach>",
        "round 1",
    ),
    (
        "a loop over nothing",
        "<esi:foreach collection=\"[]\">{}</esi:foreach>",
        "",
    ),
    (
        "a function",
        "<esi:function name=\"f\">{}d</esi:function><esi:vars>$f()</esi:vars>",
        "d",
    ),
    (
        "an SSI branch not taken",
        "<!--#if expr=\"$nope\" -->{}<!--#elif expr=\"a = b\" -->{}<!--#else -->e<!--#endif -->",
        "e",
    ),
    (
        "a block that nobody uses",
        "<!--#block name=\"n\" -->{}<!--#endblock -->",
        "",
    ),
    (
        "the stub of a fragment that came",
        "<!--#block name=\"n\" -->{}<!--#endblock --><!--#include virtual=\"/good\" stub=\"n\" -->",
        "good",
    ),
    (
        "a URL that an inline answers",
        "<esi:inline name=\"/never\">f</esi:inline><esi:include src=\"/never\"/>",
        "ff",
    ),
];

#[tokio::test]
async fn what_is_not_reached_is_never_asked_for() {
    let origin = Origin::start().await;
    origin.on("/good", fragment("good"));
    origin.on("/bad", Reply::error(500));
    origin.on("/round/*", fragment("round 1"));
    origin.on("/never", fragment("SHOWN"));
    origin.on("/barrier", fragment(""));
    origin.on("/last", fragment("."));
    // One request at a time, in the order of asking: whatever was asked for before the last include has been answered before it.
    let gateway = Setup::new()
        .upstream("app", &origin, "max_in_flight = 1")
        .route("/", "app", "compose = \"always\"")
        .start()
        .await;
    let never = "<esi:include src=\"/never\"/>";
    for (number, (name, page, wanted)) in UNREACHED.iter().enumerate() {
        let target = format!("/page/{number}");
        let (page, wanted) = (page.replace("{}", never), wanted.replace("{}", never));
        // Behind the barrier the outcome of every attempt before it is known.
        let end = "<esi:eval src=\"/barrier\"/><esi:include src=\"/last\"/>";
        origin.on(&target, Reply::html(page + end));
        let answer = gateway.get(&target).await;
        assert_eq!(answer.text(), wanted + ".", "{name}");
        assert_eq!(origin.count("/never"), 0, "{name}");
    }
    let rounds = origin.requests().into_iter();
    let rounds: Vec<_> = rounds
        .map(|it| it.target)
        .filter(|it| it.starts_with("/round"))
        .collect();
    assert_eq!(rounds, ["/round/1"]);
}

const HELD: &str = "<esi:include src=\"/held\"/>";

/// What evaluation waits at: `/held` does not come before the gate opens.
const BARRIERS: &[(&str, &str, &str)] = &[
    ("eval", "<esi:eval src=\"/held\"/>", "held"),
    (
        "eval of what is composed first",
        "<esi:eval src=\"/held\" dca=\"esi\"/>",
        "held",
    ),
    (
        "SSI set",
        "<!--#include virtual=\"/held\" set=\"v\" --><!--#echo var=\"v\" -->",
        "held",
    ),
    (
        "SSI wait",
        "<!--#include virtual=\"/held\" wait=\"yes\" -->",
        "held",
    ),
    (
        "the end of a try with assign",
        "<esi:try><esi:attempt>{}<esi:assign name=\"n\" value=\"1\"/></esi:attempt></esi:try>",
        "held",
    ),
    (
        "… with eval",
        "<esi:try><esi:attempt>{}<esi:eval src=\"/quick\"/></esi:attempt></esi:try>",
        "heldquick",
    ),
    (
        "… with function",
        "<esi:try><esi:attempt>{}<esi:function name=\"f\">x</esi:function></esi:attempt></esi:try>",
        "held",
    ),
    (
        "… with a call of a function of the document",
        "<esi:function name=\"f\">x</esi:function><esi:try><esi:attempt>{}<esi:vars>$f()</esi:vars></esi:attempt></esi:try>",
        "heldx",
    ),
    (
        "… with a call that changes the head",
        "<esi:try><esi:attempt>{}<esi:vars>$add_header('X-A', 'b')</esi:vars></esi:attempt></esi:try>",
        "held",
    ),
    (
        "… with SSI set",
        "<esi:try><esi:attempt>{}<!--#set var=\"v\" value=\"1\" --></esi:attempt></esi:try>",
        "held",
    ),
    (
        "… around a try with assign",
        "<esi:try><esi:attempt>{}<esi:try><esi:attempt><esi:assign name=\"n\" value=\"1\"/></esi:attempt></esi:try></esi:attempt></esi:try>",
        "held",
    ),
    (
        "an inline's own include, when a later include names it",
        "<esi:inline name=\"/card\">{}</esi:inline><esi:include src=\"/card\"/>",
        "heldheld",
    ),
];

/// What looks alike and holds nothing up.
const NO_BARRIERS: &[(&str, &str, &str)] = &[
    ("an include", "{}", "held"),
    (
        "an include with all that it may carry",
        "<esi:include src=\"/held\" alt=\"/quick\" onerror=\"continue\" maxwait=\"20000\" ttl=\"5m\" no-store=\"on\" dca=\"esi\" setheader=\"X-A: b\"/>",
        "held",
    ),
    (
        "SSI include",
        "<!--#include virtual=\"/held\" wait=\"no\" -->",
        "held",
    ),
    (
        "SSI include with a stub",
        "<!--#block name=\"n\" --><!--#set var=\"v\" value=\"1\" --><!--#endblock --><!--#include virtual=\"/held\" stub=\"n\" -->",
        "held",
    ),
    (
        "a try",
        "<esi:try><esi:attempt>{}</esi:attempt><esi:except>x</esi:except></esi:try>",
        "held",
    ),
    (
        "a try in a try",
        "<esi:try><esi:attempt>a<esi:try><esi:attempt>{}</esi:attempt></esi:try></esi:attempt></esi:try>",
        "aheld",
    ),
    (
        "a try with what changes nothing",
        "<esi:try><esi:attempt>{}<esi:vars>$upper('a')$(HTTP_HOST|x)</esi:vars><esi:foreach collection=\"[1..2]\">$(item)</esi:foreach><!--#echo var=\"host\" --></esi:attempt></esi:try>",
        "heldAwww.example.com12www.example.com",
    ),
    (
        "a try between assigns",
        "<esi:assign name=\"n\" value=\"1\"/><esi:try><esi:attempt>{}</esi:attempt></esi:try><esi:assign name=\"n\" value=\"2\"/>",
        "held",
    ),
    (
        "an assign",
        "{}<esi:assign name=\"n\" value=\"1\"/><esi:assign name=\"m\">$(n)</esi:assign>",
        "held",
    ),
    (
        "a loop",
        "<esi:foreach collection=\"[1..1]\">{}</esi:foreach>",
        "held",
    ),
    (
        "a loop that is left",
        "<esi:foreach collection=\"[1..3]\">{}<esi:break/></esi:foreach>",
        "held",
    ),
    (
        "a branch",
        "<esi:choose><esi:when test=\"1\">{}</esi:when></esi:choose>",
        "held",
    ),
    (
        "a test on a variable",
        "{}<esi:assign name=\"n\" value=\"1\"/><esi:choose><esi:when test=\"$(n) == 1\">y</esi:when></esi:choose>",
        "heldy",
    ),
    (
        "a function and its call",
        "{}<esi:function name=\"f\">x</esi:function><esi:vars>$f()</esi:vars>",
        "heldx",
    ),
    (
        "a call that changes the head",
        "{}<esi:vars>$add_header('X-A', 'b')</esi:vars>",
        "held",
    ),
    (
        "an inline that nobody names",
        "<esi:inline name=\"/card\">{}</esi:inline><esi:include src=\"/quick\"/>",
        "heldquick",
    ),
    (
        "SSI conditions and variables",
        "{}<!--#set var=\"v\" value=\"1\" --><!--#if expr=\"$v = 1\" --><!--#config errmsg=\"\" -->y<!--#endif -->",
        "heldy",
    ),
];

/// An origin whose `/held` waits for the gate, and a gateway with each of these pages, an include of `/after/N` at its end.
async fn pages(rows: &[(&str, &str, &str)]) -> (Origin, Gateway) {
    let origin = Origin::start().await;
    for (number, (_, page, _)) in rows.iter().enumerate() {
        let end = format!("|<esi:include src=\"/after/{number}\"/>");
        let page = page.replace("{}", HELD) + &end;
        origin.on(&format!("/page/{number}"), Reply::html(page));
        origin.on(&format!("/after/{number}"), fragment("after"));
    }
    origin.on("/quick", fragment("quick"));
    origin.on("/other", Reply::html("<esi:include src=\"/quick\"/>"));
    let gateway = Setup::composing(&origin).start().await;
    (origin, gateway)
}

#[tokio::test]
async fn evaluation_waits_where_the_language_says_so() {
    let (origin, gateway) = pages(BARRIERS).await;
    for (number, (name, _, wanted)) in BARRIERS.iter().enumerate() {
        let gate = Gate::new();
        origin.on("/held", fragment("held").behind(&gate));
        let mut client = gateway.client().await;
        client
            .send(ask("GET", &format!("/page/{number}")).bytes())
            .await;
        origin.arrived("/held", number + 1).await;
        // While a whole other page goes through, nothing more is asked for.
        gateway.get("/other").await.is(200, "quick");
        let after = format!("/after/{number}");
        assert_eq!(origin.count(&after), 0, "{name}");
        gate.open();
        client.answer().await.is(200, &format!("{wanted}|after"));
        assert_eq!(origin.count(&after), 1, "{name}");
    }
}

#[tokio::test]
async fn evaluation_waits_for_nothing_else() {
    let (origin, gateway) = pages(NO_BARRIERS).await;
    for (number, (name, _, wanted)) in NO_BARRIERS.iter().enumerate() {
        println!("{name}");
        let gate = Gate::new();
        origin.on("/held", fragment("held").behind(&gate));
        let mut client = gateway.client().await;
        client
            .send(ask("GET", &format!("/page/{number}")).bytes())
            .await;
        origin.arrived("/held", number + 1).await;
        origin.arrived(&format!("/after/{number}"), 1).await;
        gate.open();
        client.answer().await.is(200, &format!("{wanted}|after"));
    }
}
