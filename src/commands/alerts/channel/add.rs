//! `alerts channel add`.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;

use crate::args::parse_duration;
use crate::commands::alerts::rule_options::severity;
use crate::commands::delivery;
use crate::commands::prelude::*;
use crate::domain::alert::channel::{
    Address, Alertmanager, Auth, BodyTemplate, Channel, ChannelKind, Exec, HttpSettings,
    SecretPlace, Settings, Stdout, Webhook,
};
use crate::domain::alert::delivery::{Delivery, DropReason};
use crate::domain::alert::rule::Severity;
use crate::domain::alert::token_url;
use crate::domain::format::counted;
use crate::domain::format::shell_word;
use crate::domain::named::Named;
use crate::http::{HeaderName, HeaderValue, Url};
use crate::notify;
use crate::notify::OWN_LABELS;
use crate::output::alerts::Action;
use crate::output::alerts::channels::{ChannelStatus, Channels};
use crate::store::alerting::{channels, notices};

/// Add a channel
///
/// Notices that were dropped when a channel of this name was removed are sent, except those of episodes
/// whose end was sent.
#[derive(Args, Debug)]
#[command(
    subcommand_value_name = "KIND",
    subcommand_help_heading = "Kinds",
    disable_help_subcommand = true,
    after_help = example!("alerts channel add ops slack --url-env SLACK_WEBHOOK_URL")
)]
pub struct AddArgs {
    /// Name in rules: letters, digits and ._-
    #[arg(value_parser = channel_name)]
    name: String,

    /// Replace a channel of the same name; it takes over the waiting notices, which are due at once
    #[arg(long, global = true)]
    replace: bool,

    /// Notify the channel only while an alert has at least this severity
    ///
    /// It is notified when the severity is reached, and of the end when it falls below. A rule or a threshold
    /// that names the channel changes nothing about that.
    #[arg(long, value_name = "SEVERITY", value_parser = severity(), ignore_case = true, global = true)]
    min_severity: Option<Severity>,

    #[command(subcommand)]
    kind: Kind,
}

/// Marks a name that clap would take for a kind. No argument of a program contains it.
const NAME_MARK: &str = "\0";

/// Marks the name of the channel where it is also the name of a kind: clap takes the first word that names a
/// subcommand for it, as in `alerts channel add slack slack`.
pub fn with_marked_name(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_kind = |at: &usize| {
        let mut kinds = ChannelKind::ALL.iter();
        kinds.any(|kind| arguments[*at] == kind.word())
    };
    let mut pairs = arguments.windows(2);
    let command = pairs.position(|pair| *pair == ["channel", "add"]);
    let start = command.map_or(arguments.len(), |at| at + 2);
    let words = (start..arguments.len()).take_while(|at| arguments[*at] != "--");
    let words: Vec<usize> = words.filter(|at| arguments[*at] != "--replace").collect();
    let name = words.windows(2).find(|pair| pair.iter().all(is_kind));
    if let Some(at) = name.map(|pair| pair[0]) {
        let mut marked = OsString::from(NAME_MARK);
        marked.push(&arguments[at]);
        arguments[at] = marked;
    }
    arguments
}

#[derive(Debug, Subcommand)]
enum Kind {
    Webhook(WebhookArgs),
    Slack(SlackArgs),
    Alertmanager(AlertmanagerArgs),
    Exec(ExecArgs),
    Stdout(StdoutArgs),
}

/// Post notices as JSON to a URL
///
/// One notice is an object; several that are due at once are an array of at most 100, with the header
/// X-Usagectl-Event: GROUP. If an array is rejected (400, 413 or 422), its notices are sent one by one. The header
/// Idempotency-Key is unique to a notice or a group, and the same on every attempt. With --secret-env or
/// --secret-file the header X-Usagectl-Signature is `sha256=` and the HMAC-SHA256, in hexadecimal, of the
/// header X-Usagectl-Timestamp, a full stop and the body; webhook-signature is that of Standard Webhooks, for which
/// a secret whsec_BASE64 is decoded. Status 200 to 299 is success.
///
/// With --template the body is what the template makes of a notice, one request for each. The template is written in
/// the language of Jinja; it has the fields of the notice (docs/json.md, "webhook body") and, as env.VAR, the
/// variables of --template-env. In a JSON body each {{ value }} is written as JSON, with quotes. The file is checked
/// and stored with the channel. Examples for PagerDuty, Teams, Discord and ntfy are in examples/notify.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel add desk webhook --url https://desk.example.com/hooks/usage --secret-env WEBHOOK_SECRET"))]
struct WebhookArgs {
    #[command(flatten)]
    url: UrlOptions,

