//! The parts of pages: what each says, for whom, how long it takes to make, how long it keeps.
//!
//! The walls between users stand here: a shared part is made by a function that is not given the session, so it cannot depend on
//! it; a personal one says `private, no-store`, always.

use maud::{Markup, html};

use crate::demo::catalogue::{Book, Catalogue, Review, money};
use crate::demo::form::Form;
use crate::demo::layout::{Dialect, Kind, buy, card, stars};
use crate::demo::seed::Seed;
use crate::demo::shop::{Session, Shop};
use crate::demo::words;

/// A part, before it is labelled.
#[derive(Debug)]
pub struct Fragment {
    /// As the label and the table at the foot of the page say it.
    pub name: &'static str,
    /// For whom, and for how long.
    pub kind: Kind,
    /// How long it takes to make, in milliseconds: at least, at most.
    pub work: (u32, u32),
    /// Names by which kept copies can be dropped, separated by spaces.
    pub surrogate_key: String,
    /// The group (RFC 9875) that an answer to a POST names when it has changed what this part shows.
    pub group: Option<String>,
    /// Whether it includes further parts.
    pub composes: bool,
    /// What it shows.
    pub content: Markup,
}

/// Why there is no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// There is none of that name, or no such book.
    Unknown,
    /// It breaks now and then; this is such a time.
    Broken,
}

impl Fragment {
    fn new(name: &'static str, kind: Kind, work: (u32, u32), content: Markup) -> Self {
        Self {
            name,
            kind,
            work,
            surrogate_key: name.replace(' ', "-"),
            group: None,
            composes: false,
            content,
        }
    }

    /// The `Cache-Control` of its kind.
    pub fn cache_control(&self) -> String {
        match self.kind {
            Kind::Personal => "private, no-store".to_owned(),
            Kind::Passing => "no-store".to_owned(),
            Kind::Shared(seconds) => format!("public, max-age={seconds}"),
        }
    }
}

/// The group of the parts that tell how many copies of a book there are.
pub fn stock_group(book: u32) -> String {
    format!("stock-{book}")
}

/// The group of the reviews of a book.
pub fn reviews_group(book: u32) -> String {
    format!("reviews-{book}")
}

/// The part at `/fragments/NAME`.
///
/// # Errors
/// [`Missing`]: there is no such part, or it is broken this time.
pub fn fragment(
    name: &str,
    query: &Form,
    session: Option<&Session>,
    catalogue: &Catalogue,
    shop: &Shop,
) -> Result<Fragment, Missing> {
    let book = || {
        query
            .number("book")
            .and_then(|number| catalogue.book(number))
    };
    match name {
        "greeting" => Ok(greeting(session)),
        "basket" => Ok(basket(session, catalogue)),
        "recommendations" => Ok(recommendations(session, book(), catalogue)),
        "staff-note" => Ok(staff_note(session, catalogue)),
        "best-sellers" => Ok(best_sellers(catalogue)),
        "staff-picks" => Ok(staff_picks(catalogue)),
        "readings" => Ok(readings()),
        "quote" => quote(shop.next_quote()),
        "quote-of-the-house" => Ok(quote_of_the_house()),
        "stock" => book()
            .map(|book| stock(book, shop.in_baskets(book.number)))
            .ok_or(Missing::Unknown),
        "reviews" => book()
            .map(|book| reviews(book, &shop.reviews(book.number)))
            .ok_or(Missing::Unknown),
        _ => Err(Missing::Unknown),
    }
}

// Personal parts.

fn greeting(session: Option<&Session>) -> Fragment {
    let name = session.and_then(|session| session.name.as_deref());
    let content = html! {
        div.greeting {
            @if let Some(name) = name {
                span.hello { "Hello, " strong { (name) } }
                form method="post" action="/logout" { button.plain type="submit" { "Log out" } }
            } @else {
                span.hello { "Hello, stranger" }
                a href="/login" { "Log in" }
            }
        }
    };
    Fragment::new("greeting", Kind::Personal, (20, 40), content)
}

