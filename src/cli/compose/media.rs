//! The media types of files, by the ends of their names.

/// What a file is whose name says nothing.
const HTML: &str = "text/html";

/// The media type of a file or URL path; HTML where its name says nothing that is known. What stands behind a `?` is the query
/// that a file stands for.
pub fn of_name(name: &str) -> &'static str {
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split('?').next().unwrap_or_default();
    let Some((_, extension)) = name.rsplit_once('.') else {
        return HTML;
    };
    match extension.to_ascii_lowercase().as_str() {
        "json" => "application/json",
        "xml" => "application/xml",
        "xhtml" => "application/xhtml+xml",
        "svg" => "image/svg+xml",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "css" => "text/css",
        "csv" => "text/csv",
        "js" | "mjs" => "text/javascript",
        _ => HTML,
    }
}

/// A media type as somebody wrote it.
pub fn parse(text: &str) -> Result<String, String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    match essence.split_once('/') {
        Some((kind, name)) if word(kind) && word(name) => Ok(text.to_owned()),
        _ => Err(format!(
            "--type {text}: a media type is written like text/html"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_types() {
        for (name, wanted) in [
            ("a/b.json", "application/json"),
            ("b.JSON?x=1.txt", "application/json"),
            ("menu", HTML),
            ("v1.2/menu", HTML),
            ("a.shtml", HTML),
            ("a.txt", "text/plain"),
            ("<stdin>", HTML),
        ] {
            assert_eq!(of_name(name), wanted, "{name}");
        }
        assert!(parse("text/html; charset=utf-8").is_ok());
        for wrong in ["html", "/", "text/", "te xt/html"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
