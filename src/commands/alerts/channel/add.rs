//! `alerts channel add`: a new channel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::args::parse_duration;
use crate::context::Context;
use crate::domain::alert::channel::{
    Address, Alertmanager, Auth, Channel, Exec, HttpSettings, SecretPlace, Settings, Stdout,
    Webhook,
};
use crate::domain::alert::delivery::{Delivery, DropReason};
use crate::domain::format::counted;
use crate::error::{Error, Exit, Outcome, Result};
use crate::http::Url;
use crate::output::alerts::channels::{ChannelLine, ChannelList};
use crate::output::printable;
use crate::store::alerting::{channels, notices};
use crate::store::db::Access;

/// Add a channel
///
/// Notices that were dropped because a channel of this name was removed are sent, unless what they tell
/// is over and was told.
#[derive(Args, Debug)]
#[command(
    subcommand_value_name = "KIND",
    subcommand_help_heading = "Kinds",
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add ops slack \
--url-env SLACK_WEBHOOK_URL"
)]
pub struct AddArgs {
    /// By which rules call it: letters, digits and ._-
    name: String,

    /// Put it in place of a channel of the same name; what waits goes through the new one
    #[arg(long)]
    replace: bool,

    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    Webhook(WebhookArgs),
    Slack(SlackArgs),
    Alertmanager(AlertmanagerArgs),
    Exec(ExecArgs),
    Stdout(StdoutArgs),
}

/// Post each notice as JSON to a URL
///
/// The header Idempotency-Key is the same on every try to send a notice, and no other notice has it. With
/// --secret-env or --secret-file the header X-Usagectl-Signature is `sha256=` and the HMAC-SHA256, in
/// hexadecimal digits, of the header X-Usagectl-Timestamp, a full stop and the body. Any status from 200 to
/// 299 is taken for success.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add desk webhook \
--url https://desk.example.com/hooks/usage --secret-env WEBHOOK_SECRET"
)]
struct WebhookArgs {
    #[command(flatten)]
    url: UrlOptions,

    /// The environment variable that holds what notices are signed with
    #[arg(long, value_name = "VAR", conflicts_with = "secret_file")]
    secret_env: Option<String>,

    /// The file that holds what notices are signed with
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    #[command(flatten)]
    http: HttpOptions,
}

/// Post each notice as a message to a Slack incoming webhook
///
/// The webhook's URL is a secret as a whole, so it is taken from an environment variable or a file only.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add ops slack \
--url-env SLACK_WEBHOOK_URL"
)]
struct SlackArgs {
    #[command(flatten)]
    url: SecretUrlOptions,

    #[command(flatten)]
    http: HttpOptions,
}

/// Send alerts to a Prometheus Alertmanager
///
/// Its labels are alertname, api, type, period, severity (warning or critical), rule, and those of --label.
/// What fires is sent again by each `usagectl alerts check` and `deliver`; what it hears no more of for as
/// long as --hold, Alertmanager takes for resolved. When a warning becomes critical, the warning ends
/// there and a critical alert begins.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add pager alertmanager \
--url http://localhost:9093 --label team=payments"
)]
struct AlertmanagerArgs {
    #[command(flatten)]
    url: UrlOptions,

    /// How long a firing alert is held without being sent again; longer than the time between checks
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3h")]
    hold: Duration,

    /// A label beside those of usagectl; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    http: HttpOptions,
}

/// Run a program for each notice
///
/// It gets the notice as JSON on its standard input, and of the environment PATH, HOME, LANG, LC_ALL, TZ,
/// USAGECTL_NOTICE_KEY, USAGECTL_NOTICE_KIND and what --pass-env names. Ending in 0 is success. No shell
/// comes between.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add mail exec \
-- /bin/sh -c 'mail -s usage ops@example.com'"
)]
struct ExecArgs {
    /// A variable of our environment that it gets; may be given several times
    #[arg(long, value_name = "VAR")]
    pass_env: Vec<String>,

