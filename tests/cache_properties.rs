//! For any fields, any askers, any order of events: what is stored is served to nobody who may not have it, a purge is never
//! survived, and nothing that is read from the network ends in a panic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use marquetry::cache::epochs::Epoch;
use marquetry::cache::freshness::Defaults;
use marquetry::cache::key::{Asker, CacheKey, VaryRule};
use marquetry::cache::object::{Object, Parts};
use marquetry::cache::storable::{Answered, Asked, Verdict, judge};
use marquetry::cache::terms::Terms;
use marquetry::cache::{Cache, Lookup, Purge, order, surrogate};
use marquetry::config::CacheConfig;
use marquetry::config::size::ByteSize;
use marquetry::gateway::origin_request;
use marquetry::gateway::{conditional, language, range};
use marquetry::message::cache_control::{CacheControl, RequestControl, SurrogateControl};
use marquetry::message::{date, structured};
use proptest::prelude::*;
use proptest::sample::select;

/// One who asks: who it is, and what it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visitor {
    /// 0: nobody in particular.
    user: usize,
    by_authorization: bool,
    language: usize,
}

/// What the origin says of its answer, whoever asks.
#[derive(Debug, Clone)]
struct Said {
    control: &'static str,
    targeted: Option<(&'static str, &'static str)>,
    vary: &'static str,
    set_cookie: bool,
    keys: &'static str,
}

