//! How the names and values of a foreign log become fields: data, read by one engine.
//!
//! A mapping is a small TOML file. The presets are such files, embedded; `--map` and `--set` add rules to
//! one, or to the empty mapping under which a log has our own names.
//!
//! ```toml
//! about = "Access log of some proxy, as JSON"
//! root = "log.entries"          # the array that holds the records
//! null = ["-"]                  # words that stand for a missing value
//! time_unit = "s"               # also: time_format, assume_tz, columns, delimiter, calls, required
//! [fields]
//! endpoint = "request.uri"      # a path, or a list of paths of which the first with a value is taken
//! response_time = { from = "duration", unit = "s" }   # also: sum, a list of paths
//! success = { from = "status", values = { failure = false, "*" = true } }
//! method = { from = "request_line", take = "method" }
//! api_name = { value = "openai" }
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::csv::{Dialect, Header};
use super::fields::{Field, RawEvent, Target, UnknownFields, Value, same_name, shortened, unknown};
use super::time::{TimeUnit, parse_time_format, parse_zone};
use super::{Code, LineError};
use crate::domain::format::shell_word;
use crate::domain::zone::Zone;

#[derive(Clone, Debug, Default)]
pub struct Mapping {
    pub(super) unknown: UnknownFields,
    /// Words that stand for a missing value.
    pub nulls: Vec<String>,
    /// The separator of CSV columns; by default the header decides.
    pub delimiter: Option<u8>,
    /// The path of the array that holds the records.
    pub(super) root: Vec<String>,
    /// The columns of lines that are words in quotes, brackets or neither.
    pub(super) columns: Vec<String>,
    pub time_unit: Option<TimeUnit>,
    pub time_format: Option<String>,
    pub assumed_zone: Option<Zone>,
    rules: Vec<Rule>,
    /// The path of the number of calls in a row; only rows of one call are records.
    calls: Option<usize>,
    /// Paths of which a record has one; other lines are no calls.
    required: Vec<usize>,
    /// All paths, as they are written. Rules refer to them by their number.
    paths: Vec<String>,
    /// The same paths, by their names.
    tree: Node,
    /// Whether only the rules decide, and the fields' own names have no meaning.
    is_foreign: bool,
}

/// A name in JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    path: Option<usize>,
    children: HashMap<String, Node>,
}

/// The origin of one field.
#[derive(Clone, Debug)]
struct Rule {
    field: Field,
    /// Paths, of which the first with a value is taken.
    from: Vec<usize>,
    /// Whether the value is the sum of all paths instead.
    is_sum: bool,
    /// The value if no path has one.
    value: Option<String>,
    take: Option<Take>,
    unit: Option<TimeUnit>,
    values: BTreeMap<String, String>,
    is_option: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Take {
    /// The method of a request line: `GET /path HTTP/1.1`.
    Method,
    /// The path and query of a request line or a URL.
    Target,
    /// The host of a URL, of a request line with a URL, or before a port.
    Host,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    #[serde(default)]
    about: String,
    #[serde(default)]
    root: String,
    #[serde(default)]
    columns: Vec<String>,
    delimiter: Option<char>,
    #[serde(default)]
    null: Vec<String>,
    time_format: Option<String>,
    time_unit: Option<TimeUnit>,
    assume_tz: Option<String>,
    calls: Option<String>,
    #[serde(default)]
    required: Vec<String>,
    fields: BTreeMap<String, FieldEntry>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a path, a list of paths, or a table with from, sum, value, take, unit, values"
)]
enum FieldEntry {
    Paths(Paths),
    Rule(RuleEntry),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    from: Option<Paths>,
    #[serde(default)]
    sum: Vec<String>,
    value: Option<Scalar>,
    take: Option<Take>,
    unit: Option<TimeUnit>,
    #[serde(default)]
    values: BTreeMap<String, Scalar>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Bool(bool),
    Int(i64),
    Float(f64),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Scalar::Text(text) => text,
            Scalar::Bool(value) => value.to_string(),
            Scalar::Int(value) => value.to_string(),
            Scalar::Float(value) => value.to_string(),
        }
    }
}

