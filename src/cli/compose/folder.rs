//! Fragments from files: a URL's path is a file below one folder, and no URL leads out of it.
//!
//! Templates of strangers are composed here too, so a URL is taken apart and each of its segments must be the plain name of a
//! file; what is found in the end must lie below the folder with all symbolic links followed.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::compose::source::FragmentError;
use crate::compose::url::Url;

/// A folder of fragments.
#[derive(Debug, Clone)]
pub struct Folder {
    /// As the user wrote it, for people.
    label: PathBuf,
    /// With all links followed.
    root: PathBuf,
}

/// A file that answers for a URL.
#[derive(Debug)]
pub struct Found {
    /// Its path, from where the user stands.
    pub label: String,
    /// What it holds.
    pub body: Bytes,
}

impl Folder {
    /// The folder at this path.
    pub fn open(path: &Path) -> Result<Self, String> {
        let unusable = |error: std::io::Error| format!("--fragments {}: {error}", path.display());
        let root = path.canonicalize().map_err(unusable)?;
        // Whether it can be listed says whether it is a folder.
        fs::read_dir(&root).map_err(unusable)?;
        Ok(Self {
            label: path.to_owned(),
            root,
        })
    }

    /// The file for a URL; `page` is the URL of the page, whose host needs no folder of its own.
    pub fn find(&self, url: &Url, page: &Url, limit: u64) -> Result<Found, FragmentError> {
        let mut below = PathBuf::new();
        if url.authority() != page.authority() {
            below.push(self.host(url).ok_or(FragmentError::NoRoute)?);
        }
        let none = || {
            // Joined from its parts, so that no slash is left at the end.
            let folder: PathBuf = self.label.iter().chain(below.iter()).collect();
            FragmentError::Broken(format!("no file for it below {}", folder.display()))
        };
        let path = decoded_path(url.path()).ok_or_else(none)?;
        let query = url.query().filter(|query| is_name(query));
        candidates(&path, query)
            .map(|candidate| below.join(candidate))
            .find_map(|candidate| Some((self.inside(&candidate)?, candidate)))
            .map_or_else(
                || Err(none()),
                |(file, candidate)| self.read(&file, &candidate, limit),
            )
    }

    /// The folder of another host, by its name with or without its port.
    fn host<'u>(&self, url: &'u Url) -> Option<&'u str> {
        [url.authority(), url.host()]
            .into_iter()
            .find(|host| is_name(host) && self.root.join(host).is_dir())
    }

    /// The true path of a plain file below the folder, if there is one.
    fn inside(&self, candidate: &Path) -> Option<PathBuf> {
        let file = self.root.join(candidate).canonicalize().ok()?;
        (file.starts_with(&self.root) && file.is_file()).then_some(file)
    }

    fn read(&self, file: &Path, candidate: &Path, limit: u64) -> Result<Found, FragmentError> {
        let label = self.label.join(candidate).display().to_string();
        let unreadable = |error: std::io::Error| {
            FragmentError::Broken(format!("{label} cannot be read: {error}"))
        };
        let mut body = Vec::new();
        let opened = fs::File::open(file).map_err(unreadable)?;
        opened
            .take(limit.saturating_add(1))
            .read_to_end(&mut body)
            .map_err(unreadable)?;
        if body.len() as u64 > limit {
            return Err(FragmentError::TooLarge(limit));
        }
        Ok(Found {
            label,
            body: body.into(),
        })
    }
}

/// The path below the folder that a URL's path names, percent-encoding undone; `None` where a segment could be more than the name
/// of a file. A slash at the end leaves an empty last segment behind.
fn decoded_path(path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut rest = path.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = rest.next() {
        let segment = decoded(segment)?;
        let last = rest.peek().is_none();
        if !(is_name(&segment) || last && segment.is_empty()) {
            return None;
        }
        segments.push(segment);
    }
    Some(segments)
}

/// Whether a text is the name of something in a folder, and not of the folder itself or of one above it.
fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '\\', '\0'])
}

/// Percent-encoding undone; `None` where what comes out is no text.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok()
}

