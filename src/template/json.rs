//! Tags inside the strings of a JSON document: their text is escaped once more, `<esi:include src=\"\/box\"\/>`.
//!
//! Only what tags need: one character at a time, and a whole slice.

/// The character at `at` and where the next one starts; `None` at the string's closing quote, at the end, or at an escape
/// that JSON does not know. Characters beyond ASCII come back as 0x80: no tag's grammar asks for more.
pub(super) fn character(text: &[u8], at: usize) -> Option<(u8, usize)> {
    match *text.get(at)? {
        b'"' => None,
        b'\\' => {
            let escaped = match *text.get(at + 1)? {
                same @ (b'"' | b'\\' | b'/') => same,
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 0x08,
                b'f' => 0x0c,
                b'u' => {
                    let unit = unit(text, at + 2)?;
                    return Some((u8::try_from(unit).unwrap_or(0x80).min(0x80), at + 6));
                }
                _ => return None,
            };
            Some((escaped, at + 2))
        }
        plain => Some((plain, at + 1)),
    }
}

/// The UTF-16 unit of four hexadecimal digits at `at`.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A slice of a JSON string, unescaped; half a surrogate pair becomes U+FFFD, an unknown escape stays.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"\\u")
            && let Some(first) = unit(text, at + 2)
        {
            at += 6;
            let mut units = vec![first];
            if (0xd800..0xdc00).contains(&first)
                && text.get(at..at + 2) == Some(b"\\u")
                && let Some(second) = unit(text, at + 2)
                && (0xdc00..0xe000).contains(&second)
            {
                units.push(second);
                at += 6;
            }
            let decoded = String::from_utf16_lossy(&units);
            out.extend_from_slice(decoded.as_bytes());
            continue;
        }
        match character(text, at) {
            Some((byte, next)) if text[at] == b'\\' => {
                out.push(byte);
                at = next;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_away() {
        let rows: [(&[u8], &str); 7] = [
            (br#"src=\"\/box\""#, "src=\"/box\""),
            (br"a\n\t\r\\", "a\n\t\r\\"),
            (br"\u003cb\u003E", "<b>"),
            (br"\ud83d\ude42\u00e9", "🙂é"),
            (br"\ud83d!", "\u{fffd}!"),
            (br"\x\u00", r"\x\u00"),
            ("ü".as_bytes(), "ü"),
        ];
        for (text, wanted) in rows {
            assert_eq!(unescape(text), wanted.as_bytes(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_string_ends_at_its_quote() {
        assert_eq!(character(b"\"", 0), None);
        assert_eq!(character(b"\\\"", 0), Some((b'"', 2)));
        assert_eq!(character(b"\\", 0), None);
        assert_eq!(character(br"\u00e9", 0), Some((0x80, 6)));
        assert_eq!(character(br"\u003c", 0), Some((b'<', 6)));
    }
}
