//! Which server a URL belongs to: rendezvous hashing, so that a server that comes or goes moves its own URLs alone.
//!
//! Each pair of a URL and a server has a score; the server with the highest one is the URL's home, the next one takes over while that
//! is busy. Scores are the same in every process, so that several gateways send a URL to the same server.

/// Which URL a request is for, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UrlKey(u64);

impl UrlKey {
    /// The key of a URL without its scheme, or of any other name of what is asked for.
    pub fn of(host: &[u8], target: &[u8]) -> Self {
        let mut hash = Fnv::new();
        hash.add(host);
        // No host and no target has it: `ab` and `c` are not `a` and `bc`.
        hash.add(b" ");
        hash.add(target);
        Self(mix(hash.0))
    }
}

/// A name as a number.
pub fn hash(name: &[u8]) -> u64 {
    let mut hash = Fnv::new();
    hash.add(name);
    mix(hash.0)
}

/// How much a URL belongs to a server with this share: the highest of all is its home. Of many URLs each server has its share.
pub fn score(key: UrlKey, server: u64, share: u64) -> f64 {
    let mixed = mix(key.0 ^ server.rotate_left(17));
    // 53 bits as a fraction above 0 and below 1; the logarithm makes the weights exact (Schindelhauer and Schomaker 2005).
    let fraction = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(share as f64) / fraction.ln()
}

/// FNV-1a: short names, and the same on every machine. `mix` sees to the spread.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Every bit depends on every bit (the finaliser of `SplitMix64`).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URLS: usize = 10_000;

    fn homes(servers: &[(u64, u64)]) -> Vec<usize> {
        let home = |key| {
            let scores = servers
                .iter()
                .map(|(seed, share)| score(key, *seed, *share));
            let best = scores
                .enumerate()
                .max_by(|left, right| left.1.total_cmp(&right.1));
            best.map_or(0, |(at, _)| at)
        };
        (0..URLS)
            .map(|at| {
                home(UrlKey::of(
                    b"www.example.com",
                    format!("/page/{at}").as_bytes(),
                ))
            })
            .collect()
    }

    fn seeds(count: usize) -> Vec<(u64, u64)> {
        (0..count)
            .map(|at| (hash(format!("127.0.0.1:{}", 8110 + at).as_bytes()), 1000))
            .collect()
    }

    #[test]
    fn each_server_has_its_share_of_the_urls() {
        let mut servers = seeds(4);
        servers[3].1 = 2000;
        let mut counts = [0_usize; 4];
        for at in homes(&servers) {
            counts[at] += 1;
        }
        for (count, share) in counts.into_iter().zip([1, 1, 1, 2]) {
            let wanted = URLS * share / 5;
            assert!(count.abs_diff(wanted) < wanted / 10, "{counts:?}");
        }
    }

    #[test]
    fn a_server_that_goes_moves_its_own_urls_alone() {
        let four = homes(&seeds(4));
        let three = homes(&seeds(3));
        for (before, after) in four.into_iter().zip(three) {
            assert!(before == after || before == 3, "{before} {after}");
        }
    }

    #[test]
    fn keys_are_the_same_in_every_process() {
        assert_eq!(hash(b"127.0.0.1:8110"), 0x5eac_a258_78e0_a3dc);
        assert_ne!(UrlKey::of(b"ab", b"c"), UrlKey::of(b"a", b"bc"));
    }
}
