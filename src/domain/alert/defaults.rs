//! The default rules of `alerts init`, taken from the application.

use super::rule::{AlertType, Rule};
use crate::domain::period::Period;

#[derive(Clone, Debug, PartialEq)]
pub struct DefaultRule {
    /// Without an id.
    pub rule: Rule,
    pub why: &'static str,
}

/// API, type, period, threshold and the reason for it. The application warned at 60 to 80 percent of each API's calls per
/// minute, depending on what happens above the limit.
const RULES: &str = "\
finnhub RATE_LIMIT_WARNING MINUTE 80: calls beyond the limit are answered with 429 and work again a minute later
coinmarketcap RATE_LIMIT_WARNING MINUTE 70: how many calls a minute allows depends on the key, and its pages disagree
rawg RATE_LIMIT_WARNING MINUTE 80: it counts by the month; the minute is a pace of your own
tmdb RATE_LIMIT_WARNING MINUTE 80: its ceiling is soft and far away
jikan RATE_LIMIT_WARNING MINUTE 60: it allows three calls a second, so that a burst is refused before the minute is full
espn RATE_LIMIT_WARNING MINUTE 60: nothing is promised: who is noticed may be shut out for good
openweather RATE_LIMIT_WARNING MINUTE 70: a key that goes on beyond the limit is blocked
openweather RATE_LIMIT_WARNING DAY 90: calls beyond the free ones of a day are charged
finnhub ERROR_SPIKE HOUR 10: a few failures an hour are usual, ten are not
coinmarketcap COST_THRESHOLD DAY 8000: more than half of a month's free credits in a day";

pub fn default_rules() -> Vec<DefaultRule> {
    let parse = |line: &'static str| {
        let (place, why) = line.split_once(": ")?;
        let [api_name, alert_type, period, threshold] =
            place.splitn(4, ' ').collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let (alert_type, period) = (AlertType::named(alert_type), Period::named(period));
        let rule = Rule::new(api_name, alert_type, period, threshold.parse().ok()?);
        Some(DefaultRule { rule, why })
    };
    RULES.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn default_rules_are_valid_and_unique() {
        let usual = default_rules();
        let places: BTreeSet<_> = usual.iter().map(|usual| usual.rule.place()).collect();
        assert_eq!((places.len(), usual.len()), (10, RULES.lines().count()));
        for DefaultRule { rule, .. } in &usual {
            assert_eq!(rule.validate(), Ok(()), "{rule}");
            assert_eq!(rule.warning(), None, "{rule}");
        }
    }
}
