//! Reasons not to rely on the stored limits.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

use super::api_limit::{ApiLimit, ApiLimitOrigin};
use super::catalogue::Catalogue;
use super::limit::{self, LimitFault, LimitRow, Origin};
use super::selection::{self, PlanSelection};
use super::source::{Citation, PageDate};
use super::sync;
use crate::domain::format::number;
use crate::domain::named::named;

/// The age from which on a page may be outdated.
pub const OLD: TimeDelta = TimeDelta::days(180);

named! {
    /// The kind of a finding, from the worst.
    Issue, "issue" {
        /// Usage cannot be compared with it.
        Invalid = "INVALID",
        /// Two sources differ.
        Conflict = "CONFLICT",
        NotInCatalogue = "NOT_IN_CATALOGUE",
        /// No plan is selected.
        NoPlan = "NO_PLAN",
        NoSource = "NO_SOURCE",
        /// Its page is older than [`OLD`].
        OldPage = "OLD_PAGE",
        /// Its page has no date.
        Undated = "UNDATED",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub issue: Issue,
    /// The limit or plan.
    pub of: String,
    pub detail: String,
}

/// The values that are audited.
#[derive(Clone, Copy, Debug)]
pub struct AuditInput<'a> {
    pub rows: &'a [LimitRow],
    pub api_limits: &'a [ApiLimit],
    pub selections: &'a [PlanSelection],
    pub catalogue: &'a Catalogue,
    pub now: DateTime<Utc>,
}

/// Audits every limit and plan in use; the worst findings come first.
pub fn audit(input: AuditInput<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |of: &str, found: Vec<(Issue, String)>| {
        findings.extend(found.into_iter().map(|(issue, detail)| Finding {
            issue,
            of: of.to_owned(),
            detail,
        }));
    };
    for row in input.rows {
        let of = format!("{} {} {}", row.service, row.metric, row.plan);
        add(&of, input.row(row));
    }
    for limit in input.api_limits {
        let of = format!("{} {} per {}", limit.api_name, limit.unit, limit.period);
        add(&of, input.api_limit(limit));
    }
    let (selections, catalogue, now) = (input.selections, input.catalogue, input.now);
    for limit in limit::in_force(input.rows, selections, catalogue, now) {
        if let Some(fault @ LimitFault::NoPlan(_)) = limit.fault {
            let of = format!("{} {}", limit.service, limit.metric);
            add(&of, vec![(Issue::NoPlan, fault.to_string())]);
        }
    }
    for selected in selection::in_use(selections, now) {
        if catalogue.plan(&selected.provider, &selected.plan).is_none() {
            let of = format!("{} {}", selected.provider, selected.plan);
            let version = &catalogue.version;
            let detail = format!("the plan in use is not in catalogue {version}");
            add(&of, vec![(Issue::NotInCatalogue, detail)]);
        }
    }
    findings.sort_by(|a, b| (a.issue, &a.of).cmp(&(b.issue, &b.of)));
    findings
}

impl AuditInput<'_> {
    fn row(&self, row: &LimitRow) -> Vec<(Issue, String)> {
        let mut found = Vec::new();
        if let Some(fault) = row.fault() {
            found.push((Issue::Invalid, fault.to_string()));
        }
        let here = number(row.value);
        let twin = self.rows.iter().find(|other| {
            (other.service, other.metric) == (row.service, row.metric)
                && other.plan > row.plan
                && other.plan.eq_ignore_ascii_case(&row.plan)
        });
        if let Some(twin) = twin {
            let other = number(twin.value);
            let detail = format!("stored {here}; {other} on plan {}", twin.plan);
            found.push((Issue::Conflict, detail));
        }
        let origin = row.origin();
        if origin == Origin::Budget {
            return found;
        }
        let provider = self.catalogue.provider_of(row.service);
        let plan = provider.and_then(|provider| self.catalogue.plan(provider, &row.plan));
        if let Some(published) = plan.and_then(|plan| plan.limit(row.service, row.metric)) {
            let line = published.line().and_then(|line| line.to_f64());
            if line != Some(row.value) {
                let published_value = match line {
                    Some(line) => number(line),
                    None => format!("{} included", published.included),
                };
                let page = self.catalogue.source(&published.cited.source);
                let page = page.map_or_else(String::new, |page| format!(" ({})", page.url));
                let detail = format!("stored {here}; catalogue {published_value}{page}");
                found.push((Issue::Conflict, detail));
            }
        } else if origin == Origin::Catalogue {
            let version = &self.catalogue.version;
            found.push((Issue::NotInCatalogue, format!("not in catalogue {version}")));
        }
        found.extend(self.source(&row.citation(), origin == Origin::Application));
        found
    }

    fn api_limit(&self, limit: &ApiLimit) -> Vec<(Issue, String)> {
        let plan = sync::plan_of_api(self.catalogue, self.selections, &limit.api_name, self.now);
        let published = plan.and_then(|plan| {
            let mut limits = plan.api_limits_in_use();
            limits.find(|it| it.period == limit.period && it.unit == limit.unit)
        });
        let published = published.and_then(|it| it.value?.to_f64());
        let mut found = Vec::new();
        if let (ApiLimitOrigin::User, Some(value)) = (limit.origin, published)
            && value != limit.value
        {
            let (here, value) = (number(limit.value), number(value));
            found.push((Issue::Conflict, format!("stored {here}; catalogue {value}")));
        }
        found.extend(self.source(&limit.citation, false));
        found
    }

    /// The finding about a source, if any. A source in the user's own words needs no date.
    fn source(&self, citation: &Citation, by_other_program: bool) -> Option<(Issue, String)> {
        let Some(url) = &citation.source else {
            let detail = if by_other_program {
                "written by another program, without a source"
            } else {
                "set by hand, without a source"
            };
            return Some((Issue::NoSource, detail.to_owned()));
        };
        let date = citation.page_date?;
        let mut sources = self.catalogue.sources.iter();
        let read = sources.find(|it| it.url == *url && it.page_date == date);
        page(url, date, read.map(|it| it.read_on), self.now.date_naive())
    }
}

