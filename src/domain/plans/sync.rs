//! Brings the stored limits in line with a catalogue and the plans in use.
//!
//! Only rows of the catalogue's that no one has changed since are updated or removed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use rust_decimal::prelude::ToPrimitive;

use super::AtLimit;
use super::api_limit::{ApiLimit, ApiLimitOrigin};
use super::catalogue::{Catalogue, Plan, default_kind};
use super::limit::{LimitDetails, LimitRow, Origin};
use super::selection::{self, PlanSelection};
use super::source::Citation;
use crate::domain::metrics::names::MetricKind;
use crate::domain::named::named;

named! {
    /// The action on a stored limit.
    SyncAction, "change" {
        Added = "ADDED",
        /// The catalogue has other terms than before.
        Updated = "UPDATED",
        Unchanged = "UNCHANGED",
        /// It belongs to the user or another program.
        Kept = "KEPT",
        /// The plan in use has no such limit.
        Removed = "REMOVED",
    }
}

impl SyncAction {
    /// Whether something is written.
    pub fn writes(self) -> bool {
        !matches!(self, SyncAction::Unchanged | SyncAction::Kept)
    }
}

/// The change of a row of `InfrastructureLimit`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitChange {
    pub change: SyncAction,
    /// The row as it will be.
    pub row: LimitRow,
    /// The stored value.
    pub before: Option<f64>,
    /// The value of the catalogue.
    pub wanted: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ApiLimitChange {
    pub change: SyncAction,
    /// The limit as it will be, or as it was if it is removed.
    pub limit: ApiLimit,
    pub plan: Option<String>,
    /// The stored value.
    pub before: Option<f64>,
    /// The value of the catalogue.
    pub wanted: Option<f64>,
}

/// All changes of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub limits: Vec<LimitChange>,
    pub api_limits: Vec<ApiLimitChange>,
}

impl Changes {
    /// Removes the limits that are as they were.
    pub fn retain_changed(&mut self) {
        self.limits.retain(|it| it.change != SyncAction::Unchanged);
        let is_changed = |it: &ApiLimitChange| it.change != SyncAction::Unchanged;
        self.api_limits.retain(is_changed);
    }

    /// Removes the limits whose value stays, also those with a newer citation.
    pub fn retain_new_values(&mut self) {
        self.limits.retain(|it| it.before != Some(it.wanted));
        self.api_limits.retain(|it| it.before != it.wanted);
    }
}

/// The author and the time of a change.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    pub by: &'a str,
    pub now: DateTime<Utc>,
}

/// What a budget has in the place of a plan's name.
pub const BUDGET: &str = "budget";

/// The changes of service limits: those of plans that are or will be in use, and the budgets of the catalogue; or those
/// of one provider's plans.
pub fn limits(
    catalogue: &Catalogue,
    selections: &[PlanSelection],
    provider: Option<&str>,
    rows: &[LimitRow],
    signature: Signature<'_>,
) -> Vec<LimitChange> {
    let details = |origin, value, citation, note: &Option<String>| LimitDetails {
        origin,
        kind: MetricKind::Gauge,
        period: None,
        at_limit: AtLimit::Unknown,
        value,
        citation,
        note: note.clone(),
        updated_by: signature.by.to_owned(),
        updated_at: signature.now,
    };
    let mut wanted = Vec::new();
    let plans = plans_to_come(catalogue, selections, signature.now);
    for plan in plans.filter(|plan| provider.is_none_or(|it| it == plan.provider)) {
        wanted.extend(plan.limits_in_use().filter_map(|limit| {
            let (service, metric) = limit.application()?;
            let value = limit.line()?.to_f64()?;
            let citation = catalogue.citation(&limit.cited.source);
            Some(LimitRow {
                service,
                metric,
                plan: plan.name.clone(),
                value,
                warning_percent: limit.warning_percent.to_f64()?,
                critical_percent: limit.critical_percent.to_f64()?,
                details: Some(LimitDetails {
                    kind: limit.kind,
                    period: limit.period,
                    at_limit: limit.at_limit,
                    ..details(Origin::Catalogue, value, citation, &limit.cited.note)
                }),
            })
        }));
    }
    let budgets = catalogue.budgets.iter().filter(|_| provider.is_none());
    wanted.extend(budgets.filter_map(|budget| {
        let value = budget.amount.to_f64()?;
        let (kind, period) = default_kind(budget.metric);
        let citation = Citation {
            catalogue_version: Some(catalogue.version.to_string()),
            ..Citation::default()
        };
        Some(LimitRow {
            service: budget.service,
            metric: budget.metric,
            plan: BUDGET.to_owned(),
            value,
            warning_percent: budget.warning_percent.to_f64()?,
            critical_percent: budget.critical_percent.to_f64()?,
            details: Some(LimitDetails {
                kind,
                period,
                ..details(Origin::Budget, value, citation, &budget.note)
            }),
        })
    }));
    wanted.into_iter().map(|row| change(row, rows)).collect()
}

