//! What the vendors' APIs have in common: a key, JSON, and the ways in which they say no.

use std::time::Duration;

use serde_json::Value;

use crate::domain::metrics::collector::CollectorError;
use crate::http::{Client, Limit, Policy, Request, Response, Secret, Url};

/// Where a vendor's API is, and the key for it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The vendor's name, for messages.
    pub vendor: &'static str,
    pub base: Url,
    pub key: Secret,
    /// The environment variable that holds the key, for messages.
    pub key_variable: &'static str,
}

/// A month of a large team's bill is 15 MB.
const MOST_BYTES: u64 = 64 << 20;

impl Endpoint {
    /// Asks with the key as a bearer token.
    pub(super) fn get(&self, path: &str, timeout: Duration) -> Result<Response, CollectorError> {
        let request = Request::get(self.url(path)?).bearer(&self.key);
        self.send(request, timeout)
    }

    pub(super) fn url(&self, path: &str) -> Result<Url, CollectorError> {
        let joined = self.base.join(path);
        joined.map_err(|error| self.failure(error, "check the URL and the ids in the environment"))
    }

    /// Sends a request. Whatever the status is, there is an answer.
    pub(super) fn send(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, CollectorError> {
        let policy = Policy {
            total: timeout,
            connect: timeout.min(Policy::default().connect),
            response: Limit::Whole(MOST_BYTES),
            ..Policy::default()
        };
        let sent = Client::new(policy).send(request);
        sent.map_err(|error| {
            self.failure(error, "see whether it can be reached, then run it again")
        })
    }

    /// The body of an answer that is content; else the failure that its status means.
    pub(super) fn content(&self, response: Response) -> Result<Vec<u8>, CollectorError> {
        let status = response.status;
        let key = self.key_variable;
        let (meaning, hint) = match status {
            200..=299 => return Ok(response.body),
            401 => (
                "the key is not accepted".to_owned(),
                format!("put a valid key into {key}"),
            ),
            403 => (
                "the key has no right to this".to_owned(),
                format!("give the key in {key} the right, or take another"),
            ),
            404 => (
                "there is no such thing".to_owned(),
                "check the ids in the environment".to_owned(),
            ),
            429 => (
                "it is asked too often".to_owned(),
                match retry_after(&response) {
                    Some(when) => format!("run it again {when}"),
                    None => "run it again later, and less often".to_owned(),
                },
            ),
            500.. => (
                "it has a problem of its own".to_owned(),
                "run it again later".to_owned(),
            ),
            _ => (
                "that is not expected".to_owned(),
                "usagectl collect doctor -v".to_owned(),
            ),
        };
        Err(self.failure(format_args!("answers {status}: {meaning}"), &hint))
    }

    /// The JSON in an answer that is content.
    pub(super) fn json(&self, response: Response) -> Result<Value, CollectorError> {
        let body = self.content(response)?;
        self.not_a_page(&body)?;
        serde_json::from_slice(&body).map_err(|error| {
            let what = match error.is_eof() {
                true => "its answer breaks off",
                false => "its answer is not JSON",
            };
            self.failure(what, "run it again later")
        })
    }

    /// Gateways and log-in forms answer with a page, and call it a success.
    pub(super) fn not_a_page(&self, body: &[u8]) -> Result<(), CollectorError> {
        match body.trim_ascii_start().first() {
            Some(b'<') => {
                let hint = "see whether a proxy answers in its place, and whether the URL is that of the API";
                Err(self.failure("answers with a web page", hint))
            }
            _ => Ok(()),
        }
    }

    /// A field of an answer that is not as it should be.
    pub(super) fn unexpected(&self, field: &str) -> CollectorError {
        let message = format!("`{field}` in its answer is missing or of another type");
        self.failure(message, "see whether a newer usagectl knows the new answer")
    }

    pub(super) fn failure(&self, what: impl std::fmt::Display, hint: &str) -> CollectorError {
        CollectorError::new(format!("{}: {what}", self.vendor), hint)
    }
}

/// When a server wants to be asked again.
fn retry_after(response: &Response) -> Option<String> {
    let seconds = |text: &str| text.trim().parse::<u64>().ok();
    if let Some(seconds) = response.header("retry-after").and_then(seconds) {
        return Some(format!("in {seconds} s"));
    }
    let reset = response.header("x-ratelimit-reset").and_then(seconds)?;
    // A moment, in seconds since 1970; some send how many are left.
    match chrono::DateTime::from_timestamp(i64::try_from(reset).ok()?, 0) {
        Some(at) if reset > 1_000_000_000 => Some(format!("after {}", at.format("%H:%M:%S UTC"))),
        _ => Some(format!("in {reset} s")),
    }
}

/// A finite number of a JSON object. None if it is not there; an error if it is something else.
pub(super) fn number(value: &Value, field: &str) -> Result<Option<f64>, ()> {
    match value.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|n| n.is_finite())
            .map(Some)
            .ok_or(()),
        // Money comes as text from some, so that nobody rounds it.
        Some(Value::String(text)) => {
            let number = text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
            number.map(Some).ok_or(())
        }
        Some(_) => Err(()),
    }
}

/// A value of a query, safe to stand in a URL.
pub(super) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
