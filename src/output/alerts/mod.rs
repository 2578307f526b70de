//! What the commands of `alerts` answer.

pub mod ack;
pub mod backtest;
pub mod channels;
pub mod check;
pub mod deliveries;
mod event;
pub mod history;
pub mod list;
pub mod rule;
pub mod show;
pub mod silence;
pub mod status;

use chrono::TimeDelta;

use crate::domain::alert::rule::AlertType;
use crate::domain::format::count;

/// A number as people write it: thousands apart, at most two digits after the point.
pub(super) fn number(value: f64) -> String {
    // Whole numbers of this size are exact; larger ones are not worth their digits.
    const WHOLE: f64 = 1e15;
    let rounded = (value * 100.0).round() / 100.0;
    if !value.is_finite() {
        "?".to_owned()
    } else if rounded.abs() >= WHOLE {
        format!("{value:e}")
    } else {
        let sign = if rounded < 0.0 { "-" } else { "" };
        let whole = count(rounded.abs().trunc() as i64);
        let cents = (rounded.abs().fract() * 100.0).round() as i64;
        match cents {
            0 => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}.{cents:02}")
                .trim_end_matches('0')
                .to_owned(),
        }
    }
}

/// A value of a rule of this type, with its unit where it is short.
pub(super) fn measured(alert_type: &AlertType, value: f64) -> String {
    match alert_type {
        AlertType::RateLimitWarning => number(value) + "%",
        _ => number(value),
    }
}

/// A span of time as the command line takes it.
pub(super) fn span(span: TimeDelta) -> String {
    const UNITS: [(i64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let ms = span.num_milliseconds();
    match UNITS.iter().find(|(unit, _)| ms % unit == 0 && ms != 0) {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None if ms == 0 => "0s".to_owned(),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_nonsense() {
        let shown = [0.0, 80.0, 80.5, 80.126, -0.25, 8000.0, f64::NAN, 1e300].map(number);
        let expected = ["0", "80", "80.5", "80.13", "-0.25", "8,000", "?", "1e300"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn spans_read_as_they_are_typed() {
        let spans = [0, 500, 90_000, 120_000, 3_600_000, 604_800_000];
        let shown = spans.map(|ms| span(TimeDelta::milliseconds(ms)));
        assert_eq!(shown, ["0s", "500ms", "90s", "2m", "1h", "7d"]);
    }
}