/// The files that may answer, the best first.
fn candidates(path: &[String], query: Option<&str>) -> impl Iterator<Item = PathBuf> {
    let folder: PathBuf = path.iter().collect();
    let named = path.last().filter(|name| !name.is_empty());
    let mut found = Vec::new();
    if let Some(name) = named {
        let parent: PathBuf = path[..path.len() - 1].iter().collect();
        if let Some(query) = query {
            found.push(parent.join(format!("{name}?{query}")));
            found.push(parent.join(format!("{name}?{query}.html")));
        }
        found.push(parent.join(name));
        found.push(parent.join(format!("{name}.html")));
    } else if let Some(query) = query {
        found.push(folder.join(format!("index.html?{query}")));
    }
    found.push(folder.join("index.html"));
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, Folder) {
        let outside = tempfile::tempdir().expect("a folder");
        let root = outside.path().join("fragments");
        for (name, text) in [
            ("secret", "secret"),
            ("fragments/a", "a"),
            ("fragments/b.html", "b"),
            ("fragments/c/index.html", "c"),
            ("fragments/index.html", "index"),
            ("fragments/q", "q"),
            ("fragments/q?x=1", "q1"),
            ("fragments/with space", "space"),
            ("fragments/deep/d/e", "e"),
            ("fragments/other.example/a", "other"),
            ("fragments/large", "0123456789+"),
        ] {
            let path = outside.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let link = |to: &str, from: &str| {
            std::os::unix::fs::symlink(to, root.join(from)).expect("a link");
        };
        link("../secret", "escape");
        link("..", "up");
        link("deep/d/e", "within");
        link("/nowhere", "dangling");
        let folder = Folder::open(&root).expect("the folder");
        (outside, folder)
    }

    #[test]
    fn urls_lead_to_files_below_the_folder_and_to_no_others() {
        let (_kept, folder) = fixture();
        let page = Url::new(false, b"localhost", b"/page").expect("a URL");
        for (target, wanted) in [
            ("/a", Some("a")),
            ("/a?x=1", Some("a")),
            ("/b", Some("b")),
            ("/b.html", Some("b")),
            ("/c", Some("c")),
            ("/c/", Some("c")),
            ("/", Some("index")),
            ("/q", Some("q")),
            ("/q?x=1", Some("q1")),
            ("/q?x=2", Some("q")),
            ("/q?/../../secret", Some("q")),
            ("/with%20space", Some("space")),
            ("/deep/d/e", Some("e")),
            ("/within", Some("e")),
            ("//other.example/a", Some("other")),
            ("//other.example:8080/a", Some("other")),
            ("//other.example/b", None),
            ("//unknown.example/a", None),
            ("//../a", None),
            ("//../secret", None),
            ("//./a", None),
            ("/none", None),
            ("/deep", None),
            ("/a/", None),
            ("/a/b", None),
            ("/deep//d/e", None),
            ("/../secret", None),
            ("/%2e%2e/secret", None),
            ("/..%2fsecret", None),
            ("/c%2f..%2f..%2fsecret", None),
            ("/%2e%2e%5csecret", None),
            ("/escape", None),
            ("/up/secret", None),
            ("/up/fragments/a", Some("a")),
            ("/dangling", None),
            ("/a%00", None),
            ("/%ff", None),
            ("/large", None),
        ] {
            let found = page
                .join(target.as_bytes())
                .ok()
                .and_then(|url| folder.find(&url, &page, 10).ok());
            let body = found.map(|found| String::from_utf8_lossy(&found.body).into_owned());
            assert_eq!(body.as_deref(), wanted, "{target}");
        }
    }

    #[test]
    fn what_is_missing_says_where_it_was_looked_for() {
        let (_kept, folder) = fixture();
        let page = Url::new(false, b"localhost", b"/page").expect("a URL");
        let failure = |target: &str| {
            let url = page.join(target.as_bytes()).expect("a URL");
            folder.find(&url, &page, 10).expect_err("no file")
        };
        assert_eq!(failure("//unknown.example/a"), FragmentError::NoRoute);
        assert_eq!(failure("/large"), FragmentError::TooLarge(10));
        assert!(
            failure("/none")
                .to_string()
                .starts_with("no file for it below ")
        );
        assert!(Folder::open(Path::new("/nowhere/at/all")).is_err());
    }
}
