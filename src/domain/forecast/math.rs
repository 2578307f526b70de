//! Exponential, logarithm and the normal distribution, by additions, multiplications and divisions alone.
//!
//! The standard library hands `exp` and `ln` to the platform's C library, and no two of those agree in the
//! last bit. These do not need its last bit, but the same bits everywhere, so that a forecast is the same on
//! every machine. (`sqrt` is exact by IEEE 754 and may be used.)

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// The exponential of `x`, to about 1 part in 10^14; 0 far below and the largest number far above.
pub(super) fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x < -700.0 {
        return 0.0;
    }
    if x > 700.0 {
        return f64::MAX;
    }
    // x = k ln 2 + r with |r| <= ln 2 / 2, where the series is short.
    let k = (x * LOG2_E + if x < 0.0 { -0.5 } else { 0.5 }) as i64;
    let r = x - k as f64 * LN_2;
    let sum = FACTORIALS
        .iter()
        .rev()
        .fold(0.0, |sum, one_over| sum * r + one_over);
    // 2^k, by its bits: k lies within -1010 and 1010.
    sum * f64::from_bits(((k + 1023) as u64) << 52)
}

/// One over the factorials from 0 to 11.
const FACTORIALS: [f64; 12] = {
    let mut series = [1.0; 12];
    let mut n = 1;
    while n < series.len() {
        series[n] = series[n - 1] / n as f64;
        n += 1;
    }
    series
};

/// The natural logarithm of `x`, to about 1 part in 10^14. Only for finite numbers above 0; anything else
/// counts as the smallest of them.
pub(super) fn ln(x: f64) -> f64 {
    let x = if x >= f64::MIN_POSITIVE && x.is_finite() {
        x
    } else {
        f64::MIN_POSITIVE
    };
    // x = m 2^k with m between 1/sqrt 2 and sqrt 2, where the series of the area tangent is short.
    let bits = x.to_bits();
    let mut k = ((bits >> 52) as i64 - 1023) as f64;
    let mut m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if m > SQRT_2 {
        m /= 2.0;
        k += 1.0;
    }
    let t = (m - 1.0) / (m + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    for n in (0..10).rev() {
        sum = sum * square + 1.0 / f64::from(2 * n + 1);
    }
    k * LN_2 + 2.0 * t * sum
}

/// The value below which a standard normal variable lies with probability `p`, to 1 part in 10^9
/// (Peter Acklam's rational approximation).
pub(super) fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [
        7.784695709041462e-3,
        3.224671290700398e-1,
        2.445134137142996,
        3.754408661907416,
        1.0,
    ];
    let polynomial = |coefficients: &[f64], x: f64| {
        let sum = |sum: f64, coefficient: &f64| sum * x + coefficient;
        coefficients.iter().fold(0.0, sum)
    };
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    if !(0.02425..=0.97575).contains(&p) {
        let q = (-2.0 * ln(p.min(1.0 - p))).sqrt();
        let tail = polynomial(&C, q) / polynomial(&D, q);
        return if p < 0.5 { tail } else { -tail };
    }
    let q = p - 0.5;
    let r = q * q;
    q * polynomial(&A, r) / polynomial(&B, r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_the_c_library_says_but_for_the_last_bits() {
        for n in -600..600 {
            let x = f64::from(n) / 7.3;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp {x}");
            assert!((ln(x.exp()) - x).abs() < 1e-12, "ln {x}");
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert_eq!((exp(-1e9), exp(1e9)), (0.0, f64::MAX));
        assert!(ln(0.0) < -700.0 && ln(-1.0) < -700.0 && ln(f64::NAN) < -700.0);
    }

    /// If these bits change, so does every forecast; they were made once and hold on every machine.
    #[test]
    fn their_bits_are_the_same_everywhere() {
        let bits = [exp(1.0), exp(-0.3), ln(10.0), normal_quantile(0.9)].map(f64::to_bits);
        assert_eq!(bits, BITS);
    }

    const BITS: [u64; 4] = [
        0x4005_bf0a_8b14_5763,
        0x3fe7_b4c8_69c3_7bfc,
        0x4002_6bb1_bbb5_5515,
        0x3ff4_813c_3681_e9f4,
    ];

    #[test]
    fn normal_quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.9, 1.281_551_6),
            (0.975, 1.959_964),
            (0.001, -3.090_232),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-6, "{p}");
            assert!((normal_quantile(p) + normal_quantile(1.0 - p)).abs() < 1e-8);
        }
    }
}
