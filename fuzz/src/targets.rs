//! The fuzz targets: seeds, and what must hold for every input.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Datelike, Utc};
use usagectl::collectors::exposition::Exposition;
use usagectl::domain::metrics::focus_bill::{Bill, Charge, CostKind};
use usagectl::domain::metrics::point::NewPoint;
use usagectl::domain::plans::parse as catalogue;
use usagectl::domain::usage::record::{UsageRecord, limits};
use usagectl::ingest::{
    Block, Format, FromLine, Input, Job, Mapping, ReadError, Refusal, RejectsFile, TimeOptions,
    TimeUnit, UnknownFields, parse_zone, read, read_lines,
};
use usagectl::store::url::{self, DatabaseTarget, UrlSource};

pub struct Target {
    pub name: &'static str,
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words to insert.
    pub tokens: &'static [&'static str],
    /// Checks one input and returns the kind of its result, or what does not hold.
    pub run: fn(&[u8]) -> Result<u64, String>,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "ndjson",
        seeds: || split(&[USAGE, BAD_USAGE], 20),
        tokens: FIELDS,
        run: |input| usage(input, Format::Ndjson),
    },
    Target {
        name: "csv",
        seeds: || split(&[CSV], 100),
        tokens: FIELDS,
        run: |input| usage(input, Format::Csv),
    },
    Target {
        name: "json",
        seeds: || {
            let lines = split(&[USAGE, BAD_USAGE], 4);
            let array = |text: &Vec<u8>| {
                let elements = String::from_utf8_lossy(text).trim().replace('\n', ",\n");
                format!("[{elements}]").into_bytes()
            };
            lines.iter().map(array).collect()
        },
        tokens: FIELDS,
        run: |input| usage(input, Format::Json),
    },
    Target {
        name: "metrics",
        seeds: || split(&[METRICS, METRICS_CSV], 10),
        tokens: &[
            "\"service\":",
            "\"metric\":",
            "\"value\":",
            "\"metadata\":{",
            "\"reading\":\"amount\"",
            "\"periodStart\":",
            "VERCEL_KV",
            "COST_USD",
            "STORAGE_MB",
            "cumulative",
        ],
        run: metrics,
    },
    Target {
        name: "focus",
        seeds: || split(&[FOCUS, FOCUS_CSV], 10),
        tokens: &[
            "\"BilledCost\":",
            "\"ConsumedQuantity\":",
            "\"ConsumedUnit\":",
            "\"BillingCurrency\":",
            "ISR Reads",
            "GiB",
            "79228162514264337593543950335",
            "1e-28",
            "USD",
        ],
        run: focus,
    },
    Target {
        name: "url",
        seeds: || URLS.iter().map(|url| url.as_bytes().to_vec()).collect(),
        tokens: &[
            "postgresql://",
            "sqlite:",
            "file:",
            "?schema=",
            "&sslmode=require",
            "@",
            ":",
            "/",
            "%2F",
            "password=",
            "host=",
            "[::1]",
            "#",
            "connection_limit=1",
            ",",
        ],
        run: database_url,
    },
    Target {
        name: "exposition",
        seeds: || split(&[EXPOSITION], 100),
        tokens: &[
            "# TYPE ",
            "counter",
            "{a=\"b\",",
            "le=\"+Inf\"",
            "} 1",
            " # {",
            "_total",
            "# EOF",
        ],
        run: exposition,
    },
    Target {
        name: "catalogue",
        seeds: || {
            let text = include_str!("../../src/domain/plans/catalogue.toml");
            let mut seeds = vec![text.as_bytes().to_vec()];
            seeds.extend(text.split("\n\n").map(|part| part.as_bytes().to_vec()));
            seeds
        },
        tokens: &["[[", "]]", " = ", "\"\"\"", "1979-05-27", "{ ", "inf", "[]"],
        run: plans,
    },
];

const USAGE: &str = include_str!("../../examples/usage.ndjson");
const METRICS: &str = include_str!("../../examples/metrics.ndjson");

