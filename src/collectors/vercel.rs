//! Vercel's bills, in the FOCUS format. They are revised for some days: the last three are read again.

use chrono::{SecondsFormat, TimeDelta};

use super::vendor::encoded;
use super::{CollectContext, Collected, Collector, Endpoint};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::focus_bill::{Bill, Charge};
use crate::domain::metrics::point::midnight;
use crate::ingest::{self, Broken, Format, Found, Input, Rules};

/// How Vercel is asked.
#[derive(Clone, Debug)]
pub struct Vercel {
    pub endpoint: Endpoint,
    /// The team, whose bill it is.
    pub team: Option<String>,
}

/// Days that may still be revised.
const LAST_DAYS: TimeDelta = TimeDelta::days(3);

impl Collector for Vercel {
    fn source(&self) -> MetricSource {
        MetricSource::Vercel
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let today = midnight(moment.now);
        let stamp = |at: chrono::DateTime<chrono::Utc>| {
            encoded(&at.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        let (from, to) = (stamp(today - LAST_DAYS), stamp(today + TimeDelta::days(1)));
        let mut path = format!("/v1/billing/charges?from={from}&to={to}");
        if let Some(team) = &self.team {
            path.push_str(&format!("&teamId={}", encoded(team)));
        }
        let response = self.endpoint.get(&path, moment.timeout)?;
        // So it says that there is no bill yet: free plans, and the first hours of a month.
        if response.status == 404 && contains(&response.body, b"costs_not_found") {
            return Ok(Collected {
                notes: vec!["Vercel has no charges to tell of".to_owned()],
                ..Collected::default()
            });
        }
        let body = self.endpoint.content(response)?;
        self.endpoint.not_a_page(&body)?;
        let bill = self.bill(body, moment)?;
        let warn = |name: String| {
            format!(
                "`{name}` on the bill is no service that is known here; its cost is in the sum, its amounts are in the metadata only"
            )
        };
        Ok(Collected {
            points: bill.points("vercel", ""),
            warnings: bill.left_out().into_iter().map(warn).collect(),
            revises: true,
            ..Collected::default()
        })
    }
}

impl Vercel {
    /// Reads the whole bill: a part of it would be a wrong sum.
    fn bill(&self, body: Vec<u8>, moment: &CollectContext) -> Result<Bill, CollectorError> {
        let rules = Rules {
            now: moment.now,
            max_future: TimeDelta::days(1),
            time_unit: None,
            assumed_zone: None,
        };
        let mut bill = Bill::default();
        let input = Input::text("the answer", body);
        let read = ingest::read_lines::<Charge, CollectorError>(
            input,
            Some(Format::Ndjson),
            &rules,
            &mut |found| {
                match found {
                    Found::Good(charge) => bill.add(&charge),
                    Found::Refused(refusal) => {
                        let problem = refusal.problem;
                        let field = problem.field.unwrap_or_else(|| "it".to_owned());
                        let what = format!(
                            "line {} of its answer: {field} {}",
                            refusal.line, problem.message
                        );
                        return Err(self.endpoint.failure(what, "run it again later"));
                    }
                }
                Ok(())
            },
        );
        match read {
            Ok(()) => Ok(bill),
            Err(Broken::Taker(failure)) => Err(failure),
            Err(Broken::Input(line, reason)) => {
                let what = format!("its answer {reason} at line {line}");
                Err(self.endpoint.failure(what, "run it again later"))
            }
        }
    }
}

fn contains(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|window| window == word)
}
