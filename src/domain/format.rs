//! How numbers, percentages, durations, instants, money, ids, shell words and stored text are written, everywhere.
//!
//! It stands in `domain` because notification summaries and recommendation text are stored and must print a
//! measurement as the tables of `output` do.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place that writes instants"
)]

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::zone::Zone;

/// Stands for a value that is missing or unknown.
pub const DASH: &str = "-";

/// A whole number with a comma between thousands: `1,234`.
pub fn count(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A number with at most two decimals and commas between thousands: `1,250.6`, `12.5`.
///
/// Below 1 it keeps three significant digits (`0.0105`), from 1e15 on it is scientific. A value that is not
/// finite is [`DASH`].
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => DASH.to_owned(),
        size if size >= 1e15 => format!("{value:.2e}"),
        size if size >= 1.0 => group(&format!("{value:.2}")),
        0.0 => "0".to_owned(),
        size if size < 1e-9 => format!("{value:.1e}"),
        size => {
            let decimals = (-size.log10().floor()) as usize + 2;
            group(&format!("{value:.decimals$}"))
        }
    }
}

/// A number with all its digits, for machines and for the value of a message: `0.1`, `228.39`, `1e300`.
pub fn exact(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-9..1e15).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// A decimal number of a file or an answer. Digits that no decimal holds are rounded, as in `0E-6176`.
pub fn parse_decimal(text: &str) -> Option<Decimal> {
    let exact = text.parse().or_else(|_| Decimal::from_scientific(text));
    exact.ok().or_else(|| {
        const SMALLEST: f64 = 1e-28;
        let near: f64 = text.parse().ok()?;
        if near.abs() < SMALLEST {
            Some(Decimal::ZERO)
        } else {
            Decimal::from_f64_retain(near)
        }
    })
}

/// A decimal with commas between thousands, all its digits kept except zeros at the end.
pub fn decimal(value: Decimal) -> String {
    group(&value.normalize().to_string())
}

/// Puts commas into `-1234.50` and removes zeros at the end: `-1,234.5`.
fn group(text: &str) -> String {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let digits = whole.trim_start_matches('-');
    let sign = if whole.len() > digits.len() && (digits != "0" || !fraction.is_empty()) {
        "-"
    } else {
        ""
    };
    let whole = digits
        .parse()
        .map_or_else(|_| digits.to_owned(), |whole: i128| count(whole));
    format!("{sign}{whole}{point}{fraction}")
}

/// A percentage (`percent` is 89.2, not 0.892) with one decimal: `89.2%`; scientific as [`number`].
pub fn percent(percent: f64) -> String {
    match percentage(percent).strip_suffix(" %") {
        None => DASH.to_owned(),
        Some(whole) if !whole.contains('.') => format!("{whole}.0%"),
        Some(text) => format!("{text}%"),
    }
}

/// A percentage in a sentence, with at most one decimal: `82.5 %`, `1,600 %`.
pub fn percentage(percent: f64) -> String {
    if !percent.is_finite() {
        return DASH.to_owned();
    }
    if percent.abs() >= 1e15 {
        return format!("{} %", number(percent));
    }
    format!(
        "{} %",
        group(&format!("{:.1}", rounded_percent(percent, 1)))
    )
}

/// `12 to 22`, or `from 12` where the end is unknown; nothing if both ends print the same.
pub fn range(low: String, high: Option<String>) -> Option<String> {
    match high {
        None => Some(format!("from {low}")),
        Some(high) => (low != high).then(|| format!("{low} to {high}")),
    }
}

/// `16 (12 to 22)`, with a [`range`].
pub fn with_range(middle: String, low: String, high: Option<String>) -> String {
    match range(low, high) {
        None => middle,
        Some(range) => format!("{middle} ({range})"),
    }
}

/// `at least 5 rows` where the number is a lower bound.
pub fn at_least(number: String, is_bound: bool) -> String {
    match is_bound {
        true => format!("at least {number}"),
        false => number,
    }
}

/// A percentage with this number of decimals. It is not rounded up to a whole percent, as thresholds and limits are: one
/// that is not reached is never shown as reached.
pub fn rounded_percent(percent: f64, decimals: i32) -> f64 {
    /// The error of a division.
    const EXACT: f64 = 1e-9;
    let scale = 10_f64.powi(decimals);
    let rounded = (percent * scale).round();
    let is_whole = rounded % scale == 0.0;
    let is_below = percent > 0.0 && percent < rounded / scale - EXACT;
    let down = if is_whole && is_below { 1.0 } else { 0.0 };
    (rounded - down) / scale
}