    /// Environment variable with the signing secret
    #[arg(long, value_name = "VAR", conflicts_with = "secret_file")]
    secret_env: Option<String>,

    /// File with the signing secret
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Header, and the environment variable with its value; repeat for more
    #[arg(long = "header-env", value_name = "NAME=VAR")]
    headers: Vec<String>,

    /// File with a template of the body
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,

    /// Environment variable that the template uses, such as a routing key; repeat for more
    #[arg(long, value_name = "VAR", requires = "template")]
    template_env: Vec<String>,

    /// Content type of the body
    #[arg(
        long,
        value_name = "TYPE",
        requires = "template",
        default_value = "application/json"
    )]
    content_type: String,

    #[command(flatten)]
    http: HttpOptions,
}

/// Post notices as messages to a Slack incoming webhook
///
/// Several notices that are due at once are one message of up to 50. At most one message per second is sent. An answer
/// other than `ok` is a failure, also with status 200.
///
/// The URL of the webhook is a secret, so it is read from an environment variable or a file only.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel add ops slack --url-env SLACK_WEBHOOK_URL"))]
struct SlackArgs {
    #[command(flatten)]
    url: SecretUrlOptions,

    #[command(flatten)]
    http: HttpOptions,
}

/// Send alerts to a Prometheus Alertmanager
///
/// The labels are alertname, api, type, period, severity (warning or critical), rule, and those of --label.
/// Each `usagectl alerts check` and `deliver` sends the firing alerts again; Alertmanager resolves an alert
/// that it did not receive for --hold. When a warning becomes critical, the warning is resolved and a
/// critical alert starts.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel add pager alertmanager --url http://localhost:9093 --label team=payments"))]
struct AlertmanagerArgs {
    #[command(flatten)]
    url: UrlOptions,

    /// Time after which an alert that is not sent again resolves; longer than the check interval
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "3h")]
    hold: Duration,

    /// Additional label; repeat for more
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    http: HttpOptions,
}

/// Run a program for each notice
///
/// The program reads the notice as JSON on standard input. Its environment has PATH, HOME, LANG, LC_ALL, TZ, the
/// variables of --pass-env, and of the notice USAGECTL_NOTICE_SUMMARY, _SEVERITY, _API, _VALUE, _THRESHOLD, _KIND,
/// _EPISODE and _KEY; an unknown number is empty. Exit code 0 is success. The program is not run by a shell.
/// examples/notify/mail.sh sends mail.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel add mail exec -- /bin/sh -c 'mail -s usage ops@example.com'"))]
struct ExecArgs {
    /// Environment variable passed to the program; repeat for more
    #[arg(long, value_name = "VAR")]
    pass_env: Vec<String>,

    /// Time after which the program and its children are killed
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "30s")]
    timeout: Duration,

    /// Program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Print each notice on standard output
///
/// If the answer is JSON or CSV, notices are printed on standard error.
#[derive(Args, Debug)]
#[command(after_help = example!("alerts channel add terminal stdout"))]
struct StdoutArgs {
    /// Print one JSON document per line instead of text
    #[arg(long)]
    json: bool,
}

/// A URL, or where to read one that is secret.
#[derive(Args, Debug)]
#[group(id = "address", required = true, multiple = false)]
struct UrlOptions {
    /// URL: https, or http on this machine; refused if it carries a token
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// Environment variable with the URL, if it is secret
    #[arg(long, value_name = "VAR")]
    url_env: Option<String>,

