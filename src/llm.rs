//! Asks a language model for the sentences of a recommendation: any endpoint that speaks OpenAI's chat completions.
//!
//! It is told which service, metric and kind it is about, and the names of the slots. No figure, plan, resource,
//! id, note or name leaves the machine. What comes back is read by `domain::recommendation::verifier`; if that refuses
//! it, the endpoint is asked once more, and then the template stands.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::metrics::names::{Metric, Service};
use crate::domain::recommendation::Kind;
use crate::domain::recommendation::prose::template::Story;
use crate::domain::recommendation::prose::verifier::{Refusal, SENTENCE_LENGTH, SENTENCES};
use crate::http::{BadUrl, Client, Limit, Policy, Request, Secret, Url};

/// More than eight sentences need a tenth of it.
const LARGEST_ANSWER: u64 = 64 << 10;

/// What eight sentences and their JSON may come to.
const MOST_TOKENS: u32 = 800;

/// Where to ask, and whom.
#[derive(Debug)]
pub struct Endpoint {
    /// Up to and without `/chat/completions`.
    pub base: Url,
    /// As the endpoint calls it.
    pub model: String,
    /// Shown as a bearer token, if there is one.
    pub key: Option<Secret>,
    /// For both attempts together.
    pub timeout: Duration,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: String,
}

/// All that a model is told of a recommendation.
#[derive(Serialize)]
struct Subject {
    service: Service,
    metric: Metric,
    kind: Kind,
    slots: Vec<SubjectSlot>,
}

#[derive(Serialize)]
struct SubjectSlot {
    name: &'static str,
    meaning: &'static str,
    required: bool,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<CompletionChoice>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    message: CompletionMessage,
}

#[derive(Deserialize)]
struct CompletionMessage {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    sentences: Vec<String>,
}

/// Why an attempt came to nothing.
enum Trouble {
    /// There was no answer, and asking again would take as long.
    Silent(String),
    /// The endpoint does not take the request as it is.
    Unsupported(String),
    /// What it wrote is no JSON of ours.
    Unreadable,
    /// What it wrote may not be said.
    Refused(Refusal),
}

impl Trouble {
    fn reason(&self) -> String {
        match self {
            Trouble::Silent(reason) | Trouble::Unsupported(reason) => reason.clone(),
            Trouble::Unreadable => "the answer is not the JSON that was asked for".to_owned(),
            Trouble::Refused(refusal) => refusal.to_string(),
        }
    }
}

/// Asks for a text about `story`, twice at most.
pub fn ask(endpoint: &Endpoint, story: &Story) -> Result<String, String> {
    let deadline = Instant::now() + endpoint.timeout;
    let first = match attempt(endpoint, story, None, endpoint.timeout) {
        Err(trouble @ (Trouble::Unsupported(_) | Trouble::Unreadable | Trouble::Refused(_))) => {
            trouble
        }
        settled => return settled.map_err(|trouble| trouble.reason()),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(first.reason());
    }
    attempt(endpoint, story, Some(&first), left).map_err(|second| second.reason())
}

fn attempt(
    endpoint: &Endpoint,
    story: &Story,
    before: Option<&Trouble>,
    timeout: Duration,
) -> Result<String, Trouble> {
    let silent = |reason: String| Trouble::Silent(reason);
    let client = Client::new(Policy {
        total: timeout,
        response: Limit::Whole(LARGEST_ANSWER),
        ..Policy::default()
    });
    let url = url(endpoint).map_err(|error| silent(error.to_string()))?;
    let body = body(endpoint, story, before).map_err(|error| silent(error.to_string()))?;
    let mut request = Request::post_json(url, body);
    if let Some(key) = &endpoint.key {
        request = request.bearer(key);
    }
    let answer = client
        .send(request)
        .map_err(|error| silent(error.to_string()))?;
    if !answer.is_success() {
        let reason = format!("{} answered with status {}", endpoint.base, answer.status);
        return Err(match answer.status {
            400 | 422 => Trouble::Unsupported(reason),
            _ => Trouble::Silent(reason),
        });
    }
    let sentences = sentences(&answer.body).ok_or(Trouble::Unreadable)?;
    story.tell(&sentences).map_err(Trouble::Refused)
}

