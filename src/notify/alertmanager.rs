//! Prometheus Alertmanager, version 2 of its API.
//!
//! Alertmanager identifies an alert by its labels, so they stay the same during an episode: rule, API and
//! severity. When a warning becomes critical, the warning ends and the critical alert begins, in
//! one request; routing trees distinguish them by `severity`, as they do for Prometheus's own alerts.
//!
//! Alertmanager resolves an alert that is not sent again. Each `check` and `deliver` therefore repeats the firing
//! alerts with their current values, each time with an end as far ahead as the channel's `--hold`. A resolved alert
//! is sent with its end in the data; Alertmanager notifies of it if it notified of the firing one.
//!
//! An episode that began and ended between two checks is sent as an alert that ends soon after: Alertmanager
//! ignores alerts that had ended before it received them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::endpoint::{Endpoint, JSON};
use super::{Failure, Message};
use crate::domain::alert::channel::Alertmanager;
use crate::domain::alert::condition::{LIMIT, RECOMMENDATION};
use crate::domain::alert::delivery::{Notice, later};
use crate::domain::alert::notice::{Content, NoticeKind};
use crate::domain::alert::rule::Severity;
use crate::domain::format;
use crate::domain::named::Named;

/// The lifetime of an alert that has already resolved: longer than the usual `group_wait`.
const MISSED_LASTS: TimeDelta = TimeDelta::minutes(5);

/// The labels that every alert has.
pub const OWN_LABELS: [&str; 6] = ["alertname", "api", "type", "period", "severity", "rule"];

const PER_REQUEST: usize = 200;

/// An Alertmanager with its secrets read.
pub struct Receiver<'a> {
    endpoint: Endpoint,
    settings: &'a Alertmanager,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

impl Receiver<'_> {
    pub(super) fn open(settings: &Alertmanager) -> Result<Receiver<'_>, String> {
        Ok(Receiver {
            endpoint: Endpoint::open(&settings.http, "/api/v2/alerts")?,
            settings,
        })
    }

    /// The time after which a notice is sent: in at most two requests.
    pub(super) fn timeout(&self) -> Duration {
        self.endpoint.timeout().saturating_mul(2)
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), Failure> {
        message
            .contents()
            .try_for_each(|content| self.send_one(content, &message.earlier, message.at))
    }

    /// Sends a notice. `earlier` are those of its episode that may have been sent before.
    fn send_one(
        &self,
        content: &Content,
        earlier: &[Notice],
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let is_missed = matches!(content.kind, NoticeKind::Missed | NoticeKind::Late);
        if is_missed && !earlier.is_empty() {
            // A failed attempt may have created an alert that ends much later.
            let end = content.ended_at.unwrap_or(content.created_at);
            self.post(&self.ended(content, earlier, end), now)?;
        }
        self.post(&self.alerts(content, earlier, now), now)
    }

    /// Sends firing alerts again.
    pub(super) fn hold(&self, firing: &[Notice], now: DateTime<Utc>) -> Result<(), Failure> {
        let end = self.held_until(now);
        let alerts: Vec<Alert> = firing
            .iter()
            .map(|notice| self.alert(&notice.content, notice.content.severity, end))
            .collect();
        alerts
            .chunks(PER_REQUEST)
            .try_for_each(|alerts| self.post(alerts, now))
    }

    fn post(&self, alerts: &[Alert], at: DateTime<Utc>) -> Result<(), Failure> {
        let body = serde_json::to_vec(alerts).map_err(Failure::of_notice)?;
        self.endpoint.post(JSON, body, &[], at).map(drop)
    }

    fn held_until(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let hold = i64::try_from(self.settings.hold_ms).ok();
        later(
            now,
            hold.and_then(TimeDelta::try_milliseconds)
                .unwrap_or(TimeDelta::MAX),
        )
    }

    fn alerts(&self, content: &Content, earlier: &[Notice], now: DateTime<Utc>) -> Vec<Alert> {
        match content.kind {
            NoticeKind::Firing | NoticeKind::Reminder | NoticeKind::Unknown => {
                let others = earlier
                    .iter()
                    .filter(|notice| notice.content.severity != content.severity);
                let mut alerts = self.ended(content, others, content.created_at);
                alerts.push(self.alert(content, content.severity, self.held_until(now)));
                alerts
            }
            NoticeKind::Resolved | NoticeKind::Known => {
                let end = content.ended_at.unwrap_or(content.created_at);
                let ended = self.ended(content, earlier, end);
                if ended.is_empty() {
                    vec![self.alert(content, content.severity, end)]
                } else {
                    ended
                }
            }
            NoticeKind::Missed | NoticeKind::Late | NoticeKind::Skipped | NoticeKind::Test => {
                vec![self.alert(content, content.severity, later(now, MISSED_LASTS))]
            }
        }
    }

    /// An end for each severity that may have been sent as firing, and for no other: Alertmanager notifies of every
    /// end that it receives.
    fn ended<'n>(
        &self,
        content: &Content,
        earlier: impl IntoIterator<Item = &'n Notice>,
        end: DateTime<Utc>,
    ) -> Vec<Alert> {
        let firing = earlier
            .into_iter()
            .filter(|notice| !notice.content.kind.is_last());
        let sent: BTreeSet<Severity> = firing.map(|notice| notice.content.severity).collect();
        sent.into_iter()
            .map(|severity| self.alert(content, severity, end))
            .collect()
    }

    fn alert(&self, content: &Content, severity: Severity, end: DateTime<Utc>) -> Alert {
        let number = |value: Option<f64>| value.map(|value| value.to_string());
        // A rule that fires may be unknown at the same time: these are two alerts.
        let name = match content.kind {
            NoticeKind::Unknown | NoticeKind::Known => "UNKNOWN",
            _ => &content.alert.alert_type,
        };
        let own = self.settings.labels.iter().cloned();
        let mut labels: BTreeMap<String, String> = own.collect();
        for (name, value) in [
            ("alertname", alert_name(name)),
            ("api", content.alert.api_name.clone()),
            ("type", content.alert.alert_type.clone()),
            ("period", content.alert.period.clone()),
            ("severity", severity.as_str().to_ascii_lowercase()),
            ("rule", content.alert.alert_id.clone()),
        ] {
            labels.insert(name.to_owned(), value);
        }
        let annotations = [
            ("summary", Some(content.summary.clone())),
            ("value", number(content.observed.value)),
            ("threshold", number(content.observed.threshold)),
            ("limit", number(content.observed.limit_value)),
            ("reason", content.reason.map(|reason| reason.to_string())),
            ("episode", Some(content.episode.clone())),
            ("key", Some(content.key.clone())),
            ("ended_at", content.ended_at.map(format::time_ms)),
        ];
        let given = annotations.into_iter();
        Alert {
            labels,
            annotations: given.filter_map(|(n, value)| Some((n, value?))).collect(),
            starts_at: format::time_ms(content.fired_at),
            // One that ends before it began is refused.
            ends_at: format::time_ms(end.max(later(content.fired_at, TimeDelta::milliseconds(1)))),
        }
    }
}

