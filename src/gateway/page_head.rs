//! What the head of a composed page may promise: never more than its least cacheable part.
//!
//! Each part (the skeleton, each fragment) becomes a [`PartPolicy`]; [`PageHead`] folds them. A part that is not known when the
//! head leaves counts as personal.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{
    AGE, CACHE_CONTROL, COOKIE, DATE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED,
    PRAGMA, SET_COOKIE, VARY,
};
use tokio::time::Instant;

use crate::cache::freshness::Freshness;
use crate::cache::object::Object;
use crate::cache::storable::Reason;
use crate::cache::surrogate::{self, CACHE_GROUPS};
use crate::cache::terms::{Downstream, Terms};
use crate::message::date;
use crate::message::headers::{self, SURROGATE_KEY};

/// As much as a field of keys holds, in bytes (Fastly's bound).
const MOST_KEYS: usize = 16 * 1024;

/// Stands for keys that do not fit.
const ANY_KEY: &str = "marquetry-any";

/// Takes out what would let anybody keep a page, or find it unchanged.
pub fn remove_promises(headers: &mut HeaderMap) {
    headers::remove_for_other_caches(headers);
    for name in [AGE, CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA] {
        headers.remove(name);
    }
}

/// What one part of a page allows those behind us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPolicy {
    /// It is one user's, or may be.
    personal: bool,
    /// It says `no-store`.
    no_store: bool,
    /// It says `public`.
    public: bool,
    /// It must not be used stale.
    must_revalidate: bool,
    /// How long it stays fresh in browsers from now; `None`: it does not say.
    max_age: Option<Duration>,
    /// Several that were joined: one of them does not say how long it stays fresh.
    unsaid: bool,
    /// The same in shared caches.
    s_maxage: Option<Duration>,
    /// How long past that it may be used while it is asked for anew; `None`: it does not say, or must not be.
    stale_while_revalidate: Option<Duration>,
    /// How long past that it may be used where nothing better can be had.
    stale_if_error: Option<Duration>,
    /// What it varies by.
    vary: Arc<Vary>,
    /// The surrogate keys by which it can be purged.
    keys: Arc<[String]>,
    /// The groups to which it belongs (RFC 9875).
    groups: Arc<[String]>,
}

/// `Vary` of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Vary {
    Fields(Vec<HeaderName>),
    Everything,
}

impl PartPolicy {
    /// Of a stored object, as old as it is now.
    pub fn of_stored(object: &Object, now: Instant) -> Self {
        // Its head is read once, as if it had just been made.
        let made = object.reading(|object| {
            let terms = Terms::downstream(&object.headers, object.came);
            Self::new(terms, &object.headers, Duration::ZERO, terms.personal)
        });
        let mut policy = made.aged(object.age_at(now));
        if object.freshness(now) != Freshness::Fresh {
            // What is stale here is not to be kept by others, whatever they were told besides.
            policy.spend();
        }
        policy
    }

    /// The same after so long a time.
    #[must_use]
    pub fn aged(&self, time: Duration) -> Self {
        let left =
            |lifetime: Option<Duration>| lifetime.map(|lifetime| lifetime.saturating_sub(time));
        Self {
            max_age: left(self.max_age),
            s_maxage: left(self.s_maxage),
            ..self.clone()
        }
    }

    /// What two parts allow together.
    pub fn join(&mut self, other: &Self) {
        let least = |one: Option<Duration>, other: Option<Duration>| Some(one?.min(other?));
        self.personal |= other.personal;
        self.no_store |= other.no_store;
        self.public &= other.public;
        self.must_revalidate |= other.must_revalidate;
        // What one that does not say counts as is for the head to decide.
        self.unsaid = self.is_unsaid() || other.is_unsaid();
        self.max_age = match (self.max_age, other.max_age) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.s_maxage = least(self.s_maxage, other.s_maxage);
        self.stale_while_revalidate =
            least(self.stale_while_revalidate, other.stale_while_revalidate);
        self.stale_if_error = least(self.stale_if_error, other.stale_if_error);
        if self.vary != other.vary {
            self.vary = Arc::new(self.vary.with(&other.vary));
        }
        if self.keys != other.keys {
            let mut keys: Vec<String> = self.keys.iter().chain(&*other.keys).cloned().collect();
            keys.sort_unstable();
            keys.dedup();
            self.keys = keys.into();
        }
        if self.groups != other.groups {
            let groups = self.groups.iter().chain(&*other.groups);
            let mut groups: Vec<String> = groups.cloned().collect();
            groups.sort_unstable();
            groups.dedup();
            self.groups = groups.into();
        }
    }

