//! Every order of steps: a small pool, a few requests, a health check, operators, failures and reloads, and every state that they can
//! bring about.
//!
//! What threads do to a pool are sections under its lock, and between these the handing over of permits. So all that threads can do
//! together is some order of those steps. The search takes every step that is possible in every state that it finds, on the real pool, and holds the
//! promises after each: no server has more than it takes, nobody overtakes, nobody waits before a free server, nothing is lost.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::config::ServerEntry;
use crate::config::pattern::ServerAddress;
use crate::upstream::members::Order;

/// What a search may use.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// In flight at one server.
    limit: usize,
    /// Requests under way at a time.
    requests: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A request comes.
    Join,
    /// The request that waits in this place of the list leaves.
    Leave(usize),
    /// It takes the permit that it was sent.
    Receive(usize),
    /// What was held is given back.
    GiveBack(usize),
    /// A permit that is on its way arrives.
    Deliver(usize),
    /// An operator's order for the first server.
    Order(bool),
    /// A connection to this server fails, or is made.
    Connection(usize, bool),
    /// A health check of the first server begins; it takes its permit; it gives up.
    Check,
    CheckReceives,
    CheckGivesUp,
    /// The configuration loses its first server, or has it again.
    Reload,
    /// So long goes by that all who are out may be tried.
    Time,
    /// Whoever waits wakes up and sees that.
    Wake,
}

struct World {
    pool: Arc<Pool>,
    bounds: Bounds,
    /// The servers ever seen, as the rows of the tables of the model.
    seen: Vec<Arc<Server>>,
    waiting: Vec<(Waiting, Option<usize>)>,
    held: Vec<Permit>,
    on_their_way: Vec<(oneshot::Sender<Permit>, Permit)>,
    check: Option<(oneshot::Receiver<Permit>, Option<usize>)>,
    shrunk: bool,
    /// Time has gone by, and nobody has woken up since.
    asleep: bool,
    /// The last place in line that was given a permit.
    admitted: Option<Place>,
}

fn config(bounds: Bounds, shrunk: bool) -> UpstreamConfig {
    let entries = (usize::from(shrunk)..2).map(|at| ServerEntry {
        address: ServerAddress::parse(&format!("127.0.0.1:{}", 9000 + at)).expect("an address"),
        weight: 1,
    });
    UpstreamConfig {
        max_in_flight: bounds.limit,
        queue: bounds.requests,
        ..UpstreamConfig::new(entries.collect())
    }
}

impl World {
    fn new(bounds: Bounds) -> Self {
        let pool = Pool::new("app", &config(bounds, false));
        Self {
            seen: pool.servers(),
            pool,
            bounds,
            waiting: Vec::new(),
            held: Vec::new(),
            on_their_way: Vec::new(),
            check: None,
            shrunk: false,
            asleep: false,
            admitted: None,
        }
    }

    fn row(&mut self, server: &Arc<Server>) -> usize {
        let known = self.seen.iter().position(|it| Arc::ptr_eq(it, server));
        known.unwrap_or_else(|| {
            self.seen.push(Arc::clone(server));
            self.seen.len() - 1
        })
    }

    fn first(&self) -> Option<Arc<Server>> {
        let servers = self.pool.servers();
        let first = servers.iter().find(|it| it.label().ends_with("9000"));
        first.cloned()
    }

