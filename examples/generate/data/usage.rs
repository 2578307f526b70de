//! Usage records as an application would write them: seven APIs, a daily rhythm, quiet weekends,
//! heavy-tailed response times, bursts of every kind of error, cache hits, costs, users, late rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use chrono::{DateTime, Datelike, Duration, Timelike, Utc, Weekday};

use super::random::Random;

/// One of the APIs and its parameters.
struct Api {
    name: &'static str,
    /// Its share of all calls.
    share: f64,
    /// The times of day of its users.
    rhythm: Rhythm,
    /// The share of calls answered by a cache.
    cached: f64,
    /// Its message when the rate limit is exceeded.
    limit: &'static str,
    endpoints: &'static [Endpoint],
}

enum Rhythm {
    /// Trading hours in New York, 14 to 21 UTC; few calls at the weekend.
    Markets,
    /// Evenings, and more at the weekend.
    Leisure,
    /// The whole day, a little less at night.
    Steady,
}

struct Endpoint {
    path: &'static str,
    share: f64,
    /// Milliseconds, in the middle.
    median: f64,
    /// Bytes, in the middle.
    size: f64,
    /// Millionths of a credit for a call.
    cost: u64,
}

const fn endpoint(path: &'static str, share: f64, median: f64, size: f64, cost: u64) -> Endpoint {
    Endpoint {
        path,
        share,
        median,
        size,
        cost,
    }
}

