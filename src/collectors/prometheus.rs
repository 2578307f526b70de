//! Any exporter of Prometheus metrics, by rules that say which of its metrics is which of ours.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use super::exposition::{Exposition, Sample, selector};
use super::{CollectContext, Collected, Collector, point};
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::counter::increase;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, midnight};
use crate::http::{Client, Limit, Policy, Request, Secret, Url};

/// An exporter.
#[derive(Clone, Debug)]
pub struct Prometheus {
    pub url: Url,
    /// A token, if it wants one.
    pub token: Option<Secret>,
    /// What is taken from it.
    pub rules: Vec<MapRule>,
}

/// Which of an exporter's metrics is which of ours: `name{label="x"}=SERVICE/METRIC*scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRule {
    text: String,
    name: String,
    labels: BTreeMap<String, String>,
    /// Whether several series are added up.
    sum: bool,
    service: Service,
    metric: Metric,
    scale: f64,
}

impl FromStr for MapRule {
    type Err = String;

    fn from_str(text: &str) -> Result<MapRule, String> {
        const FORM: &str =
            "not of the form name{label=\"x\"}=SERVICE/METRIC, with *scale behind it if need be";
        let text = text.trim();
        let (inner, sum) = match text.strip_prefix("sum(") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let (name, labels, rest) = selector(inner).ok_or(FORM)?;
        let rest = match sum {
            true => rest.trim_start().strip_prefix(')').ok_or(FORM)?,
            false => rest,
        };
        let target = rest.trim_start().strip_prefix('=').ok_or(FORM)?;
        let (target, scale) = match target.split_once('*') {
            Some((target, scale)) => (target, scale.trim()),
            None => (target, "1"),
        };
        let scale: f64 = scale
            .parse()
            .map_err(|_| format!("`{scale}` is no number to multiply by"))?;
        if !scale.is_normal() {
            return Err("the number to multiply by is none, or zero".to_owned());
        }
        let (service, metric) = target.split_once('/').ok_or(FORM)?;
        Ok(MapRule {
            text: text.to_owned(),
            name,
            labels,
            sum,
            service: service.trim().parse().map_err(|error| format!("{error}"))?,
            metric: metric.trim().parse().map_err(|error| format!("{error}"))?,
            scale,
        })
    }
}

/// Reads rules from TOML: `map = ["name{label=\"x\"}=SERVICE/METRIC*scale", ...]`.
pub fn rules_from_toml(text: &str) -> Result<Vec<MapRule>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        map: Vec<String>,
    }
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let read = |rule: &String| rule.parse().map_err(|error| format!("`{rule}` is {error}"));
    file.map.iter().map(read).collect()
}

/// The largest pages of exporters have some megabytes.
const MOST_BYTES: u64 = 16 << 20;

impl Collector for Prometheus {
    fn source(&self) -> MetricSource {
        MetricSource::Prometheus
    }

    fn collect(&self, moment: &CollectContext) -> Result<Collected, CollectorError> {
        let text = self.fetch(moment)?;
        let exposition = Exposition::parse(&text);
        if exposition.samples.is_empty() {
            let hint = "see that the URL is that of the metrics, which often ends in /metrics";
            return Err(CollectorError::new(
                "there are no metrics in its answer",
                hint,
            ));
        }
        let mut told = Collected::default();
        if let Some(line) = exposition.odd_lines.first() {
            told.notes.push(format!(
                "line {line} of its answer, and perhaps more, is no metric; it is left out"
            ));
        }
        for rule in &self.rules {
            rule.apply(&exposition, moment, &mut told)?;
        }
        Ok(told)
    }
}

impl Prometheus {
    fn fetch(&self, moment: &CollectContext) -> Result<String, CollectorError> {
        let policy = Policy {
            total: moment.timeout,
            response: Limit::Whole(MOST_BYTES),
            ..Policy::default()
        };
        let mut request =
            Request::get(self.url.clone()).header("Accept", "text/plain;version=0.0.4");
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let sent = Client::new(policy).send(request);
        let response = sent.map_err(|error| {
            CollectorError::new(
                error,
                "see whether the exporter is up, and whether the URL is right",
            )
        })?;
        if !response.is_success() {
            let message = format!("{} answers {}", self.url, response.status);
            let hint = "see that the URL is that of the metrics, and set USAGECTL_PROMETHEUS_TOKEN if it wants a token";
            return Err(CollectorError::new(message, hint));
        }
        String::from_utf8(response.body).map_err(|_| {
            CollectorError::new(
                "its answer is not UTF-8",
                "see that the URL is that of the metrics",
            )
        })
    }
}