const BAD_USAGE: &str = r#"{"api_name":"a","status_code":99}
{"apiName":"a","timestamp":"2026-01-31T12:00:00"}
{"api_name":"a","timestamp":1769860800.5}
{"api_name":"a","cost_credits":1e-1,"cached":null}
{"id":"1","api_name":"a","error_message":"\u0000"}
{"api_name":"a","region":{"x":[1,{}]}}
["a"]
nonsense
"#;

const CSV: &str = "api_name,timestamp,status_code,error_message,cached,cost_credits\r\n\
tmdb,2026-01-31T11:00:00Z,200,\"two\nlines\",true,0.1\r\n\
rawg,1769860800,503,\"say \"\"no\"\"\",f,\n\
tmdb,2026-01-31T11:00:02Z,12x,,,\n\
\"a\"b,,,,,\n\
tmdb,,,,,1e-3\n";

const METRICS_CSV: &str = "timestamp,value,metric,service,metadata\n\
2026-01-31T12:00:00Z,1.5,storage_mb,vercel_kv,\"{\"\"plan\"\":\"\"free\"\"}\"\n";

const FOCUS: &str = r#"{"ServiceName":"Fast Data Transfer","ChargePeriodStart":"2026-01-30T00:00:00Z","BilledCost":"1.25","BillingCurrency":"USD","ConsumedQuantity":12.5,"ConsumedUnit":"GB","Tags":{}}
{"ServiceName":"Function Invocations","ChargePeriodStart":"2026-01-30T00:00:00Z","BilledCost":-0.5,"BillingCurrency":"USD","ConsumedQuantity":"1e3","ConsumedUnit":"units"}
{"ChargePeriodStart":"2026-01-31T00:00:00Z","BilledCost":0,"BillingCurrency":"USD"}
"#;

const FOCUS_CSV: &str = "ServiceName,ChargePeriodStart,BilledCost,BillingCurrency,ConsumedQuantity,ConsumedUnit,Region\n\
Build Minutes,2026-01-31T00:00:00Z,0.014,USD,2,hours,fra1\n";

/// The password in the seeds.
const PASSWORD: &str = "s3cretW0rd";

const URLS: &[&str] = &[
    "postgresql://app:s3cretW0rd@db.example.com:5432/app?schema=public&connection_limit=5",
    "postgres://app:s3cretW0rd@[::1]/app?sslmode=require&pgbouncer=true",
    "postgresql://app@a:1,b:2/app?password=s3cretW0rd&host=/tmp",
    "postgresql:///app?user=me&sslpassword=s3cretW0rd",
    "sqlite:data/usage.db?mode=rw",
    "file:./dev.db?connection_limit=1",
    "sqlite:///tmp/usage.db",
];

const EXPOSITION: &str = "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\n\
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n\
msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1.458255915e9\n\
metric_without_timestamp_and_labels 12.47\n\
something_weird{problem=\"division by zero\"} +Inf -3982045\n\
foo_bucket{le=\"0.01\"} 8 # {trace_id=\"x\"} 0.67\n# EOF\n";

const FIELDS: &[&str] = &[
    "\"api_name\":\"a\"",
    "\"endpoint\":",
    "\"method\":",
    "\"timestamp\":",
    "\"success\":",
    "\"statusCode\":",
    "\"response_time\":",
    "\"request_size\":",
    "\"responseSize\":",
    "\"error_type\":",
    "\"error_message\":",
    "\"cost_credits\":",
    "\"cached\":",
    "\"user_id\":",
    "\"id\":\"1\"",
    "api_name",
    "cost_credits",
    "},\n{",
    "\"api_name\":",
    "id",
];

/// Pieces of a few lines, each a seed; the first line of CSV stays with each.
fn split(texts: &[&str], lines: usize) -> Vec<Vec<u8>> {
    let pieces = |text: &&str| {
        let all: Vec<&str> = text.split_inclusive('\n').collect();
        let pieces = all.chunks(lines).take(40);
        pieces
            .map(|piece| piece.concat().into_bytes())
            .collect::<Vec<_>>()
    };
    texts.iter().flat_map(pieces).collect()
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_769_860_800, 0).unwrap_or_default()
}

