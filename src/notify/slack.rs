//! Slack's incoming webhooks: a message of blocks, and a text for notifications.

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoint::{Endpoint, JSON};
use super::{Failure, Message};
use crate::domain::alert::notice::{Content, NoticeKind};
use crate::domain::alert::rule::Severity;
use crate::http::Response;

/// Slack refuses a block whose text is longer than 3000 characters.
const LONGEST_TEXT: usize = 2_000;

/// Slack refuses more blocks in a message; several notices have one block each.
pub(super) const PER_MESSAGE: usize = 50;

/// Slack accepts one message per second. The margin keeps messages apart that arrive at different speeds.
pub(super) const PACE: Duration = Duration::from_millis(1_050);

pub(super) fn send(endpoint: &Endpoint, message: &Message) -> Result<(), Failure> {
    let contents: Vec<&Content> = message.contents().collect();
    let value = match &contents[..] {
        [content] => single(content),
        contents => group(contents),
    };
    let body = serde_json::to_vec(&value).map_err(Failure::of_notice)?;
    let headers = [("Idempotency-Key", message.key())];
    let answer = endpoint.post(JSON, body, &headers, message.at)?;
    match is_accepted(&answer) {
        true => Ok(()),
        false => Err(Failure {
            channel_is_down: false,
            ..endpoint.failure(&answer, "200, but not `ok`")
        }),
    }
}

/// Slack answers `ok`, other services that read its messages with an object; a proxy may answer 200 and an error.
fn is_accepted(answer: &Response) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(fields)) => {
            let is_false = |name| fields.get(name) == Some(&Value::Bool(false));
            !is_false("ok") && !is_false("success") && !fields.contains_key("error")
        }
        _ => matches!(text.trim(), "" | "ok"),
    }
}

fn single(content: &Content) -> Value {
    json!({
        "text": escaped(&content.summary),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": headline(content)}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": about(content)}]},
        ],
    })
}

fn group(contents: &[&Content]) -> Value {
    let first = contents.first().map(|content| escaped(&content.summary));
    let block = |content: &&Content| {
        let text = format!("{}\n{}", headline(content), about(content));
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    };
    json!({
        "text": format!("{} notices: {}, ...", contents.len(), first.unwrap_or_default()),
        "blocks": contents.iter().map(block).collect::<Vec<_>>(),
    })
}

/// The summary, with a sign for its kind and severity.
fn headline(content: &Content) -> String {
    let sign = match content.kind {
        NoticeKind::Firing if content.severity == Severity::Critical => ":red_circle:",
        NoticeKind::Firing => ":large_orange_circle:",
        NoticeKind::Reminder => ":repeat:",
        NoticeKind::Resolved => ":large_green_circle:",
        NoticeKind::Missed | NoticeKind::Late | NoticeKind::Test => ":white_circle:",
        NoticeKind::Skipped => ":warning:",
        NoticeKind::Unknown => ":grey_question:",
        NoticeKind::Known => ":information_source:",
    };
    format!("{sign} {}", escaped(&content.summary))
}

/// The rule and the times of the episode.
fn about(content: &Content) -> String {
    let when = |at: chrono::DateTime<chrono::Utc>| {
        // Slack shows it in the reader's time zone; the text after the bar is the fallback.
        let (seconds, text) = (at.timestamp(), at.format("%F %T UTC"));
        format!("<!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{text}>")
    };
    let alert = &content.alert;
    // A limit or a recommendation has no period.
    let parts = [&alert.api_name, &alert.alert_type, &alert.period];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| escaped(part)).collect();
    let mut about = format!("{} · since {}", parts.join(" · "), when(content.fired_at));
    if let Some(ended_at) = content.ended_at {
        about.push_str(&format!(" until {}", when(ended_at)));
    }
    about
}

/// Text without mentions and links, at most [`LONGEST_TEXT`] characters.
fn escaped(text: &str) -> String {
    let cut: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_TEXT)
        .collect();
    cut.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::notice::sample;

    #[test]
    fn stored_name_cannot_mention_anyone() {
        let mut content = sample(NoticeKind::Firing);
        content.alert.api_name = "<!channel>\n&".to_owned();
        content.summary = "<@U1> <https://x|y>".to_owned();
        let shown = single(&content).to_string();
        for harm in ["<!channel", "<@", "<https", "\\n"] {
            assert!(!shown.contains(harm), "{harm}: {shown}");
        }
        assert!(shown.contains("&lt;!channel&gt; &amp;"), "{shown}");
    }

    #[test]
    fn message_has_rule_and_times() {
        let resolved = Content {
            ended_at: Some(sample(NoticeKind::Resolved).fired_at),
            ..sample(NoticeKind::Resolved)
        };
        let message = single(&resolved);
        let date = "<!date^1769860800^{date_short_pretty} {time_secs}|2026-01-31 12:00:00 UTC>";
        assert_eq!(
            message["blocks"][1]["elements"][0]["text"],
            format!("finnhub · RATE_LIMIT_WARNING · MINUTE · since {date} until {date}")
        );
        assert_eq!(message["text"], resolved.summary);
    }

    #[test]
    fn group_has_one_block_per_notice() {
        let [firing, resolved] = [NoticeKind::Firing, NoticeKind::Resolved].map(sample);
        let message = group(&[&firing, &resolved]);
        let blocks = message["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 2);
        let text = blocks[1]["text"]["text"].as_str().unwrap();
        assert!(
            text.starts_with(":large_green_circle: finnhub uses"),
            "{text}"
        );
        let shown = message["text"].as_str().unwrap();
        assert!(shown.starts_with("2 notices: finnhub uses"), "{shown}");
    }

    #[test]
    fn answer_with_an_error_is_no_success() {
        let accepted = |body: &str| {
            is_accepted(&Response {
                status: 200,
                headers: Vec::new(),
                body: body.as_bytes().to_vec(),
            })
        };
        let good = [
            "ok",
            "ok\n",
            "",
            r#"{"success":true}"#,
            r#"{"result":"success"}"#,
        ];
        assert!(good.into_iter().all(accepted));
        let bad = [
            "invalid_payload",
            "<html>",
            "null",
            r#"{"ok":false,"error":"channel_not_found"}"#,
            r#"{"success":false}"#,
        ];
        assert!(!bad.into_iter().any(accepted));
    }

    #[test]
    fn long_summary_is_cut() {
        let content = Content {
            summary: "x".repeat(10_000),
            ..sample(NoticeKind::Firing)
        };
        let text = single(&content)["blocks"][0]["text"]["text"].to_string();
        assert!(text.len() < 3_000);
    }
}
