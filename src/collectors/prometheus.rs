//! Any Prometheus exporter, with rules that map its metrics to ours.

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

#[derive(Clone, Debug)]
pub struct Prometheus {
    pub url: Url,
    pub token: Option<Secret>,
    pub rules: Vec<MapRule>,
}

/// Maps a metric of an exporter to one of ours: `name{label="x"}=SERVICE/METRIC*scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRule {
    text: String,
    name: String,
    labels: BTreeMap<String, String>,
    /// Whether several matching series are added up.
    sum: bool,
    service: Service,
    metric: Metric,
    scale: f64,
}

impl FromStr for MapRule {
    type Err = String;

    fn from_str(text: &str) -> Result<MapRule, String> {
        const FORM: &str = "invalid rule: expected name{label=\"x\"}=SERVICE/METRIC, optionally followed by *scale";
        let text = text.trim();
        let (inner, sum) = match text.strip_prefix("sum(") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let (name, labels, mut rest) = selector(inner).ok_or(FORM)?;
        if sum {
            rest = rest.trim_start().strip_prefix(')').ok_or(FORM)?;
        }
        let target = rest.trim_start().strip_prefix('=').ok_or(FORM)?;
        let (target, scale) = target.split_once('*').unwrap_or((target, "1"));
        let scale = scale.trim();
        let number = scale.parse().ok().filter(|scale: &f64| scale.is_normal());
        let scale = number
            .ok_or_else(|| format!("invalid scale `{scale}`: expected a number other than zero"))?;
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
    let read = |rule: &String| rule.parse().map_err(|error| format!("`{rule}`: {error}"));
    file.map.iter().map(read).collect()
}

/// The largest exporters' pages have some megabytes.
const MAX_BYTES: u64 = 16 << 20;

impl Collector for Prometheus {
    fn source(&self) -> MetricSource {
        MetricSource::Prometheus
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let text = self.fetch(context)?;
        let exposition = Exposition::parse(&text);
        if exposition.samples.is_empty() {
            let hint = "see that the URL is that of the metrics, which often ends in /metrics";
            return Err(CollectorError::new("the answer has no metrics", hint));
        }
        let mut collected = Collected::default();
        if let Some(line) = exposition.invalid_lines.first() {
            let others = match exposition.invalid_lines.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let note = format!("skipped invalid line {line}{others} of the answer");
            collected.notes.push(note);
        }
        for rule in &self.rules {
            rule.apply(&exposition, context, &mut collected)?;
        }
        Ok(collected)
    }
}

impl Prometheus {
    fn fetch(&self, context: &CollectContext) -> Result<String, CollectorError> {
        let policy = Policy {
            total: context.timeout,
            response: Limit::Whole(MAX_BYTES),
            ..Policy::default()
        };
        let mut request =
            Request::get(self.url.clone()).header("Accept", "text/plain;version=0.0.4");
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let response = Client::new(policy).send(request).map_err(|error| {
            let hint = "see whether the exporter is up, and whether the URL is right";
            CollectorError::new(error, hint)
        })?;
        if !response.is_success() {
            let message = format!("{} answers {}", self.url, response.status);
            let hint = "see that the URL is that of the metrics; set USAGECTL_PROMETHEUS_TOKEN if it requires a token";
            return Err(CollectorError::new(message, hint));
        }
        String::from_utf8(response.body).map_err(|_| {
            let hint = "see that the URL is that of the metrics";
            CollectorError::new("the answer is not UTF-8", hint)
        })
    }
}

impl MapRule {
    fn apply(
        &self,
        exposition: &Exposition,
        context: &CollectContext,
        collected: &mut Collected,
    ) -> Result<(), CollectorError> {
        let text = &self.text;
        let matches = |sample: &&Sample| sample.matches(&self.name, &self.labels);
        let series: Vec<&Sample> = exposition.samples.iter().filter(matches).collect();
        let value = match series.as_slice() {
            [] => {
                let warning = format!("`{text}` matches no series of the exporter");
                collected.warnings.push(warning);
                return Ok(());
            }
            [one] => one.value,
            several if self.sum => several.iter().map(|sample| sample.value).sum(),
            several => {
                let message = format!("`{text}` matches {} series", several.len());
                let hint = "add labels so that one is left, or write sum(...) to add them up";
                return Err(CollectorError::new(message, hint));
            }
        };
        let value = value * self.scale;
        if !value.is_finite() {
            let warning = format!("`{text}` currently has the value {value}");
            collected.warnings.push(warning);
            return Ok(());
        }
        let new_at = |value, at| -> NewPoint {
            let source = MetricSource::Prometheus;
            point(source, self.service, self.metric, value, at).with("rule", text.as_str())
        };
        let new = |value| new_at(value, context.now);
        if !exposition.is_counter(&self.name) {
            collected.points.push(new(value));
            return Ok(());
        }
        // A process counter has no billing period: its increase is what counts.
        let start = |sample: &&Sample| sample.name == "process_start_time_seconds";
        let start = exposition.samples.iter().find(start);
        let epoch = start.map_or_else(String::new, |sample| sample.value.to_string());
        let name = format!("prometheus {text}");
        let read = increase(&context.counters, &name, &epoch, value, None, context.now);
        let points: Vec<NewPoint> = match read.today {
            Some(today) if self.metric == Metric::CommandsPerDay => {
                vec![new(today).with_period_start(midnight(context.now))]
            }
            _ => {
                let amounts = read.amounts.iter();
                let point =
                    |(at, amount): &(_, f64)| new_at(*amount, *at).with_reading(Reading::Amount);
                amounts.map(point).collect()
            }
        };
        if points.is_empty() && !read.remember.is_empty() {
            let note =
                format!("`{text}`: first reading of a counter; values begin with the next one");
            collected.notes.push(note);
        }
        let points = points.into_iter();
        collected
            .points
            .extend(points.map(|point| point.with("quality", "derived")));
        collected.counters.extend(read.remember);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_maps_a_metric_with_labels_and_scale() {
        let parsed = |text: &str| text.parse::<MapRule>().unwrap();
        let rule = parsed("node_size_bytes{mountpoint=\"/\"}=VERCEL_POSTGRES/STORAGE_MB*1e-6");
        assert_eq!(rule.labels["mountpoint"], "/");
        assert_eq!(
            (rule.service, rule.metric, rule.scale, rule.sum),
            (Service::VercelPostgres, Metric::StorageMb, 1e-6, false)
        );
        assert!(parsed("sum(a{b=\"=*/\"}) = vercel_kv/connections").sum);
        let invalid = "|a|a=b|a=VERCEL_KV/SPEED|a=AWS/STORAGE_MB|a=VERCEL_KV/STORAGE_MB*0|a=VERCEL_KV/STORAGE_MB*x\
            |a{b=c}=VERCEL_KV/STORAGE_MB|sum(a=VERCEL_KV/STORAGE_MB";
        for text in invalid.split('|') {
            assert!(text.parse::<MapRule>().is_err(), "{text}");
        }
        assert_eq!(
            rules_from_toml("map = ['a=VERCEL_KV/STORAGE_MB']").map(|rules| rules.len()),
            Ok(1)
        );
        assert!(rules_from_toml("map = ['a']").is_err() && rules_from_toml("maps = []").is_err());
    }
}