/// `RATE_LIMIT_WARNING` as Prometheus's users name alerts: `ApiRateLimitWarning`. Of a condition, `CapacityLimit`.
fn alert_name(alert_type: &str) -> String {
    let words = alert_type.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        let rest = letters.map(|letter| letter.to_ascii_lowercase());
        first.into_iter().chain(rest).collect::<String>()
    });
    let subject = match alert_type {
        LIMIT | RECOMMENDATION => "Capacity",
        _ => "Api",
    };
    format!("{subject}{}", words.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::channel::{Address, HttpSettings};
    use crate::domain::alert::notice::sample;

    fn settings() -> Alertmanager {
        Alertmanager {
            http: HttpSettings {
                address: Address::Url("http://127.0.0.1:9093".to_owned()),
                auth: None,
                insecure_http: false,
                timeout_ms: 1_000,
            },
            hold_ms: 3_600_000,
            labels: vec![("team".to_owned(), "payments".to_owned())],
        }
    }

    fn of(kind: NoticeKind, severity: Severity) -> Content {
        Content {
            severity,
            ..sample(kind)
        }
    }

    /// Severity and minutes from the beginning of the episode to the end of each alert.
    fn sent(content: &Content, earlier: &[Content]) -> Vec<(String, i64)> {
        let settings = settings();
        let receiver = Receiver::open(&settings).unwrap();
        let earlier: Vec<Notice> = earlier
            .iter()
            .map(|content| Notice::new(content.clone(), 1, "am"))
            .collect();
        let now = content.created_at + TimeDelta::minutes(2);
        let alerts = receiver.alerts(content, &earlier, now);
        let minutes = |alert: &Alert| {
            let end: DateTime<Utc> = alert.ends_at.parse().unwrap();
            (end - content.fired_at).num_minutes()
        };
        let alerts = alerts.iter();
        alerts
            .map(|alert| (alert.labels["severity"].clone(), minutes(alert)))
            .collect()
    }

    #[test]
    fn firing_alert_ends_far_ahead_and_resolved_alert_at_its_end() {
        let firing = of(NoticeKind::Firing, Severity::Warning);
        assert_eq!(sent(&firing, &[]), [("warning".to_owned(), 62)]);
        let resolved = Content {
            ended_at: Some(firing.fired_at + TimeDelta::minutes(7)),
            ..of(NoticeKind::Resolved, Severity::Warning)
        };
        assert_eq!(sent(&resolved, &[firing]), [("warning".to_owned(), 7)]);
        let missed = of(NoticeKind::Missed, Severity::Warning);
        assert_eq!(sent(&missed, &[]), [("warning".to_owned(), 7)]);
    }

    #[test]
    fn labels_are_constant_during_an_episode() {
        let settings = settings();
        let receiver = Receiver::open(&settings).unwrap();
        let labels = |kind| {
            let mut content = of(kind, Severity::Warning);
            content.observed.value = Some(99.0);
            let mut alerts = receiver.alerts(&content, &[], content.created_at);
            alerts.remove(0).labels
        };
        let first = labels(NoticeKind::Firing);
        let unknown = labels(NoticeKind::Unknown);
        assert_eq!(unknown["alertname"], "ApiUnknown");
        for kind in NoticeKind::ALL {
            let expected = match kind {
                NoticeKind::Unknown | NoticeKind::Known => &unknown,
                _ => &first,
            };
            assert_eq!(labels(*kind), *expected);
        }
        assert_eq!(first["alertname"], "ApiRateLimitWarning");
        assert_eq!(first["team"], "payments");
    }
}
