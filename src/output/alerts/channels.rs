//! The answers of the `alerts channel` commands.

use chrono::{DateTime, Utc};

use super::Action;
use crate::domain::alert::channel::{Channel, SecretPlace};
use crate::domain::alert::rule::Severity;
use crate::domain::format::time_ms;
use crate::output::prelude::*;

/// A channel, its secrets and the notices that wait for it.
#[derive(Debug, Serialize)]
pub struct ChannelStatus {
    name: String,
    kind: &'static str,
    /// Where it sends; unknown if its settings are unreadable.
    to: Option<String>,
    secrets: Vec<SecretStatus>,
    notices_waiting: u64,
    #[serde(serialize_with = "json::time")]
    created_at: DateTime<Utc>,
    not_before: Option<String>,
    min_severity: Option<Severity>,
}

/// Where a secret is read from, and whether this process can read it.
#[derive(Debug, Serialize)]
struct SecretStatus {
    place: String,
    present: bool,
}

impl ChannelStatus {
    pub fn new(
        channel: Channel,
        is_present: impl Fn(&SecretPlace) -> bool,
        notices_waiting: u64,
    ) -> ChannelStatus {
        let settings = channel.settings.as_ref();
        let places = settings.map_or(Vec::new(), |settings| settings.secrets());
        let secrets = places.iter().map(|place| SecretStatus {
            place: place.to_string(),
            present: is_present(place),
        });
        ChannelStatus {
            kind: channel.kind.word(),
            to: settings.map(|settings| settings.destination()),
            secrets: secrets.collect(),
            name: channel.name,
            notices_waiting,
            created_at: channel.created_at,
            not_before: channel.not_before.map(time_ms),
            min_severity: channel.min_severity,
        }
    }

    /// Where the secrets are expected that this process cannot read.
    pub fn missing_secrets(&self) -> impl Iterator<Item = &str> {
        let missing = self.secrets.iter().filter(|secret| !secret.present);
        missing.map(|secret| secret.place.as_str())
    }

    fn destination(&self) -> &str {
        self.to.as_deref().unwrap_or("unreadable: add it again")
    }

    fn secrets_cell(&self) -> Cell {
        let secrets = self.secrets.iter().map(|secret| {
            // The column before shows its place.
            let is_url = self.to.as_ref() == Some(&secret.place);
            let place = if is_url { "URL" } else { &secret.place };
            match secret.present {
                true => place.to_owned(),
                false => format!("{place} (missing)"),
            }
        });
        let secrets: Vec<String> = secrets.collect();
        Cell::maybe(Some(secrets.join(", ")).filter(|text| !text.is_empty()))
    }
}

/// Listed channels, or those that a command changed.
#[derive(Debug, Serialize)]
pub struct Channels {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    pub channels: Vec<ChannelStatus>,
}

impl Channels {
    fn columns() -> Vec<Column<'static, ChannelStatus>> {
        type Col = Column<'static, ChannelStatus>;
        vec![
            Col::left("CHANNEL", "name", |it| Cell::text(&it.name)),
            Col::left("KIND", "kind", |it| Cell::text(it.kind)),
            Col::left("TO", "to", |it| Cell::text(it.destination())).dropped(2),
            Col::table_only("SECRETS", ChannelStatus::secrets_cell).dropped(1),
            Col::csv_only("secrets_missing", |it| {
                Cell::count(it.missing_secrets().count())
            }),
            Col::right("WAITING", "notices_waiting", |it| {
                Cell::count(it.notices_waiting)
            }),
            Col::csv_only("created_at", |it| Cell::Time(it.created_at)),
        ]
    }
}

impl Answer for Channels {
    fn table(&self, width: Option<usize>) -> String {
        if let Some(action) = self.action {
            return lines(&self.channels, |channel| {
                let (name, kind, to) = (&channel.name, channel.kind, channel.destination());
                format!("{} {name}  {kind} to {to}", action.words())
            });
        }
        if self.channels.is_empty() {
            return "no channels: add one with `usagectl alerts channel add`\n".to_owned();
        }
        columns::table(&Channels::columns(), &self.channels, width)
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        columns::csv(&Channels::columns(), &self.channels)
    }
}

/// A test notice that its channel accepted.
#[derive(Debug, Serialize)]
pub struct ChannelTest {
    pub channel: String,
    pub kind: &'static str,
    pub key: String,
}

impl Answer for ChannelTest {
    fn table(&self, _width: Option<usize>) -> String {
        format!("delivered a test notice to {}\n", printable(&self.channel))
    }

    fn json(&self) -> impl Serialize {
        self
    }

    fn csv(&self) -> Vec<Vec<String>> {
        type Col = Column<'static, ChannelTest>;
        let columns = [
            Col::csv_only("channel", |it| Cell::text(&it.channel)),
            Col::csv_only("kind", |it| Cell::text(it.kind)),
            Col::csv_only("key", |it| Cell::text(&it.key)),
        ];
        columns::csv(&columns, std::slice::from_ref(self))
    }
}
