//! What readers do in the shop: sessions, baskets, reviews. In memory, bounded, shared by all app instances.
//!
//! A session belongs to whoever holds its id; there is no other way to one. Every collection has a bound, and the oldest entry
//! makes room for a new one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::demo::catalogue::Review;

/// Sessions kept.
const MAX_SESSIONS: usize = 10_000;
/// Different books in a basket.
const MAX_TITLES: usize = 40;
/// Copies of one book in a basket.
const MAX_COPIES: u32 = 20;
/// Readers' reviews kept, all books together.
const MAX_REVIEWS: usize = 2_000;
/// Letters of a name.
pub const MAX_NAME: usize = 40;
/// Letters of a review.
pub const MAX_REVIEW: usize = 600;

/// The name of a session: 128 bits by chance, 32 hexadecimal digits on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// One that nobody can guess.
    fn new() -> Self {
        Self(rand::random())
    }

    /// Reads what [`wire`](Self::wire) wrote; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let plain = text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(text).ok().filter(|_| plain)?;
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    /// As it stands in the cookie.
    pub fn wire(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// What the shop knows of one reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// The name given at login; a guest has none.
    pub name: Option<String>,
    /// Book numbers and copies, in the order they were put in.
    pub basket: Vec<(u32, u32)>,
}

impl Session {
    /// Copies in the basket.
    pub fn copies(&self) -> u32 {
        self.basket.iter().map(|(_, copies)| copies).sum()
    }

    fn add(&mut self, book: u32) {
        if let Some((_, copies)) = self.basket.iter_mut().find(|(number, _)| *number == book) {
            *copies = (*copies + 1).min(MAX_COPIES);
        } else if self.basket.len() < MAX_TITLES {
            self.basket.push((book, 1));
        }
    }
}

/// The state that all app instances share.
#[derive(Debug, Default)]
pub struct Shop(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Session>,
    /// The ids of `sessions`, oldest first.
    order: VecDeque<SessionId>,
    /// Book number and review, oldest first.
    reviews: VecDeque<(u32, Review)>,
    /// How often the line of the day was asked for.
    quotes: u64,
}

impl Shop {
    /// The session of that id.
    pub fn session(&self, id: Option<SessionId>) -> Option<Session> {
        self.state().sessions.get(&id?).cloned()
    }

    /// Logs a reader in: a new id, with the basket of the session before, which ends. So an id that somebody planted before the
    /// login is worth nothing after it.
    pub fn log_in(&self, before: Option<SessionId>, name: &str) -> SessionId {
        let mut state = self.state();
        let basket = before
            .and_then(|id| state.end(id))
            // Only a guest's basket moves: a reader's own stays the reader's.
            .filter(|session| session.name.is_none())
            .map(|session| session.basket)
            .unwrap_or_default();
        state.begin(Session {
            name: Some(name.to_owned()),
            basket,
        })
    }

    /// Ends a session; the basket that was in it.
    pub fn log_out(&self, id: Option<SessionId>) -> Vec<(u32, u32)> {
        let ended = id.and_then(|id| self.state().end(id));
        ended.map(|session| session.basket).unwrap_or_default()
    }

    /// Copies of a book in all baskets together.
    pub fn in_baskets(&self, book: u32) -> u32 {
        let state = self.state();
        let baskets = state.sessions.values().flat_map(|session| &session.basket);
        let copies = baskets.filter(|(number, _)| *number == book);
        copies.map(|(_, copies)| copies).sum()
    }

    /// Puts a book into the basket; a guest's session, with the id returned, begins where there is none.
    pub fn add_to_basket(&self, id: Option<SessionId>, book: u32) -> Option<SessionId> {
        let mut state = self.state();
        if let Some(session) = id.and_then(|id| state.sessions.get_mut(&id)) {
            session.add(book);
            return None;
        }
        let mut session = Session::default();
        session.add(book);
        Some(state.begin(session))
    }

    /// Takes a book out of the basket.
    pub fn remove_from_basket(&self, id: Option<SessionId>, book: u32) {
        let mut state = self.state();
        if let Some(session) = id.and_then(|id| state.sessions.get_mut(&id)) {
            session.basket.retain(|(number, _)| *number != book);
        }
    }

    /// Keeps a reader's review.
    pub fn review(&self, book: u32, review: Review) {
        let mut state = self.state();
        if state.reviews.len() >= MAX_REVIEWS {
            state.reviews.pop_front();
        }
        state.reviews.push_back((book, review));
    }

