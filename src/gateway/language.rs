//! Which of a site's languages a client likes best (RFC 9110 12.5.4, RFC 4647 3.4). Where a route names its languages, this one
//! takes the place of what the client said, so that an answer that varies by `Accept-Language` has as many variants as the site has
//! languages, and the origin sees exactly what the key of the stored copy holds.

/// The language for an `Accept-Language`; `None`: the client likes none of them. Of equals the one that the site names first.
pub fn preferred<'l>(accept_language: &str, languages: &'l [String]) -> Option<&'l str> {
    let mut best = None;
    let mut most = 0.0_f32;
    for language in languages {
        let quality = quality(accept_language, language);
        if quality > most {
            most = quality;
            best = Some(language.as_str());
        }
    }
    best
}

/// How much a client likes a language: by the longest range that names it, or that it is the general form of; else by `*`.
fn quality(accept_language: &str, language: &str) -> f32 {
    let mut best = (0, 0.0);
    for member in accept_language.split(',') {
        let mut parts = member.split(';');
        let range = parts.next().unwrap_or_default().trim();
        let weight =
            parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f32>().ok());
        let weight = weight.filter(|weight| (0.0..=1.0).contains(weight));
        let length = match range {
            "" => continue,
            "*" => 1,
            _ if names(range, language) => 2 + range.len(),
            _ => continue,
        };
        if length > best.0 {
            best = (length, weight.unwrap_or(1.0));
        }
    }
    best.1
}

/// Whether a range is the language, or one of the two goes on where the other ends (`de` and `de-CH`).
fn names(range: &str, language: &str) -> bool {
    let (short, long) = if range.len() < language.len() {
        (range, language)
    } else {
        (language, range)
    };
    let begins = long
        .get(..short.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(short));
    begins && (long.len() == short.len() || long.as_bytes()[short.len()] == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_language_of_the_site_is_chosen() {
        let site: Vec<String> = ["en", "de", "pt-br"].map(str::to_owned).into();
        for (wish, wanted) in [
            ("de", Some("de")),
            ("DE", Some("de")),
            ("de, en", Some("en")),
            ("en, de", Some("en")),
            ("en;q=0.5, de", Some("de")),
            ("fr;q=0.9, de;q=0.1", Some("de")),
            ("de-CH", Some("de")),
            ("de-CH, en;q=0.3", Some("de")),
            ("pt", Some("pt-br")),
            ("pt-PT", None),
            ("deu", None),
            ("*", Some("en")),
            ("*;q=0.5, de", Some("de")),
            ("*, en;q=0", Some("de")),
            ("de;q=0", None),
            ("en;q=2, de;q=0.9", Some("en")),
            ("fr", None),
            ("", None),
            (", ;q=1", None),
            ("\u{e4}\u{f6}", None),
        ] {
            assert_eq!(preferred(wish, &site), wanted, "{wish}");
        }
        assert_eq!(preferred("de", &[]), None);
    }
}
