//! The pages that the page cache keeps: shop front, shelves, books, the reading room. No personal content stands in them, so each
//! is one text for everybody, made from the catalogue alone.

use maud::{Markup, PreEscaped, html};

use crate::demo::catalogue::{Book, Catalogue, GENRES, money};
use crate::demo::layout::{Dialect, PAGE_CACHE, Page, buy, card};
use crate::demo::reply::Stamp;
use crate::demo::seed::Seed;
use crate::demo::shop::MAX_REVIEW;

/// Books on one page of a shelf.
const PER_PAGE: usize = 24;

/// A page signed by the page cache. It carries no time and no cost, so it is the same text whenever it is made.
pub fn page(title: &str, description: &str, path: &str, dialect: Dialect, main: Markup) -> String {
    let stamp = Stamp {
        from: PAGE_CACHE.to_owned(),
        cost: std::time::Duration::ZERO,
        made: 0,
    };
    Page {
        title,
        description,
        path,
        dialect,
        stamp,
        main,
    }
    .html()
}

/// The shop front.
pub fn front(catalogue: &Catalogue) -> String {
    let esi = Dialect::Esi;
    let mut chance = Seed::of(0x0f20_e47e, 0);
    let table = catalogue.some(13, &mut chance);
    let (window, table) = table.split_at(1.min(table.len()));
    let main = html! {
        section.window aria-labelledby="window-title" {
            div.wrap {
                div.words {
                    p.kicker { "Long tail, short queue" }
                    h1 #window-title { "Two thousand books nobody else has" }
                    p.lead { "Tarsia is a shop for the long tail: small presses, odd subjects, one copy of nearly everything. Pull up a chair." }
                    (quote())
                }
                @for book in window {
                    a.display href=(book.url()) {
                        img src=(book.cover_url()) width="240" height="360" alt=(format!("{} by {}", book.title, book.author));
                        span { "In the window: " em { (book.title) } }
                    }
                }
            }
        }
        section.wrap aria-labelledby="table-title" {
            h2 #table-title { "On the front table" }
            div.cards { @for book in table { (card(book)) } }
        }
        div.wrap.columns {
            (esi.include("/fragments/best-sellers"))
            (esi.include("/fragments/staff-picks"))
            (PreEscaped(r#"<esi:include src="/fragments/readings" maxwait="1500" onerror="continue"/>"#))
        }
        div.wrap { (esi.include("/fragments/recommendations")) }
        (unpacked(catalogue))
        section.wrap aria-labelledby="shelves-title" {
            h2 #shelves-title { "Along the shelves" }
            ul.shelves {
                @for (index, genre) in GENRES.iter().enumerate() {
                    li {
                        h3 { a href=(format!("/genres/{}", genre.slug)) { (genre.name) } }
                        p { (genre.motto) }
                        ul { @for book in catalogue.of_genre(index).take(5) { li { a href=(book.url()) { (book.title) } } } }
                    }
                }
            }
        }
    };
    page(
        "A shop for the long tail",
        "Two thousand books nobody else has, kept by a page cache and a few small app servers.",
        "/",
        esi,
        main,
    )
}

/// Six books with what they are about.
fn unpacked(catalogue: &Catalogue) -> Markup {
    let books = catalogue.some(6, &mut Seed::of(0x0f20_e47e, 2));
    html! {
        section.wrap aria-labelledby="unpacked-title" {
            h2 #unpacked-title { "Just unpacked" }
            ul.unpacked {
                @for book in books {
                    li {
                        a href=(book.url()) tabindex="-1" aria-hidden="true" { img src=(book.cover_url()) width="240" height="360" alt="" loading="lazy"; }
                        div {
                            h3 { a href=(book.url()) { (book.title) } }
                            p.by { (book.author) ", " (book.year) }
                            p.says-it { (book.blurb) }
                            p.price { (money(book.price)) }
                        }
                    }
                }
            }
        }
    }
}

/// The line of the day: fails now and then, and has a stand-in. Without a gateway it is a comment.
fn quote() -> Markup {
    PreEscaped(
        r#"<!--esi <esi:include src="/fragments/quote" alt="/fragments/quote-of-the-house" onerror="continue"/> -->"#
            .to_owned(),
    )
}

/// A shelf, a page of it at a time, counted from 1; `None` where there is no such page.
pub fn genre(catalogue: &Catalogue, slug: &str, number: usize) -> Option<String> {
    let (index, genre) = GENRES
        .iter()
        .enumerate()
        .find(|(_, genre)| genre.slug == slug)?;
    let books: Vec<&Book> = catalogue.of_genre(index).collect();
    let last = books.len().div_ceil(PER_PAGE);
    let shown = books.chunks(PER_PAGE).nth(number.checked_sub(1)?)?;
    let path = format!("/genres/{slug}");
    let main = html! {
        section.wrap aria-labelledby="shelf-title" {
            p.kicker { (books.len()) " books on this shelf" }
            h1 #shelf-title { (genre.name) }
            p.lead { (genre.motto) }
            div.cards { @for book in shown { (card(book)) } }
            (paging(&path, number, last))
        }
        div.wrap.columns {
            (Dialect::Esi.include("/fragments/best-sellers"))
            (Dialect::Esi.include("/fragments/staff-picks"))
        }
    };
    let title = if number == 1 {
        genre.name.to_owned()
    } else {
        format!("{}, page {number}", genre.name)
    };
    Some(page(&title, genre.motto, &path, Dialect::Esi, main))
}

fn paging(path: &str, number: usize, last: usize) -> Markup {
    let url = |page: usize| {
        if page == 1 {
            path.to_owned()
        } else {
            format!("{path}?page={page}")
        }
    };
    html! {
        nav.paging aria-label="Pages of this shelf" {
            @if number > 1 { a rel="prev" href=(url(number - 1)) { "← Back" } }
            span { "Page " (number) " of " (last) }
            @if number < last { a rel="next" href=(url(number + 1)) { "Further along →" } }
        }
    }
}

/// The page of a book.
pub fn book(catalogue: &Catalogue, book: &Book) -> String {
    let esi = Dialect::Esi;
    let shelf = book.shelf();
    let shelf_url = format!("/genres/{}", shelf.slug);
    let main = html! {
        article.wrap.book {
            div.cover { img src=(book.cover_url()) width="240" height="360" alt=(format!("Cover of {}", book.title)); }
            div.words {
                p.kicker { a href=(shelf_url) { (shelf.name) } }
                h1 { (book.title) }
                p.lead { "by " (book.author) }
                p.blurb { (book.blurb) }
                div.till {
                    p.price { (money(book.price)) }
                    (buy(book, "Put in the basket", &book.url()))
                    (esi.include(&format!("/fragments/stock?book={}", book.number)))
                }
                dl.facts {
                    dt { "Publisher" } dd { (book.publisher) }
                    dt { "Year" } dd { (book.year) }
                    dt { "Pages" } dd { (book.pages) }
                    dt { "Shelf mark" } dd { (shelf.slug.chars().take(3).collect::<String>().to_uppercase()) " " (book.number) }
                }
            }
        }
        div.wrap.columns {
            (esi.include(&format!("/fragments/reviews?book={}", book.number)))
            (review_form(book))
        }
        div.wrap { (esi.include(&format!("/fragments/recommendations?book={}", book.number))) }
        (same_author(catalogue, book))
    };
    page(&book.title, &book.blurb, &shelf_url, esi, main)
}

fn review_form(book: &Book) -> Markup {
    html! {
        section.panel aria-labelledby="review-title" {
            h2 #review-title { "Read it? Say so." }
            form.review method="post" action="/reviews" {
                input type="hidden" name="book" value=(book.number);
                p {
                    label for="stars" { "Stars" }
                    select #stars name="stars" { @for stars in (1..=5).rev() { option value=(stars) { (stars) } } }
                }
                p {
                    label for="text" { "Your review" }
                    textarea #text name="text" rows="4" maxlength=(MAX_REVIEW) required {}
                }
                p { button type="submit" { "Hand it in" } }
                p.small { "Reviews are a shared part that is kept for 30 seconds: yours shows, to everybody, when the one being shown has run out." }
            }
        }
    }
}

fn same_author(catalogue: &Catalogue, book: &Book) -> Markup {
    let others: Vec<&Book> = catalogue
        .of_genre(book.genre)
        .filter(|other| other.author == book.author && other.number != book.number)
        .take(6)
        .collect();
    html! {
        @if !others.is_empty() {
            section.wrap aria-labelledby="author-title" {
                h2 #author-title { "Also by " (book.author) }
                div.cards { @for other in others { (card(other)) } }
            }
        }
    }
}

/// The reading room: the same shop, its page marked with SSI instead of ESI.
pub fn reading_room(catalogue: &Catalogue) -> String {
    let ssi = Dialect::Ssi;
    let table = catalogue.some(6, &mut Seed::of(0x0f20_e47e, 1));
    let main = html! {
        section.window aria-labelledby="room-title" {
            div.wrap {
                div.words {
                    p.kicker { "The reading room" }
                    h1 #room-title { "The same shop, said in SSI" }
                    p.lead {
                        "This page asks for its parts with server side includes, as Apache and nginx know them. "
                        "The app servers cannot tell the difference, and the parts kept for everybody are the very same."
                    }
                    (PreEscaped(r#"<!--#block name="house-line" --><!--#include virtual="/fragments/quote-of-the-house" --><!--#endblock -->"#))
                    (PreEscaped(r#"<!--#include virtual="/fragments/quote" stub="house-line" -->"#))
                }
            }
        }
        section.wrap aria-labelledby="chairs-title" {
            h2 #chairs-title { "Left on the chairs" }
            div.cards { @for book in table { (card(book)) } }
        }
        div.wrap.columns {
            (ssi.include("/fragments/best-sellers"))
            (ssi.include("/fragments/staff-picks"))
            (ssi.include("/fragments/readings"))
        }
        div.wrap { (ssi.include("/fragments/recommendations")) }
    };
    page(
        "The reading room",
        "The same shop, its page marked with server side includes.",
        "/ssi",
        ssi,
        main,
    )
}

/// Where there is nothing.
pub fn not_found() -> String {
    let main = html! {
        section.wrap {
            p.kicker { "404" }
            h1 { "That shelf is empty" }
            p.lead { "Nothing stands at this address. " a href="/" { "Back to the front of the shop" } "." }
        }
    };
    // A page that is no 200 is not composed, so the parts that it would ask for are left out.
    let page = page("Not found", "Nothing stands here.", "", Dialect::Esi, main);
    without_includes(&page)
}

fn without_includes(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find("<esi:") {
        out.push_str(&rest[..at]);
        let tag = &rest[at..];
        let end = if tag.starts_with("<esi:remove>") {
            "</esi:remove>"
        } else {
            "/>"
        };
        rest = tag.find(end).map_or("", |found| &tag[found + end.len()..]);
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages kept in `fixtures/pages`, for benches and for readers; run with `UPDATE_FIXTURES=1` to write them anew.
    #[test]
    fn the_kept_pages_are_what_the_shop_renders() {
        let catalogue = Catalogue::of(crate::demo::SEED);
        let first = catalogue.book(1).expect("there is a first book");
        for (name, page) in [
            ("front", front(&catalogue)),
            ("book", book(&catalogue, first)),
            ("ssi", reading_room(&catalogue)),
        ] {
            let path = format!("{}/fixtures/pages/{name}.html", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_FIXTURES").is_some() {
                std::fs::write(&path, &page).expect("the fixture is written");
            }
            let kept = std::fs::read_to_string(&path).expect("the fixture is there");
            assert!(
                kept == page,
                "{path} differs; UPDATE_FIXTURES=1 writes it anew"
            );
        }
    }

    #[test]
    fn shelves_have_as_many_pages_as_they_need() {
        let catalogue = Catalogue::of(7);
        assert!(
            genre(&catalogue, "novels", 1).is_some() && genre(&catalogue, "novels", 9).is_some()
        );
        assert!(genre(&catalogue, "novels", 0).is_none());
        assert!(genre(&catalogue, "novels", 10).is_none());
        assert!(genre(&catalogue, "cobwebs", 1).is_none());
    }

    #[test]
    fn a_page_that_is_not_composed_carries_no_tags() {
        let page = not_found();
        assert!(
            !page.contains("<esi:")
                && !page.contains("</esi:")
                && page.contains("That shelf is empty")
        );
    }
}
