//! The roll-up of the rows of one period.
//!
//! A [`Rollup`] holds the complete state, so that two of them merge into the roll-up of all their rows: hours
//! into days, days into months, endpoints into an API, in any order. Averages and percentiles are computed
//! from it when they are shown.
//!
//! The counting rules are those of the application that writes the rows. It counts errors by error type and
//! status, whether or not the row is marked as a success, and the classes overlap: a TIMEOUT with status 504
//! is a timeout and a server error. The classes may therefore sum to more than `error_count`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::credits::Credits;
use super::endpoint::{EndpointNames, OTHER, template};
use super::histogram::Histogram;
use super::record::error_type;
use crate::domain::format::DASH;
use crate::domain::period::{Calendar, Granularity};

/// The columns of a row of `api_usage` that a roll-up counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call<'a> {
    pub success: bool,
    pub status_code: Option<i64>,
    /// Milliseconds.
    pub response_time: Option<i64>,
    /// Bytes.
    pub request_size: Option<i64>,
    /// Bytes.
    pub response_size: Option<i64>,
    pub error_type: Option<&'a str>,
    /// Credits the provider charges for this call.
    pub cost_credits: Option<f64>,
    pub cached: bool,
}

/// The sums of a number of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    pub total_requests: u64,
    pub success_count: u64,
    pub error_count: u64,
    pub cached_count: u64,
    pub errors: ErrorClasses,
    pub response_times: ResponseTimes,
    /// Nothing if no call has a size.
    pub request_bytes: Option<u64>,
    pub response_bytes: Option<u64>,
    /// Zero when no call has a cost.
    pub total_cost: Credits,
    /// The part of it that calls answered from a cache cost. The application's table lacks it.
    pub cached_cost: Credits,
}

/// The roll-up of an API and those of its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRollup {
    pub total: Rollup,
    /// By endpoint, which is empty for calls without one.
    pub endpoints: BTreeMap<String, Rollup>,
}

/// Errors by class. A row may be in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorClasses {
    pub rate_limit: u64,
    pub timeout: u64,
    /// Type SERVER_ERROR, or status 500 or higher.
    pub server: u64,
    /// Type CLIENT_ERROR. The application's table lacks this class and the next two.
    pub client: u64,
    pub network: u64,
    /// Failed and in no other class.
    pub other: u64,
}

/// Response times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseTimes {
    /// Calls that have a response time.
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
    pub histogram: Histogram,
}

/// Numbers of values that cannot be summed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Costs that are not finite or beyond [`LARGEST_COST`](super::credits::LARGEST_COST).
    pub costs: u64,
    /// Response times that are negative or do not fit the column of the aggregates.
    pub response_times: u64,
}

impl Rollup {
    /// Counts one call. An invalid cost or response time of it is left out.
    pub fn add(&mut self, call: &Call<'_>, left_out: &mut LeftOut) {
        self.total_requests += 1;
        self.success_count += u64::from(call.success);
        self.error_count += u64::from(!call.success);
        self.cached_count += u64::from(call.cached);
        self.errors.add(call);
        if let Some(ms) = call.response_time {
            match i32::try_from(ms).ok().and_then(|ms| u32::try_from(ms).ok()) {
                Some(ms) => self.response_times.add(ms),
                None => left_out.response_times += 1,
            }
        }
        let bytes = [&mut self.request_bytes, &mut self.response_bytes];
        for (sum, size) in bytes
            .into_iter()
            .zip([call.request_size, call.response_size])
        {
            // A negative size is not a size.
            let size = size.and_then(|size| u64::try_from(size).ok());
            *sum = combined(*sum, size, u64::saturating_add);
        }
        if let Some(cost) = call.cost_credits {
            match Credits::from_f64(cost) {
                Some(cost) => {
                    self.total_cost = self.total_cost.plus(cost);
                    if call.cached {
                        self.cached_cost = self.cached_cost.plus(cost);
                    }
                }
                None => left_out.costs += 1,
            }
        }
    }

