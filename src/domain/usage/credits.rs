//! Exact sums of costs.
//!
//! The application stores a cost as a binary fraction, in which 0.1 + 0.2 is not 0.3. A sum here is a
//! whole number of millionths of a millionth of a credit, in 128 bits: it does not depend on the order of
//! the costs, sums can be merged, and no realistic number of rows overflows it. (A decimal of 96 bits would
//! round when large and small costs are added.)

use std::fmt;
use std::str::FromStr;

/// Decimal places; a cost with more is rounded.
const DIGITS: usize = 12;

const ONE: i128 = 1_000_000_000_000;

/// The largest cost of a call. More is a mistake, and would swallow the cents of every sum.
pub const LARGEST_COST: f64 = 1e15;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Credits(i128);

impl Credits {
    pub const ZERO: Credits = Credits(0);

    /// The decimal number nearest to `cost`; nothing if it is not finite or beyond [`LARGEST_COST`].
    pub fn from_f64(cost: f64) -> Option<Credits> {
        // Up to here the error of the multiplication is less than half of the last digit.
        const EXACT: f64 = (1_u64 << 51) as f64;
        let scaled = cost * ONE as f64;
        if scaled.abs() < EXACT {
            return Some(Credits(scaled.round() as i128));
        }
        if cost.abs() <= LARGEST_COST {
            // The shortest decimal that reads back as this number, without an exponent.
            return cost.to_string().parse().ok();
        }
        None
    }

    /// The nearest binary fraction, for the application's column and JSON.
    pub fn to_f64(self) -> f64 {
        // Through the decimal text, which is rounded once; a division would round twice.
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    pub fn plus(self, other: Credits) -> Credits {
        // No realistic costs add up to the limit.
        Credits(self.0.saturating_add(other.0))
    }

    pub fn times(self, number: u64) -> Credits {
        Credits(self.0.saturating_mul(number.into()))
    }

    pub fn minus(self, other: Credits) -> Credits {
        Credits(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Credits {
    /// The exact decimal number, without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs();
        let one = ONE.unsigned_abs();
        let fraction = format!("{:0DIGITS$}", digits % one);
        let text = format!("{}.{fraction}", digits / one);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        f.pad_integral(self.0 >= 0, "", text)
    }
}

/// The text is not a decimal number in range.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a decimal number")]
pub struct ParseError;

impl FromStr for Credits {
    type Err = ParseError;

    /// Reads what `Display` writes, and any decimal number without an exponent.
    fn from_str(text: &str) -> Result<Credits, ParseError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return Err(ParseError);
        }
        let fraction_digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(DIGITS);
        let mut digits = whole.bytes().chain(fraction_digits);
        let number = digits.try_fold(0_i128, |number, digit| {
            number
                .checked_mul(10)?
                .checked_add(i128::from(digit - b'0'))
        });
        let next_digit = fraction.as_bytes().get(DIGITS);
        let rounded_up = i128::from(next_digit.is_some_and(|digit| *digit >= b'5'));
        let number = number.and_then(|number| number.checked_add(rounded_up));
        let number = number.ok_or(ParseError)?;
        Ok(Credits(if negative { -number } else { number }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn credits(text: &str) -> Credits {
        text.parse().unwrap()
    }

    #[test]
    fn sums_are_exact() {
        let sum = [0.1, 0.2, 1e15, 0.15]
            .into_iter()
            .filter_map(Credits::from_f64);
        let sum = sum.fold(Credits::ZERO, Credits::plus);
        assert_eq!(sum.to_string(), "1000000000000000.45");
        assert_eq!(credits("0.3").to_f64(), 0.3);
        assert_eq!(credits("0.3").minus(credits("0.4")).to_string(), "-0.1");
    }

    #[test]
    fn display_is_short_and_parses_back() {
        for text in ["0", "1", "-1.5", "0.000000000001", "123456.78", "10"] {
            assert_eq!(credits(text).to_string(), text);
        }
        assert_eq!(credits("0.1234567890125").to_string(), "0.123456789013");
        let invalid = format!("|-|.|1.|.5|1e3|1,5|--1|+1|٣|{}", "9".repeat(60));
        for text in invalid.split('|') {
            assert_eq!(text.parse::<Credits>(), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn invalid_cost_is_refused() {
        for cost in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.1e15, f64::MAX] {
            assert_eq!(Credits::from_f64(cost), None, "{cost}");
        }
        assert_eq!(Credits::from_f64(-0.0), Some(Credits::ZERO));
        assert_eq!(Credits::from_f64(f64::MIN_POSITIVE), Some(Credits::ZERO));
        assert_eq!(Credits::from_f64(-1e15), Some(credits("-1000000000000000")));
    }

    proptest! {
        #[test]
        fn cost_keeps_its_decimal_digits(units in -10_i64.pow(15)..10_i64.pow(15), digits in 0..=12_u32) {
            // 15 significant digits: as many as every binary fraction holds.
            let written = Credits(i128::from(units) * 10_i128.pow(12 - digits));
            prop_assert_eq!(Credits::from_f64(written.to_f64()), Some(written));
        }

        #[test]
        fn any_sum_parses_back(number in any::<i128>()) {
            prop_assume!(number != i128::MIN);
            prop_assert_eq!(credits(&Credits(number).to_string()), Credits(number));
        }
    }
}
