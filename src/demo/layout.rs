//! What all pages and parts of the shop have in common: the frame of a page, tags that include, the label of a part.
//!
//! A page holds no personal content: greeting and basket are includes. Pages are the same bytes for everybody.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::demo::catalogue::{Book, GENRES, money};
use crate::demo::reply::Stamp;

/// The stylesheet, served by the page cache.
pub const STYLE: &str = include_str!("shop.css");
/// The script that fills the table at the foot of a page; it stands in the page itself.
pub const SCRIPT: &str = include_str!("joins.js");

/// In which language a page asks for its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `<esi:include …/>`
    Esi,
    /// `<!--#include … -->`
    Ssi,
}

impl Dialect {
    /// As it is announced and declared.
    pub fn token(self) -> &'static str {
        match self {
            Self::Esi => "ESI/1.0",
            Self::Ssi => "SSI/1.0",
        }
    }

    /// The tag that includes `url`; nothing is shown where it fails.
    pub fn include(self, url: &str) -> Markup {
        match self {
            Self::Esi => PreEscaped(format!(r#"<esi:include src="{url}" onerror="continue"/>"#)),
            // The empty block stands in where the fragment fails.
            Self::Ssi => PreEscaped(format!(
                r#"<!--#include virtual="{url}" stub="nothing" -->"#
            )),
        }
    }
}

/// What is shown to everybody alike, or to one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Made for one reader, kept by nobody.
    Personal,
    /// The same for everybody, kept for so many seconds.
    Shared(u32),
    /// The same for everybody, kept by nobody.
    Passing,
}

impl Kind {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Shared(_) => "shared",
            Self::Passing => "not kept",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Personal => "part personal",
            Self::Shared(_) => "part shared",
            Self::Passing => "part passing",
        }
    }

    fn told(self) -> String {
        match self {
            Self::Personal => "Made for you alone and kept by nobody.".to_owned(),
            Self::Shared(seconds) => format!("The same for everybody, kept up to {seconds} s."),
            Self::Passing => "The same for everybody, made anew each time.".to_owned(),
        }
    }
}

/// A part of a page with its label: which origin made it, for whom, when, and how long that took.
pub fn part(name: &str, kind: Kind, stamp: &Stamp, content: &Markup) -> Markup {
    let cost = stamp.cost.as_millis();
    html! {
        div class=(kind.class()) data-part=(name) data-from=(stamp.from) data-kind=(kind.word()) data-cost=(cost) data-made=(stamp.made) {
            (content)
            details.ticket {
                summary { span.says { (name) " · " (kind.word()) " · " (stamp.from) " · " (cost) " ms" } }
                p { (kind.told()) " Made by " (stamp.from) " at " (clock(stamp.made)) " in " (cost) " ms." }
            }
        }
    }
}

/// The time of day in UTC.
fn clock(made: u64) -> String {
    let (minutes, seconds) = (made / 60, made % 60);
    format!(
        "{:02}:{:02}:{seconds:02} UTC",
        minutes / 60 % 24,
        minutes % 60
    )
}

/// A page of the shop.
pub struct Page<'a> {
    /// Goes before the shop's name in the window's title.
    pub title: &'a str,
    /// One sentence for search engines and previews.
    pub description: &'a str,
    /// Where it stands; marks the shelf in the menu.
    pub path: &'a str,
    /// How it asks for its parts.
    pub dialect: Dialect,
    /// Who made it.
    pub stamp: Stamp,
    /// What it is about.
    pub main: Markup,
}

