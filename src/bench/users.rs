//! Users, each with a session cookie of their own, and the check that a page shows its own user's value and nobody else's.

use bytes::Bytes;
use memchr::memmem;

/// What every value begins with; whatever follows it in a page is some user's value.
const MARK: &str = "mqbench-";

/// The values of the cookie.
#[derive(Debug, Clone)]
pub struct Users {
    values: Vec<Bytes>,
}

/// What a page says of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The own value, and no other.
    Own,
    /// No value at all.
    Nobody,
    /// The value of another user.
    Another,
}

impl Users {
    /// So many users (at most a million). The run's number is part of each value, so that what caches kept of an earlier run is another
    /// user's too. All values have one length: none begins with another.
    pub fn new(count: usize, run: u32) -> Self {
        let values = (0..count)
            .map(|user| Bytes::from(format!("{MARK}{run:08x}-{user:06}")))
            .collect();
        Self { values }
    }

    /// The value of the user whose turn it is.
    pub fn value(&self, turn: u64) -> Option<&Bytes> {
        let count = self.values.len() as u64;
        let user = turn.checked_rem(count)?;
        self.values.get(user as usize)
    }
}

/// Whose values a body shows.
pub fn shown(body: &[u8], own: &[u8]) -> Shown {
    let mut found = Shown::Nobody;
    for at in memmem::find_iter(body, MARK) {
        if !body[at..].starts_with(own) {
            return Shown::Another;
        }
        found = Shown::Own;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_and_values_are_distinct() {
        let users = Users::new(3, 0xabc);
        assert_eq!(users.value(0), users.value(3));
        assert_ne!(users.value(0), users.value(1));
        assert_eq!(
            users.value(2).map(AsRef::as_ref),
            Some(&b"mqbench-00000abc-000002"[..])
        );
        assert_eq!(Users::new(0, 1).value(5), None);
    }

    #[test]
    fn another_users_value_is_found_wherever_it_stands() {
        let users = Users::new(20, 1);
        let (one, ten) = (
            users.value(1).expect("a user"),
            users.value(10).expect("a user"),
        );
        let text = |parts: &[&[u8]]| parts.concat();
        for (body, wanted) in [
            (text(&[b"<p>hello</p>"]), Shown::Nobody),
            (text(&[b"<p>", one, b"</p>", one]), Shown::Own),
            (text(&[one, b" ", ten]), Shown::Another),
            (text(&[ten, b" ", one]), Shown::Another),
            (text(&[one, b" mqbench-0000"]), Shown::Another),
            (
                text(&[Users::new(2, 2).value(1).expect("a user")]),
                Shown::Another,
            ),
        ] {
            assert_eq!(
                shown(&body, one),
                wanted,
                "{}",
                String::from_utf8_lossy(&body)
            );
        }
    }
}