/// Options that depend on the input, so that all are tried.
fn times(input: &[u8]) -> TimeOptions {
    let choice = input.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    TimeOptions {
        time_unit: match choice % 3 {
            0 => None,
            1 => Some(TimeUnit::S),
            _ => Some(TimeUnit::Ms),
        },
        assumed_zone: parse_zone("Europe/Berlin").ok().filter(|_| choice & 1 == 0),
        ..TimeOptions::new(now())
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// A number for a kind of result: the set of its messages, without digits and quoted input.
fn kind(words: impl IntoIterator<Item = String>) -> u64 {
    let plain = |word: String| -> String {
        let outside = word.split('`').step_by(2);
        outside
            .flat_map(str::chars)
            .filter(char::is_ascii_alphabetic)
            .collect()
    };
    let kinds: BTreeSet<String> = words.into_iter().map(plain).collect();
    let mut hasher = DefaultHasher::new();
    kinds.hash(&mut hasher);
    hasher.finish()
}

/// A refusal names a place of the input, and repeats what stands there.
fn check_place(refusal: &Refusal, input: &[u8]) -> Result<(), String> {
    let start = refusal.byte as usize;
    let Some(rest) = input.get(start..) else {
        return Err(format!("refusal beyond the input: {refusal:?}"));
    };
    let line = 1 + input[..start].iter().filter(|byte| **byte == b'\n').count() as u64;
    ensure(refusal.line == line, || {
        format!("line {line} expected: {refusal:?}")
    })?;
    ensure(rest.starts_with(&refusal.raw), || {
        format!("raw differs from the input: {refusal:?}")
    })?;
    ensure(!refusal.problem.message.is_empty(), || {
        format!("no reason: {refusal:?}")
    })
}

#[derive(Debug, PartialEq)]
struct Found {
    /// The ids of accepted records, empty for those that differ in each run.
    ids: Vec<String>,
    unrepeatable: u64,
    refused: Vec<Refusal>,
    failures: usize,
}

fn read_usage(
    input: Input,
    format: Format,
    times: &TimeOptions,
    is_replay: bool,
) -> Result<Found, String> {
    let job = Job {
        inputs: vec![input],
        format: Some(format),
        mapping: Mapping::own(match times.time_unit {
            Some(_) => UnknownFields::Ignore,
            None => UnknownFields::Refuse,
        }),
        times: times.clone(),
        is_replay,
        stop: Arc::new(AtomicBool::new(false)),
    };
    let mut found = Found {
        ids: Vec::new(),
        unrepeatable: 0,
        refused: Vec::new(),
        failures: 0,
    };
    let mut wrong = None;
    let summary = read(job, &mut |block| {
        found.unrepeatable += block.unrepeatable;
        for usage in block.usage.iter() {
            if let Err(reason) = check_record(&usage.record, times) {
                wrong = Some(reason);
            }
            found.ids.push(usage.record.id.to_owned());
        }
        found.refused.extend(block.refusals(Vec::new()));
        Some(Block::default())
    });
    found.failures = summary.failures.len();
    ensure(summary.is_complete, || {
        "reading stopped by itself".to_owned()
    })?;
    wrong.map_or(Ok(found), Err)
}

fn check_record(record: &UsageRecord<'_>, times: &TimeOptions) -> Result<(), String> {
    let texts = [
        (Some(record.id), limits::ID_BYTES),
        (Some(record.api_name), limits::API_NAME_BYTES),
        (record.endpoint, limits::ENDPOINT_BYTES),
        (record.method, limits::METHOD_BYTES),
        (record.error_type, limits::ERROR_TYPE_BYTES),
        (record.user_id, limits::USER_ID_BYTES),
        (record.error_message, 4 * limits::ERROR_MESSAGE_CHARS),
    ];
    let texts = texts.iter().all(|(text, most)| {
        text.is_none_or(|text| text.len() <= *most && !text.is_empty() && !text.contains('\0'))
    });
    let amounts = [
        record.response_time,
        record.request_size,
        record.response_size,
    ];
    let amounts = amounts.iter().flatten().all(|amount| *amount >= 0);
    let status = record
        .status_code
        .is_none_or(|status| limits::STATUS_CODES.contains(&status));
    let cost = record
        .cost_credits
        .is_none_or(|cost| limits::COSTS.contains(&cost));
    let at = record.timestamp;
    let time = limits::YEARS.contains(&at.year())
        && at <= times.now + times.max_future
        && at.timestamp_subsec_nanos() % 1_000_000 == 0;
    let named = !record.api_name.trim().is_empty();
    ensure(texts && amounts && status && cost && time && named, || {
        format!("accepted beyond the limits: {record:?}")
    })
}

fn usage(input: &[u8], format: Format) -> Result<u64, String> {
    let times = times(input);
    let text = || Input::text("fuzz", input.to_vec());
    let found = read_usage(text(), format, &times, false)?;
    for refusal in &found.refused {
        check_place(refusal, input)?;
    }
    ensure(
        found.refused.is_sorted_by_key(|refusal| refusal.byte),
        || "refusals are not in the order of the input".to_owned(),
    )?;
    if format == Format::Ndjson {
        let text = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
        let lines = text.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        let accounted = found.ids.len() + found.refused.len();
        ensure(accounted == lines, || {
            format!("{lines} lines, {accounted} accounted for")
        })?;
    }
    let again = read_usage(text(), format, &times, false)?;
    ensure(again.refused == found.refused, || {
        "a second read refuses other lines".to_owned()
    })?;
    if found.unrepeatable == 0 {
        ensure(again.ids == found.ids, || {
            "a second read gives other ids".to_owned()
        })?;
        // Given ids may repeat; derived ones have the form of a UUID and differ.
        let mut derived: Vec<&String> = found.ids.iter().filter(|id| id.len() == 36).collect();
        let count = derived.len();
        derived.sort_unstable();
        derived.dedup();
        let given = String::from_utf8_lossy(input).contains("\"id\"");
        ensure(
            given || format == Format::Csv || derived.len() == count,
            || "two records have the same derived id".to_owned(),
        )?;
    }
    if !found.refused.is_empty() {
        replay(&found, &times)?;
    }
    let words = found.refused.iter().map(|refusal| {
        format!(
            "{:?} {:?} {}",
            refusal.problem.code, refusal.problem.field, refusal.problem.message
        )
    });
    Ok(kind(words) ^ (found.ids.len().min(4) as u64) ^ ((found.failures as u64) << 8))
}

/// Refused lines that are kept and read back unchanged are refused again, at the same place.
fn replay(found: &Found, times: &TimeOptions) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot keep refusals: {error}");
    let path = rejects_path();
    let _ = fs::remove_file(&path);
    let mut file = RejectsFile::open(&path).map_err(failed)?;
    for refusal in &found.refused {
        file.write(refusal, times.now).map_err(failed)?;
    }
    file.close().map_err(failed)?;
    let kept = fs::read(&path).map_err(failed)?;
    let again = read_usage(Input::text("kept", kept), Format::Ndjson, times, true)?;
    ensure(again.ids.is_empty(), || {
        "a refused line is accepted on replay".to_owned()
    })?;
    let place = |refusal: &Refusal| (refusal.line, refusal.byte, refusal.origin.input.clone());
    ensure(
        again
            .refused
            .iter()
            .map(place)
            .eq(found.refused.iter().map(place)),
        || "replay refuses other lines".to_owned(),
    )
}

fn rejects_path() -> PathBuf {
    std::env::temp_dir().join(format!("usagectl-fuzz-{}.ndjson", std::process::id()))
}

/// Reads lines of a kind and checks each; returns the lines and the words of the result.
fn lines<L: FromLine>(
    input: &[u8],
    mut check: impl FnMut(L) -> Result<(), String>,
) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let text = Input::text("fuzz", input.to_vec());
    // Each line is then a value, even if the first is invalid.
    let is_ndjson = input.trim_ascii_start().first() == Some(&b'{');
    let format = is_ndjson.then_some(Format::Ndjson);
    let ended = read_lines::<L, String>(text, format, &times(input), &mut |line| match line {
        Ok(line) => {
            words.push("ok".to_owned());
            check(line)
        }
        Err(refusal) => {
            check_place(&refusal, input)?;
            words.push(refusal.problem.message);
            Ok(())
        }
    });
    match ended {
        Ok(()) => {}
        Err(ReadError::Input(failure)) => {
            ensure(failure.line >= 1, || "a failure names no line".to_owned())?;
            words.push(failure.reason);
        }
        Err(ReadError::Stopped(reason)) => return Err(reason),
    }
    if is_ndjson {
        let lines = input.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        ensure(words.len() == lines, || {
            format!("{lines} lines, {} accounted for", words.len())
        })?;
    }
    Ok(words)
}