const APIS: [Api; 7] = [
    Api {
        name: "finnhub",
        share: 0.28,
        rhythm: Rhythm::Markets,
        cached: 0.12,
        limit: "Rate limit exceeded: 60 requests per minute",
        endpoints: &[
            endpoint("/quote", 0.52, 120.0, 180.0, 0),
            endpoint("/stock/profile2", 0.12, 150.0, 700.0, 0),
            endpoint("/stock/candle", 0.10, 260.0, 9_000.0, 0),
            endpoint("/company-news", 0.08, 340.0, 24_000.0, 0),
            endpoint("/news", 0.06, 310.0, 31_000.0, 0),
            endpoint("/stock/metric", 0.05, 280.0, 6_500.0, 0),
            endpoint("/search", 0.05, 170.0, 2_200.0, 0),
            endpoint("/stock/recommendation", 0.02, 160.0, 900.0, 0),
        ],
    },
    Api {
        name: "coinmarketcap",
        share: 0.16,
        rhythm: Rhythm::Steady,
        cached: 0.30,
        limit: "You've exceeded your API Key's HTTP request rate limit",
        endpoints: &[
            endpoint(
                "/v1/cryptocurrency/listings/latest",
                0.34,
                420.0,
                88_000.0,
                5_000_000,
            ),
            endpoint(
                "/v2/cryptocurrency/quotes/latest",
                0.38,
                210.0,
                3_400.0,
                1_000_000,
            ),
            endpoint("/v1/cryptocurrency/map", 0.06, 350.0, 140_000.0, 1_000_000),
            endpoint(
                "/v1/global-metrics/quotes/latest",
                0.08,
                190.0,
                2_800.0,
                1_000_000,
            ),
            endpoint("/v2/cryptocurrency/info", 0.08, 230.0, 4_100.0, 1_000_000),
            endpoint(
                "/v1/exchange/listings/latest",
                0.03,
                380.0,
                36_000.0,
                1_000_000,
            ),
            endpoint("/v2/tools/price-conversion", 0.03, 180.0, 600.0, 1_000_000),
        ],
    },
    Api {
        name: "rawg",
        share: 0.09,
        rhythm: Rhythm::Leisure,
        cached: 0.42,
        limit: "Request was throttled",
        endpoints: &[
            endpoint("/games", 0.40, 610.0, 52_000.0, 0),
            endpoint("/games/{id}", 0.30, 380.0, 11_000.0, 0),
            endpoint("/games/{id}/screenshots", 0.12, 290.0, 3_800.0, 0),
            endpoint("/games/{id}/stores", 0.06, 260.0, 900.0, 0),
            endpoint("/genres", 0.05, 240.0, 14_000.0, 0),
            endpoint("/platforms", 0.04, 250.0, 21_000.0, 0),
            endpoint("/developers", 0.03, 330.0, 17_000.0, 0),
        ],
    },
    Api {
        name: "tmdb",
        share: 0.20,
        rhythm: Rhythm::Leisure,
        cached: 0.48,
        limit: "Your request count (41) is over the allowed limit of 40",
        endpoints: &[
            endpoint("/movie/popular", 0.18, 95.0, 13_000.0, 0),
            endpoint("/movie/{id}", 0.26, 80.0, 4_200.0, 0),
            endpoint("/movie/{id}/credits", 0.10, 110.0, 19_000.0, 0),
            endpoint("/search/movie", 0.16, 140.0, 9_500.0, 0),
            endpoint("/tv/popular", 0.10, 95.0, 12_000.0, 0),
            endpoint("/tv/{id}", 0.10, 90.0, 6_800.0, 0),
            endpoint("/trending/all/week", 0.06, 105.0, 14_500.0, 0),
            endpoint("/discover/movie", 0.04, 170.0, 13_500.0, 0),
        ],
    },
    Api {
        name: "jikan",
        share: 0.08,
        rhythm: Rhythm::Leisure,
        cached: 0.35,
        limit: "You are being rate-limited. Please follow Rate Limiting guidelines",
        endpoints: &[
            endpoint("/anime", 0.26, 720.0, 48_000.0, 0),
            endpoint("/anime/{id}/full", 0.26, 540.0, 12_000.0, 0),
            endpoint("/anime/{id}/characters", 0.12, 650.0, 27_000.0, 0),
            endpoint("/top/anime", 0.14, 480.0, 39_000.0, 0),
            endpoint("/seasons/now", 0.12, 590.0, 44_000.0, 0),
            endpoint("/manga", 0.06, 700.0, 46_000.0, 0),
            endpoint("/random/anime", 0.04, 430.0, 5_000.0, 0),
        ],
    },
    Api {
        name: "espn",
        share: 0.07,
        rhythm: Rhythm::Leisure,
        cached: 0.22,
        limit: "Too Many Requests",
        endpoints: &[
            endpoint("/sports/football/nfl/scoreboard", 0.28, 160.0, 64_000.0, 0),
            endpoint(
                "/sports/basketball/nba/scoreboard",
                0.26,
                150.0,
                58_000.0,
                0,
            ),
            endpoint("/sports/soccer/eng.1/scoreboard", 0.16, 150.0, 41_000.0, 0),
            endpoint("/sports/football/nfl/standings", 0.10, 130.0, 18_000.0, 0),
            endpoint("/sports/basketball/nba/teams", 0.08, 140.0, 33_000.0, 0),
            endpoint("/sports/football/nfl/news", 0.07, 180.0, 26_000.0, 0),
            endpoint("/sports/baseball/mlb/scoreboard", 0.05, 150.0, 47_000.0, 0),
        ],
    },
    Api {
        name: "openweather",
        share: 0.12,
        rhythm: Rhythm::Steady,
        cached: 0.38,
        limit: "Your account is temporary blocked due to exceeding of requests limitation",
        endpoints: &[
            endpoint("/data/2.5/weather", 0.44, 70.0, 520.0, 0),
            endpoint("/data/2.5/forecast", 0.20, 90.0, 16_000.0, 0),
            endpoint("/data/3.0/onecall", 0.18, 130.0, 17_500.0, 1_500),
            endpoint("/data/3.0/onecall/timemachine", 0.03, 180.0, 900.0, 1_500),
            endpoint("/data/2.5/air_pollution", 0.07, 75.0, 310.0, 0),
            endpoint("/geo/1.0/direct", 0.08, 60.0, 450.0, 0),
        ],
    },
];