    /// The steps that are possible now.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let requests = self.waiting.len() + self.held.len();
        if requests < self.bounds.requests {
            steps.push(Step::Join);
        }
        for at in 0..self.waiting.len() {
            steps.push(Step::Leave(at));
            if !self.waiting[at].0.receiver.is_empty()
                || self.waiting[at].0.receiver.is_terminated()
            {
                steps.push(Step::Receive(at));
            }
        }
        steps.extend((0..self.held.len()).map(Step::GiveBack));
        steps.extend((0..self.on_their_way.len()).map(Step::Deliver));
        let states = self.states();
        for (at, (_, state, _)) in states.iter().enumerate() {
            let down = *state == ServerState::Down;
            steps.push(Step::Connection(at, down));
        }
        if let Some(first) = states.first().filter(|_| !self.shrunk) {
            steps.push(Step::Order(!matches!(
                first.1,
                ServerState::Drained | ServerState::Draining
            )));
        }
        match &self.check {
            None if !self.shrunk && requests < self.bounds.requests => steps.push(Step::Check),
            None => {}
            Some((receiver, _)) => {
                steps.push(Step::CheckGivesUp);
                if !receiver.is_empty() {
                    steps.push(Step::CheckReceives);
                }
            }
        }
        steps.extend([Step::Reload, Step::Time]);
        steps.extend(self.asleep.then_some(Step::Wake));
        steps
    }

    fn states(&self) -> Vec<(usize, ServerState, bool)> {
        let now = Instant::now();
        let state = self.pool.lock();
        let states = state
            .members
            .iter()
            .map(|it| (it.in_flight, it.state(), it.takes_a_trial(now)));
        states.collect()
    }

    async fn take(&mut self, step: Step) {
        let pool = Arc::clone(&self.pool);
        match step {
            Step::Join => match pool.join(Wish::default()) {
                Ok(Joined::Taken(permit)) => {
                    assert!(pool.lock().queue.is_empty(), "somebody was overtaken");
                    self.held.push(permit);
                }
                Ok(Joined::Waiting(waiting)) => self.waiting.push((waiting, None)),
                Err(UpstreamError::NoServer { .. }) => {}
                Err(other) => panic!("{other}"),
            },
            Step::Leave(at) => {
                let (mut waiting, _) = self.waiting.remove(at);
                // What the drop of a receiver does to a permit in it, in two steps.
                let permit = waiting.receiver.try_recv();
                drop(waiting);
                if let Ok(mut permit) = permit {
                    self.hand_over(permit.give_back());
                }
            }
            Step::Receive(at) => {
                let (mut waiting, _) = self.waiting.remove(at);
                if let Ok(permit) = waiting.receiver.try_recv() {
                    self.held.push(permit);
                }
            }
            Step::GiveBack(at) => {
                let handover = self.held.remove(at).give_back();
                self.hand_over(handover);
            }
            Step::Deliver(at) => {
                let (sender, permit) = self.on_their_way.remove(at);
                let row = self.row(permit.server());
                if let Err(mut refused) = sender.send(permit) {
                    let handover = refused.give_back();
                    self.hand_over(handover);
                    return;
                }
                let requests = self
                    .waiting
                    .iter_mut()
                    .find(|(waiting, arrived)| arrived.is_none() && !waiting.receiver.is_empty());
                let arrived = match requests {
                    Some((_, arrived)) => Some(arrived),
                    None => self.check.as_mut().map(|(_, arrived)| arrived),
                };
                *arrived.expect("somebody waited for it") = Some(row);
            }
            Step::Order(drain) => {
                let order = if drain { Order::Drain } else { Order::Ready };
                let handover = pool.step(|state, now| {
                    let changes = state.members.named("127.0.0.1:9000", order, now);
                    changes.unwrap_or_default()
                });
                self.hand_over(handover);
            }
            Step::Connection(at, made) => {
                let server = Arc::clone(&pool.servers()[at]);
                let handover = pool.step(|state, now| {
                    let standing = state.members.find(&server)?;
                    if made {
                        standing.connection_made(now)
                    } else {
                        standing.connection_failed(now, "refused", false)
                    }
                });
                self.hand_over(handover);
            }
            Step::Check => {
                let server = self.first().expect("it is configured");
                match pool.check(&server).expect("it is configured") {
                    Ok(permit) => self.held.push(permit),
                    Err(receiver) => self.check = Some((receiver, None)),
                }
            }
            Step::CheckReceives => {
                let (mut receiver, _) = self.check.take().expect("there is one");
                self.held.push(receiver.try_recv().expect("it was sent"));
            }
            Step::CheckGivesUp => {
                let (mut receiver, _) = self.check.take().expect("there is one");
                let permit = receiver.try_recv();
                drop(receiver);
                if let Ok(mut permit) = permit {
                    self.hand_over(permit.give_back());
                }
            }
            Step::Reload => {
                self.shrunk = !self.shrunk;
                let config = config(self.bounds, self.shrunk);
                let handover = pool.step(|state, now| {
                    state.rules = Rules::of(&config);
                    state.members.configure(&config.servers, now)
                });
                self.hand_over(handover);
                for server in pool.servers() {
                    self.row(&server);
                }
            }
            Step::Time => {
                tokio::time::advance(Duration::from_secs(11)).await;
                self.asleep = true;
            }
            Step::Wake => {
                let handover = pool.step(|_, _| None);
                self.asleep = false;
                self.hand_over(handover);
            }
        }
    }

    fn hand_over(&mut self, handover: Handover) {
        self.on_their_way.extend(handover.0);
        // Nobody overtakes: whoever is still in line came after all who were let in.
        let places = self.pool.lock().queue.places();
        let gone = |place: &Place| !places.contains(place);
        let let_in = self
            .waiting
            .iter()
            .map(|(it, _)| it.place)
            .filter(gone)
            .max();
        self.admitted = self.admitted.max(let_in);
        let last = self.admitted;
        assert!(
            places.iter().all(|place| Some(*place) > last),
            "{places:?} wait, and {last:?} was let in"
        );
    }

    /// Holds the promises.
    fn hold(&mut self) {
        let counted: HashMap<usize, usize> = {
            let pool = Arc::clone(&self.pool);
            let state = pool.lock();
            let all = state.members.iter().chain(state.members.leaving());
            let all: Vec<_> = all
                .map(|it| (Arc::clone(&it.server), it.in_flight))
                .collect();
            drop(state);
            all.iter()
                .map(|(server, count)| (self.row(server), *count))
                .collect()
        };
        let mut really = vec![0; self.seen.len()];
        let held: Vec<_> = self.held.iter().map(|it| Arc::clone(it.server())).collect();
        let travelling = self
            .on_their_way
            .iter()
            .map(|(_, it)| Arc::clone(it.server()));
        for server in held.into_iter().chain(travelling.collect::<Vec<_>>()) {
            let row = self.row(&server);
            really[row] += 1;
        }
        let arrived = self.waiting.iter().filter_map(|(_, arrived)| *arrived);
        let checked = self.check.iter().filter_map(|(_, arrived)| *arrived);
        arrived.chain(checked).for_each(|row| really[row] += 1);
        for (row, really) in really.iter().enumerate() {
            let counted = counted.get(&row).copied().unwrap_or_default();
            assert_eq!(counted, *really, "what the pool counts at server {row}");
            assert!(counted <= self.bounds.limit, "{counted} at server {row}");
        }
        // Two servers that are one machine: it left with something in flight, and has come back.
        let mut by_label: HashMap<&str, usize> = HashMap::new();
        for (server, really) in self.seen.iter().zip(&really) {
            *by_label.entry(server.label()).or_default() += really;
        }
        assert!(
            by_label.values().all(|it| *it <= self.bounds.limit),
            "{by_label:?}"
        );
        if !self.pool.lock().queue.is_empty() {
            let free = |(in_flight, state, trial): &(usize, ServerState, bool)| {
                (*state == ServerState::Active || (*trial && !self.asleep))
                    && *in_flight < self.bounds.limit
            };
            let states = self.states();
            assert!(!states.iter().any(free), "somebody waits before {states:?}");
        }
    }

    /// What tells two states apart, as far as later steps can.
    fn signature(&mut self) -> String {
        let now = Instant::now();
        let mut rows = Vec::new();
        {
            let state = self.pool.lock();
            for it in state.members.iter() {
                rows.push(format!(
                    "{} {} {:?} {} {} {}",
                    it.server.label(),
                    it.in_flight,
                    it.state(),
                    it.is_down(),
                    it.takes_a_trial(now),
                    it.credit,
                ));
            }
            rows.extend(
                state
                    .members
                    .leaving()
                    .iter()
                    .map(|it| format!("left {} {}", it.in_flight, it.is_drained())),
            );
        }
        let label = |permit: &Permit| permit.server().label().to_owned();
        let held: Vec<_> = self.held.iter().map(label).collect();
        let travelling: Vec<_> = self
            .on_their_way
            .iter()
            .map(|(sender, it)| (label(it), sender.is_closed()))
            .collect();
        let places = self.pool.lock().queue.places();
        let waiting: Vec<_> = self
            .waiting
            .iter()
            .map(|(it, arrived)| {
                let at = places.iter().position(|place| *place == it.place);
                (at, arrived.map(|row| self.seen[row].label().to_owned()))
            })
            .collect();
        let check = self.check.as_ref().map(|(it, _)| it.is_empty());
        let checks = self.pool.lock().checks.len();
        format!(
            "{rows:?} {held:?} {travelling:?} {waiting:?} {check:?} {checks} {}",
            self.shrunk
        )
    }

    /// Lets go of everything: nothing may be left.
    fn end(self) {
        let pool = Arc::clone(&self.pool);
        drop(self);
        let state = pool.lock();
        assert!(state.queue.is_empty());
        let all = state.members.iter().chain(state.members.leaving());
        assert!(all.map(|it| it.in_flight).sum::<usize>() == 0);
    }
}

