//! What becomes of the stored limits when a catalogue and the plans in use say what they should be.
//!
//! Only what we wrote ourselves, and nobody has touched since, is changed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::api_limit::{ApiLimit, ApiLimitOrigin};
use super::catalogue::{Catalogue, Plan, PlanLimit, usual_kind};
use super::limit::{LimitRow, Meaning, Origin};
use super::selection;
use super::selection::PlanChoice;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::named::named;

named! {
    /// What becomes of a limit.
    Change, "change" {
        /// It was not there.
        Added = "ADDED",
        /// The catalogue says something else than before.
        Updated = "UPDATED",
        /// It is as it should be.
        Unchanged = "UNCHANGED",
        /// It is somebody else's, and stays as they wrote it.
        Kept = "KEPT",
        /// The plan in use has no such limit.
        Removed = "REMOVED",
    }
}

impl Change {
    /// Whether something is written.
    pub fn writes(self) -> bool {
        matches!(self, Change::Added | Change::Updated | Change::Removed)
    }
}

/// What becomes of a row of `InfrastructureLimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitChange {
    pub change: Change,
    /// The row as it will be.
    pub row: LimitRow,
    /// The value that was there.
    pub before: Option<f64>,
    /// The value that the catalogue says.
    pub wanted: f64,
}

/// What becomes of a limit of an API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiLimitChange {
    pub change: Change,
    /// The limit as it will be, or as it was if it goes.
    pub limit: ApiLimit,
    /// The plan that says so, if one does.
    pub plan: Option<String>,
    /// The value that was there.
    pub before: Option<f64>,
}

/// Who applies, and when.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    pub by: &'a str,
    pub now: DateTime<Utc>,
}

/// The name under which a budget stands where a plan's name stands.
pub const BUDGET: &str = "budget";

/// What becomes of the limits of infrastructure: those of plans that are in use, or will be, and the budgets of the
/// catalogue.
pub fn limits(
    catalogue: &Catalogue,
    choices: &[PlanChoice],
    rows: &[LimitRow],
    actor: Actor<'_>,
) -> Vec<LimitChange> {
    let mut changes = Vec::new();
    for plan in plans_to_come(catalogue, choices, actor.now) {
        for limit in plan.limits_in_use() {
            let Some((service, metric)) = limit.application() else {
                continue;
            };
            let Some(value) = limit.line().and_then(|line| line.to_f64()) else {
                continue;
            };
            let wanted = Wanted {
                service,
                metric,
                plan: &plan.name,
                percents: (limit.warning_percent, limit.critical_percent),
                meaning: meaning_of_limit(catalogue, limit, value, actor),
            };
            changes.push(wanted.change(rows));
        }
    }
    for budget in &catalogue.budgets {
        let (kind, period) = usual_kind(budget.metric);
        let wanted = Wanted {
            service: budget.service,
            metric: budget.metric,
            plan: BUDGET,
            percents: (budget.warning_percent, budget.critical_percent),
            meaning: Meaning {
                origin: Origin::Budget,
                kind,
                period,
                at_limit: super::AtLimit::Unknown,
                value: budget.amount.to_f64().unwrap_or(f64::NAN),
                source: None,
                page_date: None,
                grade: None,
                catalogue_version: Some(catalogue.version.to_string()),
                note: budget.note.clone(),
                updated_by: actor.by.to_owned(),
                updated_at: actor.now,
            },
        };
        changes.push(wanted.change(rows));
    }
    changes
}

/// The plans that are in use now or will be later.
fn plans_to_come<'a>(
    catalogue: &'a Catalogue,
    choices: &[PlanChoice],
    now: DateTime<Utc>,
) -> Vec<&'a Plan> {
    let mut names = BTreeSet::new();
    for provider in catalogue.providers() {
        let current = selection::current(choices, provider, now);
        let later = choices
            .iter()
            .filter(|choice| choice.provider == provider && choice.valid_from > now);
        let chosen = current.into_iter().chain(later);
        names.extend(chosen.map(|choice| (provider, choice.plan.as_str())));
    }
    let is_named = |plan: &&Plan| names.contains(&(plan.provider.as_str(), plan.name.as_str()));
    let plans = catalogue.plans.iter().filter(is_named);
    plans.filter(|plan| plan.enabled).collect()
}

