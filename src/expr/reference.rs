//! The grammar of references, the same in expressions and in text: `$(NAME)`, `$(NAME{key})`, `$(NAME|default)`,
//! `$(NAME{key}|default)`.

use std::borrow::Cow;

use super::name::leading_name;
use super::open::Open;
use super::token::Cursor;

/// A reference as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written<'a> {
    pub(super) name: &'a [u8],
    pub(super) key: Option<Key<'a>>,
    pub(super) default: Option<Default<'a>>,
}

/// What stands between `{` and `}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// Bare text; digits may be a position in a list.
    Bare(&'a [u8]),
    /// A quoted string.
    Quoted(Cow<'a, [u8]>),
    /// One reference.
    Nested(Box<Written<'a>>),
}

/// What stands behind `|`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Default<'a> {
    /// Text, bare or quoted.
    Text(Cow<'a, [u8]>),
    /// One reference.
    Nested(Box<Written<'a>>),
}

/// Why there is no reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReference {
    /// The text does not fit the grammar.
    Grammar,
    /// References nest deeper than allowed.
    TooDeep,
}

/// Reads the reference at the cursor, which stands on its `$(`; then the cursor stands behind its `)`. `depth` references
/// may nest, this one included. On failure the places of all that were begun and not ended are left in `open`.
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    open: &mut Open,
) -> Result<Written<'a>, NoReference> {
    if depth > 0
        && let Some((Plain { name, key }, length)) = plain(cursor.rest())
    {
        cursor.seek(cursor.place() + length);
        return Ok(Written {
            name,
            key: key.map(Key::Bare),
            default: None,
        });
    }
    open.push(cursor.place());
    let depth = depth.checked_sub(1).ok_or(NoReference::TooDeep)?;
    expect(cursor, b"$(")?;
    let name = read_name(cursor)?;
    let key = match cursor.rest().first() {
        Some(b'{') => Some(read_key(cursor, depth, open)?),
        _ => None,
    };
    let default = match cursor.rest().first() {
        Some(b'|') => Some(read_default(cursor, depth, open)?),
        _ => None,
    };
    expect(cursor, b")")?;
    open.pop();
    Ok(Written { name, key, default })
}

/// A reference as most are written: `$(name)` or `$(name{key})` with a key that could be a name.
pub(super) struct Plain<'a> {
    pub(super) name: &'a [u8],
    pub(super) key: Option<&'a [u8]>,
}

/// The plain reference at the start of a text, and its length.
#[inline]
pub(super) fn plain(text: &[u8]) -> Option<(Plain<'_>, usize)> {
    let inside = text.strip_prefix(b"$(")?;
    let (name, rest) = inside.split_at(leading_name(inside)?);
    let (key, rest) = match rest {
        [b'{', rest @ ..] => {
            let (key, rest) = rest.split_at(leading_name(rest)?);
            (Some(key), rest.strip_prefix(b"}")?)
        }
        rest => (None, rest),
    };
    let rest = rest.strip_prefix(b")")?;
    Some((Plain { name, key }, text.len() - rest.len()))
}

/// Reads a name at the cursor.
pub(super) fn read_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], NoReference> {
    let rest = cursor.rest();
    let length = leading_name(rest).ok_or(NoReference::Grammar)?;
    cursor.seek(cursor.place() + length);
    Ok(&rest[..length])
}

/// Reads `{key}` at the cursor.
pub(super) fn read_key<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    open: &mut Open,
) -> Result<Key<'a>, NoReference> {
    expect(cursor, b"{")?;
    if cursor.rest().starts_with(b"$(") {
        let nested = read(cursor, depth, open)?;
        expect(cursor, b"}")?;
        return Ok(Key::Nested(Box::new(nested)));
    }
    if let Some(text) = quoted_before(cursor, b'}') {
        return Ok(Key::Quoted(text));
    }
    let bare = bare_before(cursor, b'}')?;
    if bare.iter().any(u8::is_ascii_whitespace) {
        return Err(NoReference::Grammar);
    }
    Ok(Key::Bare(bare))
}

