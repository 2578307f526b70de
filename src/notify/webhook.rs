//! Webhooks: the notice as a JSON object, several as an array, signed.
//!
//! ```text
//! Idempotency-Key: the notice's key, or that of the group; the same in every attempt
//! X-Usagectl-Event: FIRING, or GROUP
//! X-Usagectl-Timestamp: 1769860800, the time of the attempt
//! X-Usagectl-Signature: sha256=HEX
//! webhook-id, webhook-timestamp: the same key and time
//! webhook-signature: v1,BASE64
//! ```
//!
//! HEX is the HMAC-SHA256, with the channel's secret as key, of the timestamp, a full stop and the body. A
//! receiver that rejects old timestamps is protected from replays. The last three are those of the Standard
//! Webhooks specification.

use super::endpoint::{Endpoint, secret};
use super::{Failure, Message, signature};
use crate::domain::alert::channel::Webhook;
use crate::domain::alert::notice::Content;
use crate::domain::named::Named;
use crate::http::Secret;

/// The maximum number of notices in one request.
pub(super) const PER_REQUEST: usize = 100;

/// A webhook with its secrets read.
pub struct Receiver {
    pub(super) endpoint: Endpoint,
    secret: Option<Secret>,
}

impl Receiver {
    pub(super) fn open(settings: &Webhook) -> Result<Receiver, String> {
        Ok(Receiver {
            endpoint: Endpoint::open(&settings.http, "")?,
            secret: settings.secret.as_ref().map(secret).transpose()?,
        })
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), Failure> {
        let contents: Vec<&Content> = message.contents().collect();
        let (event, body) = match &contents[..] {
            [content] => (content.kind.as_str(), serde_json::to_vec(content)),
            contents => ("GROUP", serde_json::to_vec(contents)),
        };
        let body = body.map_err(Failure::of_notice)?;
        let key = message.key();
        let timestamp = message.at.timestamp().to_string();
        let mut headers = vec![
            ("Idempotency-Key", key.clone()),
            ("X-Usagectl-Event", event.to_owned()),
            ("X-Usagectl-Timestamp", timestamp.clone()),
            ("webhook-id", key.clone()),
            ("webhook-timestamp", timestamp.clone()),
        ];
        if let Some(secret) = &self.secret {
            let own = signature::own(secret, &timestamp, &body);
            let standard = signature::standard(secret, &key, &timestamp, &body);
            headers.push(("X-Usagectl-Signature", own));
            headers.push(("webhook-signature", standard));
        }
        self.endpoint.post(body, &headers, message.at)
    }
}
