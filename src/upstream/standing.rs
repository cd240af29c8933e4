//! How a server stands in its pool: what it does now, whether it takes more, and why not. Pure: it is told what happens and when.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::upstream::server::Server;

/// The longest time that a server stays out after connections to it have failed. A server that recovers is back within it.
const LONGEST_OUT: Duration = Duration::from_secs(10);

/// Shares are counted in thousandths of a weight, so that one that grows does so in small steps.
const WHOLE: u64 = 1000;

/// A slow start begins with so much of the share.
const FIRST_SHARE: u64 = WHOLE / 10;

/// What the pool knows of a server.
#[derive(Debug)]
pub struct Standing {
    /// Who it is.
    pub server: Arc<Server>,
    /// Requests sent and not finished, health checks among them.
    pub in_flight: usize,
    /// What smooth weighted round-robin owes it.
    pub(super) credit: i64,
    configured: u32,
    weight: u32,
    drained: bool,
    /// Connections in a row that failed.
    failures: u32,
    /// Out until then; after it one request may try.
    out_until: Option<Instant>,
    health: Health,
    /// Since when its share grows.
    warming: Option<Instant>,
    told: Told,
}

/// What health checks say.
#[derive(Debug, Default)]
struct Health {
    failed: bool,
    good: u32,
    bad: u32,
    last: Option<LastProbe>,
}

/// The state that was last told to operators.
#[derive(Debug)]
struct Told {
    state: ServerState,
    reason: String,
    since: Instant,
}

/// Whether a server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Takes new requests.
    Active,
    /// Finishes its own only.
    Draining,
    /// Takes none and has none.
    Drained,
    /// Takes none, because connections or health checks failed.
    Down,
}

impl ServerState {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Down => "down",
        }
    }
}

/// The last health check of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastProbe {
    /// When it ended.
    pub at: SystemTime,
    /// Whether it was a good one.
    pub good: bool,
    /// What came of it: `200 in 3 ms`, `no answer within 1000 ms`.
    pub outcome: String,
}

/// A change of state, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which server.
    pub server: String,
    /// What it was.
    pub from: ServerState,
    /// What it is.
    pub to: ServerState,
    /// Why.
    pub reason: String,
}

impl Standing {
    /// A server that has done nothing yet. Weight 0: it is drained.
    pub fn new(server: Arc<Server>, weight: u32) -> Self {
        let mut standing = Self {
            server,
            in_flight: 0,
            credit: 0,
            configured: weight,
            weight,
            drained: false,
            failures: 0,
            out_until: None,
            health: Health::default(),
            warming: None,
            told: Told {
                state: ServerState::Active,
                reason: "configured".to_owned(),
                since: Instant::now(),
            },
        };
        standing.told.state = standing.state();
        standing
    }

    /// What it is now.
    pub fn state(&self) -> ServerState {
        match (self.is_drained(), self.in_flight) {
            (true, 0) => ServerState::Drained,
            (true, _) => ServerState::Draining,
            (false, _) if self.is_down() => ServerState::Down,
            (false, _) => ServerState::Active,
        }
    }

    /// Whether it is kept from new requests by an operator, or by its weight.
    pub fn is_drained(&self) -> bool {
        self.drained || self.weight == 0
    }

    /// Whether connections or health checks failed, whatever operators say.
    pub fn is_down(&self) -> bool {
        self.failures > 0 || self.health.failed
    }

    /// Whether it is down and one request may try whether it still is.
    pub fn takes_a_trial(&self, now: Instant) -> bool {
        self.state() == ServerState::Down
            && !self.health.failed
            && self.in_flight == 0
            && self.out_until.is_none_or(|until| until <= now)
    }

    /// When it takes a trial, if that is not now.
    pub fn next_trial(&self, now: Instant) -> Option<Instant> {
        self.out_until
            .filter(|until| !self.health.failed && !self.is_drained() && *until > now)
    }

    /// Its share: as configured, or as set since.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Its share now, in thousandths of a weight; it grows with a slow start of that length.
    pub fn share(&self, now: Instant, slow_start: Duration) -> u64 {
        let whole = u64::from(self.weight) * WHOLE;
        let Some(since) = self.warming.filter(|_| !slow_start.is_zero()) else {
            return whole;
        };
        let grown = now.saturating_duration_since(since).as_millis() as u64;
        let full = (slow_start.as_millis() as u64).max(1);
        let thousandths = (FIRST_SHARE + (WHOLE - FIRST_SHARE) * grown.min(full) / full).min(WHOLE);
        (whole * thousandths / WHOLE).max(u64::from(self.weight > 0))
    }