/// The request as it would be sent, for people; the key is named and not shown.
pub fn dry_run(endpoint: &Endpoint, story: &Story, key: Option<&str>) -> Result<String, BadUrl> {
    let url = url(endpoint)?;
    let body = body(endpoint, story, None).unwrap_or_default();
    let key = key.map_or(String::new(), |name| {
        format!("Authorization: Bearer (the value of {name})\n")
    });
    Ok(format!(
        "POST {}\nContent-Type: application/json\n{key}\n{}\n",
        url.without_query(),
        String::from_utf8_lossy(&body)
    ))
}

fn url(endpoint: &Endpoint) -> Result<Url, BadUrl> {
    endpoint.base.join("/chat/completions")
}

/// The body; on the second attempt with what was wrong, or without what the endpoint does not take.
fn body(
    endpoint: &Endpoint,
    story: &Story,
    before: Option<&Trouble>,
) -> Result<Vec<u8>, serde_json::Error> {
    let subject = Subject {
        service: story.service,
        metric: story.metric,
        kind: story.kind,
        slots: story
            .slots
            .iter()
            .map(|slot| SubjectSlot {
                name: slot.name,
                meaning: slot.meaning,
                required: slot.required,
            })
            .collect(),
    };
    let mut messages = vec![
        Message {
            role: "system",
            content: rules(),
        },
        Message {
            role: "user",
            content: serde_json::to_string(&subject)?,
        },
    ];
    if let Some(trouble @ (Trouble::Unreadable | Trouble::Refused(_))) = before {
        messages.push(Message {
            role: "user",
            content: format!(
                "Your last answer was refused: {}. Write it anew.",
                trouble.reason()
            ),
        });
    }
    let bare = matches!(before, Some(Trouble::Unsupported(_)));
    serde_json::to_vec(&Body {
        model: &endpoint.model,
        messages,
        temperature: (!bare).then_some(0.0),
        max_tokens: (!bare).then_some(MOST_TOKENS),
        response_format: (!bare).then(response_format),
    })
}

fn rules() -> String {
    format!(
        "You write a short notice in plain English, for the people who run a service, about how it uses its plan. \
         You see no figures: you write sentences with slots such as {{{{usage}}}}, and a program replaces each slot \
         with a phrase. Answer with JSON only: {{\"sentences\": [\"...\"]}}. The rules: \
         1. Use only the slots in the list, by their names in double braces, set apart by spaces. Use every slot that \
         is required. \
         2. Write no digits, number words, units, times, dates, currencies or percent signs. \
         3. Each sentence begins with a capital letter or a slot, has no other capital letter, and ends with its only \
         full stop. Use only the letters a to z and , ; : ( ) ' - and no names or abbreviations. \
         4. Negate nothing. Claim nothing as certain: say `may`, `could` or `is expected to`. \
         5. Whether the use rises, how near the limit is, what it costs and how urgent it is, only slots may say. \
         6. At most {SENTENCES} sentences of at most {SENTENCE_LENGTH} characters each."
    )
}

fn response_format() -> serde_json::Value {
    serde_json::json!({
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

/// The sentences in an answer. Some models put a fence or their thoughts around the JSON.
fn sentences(answer: &[u8]) -> Option<Vec<String>> {
    let completion: Completion = serde_json::from_slice(answer).ok()?;
    let content = completion.choices.into_iter().next()?.message.content?;
    let begin = content.get(..content.find("\"sentences\"")?)?.rfind('{')?;
    let json = content.get(begin..=content.rfind('}')?)?;
    let written: Written = serde_json::from_str(json).ok()?;
    Some(written.sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: &str) -> Vec<u8> {
        let json = serde_json::json!({ "choices": [{ "message": { "content": content } }] });
        serde_json::to_vec(&json).unwrap()
    }

    #[test]
    fn sentences_are_found_in_what_models_put_around_them() {
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
