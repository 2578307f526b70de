//! The numbers of `stats` in Prometheus's text format. They are gauges of a window, since counters must never fall.

use std::fmt::Write;

use super::stats::StatsAnswer;
use crate::domain::usage::rollup::Rollup;
use crate::domain::usage::stats::Grouping;

/// A metric: its name and help, and its samples of a roll-up, each with a label if it has one.
type Metric = (&'static str, &'static str, fn(&Rollup) -> Vec<Sample>);

type Sample = (Option<(&'static str, &'static str)>, f64);

fn one(value: f64) -> Vec<Sample> {
    vec![(None, value)]
}

fn maybe(value: Option<u64>) -> Vec<Sample> {
    value
        .into_iter()
        .map(|value| (None, value as f64))
        .collect()
}

const METRICS: [Metric; 7] = [
    (
        "usagectl_window_requests",
        "Requests in the window.",
        |sum| one(sum.total_requests as f64),
    ),
    (
        "usagectl_window_failed_requests",
        "Failed requests in the window.",
        |sum| one(sum.error_count as f64),
    ),
    (
        "usagectl_window_class_errors",
        "Errors in the window by class; a request may be in several.",
        |sum| {
            let errors = &sum.errors;
            let classes = [
                ("rate_limit", errors.rate_limit),
                ("timeout", errors.timeout),
                ("server", errors.server),
                ("client", errors.client),
                ("network", errors.network),
                ("other", errors.other),
            ];
            let sample = |(name, count)| (Some(("class", name)), count as f64);
            classes.map(sample).to_vec()
        },
    ),
    (
        "usagectl_window_cached_requests",
        "Requests in the window answered from a cache.",
        |sum| one(sum.cached_count as f64),
    ),
    (
        "usagectl_window_cost_credits",
        "Credits that the requests in the window cost.",
        |sum| one(sum.total_cost.to_f64()),
    ),
    (
        "usagectl_window_request_size_bytes",
        "Bytes sent in the window, if known.",
        |sum| maybe(sum.request_bytes),
    ),
    (
        "usagectl_window_response_size_bytes",
        "Bytes received in the window, if known.",
        |sum| maybe(sum.response_bytes),
    ),
];

pub(super) fn exposition(answer: &StatsAnswer) -> String {
    let mut text = String::new();
    let seconds = (answer.window.to - answer.window.from).num_milliseconds() as f64 / 1000.0;
    let end = answer.window.to.timestamp_millis() as f64 / 1000.0;
    for (name, help, value) in [
        (
            "usagectl_window_length_seconds",
            "Length of the window.",
            seconds,
        ),
        (
            "usagectl_window_end_timestamp_seconds",
            "End of the window.",
            end,
        ),
    ] {
        header(&mut text, name, help, "gauge");
        sample(&mut text, name, "", value);
    }
    for (name, help, samples) in METRICS {
        header(&mut text, name, help, "gauge");
        for (labels, rollup) in lines(answer) {
            for (label, value) in samples(rollup) {
                let more = label.map(|(name, value)| format!(",{name}=\"{value}\""));
                sample(
                    &mut text,
                    name,
                    &(labels.clone() + &more.unwrap_or_default()),
                    value,
                );
            }
        }
    }
    if !answer.limits.is_empty() {
        let name = "usagectl_rate_limit_used_ratio";
        header(
            &mut text,
            name,
            "Used share of a rate limit in its own window.",
            "gauge",
        );
        for (api, limit) in answer
            .limits
            .iter()
            .flat_map(|(api, all)| all.iter().map(move |it| (api, it)))
        {
            if let Some(used) = limit.utilization() {
                let labels = format!("api=\"{}\",period=\"{}\"", escaped(api), limit.period);
                sample(&mut text, name, &labels, used);
            }
        }
    }
    let name = "usagectl_window_response_time_seconds";
    header(&mut text, name, "Response times in the window.", "summary");
    for (labels, rollup) in lines(answer) {
        let times = &rollup.response_times;
        for (permille, quantile) in [(500, "0.5"), (950, "0.95"), (990, "0.99")] {
            if let Some(ms) = times.quantile(permille) {
                let labels = format!("{labels},quantile=\"{quantile}\"");
                sample(&mut text, name, &labels, f64::from(ms) / 1000.0);
            }
        }
        sample(
            &mut text,
            &format!("{name}_sum"),
            &labels,
            times.sum as f64 / 1000.0,
        );
        sample(
            &mut text,
            &format!("{name}_count"),
            &labels,
            times.count as f64,
        );
    }
    text
}

fn lines(answer: &StatsAnswer) -> impl Iterator<Item = (String, &Rollup)> {
    let label = match answer.grouping {
        Grouping::Api | Grouping::Endpoint => "endpoint",
        Grouping::User => "user",
        Grouping::Method => "method",
        Grouping::Status => "status",
        Grouping::ErrorType => "error_type",
        Grouping::Hour => "hour",
        Grouping::Day => "day",
    };
    answer.found.lines.iter().map(move |((api, value), line)| {
        let api = format!("api=\"{}\"", escaped(api));
        let value = format!("{label}=\"{}\"", escaped(value));
        let labels = match answer.grouping {
            Grouping::Api => api,
            Grouping::Endpoint => format!("{api},{value}"),
            _ => value,
        };
        (labels, &line.rollup)
    })
}

fn header(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    let labels = match labels {
        "" => String::new(),
        labels => format!("{{{labels}}}"),
    };
    let _ = writeln!(text, "{name}{labels} {value}");
}

/// A label value: the format escapes three characters.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