    /// The reviews of a book that came in since the shop opened, newest first, a dozen at most.
    pub fn reviews(&self, book: u32) -> Vec<Review> {
        self.state()
            .reviews
            .iter()
            .rev()
            .filter(|(number, _)| *number == book)
            .map(|(_, review)| review.clone())
            .take(12)
            .collect()
    }

    /// Counts one more look at the line of the day, and says the how manieth it is, from 0.
    pub fn next_quote(&self) -> u64 {
        let mut state = self.state();
        let count = state.quotes;
        state.quotes = count.wrapping_add(1);
        count
    }

    /// Each change is complete before the lock is given back, so a thread that panicked left nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, session: Session) -> SessionId {
        while self.sessions.len() >= MAX_SESSIONS {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            self.sessions.remove(&oldest);
        }
        let id = SessionId::new();
        self.sessions.insert(id, session);
        self.order.push_back(id);
        id
    }

    fn end(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.order.retain(|other| *other != id);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_apart_and_end_with_logout() {
        let shop = Shop::default();
        let ada = shop.log_in(None, "ada");
        let grace = shop.log_in(None, "grace");
        assert_eq!(shop.add_to_basket(Some(ada), 3), None);
        assert_eq!(
            shop.session(Some(ada)).map(|s| s.basket),
            Some(vec![(3, 1)])
        );
        assert_eq!(shop.session(Some(grace)).map(|s| s.basket), Some(vec![]));
        shop.log_out(Some(ada));
        assert_eq!(shop.session(Some(ada)), None);
        assert_eq!(
            shop.session(Some(grace)).and_then(|s| s.name).as_deref(),
            Some("grace")
        );
    }

    #[test]
    fn a_login_takes_a_guests_basket_along_and_ends_the_old_id() {
        let shop = Shop::default();
        let guest = shop
            .add_to_basket(None, 5)
            .expect("a guest's session begins");
        let ada = shop.log_in(Some(guest), "ada");
        assert_ne!(guest, ada);
        assert_eq!(shop.session(Some(guest)), None);
        assert_eq!(shop.session(Some(ada)).map(|s| s.copies()), Some(1));
        let grace = shop.log_in(Some(ada), "grace");
        assert_eq!(
            shop.session(Some(grace)).map(|s| s.copies()),
            Some(0),
            "not ada's basket"
        );
    }

    #[test]
    fn a_basket_is_bounded_and_gives_back() {
        let shop = Shop::default();
        let id = shop.log_in(None, "ada");
        for number in 1..=60 {
            shop.add_to_basket(Some(id), number);
        }
        for _ in 0..60 {
            shop.add_to_basket(Some(id), 1);
        }
        let basket = shop.session(Some(id)).expect("the session lives").basket;
        assert_eq!((basket.len(), basket[0]), (MAX_TITLES, (1, MAX_COPIES)));
        shop.remove_from_basket(Some(id), 1);
        let session = shop.session(Some(id)).expect("the session lives");
        assert_eq!(
            (session.basket.len(), session.name.as_deref()),
            (MAX_TITLES - 1, Some("ada"))
        );
    }

    #[test]
    fn the_oldest_session_and_review_make_room() {
        let shop = Shop::default();
        let first = shop.log_in(None, "first");
        let second = shop.log_in(None, "second");
        for _ in 2..=MAX_SESSIONS {
            shop.log_in(None, "crowd");
        }
        assert_eq!(shop.session(Some(first)), None);
        assert!(shop.session(Some(second)).is_some());
        for count in 0..=MAX_REVIEWS {
            let book = u32::from(count != 0);
            shop.review(
                book,
                Review {
                    reader: String::new(),
                    stars: 5,
                    text: count.to_string(),
                },
            );
        }
        assert!(shop.reviews(0).is_empty());
        assert_eq!(shop.reviews(1)[0].text, MAX_REVIEWS.to_string());
    }

    #[test]
    fn only_ids_as_we_write_them_are_read() {
        let id = SessionId::new();
        assert_eq!(SessionId::parse(id.wire().as_bytes()), Some(id));
        for text in [
            "",
            "abc",
            "+0000000000000000000000000000000",
            "g0000000000000000000000000000000",
        ] {
            assert_eq!(SessionId::parse(text.as_bytes()), None, "{text}");
        }
    }
}
