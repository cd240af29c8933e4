//! The cache: what a hit costs to decide, what a small object costs beside its own bytes, and how many hits a long tail gives.
//!
//! `cargo bench --bench cache` prints all three. The decision must be free of allocations; this is counted, not guessed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use marquetry::cache::freshness::Defaults;
use marquetry::cache::key::{Asker, CacheKey};
use marquetry::cache::object::{Object, Parts};
use marquetry::cache::storable::{Answered, Asked, Verdict, judge};
use marquetry::cache::{Cache, Lookup};
use marquetry::config::CacheConfig;
use marquetry::config::size::ByteSize;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

/// The system's allocator, with a count of what is asked of it and of what it holds.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can be counted in no other way")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn fields(rows: &[(&'static str, &'static str)]) -> HeaderMap {
    rows.iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn cache(memory: ByteSize) -> Cache {
    Cache::new(&CacheConfig {
        memory,
        ..CacheConfig::default()
    })
}

fn object(cache: &Cache, key: &CacheKey, response: HeaderMap, body: Bytes) -> Arc<Object> {
    let request = HeaderMap::new();
    let asked = Asked {
        method: &Method::GET,
        asker: Asker::new(&request),
        ttl: None,
        defaults: Defaults::default(),
    };
    let answered = Answered {
        status: StatusCode::OK,
        headers: &response,
        at: SystemTime::now(),
        delay: Duration::ZERO,
    };
    let Verdict::Share(grant) = judge(asked, answered) else {
        unreachable!("the bench's own answer is for everybody");
    };
    let parts = Parts {
        status: StatusCode::OK,
        labels: cache.labels(key, &response, cache.begin()),
        headers: response,
        body,
        attachment: None,
    };
    Arc::new(Object::new(parts, grant, &request))
}

/// May this asker have this object now, by itself? The look-up and the clock are left out.
fn decision(criterion: &mut Criterion) {
    let cache = cache(ByteSize::mebibytes(16));
    let key = CacheKey::new("http", "www.example.com", "/");
    let response = fields(&[
        (
            "cache-control",
            "public, max-age=3600, stale-while-revalidate=60",
        ),
        ("vary", "accept-language"),
    ]);
    let stored = object(&cache, &key, response, Bytes::from_static(b"body"));
    let plain = fields(&[]);
    let request = fields(&[("accept", "*/*"), ("user-agent", "bench")]);
    let now = Instant::now();
    let decide = |request: &HeaderMap| {
        let asker = Asker::new(black_box(request));
        stored
            .is_for(asker)
            .then(|| stored.freshness(black_box(now)))
    };
    assert!(decide(&plain).is_some());
    let before = CALLS.load(Ordering::Relaxed);
    for _ in 0..1000 {
        black_box(decide(&request));
    }
    let calls = CALLS.load(Ordering::Relaxed) - before;
    println!("a hit's decision: {calls} allocations in 1000");
    assert_eq!(calls, 0, "a hit is decided without asking for memory");
    criterion.bench_function("a hit's decision", |bencher| {
        bencher.iter(|| black_box(decide(&request)));
    });
    cache.store(&key, &stored);
    criterion.bench_function("a look-up that hits", |bencher| {
        bencher.iter(|| black_box(cache.look_up(&key, Asker::new(&request), true)));
    });
}

/// What a small object costs beyond its body, its fields and its key.
fn overhead(_: &mut Criterion) {
    const OBJECTS: usize = 1_000_000;
    let held = || HELD.load(Ordering::Relaxed);
    let cache = cache(ByteSize::mebibytes(8192));
    let response = fields(&[("cache-control", "public, max-age=3600"), ("date", "x")]);
    let before = held();
    let kept = response.clone();
    let of_fields = held() - before;
    drop(kept);
    let start = held();
    let mut of_keys = 0;
    for number in 0..OBJECTS {
        let key = CacheKey::new("http", "www.example.com", &format!("/{number}"));
        of_keys += key.weight();
        let stored = object(&cache, &key, response.clone(), Bytes::from_static(b"body"));
        cache.store(&key, &stored);
    }
    let status = cache.status();
    let held_all = held() - start;
    let each = (held_all - of_keys) / OBJECTS;
    drop(cache);
    let of_moka = moka_alone(OBJECTS);
    let of_fields = of_fields + size_of::<HeaderMap>();
    let own = each - of_fields - size_of::<Bytes>() - of_moka;
    println!(
        "{} objects: {each} bytes each beyond body and key: {of_fields} for the fields, {of_moka} for moka, {own} of our own; \
         held {} each, counted against the budget {} each",
        status.objects,
        held_all / OBJECTS,
        status.bytes / status.objects.max(1),
    );
    assert!(own <= 300, "our own bookkeeping is small");
    assert!(
        status.bytes >= held_all as u64,
        "the budget counts all that is held"
    );
}