fn metrics(input: &[u8]) -> Result<u64, String> {
    let words = lines::<NewPoint>(input, |point| {
        let years = limits::YEARS.contains(&point.at.year());
        ensure(point.value.is_finite() && years, || {
            format!("invalid point: {point:?}")
        })
    })?;
    Ok(kind(words))
}

fn focus(input: &[u8]) -> Result<u64, String> {
    let mut bill = Bill::default();
    let words = lines::<Charge>(input, |charge| {
        bill.add(&charge);
        Ok(())
    })?;
    for point in bill.points("fuzz", "", CostKind::Billed) {
        ensure(point.value.is_finite(), || {
            format!("invalid point: {point:?}")
        })?;
    }
    Ok(kind(words))
}

fn database_url(input: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(input);
    let masked = url::mask(&text);
    ensure(url::mask(&masked) == masked, || {
        format!("masking twice changes {masked}")
    })?;
    let shown = match url::parse(&text, UrlSource::Flag) {
        Ok(url) => {
            let target = match &url.target {
                DatabaseTarget::Sqlite(_) => "sqlite",
                DatabaseTarget::Postgres(target) => {
                    let connection = target.connection_string();
                    let message = target.without_secrets(connection);
                    if has_password(&text) {
                        let shown = format!("{masked} {} {message}", url.target);
                        ensure(!shown.contains(PASSWORD), || {
                            format!("password shown: {shown}")
                        })?;
                    }
                    "postgres"
                }
            };
            format!("{target} {}", url.notes.join(" "))
        }
        Err(error) => {
            let message = error.to_string();
            ensure(!message.contains(PASSWORD) || !has_password(&text), || {
                format!("password shown: {message}")
            })?;
            ensure(!error.next_step().is_empty(), || {
                format!("no solution: {message}")
            })?;
            message
        }
    };
    Ok(kind([shown]))
}

