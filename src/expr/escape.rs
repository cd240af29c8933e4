//! How values from the request are written into documents and URLs.

/// How a document escapes what comes from the request; its type decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// HTML and XML: `&`, `<`, `>`, `"`, `'` become references.
    Html,
    /// JSON: the escapes of a string, without its quotes.
    Json,
    /// Any other type: unchanged.
    None,
}

impl Escape {
    /// Appends `text` to `out`, escaped.
    pub fn append(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Html => append_html(text, out),
            Self::Json => append_json(text, out),
            Self::None => out.extend_from_slice(text),
        }
    }
}

/// Appends `text` with `& < > " '` as references.
pub fn append_html(text: &[u8], out: &mut Vec<u8>) {
    append_replacing(text, out, &IN_HTML, |byte, _| match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'"' => Some(b"&quot;"),
        b'\'' => Some(b"&#39;"),
        _ => None,
    });
}

/// Appends `text` with the escapes of a JSON string (RFC 8259, 7).
pub fn append_json(text: &[u8], out: &mut Vec<u8>) {
    append_replacing(text, out, &IN_JSON, |byte, control| match byte {
        b'"' => Some(b"\\\""),
        b'\\' => Some(b"\\\\"),
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        b'\t' => Some(b"\\t"),
        0x08 => Some(b"\\b"),
        0x0c => Some(b"\\f"),
        0..=0x1f => {
            *control = *b"\\u0000";
            control[4] = HEX_LOWER[usize::from(byte >> 4)];
            control[5] = HEX_LOWER[usize::from(byte & 0xf)];
            Some(control)
        }
        _ => None,
    });
}

/// Appends `text` with all but the unreserved characters of RFC 3986 percent-encoded.
pub fn append_url_component(text: &[u8], out: &mut Vec<u8>) {
    append_percent(text, out, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
    });
}

/// Appends `text` with the bytes percent-encoded that no URL may hold: controls, space, `` " < > \ ^ ` { | } ``, bytes from
/// 0x80 on. A `%` stays: the text may be encoded already.
pub fn append_url(text: &[u8], out: &mut Vec<u8>) {
    append_percent(text, out, |byte| {
        byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
            )
    });
}

/// The digits of `$digest_…_hex` and of JSON's escapes.
pub(super) const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Which bytes are escaped in HTML.
static IN_HTML: [bool; 256] = table(false, b"&<>\"'");

/// Which bytes are escaped in a string of JSON.
static IN_JSON: [bool; 256] = table(true, b"\"\\");

/// A table in which these bytes are marked, and controls where they are wanted.
const fn table(controls: bool, bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut control = 0;
    while controls && control < 0x20 {
        table[control] = true;
        control += 1;
    }
    let mut place = 0;
    while place < bytes.len() {
        table[bytes[place] as usize] = true;
        place += 1;
    }
    table
}

/// Copies runs of bytes that stay, so that text without anything to escape is one copy.
fn append_replacing(
    text: &[u8],
    out: &mut Vec<u8>,
    escaped: &[bool; 256],
    replacement: impl for<'a> Fn(u8, &'a mut [u8; 6]) -> Option<&'a [u8]>,
) {
    let mut scratch = [0; 6];
    let mut rest = text;
    while let Some(place) = rest.iter().position(|byte| escaped[usize::from(*byte)]) {
        let (stays, special) = rest.split_at(place);
        out.extend_from_slice(stays);
        let Some((byte, behind)) = special.split_first() else {
            break;
        };
        if let Some(escaped) = replacement(*byte, &mut scratch) {
            out.extend_from_slice(escaped);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

fn append_percent(text: &[u8], out: &mut Vec<u8>, stays: impl Fn(u8) -> bool) {
    for byte in text {
        if stays(*byte) {
            out.push(*byte);
        } else {
            let digits = [
                HEX_UPPER[usize::from(byte >> 4)],
                HEX_UPPER[usize::from(byte & 0xf)],
            ];
            out.push(b'%');
            out.extend_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: fn(&[u8], &mut Vec<u8>), text: &[u8]) -> Vec<u8> {
        let mut out = b"before ".to_vec();
        write(text, &mut out);
        out.split_off(7)
    }

    #[test]
    fn html_replaces_five_characters() {
        assert_eq!(
            written(append_html, b"a&b<c>\"d'\xff/"),
            b"a&amp;b&lt;c&gt;&quot;d&#39;\xff/"
        );
    }

    #[test]
    fn json_replaces_what_a_string_cannot_hold() {
        assert_eq!(
            written(append_json, b"a\"\\\n\r\t\x08\x0c\x00\x1f\x7f<'\xc3\xbc"),
            b"a\\\"\\\\\\n\\r\\t\\b\\f\\u0000\\u001f\x7f<'\xc3\xbc"
        );
    }

    #[test]
    fn a_component_keeps_only_unreserved_characters() {
        assert_eq!(
            written(append_url_component, "aZ09-._~ /?&=+%ü".as_bytes()),
            b"aZ09-._~%20%2F%3F%26%3D%2B%25%C3%BC"
        );
    }

    #[test]
    fn a_url_keeps_what_a_url_may_hold() {
        assert_eq!(
            written(append_url, b"/a?b=c&d=%20#e[f]'!$()*+,;:@"),
            b"/a?b=c&d=%20#e[f]'!$()*+,;:@"
        );
        assert_eq!(
            written(append_url, b"\x00\r\n \"<>\\^`{|}\x7f\x80"),
            b"%00%0D%0A%20%22%3C%3E%5C%5E%60%7B%7C%7D%7F%80"
        );
    }
}
