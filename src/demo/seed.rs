//! Numbers by chance that are the same on every machine: `SplitMix64` (Steele, Lea and Flood, 2014).
//!
//! It dresses the shop. It is not for secrets: sessions take theirs from the `rand` crate.

/// A stream of numbers that its seed decides.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of the `index`th thing of a kind, independent of how much was drawn for the others.
    pub fn of(kind: u64, index: u64) -> Self {
        let mut seed = Self(kind);
        let start = seed.draw() ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(start)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, not including, `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias of the remainder is far below what a shop window shows.
        (self.draw() % (bound.max(1) as u64)) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below((high.saturating_sub(low) as usize) + 1) as u32
    }

    /// One of the words; empty for an empty list.
    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words
            .get(self.below(words.len()))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_published_one() {
        let mut seed = Seed::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| seed.draw()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn ranges_hold_and_empty_lists_give_nothing() {
        let mut seed = Seed::of(1, 2);
        assert!((0..200).all(|_| (3..=5).contains(&seed.between(3, 5))));
        assert_eq!(seed.below(0), 0);
        assert_eq!(seed.pick(&[]), "");
    }
}