/// What moka needs for an entry, with keys and values that need nothing.
fn moka_alone(entries: usize) -> usize {
    struct Hour;
    impl moka::Expiry<u64, u64> for Hour {
        fn expire_after_create(&self, _: &u64, _: &u64, _: std::time::Instant) -> Option<Duration> {
            Some(Duration::from_secs(3600))
        }
    }
    let start = HELD.load(Ordering::Relaxed);
    let store = moka::sync::Cache::builder()
        .max_capacity(1 << 40)
        .weigher(|_: &u64, _: &u64| 1000)
        .expire_after(Hour)
        .build();
    for number in 0..entries as u64 {
        store.insert(number, number);
    }
    store.run_pending_tasks();
    (HELD.load(Ordering::Relaxed) - start) / entries
}

/// A long tail: pages of 2 KB, asked for by Zipf's law, in a store that holds some of them; against plain LRU of the same size.
fn long_tail(_: &mut Criterion) {
    const PAGES: usize = 200_000;
    const ASKED: usize = 2_000_000;
    const MEMORY: u64 = 32;
    let mut weights = Vec::with_capacity(PAGES);
    let mut sum = 0.0;
    for rank in 1..=PAGES {
        sum += (rank as f64).powf(-0.9);
        weights.push(sum);
    }
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut next = || {
        let at = random.random::<f64>() * sum;
        weights.partition_point(|weight| *weight < at)
    };
    let asked: Vec<usize> = (0..ASKED).map(|_| next()).collect();
    let before = resident();
    let cache = cache(ByteSize::mebibytes(MEMORY));
    let response = fields(&[("cache-control", "public, max-age=3600")]);
    let body = Bytes::from(vec![b'x'; 2048]);
    let none = HeaderMap::new();
    let key = |page: usize| CacheKey::new("http", "www.example.com", &format!("/{page}"));
    let mut hits = 0;
    for page in &asked {
        let key = key(*page);
        if let Lookup::Hit(_) = cache.look_up(&key, Asker::new(&none), true) {
            hits += 1;
        } else {
            // Each page has bytes of its own, as it would have from its origin.
            let stored = object(
                &cache,
                &key,
                response.clone(),
                Bytes::copy_from_slice(&body),
            );
            cache.store(&key, &stored);
        }
    }
    let status = cache.status();
    let after = resident();
    let grown = after.saturating_sub(before);
    let weight = status.bytes / status.objects.max(1);
    let room = ByteSize::mebibytes(MEMORY).as_u64() / weight.max(1);
    let lru = lru(&asked, room as usize);
    let ratio = f64::from(hits) / f64::from(lru);
    println!(
        "long tail: {hits} hits of {ASKED}, {} origin requests; plain LRU of the same size {lru}: {ratio:.3} of it; \
         {} MiB counted of {MEMORY}, resident memory grown by {} MiB to {} MiB",
        ASKED - hits as usize,
        status.bytes >> 20,
        grown >> 10,
        after >> 10,
    );
    assert!(ratio >= 0.97, "no worse than plain LRU");
}

/// Hits of a store that throws out what was not asked for for the longest time.
fn lru(asked: &[usize], room: usize) -> u32 {
    let mut last: HashMap<usize, usize> = HashMap::new();
    let mut order: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
    let mut hits = 0;
    for (now, page) in asked.iter().enumerate() {
        if let Some(before) = last.insert(*page, now) {
            order.remove(&before);
            hits += 1;
        } else if last.len() > room
            && let Some((_, oldest)) = order.pop_first()
        {
            last.remove(&oldest);
        }
        order.insert(now, *page);
    }
    hits
}

/// Resident memory of this process in KiB; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

// The long tail first, while nothing else has grown the process.
criterion_group!(benches, long_tail, decision, overhead);
criterion_main!(benches);
