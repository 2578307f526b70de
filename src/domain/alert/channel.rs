//! Channels: where notices are sent, and how. A channel never holds a secret, only its source: an environment
//! variable or a file.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::rule::Severity;
use super::token_url;
use crate::domain::named::named;

named! {
    ChannelKind, "kind of channel" {
        Webhook = "WEBHOOK",
        Slack = "SLACK",
        Alertmanager = "ALERTMANAGER",
        Exec = "EXEC",
        Stdout = "STDOUT",
    }
}

impl ChannelKind {
    /// The name on the command line and in answers.
    pub fn word(self) -> &'static str {
        match self {
            ChannelKind::Webhook => "webhook",
            ChannelKind::Slack => "slack",
            ChannelKind::Alertmanager => "alertmanager",
            ChannelKind::Exec => "exec",
            ChannelKind::Stdout => "stdout",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretPlace {
    /// In the environment variable of this name.
    Env(String),
    File(PathBuf),
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretPlace::Env(name) => write!(f, "${name}"),
            SecretPlace::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A URL, or the source of one that is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    Url(String),
    #[serde(untagged)]
    Secret(SecretPlace),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Bearer(SecretPlace),
    Basic { user: String, password: SecretPlace },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSettings {
    pub address: Address,
    pub auth: Option<Auth>,
    /// Whether plain HTTP is allowed to other hosts.
    pub insecure_http: bool,
    /// The timeout of an attempt.
    pub timeout_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Settings {
    Webhook(Webhook),
    /// A Slack incoming webhook.
    Slack(HttpSettings),
    Alertmanager(Alertmanager),
    Exec(Exec),
    Stdout(Stdout),
}

/// JSON to any URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub http: HttpSettings,
    /// The key of the signature.
    pub secret: Option<SecretPlace>,
    /// Headers by name, and the environment variables with their values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body, if it is not the notice itself.
    #[serde(default)]
    pub template: Option<BodyTemplate>,
}

/// A body by a template, see [`crate::notify::template`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyTemplate {
    pub text: String,
    pub content_type: String,
    /// The environment variables that the template uses.
    pub variables: Vec<String>,
}

impl BodyTemplate {
    pub fn is_json(&self) -> bool {
        let media_type = self.content_type.split(';').next().unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        media_type.ends_with("/json") || media_type.ends_with("+json")
    }
}

/// Alerts to a Prometheus Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alertmanager {
    /// The address is the part before `/api/v2/alerts`.
    pub http: HttpSettings,
    /// How long Alertmanager keeps a firing alert that is not sent again.
    pub hold_ms: u64,
    /// Additional labels, for routing.
    pub labels: Vec<(String, String)>,
}

/// JSON to a program's standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments, run without a shell.
    pub command: Vec<String>,
    /// The environment variables that are passed to it.
    pub pass_env: Vec<String>,
    pub timeout_ms: u64,
}

/// A line on standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdout {
    pub json: bool,
}

impl Settings {
    pub fn kind(&self) -> ChannelKind {
        match self {
            Settings::Webhook(_) => ChannelKind::Webhook,
            Settings::Slack(_) => ChannelKind::Slack,
            Settings::Alertmanager(_) => ChannelKind::Alertmanager,
            Settings::Exec(_) => ChannelKind::Exec,
            Settings::Stdout(_) => ChannelKind::Stdout,
        }
    }

    /// Where notices are sent, without secrets.
    pub fn destination(&self) -> String {
        match self {
            Settings::Webhook(Webhook { http, .. })
            | Settings::Alertmanager(Alertmanager { http, .. })
            | Settings::Slack(http) => match &http.address {
                Address::Url(url) => token_url::masked(url),
                Address::Secret(place) => place.to_string(),
            },
            Settings::Exec(exec) => exec.command.join(" "),
            Settings::Stdout(stdout) if stdout.json => "standard output, as JSON".to_owned(),
            Settings::Stdout(_) => "standard output".to_owned(),
        }
    }

    pub fn secrets(&self) -> Vec<SecretPlace> {
        let mut places = Vec::new();
        let http = match self {
            Settings::Webhook(webhook) => {
                places.extend(webhook.secret.clone());
                let headers = webhook.headers.iter().map(|(_, variable)| variable);
                let template = webhook.template.iter();
                let variables = headers.chain(template.flat_map(|it| &it.variables));
                places.extend(variables.map(|name| SecretPlace::Env(name.clone())));
                &webhook.http
            }
            Settings::Alertmanager(Alertmanager { http, .. }) | Settings::Slack(http) => http,
            Settings::Exec(_) | Settings::Stdout(_) => return places,
        };
        if let Address::Secret(place) = &http.address {
            places.push(place.clone());
        }
        if let Some(
            Auth::Bearer(secret)
            | Auth::Basic {
                password: secret, ..
            },
        ) = &http.auth
        {
            places.push(secret.clone());
        }
        places
    }

    /// The stored form.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    pub fn from_json(kind: ChannelKind, text: &str) -> serde_json::Result<Settings> {
        Ok(match kind {
            ChannelKind::Webhook => Settings::Webhook(serde_json::from_str(text)?),
            ChannelKind::Slack => Settings::Slack(serde_json::from_str(text)?),
            ChannelKind::Alertmanager => Settings::Alertmanager(serde_json::from_str(text)?),
            ChannelKind::Exec => Settings::Exec(serde_json::from_str(text)?),
            ChannelKind::Stdout => Settings::Stdout(serde_json::from_str(text)?),
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// The name that rules refer to.
    pub name: String,
    pub kind: ChannelKind,
    /// None if the stored settings cannot be read; a newer version may have written them.
    pub settings: Option<Settings>,
    pub created_at: DateTime<Utc>,
    /// The time before which it accepts nothing, as its receiver asked.
    pub not_before: Option<DateTime<Utc>>,
    /// It is notified of this severity and higher ones only.
    pub min_severity: Option<Severity>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_json_by_its_content_type() {
        let is_json = |content_type: &str| {
            let template = BodyTemplate {
                text: String::new(),
                content_type: content_type.to_owned(),
                variables: Vec::new(),
            };
            template.is_json()
        };
        assert!(is_json("application/JSON; charset=utf-8") && is_json("application/x+json"));
        assert!(!is_json("text/plain") && !is_json("application/jsonlines"));
    }
}
