//! The target of a request, made safe to route: dot segments are removed, nothing else is decoded.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// An encoded slash, or a backslash, stands beside dots: readers disagree where it leads.
    #[error("an encoded slash or backslash beside dots")]
    AmbiguousDots,
    /// It does not start with `/`.
    #[error("not an absolute path")]
    NotAbsolute,
}

/// The path (no query) with its dot segments removed (RFC 3986 5.2.4), those written with `%2e` too. Borrowed when there is none.
///
/// # Errors
/// [`TargetError::AmbiguousDots`] where `%2f`, `%5c` or a backslash stands beside a dot.
pub fn remove_dot_segments(path: &str) -> Result<Cow<'_, str>, TargetError> {
    if !path.starts_with('/') {
        return Err(TargetError::NotAbsolute);
    }
    if !path.contains(['.', '%', '\\']) {
        return Ok(Cow::Borrowed(path));
    }
    if path.split('/').any(has_ambiguous_dots) {
        return Err(TargetError::AmbiguousDots);
    }
    if !path.split('/').any(|segment| dots(segment).is_some()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            None => kept.push(segment),
            Some(count) => {
                if count == 2 {
                    kept.pop();
                }
                // `/a/.` and `/a/b/..` name the folder: the slash at the end stays.
                if last {
                    kept.push("");
                }
            }
        }
    }
    Ok(Cow::Owned(format!("/{}", kept.join("/"))))
}

/// 1 for `.`, 2 for `..`, each dot also as `%2e`.
fn dots(segment: &str) -> Option<usize> {
    let mut rest = segment;
    let mut count = 0;
    while let Some(after) = strip_dot(rest) {
        rest = after;
        count += 1;
    }
    (rest.is_empty() && (count == 1 || count == 2)).then_some(count)
}

fn strip_dot(text: &str) -> Option<&str> {
    text.strip_prefix('.')
        .or_else(|| text.strip_prefix("%2e"))
        .or_else(|| text.strip_prefix("%2E"))
}

/// Whether the segment, read with its encoded slashes and backslashes as borders, has a part of dots alone.
fn has_ambiguous_dots(segment: &str) -> bool {
    let lower = segment.to_ascii_lowercase();
    if !lower.contains("%2f") && !lower.contains("%5c") && !lower.contains('\\') {
        return false;
    }
    let split = lower
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace('\\', "/")
        .replace("%2e", ".");
    split.contains("./") || split.contains("/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_go_and_nothing_else_changes() {
        for (path, wanted) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../etc", "/etc"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E./b", "/b"),
            ("/a/.%2e", "/"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/a/.b", "/a/.b"),
            ("/a%20b/%41", "/a%20b/%41"),
            ("/a%2fb", "/a%2fb"),
        ] {
            assert_eq!(remove_dot_segments(path).as_deref(), Ok(wanted), "{path}");
        }
    }

    #[test]
    fn slashes_in_disguise_beside_dots_are_refused() {
        for path in [
            "/a/..%2fb",
            "/a/%2e%2e%2Fb",
            "/a%2f..",
            "/..%5cb",
            "/a\\..\\b",
            "/a/.%2f",
            "/%2f%2e%2e",
        ] {
            assert_eq!(
                remove_dot_segments(path),
                Err(TargetError::AmbiguousDots),
                "{path}"
            );
        }
        assert_eq!(remove_dot_segments("*"), Err(TargetError::NotAbsolute));
    }
}