impl Page<'_> {
    /// The whole document.
    pub fn html(&self) -> String {
        let kind = if self.stamp.from == PAGE_CACHE {
            "shared"
        } else {
            "personal"
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) " · Tarsia Books" }
                    meta name="description" content=(self.description);
                    meta name="color-scheme" content="light dark";
                    link rel="stylesheet" href="/assets/shop.css";
                    link rel="icon" href="/assets/mark.svg" type="image/svg+xml";
                }
                body data-part="page" data-from=(self.stamp.from) data-kind=(kind) data-cost=(self.stamp.cost.as_millis()) data-made=(self.stamp.made) {
                    @if self.dialect == Dialect::Ssi { (PreEscaped(r#"<!--#block name="nothing" --><!--#endblock -->"#)) }
                    a.skip href="#main" { "Skip to the books" }
                    (self.header())
                    (bare(self.dialect))
                    main #main { (self.main) }
                    (footer())
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
        .into_string()
    }

    fn header(&self) -> Markup {
        html! {
            header.top {
                div.wrap {
                    a.brand href="/" { (mark()) span { "Tarsia Books" } }
                    div.you {
                        (self.dialect.include("/fragments/greeting"))
                        (self.dialect.include("/fragments/basket"))
                    }
                    nav aria-label="Shelves" {
                        ul {
                            @for genre in GENRES {
                                @let url = format!("/genres/{}", genre.slug);
                                li { a href=(url) aria-current=[(self.path == url).then_some("page")] { (genre.name) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How the page cache signs.
pub const PAGE_CACHE: &str = "page cache";

/// What only a reader without the gateway sees: who composes drops it.
fn bare(dialect: Dialect) -> Markup {
    if dialect == Dialect::Ssi {
        return Markup::default();
    }
    let note = html! {
        p.bare { "This is the bare skeleton, as the page cache gives it: the parts are missing. The gateway fills them in." }
    };
    PreEscaped(format!(
        r#"<esi:comment text="Whoever composes the page drops what stands in esi:remove."/><esi:remove>{}</esi:remove>"#,
        note.into_string()
    ))
}

fn footer() -> Markup {
    html! {
        footer.foot {
            div.wrap {
                section.joins aria-labelledby="joins-title" {
                    h2 #joins-title { "How this page was put together" }
                    p {
                        "The page itself comes from a page cache and is the same for everybody. "
                        "Its parts come from small app servers that do one thing at a time; the gateway asked for all of them at once. "
                        a href="/about-this-demo" { "What to look at" } "."
                    }
                    label.switch { input #show-joins type="checkbox"; " Show the joins" }
                    noscript { p { "Without scripts there is no table here, but each part keeps its own label: the small dot at its corner." } }
                    div.scroll {
                        table #joins-table hidden {
                            caption { "Parts of this page, in their order" }
                            thead { tr { th scope="col" { "Part" } th scope="col" { "For whom" } th scope="col" { "From" } th.number scope="col" { "Work" } th.number scope="col" { "Made" } } }
                            tbody {}
                        }
                        table #timing-table hidden {
                            caption { "What the gateway says (Server-Timing)" }
                            thead { tr { th scope="col" { "Name" } th scope="col" { "What" } th.number scope="col" { "Time" } } }
                            tbody {}
                        }
                    }
                }
                p.small {
                    "Tarsia Books does not exist, and neither do its books: all were made up by a seeded dice. Nothing is sold here. "
                    a href="/ssi" { "The reading room" } " is the same shop in another tag language."
                }
            }
        }
    }
}

/// The shop's sign: four inlaid diamonds.
pub fn mark() -> Markup {
    html! {
        svg.mark xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" {
            rect width="32" height="32" rx="5" fill="#4a2c1a" {}
            path d="M16 4l6 6-6 6-6-6z" fill="#e0b15c" {}
            path d="M10 10l6 6-6 6-6-6z" fill="#b5533c" {}
            path d="M22 10l6 6-6 6-6-6z" fill="#5f8a6a" {}
            path d="M16 16l6 6-6 6-6-6z" fill="#f3e3c3" {}
        }
    }
}

/// A book as it lies on a table: cover, title, author, price.
pub fn card(book: &Book) -> Markup {
    html! {
        article.card {
            a href=(book.url()) {
                img src=(book.cover_url()) width="240" height="360" alt="" loading="lazy";
                h3 { (book.title) }
            }
            p.by { (book.author) }
            p.price { (money(book.price)) }
        }
    }
}

/// So many of five stars, for eyes and for readers aloud.
pub fn stars(count: u8) -> Markup {
    let count = usize::from(count.min(5));
    html! { span.stars role="img" aria-label=(format!("{count} of 5 stars")) { ("★".repeat(count)) span.off { ("★".repeat(5 - count)) } } }
}

/// The button that puts a book into the basket.
pub fn buy(book: &Book, label: &str, back: &str) -> Markup {
    html! {
        form.buy method="post" action="/basket/add" {
            input type="hidden" name="book" value=(book.number);
            input type="hidden" name="back" value=(back);
            button type="submit" { (label) }
        }
    }
}