macro_rules! presets {
    ($($name:literal,)+) => {
        const PRESETS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("presets/", $name, ".toml"))),)+];
    };
}
presets! {
    "nginx-json",
    "combined",
    "caddy",
    "traefik",
    "envoy",
    "istio",
    "kong",
    "alb",
    "apigw",
    "vercel",
    "litellm",
    "openai-usage",
    "har",
}

pub fn presets() -> Result<Vec<(&'static str, String)>, String> {
    let preset = |(name, text): &(&'static str, &str)| {
        let file = toml::from_str(text).map_err(|error| error.to_string());
        file.map(|file: MappingFile| (*name, file.about))
    };
    PRESETS.iter().map(preset).collect()
}

impl Mapping {
    /// The mapping of our own names.
    pub fn own(unknown: UnknownFields) -> Mapping {
        Mapping {
            unknown,
            ..Mapping::default()
        }
    }

    pub fn preset(name: &str) -> Result<Mapping, String> {
        let found = PRESETS.iter().find(|(known, _)| *known == name);
        let (_, text) = found.ok_or_else(|| {
            let names: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })?;
        Mapping::parse(text)
    }

    pub fn parse(text: &str) -> Result<Mapping, String> {
        let file: MappingFile =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let zone = file.assume_tz.as_deref().map(parse_zone).transpose();
        let mut mapping = Mapping {
            unknown: UnknownFields::Ignore,
            nulls: file.null,
            delimiter: file.delimiter.map(parse_delimiter).transpose()?,
            root: names(&file.root),
            columns: file.columns,
            time_unit: file.time_unit,
            time_format: file
                .time_format
                .as_deref()
                .map(parse_time_format)
                .transpose()?,
            assumed_zone: zone.map_err(|reason| format!("assume_tz: {reason}"))?,
            is_foreign: true,
            ..Mapping::default()
        };
        for (name, entry) in file.fields {
            let field = Field::parse(&name)?;
            let entry = match entry {
                FieldEntry::Paths(paths) => RuleEntry {
                    from: Some(paths),
                    ..RuleEntry::default()
                },
                FieldEntry::Rule(entry) => entry,
            };
            let is_sum = !entry.sum.is_empty();
            let from = match entry.from {
                None => entry.sum,
                Some(Paths::One(path)) => vec![path],
                Some(Paths::Many(paths)) => paths,
            };
            let values = entry.values.into_iter();
            let rule = Rule {
                field,
                from: from.iter().map(|path| mapping.path(path)).collect(),
                is_sum,
                value: entry.value.map(Scalar::into_text),
                take: entry.take,
                unit: unit_of(field, entry.unit)?,
                values: values.map(|(from, to)| (from, to.into_text())).collect(),
                is_option: false,
            };
            mapping.rules.push(rule);
        }
        mapping.calls = file.calls.as_deref().map(|path| mapping.path(path));
        mapping.required = file.required.iter().map(|it| mapping.path(it)).collect();
        Ok(mapping)
    }

    /// Reads `path` as `field`. Of several paths of one field the first with a value is taken.
    pub fn map(&mut self, path: &str, field: Field, unit: Option<TimeUnit>) -> Result<(), String> {
        let unit = unit_of(field, unit)?;
        let path = self.path(path);
        let known = self.rules.iter_mut().find(|rule| rule.field == field);
        if let Some(rule) = known
            && rule.is_option
            && rule.unit == unit
            && !rule.from.is_empty()
        {
            rule.from.push(path);
            return Ok(());
        }
        self.add(field, vec![path], None, unit);
        Ok(())
    }

    pub fn set(&mut self, field: Field, value: String) {
        self.add(field, Vec::new(), Some(value), None);
    }

