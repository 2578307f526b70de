//! Times as programs write them: forms, units, zones, and the times that are implausible.

use chrono::format::{Item, StrftimeItems};
use chrono::{
    DateTime, Datelike, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset,
    TimeDelta, Timelike, Utc,
};

use super::check::{Number, shown};
use crate::domain::format;
use crate::domain::usage::record::limits;
use crate::domain::zone::{UnknownZone, Zone};

#[derive(Clone, Debug)]
pub struct TimeOptions {
    /// The time of a record without one.
    pub now: DateTime<Utc>,
    /// Times further ahead of `now` are refused.
    pub max_future: TimeDelta,
    /// Times longer before `now` are refused.
    pub max_past: TimeDelta,
    /// The unit of numeric times.
    pub time_unit: Option<TimeUnit>,
    /// The zone of times without one.
    pub assumed_zone: Option<Zone>,
    /// The only form of times that are text: `clf` or a strftime format.
    pub format: Option<String>,
    /// Whether the user can set `format`, for messages.
    pub takes_format: bool,
}

/// The unit of numeric times, counted since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds
    S,
    /// Milliseconds
    Ms,
    /// Microseconds
    Us,
    /// Nanoseconds
    Ns,
}

impl TimeUnit {
    fn nanoseconds(self) -> i32 {
        match self {
            TimeUnit::S => 1_000_000_000,
            TimeUnit::Ms => 1_000_000,
            TimeUnit::Us => 1_000,
            TimeUnit::Ns => 1,
        }
    }

    pub(super) fn to_ms(self, value: f64) -> f64 {
        value * f64::from(self.nanoseconds()) / 1e6
    }

    /// The unit in which a number is a time of our days.
    fn plausible(number: Number) -> TimeUnit {
        match number.to_f64().abs() {
            ..1e11 => TimeUnit::S,
            ..1e14 => TimeUnit::Ms,
            ..1e17 => TimeUnit::Us,
            _ => TimeUnit::Ns,
        }
    }
}

/// A duration with units, such as `31.6ms`, `45µs` or Go's `1m2.5s`, in milliseconds.
pub(super) fn duration_ms(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut sum_ms = 0.0;
    while !rest.is_empty() {
        let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_of_number(c))?);
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(is_of_number).unwrap_or(after.len()));
        let unit_ms = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            "us" | "µs" | "μs" => 1e-3,
            "ns" => 1e-6,
            _ => return None,
        };
        sum_ms += number.parse::<f64>().ok()? * unit_ms;
        rest = after;
    }
    (!text.is_empty()).then_some(sum_ms)
}

/// Parses `UTC`, an offset such as `+02:00`, or the name of a zone such as `Europe/Berlin`.
pub fn parse_zone(text: &str) -> Result<Zone, String> {
    if text.eq_ignore_ascii_case("Z") {
        return Ok(Zone::UTC);
    }
    let offset = text.parse().map(Zone::fixed);
    offset.or_else(|_| text.parse()).map_err(|_: UnknownZone| {
        "expected UTC, an offset such as +02:00, or a zone such as Europe/Berlin".to_owned()
    })
}

