//! Routes: which thresholds of a rule notify which channel.
//!
//! A threshold notifies the channels that it names; one that names none notifies those of its rule, or all. A channel
//! with a minimum severity is not notified of thresholds of a lower one.
//!
//! A channel sees the rule as if it had the thresholds of its route only. The episode that it is notified of begins when
//! the lowest of them is reached and ends when that is left, even if the rule goes on firing; if it is reached again,
//! that is another episode, with an id of its own. The severity and the threshold of a notice are those of the highest
//! reached threshold in the route, so that a channel for warnings never sees a critical alert.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{Rule, Severity, Threshold};

/// The thresholds of a rule that notify a channel, the lowest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub channel: String,
    first: RouteThreshold,
    higher: Vec<RouteThreshold>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouteThreshold {
    pub value: f64,
    pub severity: Severity,
    pub is_lowest: bool,
}

impl RouteThreshold {
    fn lowest(rule: &Rule) -> RouteThreshold {
        RouteThreshold {
            value: rule.threshold,
            severity: rule.settings.severity,
            is_lowest: true,
        }
    }

    fn higher(threshold: &Threshold) -> RouteThreshold {
        RouteThreshold {
            value: threshold.value,
            severity: threshold.severity,
            is_lowest: false,
        }
    }

    /// Its value if it is above the lowest threshold of the rule: that identifies its stage.
    pub fn stage(&self) -> Option<f64> {
        (!self.is_lowest).then_some(self.value)
    }
}

impl Route {
    /// The route of a channel that is notified of all thresholds.
    pub fn whole(rule: &Rule, channel: &str) -> Route {
        let higher = rule.settings.higher.iter().map(RouteThreshold::higher);
        Route {
            channel: channel.to_owned(),
            first: RouteThreshold::lowest(rule),
            higher: higher.collect(),
        }
    }

    fn new(channel: &str, thresholds: Vec<RouteThreshold>) -> Option<Route> {
        let mut thresholds = thresholds.into_iter();
        Some(Route {
            channel: channel.to_owned(),
            first: thresholds.next()?,
            higher: thresholds.collect(),
        })
    }

    pub fn first(&self) -> RouteThreshold {
        self.first
    }

    /// Its highest threshold that is reached, and the number of those that are. `stage` is the highest threshold of
    /// the rule that is reached, if it is above the lowest.
    pub fn reached(&self, stage: Option<f64>) -> (RouteThreshold, u32) {
        let is_reached = |it: &&RouteThreshold| stage.is_some_and(|stage| it.value <= stage);
        let higher: Vec<_> = self.higher.iter().take_while(is_reached).collect();
        let highest = higher.last().map_or(self.first, |highest| **highest);
        (highest, 1 + u32::try_from(higher.len()).unwrap_or(u32::MAX))
    }
}

/// The routes of a rule, by channel. `all` are the names of all channels.
pub fn routes(
    rule: &Rule,
    all: &[String],
    min_severities: &BTreeMap<String, Severity>,
) -> Vec<Route> {
    let of_rule = if rule.channels.is_empty() {
        all
    } else {
        &rule.channels
    };
    let higher = rule.settings.higher.iter().map(|it| &it.channels);
    let named = higher.chain([&rule.settings.lowest_channels]).flatten();
    let channels: BTreeSet<&String> = of_rule.iter().chain(named).collect();
    let route = |channel: &String| {
        let least = min_severities.get(channel).copied();
        let notifies = |channels: &[String], severity: Severity| {
            let channels = if channels.is_empty() {
                of_rule
            } else {
                channels
            };
            channels.contains(channel) && least.is_none_or(|least| severity >= least)
        };
        Route::new(channel, thresholds(rule, notifies))
    };
    channels.into_iter().filter_map(route).collect()
}

/// Whether a threshold has no existing channel. `all` are the names of all channels.
pub fn is_muted(rule: &Rule, all: &[String]) -> bool {
    rule.thresholds().iter().any(|threshold| {
        let named = [&threshold.channels, &rule.channels];
        match named.into_iter().find(|names| !names.is_empty()) {
            Some(names) => !names.iter().any(|name| all.contains(name)),
            None => all.is_empty(),
        }
    })
}