/// Whether the known password is in the place of a password, and only there.
fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.trim().split_once("://") else {
        return false;
    };
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = address.split('/').next().unwrap_or_default();
    let in_authority = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| password == PASSWORD);
    let in_query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| name.ends_with("password") && value == PASSWORD);
    text.matches(PASSWORD).count() == 1 && (in_authority || in_query)
}

fn exposition(input: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(input);
    let found = Exposition::parse(&text);
    let expected = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
        .count();
    let odd = found.invalid_lines.len();
    let accounted = found.samples.len() + odd;
    ensure(accounted == expected || odd >= 100, || {
        format!("{expected} lines, {accounted} accounted for")
    })?;
    let count = text.lines().count();
    ensure(
        found
            .invalid_lines
            .iter()
            .all(|line| (1..=count).contains(line)),
        || "a line beyond the text".to_owned(),
    )?;
    ensure(
        found.samples.iter().all(|sample| !sample.name.is_empty()),
        || "a sample without a name".to_owned(),
    )?;
    let labels = found
        .samples
        .iter()
        .map(|sample| "x".repeat(sample.labels.len().min(4)));
    Ok(kind(labels) ^ odd.min(4) as u64)
}

fn plans(input: &[u8]) -> Result<u64, String> {
    let Err(invalid) = catalogue::parse_bytes(input) else {
        return Ok(0);
    };
    let count = 1 + input.iter().filter(|byte| **byte == b'\n').count();
    ensure(!invalid.problems.is_empty(), || {
        "refused without a reason".to_owned()
    })?;
    for problem in &invalid.problems {
        ensure((1..=count).contains(&problem.line), || {
            format!("not a line of the file: {problem}")
        })?;
    }
    Ok(kind(invalid.problems.iter().map(ToString::to_string)))
}
