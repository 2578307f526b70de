//! Edits of limits by hand, which keep the stored values of omitted fields.

use chrono::{DateTime, Utc};

use super::api_limit::{ApiLimit, ApiLimitOrigin, InvalidLimit, Unit, check_value};
use super::catalogue::{AtLimit, LimitPeriod, default_kind};
use super::limit::{LimitDetails, LimitFault, LimitRow, Origin};
use super::source::Citation;
use super::sync::Signature;
use crate::domain::metrics::names::{Metric, MetricKind, Service};
use crate::domain::period::Period;

const DEFAULT_WARNING: f64 = 75.0;
const DEFAULT_CRITICAL: f64 = 90.0;

/// Why a limit cannot be edited as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditFault {
    #[error("nothing to change")]
    NoChange,
    #[error("a new limit requires a value")]
    NoValue,
    #[error("a limit of kind GAUGE has no period")]
    PeriodOfGauge,
    #[error(transparent)]
    Value(#[from] InvalidLimit),
    #[error(transparent)]
    Limit(#[from] LimitFault),
}

/// The changes of a service's limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitEdit {
    pub value: Option<f64>,
    pub warning_percent: Option<f64>,
    pub critical_percent: Option<f64>,
    pub kind: Option<MetricKind>,
    pub period: Option<LimitPeriod>,
    pub at_limit: Option<AtLimit>,
    pub source: Option<String>,
    pub note: Option<String>,
    pub is_budget: bool,
}

impl LimitEdit {
    /// The edited row. Thresholds alone leave the owner as it is, so that the catalogue keeps its values up to date;
    /// any other change makes the limit the user's.
    pub fn apply(
        self,
        (service, metric, plan): (Service, Metric, &str),
        stored: Option<&LimitRow>,
        signature: Signature<'_>,
    ) -> Result<LimitRow, EditFault> {
        let others = LimitEdit {
            warning_percent: None,
            critical_percent: None,
            ..self.clone()
        };
        let nothing = LimitEdit {
            is_budget: self.is_budget,
            ..LimitEdit::default()
        };
        if self == nothing {
            return Err(EditFault::NoChange);
        }
        let value = self.value.or(stored.map(|row| row.value));
        let percents = stored.map(|row| (row.warning_percent, row.critical_percent));
        let (warning, critical) = percents.unwrap_or((DEFAULT_WARNING, DEFAULT_CRITICAL));
        let mut row = LimitRow {
            service,
            metric,
            plan: plan.to_owned(),
            value: value.ok_or(EditFault::NoValue)?,
            warning_percent: self.warning_percent.unwrap_or(warning),
            critical_percent: self.critical_percent.unwrap_or(critical),
            details: stored.and_then(|row| row.details.clone()),
        };
        check_value(row.value)?;
        if let Some(fault) = row.fault() {
            return Err(fault.into());
        }
        if stored.is_none() || others != nothing {
            row.details = Some(self.details(metric, row.value, stored, signature)?);
        } else if let Some(details) = &mut row.details {
            details.updated_by = signature.by.to_owned();
            details.updated_at = signature.now;
        }
        Ok(row)
    }