    /// Whether it, or one of several that were joined, does not say how long it stays fresh.
    fn is_unsaid(&self) -> bool {
        self.unsaid || self.max_age.is_none()
    }

    /// Whether those behind us may give it to anybody.
    pub fn is_for_all(&self) -> bool {
        !self.personal && !self.no_store && *self.vary != Vary::Everything
    }

    /// Of a fragment that was for everybody the last time, varied by these fields, and is being fetched: it has no lifetime, since
    /// what comes may have none, but is nobody's in particular.
    pub fn expected(vary: &[HeaderName]) -> Self {
        Self {
            personal: false,
            no_store: false,
            public: false,
            must_revalidate: false,
            max_age: Some(Duration::ZERO),
            unsaid: false,
            s_maxage: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            vary: Arc::new(Vary::Fields(vary.to_vec())),
            keys: Arc::default(),
            groups: Arc::default(),
        }
    }

    /// The same as part of a page of another origin: groups have their meaning within an origin (RFC 9875 2.1).
    #[must_use]
    pub fn or_foreign(mut self, foreign: bool) -> Self {
        if foreign {
            self.groups = Arc::default();
        }
        self
    }

    /// Whether it is for everybody, and those behind us may keep it.
    pub fn is_shared(&self) -> bool {
        !self.personal && !self.no_store
    }

    /// Of a part that came when the head of its page had left and promised nothing: what it says of itself is not asked any more.
    pub fn personal() -> Self {
        static PERSONAL: LazyLock<PartPolicy> = LazyLock::new(|| PartPolicy {
            personal: true,
            ..PartPolicy::expected(&[])
        });
        PERSONAL.clone()
    }

    fn spend(&mut self) {
        self.max_age = Some(Duration::ZERO);
        self.s_maxage = self.s_maxage.map(|_| Duration::ZERO);
    }

    /// Of an answer that was fetched for this asker alone; `personal` says why it is not shared.
    pub fn of_fetched(headers: &HeaderMap, personal: Option<Reason>, came: SystemTime) -> Self {
        let terms = Terms::downstream(headers, came);
        // One that says it is public and only has no lifetime left is nobody's secret.
        let harmless = match personal {
            None => true,
            Some(Reason::NoLifetime | Reason::Expired | Reason::NoCache) => terms.public,
            Some(_) => false,
        };
        let age = crate::cache::freshness::initial_age(headers, came, Duration::ZERO);
        let mut policy = Self::new(terms, headers, age, terms.personal || !harmless);
        policy.personal |= headers.contains_key(SET_COOKIE);
        policy
    }

    /// The same, personal in any case where `personal` says so: a document that reads the request is another one for another user.
    #[must_use]
    pub fn or_personal(mut self, personal: bool) -> Self {
        self.personal |= personal;
        self
    }

    /// The same where its include says that no cache may keep it: then none may keep the page either.
    #[must_use]
    pub fn or_no_store(mut self, no_store: bool) -> Self {
        self.no_store |= no_store;
        self
    }