fn meaning_of_limit(
    catalogue: &Catalogue,
    limit: &PlanLimit,
    value: f64,
    actor: Actor<'_>,
) -> Meaning {
    let source = catalogue.source(&limit.source);
    Meaning {
        origin: Origin::Catalogue,
        kind: limit.kind,
        period: limit.period,
        at_limit: limit.at_limit,
        value,
        source: source.map(|source| source.url.clone()),
        page_date: source.map(|source| source.page_date),
        grade: source.map(|source| source.grade),
        catalogue_version: Some(catalogue.version.to_string()),
        note: limit.note.clone(),
        updated_by: actor.by.to_owned(),
        updated_at: actor.now,
    }
}

/// A row as it should be.
struct Wanted<'a> {
    service: Service,
    metric: Metric,
    plan: &'a str,
    percents: (Decimal, Decimal),
    meaning: Meaning,
}

impl Wanted<'_> {
    fn change(self, rows: &[LimitRow]) -> LimitChange {
        let wanted = self.meaning.value;
        let is_it = |row: &&LimitRow| {
            (row.service, row.metric) == (self.service, self.metric) && row.plan == self.plan
        };
        let Some(found) = rows.iter().find(is_it) else {
            let percent = |percent: Decimal| percent.to_f64().unwrap_or(f64::NAN);
            return LimitChange {
                change: Change::Added,
                row: LimitRow {
                    service: self.service,
                    metric: self.metric,
                    plan: self.plan.to_owned(),
                    value: wanted,
                    warning_percent: percent(self.percents.0),
                    critical_percent: percent(self.percents.1),
                    meaning: Some(self.meaning),
                },
                before: None,
                wanted,
            };
        };
        let mut row = found.clone();
        let change = match &found.meaning {
            Some(old) if found.origin() == Origin::Catalogue => {
                let same = Meaning {
                    updated_by: old.updated_by.clone(),
                    updated_at: old.updated_at,
                    ..self.meaning.clone()
                };
                if same == *old {
                    Change::Unchanged
                } else {
                    // From which share on to warn may have been set by hand since, and stays.
                    row.value = wanted;
                    row.meaning = Some(self.meaning);
                    Change::Updated
                }
            }
            _ => Change::Kept,
        };
        LimitChange {
            change,
            row,
            before: Some(found.value),
            wanted,
        }
    }
}

