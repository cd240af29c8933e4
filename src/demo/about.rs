//! The page that tells a visitor what to look at.

use std::net::SocketAddr;

use maud::{Markup, PreEscaped, html};

use crate::demo::layout::Dialect;
use crate::demo::pages;

/// `/about-this-demo`; `dashboard` is where the admin listener answers, if there is one.
pub fn page(dashboard: Option<SocketAddr>) -> String {
    let main = html! {
        article.wrap.prose {
            p.kicker { "About this demo" }
            h1 { "One page, many hands" }
            p.lead {
                "Every page of this shop is put together while you wait: a skeleton that is the same for everybody, and parts of which "
                "some are yours alone. Tick " strong { "Show the joins" } " at the foot of any page to see them."
            }
            (things_to_try(dashboard))
            h2 { "Who made what" }
            p {
                "The " strong { "page cache" } " keeps the pages. It never sees a cookie, so it could not give you somebody else's page if it wanted to. "
                "Four " strong { "app instances" } " make the parts; each serves one request at a time and takes 20 to 300 milliseconds for it. "
                "The " strong { "gateway" } " in front fetches the page, finds the tags in it, asks for all parts at once, keeps those that are shared, and "
                "sends the page on its way while the slow ones are still being made."
            }
            (parts())
            h2 { "What a tag looks like" }
            p { "This is what stands in the skeleton of the front page, shown by " code { "esi:text" } ", which keeps tags from being run:" }
            (sample())
        }
    };
    pages::page(
        "About this demo",
        "What to look at in the Marquetry demo.",
        "/about-this-demo",
        Dialect::Esi,
        main,
    )
}

fn things_to_try(dashboard: Option<SocketAddr>) -> Markup {
    html! {
        h2 { "Things to try" }
        ol {
            li {
                strong { "Be two people. " }
                a href="/login" { "Log in" } " as ada here and as grace in another browser or a private window. Put different books in your baskets. Load the "
                a href="/" { "front page" } " in both as often as you like: greeting, basket and picks never cross over, while best sellers come from one copy."
            }
            li {
                strong { "Watch one part fail. " }
                "The line of the day under the headline of the " a href="/" { "front page" } " breaks every third time. Its tag names an " code { "alt" }
                ", so the line of the house stands in and the page never shows a scar. " a href="/fragments/quote" { "Here it is by itself" } "; reload it a few times."
            }
            li {
                strong { "Watch a slow part. " }
                "The evenings in the shop, on the " a href="/" { "front page" } ", take 300 ms to make. With a cold cache the top of the page is there "
                "before they are. For the next ten seconds they cost nothing, to anybody. Your picks take about 200 ms and are made for each view."
            }
            li {
                strong { "Look inside a part. " }
                "“From the counter” is a shared part that includes two more: the stock, kept for five seconds, and a remark that is yours alone. The table at the foot of the page indents them."
            }
            li {
                strong { "Write a review " } "of " a href="/books/1" { "a book" } ". The reviews are one copy for everybody, kept for half a minute, and yet the next page shows yours, to you and to everybody: the answer to your "
                code { "POST" } " names the group of what it has changed (" code { "Cache-Group-Invalidation" }
                "), and the gateway drops that before it hands the answer on. The same with the basket: put a book in, and its stock says so."
            }
            li {
                strong { "Read the same in SSI. " } a href="/ssi" { "The reading room" } " is marked with server side includes and shares its parts with the rest of the shop."
            }
            @if let Some(address) = dashboard {
                li { strong { "See it as an operator does: " } a href=(format!("http://{address}/")) { "the dashboard" } "." }
            }
        }
    }
}

fn parts() -> Markup {
    let rows = [
        ("greeting", "personal", "20 to 40 ms", "not kept"),
        ("basket", "personal", "30 to 60 ms", "not kept"),
        ("picked for you", "personal", "160 to 220 ms", "not kept"),
        ("best sellers", "shared", "80 to 120 ms", "60 s"),
        (
            "from the counter",
            "shared, with two parts inside",
            "100 to 140 ms",
            "120 s",
        ),
        ("stock", "shared", "20 to 40 ms", "5 s"),
        ("reviews", "shared", "120 to 180 ms", "30 s"),
        (
            "evenings in the shop",
            "shared, slow",
            "280 to 300 ms",
            "10 s",
        ),
        (
            "line of the day",
            "shared, fails every third time",
            "40 to 60 ms",
            "not kept",
        ),
    ];
    html! {
        div.scroll {
            table {
                caption { "The parts of this shop" }
                thead { tr { th scope="col" { "Part" } th scope="col" { "Kind" } th scope="col" { "Work" } th scope="col" { "Kept for" } } }
                tbody { @for (name, kind, work, kept) in rows { tr { th scope="row" { (name) } td { (kind) } td { (work) } td { (kept) } } } }
            }
        }
    }
}

/// Tags as text: `esi:text` keeps them from being run, and a text area shows them as they are.
fn sample() -> Markup {
    PreEscaped(
        concat!(
            r#"<textarea class="sample" rows="6" readonly aria-label="Tags of the front page"><esi:text>"#,
            "<esi:include src=\"/fragments/greeting\" onerror=\"continue\"/>\n",
            "<esi:include src=\"/fragments/quote\"\n",
            "             alt=\"/fragments/quote-of-the-house\" onerror=\"continue\"/>\n",
            "<esi:include src=\"/fragments/readings\" maxwait=\"1500\" onerror=\"continue\"/>",
            "</esi:text></textarea>",
        )
        .to_owned(),
    )
}
