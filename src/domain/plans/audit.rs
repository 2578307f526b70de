//! What speaks against believing the stored limits.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::prelude::ToPrimitive;

use super::api_limit::{ApiLimit, ApiLimitOrigin};
use super::catalogue::Catalogue;
use super::limit;
use super::limit::{LimitRow, Origin};
use super::selection;
use super::selection::PlanChoice;
use super::source::PageDate;
use super::sync;
use crate::domain::named::named;

/// After so long a provider may have written something else.
pub const OLD: TimeDelta = TimeDelta::days(180);

named! {
    /// What is the matter.
    Matter, "matter" {
        /// Nothing can be compared with it.
        Senseless = "SENSELESS",
        /// Two say different things.
        Conflict = "CONFLICT",
        /// The catalogue in force does not know it.
        NotInCatalogue = "NOT_IN_CATALOGUE",
        /// Nobody has said which plan is in use.
        NoPlan = "NO_PLAN",
        /// Nobody has said where it is written.
        NoSource = "NO_SOURCE",
        /// Its page is older than half a year.
        OldPage = "OLD_PAGE",
        /// Its page has no date.
        Undated = "UNDATED",
    }
}

/// One thing that is the matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub matter: Matter,
    /// With which limit, or plan.
    pub of: String,
    pub detail: String,
}

/// Everything there is to look into.
#[derive(Clone, Copy, Debug)]
pub struct Audited<'a> {
    pub rows: &'a [LimitRow],
    pub api_limits: &'a [ApiLimit],
    /// The plans that were chosen.
    pub choices: &'a [PlanChoice],
    pub catalogue: &'a Catalogue,
    pub now: DateTime<Utc>,
}

/// Looks into everything; the worst comes first.
pub fn audit(audited: Audited<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for row in audited.rows {
        audited.row(row, &mut findings);
    }
    for limit in audited.api_limits {
        audited.api_limit(limit, &mut findings);
    }
    let Audited {
        rows,
        choices,
        catalogue,
        now,
        ..
    } = audited;
    let held = limit::in_force(rows, choices, catalogue, now);
    for limit in held {
        if let Some(fault) = limit.fault.filter(|it| it.contains("which plan is in use")) {
            findings.push(Finding {
                matter: Matter::NoPlan,
                of: format!("{} {}", limit.service, limit.metric),
                detail: fault,
            });
        }
    }
    for choice in choices {
        let in_use = selection::current(choices, &choice.provider, now);
        let is_in_use = in_use.is_some_and(|it| it.id == choice.id);
        if is_in_use && catalogue.plan(&choice.provider, &choice.plan).is_none() {
            findings.push(Finding {
                matter: Matter::NotInCatalogue,
                of: format!("{} {}", choice.provider, choice.plan),
                detail: format!(
                    "the plan in use is not in the catalogue {}",
                    catalogue.version
                ),
            });
        }
    }
    findings.sort_by(|a, b| (a.matter, &a.of).cmp(&(b.matter, &b.of)));
    findings
}