    /// File with the URL, if it is secret
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

/// Where to read a secret URL.
#[derive(Args, Debug)]
#[group(id = "address", required = true, multiple = false)]
struct SecretUrlOptions {
    /// Environment variable with the URL
    #[arg(long, value_name = "VAR")]
    url_env: Option<String>,

    /// File with the URL
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

/// Options of all kinds that use HTTP.
#[derive(Args, Debug)]
struct HttpOptions {
    /// Environment variable with a bearer token
    #[arg(long, value_name = "VAR", conflicts_with_all = ["bearer_file", "user"])]
    bearer_env: Option<String>,

    /// File with a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    bearer_file: Option<PathBuf>,

    /// User for basic authentication
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,

    /// Environment variable with the user's password
    #[arg(long, value_name = "VAR", group = "password", requires = "user")]
    password_env: Option<String>,

    /// File with the user's password
    #[arg(long, value_name = "FILE", group = "password", requires = "user")]
    password_file: Option<PathBuf>,

    /// Allow plain HTTP to other machines
    ///
    /// Notices can be read and forged on the way.
    #[arg(long)]
    allow_insecure_http: bool,

    /// Timeout of one attempt
    #[arg(long, value_name = "DURATION", value_parser = positive_duration, default_value = "10s")]
    timeout: Duration,
}

fn channel_name(text: &str) -> Result<String, String> {
    let text = text.strip_prefix(NAME_MARK).unwrap_or(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_plain && text.len() <= 64 && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(
            "expected a name of at most 64 letters, digits and ._-, a letter or digit first"
                .to_owned(),
        )
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).and_then(|duration| match duration.is_zero() {
        true => Err("must be greater than zero".to_owned()),
        false => Ok(duration),
    })
}

fn is_variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, _)) if OWN_LABELS.contains(&name) => {
            let own = OWN_LABELS.join(", ");
            Err(format!(
                "every alert has a label {name}; expected another name than {own}"
            ))
        }
        Some((name, value)) if is_variable_name(name) && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected a label NAME=VALUE; a name has letters, digits and _".to_owned()),
    }
}

pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    let settings = settings(args.kind)?;
    let stored = settings.to_json()?;
    let channel = Channel {
        name: args.name,
        kind: settings.kind(),
        settings: Some(settings),
        created_at: context.now,
        not_before: None,
        min_severity: args.min_severity,
    };
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let revived = db.write_tx(|db| -> Result<usize> {
        if args.replace {
            channels::remove(db, &channel.name)?;
            notices::clear_backoff(db, &channel.name, now)?;
        }
        if !channels::add(db, &channel, &stored)? {
            let message = format!("channel `{}` already exists", shell_word(&channel.name));
            let next = "use another name, or replace the channel with --replace";
            return Err(Error::message(Exit::Refused, message).with_next(next));
        }
        let dropped = notices::find_by_delivery(db, Delivery::Dropped)?;
        let ours = dropped.into_iter().filter(|notice| {
            notice.channel == channel.name && notice.drop_reason == Some(DropReason::NoChannel)
        });
        let ours: Vec<_> = ours.collect();
        delivery::revive(db, &ours, now)
    })? as u64;
    let status = ChannelStatus::new(channel, super::is_present, revived);
    for place in status.missing_secrets() {
        context.warn(format_args!(
            "{} has no secret here, neither in the environment nor in a .env file; notices wait until it has one \
             where they are sent",
            printable(place)
        ));
    }
    if revived > 0 {
        let waiting = counted(revived, "waiting notice");
        context.info(format_args!(
            "{waiting}: send with `usagectl alerts deliver`"
        ));
    }
    context.finish(&Channels {
        action: Some(Action::Added),
        channels: vec![status],
    })
}

