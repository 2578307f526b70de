//! Which plan of a provider is in use, and when its billing periods begin.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::catalogue::LimitPeriod;
use crate::domain::period::Window;

/// When the billing periods of a provider begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billing {
    /// The day of the month; where a month has no such day, its last one.
    pub anchor_day: u32,
    /// The zone at whose midnight.
    pub zone: Tz,
}

impl Default for Billing {
    /// With the month, of UTC.
    fn default() -> Billing {
        Billing {
            anchor_day: 1,
            zone: Tz::UTC,
        }
    }
}

impl Billing {
    /// The period that holds a moment.
    pub fn period(self, period: LimitPeriod, at: DateTime<Utc>) -> Window {
        let (anchor, zone) = match period {
            LimitPeriod::Day => {
                let day = at.date_naive();
                let next = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
                return Window {
                    from: midnight(Tz::UTC, day),
                    to: midnight(Tz::UTC, next),
                };
            }
            LimitPeriod::Month => (1, self.zone),
            LimitPeriod::BillingMonth => (self.anchor_day, self.zone),
        };
        let month = at.with_timezone(&zone).date_naive();
        let begins = |months: i32| midnight(zone, anchor_in(month, months, anchor));
        if at < begins(0) {
            Window {
                from: begins(-1),
                to: begins(0),
            }
        } else {
            Window {
                from: begins(0),
                to: begins(1),
            }
        }
    }
}

/// The anchor's day in the month that lies so many months from a day's.
fn anchor_in(day: NaiveDate, months: i32, anchor: u32) -> NaiveDate {
    let first = day.with_day(1).unwrap_or(day);
    let by = Months::new(months.unsigned_abs());
    let first = match months {
        0.. => first.checked_add_months(by),
        _ => first.checked_sub_months(by),
    };
    let first = first.unwrap_or(day);
    let days = (anchor.min(31)..=31).chain((28..anchor.min(31)).rev());
    days.filter_map(|day| first.with_day(day))
        .next()
        .unwrap_or(first)
}

/// Midnight, or where the clocks leave it out the first moment after.
fn midnight(zone: Tz, day: NaiveDate) -> DateTime<Utc> {
    let quarters = (0..=12).filter_map(|quarter: u32| {
        let time = NaiveTime::from_hms_opt(quarter / 4, quarter % 4 * 15, 0)?;
        zone.from_local_datetime(&day.and_time(time)).earliest()
    });
    let found = quarters.map(|at| at.to_utc()).next();
    found.unwrap_or_else(|| day.and_time(NaiveTime::MIN).and_utc())
}

/// A plan that somebody chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChoice {
    pub id: String,
    pub provider: String,
    pub plan: String,
    /// How many seats are paid for.
    pub seats: Option<u32>,
    /// The provider's name of the region.
    pub region: Option<String>,
    /// When its billing periods begin.
    pub billing: Billing,
    pub valid_from: DateTime<Utc>,
    pub chosen_by: String,
    pub created_at: DateTime<Utc>,
}

/// The plan of a provider that is in use at a moment: of those that have begun, the one that began last; of those
/// that began together, the one chosen last.
pub fn current<'a>(
    choices: &'a [PlanChoice],
    provider: &str,
    now: DateTime<Utc>,
) -> Option<&'a PlanChoice> {
    let begun = choices
        .iter()
        .filter(|choice| choice.provider == provider && choice.valid_from <= now);
    begun.max_by_key(|choice| (choice.valid_from, choice.created_at, &choice.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn period(anchor_day: u32, zone: Tz, now: &str) -> (String, String) {
        let billing = Billing { anchor_day, zone };
        let window = billing.period(LimitPeriod::BillingMonth, at(now));
        assert!(window.contains(at(now)));
        (window.from.to_rfc3339(), window.to.to_rfc3339())
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (format!("{from}:00+00:00"), format!("{to}:00+00:00"))
    }

    #[test]
    fn a_billing_period_begins_on_its_day_or_on_the_last_of_a_short_month() {
        let utc = |anchor, now| period(anchor, Tz::UTC, now);
        assert_eq!(
            utc(1, "2026-01-31T12:00:00Z"),
            pair("2026-01-01T00:00", "2026-02-01T00:00")
        );
        assert_eq!(
            utc(15, "2026-01-14T23:59:59Z"),
            pair("2025-12-15T00:00", "2026-01-15T00:00")
        );
        assert_eq!(
            utc(15, "2026-01-15T00:00:00Z"),
            pair("2026-01-15T00:00", "2026-02-15T00:00")
        );
        assert_eq!(
            utc(31, "2026-02-27T00:00:00Z"),
            pair("2026-01-31T00:00", "2026-02-28T00:00")
        );
        assert_eq!(
            utc(31, "2026-02-28T00:00:00Z"),
            pair("2026-02-28T00:00", "2026-03-31T00:00")
        );
        assert_eq!(
            utc(30, "2028-02-29T12:00:00Z"),
            pair("2028-02-29T00:00", "2028-03-30T00:00")
        );
    }

    #[test]
    fn it_begins_at_the_midnight_of_its_zone() {
        let seoul = period(1, Tz::Asia__Seoul, "2026-01-31T15:00:00Z");
        assert_eq!(seoul, pair("2026-01-31T15:00", "2026-02-28T15:00"));
        // Clocks there went from 23:59 to 01:00 on that day.
        let cairo = period(26, Tz::Africa__Cairo, "2024-05-01T00:00:00Z");
        assert_eq!(cairo, pair("2024-04-25T22:00", "2024-05-25T21:00"));
        let day = Billing::default().period(LimitPeriod::Day, at("2026-01-31T12:00:00Z"));
        assert_eq!(day.to, at("2026-02-01T00:00:00Z"));
    }

    #[test]
    fn the_plan_that_began_last_is_in_use() {
        let choice = |id: &str, provider: &str, from: &str| PlanChoice {
            id: id.to_owned(),
            provider: provider.to_owned(),
            plan: id.to_owned(),
            seats: None,
            region: None,
            billing: Billing::default(),
            valid_from: at(from),
            chosen_by: "ops".to_owned(),
            created_at: at("2026-01-01T00:00:00Z"),
        };
        let choices = [
            choice("b", "vercel", "2026-01-10T00:00:00Z"),
            choice("a", "vercel", "2026-01-01T00:00:00Z"),
            choice("c", "vercel", "2026-03-01T00:00:00Z"),
            choice("d", "neon", "2026-01-20T00:00:00Z"),
        ];
        let plan = |now| current(&choices, "vercel", at(now)).map(|choice| choice.id.as_str());
        assert_eq!(plan("2025-12-31T00:00:00Z"), None);
        assert_eq!(plan("2026-01-31T00:00:00Z"), Some("b"));
        assert_eq!(plan("2026-03-01T00:00:00Z"), Some("c"));
    }
}
