//! Any Prometheus exporter, with rules that map its metrics to ours.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta};
use serde::Deserialize;

use super::exposition::{Exposition, Sample, selector};
use super::vendor::overload;
use super::{CollectContext, Collected, Collector, points_at};
use crate::domain::format;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::metrics::counter::increase;
use crate::domain::metrics::names::{Metric, Service};
use crate::domain::metrics::point::{NewPoint, Reading, is_measurable, midnight};
use crate::http::{Client, Limit, Policy, Request, Secret, Url};

#[derive(Clone, Debug)]
pub struct Prometheus {
    pub url: Url,
    pub token: Option<Secret>,
    pub rules: Vec<MapRule>,
}

/// Maps a metric of an exporter to one of ours: `name{label="x"}=SERVICE/METRIC*scale`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct MapRule {
    text: String,
    name: String,
    labels: BTreeMap<String, String>,
    /// Whether several matching series are added up.
    sum: bool,
    /// Whether it is a counter even if the exporter declares another type.
    counter: bool,
    service: Service,
    metric: Metric,
    scale: f64,
}

impl FromStr for MapRule {
    type Err = String;

    fn from_str(text: &str) -> Result<MapRule, String> {
        const FORM: &str = "invalid rule: expected name{label=\"x\"}=SERVICE/METRIC, optionally followed by *scale";
        let text = text.trim();
        let (inner, counter) = match text.strip_prefix("counter(") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let (inner, sum) = match inner.strip_prefix("sum(") {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let (name, labels, mut rest) = selector(inner).ok_or(FORM)?;
        for _ in 0..usize::from(counter) + usize::from(sum) {
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
            counter,
            service: service.trim().parse().map_err(|error| format!("{error}"))?,
            metric: metric.trim().parse().map_err(|error| format!("{error}"))?,
            scale,
        })
    }
}

impl TryFrom<String> for MapRule {
    type Error = String;

    fn try_from(text: String) -> Result<MapRule, String> {
        text.parse().map_err(|error| format!("`{text}`: {error}"))
    }
}

/// Reads rules from TOML: `map = ["name{label=\"x\"}=SERVICE/METRIC*scale", ...]`.
pub fn rules_from_toml(text: &str) -> Result<Vec<MapRule>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        map: Vec<MapRule>,
    }
    let file: Result<File, _> = toml::from_str(text);
    file.map(|file| file.map)
        .map_err(|error| error.message().to_owned())
}

/// The age of a sample that is no longer current. Some exporters of cloud metrics are ten minutes behind.
const STALE: TimeDelta = TimeDelta::minutes(15);

/// The largest exporters' pages have some megabytes.
const MAX_BYTES: u64 = 16 << 20;

impl Collector for Prometheus {
    fn source(&self) -> MetricSource {
        MetricSource::Prometheus
    }

    fn address(&self) -> String {
        self.url.without_query()
    }

    fn collect(&self, context: &CollectContext) -> Result<Collected, CollectorError> {
        let text = self.fetch(context)?;
        let exposition = Exposition::parse(&text);
        if exposition.samples.is_empty() {
            let hint = "see that the URL is that of the metrics, which often ends in /metrics";
            return Err(CollectorError::new("the answer has no metrics", hint));
        }
        if exposition.is_truncated {
            let message = "the answer is truncated: its last line has no end";
            let hint = "run it again; if it stays so, the exporter does not end its last line";
            return Err(CollectorError::new(message, hint));
        }
        let mut collected = Collected::default();
        for (index, rule) in self.rules.iter().enumerate() {
            let target = |it: &MapRule| (it.service, it.metric);
            let mut earlier = self.rules[..index].iter();
            if let Some(other) = earlier.find(|it| target(it) == target(rule)) {
                let (metric, one, two) = (rule.metric, &other.text, &rule.text);
                let message = format!("`{one}` and `{two}` both give {} {metric}", rule.service);
                let hint = "write sum(...) to add up series of one name, or give one of them another --resource";
                return Err(CollectorError::new(message, hint));
            }
            rule.apply(&exposition, &self.url, context, &mut collected)?;
        }
        // After the rules, whose warning is the reason if there are no values.
        if let Some(line) = exposition.invalid_lines.first() {
            let others = match exposition.invalid_lines.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let warning = format!("skipped invalid line {line}{others} of the answer");
            collected.warnings.push(warning);
        }
        Ok(collected)
    }
}

