//! What the rows of one period add up to.
//!
//! A [`Rollup`] is the whole state, not just what is shown: two of them merge into what counting all the
//! rows at once would have given, so hours make days, days make months, endpoints make an API, in any
//! order. Averages and percentiles are made from it when somebody looks.
//!
//! The counting rules are those of the application that writes the rows. It counts errors by what a row
//! says, whether or not the row is marked as a success, and the classes overlap: a TIMEOUT that came with
//! status 504 is a timeout and a server error. The classes may therefore add up to more than `error_count`.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::credits::Credits;
use super::histogram::Histogram;
use super::record::error_type;

/// What a roll-up needs to know about one row of `api_usage`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call<'a> {
    pub success: bool,
    pub status_code: Option<i64>,
    /// Milliseconds.
    pub response_time: Option<i64>,
    /// The application's word for what failed.
    pub error_type: Option<&'a str>,
    /// Credits the provider charges for this call.
    pub cost_credits: Option<f64>,
    pub cached: bool,
}

/// What a number of calls adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    pub total_requests: u64,
    pub success_count: u64,
    pub error_count: u64,
    /// Those answered from a cache.
    pub cached_count: u64,
    pub errors: ErrorClasses,
    /// How long the calls took that say so.
    pub response_times: ResponseTimes,
    /// The sum of all costs: zero when nothing cost anything.
    pub total_cost: Credits,
}

/// What the calls to one API add up to, together and for each endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRollup {
    pub total: Rollup,
    /// Each endpoint; the empty one stands for calls that name none.
    pub endpoints: BTreeMap<String, Rollup>,
}

/// Errors by class. A row may count in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorClasses {
    pub rate_limit: u64,
    pub timeout: u64,
    /// Type SERVER_ERROR, or a status of 500 and more.
    pub server: u64,
    /// Type CLIENT_ERROR. The application does not keep this class and the next two.
    pub client: u64,
    pub network: u64,
    /// Failed, and in no other class.
    pub other: u64,
}

/// How long calls took, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseTimes {
    /// How many calls say how long they took.
    pub count: u64,
    pub sum: u64,
    pub min: Option<u32>,
    pub max: Option<u32>,
    /// For percentiles.
    pub histogram: Histogram,
}

/// Values that no sum can be made of, and that were therefore left out of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Costs that are not a number, infinite, or beyond [`LARGEST_COST`](super::credits::LARGEST_COST).
    pub costs: u64,
    /// Response times that are negative or do not fit the column of the aggregates.
    pub response_times: u64,
}

impl Rollup {
    /// Counts one call. The call itself always counts; a value of it that makes no sense is left out.
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
        if let Some(cost) = call.cost_credits {
            match Credits::from_f64(cost) {
                Some(cost) => self.total_cost = self.total_cost.plus(cost),
                None => left_out.costs += 1,
            }
        }
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Rollup) {
        grow(&mut self.total_requests, other.total_requests);
        grow(&mut self.success_count, other.success_count);
        grow(&mut self.error_count, other.error_count);
        grow(&mut self.cached_count, other.cached_count);
        self.errors.merge(&other.errors);
        self.response_times.merge(&other.response_times);
        self.total_cost = self.total_cost.plus(other.total_cost);
    }

    /// The first number in which two roll-ups differ, by the name of its column, and both values of it.
    pub fn difference(&self, other: &Rollup) -> Option<(&'static str, String, String)> {
        let numbers = |rollup: &Rollup| {
            let times = &rollup.response_times;
            let ms = |ms: Option<u32>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
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
                ("response_time_count", times.count.to_string()),
                ("response_time_sum", times.sum.to_string()),
                ("min_response_time", ms(times.min)),
                ("max_response_time", ms(times.max)),
                ("median_response_time", ms(times.quantile(500))),
                (
                    "response_time_histogram",
                    format!("{} bytes", times.histogram.encode().len()),
                ),
            ]
        };
        if self == other {
            return None;
        }
        let mut pairs = numbers(self).into_iter().zip(numbers(other));
        let differs = pairs.find(|((_, ours), (_, theirs))| ours != theirs);
        differs
            .map(|((name, ours), (_, theirs))| (name, ours, theirs))
            .or_else(|| {
                Some((
                    "response_time_histogram",
                    "other counts".into(),
                    "other counts".into(),
                ))
            })
    }

    /// The share of calls that failed, from 0 to 1. Unknown without calls.
    pub fn error_rate(&self) -> Option<f64> {
        ratio(self.error_count, self.total_requests)
    }

    /// The share of calls that were answered from a cache, from 0 to 1. Unknown without calls.
    pub fn cache_hit_rate(&self) -> Option<f64> {
        ratio(self.cached_count, self.total_requests)
    }
}

impl ApiRollup {
    /// The roll-up of one endpoint, made if need be.
    pub fn endpoint(&mut self, endpoint: &str) -> &mut Rollup {
        self.endpoints.entry(endpoint.to_owned()).or_default()
    }

    fn of(endpoints: BTreeMap<String, Rollup>) -> ApiRollup {
        let mut total = Rollup::default();
        endpoints.values().for_each(|rollup| total.merge(rollup));
        ApiRollup { total, endpoints }
    }
}

