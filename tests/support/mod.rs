//! What every test through real sockets stands on: a gateway in a process of its own, scripted origins, a client that reads the
//! bytes as they stand on the wire.
//!
//! Nothing here sleeps to let something happen: tests await events (a request arrived, a gate opened, a line was printed). Times
//! are only guards that turn a hang into a failure.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test uses its part of the support"
)]

pub mod client;
pub mod gate;
pub mod gateway;
pub mod h2;
pub mod meter;
pub mod origin;
pub mod reply;
pub mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

pub use client::{Answer, Ask, Client, End, ask};
pub use gate::Gate;
pub use gateway::{Gateway, Setup};
pub use origin::{Origin, Recorded};
pub use reply::Reply;

/// How long a test waits for what must happen before it calls it a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits what must happen.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// An address for a program that is told where to listen. Its port is below those that the system gives out: one of these could be a
/// connection's before the program has begun.
///
/// # Panics
/// When none is free.
pub fn address_of_ours() -> SocketAddr {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Suites that run beside this one begin elsewhere.
    let begin = std::process::id().wrapping_mul(101);
    let free = std::iter::repeat_with(|| {
        let port = FIRST + begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        SocketAddr::from(([127, 0, 0, 1], port as u16))
    });
    free.take(COUNT as usize)
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .expect("a free port")
}

/// Listens at an address that was ours a moment ago. A test beside this one may have been given its port meanwhile, for as long as a
/// connection lasts; no event tells when that is over.
pub async fn listen_again(address: SocketAddr) -> TcpListener {
    within("the port that was ours before", async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// What the function makes of each item, one after the other.
pub fn each<T>(items: impl IntoIterator<Item = T>, text: impl Fn(T) -> String) -> String {
    items.into_iter().map(text).collect::<Vec<_>>().concat()
}

/// Whether `needle` stands somewhere in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}