impl Api {
    /// The load in the hour of `at`, relative to the average.
    fn activity(&self, at: DateTime<Utc>) -> f64 {
        let hour = at.hour() as usize;
        let weekend = matches!(at.weekday(), Weekday::Sat | Weekday::Sun);
        // Tenths of the average, hour by hour.
        const MARKETS: [u8; 24] = [
            3, 2, 2, 2, 3, 4, 5, 6, 8, 9, 9, 10, 13, 20, 29, 27, 24, 22, 22, 24, 20, 10, 6, 4,
        ];
        const LEISURE: [u8; 24] = [
            12, 9, 6, 4, 3, 3, 4, 5, 6, 7, 7, 8, 9, 9, 9, 10, 11, 13, 16, 19, 21, 20, 18, 15,
        ];
        const STEADY: [u8; 24] = [
            8, 7, 7, 6, 6, 7, 8, 10, 11, 11, 12, 12, 12, 12, 12, 12, 12, 12, 11, 11, 10, 10, 9, 8,
        ];
        let (hours, at_weekend) = match self.rhythm {
            Rhythm::Markets => (&MARKETS, 0.25),
            Rhythm::Leisure => (&LEISURE, 0.9),
            Rhythm::Steady => (&STEADY, 0.6),
        };
        let day = if weekend { at_weekend } else { 1.0 };
        self.share * day * f64::from(hours[hour]) / 10.0
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, PartialEq)]
enum Failure {
    RateLimit,
    Timeout,
    Server,
    Client,
    Network,
    Unknown,
}

/// The base rate of each failure, as a share of all calls.
const USUAL: [(Failure, f64); 6] = [
    (Failure::RateLimit, 0.003),
    (Failure::Timeout, 0.002),
    (Failure::Server, 0.003),
    (Failure::Client, 0.004),
    (Failure::Network, 0.001),
    (Failure::Unknown, 0.0005),
];

/// A period in which one API fails in one way much more often.
struct Burst {
    api: usize,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    failure: Failure,
    rate: f64,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub id: Option<String>,
    pub api_name: &'static str,
    pub endpoint: &'static str,
    pub timestamp: DateTime<Utc>,
    pub status_code: Option<u16>,
    pub response_time: Option<u32>,
    pub request_size: Option<u32>,
    pub response_size: Option<u32>,
    pub error_type: Option<&'static str>,
    pub error_message: Option<&'static str>,
    /// Millionths of a credit.
    pub cost: Option<u64>,
    pub cached: bool,
    pub user_id: Option<String>,
}

impl Call {
    pub fn success(&self) -> bool {
        self.error_type.is_none()
    }

    pub fn cost_credits(&self) -> Option<f64> {
        self.cost.map(|millionths| millionths as f64 / 1e6)
    }
}

/// The parameters of a generated data set.
#[derive(Clone, Debug)]
pub struct Plan {
    pub records: u64,
    pub seed: u64,
    pub days: u32,
    /// The end of the last day and of all records.
    pub until: DateTime<Utc>,
    /// The share of records with an id, 0 to 1.
    pub ids: f64,
    /// The share that arrives late, 0 to 1.
    pub late: f64,
}

/// The records of a plan in the order of their arrival. Memory holds those of one hour and the late ones.
pub struct Calls {
    plan: Plan,
    random: Random,
    bursts: Vec<Burst>,
    /// For each hour: its start, and the number of records up to its end.
    hours: std::vec::IntoIter<(DateTime<Utc>, u64)>,
    made: u64,
    /// The calls of the current hour, the next one last.
    current: Vec<Call>,
    /// Late calls, by the time of their arrival.
    late: BinaryHeap<Reverse<(DateTime<Utc>, u64)>>,
    late_calls: BTreeMap<u64, Call>,
}

impl Calls {
    pub fn new(plan: Plan) -> Calls {
        let mut random = Random::new(plan.seed);
        let from = plan.until - Duration::days(i64::from(plan.days));
        let bursts = bursts(&mut random, from, plan.days);
        let starts: Vec<DateTime<Utc>> = (0..i64::from(plan.days) * 24)
            .map(|hour| from + Duration::hours(hour))
            .collect();
        let weight = |at| APIS.iter().map(|api| api.activity(at)).sum::<f64>();
        let total: f64 = starts.iter().map(|at| weight(*at)).sum();
        let mut sum = 0.0;
        let mut hours: Vec<(DateTime<Utc>, u64)> = starts
            .into_iter()
            .map(|at| {
                sum += weight(at);
                (at, (sum / total * plan.records as f64) as u64)
            })
            .collect();
        if let Some((_, last)) = hours.last_mut() {
            *last = plan.records;
        }
        Calls {
            plan,
            random,
            bursts,
            hours: hours.into_iter(),
            made: 0,
            current: Vec::new(),
            late: BinaryHeap::new(),
            late_calls: BTreeMap::new(),
        }
    }

