//! Channels: where notices are sent, and how. A channel never holds a secret, only its source: an environment
//! variable or a file.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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

/// Where a secret is found.
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

/// A URL, or where it is found: many are secrets as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// As the user typed it.
    Url(String),
    /// In an environment variable.
    Env(String),
    File(PathBuf),
}

/// How we tell the server who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Bearer(SecretPlace),
    /// By a user's name and password.
    Basic {
        user: String,
        /// Where the password is found.
        password: SecretPlace,
    },
}

/// What all channels that speak HTTP have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSettings {
    pub address: Address,
    /// How a request is authenticated.
    pub auth: Option<Auth>,
    /// Whether plain HTTP may leave this machine.
    pub insecure_http: bool,
    /// How long a try may take.
    pub timeout_ms: u64,
}

/// What a kind of channel needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// JSON to any URL.
    Webhook(Webhook),
    /// A message to a Slack incoming webhook.
    Slack(HttpSettings),
    /// Alerts to a Prometheus Alertmanager.
    Alertmanager(Alertmanager),
    /// JSON to a program's standard input.
    Exec(Exec),
    /// A line on our own standard output.
    Stdout(Stdout),
}

/// JSON to any URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    pub http: HttpSettings,
    /// What the signature is made with.
    pub secret: Option<SecretPlace>,
}

/// Alerts to a Prometheus Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alertmanager {
    /// Where to: what stands before `/api/v2/alerts`.
    pub http: HttpSettings,
    /// How long it holds a firing alert that it hears no more of.
    pub hold_ms: u64,
    /// Labels beside ours, for its routing tree.
    pub labels: Vec<(String, String)>,
}

/// JSON to a program's standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments; no shell comes between.
    pub command: Vec<String>,
    /// Variables of our environment that it gets.
    pub pass_env: Vec<String>,
    /// How long it may run.
    pub timeout_ms: u64,
}

/// A line on our own standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdout {
    pub json: bool,
}

impl Settings {
    /// What kind of channel this makes.
    pub fn kind(&self) -> ChannelKind {
        match self {
            Settings::Webhook(_) => ChannelKind::Webhook,
            Settings::Slack(_) => ChannelKind::Slack,
            Settings::Alertmanager(_) => ChannelKind::Alertmanager,
            Settings::Exec(_) => ChannelKind::Exec,
            Settings::Stdout(_) => ChannelKind::Stdout,
        }
    }

    /// Where notices go, as people may see it: of a URL no query.
    pub fn destination(&self) -> String {
        match self {
            Settings::Webhook(Webhook { http, .. })
            | Settings::Alertmanager(Alertmanager { http, .. })
            | Settings::Slack(http) => match &http.address {
                Address::Url(url) => url.split('?').next().unwrap_or_default().to_owned(),
                Address::Env(name) => format!("${name}"),
                Address::File(path) => path.display().to_string(),
            },
            Settings::Exec(exec) => exec.command.join(" "),
            Settings::Stdout(stdout) if stdout.json => "standard output, as JSON".to_owned(),
            Settings::Stdout(_) => "standard output".to_owned(),
        }
    }

    /// Where its secrets are found.
    pub fn secrets(&self) -> Vec<SecretPlace> {
        let mut places = Vec::new();
        let http = match self {
            Settings::Webhook(Webhook { http, secret }) => {
                places.extend(secret.clone());
                http
            }
            Settings::Alertmanager(Alertmanager { http, .. }) | Settings::Slack(http) => http,
            Settings::Exec(_) | Settings::Stdout(_) => return places,
        };
        match &http.address {
            Address::Url(_) => {}
            Address::Env(name) => places.push(SecretPlace::Env(name.clone())),
            Address::File(path) => places.push(SecretPlace::File(path.clone())),
        }
        match &http.auth {
            None => {}
            Some(
                Auth::Bearer(place)
                | Auth::Basic {
                    password: place, ..
                },
            ) => {
                places.push(place.clone());
            }
        }
        places
    }

    /// As it is stored.
    pub fn to_json(&self) -> serde_json::Result<String> {
        match self {
            Settings::Webhook(settings) => serde_json::to_string(settings),
            Settings::Slack(settings) => serde_json::to_string(settings),
            Settings::Alertmanager(settings) => serde_json::to_string(settings),
            Settings::Exec(settings) => serde_json::to_string(settings),
            Settings::Stdout(settings) => serde_json::to_string(settings),
        }
    }

    /// Parses the stored settings.
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

/// A channel as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name, by which rules call it.
    pub name: String,
    pub kind: ChannelKind,
    /// None if the stored settings cannot be read; a newer version may have written them.
    pub settings: Option<Settings>,
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;

    #[test]
    fn settings_survive_storage() {
        let http = HttpSettings {
            address: Address::Env("SLACK_URL".to_owned()),
            auth: Some(Auth::Basic {
                user: "me".to_owned(),
                password: SecretPlace::File("/run/secrets/am".into()),
            }),
            insecure_http: false,
            timeout_ms: 10_000,
        };
        let all = [
            Settings::Slack(http.clone()),
            Settings::Webhook(Webhook {
                http: http.clone(),
                secret: Some(SecretPlace::Env("KEY".to_owned())),
            }),
            Settings::Alertmanager(Alertmanager {
                http,
                hold_ms: 1,
                labels: vec![("team".to_owned(), "payments".to_owned())],
            }),
            Settings::Exec(Exec {
                command: vec!["mail".to_owned()],
                pass_env: Vec::new(),
                timeout_ms: 1,
            }),
            Settings::Stdout(Stdout { json: true }),
        ];
        for settings in all {
            let stored = settings.to_json().unwrap();
            let read = Settings::from_json(settings.kind(), &stored).unwrap();
            assert_eq!(read, settings);
            assert_eq!(ChannelKind::named(read.kind().as_str()), Some(read.kind()));
        }
    }
}
