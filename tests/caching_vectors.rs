//! Every row of `fixtures/cache`: what may be stored of a response, for whom, and for how long. And for any fields: what is
//! personal is never shared.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use marquetry::cache::freshness::Defaults;
use marquetry::cache::key::Asker;
use marquetry::cache::storable::{Answered, Asked, Grant, Verdict, judge};
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    section: String,
    name: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    request: Vec<String>,
    #[serde(default)]
    status: Vec<u16>,
    response: Vec<String>,
    #[serde(default)]
    delay: u64,
    #[serde(default)]
    keyed: bool,
    #[serde(default)]
    ttl: Option<u64>,
    #[serde(default)]
    heuristic: bool,
    #[serde(default)]
    swr: u64,
    #[serde(default)]
    sie: u64,
    want: String,
}

/// Sun, 06 Nov 1994 08:49:37 GMT.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

fn fields(lines: &[String]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a row's line has a colon");
        let name: HeaderName = name.parse().expect("a row's name is one");
        let value = HeaderValue::from_str(value.trim()).expect("a row's value is one");
        fields.append(name, value);
    }
    fields
}

fn verdict(row: &Row, status: u16) -> String {
    let (request, response) = (fields(&row.request), fields(&row.response));
    let method = row.method.as_deref().unwrap_or("GET");
    let method: Method = method.parse().expect("a row's method is one");
    let asked = Asked {
        method: &method,
        asker: Asker {
            fields: &request,
            keyed: row.keyed,
        },
        ttl: row.ttl.map(Duration::from_secs),
        defaults: Defaults {
            stale_while_revalidate: Duration::from_secs(row.swr),
            stale_if_error: Duration::from_secs(row.sie),
            heuristic: row.heuristic,
        },
    };
    let answered = Answered {
        status: StatusCode::from_u16(status).expect("a row's status is one"),
        headers: &response,
        at: now(),
        delay: Duration::from_secs(row.delay),
    };
    match judge(asked, answered) {
        Verdict::Personal(reason) => format!("personal {reason:?}"),
        Verdict::Share(grant) => told(&grant),
    }
}

/// A grant in the words of the rows.
fn told(grant: &Grant) -> String {
    let times = grant.times;
    let left = times.lifetime().saturating_sub(times.age(Duration::ZERO));
    let mut told = format!("share {}", left.as_secs());
    if !grant.explicit {
        told.push_str(" guests");
    }
    if times.is_never_fresh() {
        told.push_str(" asks");
    }
    let (while_revalidating, if_error) = times.grace();
    for (word, grace) in [("swr", while_revalidating), ("sie", if_error)] {
        if !grace.is_zero() {
            let _ = write!(told, " {word}={}", grace.as_secs());
        }
    }
    for (word, names) in [("vary", &grant.vary), ("less", &grant.withheld)] {
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            let _ = write!(told, " {word}={}", names.join(","));
        }
    }
    told
}

#[test]
fn every_row_holds() {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut seen = HashSet::new();
    let mut kinds = HashSet::new();
    let folder = Path::new("fixtures/cache");
    for entry in std::fs::read_dir(folder).expect("the folder of rows is there") {
        let path = entry.expect("its entries can be read").path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a file of rows can be read");
        let file: File =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for row in file.row {
            count += 1;
            kinds.insert(without_numbers(&row));
            assert!(
                seen.insert(format!("{}: {}", row.section, row.name)),
                "twice: {}",
                row.name
            );
            let statuses = if row.status.is_empty() {
                &[200][..]
            } else {
                &row.status
            };
            for status in statuses {
                let got = verdict(&row, *status);
                if got != row.want {
                    wrong.push(format!(
                        "{}: {} ({status})\n  wanted {}\n  got    {got}",
                        row.section, row.name, row.want
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Two that differ in a number alone count as one.
    assert!(
        kinds.len() >= 200,
        "only {} kinds of {count} rows",
        kinds.len()
    );
}

/// A row with each run of digits as one sign.
fn without_numbers(row: &Row) -> String {
    let whole = format!(
        "{:?} {:?} {:?} {:?} {} {} {:?} {} {} {} {}",
        row.method,
        row.request,
        row.status,
        row.response,
        row.delay,
        row.keyed,
        row.ttl,
        row.heuristic,
        row.swr,
        row.sie,
        row.want
    );
    let mut masked = String::new();
    for sign in whole.chars() {
        if !sign.is_ascii_digit() {
            masked.push(sign);
        } else if !masked.ends_with('#') {
            masked.push('#');
        }
    }
    masked
}

/// Words that a field of a response may hold, those that forbid and those that allow.
fn words() -> impl Strategy<Value = String> {
    let word = select(vec![
        "public",
        "private",
        "no-store",
        "no-cache",
        "max-age=60",
        "max-age=\"60\"",
        "s-maxage=60",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "stale-while-revalidate=9",
        "private=\"x\"",
        "no-cache=\"set-cookie\"",
        "x=\"a, b\"",
        "x=\"",
        ";",
        "content=\"ESI/1.0\"",
        "",
    ]);
    proptest::collection::vec(word, 0..5).prop_map(|words| words.join(", "))
}

proptest! {
    /// What is shared with requests that carry cookies says itself that everybody may have it; nothing with a cookie set on it, and
    /// nothing private, is shared at all, but where another field for surrogates decides.
    #[test]
    fn nothing_personal_is_shared(
        control in words(),
        surrogate in words(),
        targeted in words(),
        cookie in any::<bool>(),
        authorization in any::<bool>(),
        set_cookie in any::<bool>(),
        by_cookie in any::<bool>(),
        heuristic in any::<bool>(),
    ) {
        let mut request = Vec::new();
        if cookie { request.push("Cookie: a=1".to_owned()); }
        if authorization { request.push("Authorization: Basic YTpi".to_owned()); }
        let mut response = vec![
            format!("Cache-Control: {control}"),
            format!("Surrogate-Control: {surrogate}"),
            format!("CDN-Cache-Control: {targeted}"),
            "Last-Modified: Sun, 06 Nov 1984 08:49:37 GMT".to_owned(),
        ];
        if set_cookie { response.push("Set-Cookie: a=1".to_owned()); }
        if by_cookie { response.push("Vary: Cookie".to_owned()); }
        let (request, response) = (fields(&request), fields(&response));
        let asked = Asked {
            method: &Method::GET,
            asker: Asker::new(&request),
            ttl: None,
            defaults: Defaults { heuristic, ..Defaults::default() },
        };
        let answered = Answered { status: StatusCode::OK, headers: &response, at: now(), delay: Duration::ZERO };
        if let Verdict::Share(grant) = judge(asked, answered) {
            prop_assert!(!by_cookie);
            let set_cookie_is_kept_out = grant.withheld.contains(&http::header::SET_COOKIE);
            prop_assert!(!set_cookie || set_cookie_is_kept_out);
            // The words that say so, wherever they stand.
            let all = format!("{control} {surrogate} {targeted}");
            let says_so = all.contains("public") || all.contains("s-maxage") || format!("{surrogate} {targeted}").contains("max-age");
            prop_assert!(says_so || !(cookie || authorization));
            prop_assert!(says_so || !grant.explicit);
        }
    }
}
