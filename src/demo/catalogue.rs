//! The books of the shop: some two thousand, made of word lists and a seed, the same on every machine.
//!
//! Nothing here changes after the start. What readers do (baskets, reviews) is in [`shop`](crate::demo::shop).

use std::collections::HashSet;

use crate::demo::seed::Seed;
use crate::demo::words;

/// Books of one genre.
const PER_GENRE: usize = 200;
/// Authors who write in one genre.
const AUTHORS_PER_GENRE: usize = 28;

/// A shelf of the shop.
#[derive(Debug)]
pub struct Genre {
    /// Its part of the URL.
    pub slug: &'static str,
    /// Its name on the shelf.
    pub name: &'static str,
    /// What the shop says of it.
    pub motto: &'static str,
    /// The hue of its covers, in degrees.
    pub hue: u32,
    titles: &'static [&'static str],
    blurbs: &'static [&'static str],
}

/// The shelves, in the order of the shop.
pub const GENRES: &[Genre] = &[
    Genre {
        slug: "novels",
        name: "Novels",
        motto: "Other people's lives, at a fair price.",
        hue: 14,
        titles: words::STORY_TITLES,
        blurbs: words::STORY_BLURBS,
    },
    Genre {
        slug: "crime",
        name: "Crime",
        motto: "Somebody did it. Somebody always did.",
        hue: 352,
        titles: words::CRIME_TITLES,
        blurbs: words::STORY_BLURBS,
    },
    Genre {
        slug: "science-fiction",
        name: "Science fiction",
        motto: "Tomorrow, second-hand and as new.",
        hue: 222,
        titles: words::FUTURE_TITLES,
        blurbs: words::STORY_BLURBS,
    },
    Genre {
        slug: "history",
        name: "History",
        motto: "It happened, more or less like this.",
        hue: 36,
        titles: words::HISTORY_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "nature",
        name: "Nature",
        motto: "For reading outdoors, or about it.",
        hue: 132,
        titles: words::NATURE_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "cookery",
        name: "Cookery",
        motto: "Stains welcome.",
        hue: 26,
        titles: words::COOKERY_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "poetry",
        name: "Poetry",
        motto: "Short lines, long evenings.",
        hue: 284,
        titles: words::POETRY_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "craft",
        name: "Craft and making",
        motto: "How things are held together.",
        hue: 48,
        titles: words::CRAFT_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "travel",
        name: "Travel",
        motto: "Further, slowly.",
        hue: 188,
        titles: words::TRAVEL_TITLES,
        blurbs: words::FACT_BLURBS,
    },
    Genre {
        slug: "children",
        name: "For children",
        motto: "Tested on the toughest critics we know.",
        hue: 330,
        titles: words::CHILDREN_TITLES,
        blurbs: words::STORY_BLURBS,
    },
];

/// One book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// Counted from 1; names the book in URLs.
    pub number: u32,
    /// Its title, unique in the shop.
    pub title: String,
    /// Who wrote it.
    pub author: String,
    /// The title as part of a URL: lower case, digits, hyphens.
    pub slug: String,
    /// Index into [`GENRES`].
    pub genre: usize,
    /// A few sentences.
    pub blurb: String,
    /// In pence.
    pub price: u32,
    /// When it came out.
    pub year: u32,
    /// How long it is.
    pub pages: u32,
    /// Who made it.
    pub publisher: &'static str,
    /// What readers said before the shop opened.
    pub reviews: Vec<Review>,
}

/// What a reader says of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who says it.
    pub reader: String,
    /// One to five.
    pub stars: u8,
    /// What.
    pub text: String,
}

/// All books, in the order of their numbers.
#[derive(Debug)]
pub struct Catalogue {
    books: Vec<Book>,
}

impl Catalogue {
    /// The catalogue of a seed.
    pub fn of(seed: u64) -> Self {
        let mut titles = HashSet::new();
        let mut books = Vec::with_capacity(GENRES.len() * PER_GENRE);
        let authors: Vec<Vec<String>> = (0..GENRES.len())
            .map(|genre| authors(seed, genre as u64))
            .collect();
        for round in 0..PER_GENRE {
            for (genre, authors) in authors.iter().enumerate() {
                let number = (round * GENRES.len() + genre + 1) as u32;
                let mut chance = Seed::of(seed, u64::from(number));
                books.push(book(number, genre, authors, &mut titles, &mut chance));
            }
        }
        Self { books }
    }

    /// All books, in the order of their numbers.
    pub fn books(&self) -> &[Book] {
        &self.books
    }

    /// The book of that number.
    pub fn book(&self, number: u32) -> Option<&Book> {
        self.books.get(number.checked_sub(1)? as usize)
    }

    /// The books of a shelf, in the order of their numbers.
    pub fn of_genre(&self, genre: usize) -> impl Iterator<Item = &Book> {
        self.books.iter().filter(move |book| book.genre == genre)
    }

