//! Exponential, logarithm and normal quantile with the same bits on every machine.
//!
//! The standard library calls the platform's C library for `exp` and `ln`, whose results differ in the last bit.
//! (`sqrt` is exact by IEEE 754.)

/// The exponential of `x`; saturates at the largest number.
pub(super) fn exp(x: f64) -> f64 {
    libm::exp(x).clamp(0.0, f64::MAX)
}

/// The natural logarithm of `x`. Anything but a finite positive number counts as the smallest normal one.
pub(super) fn ln(x: f64) -> f64 {
    let is_valid = x >= f64::MIN_POSITIVE && x.is_finite();
    libm::log(if is_valid { x } else { f64::MIN_POSITIVE })
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
    fn exp_and_ln_match_the_standard_library() {
        for n in -600..600 {
            let x = f64::from(n) / 7.3;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp {x}");
            assert!((ln(x.exp()) - x).abs() < 1e-12, "ln {x}");
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert_eq!((exp(-1e9), exp(1e9)), (0.0, f64::MAX));
        assert!(ln(0.0) < -700.0 && ln(-1.0) < -700.0 && ln(f64::NAN) < -700.0);
    }

    #[test]
    fn normal_quantiles_match_tables() {
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