    /// Generates the calls of one hour, in the order of their times.
    fn fill(&mut self, hour: DateTime<Utc>, up_to: u64) {
        let mut offsets: Vec<u64> = (self.made..up_to)
            .map(|_| self.random.below(3_600_000))
            .collect();
        offsets.sort_unstable();
        for offset in offsets {
            let call = self.call(hour + Duration::milliseconds(offset as i64));
            self.current.push(call);
        }
        self.current.reverse();
    }

    fn call(&mut self, timestamp: DateTime<Utc>) -> Call {
        self.made += 1;
        let random = &mut self.random;
        let indexed: [usize; APIS.len()] = std::array::from_fn(|index| index);
        let index = *random.weighted(&indexed, |index| APIS[*index].activity(timestamp));
        let api = &APIS[index];
        let endpoint = random.weighted(api.endpoints, |endpoint| endpoint.share);
        let cached = random.chance(api.cached);
        let failure = match cached {
            true => None,
            false => failure(random, &self.bursts, index, timestamp),
        };
        let typical = random.heavy_tailed(endpoint.median);
        let response_time = match failure {
            _ if cached => Some(random.unit() * 4.0),
            // The client's timeout.
            Some(Failure::Timeout) => Some(10_000.0 + random.unit() * 30.0),
            Some(Failure::RateLimit) => Some(typical * 0.4),
            // Without a response there is no response time.
            Some(Failure::Network | Failure::Unknown) => None,
            _ => Some(typical.min(9_900.0)),
        };
        let status_code = match failure {
            None => Some(200),
            Some(Failure::RateLimit) => Some(429),
            Some(Failure::Timeout) => [None, Some(408), Some(504)][random.below(3) as usize],
            Some(Failure::Server) => Some([500, 502, 503][random.below(3) as usize]),
            Some(Failure::Client) => Some([400, 401, 404, 422][random.below(4) as usize]),
            Some(Failure::Network | Failure::Unknown) => None,
        };
        let answered = status_code.is_some();
        let response_size = match failure {
            None => random.heavy_tailed(endpoint.size).min(4e6),
            Some(_) => 80.0 + random.unit() * 200.0,
        };
        // Most calls have a user; some users are far more active than others.
        let user_id = random.chance(0.7).then(|| {
            let u = random.unit();
            format!("user-{:04}", 1 + (u * u * u * 900.0) as u32)
        });
        let id = random
            .chance(self.plan.ids)
            .then(|| format!("evt-{}-{:09}", self.plan.seed, self.made));
        Call {
            id,
            api_name: api.name,
            endpoint: endpoint.path,
            timestamp,
            status_code,
            response_time: response_time.map(|ms| ms as u32),
            request_size: Some(120 + random.below(380) as u32),
            response_size: answered.then_some(response_size as u32),
            error_type: failure.map(Failure::name),
            error_message: failure.map(|failure| failure.message(api)),
            // Cached and refused calls cost nothing.
            cost: (endpoint.cost > 0 && !cached && failure.is_none()).then_some(endpoint.cost),
            cached,
            user_id,
        }
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        loop {
            while self.current.is_empty() {
                match self.hours.next() {
                    Some((hour, up_to)) => self.fill(hour, up_to),
                    None => break,
                }
            }
            let next = self.current.last().map(|call| call.timestamp);
            let arrived = self.late.peek().map(|Reverse((at, number))| (*at, *number));
            if let Some((at, number)) = arrived
                && next.is_none_or(|next| at <= next)
            {
                self.late.pop();
                return self.late_calls.remove(&number);
            }
            let call = self.current.pop()?;
            if !self.random.chance(self.plan.late) {
                return Some(call);
            }
            // Most are minutes late, a few days; after the end the rest arrives.
            let minutes = self.random.heavy_tailed(20.0).min(4.0 * 1440.0);
            let at = call.timestamp + Duration::seconds((minutes * 60.0) as i64);
            let number = self
                .late_calls
                .last_key_value()
                .map_or(0, |(last, _)| last + 1);
            self.late.push(Reverse((at, number)));
            self.late_calls.insert(number, call);
        }
    }
}

