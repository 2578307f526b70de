//! The targets of collectors, from flags and the environment.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::args::{parse_api_name, parse_duration};
use crate::collectors::{
    CollectContext, Collected, Collector, Endpoint, MapRule, Neon, OpenAi, Postgres, Prices,
    Prometheus, Redis, Upstash, Vercel, rules_from_toml,
};
use crate::commands::prelude::*;
use crate::domain::metrics::collector::{CollectorError, MetricSource};
use crate::domain::named::Named;
use crate::http::{Secret, Url};
use crate::output::collect::NotConfigured;
use crate::store::url::{self, UrlSource};

/// The sources and their addresses.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// Only these sources: postgres, redis, upstash, neon, vercel, openai, prometheus, usage
    #[arg(long, value_delimiter = ',', value_name = "SOURCE")]
    pub only: Vec<MetricSource>,

    /// Timeout of each source
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// PostgreSQL to measure [env: USAGECTL_POSTGRES_URL]
    #[arg(long, value_name = "URL", help_heading = "Targets")]
    postgres_url: Option<String>,

    /// Redis to measure; rediss:// for TLS [env: USAGECTL_REDIS_URL]
    #[arg(long, value_name = "URL", help_heading = "Targets")]
    redis_url: Option<String>,

    /// Prometheus exporter to read [env: USAGECTL_PROMETHEUS_URL]
    #[arg(long, value_name = "URL", help_heading = "Targets")]
    prometheus_url: Option<String>,

    /// Map an exporter metric: NAME{LABEL="X"}=SERVICE/METRIC or ...*SCALE; repeat for more
    ///
    /// `sum(NAME{...})=...` adds up several series. Of a counter, the increase since the last run is stored.
    #[arg(long, value_name = "RULE", help_heading = "Targets")]
    map: Vec<MapRule>,

    /// TOML file of such rules: map = ["...", "..."] [env: USAGECTL_PROMETHEUS_MAP]
    #[arg(long, value_name = "FILE", help_heading = "Targets")]
    map_file: Option<PathBuf>,

    /// API in this database whose calls cost AI credits; repeat for more
    #[arg(long, value_name = "NAME", value_parser = parse_api_name, help_heading = "Targets")]
    pub usage_api: Vec<String>,

    /// Monthly credit budget, to compute the percentage used
    #[arg(long, value_name = "CREDITS", requires = "usage_api", help_heading = "Targets", value_parser = positive)]
    credit_budget: Option<f64>,

    /// Price of a credit in US dollars, to compute the cost
    #[arg(long, value_name = "USD", requires = "usage_api", help_heading = "Targets", value_parser = positive)]
    credit_usd: Option<f64>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok();
    number
        .filter(|number| number.is_finite() && *number > 0.0)
        .ok_or_else(|| "expected a number greater than zero".to_owned())
}

/// The configured targets, and the sources that are not configured.
pub(super) struct Targets {
    pub(super) collectors: Vec<Box<dyn Collector>>,
    /// Set if this database is a source.
    pub(super) usage: Option<Prices>,
    pub(super) not_configured: Vec<NotConfigured>,
}

/// A target whose configuration is invalid; it fails in the run, as an unreachable one does.
struct Misconfigured(MetricSource, CollectorError);

impl Collector for Misconfigured {
    fn source(&self) -> MetricSource {
        self.0
    }

    fn collect(&self, _: &CollectContext) -> Result<Collected, CollectorError> {
        Err(self.1.clone())
    }
}

type Configured = Result<Option<Box<dyn Collector>>, CollectorError>;

fn boxed(collector: impl Collector + 'static) -> Box<dyn Collector> {
    Box::new(collector)
}