fn read_default<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    open: &mut Open,
) -> Result<Default<'a>, NoReference> {
    expect(cursor, b"|")?;
    let start = cursor.place();
    cursor.skip_space();
    if cursor.rest().starts_with(b"$(") {
        let nested = read(cursor, depth, open)?;
        cursor.skip_space();
        return Ok(Default::Nested(Box::new(nested)));
    }
    if let Some(text) = quoted_before(cursor, b')') {
        // The bracket is for the caller to read.
        cursor.seek(cursor.place() - 1);
        return Ok(Default::Text(text));
    }
    cursor.seek(start);
    let bare = bare_before(cursor, b')')?;
    cursor.seek(cursor.place() - 1);
    Ok(Default::Text(Cow::Borrowed(bare)))
}

/// A quoted string with `end` right behind it, perhaps after white space; the cursor then stands behind `end`. `None`, and
/// the cursor where it was, when something else stands here: then the text is bare, quotes and all.
fn quoted_before<'a>(cursor: &mut Cursor<'a>, end: u8) -> Option<Cow<'a, [u8]>> {
    if !matches!(cursor.rest().first(), Some(b'\'' | b'"')) {
        return None;
    }
    let mut ahead = *cursor;
    let text = ahead.string().ok()?;
    if end == b')' {
        ahead.skip_space();
    }
    expect(&mut ahead, &[end]).ok()?;
    *cursor = ahead;
    Some(text.resolved())
}

/// The text up to `end`; the cursor then stands behind `end`.
fn bare_before<'a>(cursor: &mut Cursor<'a>, end: u8) -> Result<&'a [u8], NoReference> {
    let rest = cursor.rest();
    let length = memchr::memchr(end, rest).ok_or(NoReference::Grammar)?;
    cursor.seek(cursor.place() + length + 1);
    Ok(&rest[..length])
}

#[inline]
fn expect(cursor: &mut Cursor<'_>, text: &[u8]) -> Result<(), NoReference> {
    if !cursor.rest().starts_with(text) {
        return Err(NoReference::Grammar);
    }
    cursor.seek(cursor.place() + text.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<(Written<'_>, usize), NoReference> {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        let written = read(&mut cursor, 4, &mut Open::default())?;
        Ok((written, cursor.place()))
    }

    fn key(text: &str) -> Option<Key<'_>> {
        read_all(text).unwrap().0.key
    }

    fn default(text: &str) -> String {
        match read_all(text).unwrap().0.default {
            Some(Default::Text(text)) => String::from_utf8(text.into_owned()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_are_bare_quoted_or_one_reference() {
        assert_eq!(key("$(a{k})"), Some(Key::Bare(b"k")));
        assert_eq!(key("$(a{0})"), Some(Key::Bare(b"0")));
        assert_eq!(key("$(a{x;y})"), Some(Key::Bare(b"x;y")));
        assert_eq!(key("$(a{'x y}'})"), Some(Key::Quoted(b"x y}".into())));
        assert_eq!(key("$(a{\"k\"})"), Some(Key::Quoted(b"k".into())));
        assert_eq!(key("$(a{it's})"), Some(Key::Bare(b"it's")));
        assert!(matches!(key("$(a{$(b{$(c)})})"), Some(Key::Nested(_))));
        assert_eq!(key("$(a)"), None);
    }

    #[test]
    fn defaults_are_bare_quoted_or_one_reference() {
        assert_eq!(default("$(a|guest)"), "guest");
        assert_eq!(default("$(a|dear guest)"), "dear guest");
        assert_eq!(default("$(a|)"), "");
        assert_eq!(default("$(a|'x) y')"), "x) y");
        assert_eq!(default("$(a| 'x' )"), "x");
        assert_eq!(default("$(a|'tis)"), "'tis");
        assert_eq!(default("$(a|'x'y)"), "'x'y");
        assert_eq!(default("$(a{k}|x}y)"), "x}y");
        let (written, end) = read_all("$(a|$(b|$(c))) rest").unwrap();
        assert!(matches!(written.default, Some(Default::Nested(_))));
        assert_eq!(end, 14);
    }

    #[test]
    fn all_else_is_no_reference() {
        for text in [
            "$(",
            "$()",
            "$(a",
            "$( a)",
            "$(a )",
            "$(9)",
            "$('#menu')",
            "$(a{k)",
            "$(a{k} )",
            "$(a{x y})",
            "$(a{$(b})",
            "$(a|$(b)",
            "$(a|$(b)x)",
            "$(a-b)",
            "$(a{b}{c})",
        ] {
            assert_eq!(read_all(text), Err(NoReference::Grammar), "{text}");
        }
        assert_eq!(
            read_all("$(a|$(a|$(a|$(a|$(a)))))"),
            Err(NoReference::TooDeep)
        );
    }
}