    fn details(
        self,
        metric: Metric,
        value: f64,
        stored: Option<&LimitRow>,
        signature: Signature<'_>,
    ) -> Result<LimitDetails, EditFault> {
        let old = stored.and_then(|row| row.details.as_ref());
        let (old_kind, old_period) = stored.map_or_else(|| default_kind(metric), LimitRow::kind);
        let kind = self.kind.unwrap_or(old_kind);
        let period = match (kind, self.period) {
            (MetricKind::Gauge, Some(_)) => return Err(EditFault::PeriodOfGauge),
            (MetricKind::Gauge, None) => None,
            (_, Some(period)) => Some(period),
            (_, None) if kind == old_kind => old_period,
            (MetricKind::Rate, None) => None,
            (MetricKind::Period, None) => {
                default_kind(metric).1.or(Some(LimitPeriod::BillingMonth))
            }
        };
        let own = stored.and_then(LimitRow::own_details);
        let is_of_catalogue = |own: &LimitDetails| own.citation.catalogue_version.is_some();
        let is_cited = own.is_none_or(|own| own.value == value || !is_of_catalogue(own));
        let is_budget = self.is_budget || old.is_some_and(|old| old.origin == Origin::Budget);
        let at_limit = self.at_limit.or(old.map(|old| old.at_limit));
        Ok(LimitDetails {
            origin: if is_budget {
                Origin::Budget
            } else {
                Origin::User
            },
            kind,
            period,
            at_limit: at_limit.unwrap_or(AtLimit::Unknown),
            value,
            citation: citation(self.source, own.map(|own| &own.citation), is_cited),
            note: self.note.or_else(|| old.and_then(|old| old.note.clone())),
            updated_by: signature.by.to_owned(),
            updated_at: signature.now,
        })
    }
}

/// The source that is given, or the stored one. A page of the catalogue does not state a value set by hand.
fn citation(source: Option<String>, stored: Option<&Citation>, is_valid: bool) -> Citation {
    match (source, stored) {
        (None, Some(stored)) if is_valid => stored.clone(),
        (source, _) => Citation {
            source,
            ..Citation::default()
        },
    }
}

/// The stored limit of a plan; its name is compared exactly first, then without regard to case.
pub fn stored_limit<'a>(
    rows: &'a [LimitRow],
    service: Service,
    metric: Metric,
    plan: &str,
) -> Option<&'a LimitRow> {
    let of_meter = || {
        let rows = rows.iter();
        rows.filter(move |row| (row.service, row.metric) == (service, metric))
    };
    let exact = of_meter().find(|row| row.plan == plan);
    exact.or_else(|| of_meter().find(|row| row.plan.eq_ignore_ascii_case(plan)))
}

pub fn only_plan(rows: &[LimitRow], service: Service, metric: Metric) -> Option<&str> {
    let mut plans = rows.iter().filter(|row| {
        (row.service, row.metric) == (service, metric) && row.origin() != Origin::Budget
    });
    match (plans.next(), plans.next()) {
        (Some(row), None) => Some(&row.plan),
        _ => None,
    }
}

/// The changes of an API's limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiLimitEdit {
    pub value: Option<f64>,
    pub unit: Option<Unit>,
    pub source: Option<String>,
}