    /// How long it may run before it is ended with all that it started
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    timeout: Duration,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Print a line for each notice on standard output
///
/// Beside an answer in JSON or CSV, they go to standard error.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts channel add terminal stdout"
)]
struct StdoutArgs {
    /// A JSON document on each line instead of prose
    #[arg(long)]
    json: bool,
}

/// Where to, openly or not.
#[derive(Args, Debug)]
#[group(id = "address", required = true, multiple = false)]
struct UrlOptions {
    /// Where to: https, or http on this machine
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The environment variable that holds the URL, if the URL is a secret
    #[arg(long, value_name = "VAR")]
    url_env: Option<String>,

    /// The file that holds the URL, if the URL is a secret
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

/// Where to, not openly.
#[derive(Args, Debug)]
#[group(id = "address", required = true, multiple = false)]
struct SecretUrlOptions {
    /// The environment variable that holds the URL
    #[arg(long, value_name = "VAR")]
    url_env: Option<String>,

    /// The file that holds the URL
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,
}

/// What all channels that speak HTTP take.
#[derive(Args, Debug)]
struct HttpOptions {
    /// The environment variable that holds a token for the header Authorization
    #[arg(long, value_name = "VAR", conflicts_with_all = ["bearer_file", "user"])]
    bearer_env: Option<String>,

    /// The file that holds a token for the header Authorization
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    bearer_file: Option<PathBuf>,

    /// The user's name, for basic authentication
    #[arg(long, value_name = "NAME", requires = "password")]
    user: Option<String>,

    /// The environment variable that holds the user's password
    #[arg(long, value_name = "VAR", group = "password", requires = "user")]
    password_env: Option<String>,

    /// The file that holds the user's password
    #[arg(long, value_name = "FILE", group = "password", requires = "user")]
    password_file: Option<PathBuf>,

    /// Let plain HTTP leave this machine; whoever listens reads and forges notices
    #[arg(long)]
    allow_insecure_http: bool,

    /// How long a try may take
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    timeout: Duration,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match starts && letters && !value.is_empty() {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err("a label's name has letters, digits and _, and its value is not empty".into()),
    }
}

/// Adds it, and says what it lacks.
pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    check_name(&args.name)?;
    let settings = settings(args.kind)?;
    let stored = settings.to_json()?;
    let channel = Channel {
        name: args.name,
        kind: settings.kind(),
        settings: Some(settings),
        created_at: context.now,
    };
    let mut db = context.open(Access::Write)?;
    let now = context.now;
    let revived = db.write_tx(|db| -> Result<usize> {
        if args.replace {
            channels::remove(db, &channel.name)?;
        }
        if !channels::add(db, &channel, &stored)? {
            let name = crate::error::shell_word(&channel.name);
            let message = format!("there is a channel `{name}` already");
            let next = "use another name, or put it in its place with --replace";
            return Err(Error::message(Exit::Refused, message).with_next(next));
        }
        let dropped = notices::that_are(db, Delivery::Dropped)?;
        let ours = dropped.into_iter().filter(|notice| {
            notice.channel == channel.name && notice.drop_reason == Some(DropReason::NoChannel)
        });
        super::super::deliver::revive(db, ours.collect(), now)
    })?;
    let line = ChannelLine::new(channel, super::is_there, revived as u64);
    for place in line.missing() {
        let place = place.to_string();
        context.warn(format_args!(
            "{} holds no secret here; notices wait until it does where they are sent",
            printable(&place)
        ));
    }
    if revived > 0 {
        let waiting = counted(revived as u64, "notice");
        context.info(format_args!(
            "{waiting} to it can be sent now: usagectl alerts deliver"
        ));
    }
    context.answer(&ChannelList { lines: vec![line] })?;
    Ok(Outcome::DONE)
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match starts && name.len() <= 64 && name.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::usage(
            "a channel's name has letters, digits and ._-, begins with one of the first two and is at most 64 long",
        )
        .with_next("usagectl alerts channel add --help")),
    }
}