/// What becomes of the limits of APIs: those of the plans in use, and as long as none is chosen those of the
/// smallest that is published.
pub fn api_limits(
    catalogue: &Catalogue,
    choices: &[PlanChoice],
    stored: &[ApiLimit],
    now: DateTime<Utc>,
) -> Vec<ApiLimitChange> {
    let mut changes = Vec::new();
    for api in catalogue.providers() {
        let plan = plan_of_api(catalogue, choices, api, now);
        let sells_access = catalogue
            .plans_of(api)
            .any(|plan| !plan.api_limits.is_empty());
        if !sells_access {
            continue;
        }
        let published = plan.into_iter().flat_map(|plan| {
            let in_use = plan.api_limits.iter().filter(|limit| limit.enabled);
            in_use.filter_map(|limit| {
                let source = catalogue.source(&limit.source);
                let published = ApiLimit {
                    api_name: api.to_owned(),
                    period: limit.period.clone(),
                    unit: limit.unit,
                    value: limit.value?.to_f64()?,
                    origin: ApiLimitOrigin::Catalogue,
                    source: source.map(|source| source.url.clone()),
                    page_date: source.map(|source| source.page_date),
                    grade: source.map(|source| source.grade),
                    catalogue_version: Some(catalogue.version.to_string()),
                    updated_at: now,
                };
                Some((plan.name.clone(), published))
            })
        });
        let published: Vec<(String, ApiLimit)> = published.collect();
        let gone = stored.iter().filter(|limit| {
            limit.api_name == api
                && limit.origin == ApiLimitOrigin::Catalogue
                && published.iter().all(|(_, new)| new.period != limit.period)
        });
        changes.extend(gone.map(|limit| ApiLimitChange {
            change: Change::Removed,
            limit: limit.clone(),
            plan: None,
            before: Some(limit.value),
        }));
        for (plan, new) in published {
            let same_place = |old: &&ApiLimit| old.api_name == api && old.period == new.period;
            let old = stored.iter().find(same_place);
            let before = old.map(|old| old.value);
            let (change, limit) = match old {
                None => (Change::Added, new),
                Some(old) if old.origin == ApiLimitOrigin::User => (Change::Kept, old.clone()),
                Some(old) => {
                    let same = ApiLimit {
                        updated_at: old.updated_at,
                        ..new.clone()
                    };
                    match same == *old {
                        true => (Change::Unchanged, old.clone()),
                        false => (Change::Updated, new),
                    }
                }
            };
            changes.push(ApiLimitChange {
                change,
                limit,
                plan: Some(plan),
                before,
            });
        }
    }
    changes
}