fn settings(kind: Kind) -> Result<Settings> {
    Ok(match kind {
        Kind::Webhook(args) => {
            let headers = args.headers.iter().map(|text| header(text));
            Settings::Webhook(Webhook {
                headers: headers.collect::<Result<_>>()?,
                template: match args.template {
                    Some(file) => Some(template(&file, args.content_type, args.template_env)?),
                    None => None,
                },
                secret: place(args.secret_env, args.secret_file)?,
                http: http(args.url, args.http)?,
            })
        }
        Kind::Slack(args) => {
            let url = UrlOptions {
                url: None,
                url_env: args.url.url_env,
                url_file: args.url.url_file,
            };
            Settings::Slack(http(url, args.http)?)
        }
        Kind::Alertmanager(args) => Settings::Alertmanager(Alertmanager {
            http: http(args.url, args.http)?,
            hold_ms: ms(args.hold),
            labels: args.labels,
        }),
        Kind::Exec(args) => Settings::Exec(exec(args)?),
        Kind::Stdout(args) => Settings::Stdout(Stdout { json: args.json }),
    })
}

/// The name of a header and its variable.
fn header(text: &str) -> Result<(String, String)> {
    let Some((name, variable)) = text.split_once('=') else {
        return Err(Error::usage("--header-env: expected NAME=VAR")
            .with_next("give the name of the variable that holds the header's value"));
    };
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(Error::usage("--header-env: invalid name of a header"));
    }
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        let message = format!("--header-env: usagectl itself sets the header {name}");
        return Err(Error::usage(message).with_next("omit it; --content-type sets Content-Type"));
    }
    check_variable(variable)?;
    Ok((name.to_owned(), variable.to_owned()))
}

/// The headers of a webhook that no option may set.
const OWN_HEADERS: [&str; 12] = [
    "Connection",
    "Content-Length",
    "Content-Type",
    "Host",
    "Idempotency-Key",
    "Transfer-Encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
    "X-Usagectl-Event",
    "X-Usagectl-Signature",
    "X-Usagectl-Timestamp",
];

/// The maximum size of a template, in bytes.
const TEMPLATE_LIMIT: u64 = 64 << 10;

/// Reads and checks a template.
fn template(file: &Path, content_type: String, variables: Vec<String>) -> Result<BodyTemplate> {
    variables.iter().try_for_each(|name| check_variable(name))?;
    if HeaderValue::from_str(&content_type).is_err() || !content_type.contains('/') {
        return Err(Error::usage(
            "--content-type: expected a type such as text/plain",
        ));
    }
    let name = file.display();
    let unreadable = |error: std::io::Error| {
        Error::usage(format_args!("cannot read the template {name}: {error}"))
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let mut bounded = opened.take(TEMPLATE_LIMIT + 1);
    bounded.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > TEMPLATE_LIMIT {
        let message = format!("the template {name} has more than {TEMPLATE_LIMIT} bytes");
        return Err(Error::usage(message));
    }
    let template = BodyTemplate {
        text,
        content_type,
        variables,
    };
    notify::template::check(&template).map_err(|error| {
        Error::usage(format_args!("the template {name}: {error}")).with_next(
            "correct it: the fields are those of the webhook body in docs/json.md, and env.VAR for each --template-env VAR",
        )
    })?;
    Ok(template)
}

fn exec(args: ExecArgs) -> Result<Exec> {
    for name in &args.pass_env {
        check_variable(name)?;
    }
    let mut command = args.command;
    // Checks run by cron have another working directory.
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = std::path::absolute(Path::new(program))?
            .display()
            .to_string();
    }
    Ok(Exec {
        command,
        pass_env: args.pass_env,
        timeout_ms: ms(args.timeout),
    })
}

fn http(url: UrlOptions, options: HttpOptions) -> Result<HttpSettings> {
    let address = match (url.url, place(url.url_env, url.url_file)?) {
        (_, Some(place)) => Address::Secret(place),
        (Some(url), None) => {
            check_url(&url, options.allow_insecure_http)?;
            Address::Url(url)
        }
        (None, None) => return Err(Error::usage("expected a URL")),
    };
    let bearer = place(options.bearer_env, options.bearer_file)?;
    let password = place(options.password_env, options.password_file)?;
    let auth = match (options.user, password) {
        (Some(user), Some(password)) => Some(Auth::Basic { user, password }),
        _ => bearer.map(Auth::Bearer),
    };
    Ok(HttpSettings {
        address,
        auth,
        insecure_http: options.allow_insecure_http,
        timeout_ms: ms(options.timeout),
    })
}

