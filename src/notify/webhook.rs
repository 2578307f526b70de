//! Webhooks: the notice as JSON, signed.
//!
//! ```text
//! Idempotency-Key: the notice's key, the same in every attempt
//! X-Usagectl-Event: FIRING
//! X-Usagectl-Timestamp: 1769860800, the time of the attempt
//! X-Usagectl-Signature: sha256=HEX
//! ```
//!
//! HEX is the HMAC-SHA256, with the channel's secret as key, of the timestamp, a full stop and the body. A
//! receiver that rejects old timestamps is protected from replays.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Failure;
use super::endpoint::{Endpoint, secret};
use crate::domain::alert::channel::Webhook;
use crate::domain::alert::notice::Content;
use crate::domain::named::Named;
use crate::http::Secret;

/// A webhook with its secrets read.
pub struct Receiver {
    endpoint: Endpoint,
    secret: Option<Secret>,
}

impl Receiver {
    pub(super) fn open(settings: &Webhook) -> Result<Receiver, String> {
        Ok(Receiver {
            endpoint: Endpoint::open(&settings.http, "")?,
            secret: settings.secret.as_ref().map(secret).transpose()?,
        })
    }

    pub(super) fn send(&self, content: &Content, now: DateTime<Utc>) -> Result<(), Failure> {
        let body = serde_json::to_vec(content).map_err(Failure::of_notice)?;
        let timestamp = now.timestamp().to_string();
        let mut headers = vec![
            ("Idempotency-Key", content.key.clone()),
            ("X-Usagectl-Event", content.kind.as_str().to_owned()),
            ("X-Usagectl-Timestamp", timestamp.clone()),
        ];
        if let Some(secret) = &self.secret {
            let signature = sign(secret.expose().as_bytes(), &timestamp, &body);
            headers.push(("X-Usagectl-Signature", format!("sha256={signature}")));
        }
        self.endpoint.post(body, &headers)
    }
}

fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    // Never fails: HMAC accepts keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new();
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_equals_openssl() {
        // printf '1769860800.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            sign(b"key", "1769860800", br#"{"a":1}"#),
            "7bca7cefaa373393309b81feae2476685fb87b57ea4d5704e6234581d41872d9"
        );
    }
}
