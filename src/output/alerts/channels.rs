//! What the commands of `alerts channel` answer.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::super::Answer;
use super::super::table::{Side, layout};
use crate::domain::alert::channel::{Channel, SecretPlace};
use crate::domain::format::count;

/// A channel, and how it is with it.
#[derive(Debug)]
pub struct ChannelLine {
    channel: Channel,
    /// Its secrets, and whether each can be read here.
    secrets: Vec<(SecretPlace, bool)>,
    waiting: u64,
}

impl ChannelLine {
    /// A channel for which this many notices wait; `is_there` says which secrets can be read.
    pub fn new(
        channel: Channel,
        is_there: impl Fn(&SecretPlace) -> bool,
        waiting: u64,
    ) -> ChannelLine {
        let settings = channel.settings.iter();
        let places = settings.flat_map(|settings| settings.secrets());
        ChannelLine {
            secrets: places
                .map(|place| {
                    let there = is_there(&place);
                    (place, there)
                })
                .collect(),
            channel,
            waiting,
        }
    }

    /// The secrets that cannot be read here.
    pub fn missing(&self) -> impl Iterator<Item = &SecretPlace> {
        let missing = self.secrets.iter().filter(|(_, there)| !there);
        missing.map(|(place, _)| place)
    }

    fn destination(&self) -> Option<String> {
        let settings = self.channel.settings.as_ref();
        settings.map(|settings| settings.destination())
    }

    fn cells(&self) -> Vec<String> {
        let needs: Vec<String> = self
            .secrets
            .iter()
            .map(|(place, there)| match there {
                true => place.to_string(),
                false => format!("{place} (missing)"),
            })
            .collect();
        let destination = self.destination();
        vec![
            self.channel.name.clone(),
            self.channel.kind.word().to_owned(),
            destination.unwrap_or_else(|| "cannot be read: add it again".to_owned()),
            needs.join(", "),
            count(self.waiting),
        ]
    }
}

/// Channels.
#[derive(Debug)]
pub struct ChannelList {
    pub lines: Vec<ChannelLine>,
}

#[derive(Serialize)]
struct ChannelListJson {
    channels: Vec<ChannelJson>,
}

#[derive(Serialize)]
struct ChannelJson {
    name: String,
    kind: &'static str,
    to: Option<String>,
    secrets: Vec<SecretJson>,
    notices_waiting: u64,
    created_at: DateTime<Utc>,
}

#[derive(Serialize)]
struct SecretJson {
    place: String,
    present: bool,
}

impl Answer for ChannelList {
    fn table(&self, _width: Option<usize>) -> String {
        if self.lines.is_empty() {
            return "no channels yet: usagectl alerts channel add --help\n".to_owned();
        }
        let columns = [
            ("CHANNEL", Side::Left),
            ("KIND", Side::Left),
            ("TO", Side::Left),
            ("SECRETS", Side::Left),
            ("WAITING", Side::Right),
        ];
        layout(&columns, self.lines.iter().map(ChannelLine::cells))
    }

    fn json(&self) -> impl Serialize {
        let channels = self.lines.iter().map(|line| ChannelJson {
            name: line.channel.name.clone(),
            kind: line.channel.kind.word(),
            to: line.destination(),
            secrets: line
                .secrets
                .iter()
                .map(|(place, present)| SecretJson {
                    place: place.to_string(),
                    present: *present,
                })
                .collect(),
            notices_waiting: line.waiting,
            created_at: line.channel.created_at,
        });
        ChannelListJson {
            channels: channels.collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "name",
            "kind",
            "to",
            "secrets_missing",
            "notices_waiting",
            "created_at",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(self.lines.iter().map(|line| {
            vec![
                line.channel.name.clone(),
                line.channel.kind.word().to_owned(),
                line.destination().unwrap_or_default(),
                line.missing().count().to_string(),
                line.waiting.to_string(),
                line.channel
                    .created_at
                    .to_rfc3339_opts(SecondsFormat::Millis, true),
            ]
        }));
        rows
    }
}
