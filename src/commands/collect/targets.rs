//! The targets of collectors: from flags and the environment, or from a file.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::args::{parse_api_name, parse_duration, parse_text};
use crate::collectors::{
    CollectContext, Collected, Collector, Endpoint, MapRule, Neon, OpenAi, Postgres, Prices,
    Prometheus, Redis, Target, Upstash, Vercel, rules_from_toml,
};
use crate::commands::prelude::*;
use crate::domain::metrics::collector::{CollectorError, MetricSource, TargetName};
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

    /// TOML file of targets, each with its kind and resource
    ///
    /// It takes the place of the flags and of the variables of a single target. Each `[[target]]` has kind, and
    /// resource if there are several of a kind; url or url_env (the variable that has the URL), key_env (the variable
    /// that has the key), account (team, organisation or e-mail address), project (or the id of a database), and map
    /// for prometheus. Missing settings come from the usual variables.
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Targets",
        conflicts_with_all = ["resource", "postgres_url", "redis_url", "prometheus_url", "map", "map_file"]
    )]
    config: Option<PathBuf>,

    /// Resource that the values belong to: database, project or team
    #[arg(long, value_name = "NAME", help_heading = "Targets", value_parser = parse_text::<200>)]
    resource: Option<String>,

    /// First day to read, of vendors and this database [default: since the last run, at least three days]
    #[arg(long, value_name = "DATE")]
    pub since: Option<NaiveDate>,

    /// Allow plain HTTP to exporters at private addresses
    #[arg(long)]
    pub allow_http: bool,

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
    /// `{"NAME",...}` quotes a name with other characters. `sum(NAME{...})=...` adds up several series. Of a counter,
    /// the increase since the last run is stored: by its type or its suffix (_total, _count, _sum, _bucket), or if
    /// the rule is `counter(NAME)=...`.
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
#[derive(Default)]
pub(super) struct Targets {
    pub(super) targets: Vec<Target>,
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

    fn address(&self) -> String {
        String::new()
    }

    fn collect(&self, _: &CollectContext) -> Result<Collected, CollectorError> {
        Err(self.1.clone())
    }
}

type Configured = Result<Option<Box<dyn Collector>>, CollectorError>;

fn boxed(collector: impl Collector + 'static) -> Box<dyn Collector> {
    Box::new(collector)
}

/// The settings of a target. Missing ones come from the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetConfig {
    kind: MetricSource,
    #[serde(default)]
    resource: String,
    url: Option<String>,
    /// The environment variable of the URL, which may contain a password.
    url_env: Option<String>,
    /// The environment variable of the key.
    key_env: Option<String>,
    /// Team, organisation or e-mail address.
    #[serde(alias = "team", alias = "organisation", alias = "email")]
    account: Option<String>,
    /// Project, or the id of a database.
    #[serde(alias = "database")]
    project: Option<String>,
    #[serde(default)]
    map: Vec<MapRule>,
}

/// Reads a file of targets.
fn read_config(path: &Path) -> Result<Vec<TargetConfig>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        target: Vec<TargetConfig>,
    }
    let failed = |problem: &dyn std::fmt::Display| {
        let message = format!("{}: {problem}", path.display());
        Error::usage(message).with_next("correct the file: usagectl collect run --help")
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        failed(&format_args!("line {line}: {}", error.message()))
    })?;
    let mut names = BTreeSet::new();
    for config in &file.target {
        let (TargetConfig { kind, resource, .. }, name) = (config, config.name());
        if *kind == MetricSource::Usage {
            return Err(failed(&"usage is configured by --usage-api"));
        }
        if !resource.is_empty()
            && let Err(problem) = parse_text::<200>(resource)
        {
            let resource = printable(resource);
            return Err(failed(&format_args!("resource `{resource}`: {problem}")));
        }
        let message = format!("two targets `{name}`: give each a resource of its own");
        if !names.insert(name) {
            return Err(failed(&message));
        }
    }
    if file.target.is_empty() {
        return Err(failed(&"no [[target]]"));
    }
    Ok(file.target)
}

impl TargetArgs {
    /// The configured targets.
    pub(super) fn targets(&self) -> Result<Targets> {
        let is_chosen = |source| self.only.is_empty() || self.only.contains(&source);
        let mut targets = Targets::default();
        if is_chosen(MetricSource::Usage) && !self.usage_api.is_empty() {
            targets.usage = Some(Prices {
                budget: self.credit_budget,
                credit_usd: self.credit_usd,
            });
        }
        let configs = match &self.config {
            Some(path) => read_config(path)?,
            None => {
                let sources = MetricSource::ALL.iter();
                sources.map(|it| self.of_flags(*it)).collect()
            }
        };
        for config in configs.into_iter().filter(|it| is_chosen(it.kind)) {
            let source = config.kind;
            let configured = match source {
                MetricSource::Prometheus => self.with_map_file(config.clone()),
                _ => Ok(config.clone()),
            };
            let collector = match configured.and_then(|config| config.collector()) {
                Ok(Some(collector)) => collector,
                Ok(None) if source == MetricSource::Usage && targets.usage.is_some() => continue,
                Ok(None) if self.only.contains(&source) || self.config.is_some() => {
                    let message = format!("{} is not configured", config.name());
                    let next = self.how_to_configure(source);
                    return Err(Error::usage(message).with_next(next));
                }
                Ok(None) => {
                    targets.not_configured.push(NotConfigured {
                        collector: source,
                        next: usual_settings(source),
                    });
                    continue;
                }
                Err(error) => boxed(Misconfigured(source, error)),
            };
            targets.targets.push(Target {
                resource: config.resource,
                collector,
            });
        }
        Ok(targets)
    }