/// The plan whose limits hold for an API.
pub fn plan_of_api<'a>(
    catalogue: &'a Catalogue,
    choices: &[PlanChoice],
    api: &'a str,
    now: DateTime<Utc>,
) -> Option<&'a Plan> {
    let plan = match selection::current(choices, api, now) {
        Some(choice) => catalogue.plan(api, &choice.plan),
        None => catalogue.plans_of(api).find(|plan| plan.fallback),
    };
    plan.filter(|plan| plan.enabled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::parse;
    use crate::domain::plans::selection::Billing;

    const ACTOR: Actor<'_> = Actor {
        by: "ops",
        now: DateTime::UNIX_EPOCH,
    };

    fn choice(provider: &str, plan: &str) -> PlanChoice {
        PlanChoice {
            id: plan.to_owned(),
            provider: provider.to_owned(),
            plan: plan.to_owned(),
            seats: None,
            region: None,
            billing: Billing::default(),
            valid_from: ACTOR.now,
            chosen_by: "ops".to_owned(),
            created_at: ACTOR.now,
        }
    }

    fn changed(rows: &[LimitRow], catalogue: &Catalogue) -> Vec<LimitChange> {
        limits(catalogue, &[choice("upstash", "free")], rows, ACTOR)
    }

    fn stored(changes: Vec<LimitChange>) -> Vec<LimitRow> {
        changes.into_iter().map(|change| change.row).collect()
    }

    fn words(changes: &[LimitChange]) -> Vec<Change> {
        changes.iter().map(|change| change.change).collect()
    }

    /// The embedded catalogue with other storage and a newer version.
    fn newer() -> Catalogue {
        let text = parse::EMBEDDED
            .replace("\"256\"", "\"300\"")
            .replace("version = \"2026.11.21\"", "version = \"2026.12.1\"");
        parse::parse(&text).unwrap()
    }

    #[test]
    fn the_first_time_adds_and_the_second_changes_nothing() {
        let catalogue = Catalogue::embedded().unwrap();
        let first = changed(&[], &catalogue);
        assert_eq!(words(&first), [Change::Added; 4]);
        assert_eq!(first[0].row.value, 256.0);
        assert_eq!(
            (first[0].row.warning_percent, first[0].row.critical_percent),
            (75.0, 90.0)
        );
        let second = changed(&stored(first), &catalogue);
        assert_eq!(words(&second), [Change::Unchanged; 4]);
    }

    #[test]
    fn without_a_plan_nothing_is_assumed() {
        let catalogue = Catalogue::embedded().unwrap();
        assert_eq!(limits(&catalogue, &[], &[], ACTOR), []);
    }

    #[test]
    fn what_is_billed_from_the_first_bit_has_no_limit() {
        let catalogue = Catalogue::embedded().unwrap();
        let pro = limits(&catalogue, &[choice("vercel", "pro")], &[], ACTOR);
        let pro: Vec<_> = pro
            .iter()
            .map(|change| (change.row.metric, change.wanted))
            .collect();
        let expected = [
            (Metric::BandwidthGb, 1000.0),
            (Metric::RequestCount, 10_000_000.0),
        ];
        assert_eq!(pro, expected);
    }

    #[test]
    fn a_newer_catalogue_updates_what_is_ours_and_keeps_the_shares_that_were_set() {
        let mut rows = stored(changed(&[], &Catalogue::embedded().unwrap()));
        rows[0].warning_percent = 50.0;
        let after = changed(&rows, &newer());
        assert_eq!(words(&after), [Change::Updated; 4]);
        assert_eq!(after[0].before, Some(256.0));
        assert_eq!(
            (after[0].row.value, after[0].row.warning_percent),
            (300.0, 50.0)
        );
    }

    #[test]
    fn what_others_wrote_or_changed_stays() {
        let mut rows = stored(changed(&[], &Catalogue::embedded().unwrap()));
        // Changed by another program.
        rows[0].value = 1.0;
        // Written by another program.
        rows[1].meaning = None;
        // Set by the user.
        if let Some(meaning) = &mut rows[2].meaning {
            meaning.origin = Origin::User;
        }
        let after = changed(&rows, &newer());
        let expected = [Change::Kept, Change::Kept, Change::Kept, Change::Updated];
        assert_eq!(words(&after), expected);
        assert_eq!(stored(after)[..3], rows[..3]);
    }

    #[test]
    fn an_api_has_the_limits_of_its_plan_and_what_the_user_set_stays() {
        let catalogue = Catalogue::embedded().unwrap();
        let first = api_limits(&catalogue, &[], &[], ACTOR.now);
        assert!(first.iter().all(|change| change.change == Change::Added));
        let of = |changes: &[ApiLimitChange], api: &str| -> Vec<(String, f64)> {
            let of_api = changes.iter().filter(|change| change.limit.api_name == api);
            let short = |change: &ApiLimitChange| {
                (
                    format!("{} {}", change.change, change.limit.period),
                    change.limit.value,
                )
            };
            of_api.map(short).collect()
        };
        let pair = |what: &str, value| (what.to_owned(), value);
        let free = [pair("ADDED MINUTE", 60.0), pair("ADDED MONTH", 1e6)];
        assert_eq!(of(&first, "openweather"), free);
        assert_eq!(of(&first, "espn"), []);
        assert_eq!(of(&first, "coinmarketcap"), [pair("ADDED MONTH", 15_000.0)]);
        let mut stored: Vec<ApiLimit> = first.into_iter().map(|change| change.limit).collect();
        for limit in &mut stored {
            if limit.api_name == "finnhub" {
                limit.origin = ApiLimitOrigin::User;
            }
        }
        let second = api_limits(
            &catalogue,
            &[choice("openweather", "one-call")],
            &stored,
            ACTOR.now,
        );
        let one_call = [
            pair("REMOVED MINUTE", 60.0),
            pair("REMOVED MONTH", 1e6),
            pair("ADDED DAY", 1000.0),
        ];
        assert_eq!(of(&second, "openweather"), one_call);
        assert_eq!(
            of(&second, "finnhub"),
            [pair("KEPT SECOND", 30.0), pair("KEPT MINUTE", 60.0)]
        );
        assert_eq!(of(&second, "tmdb"), [pair("UNCHANGED SECOND", 40.0)]);
    }
}