    /// Why it is what it is, and since when.
    pub fn reason(&self) -> (&str, Instant) {
        (&self.told.reason, self.told.since)
    }

    /// Its last health check.
    pub fn last_probe(&self) -> Option<&LastProbe> {
        self.health.last.as_ref()
    }

    /// A connection failed: it is out for 1 s, twice as long each further time, at most `LONGEST_OUT`; where health checks watch it, until they
    /// are good again.
    pub fn connection_failed(
        &mut self,
        now: Instant,
        reason: &str,
        watched: bool,
    ) -> Option<Change> {
        let out = Duration::from_secs(1 << self.failures.min(4)).min(LONGEST_OUT);
        self.failures += 1;
        self.out_until = Some(now + out);
        if watched {
            self.health.failed = true;
            self.health.good = 0;
        }
        self.settle(now, reason)
    }

    /// A connection was made, or an answer came.
    pub fn connection_made(&mut self, now: Instant) -> Option<Change> {
        if self.failures == 0 {
            return None;
        }
        self.failures = 0;
        self.out_until = None;
        self.settle(now, "a connection was made")
    }

    /// A health check has ended. So many bad ones in a row take it out, so many good ones bring it back.
    pub fn probed(
        &mut self,
        now: Instant,
        probe: LastProbe,
        fall: u32,
        rise: u32,
    ) -> Option<Change> {
        let health = &mut self.health;
        let reason = if probe.good {
            health.bad = 0;
            health.good = health.good.saturating_add(1);
            if health.good < rise && health.failed {
                health.last = Some(probe);
                return None;
            }
            health.failed = false;
            self.failures = 0;
            self.out_until = None;
            format!("{} good health checks in a row", health.good)
        } else {
            health.good = 0;
            health.bad = health.bad.saturating_add(1);
            if health.bad >= fall {
                health.failed = true;
            }
            format!("health check: {}", probe.outcome)
        };
        health.last = Some(probe);
        self.settle(now, &reason)
    }

    /// Health checks have ended: what they said is forgotten.
    pub fn unwatched(&mut self, now: Instant) -> Option<Change> {
        self.health = Health::default();
        self.settle(now, "health checks have ended")
    }

    /// An operator drains it.
    pub fn drain(&mut self, now: Instant) -> Option<Change> {
        self.drained = true;
        self.settle(now, "drained by an operator")
    }

    /// An operator lets it take requests again; one with weight 0 gets its configured weight, at least 1.
    pub fn ready(&mut self, now: Instant) -> Option<Change> {
        self.drained = false;
        if self.weight == 0 {
            self.weight = self.configured.max(1);
        }
        // Whoever says so has seen to it; if not, the next connection tells.
        self.failures = 0;
        self.out_until = None;
        self.settle(now, "made ready by an operator")
    }

    /// An operator gives it another share; 0 drains it.
    pub fn set_weight(&mut self, weight: u32, now: Instant) -> Option<Change> {
        self.weight = weight;
        self.settle(now, &format!("weight set to {weight} by an operator"))
    }

    /// The configuration was read anew: a weight that it changes is taken over, one that it does not stays as it was set.
    pub fn configure(&mut self, weight: u32, now: Instant) -> Option<Change> {
        if weight == self.configured {
            return None;
        }
        self.configured = weight;
        self.weight = weight;
        self.settle(now, &format!("weight {weight} in the configuration"))
    }

    /// It is new to a pool that is at work: its share grows from now on.
    pub fn joins(&mut self, now: Instant) {
        self.warming = Some(now);
        "joined".clone_into(&mut self.told.reason);
    }

    /// A request was given to it.
    pub fn take(&mut self) {
        self.in_flight += 1;
    }

    /// A request has ended.
    pub fn give_back(&mut self, now: Instant) -> Option<Change> {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight > 0 || !self.is_drained() {
            return None;
        }
        let reason = format!("{}; nothing in flight", self.told.reason);
        self.settle(now, &reason)
    }

