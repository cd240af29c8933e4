//! Which server takes the next request: a pure choice among their standings.

use tokio::time::Instant;

use crate::config::Balance;
use crate::upstream::server::{ServerState, Standing};

/// What a choice depends on, besides the servers.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How to choose.
    pub balance: Balance,
    /// Requests in flight at one server; 0: no limit.
    pub max_in_flight: usize,
    /// The server that was chosen last: ties go to those behind it.
    pub last: usize,
    /// A server that has just failed this request: taken only when there is no other.
    pub avoid: Option<usize>,
}

/// The server that takes the next request, or `None` when all that could are busy.
///
/// Servers that are down are passed over while another one is active, even a busy one: when all are down, all are tried, so that an upstream
/// is never given up.
pub fn choose(servers: &mut [Standing], terms: Terms, now: Instant) -> Option<usize> {
    let any_active = servers
        .iter()
        .any(|server| server.state(now) == ServerState::Active);
    let wanted = if any_active {
        ServerState::Active
    } else {
        ServerState::Down
    };
    let free = |server: &Standing| {
        server.state(now) == wanted
            && (terms.max_in_flight == 0 || server.in_flight < terms.max_in_flight)
    };
    let others = |at: usize| Some(at) != terms.avoid;
    let pick =
        |servers: &mut [Standing], fits: &dyn Fn(usize, &Standing) -> bool| match terms.balance {
            Balance::LeastConnections => least_connections(servers, terms.last, fits),
            Balance::RoundRobin => round_robin(servers, fits),
        };
    pick(servers, &|at, server| free(server) && others(at))
        .or_else(|| pick(servers, &|_, server| free(server)))
}

/// The fewest in flight for its weight; ties rotate.
fn least_connections(
    servers: &[Standing],
    last: usize,
    fits: &dyn Fn(usize, &Standing) -> bool,
) -> Option<usize> {
    let count = servers.len();
    (1..=count)
        .map(|step| (last + step) % count)
        .filter(|at| fits(*at, &servers[*at]))
        // `min_by` keeps the first of equals. a/b < c/d is compared as a*d < c*b, weights being above 0.
        .min_by(|left, right| {
            let (left, right) = (&servers[*left], &servers[*right]);
            (left.in_flight as u64 * u64::from(right.weight))
                .cmp(&(right.in_flight as u64 * u64::from(left.weight)))
        })
}

/// Smooth weighted round-robin: each gains its weight, the richest is taken and pays for all.
fn round_robin(servers: &mut [Standing], fits: &dyn Fn(usize, &Standing) -> bool) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<usize> = None;
    for at in 0..servers.len() {
        if !fits(at, &servers[at]) {
            continue;
        }
        total += i64::from(servers[at].weight);
        servers[at].credit += i64::from(servers[at].weight);
        if richest.is_none_or(|best| servers[at].credit > servers[best].credit) {
            richest = Some(at);
        }
    }
    let chosen = richest?;
    servers[chosen].credit -= total;
    Some(chosen)
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
                let mut server = Standing::new(address, *weight);
                server.in_flight = *in_flight;
                server
            })
            .collect()
    }

    fn terms(balance: Balance, max_in_flight: usize) -> Terms {
        Terms {
            balance,
            max_in_flight,
            last: 0,
            avoid: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_busy_for_its_weight_is_chosen() {
        let now = Instant::now();
        for (rows, max, last, wanted) in [
            (vec![(1, 0), (1, 0)], 1, 0, Some(1)),
            (vec![(1, 0), (1, 0)], 1, 1, Some(0)),
            (vec![(1, 1), (1, 0)], 1, 1, Some(1)),
            (vec![(1, 1), (1, 1)], 1, 0, None),
            (vec![(2, 1), (1, 1)], 0, 0, Some(0)),
            (vec![(0, 0), (1, 5)], 0, 0, Some(1)),
            (vec![(0, 0)], 0, 0, None),
        ] {
            let mut servers = servers(&rows);
            let terms = Terms {
                last,
                ..terms(Balance::LeastConnections, max)
            };
            assert_eq!(
                choose(&mut servers, terms, now),
                wanted,
                "{rows:?} after {last}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn round_robin_gives_each_its_share() {
        let mut servers = servers(&[(3, 0), (1, 0)]);
        let mut taken = [0, 0];
        for _ in 0..8 {
            let at = choose(&mut servers, terms(Balance::RoundRobin, 0), Instant::now())
                .expect("one is free");
            taken[at] += 1;
        }
        assert_eq!(taken, [6, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_down_is_passed_over_unless_all_are() {
        let now = Instant::now();
        let mut servers = servers(&[(1, 0), (1, 1)]);
        servers[0].connection_failed(now);
        assert_eq!(
            choose(&mut servers, terms(Balance::LeastConnections, 0), now),
            Some(1)
        );
        assert_eq!(
            choose(&mut servers, terms(Balance::LeastConnections, 1), now),
            None,
            "the other is busy, not gone"
        );
        servers[1].connection_failed(now);
        assert_eq!(
            choose(&mut servers, terms(Balance::LeastConnections, 1), now),
            Some(0)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_goes_elsewhere_where_it_can() {
        let now = Instant::now();
        let mut two = servers(&[(1, 0), (1, 3)]);
        let avoiding = Terms {
            avoid: Some(0),
            ..terms(Balance::LeastConnections, 0)
        };
        assert_eq!(choose(&mut two, avoiding, now), Some(1));
        let mut one = servers(&[(1, 0)]);
        assert_eq!(choose(&mut one, avoiding, now), Some(0));
    }
}