/// The thresholds for whose channels and severity `notifies` is true.
fn thresholds(rule: &Rule, notifies: impl Fn(&[String], Severity) -> bool) -> Vec<RouteThreshold> {
    let settings = &rule.settings;
    let lowest = RouteThreshold::lowest(rule);
    let lowest = notifies(&settings.lowest_channels, lowest.severity).then_some(lowest);
    let higher = settings.higher.iter();
    let higher = higher.filter(|it| notifies(&it.channels, it.severity));
    let higher = higher.map(RouteThreshold::higher);
    lowest.into_iter().chain(higher).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::rule::AlertType;
    use crate::domain::period::Period;

    fn shown(rule: &Rule, all: &[&str], min: &[(&str, Severity)]) -> Vec<(String, Vec<f64>)> {
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        let min = min.iter().map(|(name, least)| ((*name).to_owned(), *least));
        let routes = routes(rule, &all, &min.collect());
        let values = |route: &Route| {
            let higher = route.higher.iter().map(|it| it.value);
            std::iter::once(route.first.value).chain(higher).collect()
        };
        let shown = routes
            .iter()
            .map(|route| (route.channel.clone(), values(route)));
        shown.collect()
    }

    fn to(channel: &str, values: &[f64]) -> (String, Vec<f64>) {
        (channel.to_owned(), values.to_vec())
    }

    #[test]
    fn threshold_notifies_its_channels_or_those_of_the_rule() {
        let mut rule = Rule::new("tmdb", AlertType::CostThreshold, Period::Day, 1.0);
        rule.set_thresholds(vec![
            Threshold::sample(100.0, Severity::Critical, &["pager"]),
            Threshold::sample(50.0, Severity::Warning, &["slack"]),
            Threshold::sample(80.0, Severity::Warning, &[]),
        ]);
        let all = ["mail", "pager", "slack"];
        let expected = [
            to("mail", &[80.0]),
            to("pager", &[80.0, 100.0]),
            to("slack", &[50.0, 80.0]),
        ];
        assert_eq!(shown(&rule, &all, &[]), expected);
        rule.channels = vec!["slack".to_owned()];
        let expected = [to("pager", &[100.0]), to("slack", &[50.0, 80.0])];
        assert_eq!(shown(&rule, &all, &[]), expected);
    }

    #[test]
    fn rule_is_muted_if_no_channel_of_a_threshold_exists() {
        let mut rule = Rule::new("tmdb", AlertType::CostThreshold, Period::Day, 1.0);
        let muted = |rule: &Rule, all: &[&str]| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            is_muted(rule, &all)
        };
        assert!(muted(&rule, &[]) && !muted(&rule, &["mail"]));
        rule.channels = vec!["slack".to_owned(), "mail".to_owned()];
        assert!(muted(&rule, &["pager"]) && !muted(&rule, &["mail"]));
        rule.set_thresholds(vec![
            Threshold::sample(50.0, Severity::Warning, &[]),
            Threshold::sample(100.0, Severity::Critical, &["pager"]),
        ]);
        assert!(muted(&rule, &["mail"]) && !muted(&rule, &["mail", "pager"]));
    }

    #[test]
    fn reached_threshold_is_the_highest_of_the_route() {
        let mut rule = Rule::new("tmdb", AlertType::CostThreshold, Period::Day, 1.0);
        rule.set_thresholds(vec![
            Threshold::sample(50.0, Severity::Warning, &[]),
            Threshold::sample(80.0, Severity::Warning, &["x"]),
            Threshold::sample(100.0, Severity::Critical, &[]),
        ]);
        let all = ["ops".to_owned()];
        let routes = routes(&rule, &all, &BTreeMap::new());
        let reached = |stage| {
            let (highest, number) = routes[0].reached(stage);
            (highest.value, number)
        };
        let found = [None, Some(80.0), Some(100.0)].map(reached);
        assert_eq!(found, [(50.0, 1), (50.0, 1), (100.0, 2)]);
    }
}