impl TargetArgs {
    /// The configured targets. `last_collected` is the time since PostgreSQL was last collected.
    pub(super) fn targets(&self, last_collected: Option<Duration>) -> Result<Targets> {
        let mut targets = Targets {
            collectors: Vec::new(),
            usage: None,
            not_configured: Vec::new(),
        };
        for source in MetricSource::ALL {
            let source = *source;
            if !self.only.is_empty() && !self.only.contains(&source) {
                continue;
            }
            if source == MetricSource::Usage && !self.usage_api.is_empty() {
                targets.usage = Some(Prices {
                    budget: self.credit_budget,
                    credit_usd: self.credit_usd,
                });
                continue;
            }
            match self.configured(source, last_collected) {
                Ok(Some(collector)) => targets.collectors.push(collector),
                Ok(None) if self.only.contains(&source) => {
                    let message = format!("{source} is not configured");
                    return Err(Error::usage(message).with_next(how_to_configure(source)));
                }
                Ok(None) => targets.not_configured.push(NotConfigured {
                    collector: source,
                    next: how_to_configure(source),
                }),
                Err(error) => targets
                    .collectors
                    .push(Box::new(Misconfigured(source, error))),
            }
        }
        Ok(targets)
    }

    fn configured(&self, source: MetricSource, last_collected: Option<Duration>) -> Configured {
        match source {
            MetricSource::Postgres => self.postgres(last_collected),
            MetricSource::Redis => {
                let url = given(self.redis_url.as_deref(), "USAGECTL_REDIS_URL").map(Secret::from);
                Ok(url.map(|url| boxed(Redis { url })))
            }
            MetricSource::Upstash => upstash(),
            MetricSource::Neon => {
                let endpoint = endpoint(
                    "Neon",
                    "https://console.neon.tech",
                    "USAGECTL_NEON_API_URL",
                    "NEON_API_KEY",
                )?;
                let neon = |endpoint| Neon {
                    endpoint,
                    organisation: variable("NEON_ORG_ID"),
                    project: variable("NEON_PROJECT_ID"),
                };
                Ok(endpoint.map(neon).map(boxed))
            }
            MetricSource::Vercel => {
                let endpoint = endpoint(
                    "Vercel",
                    "https://api.vercel.com",
                    "USAGECTL_VERCEL_API_URL",
                    "VERCEL_TOKEN",
                )?;
                let team = variable("VERCEL_TEAM_ID");
                Ok(endpoint.map(|endpoint| boxed(Vercel { endpoint, team })))
            }
            MetricSource::Openai => {
                let endpoint = endpoint(
                    "OpenAI",
                    "https://api.openai.com",
                    "USAGECTL_OPENAI_API_URL",
                    "OPENAI_ADMIN_KEY",
                )?;
                let project = variable("OPENAI_PROJECT_ID");
                Ok(endpoint.map(|endpoint| boxed(OpenAi { endpoint, project })))
            }
            MetricSource::Prometheus => self.prometheus(),
            MetricSource::Usage => Ok(None),
        }
    }

    fn postgres(&self, last_collected: Option<Duration>) -> Configured {
        let Some(text) = given(self.postgres_url.as_deref(), "USAGECTL_POSTGRES_URL") else {
            return Ok(None);
        };
        let source = UrlSource::Environment("the URL of PostgreSQL");
        let url = url::parse(&text, source).map_err(|error| {
            let hint = error.next_step();
            CollectorError::new(error, hint)
        })?;
        Ok(Some(Box::new(Postgres {
            url,
            last_collected,
        })))
    }

    fn prometheus(&self) -> Configured {
        let Some(url) = given(self.prometheus_url.as_deref(), "USAGECTL_PROMETHEUS_URL") else {
            return Ok(None);
        };
        let url = Url::parse(&url).map_err(|error| {
            let message = format!("invalid URL of the exporter: {error}");
            CollectorError::new(
                message,
                "correct --prometheus-url or USAGECTL_PROMETHEUS_URL",
            )
        })?;
        let mut rules = self.map.clone();
        let file = self
            .map_file
            .clone()
            .or_else(|| variable("USAGECTL_PROMETHEUS_MAP").map(PathBuf::from));
        if let Some(path) = file {
            let hint = "correct the rules file: map = [\"NAME=SERVICE/METRIC\"]";
            let failed = |error: &dyn std::fmt::Display| {
                CollectorError::new(format_args!("{}: {error}", path.display()), hint)
            };
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
            rules.extend(rules_from_toml(&text).map_err(|error| failed(&error))?);
        }
        if rules.is_empty() {
            let hint = "give --map 'NAME=SERVICE/METRIC', or --map-file";
            return Err(CollectorError::new(
                "no rule maps a metric of the exporter",
                hint,
            ));
        }
        let token = Secret::from_env("USAGECTL_PROMETHEUS_TOKEN").ok();
        Ok(Some(Box::new(Prometheus { url, token, rules })))
    }
}