/// The plans that are in use now or will be later.
fn plans_to_come<'a>(
    catalogue: &'a Catalogue,
    selections: &[PlanSelection],
    now: DateTime<Utc>,
) -> impl Iterator<Item = &'a Plan> {
    let later = selections.iter().filter(|it| it.valid_from > now);
    let names: BTreeSet<(String, String)> = selection::in_use(selections, now)
        .chain(later)
        .map(|it| (it.provider.clone(), it.plan.clone()))
        .collect();
    let is_named = move |plan: &&Plan| names.contains(&(plan.provider.clone(), plan.name.clone()));
    let plans = catalogue.plans.iter().filter(|plan| plan.cited.enabled);
    plans.filter(is_named)
}

/// The change that brings the stored rows in line with a row as it should be.
fn change(wanted: LimitRow, rows: &[LimitRow]) -> LimitChange {
    let key = |row: &LimitRow| (row.service, row.metric, row.plan.clone());
    let Some(found) = rows.iter().find(|row| key(row) == key(&wanted)) else {
        return LimitChange {
            change: SyncAction::Added,
            before: None,
            wanted: wanted.value,
            row: wanted,
        };
    };
    let mut row = found.clone();
    let change = match (found.own_details(), &wanted.details) {
        (Some(old), Some(new)) if old.origin == Origin::Catalogue => {
            let same = LimitDetails {
                updated_by: old.updated_by.clone(),
                updated_at: old.updated_at,
                ..new.clone()
            };
            if same == *old {
                SyncAction::Unchanged
            } else {
                // The thresholds may have been set by hand since, and stay.
                row.value = wanted.value;
                row.details = Some(new.clone());
                SyncAction::Updated
            }
        }
        _ => SyncAction::Kept,
    };
    LimitChange {
        change,
        row,
        before: Some(found.value),
        wanted: wanted.value,
    }
}

/// The changes of API limits: those of the plans in use, or of an API's fallback plan until one is selected; of all APIs,
/// or of one.
pub fn api_limits(
    catalogue: &Catalogue,
    selections: &[PlanSelection],
    provider: Option<&str>,
    stored: &[ApiLimit],
    now: DateTime<Utc>,
) -> Vec<ApiLimitChange> {
    let mut changes = Vec::new();
    let apis = catalogue.providers().into_iter();
    for api in apis.filter(|api| provider.is_none_or(|it| it == *api)) {
        let has_limits = |plan: &Plan| !plan.api_limits.is_empty();
        if !catalogue.plans_of(api).any(has_limits) {
            continue;
        }
        let plan = plan_of_api(catalogue, selections, api, now);
        let published = plan.into_iter().flat_map(Plan::api_limits_in_use);
        let published = published.filter_map(|limit| {
            Some(ApiLimit {
                api_name: api.to_owned(),
                period: limit.period.clone(),
                unit: limit.unit,
                value: limit.value?.to_f64()?,
                origin: ApiLimitOrigin::Catalogue,
                citation: catalogue.citation(&limit.cited.source),
                updated_at: now,
            })
        });
        let published: Vec<ApiLimit> = published.collect();
        let change = |change, limit: &ApiLimit, before, wanted: &ApiLimit| ApiLimitChange {
            change,
            limit: limit.clone(),
            plan: plan.map(|plan| plan.name.clone()),
            before,
            wanted: Some(wanted.value),
        };
        let of_api = || stored.iter().filter(move |limit| limit.api_name == api);
        let gone = of_api().filter(|old| {
            old.origin == ApiLimitOrigin::Catalogue
                && published.iter().all(|new| new.period != old.period)
        });
        changes.extend(gone.map(|old| ApiLimitChange {
            change: SyncAction::Removed,
            limit: old.clone(),
            plan: None,
            before: Some(old.value),
            wanted: None,
        }));
        changes.extend(published.iter().map(|new| {
            let Some(old) = of_api().find(|old| old.period == new.period) else {
                return change(SyncAction::Added, new, None, new);
            };
            let same = ApiLimit {
                updated_at: old.updated_at,
                ..new.clone()
            };
            let before = Some(old.value);
            match old.origin {
                ApiLimitOrigin::User => change(SyncAction::Kept, old, before, new),
                _ if same == *old => change(SyncAction::Unchanged, old, before, new),
                _ => change(SyncAction::Updated, new, before, new),
            }
        }));
    }
    changes
}

