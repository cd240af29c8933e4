//! Which server takes the next request: a pure choice among their standings.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Balance;
use crate::upstream::affinity::{self, UrlKey};
use crate::upstream::server::Server;
use crate::upstream::standing::{ServerState, Standing};

/// What a choice depends on, besides the servers and the request.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How to choose.
    pub balance: Balance,
    /// Requests in flight at one server; 0: no limit.
    pub max_in_flight: usize,
    /// How long a share takes to grow.
    pub slow_start: Duration,
}

/// What a request wants of a choice.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// What it asks for: affinity keeps the same together.
    pub url: UrlKey,
    /// A server that has just failed this request: taken only when there is no other.
    pub avoid: Option<Arc<Server>>,
}

impl Terms {
    /// Whether a server with so many in flight takes one more.
    pub fn has_room(&self, in_flight: usize) -> bool {
        self.max_in_flight == 0 || in_flight < self.max_in_flight
    }
}

/// The server that takes the next request, or `None` when all that could are busy.
///
/// Servers that are down are passed over while another one is active, even a busy one; each may try one request when its time
/// is over. When all are down, all are tried, so that an upstream is never given up.
pub fn choose(servers: &mut [Standing], terms: Terms, wish: &Wish, now: Instant) -> Option<usize> {
    let any_active = servers
        .iter()
        .any(|server| server.state() == ServerState::Active);
    let free = |server: &Standing| {
        let serves = match server.state() {
            ServerState::Active => true,
            ServerState::Down => !any_active || server.takes_a_trial(now),
            ServerState::Draining | ServerState::Drained => false,
        };
        serves && terms.has_room(server.in_flight)
    };
    let avoided = |server: &Standing| {
        let avoid = wish.avoid.as_ref();
        avoid.is_some_and(|avoid| Arc::ptr_eq(avoid, &server.server))
    };
    let others = servers.iter().any(|it| free(it) && !avoided(it));
    let fits = |server: &Standing| free(server) && (!others || !avoided(server));
    let share = |server: &Standing| server.share(now, terms.slow_start);
    match terms.balance {
        Balance::LeastConnections => least_connections(servers, fits, share),
        Balance::RoundRobin => round_robin(servers, fits, share),
        Balance::Affinity => {
            home(servers, fits, share, wish.url).or_else(|| least_connections(servers, fits, share))
        }
    }
}

/// The fewest in flight for its share; ties take turns, by their shares too.
fn least_connections(
    servers: &mut [Standing],
    fits: impl Fn(&Standing) -> bool,
    share: impl Fn(&Standing) -> u64,
) -> Option<usize> {
    let load = |server: &Standing| (server.in_flight as u128, u128::from(share(server)));
    // a/b < c/d is compared as a*d < c*b, shares being above 0.
    let order =
        |left: (u128, u128), right: (u128, u128)| (left.0 * right.1).cmp(&(right.0 * left.1));
    let loads = servers.iter().filter(|it| fits(it)).map(load);
    let least = loads.min_by(|left, right| order(*left, *right))?;
    let tied = |server: &Standing| fits(server) && order(load(server), least).is_eq();
    round_robin(servers, tied, &share)
}

/// Smooth weighted round-robin: each gains its share, the richest is taken and pays for all.
fn round_robin(
    servers: &mut [Standing],
    fits: impl Fn(&Standing) -> bool,
    share: impl Fn(&Standing) -> u64,
) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<usize> = None;
    for at in 0..servers.len() {
        if !fits(&servers[at]) {
            continue;
        }
        let share = i64::try_from(share(&servers[at])).unwrap_or(i64::MAX);
        total += share;
        servers[at].credit += share;
        if richest.is_none_or(|best| servers[at].credit > servers[best].credit) {
            richest = Some(at);
        }
    }
    let chosen = richest?;
    servers[chosen].credit -= total;
    Some(chosen)
}