    fn add(
        &mut self,
        field: Field,
        from: Vec<usize>,
        value: Option<String>,
        unit: Option<TimeUnit>,
    ) {
        self.rules.retain(|rule| rule.field != field);
        self.rules.push(Rule {
            field,
            from,
            is_sum: false,
            value,
            take: None,
            unit,
            values: BTreeMap::new(),
            is_option: true,
        });
    }

    /// The number of a path.
    fn path(&mut self, path: &str) -> usize {
        if let Some(known) = self.paths.iter().position(|known| known == path) {
            return known;
        }
        let number = self.paths.len();
        self.paths.push(path.to_owned());
        let names = names(path).into_iter();
        let leaf = names.fold(&mut self.tree, |node, name| {
            node.children.entry(name).or_default()
        });
        leaf.path = Some(number);
        // Some logs have names with dots in them.
        self.tree.children.entry(path.to_owned()).or_default().path = Some(number);
        number
    }

    /// Whether the input has our own names and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.rules.is_empty() && !self.is_foreign && self.unknown == UnknownFields::Refuse
    }

    /// Whether records may get the field `field`.
    pub fn provides(&self, field: Field) -> bool {
        !self.is_foreign || self.rules.iter().any(|rule| rule.field == field)
    }

    /// The paths of `--map` that `seen` does not have, each with its field.
    pub(super) fn unmatched(&self, seen: &[bool]) -> Vec<String> {
        let options = self.rules.iter().filter(|rule| rule.is_option);
        let paths = options.flat_map(|rule| rule.from.iter().map(move |path| (rule, *path)));
        paths
            .filter(|(_, path)| !seen.get(*path).is_some_and(|seen| *seen))
            .map(|(rule, path)| format!("{}={}", self.paths[path], rule.field.name()))
            .collect()
    }

    pub(super) fn event<'a>(&self) -> RawEvent<'a> {
        RawEvent::with_paths(self.paths.len())
    }

    pub(super) fn tree(&self) -> &Node {
        &self.tree
    }

    /// What a name in JSON stands for at `node`: a field or path, and the names below it.
    pub(super) fn resolve<'m>(
        &self,
        node: &'m Node,
        is_top: bool,
        name: &str,
    ) -> Option<(Option<Target>, Option<&'m Node>)> {
        if !node.children.is_empty()
            && let Some(child) = node.children.get(name)
        {
            let below = (!child.children.is_empty()).then_some(child);
            return Some((child.path.map(Target::Path), below));
        }
        let field = Field::named(name).filter(|_| is_top && !self.is_foreign)?;
        Some((Some(Target::Field(field)), None))
    }

    /// What a column stands for.
    fn column(&self, name: &str) -> Option<Target> {
        let mut paths = self.paths.iter();
        let exact = paths.position(|path| path == name);
        let path = exact.or_else(|| self.paths.iter().position(|path| same_name(path, name)));
        path.map(Target::Path).or_else(|| {
            let field = Field::of_column(name).filter(|_| !self.is_foreign);
            field.map(Target::Field)
        })
    }

    /// Whether a field of a number is read from it.
    pub(super) fn is_number(&self, target: Target) -> bool {
        match target {
            Target::Field(field) => field.is_number(),
            Target::Path(path) => {
                let mut rules = self.rules.iter();
                rules.any(|rule| rule.field.is_number() && rule.from.contains(&path))
            }
        }
    }

    /// Whether a column or a name in JSON has a meaning.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.column(name).is_some() || self.tree.children.contains_key(name)
    }

    pub(super) fn header(&self, text: &str, dialect: Dialect) -> Result<Header<Target>, String> {
        let header = Header::parse(text, dialect, |name| match self.column(name) {
            None if self.unknown == UnknownFields::Refuse => Err(format!(
                "the header has an unknown column `{}`, which {}",
                shortened(name),
                unknown(name)
            )),
            target => Ok(target),
        })?;
        let has_path = |path: &usize| header.has(Target::Path(*path));
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.is_option && !rule.from.is_empty())
        {
            if !rule.from.iter().any(has_path) {
                let path = &self.paths[rule.from[0]];
                let rule = shell_word(path);
                return Err(format!(
                    "the header has no column `{path}`; correct --map {rule}"
                ));
            }
        }
        let mut rules = self
            .rules
            .iter()
            .filter(|rule| rule.field == Field::ApiName);
        let is_set = rules.any(|rule| rule.value.is_some() || rule.from.iter().any(has_path));
        if is_set || header.has(Target::Field(Field::ApiName)) {
            Ok(header)
        } else {
            Err("the header has no column `api_name`; name one with --map COLUMN=api_name, or the API with --set api_name=NAME".to_owned())
        }
    }

    pub(super) fn words(&self) -> Header<Target> {
        let columns = self.columns.iter();
        Header::new(
            columns.map(|name| self.column(name)).collect(),
            Dialect::Words,
        )
    }

    /// The value, unless it is a word for none.
    pub(super) fn clean<'a>(&self, value: Value<'a>) -> Value<'a> {
        match value {
            Value::Text(text) if self.nulls.iter().any(|null| *null == text) => Value::Absent,
            Value::Int(value) if self.nulls.iter().any(|null| null.parse() == Ok(value)) => {
                Value::Absent
            }
            value => value,
        }
    }

    /// Derives the fields from the paths.
    pub(super) fn apply(&self, event: &mut RawEvent<'_>) {
        for rule in &self.rules {
            let mut values = rule.from.iter().filter_map(|path| event.paths.get(*path));
            let found = if rule.is_sum {
                values.map(number).sum::<Option<f64>>().map(Value::Float)
            } else {
                values.find(|value| !value.is_empty()).cloned()
            };
            match (found.map(|value| rule.convert(value)), &rule.value) {
                (Some(value), _) if value != Value::Absent => {
                    if rule.field == Field::Timestamp {
                        event.time_unit = rule.unit;
                    }
                    event.set(rule.field, value);
                }
                (_, Some(value)) => {
                    event.replace(rule.field, Value::Text(Cow::Owned(value.clone())));
                }
                _ => {}
            }
        }
        let is_missing = |path: &usize| event.paths.get(*path).is_none_or(Value::is_empty);
        if !self.required.is_empty() && self.required.iter().all(is_missing) {
            let message = "is not a call: it lacks what the mapping requires of one";
            event
                .problem
                .get_or_insert(LineError::new(Code::Missing, message));
        }
        let calls = self
            .calls
            .and_then(|path| event.paths.get(path))
            .and_then(number);
        if let Some(calls) = calls.filter(|calls| *calls != 1.0) {
            let message = format!("is the sum of {calls} calls, expected a row for each call");
            event
                .problem
                .get_or_insert(LineError::new(Code::Range, message));
        }
    }
}