fn check_url(text: &str, insecure_http: bool) -> Result<()> {
    let url = Url::parse(text).map_err(|error| {
        let next = "give --url scheme://host/path; user and password by --user and --password-env, a query by --url-env";
        Error::usage(format_args!("invalid --url: {error}")).with_next(next)
    })?;
    if !url.is_https() && !url.is_loopback() && !insecure_http {
        let message = format!("plain HTTP to {url} is refused: notices could be read and forged");
        let next = "use https, or add --allow-insecure-http";
        return Err(Error::message(Exit::Refused, message).with_next(next));
    }
    if token_url::carries_token(text) {
        let message =
            format!("the URL on {url} carries a token, which would be stored in the database");
        let next = "set an environment variable, or a line of .env, to the URL and give its name: --url-env VAR";
        return Err(Error::usage(message).with_next(next));
    }
    Ok(())
}

/// Where a secret is read from, if either is given.
fn place(env: Option<String>, file: Option<PathBuf>) -> Result<Option<SecretPlace>> {
    match (env, file) {
        (Some(name), _) => {
            check_variable(&name)?;
            Ok(Some(SecretPlace::Env(name)))
        }
        (None, Some(path)) => Ok(Some(SecretPlace::File(std::path::absolute(path)?))),
        (None, None) => Ok(None),
    }
}

/// Refuses anything but the name of a variable: a secret given by mistake must not be stored.
fn check_variable(name: &str) -> Result<()> {
    if is_variable_name(name) {
        return Ok(());
    }
    // The value is not repeated, and clap is not asked, which would: it may be the secret.
    Err(Error::usage("invalid name of an environment variable")
        .with_next("give the name of a variable that holds the secret, such as SLACK_WEBHOOK_URL"))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_name_starts_with_letter_or_digit() {
        for name in ["ops", "9.a_b-C"] {
            assert_eq!(channel_name(name), Ok(name.to_owned()));
        }
        for name in ["", ".ops", "ops/../x", "bücher", &"a".repeat(65)] {
            assert!(channel_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn channel_name_that_is_a_kind_is_marked() {
        let arguments = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (given, expected) in [
            (
                "alerts channel add slack slack --url-env X",
                "alerts channel add \0slack slack --url-env X",
            ),
            (
                "-v alerts --now T channel add --replace exec webhook",
                "-v alerts --now T channel add --replace \0exec webhook",
            ),
            (
                "alerts channel add stdout --replace exec -- slack slack",
                "alerts channel add \0stdout --replace exec -- slack slack",
            ),
        ] {
            assert_eq!(with_marked_name(arguments(given)), arguments(expected));
        }
        for same in [
            "alerts channel add ops slack --url-env X",
            "alerts channel add slack --url-env X",
            "alerts channel add ops exec -- slack slack",
            "alerts channel test slack",
            "limits set slack slack",
        ] {
            assert_eq!(with_marked_name(arguments(same)), arguments(same));
        }
    }

    #[test]
    fn header_has_name_and_variable() {
        let expected = ("X-Team".to_owned(), "TEAM".to_owned());
        assert_eq!(header("X-Team=TEAM").unwrap(), expected);
        for text in [
            "X-Team",
            "X Team=A",
            "=A",
            "host=A",
            "Webhook-Id=A",
            "A=s3cret!",
        ] {
            let message = header(text).unwrap_err().to_string();
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn zero_timeout_is_refused() {
        assert_eq!(
            positive_duration("0s"),
            Err("must be greater than zero".to_owned())
        );
        assert_eq!(positive_duration("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn label_has_name_and_value() {
        assert_eq!(label("team=a=b"), Ok(("team".to_owned(), "a=b".to_owned())));
        for text in [
            "team",
            "team=",
            "=x",
            "a-b=c",
            "9a=c",
            "severity=x",
            "alertname=x",
        ] {
            assert!(label(text).is_err(), "{text}");
        }
    }
}