/// The URL's own server, or who comes after it in the URL's order. A server may have a quarter more than its share of what is in flight; beyond
/// that, and beyond its limit, the next one takes over (consistent hashing with bounded loads; Mirrokni, Thorup and Zadimoghaddam
/// 2018).
fn home(
    servers: &[Standing],
    fits: impl Fn(&Standing) -> bool,
    share: impl Fn(&Standing) -> u64,
    url: UrlKey,
) -> Option<usize> {
    let active = servers
        .iter()
        .filter(|server| server.state() == ServerState::Active);
    let (load, whole) = active.fold((1_u64, 0_u64), |(load, whole), server| {
        (load + server.in_flight as u64, whole + share(server))
    });
    let most = |share: u64| (load * share * 5).div_ceil(whole.max(1) * 4).max(1);
    servers
        .iter()
        .enumerate()
        .filter(|(_, server)| fits(server) && (server.in_flight as u64) < most(share(server)))
        .map(|(at, server)| {
            let seed = server.server.seed();
            (at, affinity::score(url, seed, share(server)))
        })
        .max_by(|left, right| left.1.total_cmp(&right.1))
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pattern::ServerAddress;

    fn servers(rows: &[(u32, usize)]) -> Vec<Standing> {
        rows.iter()
            .enumerate()
            .map(|(at, (weight, in_flight))| {
                let address =
                    ServerAddress::parse(&format!("127.0.0.1:{}", 8000 + at)).expect("an address");
                let mut server = Standing::new(Arc::new(Server::new(address)), *weight);
                server.in_flight = *in_flight;
                server
            })
            .collect()
    }

    fn terms(balance: Balance, max_in_flight: usize) -> Terms {
        Terms {
            balance,
            max_in_flight,
            slow_start: Duration::ZERO,
        }
    }

    fn chosen(servers: &mut [Standing], terms: Terms) -> Option<usize> {
        choose(servers, terms, &Wish::default(), Instant::now())
    }

    /// How often each is chosen in so many rounds in which nothing stays in flight.
    fn counts(servers: &mut [Standing], terms: Terms, rounds: usize) -> Vec<usize> {
        let mut counts = vec![0; servers.len()];
        for _ in 0..rounds {
            counts[chosen(servers, terms).expect("one is free")] += 1;
        }
        counts
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_busy_for_its_weight_is_chosen() {
        for (rows, max, wanted) in [
            (vec![(1, 1), (1, 0)], 1, Some(1)),
            (vec![(1, 1), (1, 1)], 1, None),
            (vec![(2, 1), (1, 1)], 0, Some(0)),
            (vec![(2, 3), (1, 1)], 0, Some(1)),
            (vec![(0, 0), (1, 5)], 0, Some(1)),
            (vec![(0, 0)], 0, None),
        ] {
            let mut servers = servers(&rows);
            let terms = terms(Balance::LeastConnections, max);
            assert_eq!(chosen(&mut servers, terms), wanted, "{rows:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ties_take_turns_by_weight() {
        let least = terms(Balance::LeastConnections, 1);
        let mut equal = servers(&[(1, 0), (1, 0), (1, 0)]);
        let turns: Vec<_> = (0..6).map(|_| chosen(&mut equal, least)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2].map(Some));
        assert_eq!(counts(&mut servers(&[(3, 0), (1, 0)]), least, 8), [6, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn round_robin_gives_each_its_share() {
        let mut servers = servers(&[(3, 0), (1, 0)]);
        assert_eq!(
            counts(&mut servers, terms(Balance::RoundRobin, 0), 8),
            [6, 2]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_start_grows_the_share_of_every_mode() {
        for balance in [Balance::LeastConnections, Balance::RoundRobin] {
            let mut servers = servers(&[(1, 0), (1, 0)]);
            let slow = Terms {
                slow_start: Duration::from_secs(10),
                ..terms(balance, 0)
            };
            servers[1].drain(Instant::now());
            servers[1].ready(Instant::now());
            assert_eq!(counts(&mut servers, slow, 11), [10, 1], "{balance:?}");
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(counts(&mut servers, slow, 10), [5, 5], "{balance:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_down_is_passed_over_unless_all_are() {
        let now = Instant::now();
        let mut servers = servers(&[(1, 0), (1, 1)]);
        servers[0].connection_failed(now, "refused", false);
        let least = |max| terms(Balance::LeastConnections, max);
        assert_eq!(chosen(&mut servers, least(0)), Some(1));
        assert_eq!(
            chosen(&mut servers, least(1)),
            None,
            "the other is busy, not gone"
        );
        servers[1].connection_failed(now, "refused", false);
        assert_eq!(chosen(&mut servers, least(1)), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_goes_elsewhere_where_it_can() {
        let least = terms(Balance::LeastConnections, 0);
        let mut servers = servers(&[(1, 0), (1, 3)]);
        let avoiding = Wish {
            avoid: Some(Arc::clone(&servers[0].server)),
            ..Wish::default()
        };
        let now = Instant::now();
        assert_eq!(choose(&mut servers, least, &avoiding, now), Some(1));
        assert_eq!(choose(&mut servers[..1], least, &avoiding, now), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn affinity_keeps_a_url_at_home_until_that_is_busy() {
        let mut servers = servers(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
        let (now, one) = (Instant::now(), terms(Balance::Affinity, 1));
        let wish = |at: usize| Wish {
            url: UrlKey::of(b"a", at.to_string().as_bytes()),
            avoid: None,
        };
        let homes: Vec<_> = (0..40)
            .map(|at| choose(&mut servers, one, &wish(at), now).expect("all are free"))
            .collect();
        for (at, home) in homes.iter().enumerate() {
            assert_eq!(choose(&mut servers, one, &wish(at), now), Some(*home));
        }
        let spilled = homes[0];
        servers[spilled].take();
        let next = choose(&mut servers, one, &wish(0), now).expect("three are free");
        assert_ne!(next, spilled);
        for (at, home) in homes
            .iter()
            .enumerate()
            .filter(|(_, home)| **home != spilled)
        {
            assert_eq!(
                choose(&mut servers, one, &wish(at), now),
                Some(*home),
                "the URLs of others stay"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn affinity_gives_no_server_more_than_a_quarter_above_its_share() {
        let mut servers = servers(&[(1, 0), (1, 0), (1, 0), (1, 0)]);
        let hot = Wish::default();
        for _ in 0..100 {
            let at = choose(
                &mut servers,
                terms(Balance::Affinity, 0),
                &hot,
                Instant::now(),
            );
            servers[at.expect("there is no limit")].take();
        }
        let most = servers.iter().map(|server| server.in_flight).max();
        assert!(
            most.is_some_and(|most| (25..=32).contains(&most)),
            "{most:?}"
        );
    }
}
