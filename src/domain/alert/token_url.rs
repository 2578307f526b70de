//! URLs that carry a token: all who read such a URL can send to its receiver.

/// Services whose URLs have a token in the path: a host, or a dot and a domain, and the beginning of the path.
const SERVICES: &[(&str, &str)] = &[
    ("hooks.slack.com", "/"),
    ("hooks.slack-gov.com", "/"),
    ("discord.com", "/api/webhooks/"),
    (".discord.com", "/api/webhooks/"),
    ("discordapp.com", "/api/webhooks/"),
    (".discordapp.com", "/api/webhooks/"),
    ("outlook.office.com", "/webhook/"),
    (".webhook.office.com", "/"),
    (".logic.azure.com", "/"),
    (".api.powerplatform.com", "/"),
    ("api.telegram.org", "/bot"),
    ("hc-ping.com", "/"),
    ("chat.googleapis.com", "/"),
    ("maker.ifttt.com", "/"),
    ("hooks.zapier.com", "/"),
    (".make.com", "/"),
    ("open.feishu.cn", "/open-apis/bot/"),
    ("open.larksuite.com", "/open-apis/bot/"),
];

/// Parts of the names of parameters that hold a secret.
const PARAMETERS: [&str; 8] = [
    "token",
    "secret",
    "passw",
    "key",
    "sig",
    "auth",
    "code",
    "credential",
];

/// The length of a mixture of letters and digits from which on it counts as random: words with a year or a version are
/// shorter.
const RANDOM_LENGTH: usize = 16;

struct Parts<'a> {
    origin: &'a str,
    /// User, host and port.
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl Parts<'_> {
    fn of(url: &str) -> Parts<'_> {
        let (url, _) = url.split_once('#').unwrap_or((url, ""));
        let (url, query) = url.split_once('?').unwrap_or((url, ""));
        let start = url.find("://").map_or(0, |at| at + 3);
        let end = url[start..].find('/').map_or(url.len(), |at| start + at);
        Parts {
            origin: &url[..end],
            authority: &url[start..end],
            path: &url[end..],
            query,
        }
    }
}

/// Whether a part of the URL is a token or a password.
pub fn carries_token(url: &str) -> bool {
    let url = Parts::of(url);
    let host = url.authority.split(':').next().unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let is_of = |(service, beginning): &(&str, &str)| {
        let is_host = match service.starts_with('.') {
            true => host.ends_with(service),
            false => host == *service,
        };
        is_host && url.path.starts_with(beginning) && url.path != "/"
    };
    let parameters = url.query.split('&');
    let mut names = parameters.map(|pair| pair.split('=').next().unwrap_or_default());
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        PARAMETERS.iter().any(|part| name.contains(part))
    };
    url.authority.contains('@')
        || SERVICES.iter().any(is_of)
        || names.any(is_secret)
        || url.path.split('/').any(is_random)
        // Such as `/alert/key/VALUE`.
        || ["/key/", "/token/", "/secret/"].iter().any(|it| url.path.contains(it))
}

/// The URL for lists, without its query, and without its path if it carries a token.
pub fn masked(url: &str) -> String {
    let parts = Parts::of(url);
    match carries_token(url) {
        true if parts.authority.contains('@') => "***".to_owned(),
        true => format!("{}/***", parts.origin),
        false => format!("{}{}", parts.origin, parts.path),
    }
}

/// Whether a part of a path is a UUID, or contains a long mixture of letters and digits.
fn is_random(part: &str) -> bool {
    let is_mixed = |run: &str| {
        run.len() >= RANDOM_LENGTH
            && run.contains(|c: char| c.is_ascii_digit())
            && run.contains(|c: char| c.is_ascii_alphabetic())
    };
    let mut runs = part.split(|c: char| !c.is_ascii_alphanumeric());
    uuid::Uuid::try_parse(part).is_ok() || runs.any(is_mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_token_is_shown_without_its_path() {
        for url in [
            "https://hooks.slack.com/services/T0/B0/x",
            "https://Discord.com/api/webhooks/1/x",
            "https://acme.webhook.office.com/webhookb2/x",
            "https://prod-1.westeurope.logic.azure.com:443/workflows/x",
            "https://api.telegram.org/bot1:x/sendMessage",
            "https://ptb.discord.com/api/webhooks/1/x",
            "https://hook.eu1.make.com/x",
            "https://x.com/alert/key/team",
            "https://x.com/hook?access_token=x",
            "https://x.com?a=b&SIG=x",
            "https://x.com/hook/5ebe2294ecd0e0f08eab7690d2a6ee69",
            "https://x.com/2f4c1d9e-8a4b-4c3a-9d57-6f2f0e5b1a77",
        ] {
            let origin: Vec<&str> = url.split(['/', '?']).take(3).collect();
            assert_eq!(masked(url), format!("{}/***", origin.join("/")));
        }
        assert_eq!(masked("https://me:x@x.com/hook"), "***");
    }

    #[test]
    fn url_without_token_is_shown_without_its_query() {
        for url in [
            "https://desk.example.com/hooks/usage?team=a",
            "https://x.com/usage-alerts-for-production-2026",
            "https://hooks.slack.com/",
            "https://discord.com/developers",
            "http://localhost:9093/am",
            "https://events.pagerduty.com/v2/enqueue",
        ] {
            assert_eq!(Some(masked(url).as_str()), url.split('?').next());
        }
    }
}
