//! Asks a language model about a recommendation, at any endpoint with OpenAI's chat completions.
//!
//! The model receives the facts as JSON and answers in a fixed form; `recommendation::prose::model` drops fields that are
//! not in the facts.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::domain::recommendation::prose::model::{FIELD_LENGTH, FIELDS};
use crate::http::{Client, InvalidUrl, Limit, Policy, Request, Secret, Url};

/// Far more than three short fields.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

const RULES: &str = "You summarize a capacity recommendation for the people who run a service, from the facts in JSON. Answer \
    with JSON only: {\"situation\": \"how near the limit is\", \"action\": \"what to do, and at what cost\", \"risk\": \
    \"what may go wrong\"}. Each field is one short plain sentence without links or markup. Copy plans exactly from the facts, \
    and numbers from those under the field's own name; state no others.";

#[derive(Debug)]
pub struct Endpoint {
    /// The URL without `/chat/completions`.
    pub base: Url,
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<Secret>,
    pub timeout: Duration,
}

impl Endpoint {
    pub fn url(&self) -> Result<Url, InvalidUrl> {
        self.base.join("/chat/completions")
    }

    /// The body of the request.
    pub fn body(&self, facts: &Map<String, Value>) -> Value {
        let field = json!({ "type": "string", "maxLength": FIELD_LENGTH });
        let fields = FIELDS.map(|name| (name.to_owned(), field.clone()));
        let schema = json!({
            "type": "object",
            "properties": Map::from_iter(fields),
            "required": FIELDS,
            "additionalProperties": false,
        });
        json!({
            "model": self.model,
            "messages": [
                { "role": "system", "content": RULES },
                { "role": "user", "content": Value::Object(facts.clone()).to_string() },
            ],
            "temperature": 0.0,
            "max_tokens": 400,
            "response_format": {
                "type": "json_schema",
                "json_schema": { "name": "summary", "strict": true, "schema": schema },
            },
        })
    }

    /// The fields that the model writes.
    pub fn ask(&self, facts: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let client = Client::new(Policy {
            total: self.timeout,
            response: Limit::Whole(MAX_ANSWER_BYTES),
            ..Policy::default()
        });
        let url = self.url().map_err(|error| error.to_string())?;
        let mut request = Request::post_json(url, self.body(facts).to_string().into_bytes());
        if let Some(key) = &self.key {
            request = request.bearer(key);
        }
        let answer = client.send(request).map_err(|error| error.to_string())?;
        if !answer.is_success() {
            let (base, status) = (&self.base, answer.status);
            return Err(format!("{base} answered with status {status}"));
        }
        fields(&answer.body).ok_or_else(|| "the answer is not the requested JSON".to_owned())
    }
}

/// The fields in an answer. Some models put a code fence or their reasoning around the JSON.
fn fields(answer: &[u8]) -> Option<Map<String, Value>> {
    let completion: Value = serde_json::from_slice(answer).ok()?;
    let content = completion.pointer("/choices/0/message/content")?.as_str()?;
    let begin = content.get(..content.find("\"situation\"")?)?.rfind('{')?;
    serde_json::from_str(content.get(begin..=content.rfind('}')?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_extracted_from_surrounding_text() {
        let answer = |content: &str| {
            let json = json!({ "choices": [{ "message": { "content": content } }] });
            fields(json.to_string().as_bytes())
        };
        let bare = r#"{"situation": "It is so.", "action": "Wait.", "risk": ""}"#;
        let fenced = format!("<think>What is {{asked}}?</think>\n```json\n{bare}\n```");
        for content in [bare.to_owned(), fenced] {
            assert_eq!(answer(&content).unwrap()["situation"], "It is so.");
        }
        for content in ["", "It is so.", "}\"situation\"{"] {
            assert_eq!(answer(content), None, "{content}");
        }
    }
}
