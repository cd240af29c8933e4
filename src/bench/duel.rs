//! Two targets in one run, in short slices that take turns: what disturbs the machine disturbs both, and ratios stay true where figures do
//! not.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::plan::{Extent, Plan, Requests};
use crate::bench::progress::Progress;
use crate::bench::run::{RunError, run};
use crate::bench::tally::Tally;
use crate::bench::target::Target;

/// What a slice gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    /// Answers a second.
    pub rate: f64,
    /// Median until the first byte, in seconds.
    pub first_byte_p50: f64,
    /// Median until the last byte, in seconds.
    pub p50: f64,
    /// 99 of 100 answers took no longer, in seconds.
    pub p99: f64,
}

impl Slice {
    fn of(tally: &Tally) -> Self {
        Self {
            rate: tally.rate(),
            first_byte_p50: tally.first_byte.quantile(0.5),
            p50: tally.total.quantile(0.5),
            p99: tally.total.quantile(0.99),
        }
    }
}

/// What both gave.
#[derive(Debug, Clone, Default)]
pub struct Duel {
    /// All slices of each together.
    pub tallies: [Tally; 2],
    /// Slice by slice: the first target's and the second's.
    pub slices: Vec<[Slice; 2]>,
}

/// One figure of the first target as a multiple of the second's.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Ratio {
    /// Median over the slices.
    pub median: f64,
    /// Least.
    pub least: f64,
    /// Most.
    pub most: f64,
}

impl Ratio {
    /// Of the pairs whose second is not zero; none where there are none.
    pub fn over(pairs: impl Iterator<Item = [f64; 2]>) -> Option<Self> {
        let mut ratios: Vec<f64> = pairs
            .filter(|pair| pair[1] > 0.0)
            .map(|pair| pair[0] / pair[1])
            .collect();
        ratios.sort_by(f64::total_cmp);
        let upper = *ratios.get(ratios.len() / 2)?;
        let lower = *ratios.get((ratios.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            least: *ratios.first()?,
            most: *ratios.last()?,
        })
    }
}

/// Runs the plan against both, each whole plan cut into so many slices: first, second, first, second, and so on.
///
/// # Errors
/// As of [`run`].
pub fn duel(
    plan: &Plan,
    sides: [(&Target, &Requests); 2],
    slices: u32,
    progress: &Arc<Progress>,
) -> Result<Duel, RunError> {
    let mut duel = Duel::default();
    let epoch = tokio::time::Instant::now();
    for number in 0..slices.max(1) {
        let mut part = plan.clone();
        part.extent = portion(plan.extent, number, slices.max(1));
        part.seed = plan.seed.wrapping_add(u64::from(number) << 32);
        let mut pair = Vec::with_capacity(2);
        for (tally, (target, requests)) in duel.tallies.iter_mut().zip(sides) {
            let slice = run(&part, target, requests, progress, Some(epoch))?;
            pair.push(Slice::of(&slice));
            let elapsed = tally.elapsed + slice.elapsed;
            tally.add(slice);
            tally.elapsed = elapsed;
        }
        if let [first, second] = pair[..] {
            duel.slices.push([first, second]);
        }
    }
    Ok(duel)
}

/// The part of this number, from 0, of a whole.
fn portion(whole: Extent, number: u32, of: u32) -> Extent {
    match whole {
        Extent::Time(time) => Extent::Time(time / of),
        Extent::Requests(count) => {
            let (number, of) = (u64::from(number), u64::from(of));
            Extent::Requests(count / of + u64::from(number < count % of))
        }
    }
}

impl Duel {
    /// The ratio of one figure.
    pub fn ratio(&self, figure: impl Fn(&Slice) -> f64) -> Option<Ratio> {
        Ratio::over(
            self.slices
                .iter()
                .map(|pair| [figure(&pair[0]), figure(&pair[1])]),
        )
    }

    /// How long both took together.
    pub fn elapsed(&self) -> Duration {
        self.tallies.iter().map(|tally| tally.elapsed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_medians_with_their_range() {
        let pairs = [[2.0, 1.0], [9.0, 3.0], [1.0, 1.0], [5.0, 0.0]];
        let ratio = Ratio::over(pairs.into_iter()).expect("pairs");
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 1.0, 3.0));
        let even = Ratio::over([[1.0, 1.0], [2.0, 1.0]].into_iter()).expect("pairs");
        assert!((even.median - 1.5).abs() < 1e-9);
        assert_eq!(Ratio::over([[1.0, 0.0]].into_iter()), None);
    }

    #[test]
    fn portions_make_up_the_whole() {
        for count in [1_u64, 7, 10, 1003] {
            let parts = (0..10).map(
                |number| match portion(Extent::Requests(count), number, 10) {
                    Extent::Requests(part) => part,
                    Extent::Time(_) => 0,
                },
            );
            assert_eq!(parts.sum::<u64>(), count);
        }
    }
}