fn settings(kind: Kind) -> Result<Settings> {
    Ok(match kind {
        Kind::Webhook(args) => {
            let url = args.url;
            Settings::Webhook(Webhook {
                http: http(url.url, url.url_env, url.url_file, args.http)?,
                secret: place(args.secret_env, args.secret_file)?,
            })
        }
        Kind::Slack(args) => {
            Settings::Slack(http(None, args.url.url_env, args.url.url_file, args.http)?)
        }
        Kind::Alertmanager(args) => {
            let url = args.url;
            Settings::Alertmanager(Alertmanager {
                http: http(url.url, url.url_env, url.url_file, args.http)?,
                hold_ms: ms(args.hold, "--hold")?,
                labels: args.labels,
            })
        }
        Kind::Exec(args) => Settings::Exec(exec(args)?),
        Kind::Stdout(args) => Settings::Stdout(Stdout { json: args.json }),
    })
}

fn exec(args: ExecArgs) -> Result<Exec> {
    for name in &args.pass_env {
        check_variable(name)?;
    }
    let mut command = args.command;
    // Cron has another working directory.
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = absolute(Path::new(program))?.display().to_string();
    }
    Ok(Exec {
        command,
        pass_env: args.pass_env,
        timeout_ms: ms(args.timeout, "--timeout")?,
    })
}

fn http(
    url: Option<String>,
    url_env: Option<String>,
    url_file: Option<PathBuf>,
    options: HttpOptions,
) -> Result<HttpSettings> {
    let address = match (url, place(url_env, url_file)?) {
        (_, Some(SecretPlace::Env(name))) => Address::Env(name),
        (_, Some(SecretPlace::File(path))) => Address::File(path),
        (url, None) => {
            let url = url.unwrap_or_default();
            check_url(&url, options.allow_insecure_http)?;
            Address::Url(url)
        }
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
        timeout_ms: ms(options.timeout, "--timeout")?,
    })
}

fn check_url(text: &str, insecure_http: bool) -> Result<()> {
    let url = Url::parse(text).map_err(|error| {
        let next = "give the URL without them, and --user with --password-env, or --url-env";
        Error::usage(format_args!("--url is {error}")).with_next(next)
    })?;
    if !url.is_https() && !url.is_loopback() && !insecure_http {
        let message =
            format!("plain HTTP to {url} is refused: whoever listens reads and forges notices");
        let next = "use https, or say --allow-insecure-http";
        return Err(Error::message(Exit::Refused, message).with_next(next));
    }
    Ok(())
}

/// Where a secret is found, if either is given.
fn place(env: Option<String>, file: Option<PathBuf>) -> Result<Option<SecretPlace>> {
    match (env, file) {
        (Some(name), _) => {
            check_variable(&name)?;
            Ok(Some(SecretPlace::Env(name)))
        }
        (None, Some(path)) => Ok(Some(SecretPlace::File(absolute(&path)?))),
        (None, None) => Ok(None),
    }
}

/// Makes sure that it is a variable's name: whoever gives the secret itself must not see it stored.
fn check_variable(name: &str) -> Result<()> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match starts && plain {
        true => Ok(()),
        // Not repeated: it may be the secret.
        false => Err(Error::usage(
            "what is given for an environment variable is not the name of one",
        )
        .with_next("give the name of a variable that holds the secret, such as SLACK_WEBHOOK_URL")),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

fn ms(span: Duration, option: &str) -> Result<u64> {
    match u64::try_from(span.as_millis()) {
        Ok(ms) if ms > 0 => Ok(ms),
        _ => Err(
            Error::usage(format_args!("{option} must be longer than nothing"))
                .with_next("usagectl alerts channel add --help"),
        ),
    }
}
