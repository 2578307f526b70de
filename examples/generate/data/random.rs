//! SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and the same on every machine.
//!
//! Nothing here or in its users calls a transcendental function, whose last digit differs between
//! machines: the same seed gives the same bytes.

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly from 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evenly from 0 to `end`, excluded.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.unit() * end as f64) as u64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Heavy-tailed around `median` (Pareto, shape 2): p95 is three times, p99 seven times the median.
    pub fn heavy_tailed(&mut self, median: f64) -> f64 {
        median / std::f64::consts::SQRT_2 / (1.0 - self.unit()).sqrt()
    }

    /// Around 1, nearly always between 1 - `spread` and 1 + `spread`.
    pub fn around_one(&mut self, spread: f64) -> f64 {
        let sum: f64 = (0..4).map(|_| self.unit()).sum();
        1.0 + (sum - 2.0) * spread
    }

    /// One of `items`, each as likely as its weight says.
    pub fn weighted<'a, T>(&mut self, items: &'a [T], weight: impl Fn(&T) -> f64) -> &'a T {
        let total: f64 = items.iter().map(&weight).sum();
        let mut left = self.unit() * total;
        for item in items {
            left -= weight(item);
            if left < 0.0 {
                return item;
            }
        }
        &items[items.len() - 1]
    }
}