/// The finding about the page of a source, if any.
pub fn page(
    url: &str,
    date: PageDate,
    read_on: Option<NaiveDate>,
    today: NaiveDate,
) -> Option<(Issue, String)> {
    let day = match date {
        PageDate::Day(day) | PageDate::Month(day) => Some(day),
        // The day it was read is more precise.
        PageDate::Year(_) | PageDate::Undated => read_on.or(date.earliest()),
    };
    let age = day.map(|day| today - day).filter(|age| *age > OLD);
    if let Some(age) = age {
        let detail = format!("{url} is of {date}, {} days old", age.num_days());
        return Some((Issue::OldPage, detail));
    }
    let read = read_on.map_or(String::new(), |day| format!(", read on {day}"));
    let detail = format!("{url} has no date{read}");
    (date == PageDate::Undated).then_some((Issue::Undated, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plans::sync::Signature;

    fn audited(at: &str, change: impl Fn(&mut Vec<LimitRow>)) -> Vec<String> {
        let catalogue = Catalogue::embedded().unwrap();
        let now = at.parse().unwrap();
        let selections = [PlanSelection::sample("upstash", "free")];
        let signature = Signature { by: "ops", now };
        let changes = sync::limits(&catalogue, &selections, None, &[], signature);
        let mut rows: Vec<LimitRow> = changes.into_iter().map(|change| change.row).collect();
        change(&mut rows);
        let findings = audit(AuditInput {
            rows: &rows,
            api_limits: &[],
            selections: &selections,
            catalogue: &catalogue,
            now,
        });
        let short = |finding: Finding| format!("{} {}", finding.issue, finding.of);
        findings.into_iter().map(short).collect()
    }

    #[test]
    fn catalogue_rows_are_fine_until_their_pages_are_180_days_old() {
        let nothing: [&str; 0] = [];
        assert_eq!(audited("2026-12-15T00:00:00Z", |_| {}), nothing);
        let later = audited("2026-12-16T00:00:00Z", |_| {});
        assert_eq!(later.len(), 4);
        assert_eq!(later[0], "OLD_PAGE VERCEL_KV BANDWIDTH_GB free");
    }

    #[test]
    fn page_without_a_date_is_undated_and_old_by_the_day_it_was_read() {
        let [read, today] = ["2026-01-01", "2026-06-30"].map(|day| day.parse().unwrap());
        let issue = |date: &str, read_on, today| {
            let date = date.parse().unwrap();
            page("https://example.com", date, read_on, today)
        };
        let (kind, detail) = issue("undated", Some(read), today).unwrap();
        let expected = "https://example.com has no date, read on 2026-01-01";
        assert_eq!((kind, detail.as_str()), (Issue::Undated, expected));
        assert_eq!(issue("2026", Some(read), today), None);
        let later = today + TimeDelta::days(1);
        for date in ["undated", "2026", "2026-01"] {
            let (kind, _) = issue(date, Some(read), later).unwrap();
            assert_eq!(kind, Issue::OldPage, "{date}");
        }
        assert_eq!(issue("undated", None, later).unwrap().0, Issue::Undated);
    }

    #[test]
    fn conflicts_and_missing_sources_are_found() {
        let found = audited("2026-11-22T00:00:00Z", |rows| {
            // A value changed by another program, two spellings of a plan, and an invalid threshold.
            rows[0].value = 30.0;
            let twin = LimitRow {
                plan: "Free".to_owned(),
                details: None,
                ..rows[1].clone()
            };
            rows.push(twin);
            rows[2].warning_percent = f64::NAN;
        });
        let expected = [
            "INVALID VERCEL_KV REQUEST_COUNT free",
            "CONFLICT VERCEL_KV BANDWIDTH_GB Free",
            "CONFLICT VERCEL_KV STORAGE_MB free",
            "NO_SOURCE VERCEL_KV BANDWIDTH_GB Free",
            "NO_SOURCE VERCEL_KV STORAGE_MB free",
        ];
        assert_eq!(found, expected);
    }
}
