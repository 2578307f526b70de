//! Asks a language model for the sentences of a recommendation, at any endpoint with OpenAI's chat completions.
//!
//! The model receives the service, the metric, the kind of recommendation and the names of the slots. No figure, plan,
//! resource, id, note or name is sent. Its answer is verified by `recommendation::prose::verifier`; a refused answer
//! is requested once more.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::recommendation::prose::story::{Slot, Story};
use crate::domain::recommendation::prose::verifier::{Refusal, SENTENCE_LENGTH, SENTENCES, render};
use crate::http::{Client, InvalidUrl, Limit, Policy, Request, Secret, Url};

/// Ten times the size of eight sentences.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// Enough for eight sentences and their JSON.
const MAX_TOKENS: u32 = 800;

/// An endpoint and its model.
#[derive(Debug)]
pub struct Endpoint {
    /// The URL without `/chat/completions`.
    pub base: Url,
    pub model: String,
    /// Sent as a bearer token.
    pub key: Option<Secret>,
    /// For both attempts together.
    pub timeout: Duration,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

/// Why an attempt failed.
enum Failure {
    /// No answer; a second attempt would take as long.
    NoAnswer(String),
    /// The endpoint does not support the request.
    Unsupported(String),
    /// The answer is not the requested JSON.
    Unreadable,
    Refused(Refusal),
}

impl Failure {
    fn reason(&self) -> String {
        match self {
            Failure::NoAnswer(reason) | Failure::Unsupported(reason) => reason.clone(),
            Failure::Unreadable => "the answer is not the requested JSON".to_owned(),
            Failure::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// Asks for a text about `story`, twice at most.
pub fn ask(endpoint: &Endpoint, story: &Story) -> Result<String, String> {
    let deadline = Instant::now() + endpoint.timeout;
    let first = match attempt(endpoint, story, None, endpoint.timeout) {
        Ok(text) => return Ok(text),
        Err(failure) => failure,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || matches!(first, Failure::NoAnswer(_)) {
        return Err(first.reason());
    }
    attempt(endpoint, story, Some(&first), left).map_err(|second| second.reason())
}

fn attempt(
    endpoint: &Endpoint,
    story: &Story,
    before: Option<&Failure>,
    timeout: Duration,
) -> Result<String, Failure> {
    let client = Client::new(Policy {
        total: timeout,
        response: Limit::Whole(MAX_ANSWER_BYTES),
        ..Policy::default()
    });
    let no_answer = |error: &dyn std::error::Error| Failure::NoAnswer(error.to_string());
    let url = url(endpoint).map_err(|error| no_answer(&error))?;
    let body = body(endpoint, story, before);
    let body = serde_json::to_vec(&body).map_err(|error| no_answer(&error))?;
    let mut request = Request::post_json(url, body);
    if let Some(key) = &endpoint.key {
        request = request.bearer(key);
    }
    let answer = client.send(request).map_err(|error| no_answer(&error))?;
    if !answer.is_success() {
        let reason = format!("{} answered with status {}", endpoint.base, answer.status);
        return Err(match answer.status {
            400 | 422 => Failure::Unsupported(reason),
            _ => Failure::NoAnswer(reason),
        });
    }
    let sentences = sentences(&answer.body).ok_or(Failure::Unreadable)?;
    render(&sentences, story).map_err(Failure::Refused)
}

/// The URL and the body of the first request.
pub fn request(endpoint: &Endpoint, story: &Story) -> Result<(String, String), RequestError> {
    let url = url(endpoint)?.without_query();
    let body = serde_json::to_string(&body(endpoint, story, None))?;
    Ok((url, body))
}

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn url(endpoint: &Endpoint) -> Result<Url, InvalidUrl> {
    endpoint.base.join("/chat/completions")
}

/// The body; for the second attempt with the fault of the first, or without what the endpoint does not support.
fn body<'a>(endpoint: &'a Endpoint, story: &Story, before: Option<&Failure>) -> Body<'a> {
    let slot = |slot: &Slot| json!({ "name": slot.name, "meaning": slot.meaning, "required": slot.required });
    let subject = json!({
        "service": story.service,
        "metric": story.metric,
        "kind": story.kind,
        "slots": story.slots.iter().map(slot).collect::<Vec<_>>(),
    });
    let message = |role: &str, content: String| json!({ "role": role, "content": content });
    let mut messages = vec![
        message("system", rules()),
        message("user", subject.to_string()),
    ];
    if let Some(failure @ (Failure::Unreadable | Failure::Refused(_))) = before {
        let reason = failure.reason();
        let correction = format!("Your last answer was refused: {reason}. Write a new one.");
        messages.push(message("user", correction));
    }
    let bare = matches!(before, Some(Failure::Unsupported(_)));
    Body {
        model: &endpoint.model,
        messages,
        temperature: (!bare).then_some(0.0),
        max_tokens: (!bare).then_some(MAX_TOKENS),
        response_format: (!bare).then(response_format),
    }
}

fn rules() -> String {
    format!(
        "You write a short notice in plain English, for the people who run a service, about how it uses its plan. \
         You see no figures: you write sentences with slots such as {{{{usage}}}}, and a program replaces each slot \
         with a phrase. Answer with JSON only: {{\"sentences\": [\"...\"]}}. The rules: \
         1. Use only the slots in the list, by their names in double braces, set apart by spaces. Use every required \
         slot. \
         2. Write no digits, number words, units, times, dates, currencies or percent signs. \
         3. Each sentence begins with a capital letter or a slot, has no other capital letter, and ends with its only \
         full stop. Use only the letters a to z and , ; : ( ) ' - and no names or abbreviations. \
         4. Negate nothing. Claim nothing as certain: write `may`, `could` or `is expected to`. \
         5. Only slots may state whether usage rises, how near the limit is, costs and urgency. \
         6. At most {SENTENCES} sentences of at most {SENTENCE_LENGTH} characters each."
    )
}

fn response_format() -> Value {
    json!({
        "type": "json_schema",
        "json_schema": {
            "name": "notice",
            "strict": true,
            "schema": {
                "type": "object",
                "properties": {
                    "sentences": { "type": "array", "items": { "type": "string" } }
                },
                "required": ["sentences"],
                "additionalProperties": false
            }
        }
    })
}

/// The sentences in an answer. Some models put a code fence or their reasoning around the JSON.
fn sentences(answer: &[u8]) -> Option<Vec<String>> {
    let completion: Value = serde_json::from_slice(answer).ok()?;
    let content = completion.pointer("/choices/0/message/content")?.as_str()?;
    let begin = content.get(..content.find("\"sentences\"")?)?.rfind('{')?;
    let json = content.get(begin..=content.rfind('}')?)?;
    let mut answer: Value = serde_json::from_str(json).ok()?;
    serde_json::from_value(answer.get_mut("sentences")?.take()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: &str) -> Vec<u8> {
        let json = serde_json::json!({ "choices": [{ "message": { "content": content } }] });
        serde_json::to_vec(&json).unwrap()
    }

    #[test]
    fn sentences_are_extracted_from_surrounding_text() {
        let bare = "{\"sentences\": [\"It is so.\"]}";
        for content in [
            bare.to_owned(),
            format!("```json\n{bare}\n```"),
            "{\n  \"sentences\": [\n    \"It is so.\"\n  ]\n}\n".to_owned(),
            format!("<think>What is {{asked}}?</think>{bare} "),
        ] {
            let found = sentences(&answer(&content));
            assert_eq!(found, Some(vec!["It is so.".to_owned()]), "{content}");
        }
        for content in [
            "",
            "It is so.",
            "{\"sentences\": \"It is so.\"}",
            "}\"sentences\"{",
        ] {
            assert_eq!(sentences(&answer(content)), None, "{content}");
        }
        assert_eq!(sentences(b"{}"), None);
    }
}