#[derive(Debug, Clone)]
enum Event {
    Ask(usize, Visitor, Said),
    /// A fetch that begins now, and whose answer comes after the next events.
    Begin(usize, Visitor, Said),
    Land,
    PurgeUrl(usize, bool),
    PurgeKey(&'static str, bool),
    PurgePrefix(&'static str, bool),
    PurgeAll,
}

fn visitors() -> impl Strategy<Value = Visitor> {
    (0..3_usize, any::<bool>(), 0..3_usize).prop_map(|(user, by_authorization, language)| Visitor {
        user,
        by_authorization,
        language,
    })
}

fn answers() -> impl Strategy<Value = Said> {
    let control = select(vec![
        "",
        "max-age=60",
        "public, max-age=60",
        "s-maxage=60",
        "private, max-age=60",
        "no-store",
        "public, max-age=60, private",
        "no-cache, public",
        "max-age=60, must-revalidate",
        "public, max-age=60, no-cache=\"set-cookie\"",
        "public, max-age=0, stale-while-revalidate=600",
    ]);
    let targeted = select(vec![
        None,
        None,
        None,
        Some(("cdn-cache-control", "max-age=60")),
        Some(("cdn-cache-control", "private")),
        Some(("cdn-cache-control", "max-age=60, oops, ]")),
        Some(("surrogate-control", "max-age=60")),
        Some(("surrogate-control", "content=\"ESI/1.0\"")),
        Some(("marquetry-cache-control", "no-store")),
    ]);
    let vary = select(vec![
        "",
        "",
        "Accept-Language",
        "Cookie",
        "*",
        "User-Agent",
        "Authorization",
    ]);
    let keys = select(vec!["", "one", "one two"]);
    let parts = (control, targeted, vary, any::<bool>(), keys);
    parts.prop_map(|(control, targeted, vary, set_cookie, keys)| Said {
        control,
        targeted,
        vary,
        set_cookie,
        keys,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ask = || (0..2_usize, visitors(), answers());
    let event = prop_oneof![
        8 => ask().prop_map(|(url, visitor, said)| Event::Ask(url, visitor, said)),
        2 => ask().prop_map(|(url, visitor, said)| Event::Begin(url, visitor, said)),
        2 => Just(Event::Land),
        1 => (0..2_usize, any::<bool>()).prop_map(|(url, soft)| Event::PurgeUrl(url, soft)),
        1 => (select(vec!["one", "two", "none"]), any::<bool>()).prop_map(|(key, soft)| Event::PurgeKey(key, soft)),
        1 => (select(vec!["/0", "/", "/elsewhere"]), any::<bool>()).prop_map(|(text, soft)| Event::PurgePrefix(text, soft)),
        1 => Just(Event::PurgeAll),
    ];
    proptest::collection::vec(event, 1..40)
}

fn request(visitor: Visitor) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        let value = HeaderValue::from_str(&value).expect("a row is a value");
        fields.insert(HeaderName::from_static(name), value);
    };
    match (visitor.user, visitor.by_authorization) {
        (0, _) => {}
        (user, false) => put("cookie", format!("session={user}")),
        (user, true) => put("authorization", format!("Bearer {user}")),
    }
    if visitor.language > 0 {
        put(
            "accept-language",
            ["", "de", "en"][visitor.language].to_owned(),
        );
    }
    fields
}

fn response(said: &Said) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut put = |name: &'static str, value: &'static str| {
        if !value.is_empty() {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
    };
    put("cache-control", said.control);
    put("vary", said.vary);
    put("surrogate-key", said.keys);
    put("etag", "\"v\"");
    if let Some((name, value)) = said.targeted {
        put(name, value);
    }
    if said.set_cookie {
        put("set-cookie", "session=new");
    }
    fields
}

/// What is remembered of an answer outside the cache: its number is its body.
struct Made {
    url: usize,
    visitor: Visitor,
    said: Said,
    /// Purged hard since its fetch began.
    purged: bool,
}

/// The rule in other words than the cache's own: may `visitor` be given what was made?
fn may_have(made: &Made, visitor: Visitor) -> Result<(), String> {
    let Made {
        said,
        visitor: maker,
        ..
    } = made;
    let refuse = |why: &str| Err(why.to_owned());
    let targeted = said.targeted.filter(|(_, value)| !value.contains(']'));
    let for_all_by_target = targeted.is_some_and(|(_, value)| value.contains("max-age"));
    let forbidden_by_target =
        targeted.is_some_and(|(_, value)| value.contains("private") || value.contains("no-store"));
    if forbidden_by_target {
        return refuse("its field for surrogates forbids it");
    }
    let decides = for_all_by_target;
    if !decides && (said.control.contains("private") || said.control.contains("no-store")) {
        return refuse("it is private, or not to be stored");
    }
    let cookie_kept_out = said.control.contains("no-cache=\"set-cookie\"");
    if said.set_cookie && !cookie_kept_out {
        return refuse("it sets a cookie");
    }
    if ["*", "Cookie", "User-Agent", "Authorization"].contains(&said.vary) {
        return refuse("it varies by what tells users apart");
    }
    let says_so = for_all_by_target
        || (!decides && (said.control.contains("public") || said.control.contains("s-maxage")));
    let has_cookie = |visitor: Visitor| visitor.user > 0 && !visitor.by_authorization;
    if !says_so && maker.user > 0 {
        return refuse("it was made for a user and does not say that all may have it");
    }
    if !says_so && has_cookie(visitor) {
        return refuse("it was made for guests and does not say that all may have it");
    }
    if said.vary == "Accept-Language" && maker.language != visitor.language {
        return refuse("it is another variant");
    }
    if made.purged {
        return refuse("it was purged");
    }
    Ok(())
}

struct World {
    cache: Cache,
    made: HashMap<u64, Made>,
    next: u64,
    under_way: Vec<(u64, Epoch)>,
}

fn key(url: usize) -> CacheKey {
    CacheKey::new("http", "www.example.com", &format!("/{url}"))
}

impl World {
    fn new() -> Self {
        Self {
            cache: Cache::new(&CacheConfig {
                memory: ByteSize::mebibytes(1),
                ..CacheConfig::default()
            }),
            made: HashMap::new(),
            next: 0,
            under_way: Vec::new(),
        }
    }

    fn begin(&mut self, url: usize, visitor: Visitor, said: Said) -> u64 {
        let begun = self.cache.begin();
        self.next += 1;
        let made = Made {
            url,
            visitor,
            said,
            purged: false,
        };
        self.made.insert(self.next, made);
        self.under_way.push((self.next, begun));
        self.next
    }

    /// As `fetch` does with an answer.
    fn land(&mut self, number: u64, begun: Epoch) {
        let made = &self.made[&number];
        let (asked, headers) = (request(made.visitor), response(&made.said));
        let asker = Asker::new(&asked);
        let about = Asked {
            method: &Method::GET,
            asker,
            ttl: None,
            defaults: Defaults::default(),
        };
        let answered = Answered {
            status: StatusCode::OK,
            headers: &headers,
            at: SystemTime::now(),
            delay: Duration::ZERO,
        };
        let key = key(made.url);
        match judge(about, answered) {
            Verdict::Share(grant) => {
                let parts = Parts {
                    status: StatusCode::OK,
                    labels: self.cache.labels(&key, &headers, begun),
                    headers,
                    body: Bytes::from(number.to_string()),
                    attachment: None,
                };
                self.cache
                    .store(&key, &Arc::new(Object::new(parts, grant, &asked)));
            }
            Verdict::Personal(_) => self.cache.mark(&key, asker, &headers),
        }
    }

    fn look_up(&self, url: usize, visitor: Visitor) -> Result<(), TestCaseError> {
        let asked = request(visitor);
        let found = self.cache.look_up(&key(url), Asker::new(&asked), true);
        let (Lookup::Hit(object) | Lookup::Stale(object) | Lookup::Expired(object)) = found else {
            return Ok(());
        };
        let number = std::str::from_utf8(&object.body)
            .ok()
            .and_then(|text| text.parse().ok());
        let made = number.and_then(|number: u64| self.made.get(&number));
        let made = made.ok_or_else(|| TestCaseError::fail("what is stored was made"))?;
        prop_assert_eq!(made.url, url, "of another URL");
        prop_assert!(
            !object.headers.contains_key("set-cookie"),
            "a cookie is replayed"
        );
        if let Err(why) = may_have(made, visitor) {
            return Err(TestCaseError::fail(format!(
                "{visitor:?} was given what {:?} got: {why}: {:?}",
                made.visitor, made.said
            )));
        }
        Ok(())
    }

    fn purged(&mut self, hits: impl Fn(&Made) -> bool) {
        self.made
            .values_mut()
            .filter(|made| hits(made))
            .for_each(|made| made.purged = true);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ask(url, visitor, said) => {
                let number = self.begin(url, visitor, said);
                let at = self.under_way.iter().position(|(it, _)| *it == number);
                let (number, begun) = self.under_way.remove(at.expect("it has just begun"));
                self.land(number, begun);
            }
            Event::Begin(url, visitor, said) => {
                self.begin(url, visitor, said);
            }
            Event::Land => {
                if let Some((number, begun)) = self.under_way.pop() {
                    self.land(number, begun);
                }
            }
            Event::PurgeUrl(url, soft) => {
                self.cache.purge(Purge::Url(&key(url)), soft);
                self.purged(|made| !soft && made.url == url);
            }
            Event::PurgeKey(name, soft) => {
                self.cache.purge(Purge::Key(name), soft);
                self.purged(|made| !soft && made.said.keys.split(' ').any(|key| key == name));
            }
            Event::PurgePrefix(text, soft) => {
                self.cache.purge(Purge::Prefix(text), soft);
                self.purged(|made| !soft && format!("/{}", made.url).starts_with(text));
            }
            Event::PurgeAll => {
                self.cache.purge(Purge::All, false);
                self.purged(|_| true);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// After every event everybody looks up everything.
    #[test]
    fn what_is_stored_is_served_to_nobody_who_may_not_have_it(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(async {
            let mut world = World::new();
            for event in events {
                world.happens(event);
                for user in 0..3 {
                    for by_authorization in [false, true] {
                        for language in 0..3 {
                            let visitor = Visitor { user, by_authorization, language };
                            world.look_up(0, visitor)?;
                            world.look_up(1, visitor)?;
                        }
                    }
                }
            }
            Ok::<(), TestCaseError>(())
        })?;
    }

    /// Whatever stands in a field is read without a panic, by every reader that there is.
    #[test]
    fn nothing_that_is_read_panics(value in proptest::collection::vec(any::<u8>(), 0..80), text in ".{0,80}") {
        const NAMES: [&str; 20] = [
            "cache-control", "cdn-cache-control", "marquetry-cache-control", "surrogate-control", "expires", "date", "age",
            "last-modified", "etag", "vary", "set-cookie", "surrogate-key", "xkey", "cache-tag", "cache-groups", "pragma",
            "if-none-match", "if-modified-since", "range", "if-range",
        ];
        let mut all = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            for name in NAMES {
                let name = HeaderName::from_static(name);
                let one: HeaderMap = [(name.clone(), value.clone())].into_iter().collect();
                read(&one);
                all.append(name.clone(), value.clone());
                all.append(name, HeaderValue::from_static("max-age=60, public"));
            }
            read(&all);
        }
        let key = CacheKey::new("http", "a.example:81", "/shop/list?x=1");
        let beside = key.beside(&text);
        prop_assert!(beside.is_none_or(|beside| beside.origin() == key.origin()));
        let _ = order::parts(&text);
        let _ = date::parse(text.as_bytes());
        let _ = date::parse(&value);
        let _ = origin_request::preferred(&text);
        let _ = language::preferred(&text, &["en".to_owned(), "pt-br".to_owned()]);
    }
}

fn read(headers: &HeaderMap) {
    let now = SystemTime::now();
    let _ = (
        CacheControl::read(headers),
        RequestControl::read(headers),
        SurrogateControl::read(headers),
    );
    let _ = (Terms::read(headers, now), Terms::downstream(headers, now));
    let key = CacheKey::new("http", "a.example", "/");
    let _ = surrogate::labels(&key, headers);
    let _ = VaryRule::read(headers, false);
    for name in headers.keys() {
        let _ = (
            structured::dictionary(headers, name),
            structured::list(headers, name),
        );
    }
    let _ = conditional::not_modified(headers, StatusCode::OK, headers);
    let _ = range::wanted(&Method::GET, headers, StatusCode::OK, headers, 100);
    for status in [200, 206, 304, 404, 599] {
        let asked = Asked {
            method: &Method::GET,
            asker: Asker::new(headers),
            ttl: None,
            defaults: Defaults {
                heuristic: true,
                ..Defaults::default()
            },
        };
        let answered = Answered {
            status: StatusCode::from_u16(status).expect("a status"),
            headers,
            at: now,
            delay: Duration::from_secs(1),
        };
        let _ = judge(asked, answered);
    }
}
