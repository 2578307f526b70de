//! The plans of providers that are in use, and their billing periods.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};

use super::catalogue::LimitPeriod;
use crate::domain::period::{Window, start_of_day};
use crate::domain::zone::Zone;

/// When the billing periods of a provider begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Billing {
    /// The day of the month; in a shorter month, its last day.
    pub anchor_day: u32,
    /// The zone at whose midnight they begin.
    pub zone: Zone,
}

impl Default for Billing {
    /// Calendar months of UTC.
    fn default() -> Billing {
        Billing {
            anchor_day: 1,
            zone: Zone::UTC,
        }
    }
}

impl Billing {
    pub fn period(self, period: LimitPeriod, at: DateTime<Utc>) -> Window {
        let (anchor, zone) = match period {
            LimitPeriod::Day => {
                let day = at.date_naive();
                let next = day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
                return Window::new(start_of_day(Zone::UTC, day), start_of_day(Zone::UTC, next));
            }
            LimitPeriod::Month => (1, self.zone),
            LimitPeriod::BillingMonth => (self.anchor_day, self.zone),
        };
        let month = zone.local(at).date_naive();
        let begins = |months: i32| start_of_day(zone, anchor_in(month, months, anchor));
        if at < begins(0) {
            Window::new(begins(-1), begins(0))
        } else {
            Window::new(begins(0), begins(1))
        }
    }
}

/// The anchor's day, `months` after the month of a day.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSelection {
    pub id: String,
    pub provider: String,
    pub plan: String,
    pub seats: Option<u32>,
    /// The provider's name of the region.
    pub region: Option<String>,
    pub billing: Billing,
    pub valid_from: DateTime<Utc>,
    pub chosen_by: String,
    pub created_at: DateTime<Utc>,
}

/// The selection in use at `now`: of those that have begun, the one that began last; of those that began together,
/// the one created last.
pub fn current<'a>(
    selections: &'a [PlanSelection],
    provider: &str,
    now: DateTime<Utc>,
) -> Option<&'a PlanSelection> {
    let has_begun = |it: &&PlanSelection| it.provider == provider && it.valid_from <= now;
    let begun = selections.iter().filter(has_begun);
    begun.max_by_key(|it| (it.valid_from, it.created_at, &it.id))
}

/// The billing periods of all providers.
#[derive(Clone, Debug, Default)]
pub struct BillingCalendars {
    by_provider: HashMap<String, Billing>,
    /// Those of a provider without a plan in use.
    default: Billing,
}

impl BillingCalendars {
    /// The calendars of the plans in use at `now`; `zone` is that of the database.
    pub fn new(selections: &[PlanSelection], now: DateTime<Utc>, zone: Zone) -> BillingCalendars {
        let in_use = in_use(selections, now);
        BillingCalendars {
            by_provider: in_use.map(|it| (it.provider.clone(), it.billing)).collect(),
            default: Billing {
                zone,
                ..Billing::default()
            },
        }
    }

    pub fn of(&self, provider: &str) -> Billing {
        let billing = self.by_provider.get(provider);
        billing.copied().unwrap_or(self.default)
    }
}

/// The selections in use at `now`, one of each provider.
pub fn in_use(
    selections: &[PlanSelection],
    now: DateTime<Utc>,
) -> impl Iterator<Item = &PlanSelection> {
    selections.iter().filter(move |it| {
        let current = current(selections, &it.provider, now);
        current.is_some_and(|current| current.id == it.id)
    })
}

#[cfg(test)]
impl PlanSelection {
    /// A plan in use since 1970.
    pub(crate) fn sample(provider: &str, plan: &str) -> PlanSelection {
        PlanSelection {
            id: plan.to_owned(),
            provider: provider.to_owned(),
            plan: plan.to_owned(),
            seats: None,
            region: None,
            billing: Billing::default(),
            valid_from: DateTime::UNIX_EPOCH,
            chosen_by: "ops".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{at, window, zone};

    fn period(anchor_day: u32, zone: Zone, now: &str) -> Window {
        let billing = Billing { anchor_day, zone };
        let window = billing.period(LimitPeriod::BillingMonth, at(now));
        assert!(window.contains(at(now)));
        window
    }

    #[test]
    fn billing_period_begins_on_anchor_day_or_last_day_of_short_month() {
        for (anchor, now, from, to) in [
            (1, "2026-01-31T12:00:00Z", "2026-01-01", "2026-02-01"),
            (15, "2026-01-14T23:59:59Z", "2025-12-15", "2026-01-15"),
            (15, "2026-01-15T00:00:00Z", "2026-01-15", "2026-02-15"),
            (31, "2026-02-27T00:00:00Z", "2026-01-31", "2026-02-28"),
            (31, "2026-02-28T00:00:00Z", "2026-02-28", "2026-03-31"),
            (30, "2028-02-29T12:00:00Z", "2028-02-29", "2028-03-30"),
        ] {
            let midnight = |day| at(&format!("{day}T00:00:00Z"));
            let expected = Window::new(midnight(from), midnight(to));
            assert_eq!(period(anchor, Zone::UTC, now), expected, "{anchor} {now}");
        }
    }

    #[test]
    fn billing_period_begins_at_midnight_of_its_zone() {
        let seoul = period(1, zone("Asia/Seoul"), "2026-01-31T15:00:00Z");
        assert_eq!(seoul, window("01-31T15:00", "02-28T15:00"));
        // Clocks there went from 23:59 to 01:00 on that day.
        let cairo = period(26, zone("Africa/Cairo"), "2024-05-01T00:00:00Z");
        let expected = window("2024-04-25T22:00:00Z", "2024-05-25T21:00:00Z");
        assert_eq!(cairo, expected);
        let day = Billing::default().period(LimitPeriod::Day, at("2026-01-31T12:00:00Z"));
        assert_eq!(day.to, at("2026-02-01T00:00:00Z"));
    }

    #[test]
    fn plan_that_began_last_is_in_use() {
        let from = |plan: &str, provider: &str, from: &str| PlanSelection {
            valid_from: at(from),
            ..PlanSelection::sample(provider, plan)
        };
        let selections = [
            from("b", "vercel", "2026-01-10T00:00:00Z"),
            from("a", "vercel", "2026-01-01T00:00:00Z"),
            from("c", "vercel", "2026-03-01T00:00:00Z"),
            from("d", "neon", "2026-01-20T00:00:00Z"),
        ];
        let plan = |now| current(&selections, "vercel", at(now)).map(|it| it.plan.as_str());
        let in_use = in_use(&selections, at("2026-01-31T00:00:00Z")).map(|it| it.plan.as_str());
        assert_eq!(in_use.collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(plan("2025-12-31T00:00:00Z"), None);
        assert_eq!(plan("2026-01-31T00:00:00Z"), Some("b"));
        assert_eq!(plan("2026-03-01T00:00:00Z"), Some("c"));
    }
}
