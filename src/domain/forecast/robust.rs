//! Robust statistics: a few outliers do not change them.

/// Standard deviation of normal values in median absolute deviations.
const MAD_TO_SD: f64 = 1.4826;

/// The quantile `share`, interpolated between two values; 0 without values.
///
/// Reorders `values`.
pub(super) fn quantile_of(values: &mut [f64], share: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place as usize;
    let (_, at, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let at = *at;
    let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(at);
    at + (next - at) * (place - below as f64)
}

/// The median; reorders `values`.
pub(super) fn median_of(values: &mut [f64]) -> f64 {
    quantile_of(values, 0.5)
}

pub(super) fn median(values: &[f64]) -> f64 {
    median_of(&mut values.to_vec())
}

/// The standard deviation estimated from the median absolute deviation, or from the mean absolute one if more than
/// half of the values are equal.
pub(super) fn spread(values: &[f64]) -> f64 {
    let middle = median(values);
    let mut deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    match median_of(&mut deviations) {
        mad if mad > 0.0 => mad * MAD_TO_SD,
        _ => mean(&deviations) * 1.2533,
    }
}

/// The mean; 0 without values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The standard deviation around zero.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

/// Which values are isolated spikes: further than `limit` spreads from the median of the seven values around them
/// (Hampel filter), unlike both neighbours, of which the next one is at least half the way back. The newest value is
/// never one, since its next neighbour is unknown.
pub(super) fn spikes(values: &[f64], limit: f64) -> Vec<bool> {
    let all = spread(values);
    let around = |at: usize| &values[at.saturating_sub(3)..(at + 4).min(values.len())];
    let far: Vec<bool> = (0..values.len())
        .map(|at| {
            let around = around(at);
            let middle = median(around);
            // A window of equal values has no spread of its own.
            let mut spread = spread(around).max(all * 0.1);
            let equal = around.iter().filter(|value| **value == middle).count();
            if 2 * equal > around.len() {
                // It is that of the one value that differs.
                spread = spread.min(all);
            }
            (values[at] - middle).abs() > limit * spread && values[at] != middle
        })
        .collect();
    let comes_back = |at: usize| {
        let middle = median(around(at));
        (values[at + 1] - middle).abs() <= (values[at] - middle).abs() / 2.0
    };
    let alone = |at: usize| {
        let before = at.checked_sub(1).is_some_and(|at| far[at]);
        let after = far.get(at + 1).is_none_or(|far| *far);
        !before && !after && comes_back(at)
    };
    (0..values.len()).map(|at| far[at] && alone(at)).collect()
}

/// The median of the slopes between all pairs of points (Theil and Sen), of at most the last 56.
pub(super) fn slope(points: &[(i32, f64)]) -> f64 {
    let points = &points[points.len().saturating_sub(56)..];
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in &points[index + 1..] {
            if later_x > x {
                slopes.push((later_y - y) / f64::from(later_x - x));
            }
        }
    }
    median_of(&mut slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spike_on_the_second_day_of_a_week_is_found() {
        let week = [100.0, 240.0, 100.0, 100.0, 100.0, 100.0, 100.0];
        assert_eq!(spikes(&week, 5.0), week.map(|value| value > 200.0));
    }

    #[test]
    fn quantiles_are_interpolated() {
        let mut values = [4.0, 1.0, 3.0, 2.0, 5.0];
        let quantiles = [0.0, 0.1, 0.5, 0.9, 1.0].map(|share| quantile_of(&mut values, share));
        assert_eq!(quantiles, [1.0, 1.4, 3.0, 4.6, 5.0]);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[2.0, 1.0]), 1.5);
    }

    #[test]
    fn outlier_changes_neither_spread_nor_slope() {
        let calm: Vec<f64> = (0..20).map(|n| f64::from(n % 5)).collect();
        let mut wild = calm.clone();
        wild[7] = 1e9;
        assert!(spread(&wild) < 2.0 * spread(&calm));
        let line = |values: &[f64]| -> Vec<(i32, f64)> {
            let point = |(n, value): (i32, &f64)| (n, value + 3.0 * f64::from(n));
            (0..).zip(values).map(point).collect()
        };
        assert!((slope(&line(&wild)) - 3.0).abs() < 0.1);
    }

    #[test]
    fn spike_is_isolated_and_not_the_newest_value() {
        let mut values: Vec<f64> = (0..20).map(|n| 100.0 + f64::from(n % 3)).collect();
        values[9] = 400.0;
        values[19] = 400.0;
        let found = spikes(&values, 5.0);
        assert_eq!(found.iter().filter(|spike| **spike).count(), 1);
        assert!(found[9]);
        // A step is no spike.
        values[10..].fill(400.0);
        assert!(!spikes(&values, 5.0).contains(&true));
        assert!(!spikes(&[7.0; 9], 5.0).contains(&true));
    }

    #[test]
    fn mostly_equal_values_have_a_spread() {
        assert_eq!(spread(&[5.0; 9]), 0.0);
        assert!(spread(&[5.0, 5.0, 5.0, 9.0]) > 0.0);
    }
}