/// One API in one period, which its start names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiPeriod {
    /// The start of the period.
    pub start: DateTime<Utc>,
    pub api_name: String,
}

/// Counts calls into hours.
#[derive(Debug, Default)]
pub struct Tally {
    hours: HashMap<String, HashMap<DateTime<Utc>, BTreeMap<String, Rollup>>>,
    /// Whether hours that nobody asked for pass by.
    only_wanted: bool,
    /// How many calls were counted.
    pub rows: u64,
    /// What could not be summed up.
    pub left_out: LeftOut,
}

impl Tally {
    /// Counts into these hours only.
    pub fn of<'a>(wanted: impl IntoIterator<Item = &'a ApiPeriod>) -> Tally {
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
            ..Tally::default()
        }
    }

    /// Counts one call, if its hour is wanted.
    pub fn add(&mut self, api_name: &str, endpoint: &str, hour: DateTime<Utc>, call: &Call<'_>) {
        let hours = self.hours.get_mut(api_name);
        let endpoints = match hours.and_then(|hours| hours.get_mut(&hour)) {
            Some(endpoints) => endpoints,
            None if self.only_wanted => return,
            None => {
                let hours = self.hours.entry(api_name.to_owned()).or_default();
                hours.entry(hour).or_default()
            }
        };
        self.rows += 1;
        match endpoints.get_mut(endpoint) {
            Some(rollup) => rollup.add(call, &mut self.left_out),
            None => {
                let mut rollup = Rollup::default();
                rollup.add(call, &mut self.left_out);
                endpoints.insert(endpoint.to_owned(), rollup);
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

    fn merge(&mut self, other: &ErrorClasses) {
        grow(&mut self.rate_limit, other.rate_limit);
        grow(&mut self.timeout, other.timeout);
        grow(&mut self.server, other.server);
        grow(&mut self.client, other.client);
        grow(&mut self.network, other.network);
        grow(&mut self.other, other.other);
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

    fn merge(&mut self, other: &ResponseTimes) {
        grow(&mut self.count, other.count);
        grow(&mut self.sum, other.sum);
        // Not Option's own order, in which None is the smallest.
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
        self.histogram.merge(&other.histogram);
    }

    /// The mean. Unknown when no call says how long it took.
    pub fn average(&self) -> Option<f64> {
        ratio(self.sum, self.count)
    }

    /// The time that `permille` of all calls do not exceed, at most
    /// [`RELATIVE_ERROR`](super::histogram::RELATIVE_ERROR) off.
    pub fn quantile(&self, permille: u16) -> Option<u32> {
        let told = self.histogram.quantile(permille)?;
        Some(told.clamp(self.min.unwrap_or(0), self.max.unwrap_or(u32::MAX)))
    }
}

/// Stored counts that were tampered with may be of any size.
fn grow(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
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
        error_type: None,
        cost_credits: None,
        cached: false,
    };

    fn of(calls: &[Call<'_>]) -> Rollup {
        let mut rollup = Rollup::default();
        let mut left_out = LeftOut::default();
        calls
            .iter()
            .for_each(|call| rollup.add(call, &mut left_out));
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
    fn a_timeout_with_status_504_is_a_timeout_and_a_server_error() {
        let errors = of(&[failed("TIMEOUT", 504)]).errors;
        assert_eq!((errors.timeout, errors.server, errors.other), (1, 1, 0));
    }

    #[test]
    fn errors_are_counted_by_what_the_row_says_even_on_a_success() {
        let odd = Call {
            success: true,
            ..failed("RATE_LIMIT", 502)
        };
        let rollup = of(&[odd]);
        assert_eq!((rollup.success_count, rollup.error_count), (1, 0));
        assert_eq!((rollup.errors.rate_limit, rollup.errors.server), (1, 1));
    }

    #[test]
    fn a_failure_is_in_some_class() {
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
    fn the_average_is_over_calls_that_say_how_long_they_took() {
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
    fn values_that_make_no_sense_are_left_out_and_the_calls_count() {
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
    fn rates_of_nothing_are_unknown() {
        let nothing = Rollup::default();
        assert_eq!(
            (nothing.error_rate(), nothing.cache_hit_rate()),
            (None, None)
        );
    }

    fn calls() -> impl Strategy<Value = Vec<Call<'static>>> {
        let types = [
            None,
            Some("RATE_LIMIT"),
            Some("TIMEOUT"),
            Some("SERVER_ERROR"),
            Some("odd"),
        ];
        let call = (
            any::<(bool, bool)>(),
            proptest::option::of(100..600_i64),
            proptest::option::of(-5..100_000_i64),
            proptest::sample::select(types.to_vec()),
            proptest::option::of(-1e16..1e16_f64),
        );
        let call = call.prop_map(
            |((success, cached), status_code, response_time, error_type, cost_credits)| Call {
                success,
                status_code,
                response_time,
                error_type,
                cost_credits,
                cached,
            },
        );
        vec(call, 0..40)
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
        }
    }
}