impl Audited<'_> {
    fn row(&self, row: &LimitRow, findings: &mut Vec<Finding>) {
        let of = format!("{} {} {}", row.service, row.metric, row.plan);
        let mut find = |matter, detail: String| {
            findings.push(Finding {
                matter,
                of: of.clone(),
                detail,
            });
        };
        if let Some(fault) = row.fault() {
            find(Matter::Senseless, fault);
        }
        let twin = self.rows.iter().find(|other| {
            (other.service, other.metric) == (row.service, row.metric)
                && other.plan > row.plan
                && other.plan.eq_ignore_ascii_case(&row.plan)
        });
        if let Some(twin) = twin {
            find(
                Matter::Conflict,
                format!(
                    "{} here, {} on the plan {}",
                    row.value, twin.value, twin.plan
                ),
            );
        }
        let origin = row.origin();
        if origin == Origin::Budget {
            return;
        }
        let provider = self.catalogue.provider_of(row.service);
        let plan = provider.and_then(|it| self.catalogue.plan(it, &row.plan));
        let published = plan.and_then(|plan| plan.limit(row.service, row.metric));
        if let Some(published) = published {
            let line = published.line().and_then(|line| line.to_f64());
            if line != Some(row.value) {
                let says = match line {
                    Some(line) => line.to_string(),
                    None => format!("{} included", published.included),
                };
                let source = self.catalogue.source(&published.source);
                let url = source.map_or("", |source| source.url.as_str());
                find(
                    Matter::Conflict,
                    format!("{} here, {says} by the catalogue ({url})", row.value),
                );
            }
        } else if origin == Origin::Catalogue {
            find(
                Matter::NotInCatalogue,
                format!("the catalogue {} no longer has it", self.catalogue.version),
            );
        }
        let meaning = row
            .meaning
            .as_ref()
            .filter(|_| origin != Origin::Application);
        match meaning.and_then(|meaning| meaning.source.as_ref()) {
            None if origin == Origin::Application => find(
                Matter::NoSource,
                "written by another program, that does not say from where".to_owned(),
            ),
            None => find(Matter::NoSource, "set by hand, without --source".to_owned()),
            Some(url) => {
                let date = meaning.and_then(|meaning| meaning.page_date);
                if let Some((matter, detail)) = self.page(date, url) {
                    find(matter, detail);
                }
            }
        }
    }

    fn api_limit(&self, limit: &ApiLimit, findings: &mut Vec<Finding>) {
        let of = format!("{} {} per {}", limit.api_name, limit.unit, limit.period);
        let mut find = |matter, detail: String| {
            findings.push(Finding {
                matter,
                of: of.clone(),
                detail,
            });
        };
        let (catalogue, api) = (self.catalogue, limit.api_name.as_str());
        let plan = sync::plan_of_api(catalogue, self.choices, api, self.now);
        let published = plan.and_then(|plan| {
            let mut limits = plan.api_limits.iter().filter(|it| it.enabled);
            limits.find(|it| it.period == limit.period && it.unit == limit.unit)
        });
        let says = published.and_then(|it| it.value?.to_f64());
        if let (ApiLimitOrigin::User, Some(says)) = (limit.origin, says)
            && says != limit.value
        {
            find(
                Matter::Conflict,
                format!("{} here, {says} by the catalogue", limit.value),
            );
        }
        match &limit.source {
            None => find(Matter::NoSource, "set by hand, without --source".to_owned()),
            Some(url) => {
                if let Some((matter, detail)) = self.page(limit.page_date, url) {
                    find(matter, detail);
                }
            }
        }
    }

    /// What is the matter with a page's date, if something is. Sources in the user's own words have none.
    fn page(&self, date: Option<PageDate>, url: &str) -> Option<(Matter, String)> {
        let date = date?;
        match date.earliest() {
            None => Some((Matter::Undated, format!("{url} has no date"))),
            Some(day) => {
                let age = self.now.date_naive() - day;
                let is_old = age > OLD;
                is_old.then(|| {
                    let detail = format!("{url} is of {date}, {} days old", age.num_days());
                    (Matter::OldPage, detail)
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::selection::Billing;
    use crate::domain::plans::sync::Actor;

    fn audited(at: &str, change: impl Fn(&mut Vec<LimitRow>)) -> Vec<String> {
        let catalogue = Catalogue::embedded().unwrap();
        let now = at.parse().unwrap();
        let choices = [PlanChoice {
            id: "1".to_owned(),
            provider: "upstash".to_owned(),
            plan: "free".to_owned(),
            seats: None,
            region: None,
            billing: Billing::default(),
            valid_from: DateTime::UNIX_EPOCH,
            chosen_by: "ops".to_owned(),
            created_at: DateTime::UNIX_EPOCH,
        }];
        let actor = Actor { by: "ops", now };
        let changes = sync::limits(&catalogue, &choices, &[], actor);
        let mut rows: Vec<LimitRow> = changes.into_iter().map(|change| change.row).collect();
        change(&mut rows);
        let findings = audit(Audited {
            rows: &rows,
            api_limits: &[],
            choices: &choices,
            catalogue: &catalogue,
            now,
        });
        let short = |finding: Finding| format!("{} {}", finding.matter, finding.of);
        findings.into_iter().map(short).collect()
    }

    #[test]
    fn what_is_fresh_from_the_catalogue_is_in_order_for_half_a_year() {
        let nothing: [&str; 0] = [];
        assert_eq!(audited("2026-12-15T00:00:00Z", |_| {}), nothing);
        let later = audited("2026-12-16T00:00:00Z", |_| {});
        assert_eq!(later.len(), 4);
        assert_eq!(later[0], "OLD_PAGE VERCEL_KV BANDWIDTH_GB free");
    }

    #[test]
    fn conflicts_and_missing_sources_are_found() {
        let found = audited("2026-11-22T00:00:00Z", |rows| {
            // Another program changes one; two programs spell a plan in two ways; one makes no sense.
            rows[0].value = 30.0;
            let twin = LimitRow {
                plan: "Free".to_owned(),
                meaning: None,
                ..rows[1].clone()
            };
            rows.push(twin);
            rows[2].warning_percent = f64::NAN;
        });
        let expected = [
            "SENSELESS VERCEL_KV REQUEST_COUNT free",
            "CONFLICT VERCEL_KV BANDWIDTH_GB Free",
            "CONFLICT VERCEL_KV STORAGE_MB free",
            "NO_SOURCE VERCEL_KV BANDWIDTH_GB Free",
            "NO_SOURCE VERCEL_KV STORAGE_MB free",
        ];
        assert_eq!(found, expected);
    }
}
