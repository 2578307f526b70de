//! A histogram of response times: small, mergeable without loss, precise enough for percentiles.
//!
//! Buckets are log-linear: every millisecond below 128 has its own, above that each power of two is divided
//! into 64 equal parts. The middle of a bucket is therefore at most 1/128 (0.79 %) away from any value in
//! it. All arithmetic is on integers, so merging is exact and independent of the order and of the machine:
//! rolling up the same rows twice gives the same bytes. (A t-digest depends on the order; a sketch of
//! logarithms depends on the machine's `ln`.)

/// The maximum relative error of a percentile.
pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;

/// Bits of a value that its bucket keeps below the leading one: 64 buckets for each power of two.
const KEPT_BITS: u32 = 6;

/// The bucket of `u32::MAX`, the last one.
const LAST_BUCKET: u16 = 1727;

/// The first byte of the stored form. Another layout of buckets would need another one.
const VERSION: u8 = 1;

/// Counts of durations in milliseconds. Empty buckets take no space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket and count, ordered by bucket; no count is zero.
    counts: Vec<(u16, u64)>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Written by another version of this program, or not a histogram.
    #[error("a histogram in an unknown format")]
    Version,
    #[error("a histogram that is cut off")]
    Truncated,
    /// Buckets or counts that no histogram has.
    #[error("a histogram with impossible numbers")]
    Impossible,
}

impl Histogram {
    pub fn add(&mut self, ms: u32) {
        self.add_to(bucket_of(ms), 1);
    }

    fn add_to(&mut self, bucket: u16, n: u64) {
        match self.counts.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(found) => self.counts[found].1 = self.counts[found].1.saturating_add(n),
            Err(place) => self.counts.insert(place, (bucket, n)),
        }
    }

    pub fn merge(&mut self, other: &Histogram) {
        // A few buckets into many, as of an endpoint into its API: copying all would take most of a merge.
        if other.counts.len() * 8 < self.counts.len() {
            let others = other.counts.iter();
            return others.for_each(|(bucket, n)| self.add_to(*bucket, *n));
        }
        let mut merged = Vec::with_capacity(self.counts.len().max(other.counts.len()));
        let mut ours = self.counts.iter().peekable();
        let mut theirs = other.counts.iter().peekable();
        while let (Some((our, n)), Some((their, m))) = (ours.peek(), theirs.peek()) {
            if our == their {
                merged.push((*our, n.saturating_add(*m)));
                ours.next();
                theirs.next();
            } else if our < their {
                merged.extend(ours.next());
            } else {
                merged.extend(theirs.next());
            }
        }
        merged.extend(ours);
        merged.extend(theirs);
        self.counts = merged;
    }

    /// Removes the counts of a histogram that was merged before.
    pub fn subtract(&mut self, other: &Histogram) {
        for (bucket, n) in &other.counts {
            if let Ok(place) = self.counts.binary_search_by_key(bucket, |(at, _)| *at) {
                self.counts[place].1 = self.counts[place].1.saturating_sub(*n);
            }
        }
        self.counts.retain(|(_, n)| *n > 0);
    }

    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The duration that `permille` of all do not exceed, by nearest rank: 500 is the median. None if
    /// nothing was counted.
    pub fn quantile(&self, permille: u16) -> Option<u32> {
        let wanted = u128::from(self.count()) * u128::from(permille.min(1000));
        let rank = wanted.div_ceil(1000).max(1);
        let mut passed = 0;
        let found = self.counts.iter().find(|(_, n)| {
            passed += u128::from(*n);
            passed >= rank
        });
        found.map(|(bucket, _)| middle_of(*bucket))
    }

    /// The stored form: a version, then each bucket as its distance from the one before and its count,
    /// both as variable-length integers.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 2 * self.counts.len());
        bytes.push(VERSION);
        let mut expected = 0;
        for (bucket, n) in &self.counts {
            push_varint(&mut bytes, u64::from(bucket - expected));
            push_varint(&mut bytes, *n);
            expected = bucket + 1;
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Histogram, DecodeError> {
        let Some((&VERSION, mut rest)) = bytes.split_first() else {
            return Err(DecodeError::Version);
        };
        let mut counts = Vec::with_capacity(rest.len() / 2);
        let mut expected = 0_u64;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let gap = take_varint(&mut rest)?;
            let n = take_varint(&mut rest)?;
            let bucket = expected
                .checked_add(gap)
                .and_then(|at| u16::try_from(at).ok());
            let bucket = bucket.filter(|bucket| *bucket <= LAST_BUCKET && n > 0);
            let bucket = bucket.ok_or(DecodeError::Impossible)?;
            total = total.checked_add(n).ok_or(DecodeError::Impossible)?;
            counts.push((bucket, n));
            expected = u64::from(bucket) + 1;
        }
        Ok(Histogram { counts })
    }
}

