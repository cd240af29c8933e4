//! A choice by Zipf's law: the k-th of N is chosen in proportion to 1 / k^S.
//!
//! Vose's alias method: built once in O(N), each draw costs one random number and one look-up, however long the tail.

/// The law over so many ranks.
#[derive(Debug, Clone)]
pub struct Zipf {
    /// For each column: below which fraction it is its own rank (as 32 bits), and the rank above it.
    columns: Vec<(u32, u32)>,
}

impl Zipf {
    /// Over `count` ranks (at least 1, at most `u32::MAX`) with the exponent `s`; 0 is the even choice.
    pub fn new(count: usize, s: f64) -> Self {
        let weights: Vec<f64> = (1..=count.max(1)).map(|k| (k as f64).powf(-s)).collect();
        let sum: f64 = weights.iter().sum();
        let mut scaled: Vec<f64> = weights
            .iter()
            .map(|weight| weight * weights.len() as f64 / sum)
            .collect();
        let mut columns: Vec<(u32, u32)> = (0..scaled.len())
            .map(|rank| (u32::MAX, rank as u32))
            .collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..scaled.len()).partition(|rank| scaled[*rank] < 1.0);
        while let (Some(low), Some(high)) = (small.pop(), large.last().copied()) {
            columns[low] = ((scaled[low] * f64::from(u32::MAX)) as u32, high as u32);
            scaled[high] -= 1.0 - scaled[low];
            if scaled[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { columns }
    }

    /// The rank, from 0, that a random number stands for.
    pub fn rank(&self, random: u64) -> usize {
        let column = ((random >> 32) * self.columns.len() as u64) >> 32;
        // The product of a number below 2^32 and the length, shifted by 32 bits, is below the length.
        let (own, other) = self.columns[column as usize];
        if random as u32 <= own {
            column as usize
        } else {
            other as usize
        }
    }
}

/// Random numbers of a worker: xorshift64*, seeded, so that a run can be repeated.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        // Never zero, and far apart for seeds that stand side by side (splitmix64).
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    /// The next one.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        for (count, s) in [(1, 1.0), (7, 0.0), (100, 0.9), (1000, 1.2)] {
            let law = Zipf::new(count, s);
            let mut dice = Dice::new(7);
            let draws = 400_000;
            let mut seen = vec![0_u32; count];
            for _ in 0..draws {
                seen[law.rank(dice.roll())] += 1;
            }
            let sum: f64 = (1..=count).map(|k| (k as f64).powf(-s)).sum();
            for rank in [0, 1, count / 2, count - 1] {
                let rank = rank.min(count - 1);
                let wanted = f64::from(draws) * ((rank + 1) as f64).powf(-s) / sum;
                let off = (f64::from(seen[rank]) - wanted).abs();
                // Five standard deviations; the seed is fixed, so this holds always or never.
                assert!(
                    off <= 5.0 * wanted.sqrt() + 1.0,
                    "{count} {s} {rank}: {} for {wanted}",
                    seen[rank]
                );
            }
        }
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            [dice.roll(), dice.roll(), dice.roll()]
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        assert_ne!(rolls(0), [0, 0, 0]);
    }
}