impl ApiLimitEdit {
    /// The edited limit, which is the user's from now on.
    pub fn apply(
        self,
        api_name: &str,
        period: &Period,
        stored: Option<&ApiLimit>,
        now: DateTime<Utc>,
    ) -> Result<ApiLimit, EditFault> {
        if self == ApiLimitEdit::default() {
            return Err(EditFault::NoChange);
        }
        let value = self.value.or(stored.map(|stored| stored.value));
        let value = check_value(value.ok_or(EditFault::NoValue)?)?;
        let unit = self.unit.or(stored.map(|stored| stored.unit));
        let unit = unit.unwrap_or(Unit::Calls);
        let is_cited = stored.is_some_and(|stored| {
            stored.origin == ApiLimitOrigin::User || (stored.value, stored.unit) == (value, unit)
        });
        Ok(ApiLimit {
            api_name: api_name.to_owned(),
            period: period.clone(),
            unit,
            value,
            origin: ApiLimitOrigin::User,
            citation: citation(self.source, stored.map(|stored| &stored.citation), is_cited),
            updated_at: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (Service, Metric, &str) = (Service::VercelKv, Metric::RequestCount, "free");

    fn at(seconds: i64) -> Signature<'static> {
        Signature {
            by: if seconds == 0 { "first" } else { "second" },
            now: DateTime::from_timestamp_secs(seconds).unwrap(),
        }
    }

    fn edit(value: f64) -> LimitEdit {
        LimitEdit {
            value: Some(value),
            ..LimitEdit::default()
        }
    }

    fn warning(percent: f64) -> LimitEdit {
        LimitEdit {
            warning_percent: Some(percent),
            ..LimitEdit::default()
        }
    }

    /// A row with every field set by the user.
    fn stored() -> LimitRow {
        let all = LimitEdit {
            value: Some(500.0),
            warning_percent: Some(60.0),
            critical_percent: Some(80.0),
            kind: Some(MetricKind::Period),
            period: Some(LimitPeriod::Day),
            at_limit: Some(AtLimit::Reject),
            source: Some("contract".to_owned()),
            note: Some("agreed in January".to_owned()),
            is_budget: false,
        };
        all.apply(KEY, None, at(0)).unwrap()
    }

    #[test]
    fn each_field_changes_alone() {
        use AtLimit::Bill;
        use LimitPeriod::Month;
        fn text(text: &str) -> Option<String> {
            Some(text.to_owned())
        }
        type Change = fn(&mut LimitEdit, &mut LimitRow, &mut LimitDetails);
        let changes: [Change; 7] = [
            |it, row, own| (it.value, row.value, own.value) = (Some(700.0), 700.0, 700.0),
            |it, row, _| (it.warning_percent, row.warning_percent) = (Some(70.0), 70.0),
            |it, row, _| (it.critical_percent, row.critical_percent) = (Some(95.0), 95.0),
            |it, _, own| (it.period, own.period) = (Some(Month), Some(Month)),
            |it, _, own| (it.at_limit, own.at_limit) = (Some(Bill), Bill),
            |it, _, own| (it.source, own.citation.source) = (text("mail"), text("mail")),
            |it, _, own| (it.note, own.note) = (text("new"), text("new")),
        ];
        for change in changes {
            let mut edit = LimitEdit::default();
            let mut expected = stored();
            let mut details = expected.details.clone().unwrap();
            details.updated_by = "second".to_owned();
            details.updated_at = at(1).now;
            change(&mut edit, &mut expected, &mut details);
            expected.details = Some(details);
            assert_eq!(edit.apply(KEY, Some(&stored()), at(1)), Ok(expected));
        }
    }

    #[test]
    fn new_kind_takes_its_own_period() {
        let kind = |kind| LimitEdit {
            kind: Some(kind),
            ..LimitEdit::default()
        };
        let details = |edit: LimitEdit| {
            let row = edit.apply(KEY, Some(&stored()), at(1)).unwrap();
            let details = row.details.unwrap();
            (details.kind, details.period)
        };
        assert_eq!(details(kind(MetricKind::Gauge)), (MetricKind::Gauge, None));
        assert_eq!(details(kind(MetricKind::Rate)), (MetricKind::Rate, None));
        let day = (MetricKind::Period, Some(LimitPeriod::Day));
        assert_eq!(details(kind(MetricKind::Period)), day);
        let gauge_per_day = LimitEdit {
            period: Some(LimitPeriod::Day),
            ..kind(MetricKind::Gauge)
        };
        let fault = gauge_per_day.apply(KEY, Some(&stored()), at(1));
        assert_eq!(fault, Err(EditFault::PeriodOfGauge));
    }

    #[test]
    fn thresholds_leave_the_owner_and_values_make_it_the_user() {
        let mut published = stored();
        let details = published.details.as_mut().unwrap();
        details.origin = Origin::Catalogue;
        details.citation.catalogue_version = Some("2026.11.21".to_owned());
        let row = warning(50.0).apply(KEY, Some(&published), at(1)).unwrap();
        assert_eq!((row.origin(), row.value), (Origin::Catalogue, 500.0));
        assert_eq!(row.citation(), published.citation());
        let row = edit(700.0).apply(KEY, Some(&published), at(1)).unwrap();
        assert_eq!(row.origin(), Origin::User);
        assert_eq!(row.citation(), Citation::default());
        // Nor does a page state a number that is set after the consequence.
        let consequence = LimitEdit {
            at_limit: Some(AtLimit::Reject),
            ..LimitEdit::default()
        };
        let row = consequence.apply(KEY, Some(&published), at(1)).unwrap();
        assert_eq!(row.citation(), published.citation());
        let row = edit(700.0).apply(KEY, Some(&row), at(1)).unwrap();
        assert_eq!(row.citation(), Citation::default());
        // A row of another program stays its own.
        let foreign = LimitRow {
            details: None,
            ..stored()
        };
        let row = warning(50.0).apply(KEY, Some(&foreign), at(1)).unwrap();
        let found = (row.origin(), row.warning_percent);
        assert_eq!(found, (Origin::Application, 50.0));
    }

    #[test]
    fn budget_stays_a_budget() {
        let budget = LimitEdit {
            is_budget: true,
            ..edit(50.0)
        };
        let row = budget.apply(KEY, None, at(0)).unwrap();
        let row = edit(60.0).apply(KEY, Some(&row), at(1)).unwrap();
        assert_eq!((row.origin(), row.value), (Origin::Budget, 60.0));
    }

    #[test]
    fn empty_edit_and_new_limit_without_value_are_faults() {
        let empty = LimitEdit::default();
        let fault = empty.apply(KEY, Some(&stored()), at(1));
        assert_eq!(fault, Err(EditFault::NoChange));
        let found = warning(50.0).apply(KEY, None, at(0));
        assert_eq!(found, Err(EditFault::NoValue));
        let fault = LimitFault::Percents {
            warning: 85.0,
            critical: 80.0,
        };
        let found = warning(85.0).apply(KEY, Some(&stored()), at(1));
        assert_eq!(found, Err(EditFault::Limit(fault)));
    }

    #[test]
    fn plan_is_found_in_any_case_and_without_a_name_if_it_is_the_only_one() {
        let (service, metric, _) = KEY;
        let other = LimitRow {
            plan: "pro".to_owned(),
            ..stored()
        };
        let rows = [stored(), other];
        let found = stored_limit(&rows, service, metric, "FREE");
        assert_eq!(found.map(|row| row.plan.as_str()), Some("free"));
        assert_eq!(stored_limit(&rows, service, metric, "payg"), None);
        assert_eq!(only_plan(&rows, service, metric), None);
        assert_eq!(only_plan(&rows[..1], service, metric), Some("free"));
    }

    #[test]
    fn api_limit_keeps_omitted_fields() {
        let now = DateTime::UNIX_EPOCH;
        let value = |value| ApiLimitEdit {
            value: Some(value),
            ..ApiLimitEdit::default()
        };
        let all = ApiLimitEdit {
            unit: Some(Unit::Credits),
            source: Some("contract".to_owned()),
            ..value(60.0)
        };
        let mut stored = all.apply("finnhub", &Period::Minute, None, now).unwrap();
        let apply = |edit: ApiLimitEdit, stored: &ApiLimit| {
            edit.apply("finnhub", &Period::Minute, Some(stored), now)
        };
        let edited = apply(value(70.0), &stored).unwrap();
        assert_eq!((edited.unit, edited.value), (Unit::Credits, 70.0));
        assert_eq!(edited.citation, stored.citation);
        let source = ApiLimitEdit {
            source: Some("mail".to_owned()),
            ..ApiLimitEdit::default()
        };
        assert_eq!(apply(source, &stored).unwrap().value, 60.0);
        stored.origin = ApiLimitOrigin::Catalogue;
        let edited = apply(value(70.0), &stored).unwrap();
        assert_eq!(edited.citation, Citation::default());
        let nothing = apply(ApiLimitEdit::default(), &stored);
        assert_eq!(nothing, Err(EditFault::NoChange));
    }
}