    /// `count` different books, which ones a number decides.
    pub fn some(&self, count: usize, chance: &mut Seed) -> Vec<&Book> {
        let mut chosen: Vec<&Book> = Vec::with_capacity(count);
        // Enough tries for any count that a page shows, and an end for those that ask for more than there is.
        for _ in 0..count.saturating_mul(20) {
            if chosen.len() == count {
                break;
            }
            if let Some(book) = self.books.get(chance.below(self.books.len()))
                && !chosen.iter().any(|other| other.number == book.number)
            {
                chosen.push(book);
            }
        }
        chosen
    }
}

impl Book {
    /// Where it is shown.
    pub fn url(&self) -> String {
        format!("/books/{}-{}", self.number, self.slug)
    }

    /// Where its cover is drawn.
    pub fn cover_url(&self) -> String {
        format!("/covers/{}.svg", self.number)
    }

    /// The shelf that it stands on.
    pub fn shelf(&self) -> &'static Genre {
        // A book is made for one of the shelves, so the index is one.
        GENRES.get(self.genre).unwrap_or(&GENRES[0])
    }
}

/// An amount of pence as the shop writes it.
pub fn money(pence: u32) -> String {
    format!("£{}.{:02}", pence / 100, pence % 100)
}

fn authors(seed: u64, genre: u64) -> Vec<String> {
    let mut chance = Seed::of(seed ^ 0xa07_4057, genre);
    (0..AUTHORS_PER_GENRE)
        .map(|_| {
            format!(
                "{} {}",
                chance.pick(words::FIRST_NAMES),
                chance.pick(words::LAST_NAMES)
            )
        })
        .collect()
}

fn book(
    number: u32,
    genre: usize,
    authors: &[String],
    titles: &mut HashSet<String>,
    chance: &mut Seed,
) -> Book {
    let shelf = &GENRES[genre];
    let title = new_title(shelf.titles, titles, number, chance);
    let author = authors
        .get(chance.below(authors.len()))
        .cloned()
        .unwrap_or_default();
    let whole_pounds = chance.between(6, 28);
    let pence = [49, 50, 75, 95, 99][chance.below(5)];
    Book {
        number,
        slug: slug(&title),
        title,
        author,
        genre,
        blurb: words::filled(shelf.blurbs, chance),
        price: whole_pounds * 100 + pence,
        year: chance.between(1962, 2026),
        pages: chance.between(96, 560),
        publisher: chance.pick(words::PUBLISHERS),
        reviews: (0..chance.below(6)).map(|_| review(chance)).collect(),
    }
}

/// A title that no other book has; a shop that ran out of them would count.
fn new_title(
    templates: &[&str],
    titles: &mut HashSet<String>,
    number: u32,
    chance: &mut Seed,
) -> String {
    for _ in 0..40 {
        let title = words::filled(templates, chance);
        if titles.insert(title.clone()) {
            return title;
        }
    }
    let title = format!("{} ({number})", words::filled(templates, chance));
    titles.insert(title.clone());
    title
}

fn review(chance: &mut Seed) -> Review {
    let reader = format!(
        "{} {}.",
        chance.pick(words::FIRST_NAMES),
        char::from(b'A' + chance.below(26) as u8)
    );
    let stars = [5, 5, 4, 4, 3, 2][chance.below(6)];
    let templates = if stars > 3 {
        words::REVIEWS
    } else {
        words::MIXED_REVIEWS
    };
    let text = words::filled(templates, chance);
    Review {
        reader,
        stars,
        text,
    }
}

fn slug(title: &str) -> String {
    let mut slug = String::with_capacity(title.len());
    for byte in title.bytes().filter(|byte| *byte != b'\'') {
        if byte.is_ascii_alphanumeric() {
            slug.push(byte.to_ascii_lowercase() as char);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_catalogue() {
        let (one, same, other) = (Catalogue::of(7), Catalogue::of(7), Catalogue::of(8));
        assert_eq!(one.books(), same.books());
        assert_ne!(one.books(), other.books());
        assert_eq!(one.books().len(), 2000);
    }

    #[test]
    fn titles_differ_and_slugs_are_plain() {
        let catalogue = Catalogue::of(7);
        let titles: HashSet<_> = catalogue.books().iter().map(|book| &book.title).collect();
        assert_eq!(titles.len(), catalogue.books().len());
        for book in catalogue.books() {
            assert!(!book.slug.is_empty() && !book.author.is_empty() && !book.blurb.is_empty());
            assert!(
                book.slug
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                book.slug
            );
            assert_eq!(catalogue.book(book.number), Some(book));
        }
        assert_eq!(catalogue.book(0), None);
        assert_eq!(catalogue.book(2001), None);
    }

    #[test]
    fn some_books_are_different_books_and_never_more_than_there_are() {
        let catalogue = Catalogue::of(7);
        let mut numbers: Vec<_> = catalogue
            .some(12, &mut Seed::new(1))
            .iter()
            .map(|book| book.number)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 12);
        assert!(
            Catalogue { books: Vec::new() }
                .some(3, &mut Seed::new(1))
                .is_empty()
        );
    }

    #[test]
    fn money_has_two_digits_of_pence() {
        assert_eq!(money(705), "£7.05");
        assert_eq!(money(0), "£0.00");
    }
}