impl Prometheus {
    fn fetch(&self, context: &CollectContext) -> Result<String, CollectorError> {
        let policy = Policy {
            insecure_http: context.allow_http && self.url.is_private(),
            total: context.timeout,
            response: Limit::Whole(MAX_BYTES),
            ..Policy::default()
        };
        let mut request =
            Request::get(self.url.clone()).header("Accept", "text/plain;version=0.0.4");
        if let Some(token) = &self.token {
            request = request.bearer(token);
        }
        let client = Client::new(policy);
        client.allows(&self.url).map_err(|error| {
            let hint = match context.allow_http {
                true => "use https: --allow-http is for private addresses only",
                false => "use https, or add --allow-http for an exporter in a private network",
            };
            CollectorError::new(error, hint)
        })?;
        let response = client.send(request).map_err(|error| {
            let hint = "see whether the exporter is up, and whether the URL is right";
            CollectorError::new(error, hint)
        })?;
        let (meaning, hint) = match response.status {
            200..=299 => {
                return String::from_utf8(response.body).map_err(|_| {
                    let hint = "see that the URL is that of the metrics";
                    CollectorError::new("the answer is not UTF-8", hint)
                });
            }
            401 | 403 => {
                let hint = "set USAGECTL_PROMETHEUS_TOKEN, or key_env of the target";
                ("a valid token is required", hint.to_owned())
            }
            429 | 500.. => overload(&response),
            _ => {
                let hint = "see that the URL is that of the metrics";
                ("no metrics", hint.to_owned())
            }
        };
        let message = format!("{} answers {}: {meaning}", self.url, response.status);
        Err(CollectorError::new(message, hint))
    }
}

impl MapRule {
    fn apply(
        &self,
        exposition: &Exposition,
        url: &Url,
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
        let mut times = series.iter().filter_map(|sample| sample.at);
        if let Some(at) = times.find(|at| (context.now - *at).abs() > STALE) {
            let (at, most) = (format::time(at), format::duration(STALE));
            let warning =
                format!("`{text}` has a sample of {at}, more than {most} from now: left out");
            collected.warnings.push(warning);
            return Ok(());
        }
        let value = value * self.scale;
        if !is_measurable(value) {
            let warning = format!("`{text}` currently has the value {value:?}");
            collected.warnings.push(warning);
            return Ok(());
        }
        let new_at = |value, at| -> NewPoint {
            let new = points_at(MetricSource::Prometheus, self.service, at);
            new(self.metric, value).with("rule", text.as_str())
        };
        let new = |value| new_at(value, context.now);
        if !self.counter && !exposition.is_counter(&self.name) {
            collected.points.push(new(value));
            return Ok(());
        }
        // A process counter has no billing period: its increase is what counts.
        let start = |sample: &&Sample| sample.name == "process_start_time_seconds";
        let start = exposition.samples.iter().find(start);
        let epoch = start.map_or_else(String::new, |sample| sample.value.to_string());
        let started = start.and_then(|it| DateTime::from_timestamp(it.value as i64, 0));
        let uptime = started.map(|started| context.now - started);
        let name = format!("prometheus {} {text}", url.without_query());
        let read = increase(&context.counters, &name, &epoch, value, uptime, context.now);
        let points: Vec<NewPoint> = match read.today {
            Some(today) if self.metric == Metric::CommandsPerDay => {
                let days = read.earlier.iter().copied().chain([(context.now, today)]);
                let of_day = |(at, used)| new_at(used, at).with_period_start(midnight(at));
                days.map(of_day).collect()
            }
            _ => {
                let amounts = read.amounts.iter().map(|(at, amount)| new_at(*amount, *at));
                amounts.map(|it| it.with_reading(Reading::Amount)).collect()
            }
        };
        if let Some(last) = read.too_long_since {
            let last = format::time(last);
            let warning = format!(
                "`{text}`: the counter was last read at {last}; its increase since then is unknown"
            );
            collected.warnings.push(warning);
        } else if points.is_empty() && !read.remember.is_empty() {
            let note = "first reading of a counter; values begin with the next one";
            collected.notes.push(format!("`{text}`: {note}"));
        }
        let points = points.into_iter().map(|it| it.with("quality", "derived"));
        collected.points.extend(points);
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
        let target = (rule.service, rule.metric, rule.scale, rule.sum);
        let expected = (Service::VercelPostgres, Metric::StorageMb, 1e-6, false);
        assert_eq!(target, expected);
        assert!(parsed("sum(a{b=\"=*/\"}) = vercel_kv/connections").sum);
        let rule = parsed("counter(sum(a))=VERCEL_KV/CONNECTIONS");
        assert!(rule.sum && rule.counter && parsed("counter(a)=VERCEL_KV/CONNECTIONS").counter);
        let rule = parsed("sum({\"my.metric\",a=\"b\"})=VERCEL_KV/CONNECTIONS");
        assert_eq!(
            (rule.name.as_str(), rule.labels["a"].as_str()),
            ("my.metric", "b")
        );
        let invalid = "|a|a=b|a=VERCEL_KV/SPEED|a=AWS/STORAGE_MB|a=VERCEL_KV/STORAGE_MB*0|a=VERCEL_KV/STORAGE_MB*x\
            |a{b=c}=VERCEL_KV/STORAGE_MB|sum(a=VERCEL_KV/STORAGE_MB|counter(sum(a)=VERCEL_KV/STORAGE_MB";
        for text in invalid.split('|') {
            assert!(text.parse::<MapRule>().is_err(), "{text}");
        }
        let rules = rules_from_toml("map = ['a=VERCEL_KV/STORAGE_MB']");
        assert_eq!(rules.map(|rules| rules.len()), Ok(1));
        assert!(rules_from_toml("map = ['a']").is_err() && rules_from_toml("maps = []").is_err());
    }
}