    fn new(terms: Downstream, headers: &HeaderMap, age: Duration, personal: bool) -> Self {
        let left =
            |lifetime: Option<Duration>| lifetime.map(|lifetime| lifetime.saturating_sub(age));
        let no_store = crate::message::cache_control::CacheControl::read(headers).no_store;
        let zero = |left: Option<Duration>| {
            if terms.no_cache {
                left.map(|_| Duration::ZERO)
            } else {
                left
            }
        };
        let vary = vary(headers);
        let grace =
            |said: Option<Duration>| said.filter(|_| !terms.no_cache && !terms.must_revalidate);
        Self {
            stale_while_revalidate: grace(terms.stale_while_revalidate),
            stale_if_error: grace(terms.stale_if_error),
            personal: personal || varies_by_user(&vary),
            no_store,
            public: terms.public,
            must_revalidate: terms.must_revalidate,
            unsaid: false,
            max_age: if terms.no_cache {
                Some(Duration::ZERO)
            } else {
                left(terms.max_age)
            },
            s_maxage: zero(left(terms.s_maxage)),
            vary: Arc::new(vary),
            keys: surrogate::keys(headers)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            groups: surrogate::groups(headers, &CACHE_GROUPS).into(),
        }
    }
}

impl Vary {
    /// What both vary by.
    fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Fields(fields), Self::Fields(others)) => {
                let more = others.iter().filter(|name| !fields.contains(name));
                Self::Fields(fields.iter().chain(more).cloned().collect())
            }
            _ => Self::Everything,
        }
    }
}

fn vary(headers: &HeaderMap) -> Vary {
    let mut fields = Vec::new();
    for line in headers.get_all(VARY) {
        for name in line
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            match HeaderName::from_bytes(name) {
                _ if name.is_empty() => {}
                Ok(name) if name.as_str() != "*" => fields.push(name),
                _ => return Vary::Everything,
            }
        }
    }
    Vary::Fields(fields)
}

fn varies_by_user(vary: &Vary) -> bool {
    match vary {
        Vary::Everything => true,
        Vary::Fields(fields) => {
            fields.contains(&COOKIE) || fields.contains(&http::header::AUTHORIZATION)
        }
    }
}

/// Whether a page is another one for surrogates of other capabilities (`Surrogate-Capability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByCapability {
    /// Nobody's capability was told to an origin: what we say of ourselves is the same for all.
    Never,
    /// Where a part says that it varies by it.
    AsPartsSay,
    /// A surrogate that can compose it is given its tags instead.
    Always,
}

/// What the route and the configuration make of the parts' policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Whether it is another page for surrogates of other capabilities.
    pub by_capability: ByCapability,
    /// `compose.failed_max_age`: how long it may be kept although a part failed.
    pub failed: Duration,
    /// `compose.default_max_age`: what a part for everybody that gives no lifetime counts as.
    pub unsaid: Duration,
    /// `compose.private_max_age`: whether its user's browser may keep it as long as its parts allow.
    pub private: bool,
}

/// The fold over all parts.
#[derive(Debug, Clone)]
pub struct PageHead {
    manner: Manner,
    personal: bool,
    no_store: bool,
    public: bool,
    must_revalidate: bool,
    /// `None` once a part does not say.
    max_age: Option<Duration>,
    s_maxage: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    vary: Vec<HeaderName>,
    /// Those of all parts.
    groups: BTreeSet<String>,
    /// Those of all parts.
    keys: BTreeSet<String>,
}

impl PageHead {
    /// The page is its skeleton so far.
    pub fn new(skeleton: &PartPolicy, manner: Manner) -> Self {
        let mut head = Self {
            manner,
            personal: false,
            no_store: false,
            public: true,
            must_revalidate: false,
            max_age: Some(Duration::MAX),
            s_maxage: Some(Duration::MAX),
            stale_while_revalidate: Some(Duration::MAX),
            stale_if_error: Some(Duration::MAX),
            vary: Vec::new(),
            keys: BTreeSet::new(),
            groups: BTreeSet::new(),
        };
        head.add(skeleton);
        head
    }