fn names(path: &str) -> Vec<String> {
    let names = path.split('.').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

pub fn parse_delimiter(delimiter: char) -> Result<u8, String> {
    u8::try_from(delimiter)
        .ok()
        .filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | b'\0'))
        .ok_or_else(|| "expected one ASCII character, such as ; or a tab".to_owned())
}

/// The unit of a rule; only times have one.
fn unit_of(field: Field, unit: Option<TimeUnit>) -> Result<Option<TimeUnit>, String> {
    match (field, unit) {
        (_, None) | (Field::Timestamp | Field::ResponseTime, _) => Ok(unit),
        _ => Err(format!("{} has no unit", field.name())),
    }
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl Rule {
    /// The value of the field; absent where nothing is left of it.
    fn convert<'a>(&self, mut value: Value<'a>) -> Value<'a> {
        if let (Some(take), Value::Text(text)) = (self.take, &mut value) {
            match text {
                Cow::Borrowed(whole) => *whole = take.of(whole),
                Cow::Owned(whole) => *whole = take.of(whole).to_owned(),
            }
        }
        if !self.values.is_empty() {
            let text = match &value {
                Value::Text(text) => text.clone(),
                Value::Bool(value) => value.to_string().into(),
                Value::Int(value) => value.to_string().into(),
                Value::Float(value) => value.to_string().into(),
                Value::Absent | Value::List | Value::Object => "".into(),
            };
            let mapped = self
                .values
                .get(text.as_ref())
                .or_else(|| self.values.get("*"));
            if let Some(mapped) = mapped {
                value = Value::Text(mapped.clone().into());
            }
        }
        match (&value, self.unit) {
            (Value::Text(text), _) if text.is_empty() => Value::Absent,
            (_, Some(unit)) if self.field == Field::ResponseTime => {
                number(&value).map_or(value, |number| Value::Float(unit.to_ms(number)))
            }
            _ => value,
        }
    }
}

