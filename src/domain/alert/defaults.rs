//! The default rules of `alerts init`, taken from the application.

use super::rule::{AlertType, Rule};
use crate::domain::period::Period;

#[derive(Clone, Debug, PartialEq)]
pub struct DefaultRule {
    /// Without an id.
    pub rule: Rule,
    pub why: &'static str,
}

/// The application warned at 60 to 80 percent of each API's calls per minute, depending on what happens above the
/// limit.
pub fn default_rules() -> Vec<DefaultRule> {
    use AlertType::{CostThreshold, ErrorSpike, RateLimitWarning};
    use Period::{Day, Hour, Minute};
    let rules = [
        (
            "finnhub",
            RateLimitWarning,
            80.0,
            Minute,
            "calls beyond the limit are answered with 429 and work again a minute later",
        ),
        (
            "coinmarketcap",
            RateLimitWarning,
            70.0,
            Minute,
            "how many calls a minute allows depends on the key, and its pages disagree",
        ),
        (
            "rawg",
            RateLimitWarning,
            80.0,
            Minute,
            "it counts by the month; the minute is a pace of your own",
        ),
        (
            "tmdb",
            RateLimitWarning,
            80.0,
            Minute,
            "its ceiling is soft and far away",
        ),
        (
            "jikan",
            RateLimitWarning,
            60.0,
            Minute,
            "it allows three calls a second, so that a burst is refused before the minute is full",
        ),
        (
            "espn",
            RateLimitWarning,
            60.0,
            Minute,
            "nothing is promised: who is noticed may be shut out for good",
        ),
        (
            "openweather",
            RateLimitWarning,
            70.0,
            Minute,
            "a key that goes on beyond the limit is blocked",
        ),
        (
            "openweather",
            RateLimitWarning,
            90.0,
            Day,
            "calls beyond the free ones of a day are charged",
        ),
        (
            "finnhub",
            ErrorSpike,
            10.0,
            Hour,
            "a few failures an hour are usual, ten are not",
        ),
        (
            "coinmarketcap",
            CostThreshold,
            8_000.0,
            Day,
            "more than half of a month's free credits in a day",
        ),
    ];
    rules
        .into_iter()
        .map(
            |(api_name, alert_type, threshold, period, why)| DefaultRule {
                rule: Rule::new(api_name, alert_type, period, threshold),
                why,
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn default_rules_are_valid_and_unique() {
        let usual = default_rules();
        let places: BTreeSet<_> = usual.iter().map(|usual| usual.rule.place()).collect();
        assert_eq!(places.len(), usual.len());
        for DefaultRule { rule, .. } in &usual {
            assert_eq!(rule.validate(), Ok(()), "{rule}");
            assert_eq!(rule.warning(), None, "{rule}");
        }
    }
}