fn basket(session: Option<&Session>, catalogue: &Catalogue) -> Fragment {
    let copies = session.map_or(0, Session::copies);
    let total = session.map_or(0, |session| total(session, catalogue));
    let content = html! {
        a.basket href="/basket" {
            "Basket: "
            @if copies == 0 { "empty" } @else { strong { (copies) @if copies == 1 { " book" } @else { " books" } } ", " (money(total)) }
        }
    };
    Fragment::new("basket", Kind::Personal, (30, 60), content)
}

/// What the basket costs, in pence.
pub fn total(session: &Session, catalogue: &Catalogue) -> u32 {
    session
        .basket
        .iter()
        .filter_map(|(number, copies)| Some(catalogue.book(*number)?.price.saturating_mul(*copies)))
        .fold(0, u32::saturating_add)
}

fn recommendations(
    session: Option<&Session>,
    book: Option<&Book>,
    catalogue: &Catalogue,
) -> Fragment {
    let reader = session.and_then(|session| session.name.as_deref());
    let content = html! {
        section.picks aria-labelledby="picks-title" {
            @if let Some(name) = reader {
                h2 #picks-title { "Picked for " (name) }
                p.small { (reason(session, catalogue)) }
                div.cards { @for pick in picks(name, session, book, catalogue) { (card(pick)) } }
            } @else {
                h2 #picks-title { "Picked for you" }
                p { a href="/login" { "Log in" } " and this shelf is arranged for you and nobody else." }
            }
        }
    };
    Fragment::new("picked for you", Kind::Personal, (160, 220), content)
}

fn reason(session: Option<&Session>, catalogue: &Catalogue) -> String {
    let last = session
        .and_then(|session| session.basket.last())
        .and_then(|(number, _)| catalogue.book(*number));
    match last {
        Some(book) => format!("Because {} is in your basket.", book.title),
        None => {
            "A first guess: put something in the basket and we will know you better.".to_owned()
        }
    }
}

