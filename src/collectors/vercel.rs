//! Vercel's bills, in the FOCUS format. Vercel revises them for some days, so the last ones are read again.

use chrono::{DateTime, TimeDelta, Utc};

use super::vendor::{encoded, query};
use super::{CollectContext, Collected, Collector, Endpoint};
use crate::domain::format;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::focus_bill::{Bill, Charge, CostKind};
use crate::domain::metrics::point::midnight;
use crate::ingest::{self, Format, Input, InputFailure, ReadError, Refusal, TimeOptions};

#[derive(Clone, Debug)]
pub struct Vercel {
    pub endpoint: Endpoint,
    pub team: Option<String>,
}

/// The past days that the API answers with.
const LONGEST: TimeDelta = TimeDelta::days(365);

impl Collector for Vercel {
    fn source(&self) -> MetricSource {
        MetricSource::Vercel
    }

    fn address(&self) -> String {
        self.team.clone().unwrap_or_default()
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let today = midnight(context.now);
        let time = |at: DateTime<Utc>| encoded(&format::time_ms(at));
        let from = time(context.first_day(LONGEST));
        let to = time(today + TimeDelta::days(1));
        let team = query(&[("teamId", self.team.as_deref())]);
        let path = format!("/v1/billing/charges?from={from}&to={to}{team}");
        let response = self.endpoint.get(&path, context.timeout)?;
        // The answer while there is no bill yet: on free plans, and in the first hours of a month.
        const NO_COSTS: &[u8] = b"costs_not_found";
        let mut words = response.body.windows(NO_COSTS.len());
        if response.status == 404 && words.any(|word| word == NO_COSTS) {
            return Ok(Collected {
                notes: vec!["Vercel reports no charges".to_owned()],
                ..Collected::default()
            });
        }
        let body = self.endpoint.content(response)?;
        self.endpoint.reject_html(&body)?;
        let bill = self.bill(body, context)?;
        let unknown = bill.unknown_services();
        Ok(Collected {
            points: bill.points("vercel", "", CostKind::Billed),
            warnings: unknown.iter().map(ToString::to_string).collect(),
            revises: true,
            ..Collected::default()
        })
    }
}

impl Vercel {
    /// Reads the whole bill, or fails: a part of it would add up to a wrong sum.
    fn bill(&self, body: Vec<u8>, context: &CollectContext) -> Result<Bill, CollectorError> {
        let times = TimeOptions {
            max_future: TimeDelta::days(1),
            ..TimeOptions::new(context.now)
        };
        let bill = Bill::new(context.meters.clone(), context.now);
        let mut bill = bill.asked_from(context.first_day(LONGEST));
        let input = Input::text("the answer", body);
        let format = Some(Format::Ndjson);
        let read = ingest::read_lines::<Charge, _>(input, format, &times, &mut |found| {
            let Refusal { line, problem, .. } = match found {
                Ok(mut charge) => {
                    let provider = &mut charge.owner.provider;
                    if provider.is_empty() {
                        *provider = "Vercel".to_owned();
                    }
                    bill.add(&charge);
                    return Ok(());
                }
                Err(refusal) => refusal,
            };
            let field = problem.field.unwrap_or_else(|| "the line".to_owned());
            let what = problem.message;
            Err(format!("line {line} of the answer: {field} {what}"))
        });
        let failure = match read {
            Ok(()) => return Ok(bill),
            Err(ReadError::Stopped(what)) => what,
            Err(ReadError::Input(InputFailure { line, reason, .. })) => {
                format!("the answer {reason} at line {line}")
            }
        };
        Err(self.endpoint.error(failure, "run it again later"))
    }
}