impl Take {
    fn of(self, text: &str) -> &str {
        let mut words = text.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let url = words.next().unwrap_or(first);
        let (authority, path) = match url.split_once("://") {
            Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => (url, url),
        };
        match self {
            // Anything may be sent to a server: a method is a word of capitals.
            Take::Method if first.bytes().all(|byte| byte.is_ascii_uppercase()) => first,
            Take::Method => "",
            Take::Target if matches!(url, "" | "-") => "",
            Take::Target if path.is_empty() => "/",
            Take::Target => path,
            Take::Host => {
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                // A load balancer ends the port of a malformed request with a hyphen.
                let is_port = |port: &str| {
                    let port = port.trim_end_matches('-');
                    port.bytes().all(|byte| byte.is_ascii_digit())
                };
                match host.rsplit_once(':') {
                    // Not an address without brackets: `2001:db8::1`.
                    Some((name, _)) if name.contains(':') && !name.ends_with(']') => host,
                    Some((name, port)) if is_port(port) => name,
                    _ => host,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::json;

    fn event<'a>(mapping: &Mapping, text: &'a str) -> RawEvent<'a> {
        json::parse(text, mapping).unwrap()
    }

    fn text(event: &RawEvent<'_>, field: Field) -> String {
        match event.get(field) {
            Value::Text(text) => text.clone().into_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn presets_are_valid_and_described() {
        for (name, about) in presets().unwrap() {
            assert!(!about.is_empty(), "{name}");
            let preset = Mapping::preset(name).unwrap();
            assert!(preset.provides(Field::Timestamp), "{name}");
        }
        assert!(Mapping::preset("apache").unwrap_err().contains("combined"));
    }

    #[test]
    fn nested_path_unit_constant_and_values_become_fields() {
        let mapping = Mapping::parse(
            r#"null = ["-"]
               [fields]
               api_name = { from = "service.name", value = "unnamed" }
               endpoint = ["request.uri", "path"]
               response_time = { from = "took.total", unit = "ns" }
               success = { from = "status", values = { failure = false, "*" = true } }
               user_id = "a.b""#,
        )
        .unwrap();
        let first = event(
            &mapping,
            r#"{"service":{"name":"-"},"request":{"uri":null},"path":"/x","took":{"total":45123456},"status":"failure","a.b":7,"region":{"x":[1]}}"#,
        );
        assert_eq!(first.problem, None);
        assert_eq!(text(&first, Field::ApiName), "unnamed");
        assert_eq!(text(&first, Field::Endpoint), "/x");
        assert_eq!(*first.get(Field::ResponseTime), Value::Float(45.123456));
        assert_eq!(text(&first, Field::Success), "false");
        assert_eq!(text(&first, Field::UserId), "7");
        let second = r#"{"status":"ok","request":{"uri":"/y"},"path":"/x","endpoint":"/own"}"#;
        let second = event(&mapping, second);
        assert_eq!(text(&second, Field::Success), "true");
        assert_eq!(text(&second, Field::Endpoint), "/y");
    }

    #[test]
    fn options_take_precedence_over_file() {
        let mut mapping =
            Mapping::parse("[fields]\napi_name = \"host\"\nuser_id = \"user\"").unwrap();
        mapping.set(Field::ApiName, "tmdb".to_owned());
        mapping.map("account", Field::UserId, None).unwrap();
        mapping.map("client", Field::UserId, None).unwrap();
        let line = event(&mapping, r#"{"host":"x","user":"a","client":"c"}"#);
        assert_eq!(text(&line, Field::ApiName), "tmdb");
        assert_eq!(text(&line, Field::UserId), "c");
        let unit = Some(TimeUnit::S);
        assert!(mapping.map("x", Field::Endpoint, unit).is_err());
        let seen = line.paths.iter().map(|value| *value != Value::Absent);
        let seen: Vec<bool> = seen.collect();
        assert_eq!(mapping.unmatched(&seen), ["account=user_id"]);
    }

    #[test]
    fn renamed_field_takes_precedence_over_own_name() {
        let mut mapping = Mapping::default();
        mapping.map("id", Field::UserId, None).unwrap();
        let line = event(&mapping, r#"{"api_name":"a","id":7}"#);
        assert_eq!(text(&line, Field::UserId), "7");
        assert_eq!(*line.get(Field::Id), Value::Absent);
        let twice = event(&mapping, r#"{"api_name":"a","id":7,"user_id":8}"#);
        assert_eq!(twice.problem.unwrap().code, Code::DuplicateField);
    }

    #[test]
    fn part_of_request_or_url_is_taken() {
        for (text, method, target, host) in [
            ("GET /a?b=1 HTTP/1.1", "GET", "/a?b=1", "/a?b=1"),
            (
                "POST https://user:pw@api.x.io:443/v1 HTTP/2.0",
                "POST",
                "/v1",
                "api.x.io",
            ),
            ("https://api.x.io", "", "/", "api.x.io"),
            ("https://api.x.io?q=1", "", "?q=1", "api.x.io"),
            ("api.x.io:8080", "", "api.x.io:8080", "api.x.io"),
            ("- http://lb.x.io:443- -", "", "/", "lb.x.io"),
            ("2001:db8::1", "", "2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "", "[2001:db8::1]:80", "[2001:db8::1]"),
            ("", "", "", ""),
            ("- - -", "", "", "-"),
            ("\u{16}\u{3}", "", "\u{16}\u{3}", "\u{16}\u{3}"),
        ] {
            assert_eq!(Take::Method.of(text), method, "{text}");
            assert_eq!(Take::Target.of(text), target, "{text}");
            assert_eq!(Take::Host.of(text), host, "{text}");
        }
    }

    #[test]
    fn output_of_a_function_is_no_call() {
        let mapping = Mapping::preset("vercel").unwrap();
        let output = r#"{"projectName":"shop","message":"hi","source":"build"}"#;
        let message = event(&mapping, output).problem.unwrap().message;
        assert!(message.starts_with("is not a call"), "{message}");
        let call = event(&mapping, r#"{"projectName":"shop","requestPath":"/a"}"#);
        assert_eq!(call.problem, None);
    }

    #[test]
    fn row_that_sums_calls_is_refused() {
        let mapping = Mapping::parse("calls = \"n\"\n[fields]\napi_name = \"a\"").unwrap();
        assert_eq!(event(&mapping, r#"{"a":"x","n":"1"}"#).problem, None);
        let sum = event(&mapping, r#"{"a":"x","n":12}"#).problem.unwrap();
        assert!(sum.message.contains("12 calls"), "{}", sum.message);
    }

    #[test]
    fn invalid_file_is_explained() {
        for (text, part) in [
            ("[fields]\nregion = \"x\"", "`region` is not a field"),
            ("[fields]\nendpoint = 7", "expected a path"),
            ("rot = \"x\"\n[fields]", "rot"),
            (
                "[fields]\nendpoint = { from = \"x\", unit = \"s\" }",
                "endpoint has no unit",
            ),
            ("assume_tz = \"Mars\"\n[fields]", "assume_tz"),
            ("delimiter = \"é\"\n[fields]", "ASCII"),
        ] {
            let error = Mapping::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