    fn how_to_configure(&self, source: MetricSource) -> String {
        let usual = usual_settings(source);
        match (&self.config, source) {
            (None, _) => usual.to_owned(),
            (Some(_), MetricSource::Postgres | MetricSource::Redis | MetricSource::Prometheus) => {
                "give the target url, or url_env with the variable that has it".to_owned()
            }
            (Some(_), MetricSource::Upstash) => {
                "give the target key_env with the variable of its key, and set UPSTASH_EMAIL and UPSTASH_REDIS_ID".to_owned()
            }
            (Some(_), MetricSource::Neon | MetricSource::Vercel | MetricSource::Openai | MetricSource::Usage) => {
                format!("give the target key_env with the variable of its key, or {usual}")
            }
        }
    }

    /// The only target of a source.
    fn of_flags(&self, kind: MetricSource) -> TargetConfig {
        let url = match kind {
            MetricSource::Postgres => &self.postgres_url,
            MetricSource::Redis => &self.redis_url,
            MetricSource::Prometheus => &self.prometheus_url,
            MetricSource::Upstash
            | MetricSource::Neon
            | MetricSource::Vercel
            | MetricSource::Openai
            | MetricSource::Usage => &None,
        };
        TargetConfig {
            kind,
            resource: self.resource.clone().unwrap_or_default(),
            url: url.clone(),
            url_env: None,
            key_env: None,
            account: None,
            project: None,
            map: self.map.clone(),
        }
    }

    /// Adds the rules of the rules file.
    fn with_map_file(&self, mut config: TargetConfig) -> Result<TargetConfig, CollectorError> {
        let is_configured = config.address("USAGECTL_PROMETHEUS_URL")?.is_some();
        let file = self.map_file.clone();
        let file = file.or_else(|| variable("USAGECTL_PROMETHEUS_MAP").map(PathBuf::from));
        if let Some(path) = file.filter(|_| self.config.is_none() && is_configured) {
            let hint = "correct the rules file: map = [\"NAME=SERVICE/METRIC\"]";
            let failed = |error: &dyn std::fmt::Display| {
                CollectorError::new(format_args!("{}: {error}", path.display()), hint)
            };
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
            let rules = rules_from_toml(&text).map_err(|error| failed(&error))?;
            config.map.extend(rules);
        }
        Ok(config)
    }
}

impl TargetConfig {
    fn name(&self) -> TargetName {
        TargetName {
            source: self.kind,
            resource: self.resource.clone(),
        }
    }

    fn collector(&self) -> Configured {
        match self.kind {
            MetricSource::Postgres => self.postgres(),
            MetricSource::Redis => {
                let url = self.address("USAGECTL_REDIS_URL")?.map(Secret::from);
                Ok(url.map(|url| boxed(Redis { url })))
            }
            MetricSource::Upstash => self.upstash(),
            MetricSource::Neon => {
                let at = ("https://console.neon.tech", "USAGECTL_NEON_API_URL");
                let endpoint = self.endpoint("Neon", at, "NEON_API_KEY")?;
                let neon = |endpoint| Neon {
                    endpoint,
                    organisation: or_variable(&self.account, "NEON_ORG_ID"),
                    project: or_variable(&self.project, "NEON_PROJECT_ID"),
                };
                Ok(endpoint.map(neon).map(boxed))
            }
            MetricSource::Vercel => {
                let at = ("https://api.vercel.com", "USAGECTL_VERCEL_API_URL");
                let endpoint = self.endpoint("Vercel", at, "VERCEL_TOKEN")?;
                let team = or_variable(&self.account, "VERCEL_TEAM_ID");
                Ok(endpoint.map(|endpoint| boxed(Vercel { endpoint, team })))
            }
            MetricSource::Openai => {
                let at = ("https://api.openai.com", "USAGECTL_OPENAI_API_URL");
                let endpoint = self.endpoint("OpenAI", at, "OPENAI_ADMIN_KEY")?;
                let project = or_variable(&self.project, "OPENAI_PROJECT_ID");
                Ok(endpoint.map(|endpoint| boxed(OpenAi { endpoint, project })))
            }
            MetricSource::Prometheus => self.prometheus(),
            MetricSource::Usage => Ok(None),
        }
    }

    /// The URL; one that a variable must have is required.
    fn address(&self, usual_variable: &str) -> Result<Option<String>, CollectorError> {
        match (&self.url, &self.url_env) {
            (Some(url), _) => Ok(Some(url.clone())),
            (None, Some(name)) => Ok(Some(required(name)?.expose().to_owned())),
            (None, None) => Ok(variable(usual_variable)),
        }
    }