/// About one burst per API and three days, of minutes to hours.
fn bursts(random: &mut Random, from: DateTime<Utc>, days: u32) -> Vec<Burst> {
    let count = (APIS.len() as u32 * days).div_ceil(3);
    // Outages and rate limits come in bursts, invalid requests rarely.
    let kinds = [
        (Failure::RateLimit, 4.0),
        (Failure::Timeout, 3.0),
        (Failure::Server, 4.0),
        (Failure::Client, 1.0),
        (Failure::Network, 2.0),
        (Failure::Unknown, 0.5),
    ];
    (0..count)
        .map(|n| {
            let start = from + Duration::minutes(random.below(u64::from(days) * 1440) as i64);
            let minutes = random.heavy_tailed(45.0).min(360.0);
            Burst {
                api: n as usize % APIS.len(),
                from: start,
                until: start + Duration::seconds((minutes * 60.0) as i64),
                failure: random.weighted(&kinds, |(_, share)| *share).0,
                rate: 0.2 + random.unit() * 0.7,
            }
        })
        .collect()
}

fn failure(
    random: &mut Random,
    bursts: &[Burst],
    api: usize,
    at: DateTime<Utc>,
) -> Option<Failure> {
    let burst = bursts
        .iter()
        .find(|burst| burst.api == api && burst.from <= at && at < burst.until);
    if let Some(burst) = burst
        && random.chance(burst.rate)
    {
        return Some(burst.failure);
    }
    let mut left = random.unit();
    USUAL.iter().find_map(|(failure, rate)| {
        left -= rate;
        (left < 0.0).then_some(*failure)
    })
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Failure::RateLimit => "RATE_LIMIT",
            Failure::Timeout => "TIMEOUT",
            Failure::Server => "SERVER_ERROR",
            Failure::Client => "CLIENT_ERROR",
            Failure::Network => "NETWORK_ERROR",
            Failure::Unknown => "UNKNOWN",
        }
    }

    fn message(self, api: &Api) -> &'static str {
        match self {
            Failure::RateLimit => api.limit,
            Failure::Timeout => "The operation was aborted due to timeout",
            Failure::Server => "Upstream server error",
            Failure::Client => "The request was refused",
            Failure::Network => "getaddrinfo ENOTFOUND",
            Failure::Unknown => "Unexpected end of JSON input",
        }
    }
}

/// The counts of one API in one hour, as the application counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub requests: u64,
    pub success: u64,
    pub errors: u64,
    pub cached: u64,
    pub rate_limit: u64,
    pub timeout: u64,
    /// By its type or by its status: a 504 is a time-out and a server error.
    pub server: u64,
    pub response_time_count: u64,
    pub response_time_sum: u64,
    /// Millionths of a credit.
    pub cost: u64,
}

/// The generator's counts by API and hour, to compare with the roll-ups.
pub type Summary = BTreeMap<(&'static str, DateTime<Utc>), Counts>;

pub fn count(summary: &mut Summary, call: &Call) {
    let since_the_hour = i64::from(call.timestamp.minute() * 60 + call.timestamp.second()) * 1000
        + i64::from(call.timestamp.timestamp_subsec_millis());
    let hour = call.timestamp - Duration::milliseconds(since_the_hour);
    let counts = summary.entry((call.api_name, hour)).or_default();
    let is = |name| u64::from(call.error_type == Some(name));
    counts.requests += 1;
    counts.success += u64::from(call.success());
    counts.errors += u64::from(!call.success());
    counts.cached += u64::from(call.cached);
    counts.rate_limit += is("RATE_LIMIT");
    counts.timeout += is("TIMEOUT");
    let server = call.error_type == Some("SERVER_ERROR")
        || call.status_code.is_some_and(|status| status >= 500);
    counts.server += u64::from(server);
    counts.response_time_count += u64::from(call.response_time.is_some());
    counts.response_time_sum += u64::from(call.response_time.unwrap_or(0));
    counts.cost += call.cost.unwrap_or(0);
}