/// US dollars: two decimals and commas between thousands, more decimals below a cent: `$1,234.50`, `$0.0023`.
pub fn usd(amount: Decimal) -> String {
    let sign = if amount.is_sign_negative() && !amount.is_zero() {
        "-"
    } else {
        ""
    };
    let size = amount.abs();
    let cent = Decimal::new(1, 2);
    let text = if size.is_zero() || size >= cent {
        format!("{:.2}", size.round_dp(2))
    } else {
        size.round_sf(2).unwrap_or(size).normalize().to_string()
    };
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole
        .parse()
        .map_or_else(|_| whole.to_owned(), |whole: i128| count(whole));
    format!("{sign}${whole}.{cents}")
}

/// A size in its largest unit of 1024: `512 B`, `62 MiB`.
pub fn bytes(size: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut rest = size;
    let mut units = UNITS.iter().peekable();
    while rest >= 1_024 && units.len() > 1 {
        rest /= 1_024;
        units.next();
    }
    format!("{} {}", count(rest), units.next().unwrap_or(&"B"))
}

/// A length of time in its two largest units: `500ms`, `90s` as `1m 30s`, `1d 4h`.
pub fn duration(span: TimeDelta) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let ms = span.num_milliseconds();
    let mut rest = ms.unsigned_abs();
    let mut parts = Vec::new();
    for (unit_ms, unit) in UNITS {
        let units = rest / unit_ms.unsigned_abs();
        rest %= unit_ms.unsigned_abs();
        if units > 0 {
            parts.push(format!("{units}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    match (parts.is_empty(), ms < 0) {
        (true, _) => "0s".to_owned(),
        (false, true) => format!("-{}", parts.join(" ")),
        (false, false) => parts.join(" "),
    }
}

/// An instant in tables and messages: RFC 3339 in UTC, to the second.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An instant in a time zone, to the second: `2026-01-31T13:00:00+01:00`.
pub fn local_time(at: DateTime<Utc>, zone: Zone) -> String {
    zone.local(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// An instant in JSON and CSV: RFC 3339 in UTC, to the millisecond.
pub fn time_ms(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serializes an instant with milliseconds; for `#[serde(serialize_with)]`.
pub fn serialize_time<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_ms(*at))
}

pub fn serialize_maybe_time<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(time_ms).serialize(serializer)
}

/// A change from one state to another: `OK -> FIRING`; from nothing, `- -> OK`.
pub fn change(from: Option<impl std::fmt::Display>, to: impl std::fmt::Display) -> String {
    match from {
        Some(from) => format!("{from} -> {to}"),
        None => format!("{DASH} -> {to}"),
    }
}

/// A number of things, with the regular plural: `1 row`, `2 rows`.
pub fn counted(number: u64, thing: &str) -> String {
    counted_as(number, thing, &format!("{thing}s"))
}

/// A number of things, with a plural of its own: `1 try`, `2 tries`.
pub fn counted_as(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// The shortest beginning of `id`, of at least eight characters, that no other of `all` has.
pub fn short_id<'a>(id: &'a str, all: &[String]) -> &'a str {
    const SHORTEST: usize = 8;
    let shared = |other: &String| {
        let same = id.bytes().zip(other.bytes());
        same.take_while(|(a, b)| a == b).count()
    };
    let others = all.iter().filter(|other| *other != id);
    let needed = others.map(|other| shared(other) + 1).max().unwrap_or(0);
    let end = needed.max(SHORTEST);
    // Ids of other programs may have characters of several bytes.
    (end..id.len()).find_map(|end| id.get(..end)).unwrap_or(id)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a character has no shape of its own: zero-width ones, line separators, and those that change the direction of
/// text.
pub fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Quotes a word for a POSIX shell.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:@=,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Escapes control characters of a stored string, which would move the cursor or colour the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() || is_invisible(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if hidden(c) {
            c.escape_default().collect::<String>()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("plain ünï"), "plain ünï");
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(printable("\u{202e}abc"), "\\u{202e}abc");
    }

    #[test]
    fn count_has_thousands_separators() {
        let numbers = [0, 999, 1_000, -1_234_567, i64::MIN].map(count);
        let expected = [
            "0",
            "999",
            "1,000",
            "-1,234,567",
            "-9,223,372,036,854,775,808",
        ];
        assert_eq!(numbers, expected);
    }

    #[test]
    fn decimal_with_any_exponent_is_parsed() {
        let parsed = |text: &str| parse_decimal(text).map(|it| it.normalize().to_string());
        let some = |text: &str| Some(text.to_owned());
        for (text, expected) in [
            ("0E-6176", some("0")),
            ("0.003627500000000000000000000000000000", some("0.0036275")),
            ("1.5e3", some("1500")),
            ("-4E-999999999", some("0")),
            ("1E999999999", None),
            ("1e29", None),
            ("NaN", None),
            ("inf", None),
            ("1.2.3", None),
            ("", None),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        let small = parse_decimal("5.00000000000000000000001E-10").unwrap();
        assert_eq!(small.round_dp(12).normalize().to_string(), "0.0000000005");
    }

    #[test]
    fn number_has_two_decimals_or_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (80.126, "80.13"),
            (256.0, "256"),
            (-0.5, "-0.5"),
            (-3.25, "-3.25"),
            (-0.004, "-0.004"),
            (0.000_423_4, "0.000423"),
            (0.0105, "0.0105"),
            (0.9999, "1"),
            (0.0099, "0.0099"),
            (16_666.666, "16,666.67"),
            (1e7, "10,000,000"),
            (1e300, "1.00e300"),
            (f64::NAN, "-"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn exact_number_has_all_digits_and_no_rows_of_zeros() {
        let cases = [
            (0.0, "0"),
            (-0.1, "-0.1"),
            (123_456_789.012_345, "123456789.012345"),
            (1e14, "100000000000000"),
            (3.906_25e19, "3.90625e19"),
            (1e300, "1e300"),
            (-2.5e-300, "-2.5e-300"),
        ];
        for (value, expected) in cases {
            assert_eq!(exact(value), expected);
            assert_eq!(expected.parse(), Ok(value));
        }
    }

    #[test]
    fn percent_has_one_decimal() {
        let cases = [
            (0.0, "0.0%"),
            (-0.01, "0.0%"),
            (-0.5, "-0.5%"),
            (89.214, "89.2%"),
            (99.94, "99.9%"),
            (99.999_999, "99.9%"),
            (39.996, "39.9%"),
            (82.46, "82.5%"),
            (87.0 / 300.0 * 100.0, "29.0%"),
            (100.0, "100.0%"),
            (1_250.0, "1,250.0%"),
            (-1e300, "-1.00e300%"),
            (f64::INFINITY, "-"),
        ];
        for (value, expected) in cases {
            assert_eq!(percent(value), expected);
        }
    }

    #[test]
    fn usd_keeps_digits_below_a_cent() {
        let cases = [
            ("0", "$0.00"),
            ("10", "$10.00"),
            ("-1234.5", "-$1,234.50"),
            ("0.0023", "$0.0023"),
            ("-0.00456", "-$0.0046"),
        ];
        for (amount, expected) in cases {
            assert_eq!(usd(amount.parse().unwrap()), expected);
        }
    }

    #[test]
    fn duration_shows_two_largest_units() {
        let cases = [
            (0, "0s"),
            (500, "500ms"),
            (90_000, "1m 30s"),
            (120_000, "2m"),
            (604_800_000, "7d"),
            (100_800_000, "1d 4h"),
            (86_460_000, "1d"),
            (-60_000, "-1m"),
        ];
        for (ms, expected) in cases {
            assert_eq!(duration(TimeDelta::milliseconds(ms)), expected);
        }
    }

    #[test]
    fn plural_follows_the_number() {
        let things = [0, 1, 1_000].map(|number| counted(number, "row"));
        assert_eq!(things, ["0 rows", "1 row", "1,000 rows"]);
        assert_eq!(counted_as(2, "try", "tries"), "2 tries");
    }

    #[test]
    fn short_id_is_unique_among_all() {
        let ids = [
            "0123456789",
            "0123456788",
            "abc",
            "ünïcödéé-1",
            "ünïcödéé-2",
        ];
        let all: Vec<String> = ids.map(str::to_owned).to_vec();
        assert_eq!(short_id("0123456789", &all), "0123456789");
        assert_eq!(short_id("0123456789", &all[..1]), "01234567");
        assert_eq!(short_id("abc", &all), "abc");
        assert_eq!(short_id("ünïcödéé-1", &all), "ünïcödéé-1");
    }

    #[test]
    fn shell_word_is_quoted_when_needed() {
        assert_eq!(shell_word("sqlite:/srv/data-1.db"), "sqlite:/srv/data-1.db");
        assert_eq!(shell_word("~/it's"), r"'~/it'\''s'");
        assert_eq!(shell_word("a?b&c"), "'a?b&c'");
    }
}