impl MapRule {
    fn apply(
        &self,
        exposition: &Exposition,
        moment: &CollectContext,
        told: &mut Collected,
    ) -> Result<(), CollectorError> {
        let matches = |sample: &&Sample| sample.is(&self.name, &self.labels);
        let series: Vec<&Sample> = exposition.samples.iter().filter(matches).collect();
        let value = match series.as_slice() {
            [] => {
                told.warnings.push(format!(
                    "nothing the exporter tells is meant by `{}`",
                    self.text
                ));
                return Ok(());
            }
            [one] => one.value,
            several if self.sum => several.iter().map(|sample| sample.value).sum(),
            several => {
                let message = format!("`{}` means {} series", self.text, several.len());
                let hint =
                    "name more labels, so that one is left, or write sum(...) to add them up";
                return Err(CollectorError::new(message, hint));
            }
        };
        let value = value * self.scale;
        if !value.is_finite() {
            told.warnings
                .push(format!("`{}` is no number at the moment", self.text));
            return Ok(());
        }
        let of = |value| -> NewPoint {
            point(
                MetricSource::Prometheus,
                self.service,
                self.metric,
                value,
                moment.now,
            )
            .with("rule", self.text.as_str())
        };
        if !exposition.is_counter(&self.name) {
            told.points.push(of(value));
            return Ok(());
        }
        // A counter of a process says nothing of a billing period: what counts is the difference.
        let epoch = exposition
            .samples
            .iter()
            .find(|sample| sample.name == "process_start_time_seconds");
        let epoch = epoch
            .map(|sample| sample.value.to_string())
            .unwrap_or_default();
        let name = format!("prometheus {}", self.text);
        let read = increase(&moment.counters, &name, &epoch, value, moment.now);
        match (read.since_last, read.today) {
            (_, Some(today)) if self.metric == Metric::CommandsPerDay => {
                told.points.push(
                    of(today)
                        .with_period_start(midnight(moment.now))
                        .with("quality", "derived"),
                );
            }
            (Some(amount), _) => {
                told.points.push(
                    of(amount)
                        .with_reading(Reading::Amount)
                        .with("quality", "derived"),
                );
            }
            _ if !read.remember.is_empty() => told.notes.push(format!(
                "`{}` is counted from now on: a counter says nothing the first time",
                self.text
            )),
            _ => {}
        }
        told.counters.extend(read.remember);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_a_metric_on_either_side() {
        let rule: MapRule =
            "node_filesystem_size_bytes{mountpoint=\"/\"}=VERCEL_POSTGRES/STORAGE_MB*1e-6"
                .parse()
                .unwrap();
        assert_eq!(rule.labels["mountpoint"], "/");
        assert_eq!(
            (rule.service, rule.metric, rule.scale, rule.sum),
            (Service::VercelPostgres, Metric::StorageMb, 1e-6, false)
        );
        assert!(
            "sum(a{b=\"=*/\"}) = vercel_kv/connections"
                .parse::<MapRule>()
                .unwrap()
                .sum
        );
        for text in [
            "",
            "a",
            "a=b",
            "a=VERCEL_KV/SPEED",
            "a=AWS/STORAGE_MB",
            "a=VERCEL_KV/STORAGE_MB*0",
            "a=VERCEL_KV/STORAGE_MB*x",
            "a{b=c}=VERCEL_KV/STORAGE_MB",
            "sum(a=VERCEL_KV/STORAGE_MB",
        ] {
            assert!(text.parse::<MapRule>().is_err(), "{text}");
        }
        assert_eq!(
            rules_from_toml("map = ['a=VERCEL_KV/STORAGE_MB']").map(|rules| rules.len()),
            Ok(1)
        );
        assert!(rules_from_toml("map = ['a']").is_err() && rules_from_toml("maps = []").is_err());
    }
}
