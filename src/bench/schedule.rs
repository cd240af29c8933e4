//! The schedule of an open loop: when each request is to be sent, whatever became of those before it.
//!
//! A closed loop sends the next request when an answer has come: a server that stalls is asked less, and the requests that users would
//! have sent meanwhile are missing from the figures (coordinated omission). Here each request has its moment; its latency counts from
//! there, also when it could be sent only later because all connections were waiting.

use std::time::Duration;

/// Most of a pause at one time: the end of a run is noticed that soon.
const NAP: Duration = Duration::from_millis(20);

/// An even rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    per_second: f64,
}

/// Time as the pacer sees it; tests stop it.
pub trait Clock {
    /// Since the start of the run.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn pause(&mut self, duration: Duration);
}

impl Schedule {
    /// So many requests a second; more than 0.
    pub fn new(per_second: f64) -> Self {
        Self { per_second }
    }

    /// When the request of this number, from 0, is to be sent, since the start.
    pub fn moment(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.per_second).unwrap_or(Duration::MAX)
    }

    /// How many requests are due after so long.
    pub fn due(&self, elapsed: Duration) -> u64 {
        let mut count = (elapsed.as_secs_f64() * self.per_second) as u64;
        // The division above and the product here may round apart by one, either way.
        while count > 0 && self.moment(count) > elapsed {
            count -= 1;
        }
        while self.moment(count + 1) <= elapsed {
            count += 1;
        }
        count + 1
    }

    /// Releases requests as they become due, until `release` says that it needs no more.
    pub fn pace(&self, clock: &mut impl Clock, mut release: impl FnMut(u64) -> bool) {
        let mut released = 0;
        loop {
            let due = self.due(clock.elapsed());
            let more = due.saturating_sub(released);
            released += more;
            if !release(more) {
                return;
            }
            let next = self.moment(released).saturating_sub(clock.elapsed());
            clock.pause(next.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that moves only when it is told to wait, and oversleeps.
    struct Stopped {
        now: Duration,
        late: Duration,
    }

    impl Clock for Stopped {
        fn elapsed(&self) -> Duration {
            self.now
        }

        fn pause(&mut self, duration: Duration) {
            self.now += duration + self.late;
        }
    }

    #[test]
    fn moments_are_even_and_each_is_due_at_its_own() {
        for rate in [0.5, 3.0, 100.0, 33_333.0] {
            let schedule = Schedule::new(rate);
            assert_eq!(schedule.due(Duration::ZERO), 1);
            for number in 0..1000 {
                let moment = schedule.moment(number);
                assert_eq!(schedule.due(moment), number + 1, "{rate} {number}");
                let before = moment.saturating_sub(Duration::from_nanos(2));
                assert_eq!(schedule.due(before), number.max(1), "{rate} {number}");
            }
        }
    }

    #[test]
    fn a_pacer_that_oversleeps_catches_up() {
        for late in [0, 1, 7, 300].map(Duration::from_millis) {
            let schedule = Schedule::new(100.0);
            let mut clock = Stopped {
                now: Duration::ZERO,
                late,
            };
            let mut total = 0;
            schedule.pace(&mut clock, |more| {
                total += more;
                total < 500
            });
            assert!(total >= 500);
            assert_eq!(total, schedule.due(clock.now), "late by {late:?}");
        }
    }
}
