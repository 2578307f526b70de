//! What the vendors' HTTP APIs have in common: a key, JSON, and error statuses.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::domain::metrics::collector::CollectorError;
use crate::domain::metrics::point::is_measurable;
use crate::http::{Client, Limit, Policy, Request, Response, Secret, Url};

#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The vendor's name, for messages.
    pub vendor: &'static str,
    pub base: Url,
    pub key: Secret,
    /// The environment variable of the key, for messages.
    pub key_variable: String,
}

/// A month of a large team's bill is 15 MB.
const MAX_BYTES: u64 = 64 << 20;

impl Endpoint {
    /// Sends a GET request with the key as a bearer token.
    pub(super) fn get(&self, path: &str, timeout: Duration) -> Result<Response, CollectorError> {
        let request = Request::get(self.url(path)?).bearer(&self.key);
        self.send(request, timeout)
    }

    /// The JSON that a GET request is answered with.
    pub(super) fn get_json(&self, path: &str, timeout: Duration) -> Result<Value, CollectorError> {
        self.json(self.get(path, timeout)?)
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, CollectorError> {
        let joined = self.base.join(path);
        joined.map_err(|error| self.error(error, "check the URL and the ids in the environment"))
    }

    /// Sends a request and returns the answer of any status.
    pub(super) fn send(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, CollectorError> {
        let policy = Policy {
            total: timeout,
            connect: timeout.min(Policy::default().connect),
            response: Limit::Whole(MAX_BYTES),
            ..Policy::default()
        };
        let sent = Client::new(policy).send(request);
        sent.map_err(|error| self.error(error, "see whether it can be reached, then run it again"))
    }

    /// The body of a successful answer; otherwise the error of its status.
    pub(super) fn content(&self, response: Response) -> Result<Vec<u8>, CollectorError> {
        let status = response.status;
        let key = &self.key_variable;
        let (meaning, hint) = match status {
            200..=299 => return Ok(response.body),
            429 | 500.. => overload(&response),
            401 => ("invalid key", format!("put a valid key into {key}")),
            403 => (
                "the key lacks the permission",
                format!("give the key in {key} the permission, or set another"),
            ),
            404 => ("not found", "check the ids in the environment".to_owned()),
            _ => (
                "the request was refused",
                "check the ids, the URL and the key in the environment".to_owned(),
            ),
        };
        let meaning = match self.reason(&response) {
            Some(reason) => format!("{meaning}: {reason}"),
            None => meaning.to_owned(),
        };
        Err(self.error(format_args!("answers {status}: {meaning}"), &hint))
    }

    /// The provider's own message in an answer, which never repeats the key.
    pub(super) fn reason(&self, response: &Response) -> Option<String> {
        const LONGEST: usize = 200;
        let answer: Value = serde_json::from_slice(&response.body).ok()?;
        let places = ["/message", "/error/message", "/error"];
        let mut found = places
            .iter()
            .filter_map(|place| answer.pointer(place)?.as_str());
        let reason: String = found.next()?.chars().take(LONGEST).collect();
        let is_safe = !reason.trim().is_empty() && !answer.to_string().contains(self.key.expose());
        is_safe.then_some(reason)
    }

    /// The JSON of a successful answer.
    pub(super) fn json(&self, response: Response) -> Result<Value, CollectorError> {
        let body = self.content(response)?;
        self.reject_html(&body)?;
        serde_json::from_slice(&body).map_err(|error| {
            let what = match error.is_eof() {
                true => "the answer is truncated",
                false => "the answer is not JSON",
            };
            self.error(what, "run it again later")
        })
    }

    /// Rejects a web page, which gateways and log-in forms send with status 200.
    pub(super) fn reject_html(&self, body: &[u8]) -> Result<(), CollectorError> {
        if body.trim_ascii_start().starts_with(b"<") {
            let hint =
                "see whether a proxy answers in its place, and whether the URL is that of the API";
            return Err(self.error("answers with a web page", hint));
        }
        Ok(())
    }

    /// An array of a JSON object.
    pub(super) fn list<'a>(
        &self,
        value: &'a Value,
        field: &str,
    ) -> Result<&'a Vec<Value>, CollectorError> {
        let list = value.get(field).and_then(Value::as_array);
        list.ok_or_else(|| self.unexpected(field))
    }

    /// A string of a JSON object.
    pub(super) fn text<'a>(
        &self,
        value: &'a Value,
        field: &str,
    ) -> Result<&'a str, CollectorError> {
        let text = value.get(field).and_then(Value::as_str);
        text.ok_or_else(|| self.unexpected(field))
    }

    /// An RFC 3339 time of a JSON object.
    pub(super) fn time(&self, value: &Value, field: &str) -> Result<DateTime<Utc>, CollectorError> {
        let time = DateTime::parse_from_rfc3339(self.text(value, field)?);
        let time = time.map_err(|_| self.unexpected(field))?;
        Ok(time.to_utc())
    }

    /// A field of the answer is missing or of another type.
    pub(super) fn unexpected(&self, field: &str) -> CollectorError {
        let message = format!("`{field}` in the answer is missing or of an unexpected type");
        self.error(message, "see whether a newer usagectl knows the new answer")
    }

    /// A server that repeats pages, or has more than any account: a part of them would be a wrong sum.
    pub(super) fn too_many_pages(&self, most: usize) -> CollectorError {
        let message = format!("a repeated page, or more than {most}");
        self.error(message, "run it again later")
    }

    pub(super) fn error(&self, message: impl Display, hint: &str) -> CollectorError {
        CollectorError::new(format!("{}: {message}", self.vendor), hint)
    }
}

/// The meaning and the next step of a status that is not caused by the key or the URL.
pub(super) fn overload(response: &Response) -> (&'static str, String) {
    match (response.status, retry_after(response)) {
        (429, Some(when)) => ("rate limit exceeded", format!("run it again {when}")),
        (429, None) => (
            "rate limit exceeded",
            "run it again later, and less often".to_owned(),
        ),
        _ => ("server error", "run it again later".to_owned()),
    }
}

/// When the server accepts the next request.
fn retry_after(response: &Response) -> Option<String> {
    let seconds = |text: &str| text.trim().parse::<u64>().ok();
    if let Some(seconds) = response.header("retry-after").and_then(seconds) {
        return Some(format!("in {seconds} s"));
    }
    let reset = response.header("x-ratelimit-reset").and_then(seconds)?;
    // Some servers send an instant in seconds since 1970, some the seconds left.
    match DateTime::from_timestamp(i64::try_from(reset).ok()?, 0) {
        Some(at) if reset > 1_000_000_000 => Some(format!("after {}", at.format("%H:%M:%S UTC"))),
        _ => Some(format!("in {reset} s")),
    }
}

/// A measurable number of a JSON object; `Ok(None)` if it is missing, an error if it is something else.
pub(super) fn number(value: &Value, field: &str) -> Result<Option<f64>, ()> {
    let number = match value.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        // Some send money as text, to avoid rounding.
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    let number = number.filter(|number| is_measurable(*number));
    number.map(Some).ok_or(())
}

/// The parameters that have a value, to be appended to a query.
pub(super) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let set = parameters
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    set.map(|(name, value)| format!("&{name}={}", encoded(value)))
        .collect()
}

/// A query value, percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