/// Six books: by the reader's name, and from the shelf of what was last put in the basket or is being looked at.
fn picks<'a>(
    name: &str,
    session: Option<&Session>,
    book: Option<&Book>,
    catalogue: &'a Catalogue,
) -> Vec<&'a Book> {
    let taste = name.bytes().fold(17, |taste: u64, byte| {
        taste.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut chance = Seed::of(taste, book.map_or(0, |book| u64::from(book.number)));
    let last = session.and_then(|session| session.basket.last());
    let shelf = last
        .and_then(|(number, _)| catalogue.book(*number))
        .or(book)
        .map(|book| book.genre);
    let mut picks: Vec<&Book> = shelf
        .map(|genre| {
            let skip = chance.below(180);
            catalogue.of_genre(genre).skip(skip).take(3).collect()
        })
        .unwrap_or_default();
    for other in catalogue.some(6, &mut chance) {
        if picks.len() < 6 && !picks.iter().any(|pick| pick.number == other.number) {
            picks.push(other);
        }
    }
    picks
}

/// Stands inside the shared staff picks.
fn staff_note(session: Option<&Session>, catalogue: &Catalogue) -> Fragment {
    let name = session
        .and_then(|session| session.name.as_deref())
        .unwrap_or("stranger");
    let shelf = staff_shelf(catalogue);
    let taken = session.map_or(0, |session| {
        let on_shelf = |number: u32| shelf.iter().any(|book| book.number == number);
        session
            .basket
            .iter()
            .filter(|(number, _)| on_shelf(*number))
            .count()
    });
    let content = html! {
        p.note {
            @match taken {
                0 => { "None of these is in your basket yet, " (name) "." }
                1 => { "One of these is in your basket already, " (name) "." }
                _ => { (taken) " of these are in your basket already, " (name) ". Our sort of reader." }
            }
        }
    };
    Fragment::new("remark", Kind::Personal, (20, 30), content)
}

// Shared parts: none of these functions is given a session.

fn best_sellers(catalogue: &Catalogue) -> Fragment {
    let books = catalogue.some(8, &mut Seed::of(0xbe57, 0));
    let content = html! {
        section.panel aria-labelledby="best-title" {
            h2 #best-title { "Best sellers" }
            ol.ranks { @for book in books { li { a href=(book.url()) { (book.title) } " " span.by { (book.author) } } } }
        }
    };
    Fragment::new("best sellers", Kind::Shared(60), (80, 120), content)
}

fn staff_shelf(catalogue: &Catalogue) -> Vec<&Book> {
    catalogue.some(3, &mut Seed::of(0x57af, 0))
}

/// Includes two further parts: one shared and short-lived, one personal.
fn staff_picks(catalogue: &Catalogue) -> Fragment {
    let shelf = staff_shelf(catalogue);
    let content = html! {
        section.panel aria-labelledby="staff-title" {
            h2 #staff-title { "From the counter" }
            ul.staff {
                @for book in &shelf {
                    li {
                        a href=(book.url()) { img src=(book.cover_url()) width="240" height="360" alt="" loading="lazy"; }
                        div {
                            h3 { a href=(book.url()) { (book.title) } }
                            p.by { (book.author) ", " (money(book.price)) }
                            (buy(book, "Add", "/"))
                        }
                    }
                }
            }
            @if let Some(first) = shelf.first() { (Dialect::Esi.include(&format!("/fragments/stock?book={}", first.number))) }
            (Dialect::Esi.include("/fragments/staff-note"))
        }
    };
    Fragment {
        composes: true,
        ..Fragment::new("from the counter", Kind::Shared(120), (100, 140), content)
    }
}

fn stock(book: &Book, in_baskets: u32) -> Fragment {
    let mut chance = Seed::of(0x570c, u64::from(book.number));
    let content = html! {
        p.stock {
            @match chance.below(6) {
                0 => { "Out of stock; we will write to the author." }
                1 => { "One copy of " em { (book.title) } " left, a little sun-bleached." }
                count => { (count) " copies of " em { (book.title) } " in the shop." }
            }
            @if in_baskets > 0 { " In baskets right now: " (in_baskets) "." }
        }
    };
    Fragment {
        group: Some(stock_group(book.number)),
        surrogate_key: format!("stock book-{}", book.number),
        ..Fragment::new("stock", Kind::Shared(5), (20, 40), content)
    }
}

fn reviews(book: &Book, new: &[Review]) -> Fragment {
    let all: Vec<&Review> = new.iter().chain(&book.reviews).collect();
    let content = html! {
        section.panel.reviews aria-labelledby="reviews-title" {
            h2 #reviews-title { "What readers say" }
            @if all.is_empty() { p { "Nobody has said anything yet." } }
            @for review in all {
                blockquote {
                    p { (stars(review.stars)) " " (review.text) }
                    footer { (review.reader) }
                }
            }
        }
    };
    Fragment {
        group: Some(reviews_group(book.number)),
        surrogate_key: format!("reviews book-{}", book.number),
        ..Fragment::new("reviews", Kind::Shared(30), (120, 180), content)
    }
}

/// The slow one.
fn readings() -> Fragment {
    let mut chance = Seed::of(0x4ead, 0);
    let content = html! {
        section.panel aria-labelledby="evenings-title" {
            h2 #evenings-title { "Evenings in the shop" }
            ul.evenings {
                @for day in ["Tuesday", "Thursday", "Friday", "Sunday"] {
                    li { strong { (day) } " " span { (words::filled(words::EVENINGS, &mut chance)) } " " span.by { "half past " (chance.pick(&["six", "seven", "eight"])) } }
                }
            }
            p.small { "This part is slow on purpose: the calendar hangs in the back room." }
        }
    };
    Fragment::new(
        "evenings in the shop",
        Kind::Shared(10),
        (280, 300),
        content,
    )
}

/// Fails every third time.
fn quote(count: u64) -> Result<Fragment, Missing> {
    if count % 3 == 2 {
        return Err(Missing::Broken);
    }
    let line = Seed::of(0x90_7e, count).pick(words::QUOTES);
    Ok(Fragment::new(
        "line of the day",
        Kind::Passing,
        (40, 60),
        line_of(line, "The line of the day"),
    ))
}

fn quote_of_the_house() -> Fragment {
    let line = "Every house has one book that holds up the table.";
    Fragment::new(
        "line of the house",
        Kind::Shared(3600),
        (20, 30),
        line_of(line, "The line of the house"),
    )
}

fn line_of(line: &str, from: &str) -> Markup {
    html! { figure.line { blockquote { p { "“" (line) "”" } } figcaption { (from) } } }
}