    pub fn merge(&mut self, other: &Rollup) {
        self.combine(other, u64::saturating_add);
        let (times, others) = (&mut self.response_times, &other.response_times);
        // Not Option's own order, in which None is the smallest.
        times.min = times.min.into_iter().chain(others.min).min();
        times.max = times.max.max(others.max);
        times.histogram.merge(&others.histogram);
        self.total_cost = self.total_cost.plus(other.total_cost);
        self.cached_cost = self.cached_cost.plus(other.cached_cost);
    }

    /// Takes away calls that were counted. The shortest and the longest response time stay, unless no call with a
    /// response time is left.
    pub fn subtract(&mut self, other: &Rollup) {
        self.combine(other, u64::saturating_sub);
        let times = &mut self.response_times;
        times.histogram.subtract(&other.response_times.histogram);
        if times.count == 0 {
            (times.min, times.max) = (None, None);
        }
        self.total_cost = self.total_cost.minus(other.total_cost);
        self.cached_cost = self.cached_cost.minus(other.cached_cost);
    }

    /// Combines each count. Without overflow: stored counts that were tampered with may have any size.
    fn combine(&mut self, other: &Rollup, combine: fn(u64, u64) -> u64) {
        let counts = |rollup: &Rollup| {
            let Rollup {
                errors,
                response_times: times,
                ..
            } = rollup;
            [
                rollup.total_requests,
                rollup.success_count,
                rollup.error_count,
                rollup.cached_count,
                errors.rate_limit,
                errors.timeout,
                errors.server,
                errors.client,
                errors.network,
                errors.other,
                times.count,
                times.sum,
            ]
        };
        let others = counts(other);
        let Rollup {
            errors,
            response_times: times,
            ..
        } = self;
        let counts = [
            &mut self.total_requests,
            &mut self.success_count,
            &mut self.error_count,
            &mut self.cached_count,
            &mut errors.rate_limit,
            &mut errors.timeout,
            &mut errors.server,
            &mut errors.client,
            &mut errors.network,
            &mut errors.other,
            &mut times.count,
            &mut times.sum,
        ];
        for (count, other) in counts.into_iter().zip(others) {
            *count = combine(*count, other);
        }
        self.request_bytes = combined(self.request_bytes, other.request_bytes, combine);
        self.response_bytes = combined(self.response_bytes, other.response_bytes, combine);
    }

    /// The first number in which the roll-up differs from the `found` one.
    pub fn difference(&self, found: &Rollup) -> Option<Difference> {
        if self == found {
            return None;
        }
        let numbers = |rollup: &Rollup| {
            let times = &rollup.response_times;
            [
                ("total_requests", rollup.total_requests.to_string()),
                ("success_count", rollup.success_count.to_string()),
                ("error_count", rollup.error_count.to_string()),
                ("cached_count", rollup.cached_count.to_string()),
                ("rate_limit_errors", rollup.errors.rate_limit.to_string()),
                ("timeout_errors", rollup.errors.timeout.to_string()),
                ("server_errors", rollup.errors.server.to_string()),
                ("client_errors", rollup.errors.client.to_string()),
                ("network_errors", rollup.errors.network.to_string()),
                ("other_errors", rollup.errors.other.to_string()),
                ("total_cost", rollup.total_cost.to_string()),
                ("cached_cost", rollup.cached_cost.to_string()),
                ("response_time_count", times.count.to_string()),
                ("response_time_sum", times.sum.to_string()),
                ("min_response_time", or_dash(times.min)),
                ("max_response_time", or_dash(times.max)),
                ("median_response_time", or_dash(times.quantile(500))),
                ("request_bytes", or_dash(rollup.request_bytes)),
                ("response_bytes", or_dash(rollup.response_bytes)),
            ]
        };
        first_difference(numbers(self), numbers(found)).or_else(|| {
            let size = |rollup: &Rollup| {
                format!("{} bytes", rollup.response_times.histogram.encode().len())
            };
            Some(Difference {
                field: "response_time_histogram",
                stored: size(self),
                found: size(found),
            })
        })
    }

    /// The share of calls that failed, from 0 to 1; unknown without calls.
    pub fn error_rate(&self) -> Option<f64> {
        ratio(self.error_count, self.total_requests)
    }

    /// The share of calls answered from a cache, from 0 to 1; unknown without calls.
    pub fn cache_hit_rate(&self) -> Option<f64> {
        ratio(self.cached_count, self.total_requests)
    }
}