    /// Another part.
    pub fn add(&mut self, part: &PartPolicy) {
        let least = |one: Option<Duration>, other: Option<Duration>| Some(one?.min(other?));
        self.personal |= part.personal;
        self.no_store |= part.no_store;
        self.public &= part.public;
        self.must_revalidate |= part.must_revalidate;
        let unsaid = self.manner.unsaid;
        let counted = (!part.personal && !unsaid.is_zero()).then_some(unsaid);
        let said = part.max_age;
        let counts = if part.is_unsaid() {
            counted.map(|counted| said.map_or(counted, |said| said.min(counted)))
        } else {
            said
        };
        self.max_age = least(self.max_age, counts);
        self.s_maxage = least(self.s_maxage, part.s_maxage);
        self.stale_while_revalidate =
            least(self.stale_while_revalidate, part.stale_while_revalidate);
        self.stale_if_error = least(self.stale_if_error, part.stale_if_error);
        self.keys.extend(part.keys.iter().cloned());
        self.groups.extend(part.groups.iter().cloned());
        match &*part.vary {
            Vary::Everything => self.no_store = true,
            Vary::Fields(fields) => {
                for field in fields {
                    if !self.vary.contains(field) {
                        self.vary.push(field.clone());
                    }
                }
            }
        }
    }

    /// A part of which nothing is known yet.
    pub fn add_unknown(&mut self) {
        self.personal = true;
        self.max_age = Some(Duration::ZERO);
    }

    /// A part that failed: what stands in its place is not to be kept.
    pub fn add_failed(&mut self) {
        self.max_age = self.max_age.map(|left| left.min(self.manner.failed));
        self.s_maxage = None;
        self.stale_while_revalidate = None;
        self.stale_if_error = None;
    }

    /// Whether it is one user's: no part can be less cacheable than that.
    pub fn is_personal(&self) -> bool {
        self.personal
    }

    /// Whether the page may be told apart by a tag of its own: it is the same for all, and may be kept.
    pub fn is_for_all(&self) -> bool {
        !self.personal && !self.no_store
    }

    /// Whether a part is less cacheable than what the head, once sent, has promised.
    pub fn promised_more_than(&self, part: &PartPolicy) -> bool {
        let longer = |promised: Option<Duration>, allowed: Option<Duration>| {
            promised.is_some_and(|promised| {
                promised > allowed.unwrap_or(Duration::ZERO) && promised > Duration::ZERO
            })
        };
        !self.personal
            && (part.personal
                || longer(self.max_age, part.max_age.filter(|_| !part.is_unsaid()))
                || longer(self.s_maxage, part.s_maxage)
                || longer(self.stale_while_revalidate, part.stale_while_revalidate)
                || longer(self.stale_if_error, part.stale_if_error))
    }