/// Drops low bits until `KEPT_BITS` remain below the leading one. The remaining value and the number of dropped
/// bits number the buckets without a gap.
fn bucket_of(ms: u32) -> u16 {
    let bits = u32::BITS - ms.leading_zeros();
    let dropped = bits.saturating_sub(KEPT_BITS + 1);
    // At most 25 * 64 + 127.
    ((dropped << KEPT_BITS) + (ms >> dropped)) as u16
}

/// The middle of a bucket, which is exact for buckets of one millisecond.
fn middle_of(bucket: u16) -> u32 {
    let bucket = u32::from(bucket.min(LAST_BUCKET));
    let dropped = (bucket >> KEPT_BITS).saturating_sub(1);
    let lowest = (bucket - (dropped << KEPT_BITS)) << dropped;
    lowest + (1 << dropped) / 2
}

/// Seven bits per byte, lowest first; the high bit marks that more follow.
fn push_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (part == 0 && shift > 0 && byte & 0x80 == 0) {
            // Too large, or longer than needed, which would give one histogram two forms.
            return Err(DecodeError::Impossible);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(DecodeError::Impossible)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u32]) -> Histogram {
        let mut histogram = Histogram::default();
        values.iter().for_each(|ms| histogram.add(*ms));
        histogram
    }

    /// Durations of every size, and some that repeat.
    fn durations() -> impl Strategy<Value = Vec<u32>> {
        let duration = prop_oneof![0..300_u32, 0..60_000_u32, any::<u32>()];
        vec(duration, 1..200)
    }

    #[test]
    fn buckets_have_no_gap_and_no_overlap() {
        let mut last = 0;
        for ms in (0..200_000).chain([u32::MAX / 2, u32::MAX / 2 + 1, u32::MAX]) {
            let bucket = bucket_of(ms);
            assert!(bucket == last || bucket == last + 1 || ms > 200_000);
            assert_eq!(bucket_of(middle_of(bucket)), bucket);
            last = bucket;
        }
        assert_eq!(last, LAST_BUCKET);
    }

    #[test]
    fn percentiles_below_128_ms_are_exact() {
        let histogram = of(&(1..=100).collect::<Vec<_>>());
        assert_eq!(histogram.quantile(500), Some(50));
        assert_eq!(histogram.quantile(950), Some(95));
        assert_eq!(histogram.quantile(990), Some(99));
        assert_eq!(histogram.quantile(0), Some(1));
        assert_eq!(histogram.quantile(1000), Some(100));
        assert_eq!(Histogram::default().quantile(500), None);
    }

    #[test]
    fn invalid_bytes_are_rejected() {
        let error = |bytes: &[u8]| Histogram::decode(bytes).unwrap_err();
        assert_eq!(error(&[]), DecodeError::Version);
        assert_eq!(error(&[2, 0, 1]), DecodeError::Version);
        assert_eq!(error(&[1, 0]), DecodeError::Truncated);
        assert_eq!(error(&[1, 0, 0x80]), DecodeError::Truncated);
        assert_eq!(error(&[1, 0, 0]), DecodeError::Impossible);
        assert_eq!(error(&[1, 0xff, 0x7f, 1]), DecodeError::Impossible);
        assert_eq!(error(&[1, 0, 0x81, 0x00]), DecodeError::Impossible);
        assert_eq!(
            error(&[[1, 0].as_slice(), &[0xff; 10]].concat()),
            DecodeError::Impossible
        );
    }

    proptest! {
        #[test]
        fn percentile_is_within_relative_error(values in durations(), permille in 0..=1000_u16) {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = (values.len() * usize::from(permille)).div_ceil(1000).max(1);
            let exact = f64::from(sorted[rank - 1]);
            let estimate = f64::from(of(&values).quantile(permille).unwrap());
            prop_assert!((estimate - exact).abs() <= exact * RELATIVE_ERROR, "{estimate} for {exact}");
        }

        #[test]
        fn merge_equals_counting_both(a in durations(), b in durations()) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let mut turned = of(&b);
            turned.merge(&of(&a));
            prop_assert_eq!(&merged, &of(&[a, b].concat()));
            prop_assert_eq!(&merged, &turned);
        }

        #[test]
        fn stored_form_round_trips(values in durations()) {
            let histogram = of(&values);
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
        }

        #[test]
        fn any_bytes_are_rejected_or_the_only_form(mut bytes in vec(any::<u8>(), 0..40), ours in any::<bool>()) {
            if ours && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            if let Ok(histogram) = Histogram::decode(&bytes) {
                prop_assert_eq!(histogram.encode(), bytes);
            }
        }
    }
}