/// A number that differs from the expected one, or from that of another row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name of its column.
    pub field: &'static str,
    pub stored: String,
    pub found: String,
}

/// The first of the `stored` numbers that differs from the `found` one.
pub(super) fn first_difference<const N: usize>(
    stored: [(&'static str, String); N],
    found: [(&'static str, String); N],
) -> Option<Difference> {
    let mut pairs = stored.into_iter().zip(found);
    let ((field, stored), (_, found)) = pairs.find(|(stored, found)| stored.1 != found.1)?;
    Some(Difference {
        field,
        stored,
        found,
    })
}

pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| DASH.to_owned(), |value| value.to_string())
}

impl ApiRollup {
    /// The first number in which the roll-up, or that of an endpoint, differs from the `found` one.
    pub fn difference(&self, found: &ApiRollup) -> Option<Difference> {
        let none = Rollup::default();
        let endpoints: BTreeSet<&String> = self
            .endpoints
            .keys()
            .chain(found.endpoints.keys())
            .collect();
        self.total.difference(&found.total).or_else(|| {
            endpoints.into_iter().find_map(|endpoint| {
                let stored = self.endpoints.get(endpoint).unwrap_or(&none);
                stored.difference(found.endpoints.get(endpoint).unwrap_or(&none))
            })
        })
    }

    /// The roll-up of an endpoint, added if it has none.
    pub fn endpoint(&mut self, endpoint: &str) -> &mut Rollup {
        self.endpoints.entry(endpoint.to_owned()).or_default()
    }

    pub fn merge(&mut self, other: &ApiRollup) {
        self.total.merge(&other.total);
        for (endpoint, rollup) in &other.endpoints {
            self.endpoint(endpoint).merge(rollup);
        }
    }

    /// Takes away calls that were counted.
    pub fn subtract(&mut self, other: &ApiRollup) {
        self.total.subtract(&other.total);
        for (endpoint, rollup) in &other.endpoints {
            // They may have been counted under another name.
            let names = [endpoint, &*template(endpoint)];
            let name = names
                .into_iter()
                .find(|name| self.endpoints.contains_key(*name));
            if let Some(own) = name.and_then(|name| self.endpoints.get_mut(name)) {
                own.subtract(rollup);
            }
        }
        self.endpoints.retain(|_, own| own.total_requests > 0);
    }

    /// Keeps the endpoints with the most requests, and counts the calls of the others as one.
    pub fn cap(&mut self, most: u32) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if self.endpoints.len() <= most {
            return;
        }
        let mut by_requests: Vec<(String, Rollup)> =
            std::mem::take(&mut self.endpoints).into_iter().collect();
        // A stable sort: of equal ones the first by name stay.
        by_requests.sort_by_key(|(name, rollup)| (name == OTHER, Reverse(rollup.total_requests)));
        let rest = by_requests.split_off(most);
        self.endpoints = by_requests.into_iter().collect();
        rest.iter()
            .for_each(|(_, rollup)| self.endpoint(OTHER).merge(rollup));
    }

    fn of(endpoints: BTreeMap<String, Rollup>) -> ApiRollup {
        let mut total = Rollup::default();
        endpoints.values().for_each(|rollup| total.merge(rollup));
        ApiRollup { total, endpoints }
    }
}

/// A period of an API, identified by its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiPeriod {
    pub start: DateTime<Utc>,
    pub api_name: String,
}

impl ApiPeriod {
    pub fn at(&self, start: DateTime<Utc>) -> ApiPeriod {
        ApiPeriod {
            start,
            api_name: self.api_name.clone(),
        }
    }

    /// The next longer periods that overlap it, as a period of `granularity`: two for an hour in which a day begins.
    pub fn within(&self, granularity: Granularity, calendar: Calendar) -> Vec<ApiPeriod> {
        let Some(above) = granularity.above() else {
            return Vec::new();
        };
        let begins = match granularity {
            Granularity::Hourly => calendar.cut_of(self.start),
            Granularity::Daily | Granularity::Monthly => None,
        };
        let starts = std::iter::once(calendar.start_of(above, self.start)).chain(begins);
        starts
            .map(|start| self.at(calendar.start_of(above, start)))
            .collect()
    }
}