pub fn parse_time_format(text: &str) -> Result<String, String> {
    let invalid = StrftimeItems::new(text).any(|item| item == Item::Error);
    match invalid || !(text == "clf" || text.contains('%')) {
        true => Err("expected clf, or a strftime format such as %Y-%m-%d %H:%M:%S".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn offset_instant(local: NaiveDateTime, offset: FixedOffset) -> Result<DateTime<Utc>, String> {
    let at = local.checked_sub_offset(offset);
    at.map(|at| at.and_utc())
        .ok_or_else(|| format!("is {local}, out of range"))
}

fn zone_instant(local: NaiveDateTime, zone: Zone) -> Result<DateTime<Utc>, String> {
    match zone.instant(local) {
        MappedLocalTime::Single(at) => Ok(at),
        MappedLocalTime::Ambiguous(..) => Err(format!(
            "is {local}, which occurs twice in {zone} as clocks are set back; add its offset"
        )),
        MappedLocalTime::None => Err(format!(
            "is {local}, which does not exist in {zone} as clocks are set forward; add its offset"
        )),
    }
}

/// What a line itself says about its times; it takes precedence over the options.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeHints {
    pub(super) unit: Option<TimeUnit>,
    /// Used if no option gives a zone or unit: the line is from a dump of our own table.
    pub(super) is_dump: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundTime {
    pub(super) at: DateTime<Utc>,
    /// The time for derived ids: independent of the zone and unit in the options.
    pub(super) for_id: DateTime<Utc>,
}

/// The time field of access logs: Common Log Format.
const CLF: &str = "%d/%b/%Y:%H:%M:%S %z";

impl TimeOptions {
    /// Options that accept any year.
    pub fn new(now: DateTime<Utc>) -> TimeOptions {
        TimeOptions {
            now,
            max_future: TimeDelta::minutes(5),
            max_past: TimeDelta::MAX,
            time_unit: None,
            assumed_zone: None,
            format: None,
            takes_format: false,
        }
    }

    pub(super) fn parse(&self, text: &str) -> Result<DateTime<Utc>, String> {
        Ok(self.find(text, TimeHints::default())?.at)
    }

    pub(super) fn parse_number(&self, number: Number) -> Result<DateTime<Utc>, String> {
        Ok(self.find_number(number, TimeHints::default())?.at)
    }

    pub(super) fn find(&self, text: &str, hints: TimeHints) -> Result<FoundTime, String> {
        let (local, offset) = self.split(text).ok_or_else(|| match &self.format {
            Some(format) => format!("is {}, expected the format `{format}`", shown(text)),
            None => format!(
                "is {}, expected an RFC 3339 time such as 2026-01-31T12:00:00Z{}",
                shown(text),
                match self.takes_format {
                    true => "; name another form with --time-format",
                    false => "",
                }
            ),
        })?;
        let zone = self.assumed_zone.or(hints.is_dump.then_some(Zone::UTC));
        let at = match (offset, zone) {
            (Some(offset), _) => offset_instant(local, offset)?,
            (None, Some(zone)) => zone_instant(local, zone)?,
            (None, None) => {
                return Err("has no zone; set one with --assume-tz, such as UTC or +02:00".into());
            }
        };
        // chrono takes a second 60 in any minute.
        if at.nanosecond() >= 1_000_000_000 && (at.hour(), at.minute()) != (23, 59) {
            return Err(format!("is {}, which has a second 60", shown(text)));
        }
        let for_id = offset.map_or(local.and_utc(), |_| at);
        Ok(FoundTime {
            at: self.plausible(at, "")?,
            for_id: cut(for_id),
        })
    }

    pub(super) fn find_number(
        &self,
        number: Number,
        hints: TimeHints,
    ) -> Result<FoundTime, String> {
        let dump = hints.is_dump.then_some(TimeUnit::Ms);
        let unit = hints.unit.or(self.time_unit).or(dump).ok_or(
            "is a number; set its unit with --time-unit, such as --time-unit s or --time-unit ms",
        )?;
        let found = instant(number, unit).ok_or_else(|| format!("is {number}, out of range"))?;
        let for_id = instant(number, TimeUnit::plausible(number)).unwrap_or(found);
        Ok(FoundTime {
            at: self.plausible(found, "correct --time-unit, or ")?,
            for_id,
        })
    }

    fn split(&self, text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
        let zoned = |at: DateTime<FixedOffset>| (at.naive_local(), Some(*at.offset()));
        if let Some(format) = &self.format {
            let format = match format.as_str() {
                "clf" => CLF,
                format => format,
            };
            let at = DateTime::parse_from_str(text, format).ok().map(zoned);
            return at.or_else(|| Some((NaiveDateTime::parse_from_str(text, format).ok()?, None)));
        }
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(zoned)
            .or_else(|| parse_iso(text))
            .or_else(|| DateTime::parse_from_str(text, CLF).ok().map(zoned))
            .or_else(|| DateTime::parse_from_rfc2822(text).ok().map(zoned))
    }

    /// Cuts a time to the millisecond, and refuses one that cannot be true. `cure` comes before the option that
    /// allows it.
    fn plausible(&self, at: DateTime<Utc>, cure: &str) -> Result<DateTime<Utc>, String> {
        let at = cut(at);
        if !limits::YEARS.contains(&at.year()) {
            let (first, last) = limits::YEARS.into_inner();
            return Err(format!(
                "is in the year {}, expected {first} to {last}; numeric times have the unit of --time-unit",
                at.year()
            ));
        }
        let ahead = at - self.now;
        if ahead > self.max_future {
            return Err(format!(
                "is {} ahead of now; allow more with --max-future",
                format::duration(ahead)
            ));
        }
        if -ahead > self.max_past {
            return Err(format!(
                "is {}, {} ago; {cure}allow it with --max-past",
                format::time(at),
                format::duration(-ahead)
            ));
        }
        Ok(at)
    }
}

fn instant(number: Number, unit: TimeUnit) -> Option<DateTime<Utc>> {
    let ms = match number {
        Number::Whole(whole) => {
            let nanoseconds = i128::from(whole) * i128::from(unit.nanoseconds());
            i64::try_from(nanoseconds.div_euclid(1_000_000)).ok()?
        }
        // `as` saturates, and chrono refuses what lies outside its years.
        Number::Fraction(value) => unit.to_ms(value).round() as i64,
    };
    DateTime::from_timestamp_millis(ms)
}

/// Cuts a time to the millisecond. A leap second, 23:59:60, becomes the second after it: databases have none.
fn cut(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}

/// Reads ISO 8601 as programs vary it: a space instead of the T, a comma before the fraction, no seconds,
/// the zone as `+00`, `+0000`, `Z` or `UTC`, with a space before it, or missing.
fn parse_iso(text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    let (date, rest) = text.split_at_checked(10)?;
    let date = ["%Y-%m-%d", "%Y/%m/%d"]
        .iter()
        .find_map(|form| NaiveDate::parse_from_str(date, form).ok())?;
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
    let is_clock = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | ',');
    let (clock, zone) = rest.split_at(rest.find(|c| !is_clock(c)).unwrap_or(rest.len()));
    let clock = clock.replace(',', ".");
    let time = ["%H:%M:%S%.f", "%H:%M"]
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(&clock, form).ok())?;
    let offset = match zone.trim() {
        "" => None,
        "Z" | "z" | "UTC" | "GMT" => Some(Utc.fix()),
        offset => Some(parse_offset(offset)?),
    };
    Some((date.and_time(time), offset))
}

/// Reads `+02`, `+0200` or `+02:00`.
fn parse_offset(text: &str) -> Option<FixedOffset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text[1..].replace(':', "");
    let number: i32 = digits.parse().ok().filter(|number| *number >= 0)?;
    let minutes = match digits.len() {
        2 => number * 60,
        4 if number % 100 < 60 => number / 100 * 60 + number % 100,
        _ => return None,
    };
    FixedOffset::east_opt(sign * minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::at;

    fn options() -> TimeOptions {
        TimeOptions::new(at("01-31T12:00"))
    }

    fn in_zone(zone: &str) -> TimeOptions {
        TimeOptions {
            assumed_zone: Some(parse_zone(zone).unwrap()),
            ..options()
        }
    }

    #[test]
    fn common_forms_with_zone_are_read() {
        for text in [
            "2026-01-30T10:00:00Z",
            "2026-01-30T10:00:00.000+00:00",
            "2026-01-30 10:00:00+00",
            "2026-01-30T10:00:00+0000",
            "2026-01-30T10:00Z",
            "2026-01-30 10:00:00,000 +00:00",
            "2026-01-30 10:00:00 UTC",
            "2026/01/30 11:00:00 +0100",
            "30/Jan/2026:10:00:00 +0000",
            "Fri, 30 Jan 2026 10:00:00 GMT",
            "Fri, 30 Jan 2026 05:00:00 -0500",
        ] {
            assert_eq!(options().parse(text), Ok(at("01-30T10:00")), "{text}");
        }
        for text in [
            "2026-01-30",
            "yesterday",
            "2026-01-30 10:00:00 CET",
            "2026-01-30T10:00:00+1",
        ] {
            assert!(options().parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_without_zone_is_in_assumed_zone() {
        let berlin = in_zone("Europe/Berlin");
        for text in [
            "2026-01-30 11:00:00",
            "2026-01-30T11:00:00,000",
            "2026-01-30T11:00",
        ] {
            assert!(options().parse(text).unwrap_err().contains("--assume-tz"));
            assert_eq!(berlin.parse(text), Ok(at("01-30T10:00")), "{text}");
        }
        assert!(parse_zone("Berlin").is_err());
    }

    #[test]
    fn only_the_hours_of_a_clock_change_are_refused() {
        let berlin = in_zone("Europe/Berlin");
        let now = TimeOptions {
            now: at("2027-01-01T00:00:00Z"),
            ..berlin
        };
        assert!(now.parse("2026-10-25 01:59:59").is_ok());
        let refused = |text| now.parse(text).unwrap_err();
        assert!(refused("2026-10-25 02:30:00").contains("occurs twice"));
        assert!(refused("2026-03-29 02:30:00").contains("does not exist"));
        assert!(now.parse("2026-03-29 03:00:00").is_ok());
    }

    #[test]
    fn time_for_ids_does_not_depend_on_options() {
        let found = |zone| in_zone(zone).find("2026-01-30 11:00:00", TimeHints::default());
        let [utc, berlin] = ["UTC", "Europe/Berlin"].map(|zone| found(zone).unwrap());
        assert_ne!(utc.at, berlin.at);
        assert_eq!(utc.for_id, berlin.for_id);
        let seconds = |unit| {
            let options = TimeOptions {
                time_unit: Some(unit),
                ..options()
            };
            let number = Number::Whole(1_769_767_200);
            options.find_number(number, TimeHints::default()).unwrap()
        };
        assert_ne!(seconds(TimeUnit::S).at, seconds(TimeUnit::Ms).at);
        assert_eq!(seconds(TimeUnit::S).for_id, seconds(TimeUnit::Ms).for_id);
    }

    #[test]
    fn given_format_is_the_only_one() {
        let strftime = TimeOptions {
            format: Some("%d.%m.%Y %H:%M:%S".to_owned()),
            ..in_zone("UTC")
        };
        assert_eq!(strftime.parse("30.01.2026 10:00:00"), Ok(at("01-30T10:00")));
        assert!(strftime.parse("2026-01-30T10:00:00Z").is_err());
        let clf = TimeOptions {
            format: Some("clf".to_owned()),
            ..options()
        };
        let parsed = clf.parse("30/Jan/2026:11:00:00 +0100");
        assert_eq!(parsed, Ok(at("01-30T10:00")));
    }

    #[test]
    fn number_has_unit() {
        for (number, unit) in [
            (1_769_767_200, TimeUnit::S),
            (1_769_767_200_000, TimeUnit::Ms),
            (1_769_767_200_000_000, TimeUnit::Us),
            (1_769_767_200_000_000_000, TimeUnit::Ns),
        ] {
            let options = TimeOptions {
                time_unit: Some(unit),
                ..options()
            };
            let number = Number::Whole(number);
            assert_eq!(options.parse_number(number), Ok(at("01-30T10:00")));
            assert_eq!(TimeUnit::plausible(number), unit);
        }
    }

    #[test]
    fn long_past_is_refused_with_option() {
        let options = TimeOptions {
            max_past: TimeDelta::days(7_300),
            time_unit: Some(TimeUnit::Ms),
            ..options()
        };
        let mistaken = options.parse_number(Number::Whole(1_769_767_200));
        let mistaken = mistaken.unwrap_err();
        for option in ["--time-unit", "--max-past"] {
            assert!(mistaken.contains(option), "{mistaken}");
        }
        assert!(options.parse("2010-01-01T00:00:00Z").is_ok());
        let old = options.parse("1980-01-01T00:00:00Z").unwrap_err();
        assert!(old.ends_with("ago; allow it with --max-past"), "{old}");
    }

    #[test]
    fn leap_second_exists_at_midnight_only() {
        let leap = options().parse("2016-12-31T23:59:60.5Z");
        assert_eq!(leap, Ok(at("2017-01-01T00:00:00.500Z")));
        let other = options().parse("2026-01-30T10:00:60Z").unwrap_err();
        assert!(other.contains("second 60"));
    }
}
