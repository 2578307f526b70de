//! The common part of HTTP channels: address, authentication, and the meaning of a status.

use std::time::Duration;

use chrono::TimeDelta;

use super::Failure;
use crate::domain::alert::channel::{Address, Auth, HttpSettings, SecretPlace};
use crate::http::{Client, Limit, Policy, Request, Response, Secret, Url};

/// The part of a response body that is read, in bytes.
const RESPONSE_LIMIT: u64 = 64 << 10;

/// The longest `Retry-After` that is respected.
const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::hours(1);

/// A channel's address with all its secrets read.
pub struct Endpoint {
    client: Client,
    url: Url,
    login: Option<Login>,
}

enum Login {
    Bearer(Secret),
    Basic(String, Secret),
}

/// Reads a secret from its source.
pub(super) fn secret(place: &SecretPlace) -> Result<Secret, String> {
    let secret = match place {
        SecretPlace::Env(name) => Secret::from_env(name),
        SecretPlace::File(path) => Secret::from_file(path),
    };
    secret.map_err(|error| error.to_string())
}

impl Endpoint {
    /// Reads the secrets; `path` is appended to the path of the address.
    pub(super) fn open(settings: &HttpSettings, path: &str) -> Result<Endpoint, String> {
        let text = match &settings.address {
            Address::Url(url) => Secret::from(url.clone()),
            Address::Secret(place) => secret(place)?,
        };
        let url = Url::parse(text.expose()).and_then(|url| match path {
            "" => Ok(url),
            path => url.join(path),
        });
        let url = url.map_err(|error| match &settings.address {
            Address::Url(_) => error.to_string(),
            Address::Secret(place) => format!("the URL in {place} is invalid: {error}"),
        })?;
        let login = match &settings.auth {
            None => None,
            Some(Auth::Bearer(place)) => Some(Login::Bearer(secret(place)?)),
            Some(Auth::Basic { user, password }) => {
                Some(Login::Basic(user.clone(), secret(password)?))
            }
        };
        let total = Duration::from_millis(settings.timeout_ms);
        let client = Client::new(Policy {
            insecure_http: settings.insecure_http,
            connect: total.min(Policy::default().connect),
            total,
            response: Limit::Beginning(RESPONSE_LIMIT),
        });
        client.allows(&url).map_err(|error| error.to_string())?;
        Ok(Endpoint { client, url, login })
    }

    /// Posts JSON with these headers; anything but a 2xx is a failure.
    pub(super) fn post(&self, body: Vec<u8>, headers: &[(&str, String)]) -> Result<(), Failure> {
        let mut request = Request::post_json(self.url.clone(), body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request = match &self.login {
            None => request,
            Some(Login::Bearer(token)) => request.bearer(token),
            Some(Login::Basic(user, password)) => request.basic(user, password),
        };
        let response = self.client.send(request).map_err(Failure::of_channel)?;
        if response.is_success() {
            return Ok(());
        }
        Err(self.refused(&response))
    }

    fn refused(&self, response: &Response) -> Failure {
        let status = response.status;
        let seconds = response.header("retry-after");
        let seconds = seconds.and_then(|text| text.trim().parse::<i64>().ok());
        let wait = seconds.and_then(TimeDelta::try_seconds);
        // The first line of the answer, such as `invalid_payload` or `no_service`.
        let text = String::from_utf8_lossy(&response.body);
        let line = text.trim().lines().next().unwrap_or_default();
        let detail: String = line.chars().take(200).collect();
        Failure {
            reason: format!("{} answered {status}", self.url),
            detail: (!detail.is_empty()).then_some(detail),
            // These statuses reject the notice; all others are faults of the channel or the server.
            channel_is_down: !matches!(status, 400 | 413 | 422),
            retry_after: wait.map(|wait| wait.clamp(TimeDelta::zero(), LONGEST_RETRY_AFTER)),
        }
    }
}