    fn postgres(&self) -> Configured {
        let Some(text) = self.address("USAGECTL_POSTGRES_URL")? else {
            return Ok(None);
        };
        let source = UrlSource::Environment("the URL of PostgreSQL");
        let url = url::parse(&text, source).map_err(|error| {
            let hint = "write postgresql://USER:PASSWORD@HOST:5432/DATABASE into the url of the target, --postgres-url or \
                        USAGECTL_POSTGRES_URL, with special characters percent-encoded";
            CollectorError::new(error, hint)
        })?;
        Ok(Some(boxed(Postgres { url })))
    }

    fn prometheus(&self) -> Configured {
        let Some(url) = self.address("USAGECTL_PROMETHEUS_URL")? else {
            return Ok(None);
        };
        let url = Url::parse(&url).map_err(|error| {
            let message = format!("invalid URL of the exporter: {error}");
            let hint = "correct the url of the target, --prometheus-url or USAGECTL_PROMETHEUS_URL";
            CollectorError::new(message, hint)
        })?;
        let rules = self.map.clone();
        if rules.is_empty() {
            let message = "no rule maps a metric of the exporter";
            let hint =
                "give --map 'NAME=SERVICE/METRIC' or --map-file, or map in the target's file";
            return Err(CollectorError::new(message, hint));
        }
        let token = match &self.key_env {
            Some(name) => Some(required(name)?),
            None => Secret::from_env("USAGECTL_PROMETHEUS_TOKEN").ok(),
        };
        Ok(Some(boxed(Prometheus { url, token, rules })))
    }

    /// An API, if its key is set. Its address can be changed for gateways and tests.
    fn endpoint(
        &self,
        vendor: &'static str,
        (address, address_variable): (&str, &str),
        usual_key: &str,
    ) -> Result<Option<Endpoint>, CollectorError> {
        let key = match &self.key_env {
            Some(name) => required(name)?,
            None => match Secret::from_env(usual_key) {
                Ok(key) => key,
                Err(_) => return Ok(None),
            },
        };
        let url = self.address(address_variable)?;
        let url = url.unwrap_or_else(|| address.to_owned());
        let base = Url::parse(&url).map_err(|error| {
            let hint = format!("correct or unset {address_variable}");
            CollectorError::new(format_args!("{vendor}: invalid URL: {error}"), hint)
        })?;
        Ok(Some(Endpoint {
            vendor,
            base,
            key,
            key_variable: self.key_env.clone().unwrap_or_else(|| usual_key.to_owned()),
        }))
    }

    fn upstash(&self) -> Configured {
        const VENDOR: &str = "Upstash";
        let missing = |name: &str, beside: &str| {
            let message = format_args!("{VENDOR}: {name} is not set");
            CollectorError::new(message, format!("set {name} beside {beside}"))
        };
        // A URL is that of a database's REST interface.
        if self.url.is_none() && self.url_env.is_none() {
            let at = ("https://api.upstash.com", "USAGECTL_UPSTASH_API_URL");
            if let Some(endpoint) = self.endpoint(VENDOR, at, "UPSTASH_API_KEY")? {
                let given = |value, name| {
                    or_variable(value, name).ok_or_else(|| missing(name, "UPSTASH_API_KEY"))
                };
                return Ok(Some(boxed(Upstash::Account {
                    email: given(&self.account, "UPSTASH_EMAIL")?,
                    database_id: given(&self.project, "UPSTASH_REDIS_ID")?,
                    endpoint,
                })));
            }
        }
        // The second pair of names is the one that Vercel sets in connected projects.
        for (address, key) in [
            ("UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"),
            ("KV_REST_API_URL", "KV_REST_API_TOKEN"),
        ] {
            if self.address(address)?.is_some() {
                let endpoint = self.endpoint(VENDOR, ("", address), key)?;
                let endpoint = endpoint.ok_or_else(|| missing(key, address))?;
                return Ok(Some(boxed(Upstash::Rest(endpoint))));
            }
        }
        Ok(None)
    }
}

/// The flags and variables of the only target of a source.
fn usual_settings(source: MetricSource) -> &'static str {
    match source {
        MetricSource::Postgres => "give --postgres-url, or set USAGECTL_POSTGRES_URL",
        MetricSource::Redis => "give --redis-url, or set USAGECTL_REDIS_URL",
        MetricSource::Upstash => {
            "set UPSTASH_EMAIL, UPSTASH_API_KEY and UPSTASH_REDIS_ID; or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN"
        }
        MetricSource::Neon => "set NEON_API_KEY, and NEON_ORG_ID or (any plan) NEON_PROJECT_ID",
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

fn or_variable(given: &Option<String>, name: &str) -> Option<String> {
    given.clone().or_else(|| variable(name))
}

/// The value of an environment variable that a target names.
fn required(name: &str) -> Result<Secret, CollectorError> {
    Secret::from_env(name).map_err(|error| {
        let hint = format!("set {name}, which the target names");
        CollectorError::new(error, hint)
    })
}