/// Counts calls into hours.
#[derive(Debug)]
pub struct Tally {
    hours: HashMap<String, HashMap<DateTime<Utc>, BTreeMap<String, Rollup>>>,
    /// Whether other hours than those in `hours` are ignored.
    only_wanted: bool,
    names: EndpointNames,
    /// Calls counted.
    pub rows: u64,
    pub left_out: LeftOut,
}

impl Tally {
    /// A tally of any hours.
    pub fn new(names: EndpointNames) -> Tally {
        Tally {
            hours: HashMap::new(),
            only_wanted: false,
            names,
            rows: 0,
            left_out: LeftOut::default(),
        }
    }

    /// A tally that ignores all other hours.
    pub fn of<'a>(names: EndpointNames, wanted: impl IntoIterator<Item = &'a ApiPeriod>) -> Tally {
        let mut hours: HashMap<String, HashMap<_, _>> = HashMap::new();
        for ApiPeriod { start, api_name } in wanted {
            hours
                .entry(api_name.clone())
                .or_default()
                .insert(*start, BTreeMap::new());
        }
        Tally {
            hours,
            only_wanted: true,
            ..Tally::new(names)
        }
    }

    /// Counts calls to an endpoint, if their hour is wanted.
    pub fn add<'a>(
        &mut self,
        api_name: &str,
        endpoint: &str,
        hour: DateTime<Utc>,
        calls: impl IntoIterator<Item = Call<'a>>,
    ) {
        let hours = self.hours.get_mut(api_name);
        let endpoints = match hours.and_then(|hours| hours.get_mut(&hour)) {
            Some(endpoints) => endpoints,
            None if self.only_wanted => return,
            None => {
                let hours = self.hours.entry(api_name.to_owned()).or_default();
                hours.entry(hour).or_default()
            }
        };
        let endpoint = self.names.of(endpoint);
        let rollup = match endpoints.get_mut(&*endpoint) {
            Some(rollup) => rollup,
            None => endpoints.entry(endpoint.into_owned()).or_default(),
        };
        for call in calls {
            self.rows += 1;
            rollup.add(&call, &mut self.left_out);
        }
    }

    /// Adds the counts of other calls.
    pub fn merge(&mut self, other: Tally) {
        self.rows += other.rows;
        self.left_out.costs += other.left_out.costs;
        self.left_out.response_times += other.left_out.response_times;
        for (api_name, hours) in other.hours {
            let own = self.hours.entry(api_name).or_default();
            for (hour, endpoints) in hours {
                let own = own.entry(hour).or_default();
                for (endpoint, rollup) in endpoints {
                    own.entry(endpoint).or_default().merge(&rollup);
                }
            }
        }
    }

    /// The hours that have calls.
    pub fn finish(self) -> BTreeMap<ApiPeriod, ApiRollup> {
        let hours = self.hours.into_iter().flat_map(|(api_name, hours)| {
            let named = move |(start, endpoints)| {
                let api_name = api_name.clone();
                (ApiPeriod { start, api_name }, ApiRollup::of(endpoints))
            };
            hours.into_iter().map(named)
        });
        hours
            .filter(|(_, rollup)| rollup.total.total_requests > 0)
            .collect()
    }
}

impl ErrorClasses {
    fn add(&mut self, call: &Call<'_>) {
        let rate_limit = call.error_type == Some(error_type::RATE_LIMIT);
        let timeout = call.error_type == Some(error_type::TIMEOUT);
        let server = call.error_type == Some(error_type::SERVER_ERROR)
            || call.status_code.is_some_and(|status| status >= 500);
        let client = call.error_type == Some(error_type::CLIENT_ERROR);
        let network = call.error_type == Some(error_type::NETWORK_ERROR);
        let in_a_class = rate_limit || timeout || server || client || network;
        let other = !call.success && !in_a_class;
        self.rate_limit += u64::from(rate_limit);
        self.timeout += u64::from(timeout);
        self.server += u64::from(server);
        self.client += u64::from(client);
        self.network += u64::from(network);
        self.other += u64::from(other);
    }
}