/// The plan whose limits an API has.
pub fn plan_of_api<'a>(
    catalogue: &'a Catalogue,
    selections: &[PlanSelection],
    api: &'a str,
    now: DateTime<Utc>,
) -> Option<&'a Plan> {
    let plan = match selection::current(selections, api, now) {
        Some(selected) => catalogue.plan(api, &selected.plan),
        None => catalogue.plans_of(api).find(|plan| plan.fallback),
    };
    plan.filter(|plan| plan.cited.enabled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Period;
    use crate::domain::plans::parse;

    const SIGNATURE: Signature<'_> = Signature {
        by: "ops",
        now: DateTime::UNIX_EPOCH,
    };

    fn changed(rows: &[LimitRow], catalogue: &Catalogue) -> Vec<LimitChange> {
        let selections = [PlanSelection::sample("upstash", "free")];
        limits(catalogue, &selections, None, rows, SIGNATURE)
    }

    /// The embedded catalogue with other storage and a newer version.
    fn newer() -> Catalogue {
        let text = parse::EMBEDDED
            .replace("\"256\"", "\"300\"")
            .replace("version = \"2026.11.21\"", "version = \"2026.12.1\"");
        parse::parse(&text).unwrap()
    }

    #[test]
    fn newer_catalogue_updates_own_rows_and_keeps_their_thresholds() {
        let added = changed(&[], &Catalogue::embedded().unwrap()).into_iter();
        let mut rows: Vec<LimitRow> = added.map(|change| change.row).collect();
        rows[0].warning_percent = 50.0;
        let after = changed(&rows, &newer());
        let actions: Vec<_> = after.iter().map(|it| it.change).collect();
        assert_eq!(actions, [SyncAction::Updated; 4]);
        assert_eq!(after[0].before, Some(256.0));
        let row = &after[0].row;
        assert_eq!((row.value, row.warning_percent), (300.0, 50.0));
    }

    #[test]
    fn api_has_limits_of_its_plan_and_user_limits_are_kept() {
        let catalogue = Catalogue::embedded().unwrap();
        let first = api_limits(&catalogue, &[], None, &[], SIGNATURE.now);
        assert!(first.iter().all(|it| it.change == SyncAction::Added));
        let of = |changes: &[ApiLimitChange], api: &str| -> Vec<(String, f64)> {
            let of_api = changes.iter().filter(|change| change.limit.api_name == api);
            let name = |it: &ApiLimitChange| format!("{} {}", it.change, it.limit.period);
            of_api.map(|it| (name(it), it.limit.value)).collect()
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
        // Of a period that neither plan has.
        let hourly = ApiLimit {
            api_name: "openweather".to_owned(),
            period: Period::Hour,
            origin: ApiLimitOrigin::User,
            ..stored[0].clone()
        };
        stored.push(hourly);
        let selections = [PlanSelection::sample("openweather", "one-call")];
        let second = api_limits(&catalogue, &selections, None, &stored, SIGNATURE.now);
        let one_call = [
            pair("REMOVED MINUTE", 60.0),
            pair("REMOVED MONTH", 1e6),
            pair("ADDED DAY", 1000.0),
        ];
        assert_eq!(of(&second, "openweather"), one_call);
        let kept = [pair("KEPT SECOND", 30.0), pair("KEPT MINUTE", 60.0)];
        assert_eq!(of(&second, "finnhub"), kept);
        assert_eq!(of(&second, "tmdb"), [pair("UNCHANGED SECOND", 40.0)]);
    }
}
