//! Slack's incoming webhooks: a message of blocks, and a text for notifications.

use serde_json::{Value, json};

use super::Failure;
use super::endpoint::Endpoint;
use crate::domain::alert::notice::{Content, NoticeKind};
use crate::domain::alert::rule::Severity;

/// Slack refuses a block whose text is longer than 3000 characters.
const LONGEST_TEXT: usize = 2_000;

pub(super) fn send(endpoint: &Endpoint, content: &Content) -> Result<(), Failure> {
    let body = serde_json::to_vec(&message(content)).map_err(Failure::of_notice)?;
    endpoint.post(body, &[("Idempotency-Key", content.key.clone())])
}

fn message(content: &Content) -> Value {
    let sign = match content.kind {
        NoticeKind::Firing if content.severity == Severity::Critical => ":red_circle:",
        NoticeKind::Firing => ":large_orange_circle:",
        NoticeKind::Reminder => ":repeat:",
        NoticeKind::Resolved => ":large_green_circle:",
        NoticeKind::Missed | NoticeKind::Late => ":white_circle:",
        NoticeKind::Skipped => ":warning:",
    };
    let summary = escaped(&content.summary);
    let when = |at: chrono::DateTime<chrono::Utc>| {
        // Slack shows it in the reader's time zone; the text after the bar is the fallback.
        let (seconds, text) = (at.timestamp(), at.format("%F %T UTC"));
        format!("<!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{text}>")
    };
    let mut about = format!(
        "{} · {} · {} · since {}",
        escaped(&content.alert.api_name),
        escaped(&content.alert.alert_type),
        escaped(&content.alert.period),
        when(content.fired_at),
    );
    if let Some(ended_at) = content.ended_at {
        about.push_str(&format!(" until {}", when(ended_at)));
    }
    json!({
        "text": summary,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": format!("{sign} {summary}")}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": about}]},
        ],
    })
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
        let shown = message(&content).to_string();
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
        let message = message(&resolved);
        let date = "<!date^1769860800^{date_short_pretty} {time_secs}|2026-01-31 12:00:00 UTC>";
        assert_eq!(
            message["blocks"][1]["elements"][0]["text"],
            format!("finnhub · RATE_LIMIT_WARNING · MINUTE · since {date} until {date}")
        );
        assert_eq!(message["text"], resolved.summary);
    }

    #[test]
    fn long_summary_is_cut() {
        let content = Content {
            summary: "x".repeat(10_000),
            ..sample(NoticeKind::Firing)
        };
        let text = message(&content)["blocks"][0]["text"]["text"].to_string();
        assert!(text.len() < 3_000);
    }
}
