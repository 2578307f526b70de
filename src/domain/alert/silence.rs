//! Silences: periods in which matching rules are evaluated but send no notifications.
//!
//! A silence without a fixed end waits for episodes: those of matching rules that were open when it was added. It covers
//! all that it matches, and the check that finds the last of these episodes resolved ends it. So it requires at least
//! one, and an episode that begins after that is notified.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::rule::{AlertRef, AlertType, Rule};

/// A silence. A field that is None matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    pub id: String,
    /// A name or a pattern: `*` is any text, `?` any character.
    pub api_name: Option<String>,
    pub alert_type: Option<AlertType>,
    pub alert_id: Option<String>,
    pub starts_at: DateTime<Utc>,
    /// None while it waits for its episodes.
    pub ends_at: Option<DateTime<Utc>>,
    /// The ids of the episodes at whose end it ends; empty for one with a fixed end.
    pub episodes: BTreeSet<String>,
    pub reason: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
}

impl Silence {
    #[cfg(test)]
    pub(crate) fn sample(starts_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Silence {
        Silence {
            id: "s".to_owned(),
            api_name: None,
            alert_type: None,
            alert_id: None,
            starts_at,
            ends_at: Some(ends_at),
            episodes: BTreeSet::new(),
            reason: "release".to_owned(),
            created_by: "anna".to_owned(),
            created_at: starts_at,
        }
    }

    pub fn is_active(&self, at: DateTime<Utc>) -> bool {
        self.starts_at <= at && self.ends_at.is_none_or(|end| at < end)
    }

    /// Moves it to the episodes that replace its own, and ends it at `now` if none of them is `open`. Returns whether it
    /// changed.
    pub fn follow(
        &mut self,
        replaced: &[(String, String)],
        open: &BTreeSet<String>,
        now: DateTime<Utc>,
    ) -> bool {
        if self.ends_at.is_some() {
            return false;
        }
        let before = self.episodes.clone();
        for (old, new) in replaced {
            if self.episodes.remove(old) {
                self.episodes.insert(new.clone());
            }
        }
        if self.episodes.is_disjoint(open) {
            self.ends_at = Some(now);
        }
        self.ends_at.is_some() || self.episodes != before
    }

    /// Whether it covers `rule` for `api_name`, at any time.
    pub fn matches(&self, rule: &Rule, api_name: &str) -> bool {
        self.matches_alert(&AlertRef::new(rule, api_name))
    }

    /// Whether it covers an alert, at any time.
    pub fn matches_alert(&self, alert: &AlertRef) -> bool {
        let alert_type = self.alert_type.as_ref().map(ToString::to_string);
        let pattern = self.api_name.as_ref();
        pattern.is_none_or(|pattern| matches_pattern(pattern, &alert.api_name))
            && self
                .alert_id
                .as_ref()
                .is_none_or(|it| *it == alert.alert_id)
            && alert_type.is_none_or(|it| it == alert.alert_type)
    }
}

/// The active silence for `rule` and `api_name`; of several the one that ends last.
pub fn matching<'a>(
    silences: &'a [Silence],
    rule: &Rule,
    api_name: &str,
    at: DateTime<Utc>,
) -> Option<&'a Silence> {
    silences
        .iter()
        .filter(|silence| silence.is_active(at) && silence.matches(rule, api_name))
        .max_by_key(|silence| (silence.ends_at.is_none(), silence.ends_at))
}

/// Whether a text matches a pattern, in which `*` is any text and `?` any character.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The place after the last star, and the text that the star began at: it takes one more character on a mismatch.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                p += 1;
                star = Some((p, t));
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, begun)) = star else {
                    return false;
                };
                star = Some((after, begun + 1));
                (p, t) = (after, begun + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Period;
    use crate::domain::testing::at_ms as at;

    fn silence(api: Option<&str>, alert_type: Option<AlertType>, rule: Option<&str>) -> Silence {
        Silence {
            api_name: api.map(str::to_owned),
            alert_type,
            alert_id: rule.map(str::to_owned),
            ..Silence::sample(at(10), at(20))
        }
    }

    fn rule() -> Rule {
        Rule {
            id: "r".to_owned(),
            ..Rule::new("*", AlertType::ErrorSpike, Period::Hour, 10.0)
        }
    }

    #[test]
    fn omitted_silence_field_matches_every_alert() {
        let matches = |silence: Silence| silence.matches(&rule(), "tmdb");
        let [spike, cost] = [AlertType::ErrorSpike, AlertType::CostThreshold].map(Some);
        assert!(matches(silence(None, None, None)));
        assert!(matches(silence(Some("tmdb"), spike, Some("r"))));
        assert!(!matches(silence(Some("jikan"), None, None)));
        assert!(!matches(silence(None, cost, None)));
        assert!(!matches(silence(None, None, Some("q"))));
    }

    #[test]
    fn pattern_matches_whole_name_in_its_case() {
        let matching = [
            ("tmdb", "tmdb"),
            ("*", "tmdb"),
            ("*", ""),
            ("t*b", "tmdb"),
            ("t??b", "tmdb"),
            ("*m*b*", "tmdb"),
            ("open*", "openweather"),
            ("*er", "openweather"),
            ("*a*a*b", "aaaaab"),
            ("?", "ü"),
        ];
        for (pattern, name) in matching {
            assert!(matches_pattern(pattern, name), "{pattern} {name}");
        }
        let others = [
            ("tmdb", "TMDB"),
            ("tmdb", "tmdb2"),
            ("t?b", "tmdb"),
            ("t*x", "tmdb"),
            ("?", ""),
            ("", "t"),
            ("*a*a*b", "ab"),
        ];
        for (pattern, name) in others {
            assert!(!matches_pattern(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn silence_without_end_follows_its_episodes() {
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let mut waiting = Silence {
            ends_at: None,
            episodes: ids(&["a", "b"]),
            ..Silence::sample(at(0), at(0))
        };
        assert!(waiting.is_active(at(1_000_000)));
        assert!(!waiting.follow(&[], &ids(&["b", "z"]), at(1)));
        let moved = [("b".to_owned(), "c".to_owned())];
        assert!(waiting.follow(&moved, &ids(&["c"]), at(2)));
        assert_eq!(
            (&waiting.episodes, waiting.ends_at),
            (&ids(&["a", "c"]), None)
        );
        assert!(waiting.follow(&[], &ids(&["z"]), at(3)));
        assert_eq!(waiting.ends_at, Some(at(3)));
        assert!(!waiting.follow(&[], &ids(&[]), at(4)));
    }

    #[test]
    fn silence_includes_its_start_and_excludes_its_end() {
        let longer = Silence {
            ends_at: Some(at(30)),
            ..silence(None, None, None)
        };
        let silences = [silence(None, None, None), longer];
        let until =
            |ms| matching(&silences, &rule(), "tmdb", at(ms)).and_then(|found| found.ends_at);
        assert_eq!(until(9), None);
        assert_eq!(until(10), Some(at(30)));
        assert_eq!(until(29), Some(at(30)));
        assert_eq!(until(30), None);
    }
}