impl ResponseTimes {
    fn add(&mut self, ms: u32) {
        self.count += 1;
        self.sum += u64::from(ms);
        self.min = Some(self.min.map_or(ms, |min| min.min(ms)));
        self.max = Some(self.max.map_or(ms, |max| max.max(ms)));
        self.histogram.add(ms);
    }

    /// The mean; unknown if no call has a response time.
    pub fn average(&self) -> Option<f64> {
        ratio(self.sum, self.count)
    }

    /// The time that `permille` of all calls do not exceed, off by at most
    /// [`RELATIVE_ERROR`](super::histogram::RELATIVE_ERROR).
    pub fn quantile(&self, permille: u16) -> Option<u32> {
        let estimate = self.histogram.quantile(permille)?;
        Some(estimate.clamp(self.min.unwrap_or(0), self.max.unwrap_or(u32::MAX)))
    }
}

/// Two sums of values that may be missing.
fn combined(sum: Option<u64>, other: Option<u64>, combine: fn(u64, u64) -> u64) -> Option<u64> {
    match (sum, other) {
        (sum, None) => sum,
        (sum, Some(other)) => Some(combine(sum.unwrap_or(0), other)),
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const CALL: Call<'_> = Call {
        success: true,
        status_code: Some(200),
        response_time: None,
        request_size: None,
        response_size: None,
        error_type: None,
        cost_credits: None,
        cached: false,
    };

    fn of(calls: &[Call<'_>]) -> Rollup {
        let mut rollup = Rollup::default();
        let mut left_out = LeftOut::default();
        for call in calls {
            rollup.add(call, &mut left_out);
        }
        rollup
    }

    fn failed(error_type: &'static str, status: i64) -> Call<'static> {
        Call {
            success: false,
            status_code: Some(status),
            error_type: Some(error_type),
            ..CALL
        }
    }

    #[test]
    fn timeout_with_status_504_is_timeout_and_server_error() {
        let errors = of(&[failed("TIMEOUT", 504)]).errors;
        assert_eq!((errors.timeout, errors.server, errors.other), (1, 1, 0));
    }

    #[test]
    fn error_classes_count_even_on_success() {
        let odd = Call {
            success: true,
            ..failed("RATE_LIMIT", 502)
        };
        let rollup = of(&[odd]);
        assert_eq!((rollup.success_count, rollup.error_count), (1, 0));
        assert_eq!((rollup.errors.rate_limit, rollup.errors.server), (1, 1));
    }

    #[test]
    fn every_failure_is_in_a_class() {
        let untyped = Call {
            error_type: None,
            ..failed("", 404)
        };
        let calls = [
            untyped,
            failed("UNKNOWN", 200),
            failed("CLIENT_ERROR", 400),
            failed("NETWORK_ERROR", 0),
        ];
        let errors = of(&calls).errors;
        assert_eq!((errors.other, errors.client, errors.network), (2, 1, 1));
    }

    #[test]
    fn average_is_over_calls_with_a_response_time() {
        let took = |response_time| Call {
            response_time,
            ..CALL
        };
        let rollup = of(&[took(Some(245)), took(None), took(Some(120))]);
        assert_eq!(rollup.response_times.average(), Some(182.5));
        assert_eq!(rollup.response_times.min, Some(120));
        assert_eq!(rollup.response_times.quantile(990), Some(245));
        let silent = of(&[CALL]).response_times;
        assert_eq!((silent.average(), silent.quantile(500)), (None, None));
    }

    #[test]
    fn invalid_values_are_left_out_and_calls_count() {
        let mut rollup = Rollup::default();
        let mut left_out = LeftOut::default();
        for (response_time, cost) in [(-1, f64::NAN), (i64::MAX, f64::INFINITY), (7, 0.5)] {
            let call = Call {
                response_time: Some(response_time),
                cost_credits: Some(cost),
                ..CALL
            };
            rollup.add(&call, &mut left_out);
        }
        assert_eq!((left_out.costs, left_out.response_times), (2, 2));
        assert_eq!((rollup.total_requests, rollup.response_times.sum), (3, 7));
        assert_eq!(rollup.total_cost.to_f64(), 0.5);
    }

    #[test]
    fn endpoints_beyond_the_largest_number_are_one() {
        let rollup = |total_requests| Rollup {
            total_requests,
            ..Rollup::default()
        };
        let counts = [("/a", 3), ("/b", 9), ("/c", 3), ("/d", 1)];
        let endpoints = counts.map(|(name, count)| (name.to_owned(), rollup(count)));
        let mut api = ApiRollup::of(endpoints.into_iter().collect());
        api.cap(4);
        assert_eq!(api.endpoints.len(), 4);
        api.cap(2);
        let expected = [("(other)", 4), ("/a", 3), ("/b", 9)];
        let expected = expected.map(|(name, count)| (name.to_owned(), rollup(count)));
        assert_eq!(api.endpoints, expected.into_iter().collect());
        assert_eq!(api.total, rollup(16));
    }

    #[test]
    fn rates_without_calls_are_unknown() {
        let nothing = Rollup::default();
        let rates = (nothing.error_rate(), nothing.cache_hit_rate());
        assert_eq!(rates, (None, None));
    }

    fn calls() -> impl Strategy<Value = Vec<Call<'static>>> {
        let types = ["RATE_LIMIT", "TIMEOUT", "SERVER_ERROR", "odd"];
        let call = (
            any::<(bool, bool)>(),
            proptest::option::of(100..600_i64),
            proptest::option::of(-5..100_000_i64),
            proptest::option::of(proptest::sample::select(types.to_vec())),
            proptest::option::of(-1e16..1e16_f64),
            proptest::option::of(0..5_000_i64),
        );
        let call = call.prop_map(
            |((success, cached), status_code, response_time, error_type, cost_credits, size)| {
                Call {
                    request_size: size,
                    response_size: size.map(|size| size * 7),
                    success,
                    status_code,
                    response_time,
                    error_type,
                    cost_credits,
                    cached,
                }
            },
        );
        vec(call, 0..40)
    }

    #[test]
    fn tallies_of_parts_merge_into_that_of_the_whole() {
        let costly = Call {
            cost_credits: Some(f64::NAN),
            response_time: Some(-1),
            ..CALL
        };
        let calls = [
            ("a", 0, CALL),
            ("b", 0, costly),
            ("a", 1, costly),
            ("a", 0, CALL),
        ];
        let tally = |calls: &[(&str, i64, Call<'_>)]| {
            let mut tally = Tally::new(EndpointNames::Raw);
            for (api, hour, call) in calls {
                let hour = DateTime::UNIX_EPOCH + chrono::TimeDelta::hours(*hour);
                tally.add(api, "/quote", hour, [*call]);
            }
            tally
        };
        let whole = tally(&calls);
        for at in 0..=calls.len() {
            let mut parts = tally(&calls[..at]);
            parts.merge(tally(&calls[at..]));
            let counts = |tally: &Tally| (tally.rows, tally.left_out);
            assert_eq!(counts(&parts), counts(&whole));
            assert_eq!(parts.finish(), tally(&calls).finish());
        }
    }

    proptest! {
        #[test]
        fn parts_merge_into_the_whole_in_any_order(a in calls(), b in calls(), c in calls()) {
            let whole = of(&[a.as_slice(), &b, &c].concat());
            let mut first = of(&a);
            first.merge(&of(&b));
            first.merge(&of(&c));
            let mut last = of(&c);
            last.merge(&of(&b));
            last.merge(&of(&a));
            prop_assert_eq!(&first, &whole);
            prop_assert_eq!(&last, &whole);
            prop_assert_eq!(whole.response_times.histogram.count(), whole.response_times.count);
            let mut rest = whole.clone();
            rest.subtract(&of(&a));
            let mut expected = of(&b);
            expected.merge(&of(&c));
            // Whether a rest without bytes has sizes is unknown.
            rest.request_bytes = rest.request_bytes.filter(|_| expected.request_bytes.is_some());
            rest.response_bytes = rest.response_bytes.filter(|_| expected.response_bytes.is_some());
            if expected.response_times.count > 0 {
                // The extremes of the rest are unknown.
                expected.response_times.min = whole.response_times.min;
                expected.response_times.max = whole.response_times.max;
            }
            prop_assert_eq!(rest, expected);
        }
    }
}
