//! How to read the rows of some hours with few searches and without reading much else.

use std::collections::BTreeMap;

use super::rollup::ApiPeriod;
use crate::domain::period::{Granularity, Window};

/// Which rows to read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Those of one API, or of all.
    pub api_name: Option<String>,
    /// Those of this stretch of time.
    pub window: Window,
}

/// The slices that together hold the rows of all `hours`, of which none are listed twice. `apis` is how
/// many APIs there are.
///
/// A stretch of hours of one API is one search of the index of API and time. When most of a stretch is
/// wanted for most APIs, one walk through time reads each page once and is several times faster; it may
/// bring rows that nobody asked for.
pub fn slices(hours: &[ApiPeriod], apis: usize) -> Vec<Slice> {
    let mut by_api: BTreeMap<&str, Vec<Window>> = BTreeMap::new();
    let mut sorted: Vec<&ApiPeriod> = hours.iter().collect();
    sorted.sort();
    for hour in &sorted {
        let window = Window {
            from: hour.start,
            to: Granularity::Hourly.end_of(hour.start),
        };
        let stretches = by_api.entry(&hour.api_name).or_default();
        match stretches.last_mut() {
            Some(last) if last.to == window.from => last.to = window.to,
            _ => stretches.push(window),
        }
    }
    let stretches = by_api.values().map(Vec::len).sum::<usize>();
    if let [first, .., last] = sorted.as_slice()
        && stretches > 1
    {
        let whole = Window {
            from: first.start,
            to: Granularity::Hourly.end_of(last.start),
        };
        let length = Granularity::Hourly.count_between(whole.from, whole.to);
        if hours.len() * 2 >= length * apis.max(by_api.len()) {
            return vec![Slice {
                api_name: None,
                window: whole,
            }];
        }
    }
    let slice = |(api, stretches): (&str, Vec<Window>)| {
        let api_name = Some(api.to_owned());
        let slice = move |window| Slice {
            api_name: api_name.clone(),
            window,
        };
        stretches.into_iter().map(slice)
    };
    by_api.into_iter().flat_map(slice).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        start + TimeDelta::hours(hour)
    }

    fn hours(api: &str, hours: impl IntoIterator<Item = i64>) -> Vec<ApiPeriod> {
        let period = |hour| ApiPeriod {
            start: at(hour),
            api_name: api.to_owned(),
        };
        hours.into_iter().map(period).collect()
    }

    fn slice(api: Option<&str>, from: i64, to: i64) -> Slice {
        Slice {
            api_name: api.map(str::to_owned),
            window: Window {
                from: at(from),
                to: at(to),
            },
        }
    }

    #[test]
    fn neighbouring_hours_of_one_api_are_read_at_once() {
        let wanted = hours("tmdb", [3, 4, 5, 9]);
        let expected = [slice(Some("tmdb"), 3, 6), slice(Some("tmdb"), 9, 10)];
        assert_eq!(slices(&wanted, 7), expected);
        assert_eq!(
            slices(&hours("tmdb", 0..24), 1),
            [slice(Some("tmdb"), 0, 24)]
        );
        assert_eq!(slices(&[], 7), []);
    }

    #[test]
    fn most_hours_of_most_apis_are_one_walk_through_time() {
        let wanted = [hours("finnhub", 0..24), hours("tmdb", 2..24)].concat();
        assert_eq!(slices(&wanted, 3), [slice(None, 0, 24)]);
    }

    #[test]
    fn hours_of_few_apis_among_many_are_searched_one_by_one() {
        let wanted = [hours("finnhub", [7]), hours("tmdb", [7])].concat();
        let expected = [slice(Some("finnhub"), 7, 8), slice(Some("tmdb"), 7, 8)];
        assert_eq!(slices(&wanted, 7), expected);
    }
}