fn how_to_configure(source: MetricSource) -> &'static str {
    match source {
        MetricSource::Postgres => "give --postgres-url, or set USAGECTL_POSTGRES_URL",
        MetricSource::Redis => "give --redis-url, or set USAGECTL_REDIS_URL",
        MetricSource::Upstash => {
            "set UPSTASH_EMAIL, UPSTASH_API_KEY and UPSTASH_REDIS_ID; or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN"
        }
        MetricSource::Neon => "set NEON_API_KEY, and NEON_ORG_ID",
        MetricSource::Vercel => "set VERCEL_TOKEN, and VERCEL_TEAM_ID",
        MetricSource::Openai => "set OPENAI_ADMIN_KEY",
        MetricSource::Prometheus => {
            "give --prometheus-url and --map, or set USAGECTL_PROMETHEUS_URL"
        }
        MetricSource::Usage => "give --usage-api",
    }
}

/// The value of an environment variable, unless it is empty.
fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn given(flag: Option<&str>, variable: &str) -> Option<String> {
    flag.map(str::to_owned).or_else(|| self::variable(variable))
}

/// An API, if its key is set. Its address can be changed for gateways and tests.
fn endpoint(
    vendor: &'static str,
    address: &str,
    address_variable: &'static str,
    key_variable: &'static str,
) -> Result<Option<Endpoint>, CollectorError> {
    let Ok(key) = Secret::from_env(key_variable) else {
        return Ok(None);
    };
    let address = variable(address_variable).unwrap_or_else(|| address.to_owned());
    let base = Url::parse(&address).map_err(|error| {
        let hint = format!("correct or unset {address_variable}");
        CollectorError::new(format_args!("{vendor}: invalid URL: {error}"), hint)
    })?;
    Ok(Some(Endpoint {
        vendor,
        base,
        key,
        key_variable,
    }))
}

fn upstash() -> Configured {
    const VENDOR: &str = "Upstash";
    let account = endpoint(
        VENDOR,
        "https://api.upstash.com",
        "USAGECTL_UPSTASH_API_URL",
        "UPSTASH_API_KEY",
    )?;
    if let Some(endpoint) = account {
        let missing = |name: &str| {
            CollectorError::new(
                format_args!("{VENDOR}: {name} is not set"),
                format!("set {name} beside UPSTASH_API_KEY"),
            )
        };
        let email = variable("UPSTASH_EMAIL").ok_or_else(|| missing("UPSTASH_EMAIL"))?;
        let database_id =
            variable("UPSTASH_REDIS_ID").ok_or_else(|| missing("UPSTASH_REDIS_ID"))?;
        return Ok(Some(Box::new(Upstash::Account {
            endpoint,
            email,
            database_id,
        })));
    }
    // The second pair of names is the one that Vercel sets in connected projects.
    for (address, key_variable) in [
        ("UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"),
        ("KV_REST_API_URL", "KV_REST_API_TOKEN"),
    ] {
        if variable(address).is_some() {
            let endpoint = endpoint(VENDOR, "", address, key_variable)?.ok_or_else(|| {
                let message = format!("{VENDOR}: {key_variable} is not set");
                CollectorError::new(message, format!("set {key_variable} beside {address}"))
            })?;
            return Ok(Some(Box::new(Upstash::Rest(endpoint))));
        }
    }
    Ok(None)
}