    /// Writes what the page promises over the head of its skeleton. A page is encoded as its client likes it, so it always varies
    /// by that.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers::remove_skeleton_only(headers);
        // A surrogate in front purges the page by the keys of all its parts; from others' answers the field is taken out.
        if let Some(keys) = self.surrogate_key() {
            headers.insert(SURROGATE_KEY, keys);
        }
        headers.remove(CACHE_GROUPS);
        if let Some(groups) = self.cache_groups() {
            headers.insert(CACHE_GROUPS, groups);
        }
        // What is promised is counted from now, so no Age goes with it.
        headers.insert(DATE, date::now());
        // Words and digits are a value; whatever else it were, the skeleton's own does not stay.
        let control = HeaderValue::from_str(&self.cache_control());
        let nothing = HeaderValue::from_static("private, no-store");
        headers.insert(CACHE_CONTROL, control.unwrap_or(nothing));
        let capability = headers::SURROGATE_CAPABILITY;
        let counts = |name: &&str| {
            *name != capability.as_str() || self.manner.by_capability == ByCapability::AsPartsSay
        };
        let names = self.vary.iter().map(HeaderName::as_str);
        let mut vary: Vec<&str> = names.filter(counts).collect();
        if self.manner.by_capability == ByCapability::Always {
            vary.push(capability.as_str());
        }
        if self.personal && !vary.contains(&"cookie") {
            vary.push("cookie");
        }
        if !vary.contains(&"accept-encoding") {
            vary.push("accept-encoding");
        }
        let vary = match &vary[..] {
            ["accept-encoding"] => HeaderValue::from_static("accept-encoding"),
            // Names and commas are a value.
            names => {
                HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("*"))
            }
        };
        headers.insert(VARY, vary);
    }

    /// The keys of all parts in one field. When they are more than a field holds, or cannot be written into it, one key stands
    /// for all pages of which that is so: purging too much is better than too little.
    fn surrogate_key(&self) -> Option<HeaderValue> {
        if self.keys.is_empty() {
            return None;
        }
        let length: usize = self.keys.iter().map(|key| key.len() + 1).sum();
        if length > MOST_KEYS || self.keys.iter().any(|key| key.contains([' ', '\t'])) {
            return Some(HeaderValue::from_static(ANY_KEY));
        }
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        HeaderValue::from_str(&keys.join(" ")).ok()
    }

    /// The groups of all parts, so that whoever invalidates one of them behind us reaches the page; as many as a field holds.
    fn cache_groups(&self) -> Option<HeaderValue> {
        if self.groups.is_empty() || self.has_more_groups_than_fit() {
            return None;
        }
        let groups: Vec<String> = self.groups.iter().map(|group| quoted(group)).collect();
        HeaderValue::from_str(&groups.join(", ")).ok()
    }

    fn has_more_groups_than_fit(&self) -> bool {
        self.groups
            .iter()
            .map(|group| group.len() + 4)
            .sum::<usize>()
            > MOST_KEYS
    }

    fn cache_control(&self) -> String {
        if self.no_store {
            return if self.personal {
                "private, no-store".to_owned()
            } else {
                "no-store".to_owned()
            };
        }
        if self.personal {
            let browsers = self
                .max_age
                .filter(|left| self.manner.private && left.as_secs() > 0);
            return match browsers {
                Some(left) => format!("private, max-age={}", left.as_secs()),
                None => "private, no-cache".to_owned(),
            };
        }
        // A page that an invalidation of its parts would not reach is not kept.
        let kept = !self.has_more_groups_than_fit();
        let lifetime = self
            .max_age
            .filter(|lifetime| kept && lifetime.as_secs() > 0);
        let Some(max_age) = lifetime else {
            return "no-cache".to_owned();
        };
        let public = if self.public { "public, " } else { "" };
        let mut value = String::with_capacity(96);
        // Writing into a string cannot fail.
        let _ = write!(value, "{public}max-age={}", max_age.as_secs());
        if let Some(s_maxage) = self.s_maxage.filter(|lifetime| lifetime.as_secs() > 0) {
            let _ = write!(value, ", s-maxage={}", s_maxage.as_secs());
        }
        if self.must_revalidate {
            value.push_str(", must-revalidate");
            return value;
        }
        for (name, grace) in [
            ("stale-while-revalidate", self.stale_while_revalidate),
            ("stale-if-error", self.stale_if_error),
        ] {
            if let Some(grace) = grace.filter(|grace| grace.as_secs() > 0) {
                let _ = write!(value, ", {name}={}", grace.as_secs());
            }
        }
        value
    }
}

