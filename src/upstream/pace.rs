//! How fast a server answers: times to the first byte, counted in steps of a sixteenth, over the last one to two minutes.

use std::time::Duration;

use tokio::time::Instant;

/// Each power of two is cut into so many steps: a quantile is at most a sixteenth above the truth.
const STEPS: usize = 16;

/// From a microsecond (all below count as one) to 2^27 of them, about two minutes; what is above counts as that.
const OCTAVES: usize = 27;

/// After so long the counts become those of before, and those of before are forgotten.
const WINDOW: Duration = Duration::from_secs(60);

/// The times of one server.
#[derive(Debug)]
pub struct Pace {
    now: Counts,
    before: Counts,
    began: Instant,
}

#[derive(Debug)]
struct Counts {
    by_step: Vec<u32>,
    all: u64,
}

/// Two quantiles of a server's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// Half of the answers began within it.
    pub p50: Duration,
    /// All but one in a hundred did.
    pub p99: Duration,
}

impl Pace {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            now: Counts::none(),
            before: Counts::none(),
            began: Instant::now(),
        }
    }

    /// One more answer.
    pub fn count(&mut self, time: Duration, now: Instant) {
        self.turn(now);
        let step = step(time);
        self.now.by_step[step] = self.now.by_step[step].saturating_add(1);
        self.now.all += 1;
    }

    /// What was counted lately; nothing where nothing was.
    pub fn quantiles(&mut self, now: Instant) -> Option<Quantiles> {
        self.turn(now);
        Some(Quantiles {
            p50: self.quantile(50)?,
            p99: self.quantile(99)?,
        })
    }

    fn quantile(&self, hundredths: u64) -> Option<Duration> {
        let all = self.now.all + self.before.all;
        let wanted = (all * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        let steps = self.now.by_step.iter().zip(&self.before.by_step);
        steps
            .enumerate()
            .find(|(_, (now, before))| {
                seen += u64::from(**now) + u64::from(**before);
                seen >= wanted
            })
            .map(|(step, _)| above(step))
    }

    fn turn(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.began);
        if gone < WINDOW {
            return;
        }
        let fresh = std::mem::replace(&mut self.now, Counts::none());
        self.before = if gone < 2 * WINDOW {
            fresh
        } else {
            Counts::none()
        };
        self.began = now;
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

impl Counts {
    fn none() -> Self {
        Self {
            by_step: vec![0; OCTAVES * STEPS],
            all: 0,
        }
    }
}

fn step(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros())
        .unwrap_or(u64::MAX)
        .clamp(1, (1 << OCTAVES) - 1);
    let octave = micros.ilog2() as usize;
    // What is above the power of two, in sixteenths of it.
    let part = ((micros - (1 << octave)) * STEPS as u64) >> octave;
    octave * STEPS + part as usize
}

/// The time that a step reaches up to.
fn above(step: usize) -> Duration {
    let (octave, part) = (step / STEPS, (step % STEPS) as u64);
    let width = 1_u64 << octave;
    Duration::from_micros(width + (width * (part + 1)).div_ceil(STEPS as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_at_most_a_sixteenth_above_the_truth() {
        let mut pace = Pace::new();
        let now = Instant::now();
        assert_eq!(pace.quantiles(now), None);
        for millis in 1..=100 {
            pace.count(Duration::from_millis(millis), now);
        }
        let Quantiles { p50, p99 } = pace.quantiles(now).expect("a hundred were counted");
        for (found, truth) in [(p50, 50), (p99, 99)] {
            let truth = Duration::from_millis(truth);
            assert!(
                found >= truth && found <= truth + truth / 15,
                "{found:?} for {truth:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_out_of_range_is_counted_at_its_end() {
        let mut pace = Pace::new();
        pace.count(Duration::ZERO, Instant::now());
        pace.count(Duration::MAX, Instant::now());
        let found = pace.quantiles(Instant::now()).expect("two were counted");
        assert!(found.p50 <= Duration::from_micros(2), "{found:?}");
        assert!(found.p99 >= Duration::from_secs(120), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_two_minutes_old_is_forgotten() {
        let mut pace = Pace::new();
        pace.count(Duration::from_secs(1), Instant::now());
        tokio::time::advance(WINDOW).await;
        assert!(pace.quantiles(Instant::now()).is_some());
        tokio::time::advance(WINDOW).await;
        assert_eq!(pace.quantiles(Instant::now()), None);
    }
}