    /// Compares what it is with what was told last.
    fn settle(&mut self, now: Instant, reason: &str) -> Option<Change> {
        let (from, to) = (self.told.state, self.state());
        if from == to {
            return None;
        }
        if to == ServerState::Active {
            self.warming = Some(now);
        }
        self.told = Told {
            state: to,
            reason: reason.to_owned(),
            since: now,
        };
        Some(Change {
            server: self.server.label().to_owned(),
            from,
            to,
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pattern::ServerAddress;

    fn standing(weight: u32) -> Standing {
        let address = ServerAddress::parse("127.0.0.1:8110").expect("an address");
        Standing::new(Arc::new(Server::new(address)), weight)
    }

    fn probe(good: bool) -> LastProbe {
        LastProbe {
            at: SystemTime::UNIX_EPOCH,
            good,
            outcome: "503 in 1 ms".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_connections_take_it_out_for_longer_each_time() {
        let mut server = standing(1);
        let start = Instant::now();
        for seconds in [1, 2, 4, 8, 10, 10] {
            server.connection_failed(start, "refused", false);
            let until = server.next_trial(start).expect("it is out");
            assert_eq!(until - start, Duration::from_secs(seconds));
            assert!(!server.takes_a_trial(start) && server.takes_a_trial(until));
        }
        let change = server.connection_made(start).expect("it was down");
        assert_eq!(
            (change.from, change.to),
            (ServerState::Down, ServerState::Active)
        );
        assert_eq!(server.connection_made(start), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_at_a_time_tries_whether_it_is_back() {
        let mut server = standing(1);
        let start = Instant::now();
        server.connection_failed(start, "refused", false);
        let later = start + Duration::from_secs(2);
        assert!(server.takes_a_trial(later));
        server.take();
        assert!(!server.takes_a_trial(later));
    }

    #[tokio::test(start_paused = true)]
    async fn health_checks_take_it_out_and_bring_it_back_by_their_counts() {
        let mut server = standing(1);
        let now = Instant::now();
        let mut told = Vec::new();
        for good in [
            false, false, true, false, false, false, true, false, true, true,
        ] {
            told.push(
                server
                    .probed(now, probe(good), 3, 2)
                    .map(|change| change.to),
            );
        }
        let (down, active) = (Some(ServerState::Down), Some(ServerState::Active));
        assert_eq!(
            told,
            [None, None, None, None, None, down, None, None, None, active]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_health_checks_watch_they_alone_bring_it_back() {
        let mut server = standing(1);
        let now = Instant::now();
        server.connection_failed(now, "refused", true);
        let later = now + Duration::from_secs(60);
        assert!(!server.takes_a_trial(later));
        server.connection_made(later);
        assert_eq!(server.state(), ServerState::Down);
        server.probed(later, probe(true), 3, 2);
        server.probed(later, probe(true), 3, 2);
        assert_eq!(server.state(), ServerState::Active);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_means_nothing_in_flight() {
        let mut server = standing(1);
        let now = Instant::now();
        server.take();
        let change = server.drain(now).expect("it was active");
        assert_eq!(change.to, ServerState::Draining);
        assert_eq!(server.drain(now), None);
        let change = server.give_back(now).expect("that was the last");
        assert_eq!(change.to, ServerState::Drained);
        assert_eq!(change.reason, "drained by an operator; nothing in flight");
        assert_eq!(server.ready(now).map(|it| it.to), Some(ServerState::Active));
        assert_eq!(
            server.set_weight(0, now).map(|it| it.to),
            Some(ServerState::Drained)
        );
        server.ready(now);
        assert_eq!((server.state(), server.weight()), (ServerState::Active, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_start_grows_from_a_tenth_to_the_whole() {
        let mut server = standing(4);
        let (now, slow) = (Instant::now(), Duration::from_secs(10));
        assert_eq!(server.share(now, slow), 4000, "at the start all are cold");
        server.drain(now);
        server.ready(now);
        for (seconds, wanted) in [(0, 400), (5, 2200), (10, 4000), (99, 4000)] {
            let at = now + Duration::from_secs(seconds);
            assert_eq!(server.share(at, slow), wanted, "after {seconds} s");
        }
        assert_eq!(server.share(now, Duration::ZERO), 4000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_weight_set_at_run_time_stays_until_the_file_says_another() {
        let mut server = standing(2);
        let now = Instant::now();
        server.set_weight(7, now);
        server.configure(2, now);
        assert_eq!(server.weight(), 7);
        server.configure(3, now);
        assert_eq!(server.weight(), 3);
    }
}
