//! The three things that ESI 1.0 reads from a User-Agent header. They are as coarse as the web was when they were named;
//! a page that needs more looks into the header itself.

/// `MSIE`, `MOZILLA` or `OTHER`.
pub(super) fn browser(header: &[u8]) -> &'static str {
    if holds(header, b"MSIE ") || holds(header, b"Trident/") {
        "MSIE"
    } else if holds(header, b"Mozilla/") {
        "MOZILLA"
    } else {
        "OTHER"
    }
}

/// `WIN`, `MAC`, `UNIX` or `OTHER`.
pub(super) fn system(header: &[u8]) -> &'static str {
    const UNIX: [&[u8]; 6] = [b"Linux", b"X11", b"Unix", b"BSD", b"SunOS", b"CrOS"];
    if holds(header, b"Windows") {
        "WIN"
    } else if holds(header, b"Mac") {
        "MAC"
    } else if UNIX.iter().any(|name| holds(header, name)) {
        "UNIX"
    } else {
        "OTHER"
    }
}

/// The first number in it, with its points: `5.0`.
pub(super) fn version(header: &[u8]) -> Option<&[u8]> {
    let start = header.iter().position(u8::is_ascii_digit)?;
    let rest = &header[start..];
    let length = rest
        .iter()
        .position(|byte| !(byte.is_ascii_digit() || *byte == b'.'))
        .unwrap_or(rest.len());
    let points = rest[..length]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'.')
        .count();
    Some(&rest[..length - points])
}

fn holds(header: &[u8], name: &[u8]) -> bool {
    header
        .windows(name.len())
        .any(|window| window.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_sorted_as_in_the_year_2001() {
        for (header, expected) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
                ("MOZILLA", "WIN", Some("5.0")),
            ),
            (
                "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
                ("MSIE", "WIN", Some("4.0")),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5)",
                ("MOZILLA", "MAC", Some("5.0")),
            ),
            (
                "Mozilla/5.0 (Linux; Android 14)",
                ("MOZILLA", "UNIX", Some("5.0")),
            ),
            ("curl/8.5.", ("OTHER", "OTHER", Some("8.5"))),
            ("robot", ("OTHER", "OTHER", None)),
            ("", ("OTHER", "OTHER", None)),
        ] {
            let text = header.as_bytes();
            let version = version(text).map(|version| std::str::from_utf8(version).unwrap());
            assert_eq!((browser(text), system(text), version), expected, "{header}");
        }
    }
}