async fn world_after(bounds: Bounds, path: &[Step]) -> World {
    let mut world = World::new(bounds);
    for step in path {
        world.take(*step).await;
    }
    world
}

/// Finds states by the steps that are `allowed` until there are no more; how many were found.
async fn search(bounds: Bounds, allowed: impl Fn(Step) -> bool) -> usize {
    let mut found = HashSet::new();
    let mut open = VecDeque::from([Vec::new()]);
    while let Some(path) = open.pop_front() {
        let steps = world_after(bounds, &path).await.steps();
        for step in steps.into_iter().filter(|step| allowed(*step)) {
            let mut path = path.clone();
            path.push(step);
            let mut world = world_after(bounds, &path).await;
            world.hold();
            let new = found.insert(world.signature());
            world.end();
            if new {
                open.push_back(path);
            }
        }
    }
    println!("{bounds:?}: {} states", found.len());
    found.len()
}

fn is_request(step: Step) -> bool {
    matches!(
        step,
        Step::Join | Step::Leave(_) | Step::Receive(_) | Step::GiveBack(_) | Step::Deliver(_)
    )
}

fn is_check(step: Step) -> bool {
    matches!(step, Step::Check | Step::CheckReceives | Step::CheckGivesUp)
}

#[tokio::test(start_paused = true)]
async fn all_orders_with_clients_that_leave() {
    for (limit, requests, least) in [(1, 5, 100), (2, 6, 100)] {
        let found = search(Bounds { limit, requests }, is_request).await;
        assert!(found > least, "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_orders_with_operators_and_health_checks() {
    let bounds = Bounds {
        limit: 1,
        requests: 4,
    };
    let allowed = |step| is_request(step) || is_check(step) || matches!(step, Step::Order(_));
    let found = search(bounds, allowed).await;
    assert!(found > 500, "{found}");
}

#[tokio::test(start_paused = true)]
async fn all_orders_with_servers_that_fail_and_come_back() {
    let bounds = Bounds {
        limit: 1,
        requests: 4,
    };
    let allowed =
        |step| is_request(step) || matches!(step, Step::Connection(..) | Step::Time | Step::Wake);
    let found = search(bounds, allowed).await;
    assert!(found > 500, "{found}");
}

#[tokio::test(start_paused = true)]
async fn all_orders_with_reloads() {
    let bounds = Bounds {
        limit: 1,
        requests: 4,
    };
    let allowed = |step| is_request(step) || is_check(step) || step == Step::Reload;
    let found = search(bounds, allowed).await;
    assert!(found > 500, "{found}");
}

#[tokio::test(start_paused = true)]
async fn all_orders_of_everything_together() {
    let bounds = Bounds {
        limit: 1,
        requests: 3,
    };
    let found = search(bounds, |_| true).await;
    assert!(found > 500, "{found}");
}
