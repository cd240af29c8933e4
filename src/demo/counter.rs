//! The pages at the counter, which the app makes itself: login and basket. They are one reader's and kept by nobody.

use maud::html;

use crate::demo::catalogue::{Catalogue, money};
use crate::demo::fragments::total;
use crate::demo::layout::{Dialect, Page};
use crate::demo::reply::Stamp;
use crate::demo::shop::{MAX_NAME, Session};

/// The login form; `back` is where it leads, `again` whether the name was missing.
pub fn login(back: &str, again: bool, stamp: Stamp) -> String {
    let main = html! {
        section.wrap.desk aria-labelledby="login-title" {
            p.kicker { "At the counter" }
            h1 #login-title { "Who is reading?" }
            p.lead { "No password: any name will do. Be ada here and grace in another browser, and see that neither finds anything of the other." }
            @if again { p.error role="alert" { "We did not catch the name." } }
            form method="post" action="/login" {
                input type="hidden" name="back" value=(back);
                p {
                    label for="name" { "Your name" }
                    input #name name="name" type="text" maxlength=(MAX_NAME) autocomplete="username" required autofocus;
                }
                p { button type="submit" { "Log in" } }
            }
            p.small { "Or come in as" }
            div.guests {
                @for name in ["ada", "grace"] {
                    form method="post" action="/login" {
                        input type="hidden" name="back" value=(back);
                        input type="hidden" name="name" value=(name);
                        button.plain type="submit" { (name) }
                    }
                }
            }
        }
    };
    Page {
        title: "Log in",
        description: "Any name will do.",
        path: "/login",
        dialect: Dialect::Esi,
        stamp,
        main,
    }
    .html()
}

/// What is in the basket.
pub fn basket(session: &Session, catalogue: &Catalogue, stamp: Stamp) -> String {
    let rows: Vec<_> = session
        .basket
        .iter()
        .filter_map(|(number, copies)| Some((catalogue.book(*number)?, *copies)))
        .collect();
    let main = html! {
        section.wrap.desk aria-labelledby="basket-title" {
            p.kicker { "At the counter" }
            h1 #basket-title { @if let Some(name) = &session.name { "The basket of " (name) } @else { "Your basket" } }
            @if rows.is_empty() {
                p.lead { "Nothing in it yet. " a href="/" { "The front table" } " is a good place to start." }
            } @else {
                div.scroll {
                    table.order {
                        thead { tr { th scope="col" { "Book" } th.number scope="col" { "Copies" } th.number scope="col" { "Price" } th { span.quiet { "Take out" } } } }
                        tbody {
                            @for (book, copies) in &rows {
                                tr {
                                    td { a href=(book.url()) { (book.title) } br; span.by { (book.author) } }
                                    td.number { (copies) }
                                    td.number { (money(book.price.saturating_mul(*copies))) }
                                    td {
                                        form method="post" action="/basket/remove" {
                                            input type="hidden" name="book" value=(book.number);
                                            button.plain type="submit" aria-label=(format!("Take out {}", book.title)) { "Take out" }
                                        }
                                    }
                                }
                            }
                        }
                        tfoot { tr { th scope="row" { "Together" } td {} td.number { (money(total(session, catalogue))) } td {} } }
                    }
                }
                p.small { "This is as far as it goes: nothing is sold here." }
            }
        }
        div.wrap { (Dialect::Esi.include("/fragments/recommendations")) }
        div.wrap.columns { (Dialect::Esi.include("/fragments/best-sellers")) (Dialect::Esi.include("/fragments/staff-picks")) }
    };
    Page {
        title: "Basket",
        description: "What you have chosen.",
        path: "/basket",
        dialect: Dialect::Esi,
        stamp,
        main,
    }
    .html()
}