/// A String of Structured Fields (RFC 9651 3.3.3).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The head of a document whose parts cannot be known, such as one that was asked for by HEAD and is not in the cache.
pub fn unknown(headers: &mut HeaderMap, manner: Manner) {
    let policy = PartPolicy::of_fetched(headers, Some(Reason::Request), SystemTime::now());
    let mut head = PageHead::new(&policy, manner);
    head.add_unknown();
    head.write(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rows: &[(&'static str, &'static str)], personal: Option<Reason>) -> PartPolicy {
        let mut map = HeaderMap::new();
        for (name, value) in rows {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        PartPolicy::of_fetched(&map, personal, SystemTime::now())
    }

    fn page_of(skeleton: &PartPolicy) -> PageHead {
        PageHead::new(skeleton, MANNER)
    }

    const MANNER: Manner = Manner {
        by_capability: ByCapability::Never,
        failed: Duration::ZERO,
        unsaid: Duration::ZERO,
        private: false,
    };

    #[test]
    fn an_operator_may_have_pages_kept_a_little() {
        let public = |seconds: &'static str| part(&[("cache-control", seconds)], None);
        let unsaid = || part(&[("cache-control", "public")], Some(Reason::NoLifetime));
        let mine = |line| part(&[("cache-control", line)], Some(Reason::Private));
        let second = Duration::from_secs(1);
        let failed = Manner {
            failed: 5 * second,
            ..MANNER
        };
        let default = Manner {
            unsaid: 7 * second,
            ..MANNER
        };
        let private = Manner {
            private: true,
            unsaid: 7 * second,
            ..MANNER
        };
        let rows: Vec<(Manner, Vec<PartPolicy>, bool, bool, &str)> = vec![
            (
                failed,
                vec![public("public, max-age=60")],
                true,
                false,
                "public, max-age=5",
            ),
            (
                failed,
                vec![public("public, max-age=3, s-maxage=9")],
                true,
                false,
                "public, max-age=3",
            ),
            (failed, vec![unsaid()], true, false, "no-cache"),
            (
                default,
                vec![unsaid(), public("max-age=60")],
                false,
                false,
                "max-age=7",
            ),
            (
                default,
                vec![unsaid(), public("public, no-cache")],
                false,
                false,
                "no-cache",
            ),
            (
                default,
                vec![mine("private")],
                false,
                false,
                "private, no-cache",
            ),
            (
                private,
                vec![unsaid(), mine("private, max-age=30")],
                false,
                false,
                "private, max-age=7",
            ),
            (
                private,
                vec![public("max-age=60"), mine("private, max-age=30")],
                false,
                false,
                "private, max-age=30",
            ),
            (
                private,
                vec![public("max-age=60"), mine("private")],
                false,
                false,
                "private, no-cache",
            ),
            (
                private,
                vec![public("max-age=60"), mine("private, no-cache, max-age=9")],
                false,
                false,
                "private, no-cache",
            ),
            (
                private,
                vec![public("max-age=60"), mine("no-store, max-age=9")],
                false,
                false,
                "private, no-store",
            ),
            (
                private,
                vec![public("max-age=60")],
                false,
                true,
                "private, no-cache",
            ),
        ];
        for (manner, parts, fails, unknown, wanted) in rows {
            let mut head = PageHead::new(&parts[0], manner);
            parts[1..].iter().for_each(|part| head.add(part));
            if fails {
                head.add_failed();
            }
            if unknown {
                head.add_unknown();
            }
            assert_eq!(head.cache_control(), wanted, "{manner:?} {parts:?}");
        }
    }

    #[test]
    fn parts_that_are_joined_allow_what_they_allow_one_by_one() {
        let lines: [&[(&str, &str)]; 9] = [
            &[("cache-control", "public, max-age=60")],
            &[
                ("cache-control", "public, max-age=5"),
                ("vary", "Accept-Language"),
            ],
            &[("cache-control", "public")],
            &[("cache-control", "public, max-age=90, s-maxage=300")],
            &[
                ("cache-control", "max-age=90, must-revalidate"),
                ("xkey", "a b"),
            ],
            &[
                (
                    "cache-control",
                    "public, max-age=9, stale-while-revalidate=5",
                ),
                ("xkey", "b c"),
            ],
            &[("cache-control", "public, no-cache")],
            &[
                ("cache-control", "public, max-age=7"),
                ("cache-groups", "\"g\", \"h\""),
            ],
            &[],
        ];
        let parts: Vec<PartPolicy> = lines
            .iter()
            .map(|lines| {
                let mut headers = HeaderMap::new();
                for (name, value) in *lines {
                    let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                    headers.append(name, HeaderValue::from_str(value).expect("a value"));
                }
                PartPolicy::of_fetched(&headers, None, SystemTime::now())
            })
            .collect();
        let skeleton = &parts[0];
        for unsaid in [0, 30] {
            let manner = Manner {
                unsaid: Duration::from_secs(unsaid),
                ..MANNER
            };
            for one in &parts {
                for two in &parts {
                    for three in &parts {
                        let mut single = PageHead::new(skeleton, manner);
                        for part in [one, two, three] {
                            single.add(part);
                        }
                        let mut joined = one.clone();
                        joined.join(two);
                        joined.join(three);
                        let mut together = PageHead::new(skeleton, manner);
                        together.add(&joined);
                        let written = |head: &PageHead| {
                            let mut headers = HeaderMap::new();
                            head.write(&mut headers);
                            headers.remove(DATE);
                            headers
                        };
                        assert_eq!(written(&together), written(&single));
                    }
                }
            }
        }
    }

    #[test]
    fn a_page_promises_no_more_than_its_least_cacheable_part() {
        let public = |seconds: &'static str| part(&[("cache-control", seconds)], None);
        let rows: Vec<(&str, Vec<PartPolicy>, &str)> = vec![
            (
                "alone",
                vec![public("public, max-age=60")],
                "public, max-age=60",
            ),
            (
                "the shortest",
                vec![public("public, max-age=3600"), public("public, max-age=1")],
                "public, max-age=1",
            ),
            (
                "not all public",
                vec![public("public, max-age=60"), public("max-age=60")],
                "max-age=60",
            ),
            (
                "s-maxage of all",
                vec![
                    public("public, max-age=9, s-maxage=60"),
                    public("public, max-age=9, s-maxage=30"),
                ],
                "public, max-age=9, s-maxage=30",
            ),
            (
                "s-maxage of some",
                vec![
                    public("public, max-age=9, s-maxage=60"),
                    public("public, max-age=9"),
                ],
                "public, max-age=9",
            ),
            (
                "must-revalidate of one",
                vec![
                    public("public, max-age=9"),
                    public("public, max-age=9, must-revalidate"),
                ],
                "public, max-age=9, must-revalidate",
            ),
            (
                "grace of all",
                vec![
                    public("public, max-age=9, stale-while-revalidate=60, stale-if-error=90"),
                    public("public, max-age=9, stale-while-revalidate=30"),
                ],
                "public, max-age=9, stale-while-revalidate=30",
            ),
            (
                "grace forbidden by one",
                vec![
                    public("public, max-age=9, stale-while-revalidate=60"),
                    public("public, max-age=9, stale-while-revalidate=60, proxy-revalidate"),
                ],
                "public, max-age=9, must-revalidate",
            ),
            (
                "no lifetime",
                vec![
                    public("public, max-age=60"),
                    part(&[("cache-control", "public")], Some(Reason::NoLifetime)),
                ],
                "no-cache",
            ),
            (
                "personal",
                vec![
                    public("public, max-age=60"),
                    part(&[], Some(Reason::NoLifetime)),
                ],
                "private, no-cache",
            ),
            (
                "private",
                vec![
                    public("public, max-age=60"),
                    part(
                        &[("cache-control", "private, max-age=30")],
                        Some(Reason::Private),
                    ),
                ],
                "private, no-cache",
            ),
            (
                "no-store",
                vec![
                    public("public, max-age=60"),
                    part(&[("cache-control", "no-store")], Some(Reason::NoStore)),
                ],
                "private, no-store",
            ),
            (
                "cookie set",
                vec![part(
                    &[
                        ("cache-control", "public, max-age=60"),
                        ("set-cookie", "a=1"),
                    ],
                    Some(Reason::SetCookie),
                )],
                "private, no-cache",
            ),
            (
                "for surrogates only",
                vec![part(
                    &[
                        ("cdn-cache-control", "max-age=60"),
                        ("cache-control", "private"),
                    ],
                    None,
                )],
                "private, no-cache",
            ),
            (
                "varies by cookie",
                vec![part(
                    &[("cache-control", "public, max-age=60"), ("vary", "Cookie")],
                    Some(Reason::Vary),
                )],
                "private, no-cache",
            ),
            (
                "varies by everything",
                vec![part(
                    &[("cache-control", "public, max-age=60"), ("vary", "*")],
                    Some(Reason::Vary),
                )],
                "private, no-store",
            ),
        ];
        for (name, parts, wanted) in rows {
            let mut head = page_of(&parts[0]);
            parts[1..].iter().for_each(|part| head.add(part));
            assert_eq!(head.cache_control(), wanted, "{name}");
        }
    }

    #[test]
    fn failed_and_unknown_parts_are_not_kept() {
        let mut head = page_of(&part(
            &[("cache-control", "public, max-age=60, s-maxage=90")],
            None,
        ));
        head.add_failed();
        assert_eq!(head.cache_control(), "no-cache");
        head.add_unknown();
        assert_eq!(head.cache_control(), "private, no-cache");
    }

    #[test]
    fn what_was_true_of_the_skeleton_alone_goes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"skeleton\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("age", "5"),
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("cdn-cache-control", "max-age=3600"),
            ("content-md5", "x"),
            ("cache-control", "public, max-age=600"),
            ("content-type", "text/html"),
            ("vary", "Accept-Language, Surrogate-Capability"),
        ] {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let skeleton = PartPolicy::of_fetched(&headers, None, SystemTime::now());
        let mut head = page_of(&skeleton);
        head.add_unknown();
        head.write(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cache-control", "content-type", "date", "vary"]);
        assert_eq!(headers[CACHE_CONTROL], "private, no-cache");
        assert_eq!(headers[VARY], "accept-language, cookie, accept-encoding");
    }

    #[test]
    fn the_keys_of_all_parts_are_told_or_one_for_all() {
        let keyed = |keys: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                SURROGATE_KEY,
                HeaderValue::from_str(keys).expect("keys are a value"),
            );
            PartPolicy::of_fetched(&headers, None, SystemTime::now())
        };
        let mut head = page_of(&keyed("b a"));
        head.add(&keyed("c a"));
        assert_eq!(head.surrogate_key().expect("there are keys"), "a b c");
        let many: Vec<String> = (0..900).map(|number| format!("{number:x<20}")).collect();
        head.add(&keyed(&many.join(" ")));
        assert_eq!(head.surrogate_key().expect("there are keys"), ANY_KEY);
        let mut head = page_of(&keyed("a"));
        head.add(&part(&[("cache-tag", "b c")], None));
        assert_eq!(head.surrogate_key().expect("there are keys"), ANY_KEY);
    }

    #[test]
    fn the_groups_of_all_parts_are_told_or_the_page_is_not_kept() {
        let grouped = |groups: &str| {
            let mut headers = HeaderMap::new();
            let value = |text: &str| HeaderValue::from_str(text).expect("a row is a value");
            headers.insert(CACHE_GROUPS, value(groups));
            headers.insert(CACHE_CONTROL, value("public, max-age=60"));
            PartPolicy::of_fetched(&headers, None, SystemTime::now())
        };
        let mut head = page_of(&grouped(r#""b", "a\\\"""#));
        head.add(&grouped(r#""c", "b""#));
        head.add(&grouped(r#""elsewhere""#).or_foreign(true));
        head.add(&grouped("no list of strings \""));
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_GROUPS, HeaderValue::from_static("\"old\""));
        head.write(&mut headers);
        assert_eq!(headers[CACHE_GROUPS], r#""a\\\"", "b", "c""#);
        assert_eq!(headers[CACHE_CONTROL], "public, max-age=60");
        for number in 0..40 {
            let long = format!("\"{number:0>1000}\"");
            head.add(&grouped(&long));
        }
        head.write(&mut headers);
        assert!(!headers.contains_key(CACHE_GROUPS));
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
    }

    #[test]
    fn a_late_part_that_is_stricter_is_noticed() {
        let head = page_of(&part(&[("cache-control", "public, max-age=60")], None));
        assert!(head.promised_more_than(&part(
            &[("cache-control", "private")],
            Some(Reason::Private)
        )));
        assert!(head.promised_more_than(&part(&[("cache-control", "public, max-age=5")], None)));
        assert!(!head.promised_more_than(&part(&[("cache-control", "public, max-age=600")], None)));
    }
}
