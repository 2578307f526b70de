//! What the commands of `recommend` answer.

pub mod backtest;
pub mod forecast;
pub mod history;
pub mod inputs;
pub mod list;
pub mod run;
pub mod show;
pub mod step;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::domain::recommendation::Recommendation;

/// A moment, to the second.
fn spelled(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The plan in use and the one to change to; what else is to be done stands where there is no other plan.
pub fn plans(it: &Recommendation) -> String {
    match it.facts().map(|facts| &facts.target) {
        Some(choice) => format!("{} -> {choice}", it.current_plan),
        None if it.current_plan == it.recommended_plan => it.current_plan.clone(),
        None => format!("{} -> {}", it.current_plan, it.recommended_plan),
    }
}

/// How much of an id must be typed: the shortest beginning, of eight characters at least, that no other id has.
pub fn short_id<'a>(id: &'a str, all: &[String]) -> &'a str {
    const SHORTEST: usize = 8;
    let shared = |other: &String| {
        let same = id.bytes().zip(other.bytes());
        same.take_while(|(a, b)| a == b).count()
    };
    let others = all.iter().filter(|other| *other != id);
    let needed = others.map(|other| shared(other) + 1).max().unwrap_or(0);
    let end = needed.max(SHORTEST);
    // Ids that are not ours may have signs of several bytes.
    (end..id.len()).find_map(|end| id.get(..end)).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_shown_as_far_as_it_tells_it_from_the_others() {
        let ids = [
            "0123456789",
            "0123456788",
            "abc",
            "ünïcödéé-1",
            "ünïcödéé-2",
        ];
        let all: Vec<String> = ids.map(str::to_owned).to_vec();
        assert_eq!(short_id("0123456789", &all), "0123456789");
        assert_eq!(short_id("0123456789", &all[..1]), "01234567");
        assert_eq!(short_id("abc", &all), "abc");
        assert_eq!(short_id("ünïcödéé-1", &all), "ünïcödéé-1");
    }
}
