//! The common part of HTTP channels: address, authentication, and the meaning of a status.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Failure, retry_after};
use crate::domain::alert::channel::{Address, Auth, HttpSettings, SecretPlace};
use crate::http::{Client, Limit, Policy, Request, Response, Secret, Url};

pub(super) const JSON: &str = "application/json";

/// The part of a response body that is read, in bytes.
const RESPONSE_LIMIT: u64 = 64 << 10;

/// A channel's address with all its secrets read.
pub struct Endpoint {
    client: Client,
    url: Url,
    login: Option<Login>,
    timeout: Duration,
}

enum Login {
    Bearer(Secret),
    Basic(String, Secret),
}

pub(super) fn secret(place: &SecretPlace) -> Result<Secret, String> {
    let secret = match place {
        SecretPlace::Env(name) => Secret::from_variable(name),
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
        Ok(Endpoint {
            client,
            url,
            login,
            timeout: total,
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Posts a body with these headers at the time `at`; anything but a 2xx is a failure.
    pub(super) fn post(
        &self,
        content_type: &str,
        body: Vec<u8>,
        headers: &[(&str, String)],
        at: DateTime<Utc>,
    ) -> Result<Response, Failure> {
        let mut request = Request::post(self.url.clone(), body, content_type);
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
            return Ok(response);
        }
        let failure = self.failure(&response, &response.status.to_string());
        // These statuses reject the notice; all others are faults of the channel or the server.
        let channel_is_down = !matches!(response.status, 400 | 413 | 422);
        Err(Failure {
            channel_is_down,
            retry_after: retry_after::wait(&response, at).filter(|_| channel_is_down),
            ..failure
        })
    }

    pub(super) fn failure(&self, response: &Response, answered: &str) -> Failure {
        // The first line of the answer, such as `invalid_payload` or `no_service`.
        let text = String::from_utf8_lossy(&response.body);
        let line = text.trim().lines().next().unwrap_or_default();
        let detail: String = line.chars().take(200).collect();
        Failure {
            detail: (!detail.is_empty()).then_some(detail),
            ..Failure::of_channel(format!("{} answered {answered}", self.url))
        }
    }
}
