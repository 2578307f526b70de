//! The random numbers of simulated paths: SplitMix64 (Steele, Lea and Flood 2014), seeded by a series' name.
//!
//! Not from a crate: a new version could change the numbers, and with them every forecast.

#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator seeded by `name`.
    pub(super) fn named(name: &str) -> Random {
        // FNV-1a: different names need different seeds, nothing more.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Random(hash)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform number below `bound`; 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        // The upper half of the product; its bias is below 10^-15 for such small bounds.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published values for the seed 1234567.
    #[test]
    fn it_is_splitmix64() {
        let mut random = Random(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn numbers_below_a_bound_are_uniform() {
        let mut random = Random::named("x");
        let mut counts = [0; 7];
        (0..7_000).for_each(|_| counts[random.below(7)] += 1);
        let are_near = counts.iter().all(|count| (850..1_150).contains(count));
        assert!(are_near, "{counts:?}");
        assert_eq!(random.below(0), 0);
    }
}
