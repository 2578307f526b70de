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
//!
//! A channel with a template sends what that makes of one notice.

use std::collections::BTreeMap;

use super::endpoint::{Endpoint, JSON, secret};
use super::template::Template;
use super::{Failure, Message, signature};
use crate::domain::alert::channel::{SecretPlace, Webhook};
use crate::domain::alert::notice::Content;
use crate::domain::named::Named;
use crate::http::Secret;

const PER_REQUEST: usize = 100;

/// A webhook with its secrets read.
pub struct Receiver {
    pub(super) endpoint: Endpoint,
    secret: Option<Secret>,
    headers: Vec<(String, Secret)>,
    body: Option<Box<Body>>,
}

struct Body {
    template: Template,
    content_type: String,
    variables: BTreeMap<String, Secret>,
}

impl Receiver {
    pub(super) fn open(settings: &Webhook) -> Result<Receiver, String> {
        let variable = |name: &String| secret(&SecretPlace::Env(name.clone()));
        let headers = settings.headers.iter();
        let headers = headers.map(|(name, value)| Ok((name.clone(), variable(value)?)));
        let body = settings.template.as_ref().map(|template| {
            let variables = template.variables.iter();
            let variables = variables.map(|name| Ok((name.clone(), variable(name)?)));
            let compiled = Template::compile(template);
            Ok::<_, String>(Box::new(Body {
                template: compiled.map_err(|error| format!("its template: {error}"))?,
                content_type: template.content_type.clone(),
                variables: variables.collect::<Result<_, String>>()?,
            }))
        });
        Ok(Receiver {
            endpoint: Endpoint::open(&settings.http, "")?,
            secret: settings.secret.as_ref().map(secret).transpose()?,
            headers: headers.collect::<Result<_, String>>()?,
            body: body.transpose()?,
        })
    }

    pub(super) fn per_request(&self) -> usize {
        if self.body.is_some() { 1 } else { PER_REQUEST }
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), Failure> {
        let contents: Vec<&Content> = message.contents().collect();
        let event = match &contents[..] {
            [content] => content.kind.as_str(),
            _ => "GROUP",
        };
        let (body, content_type) = self.body(&contents)?;
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
        let own = self.headers.iter();
        headers.extend(own.map(|(name, secret)| (name.as_str(), secret.expose().to_owned())));
        self.endpoint
            .post(content_type, body, &headers, message.at)
            .map(drop)
    }

    fn body(&self, contents: &[&Content]) -> Result<(Vec<u8>, &str), Failure> {
        let json = match (&self.body, contents) {
            (Some(body), [content]) => {
                let text = body.template.render(content, &body.variables)?;
                return Ok((text.into_bytes(), &body.content_type));
            }
            (_, [content]) => serde_json::to_vec(content),
            (_, contents) => serde_json::to_vec(contents),
        };
        Ok((json.map_err(Failure::of_notice)?, JSON))
    }
}
