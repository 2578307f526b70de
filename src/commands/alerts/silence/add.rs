//! `alerts silence add`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ArgGroup;

use crate::args::{Author, parse_api_name, parse_duration, parse_instant, parse_text};
use crate::commands::alerts::rule_options::alert_type;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::lookup::find_rule;
use crate::domain::alert::rule::{AlertType, Rule};
use crate::domain::alert::silence::Silence;
use crate::domain::api_name::ALL_APIS;
use crate::domain::id;
use crate::output::alerts::Action;
use crate::output::alerts::silence::Silences;
use crate::store::alerting::{rules, silences};

/// Add a silence
///
/// A rule is silenced if it matches all of --api, --type and --rule that are given. Notices that were sent
/// before stay valid.
#[derive(Args, Debug)]
#[command(
    after_help = example!("alerts silence add --api finnhub --for 2h --reason 'new release'"),
    group = ArgGroup::new("matcher").required(true).multiple(true).args(["api", "alert_type", "rule", "all"]),
    group = ArgGroup::new("end").required(true).args(["length", "until"])
)]
pub struct AddArgs {
    /// Silence rules for this API
    #[arg(long, value_name = "NAME", value_parser = parse_api_name)]
    api: Option<String>,

    /// Silence rules of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true)]
    alert_type: Option<AlertType>,

    /// Silence this rule: id, unique beginning of an id, or API/TYPE/PERIOD
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    /// Silence all rules
    #[arg(long, conflicts_with_all = ["api", "alert_type", "rule"])]
    all: bool,

    /// Length of the silence
    #[arg(long = "for", id = "length", value_name = "DURATION", value_parser = parse_duration)]
    length: Option<Duration>,

    /// End of the silence (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    until: Option<DateTime<Utc>>,

    /// Start of the silence (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    from: Option<DateTime<Utc>>,

    /// Reason, shown in lists
    #[arg(long, value_name = "TEXT", value_parser = parse_text::<1_000>)]
    reason: String,

    #[command(flatten)]
    author: Author,
}

pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    let now = context.now;
    let starts_at = args.from.unwrap_or(now);
    let length = args
        .length
        .map(|length| TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX));
    let ends_at = args
        .until
        .or_else(|| starts_at.checked_add_signed(length?))
        .ok_or_else(|| Error::usage("--for ends after the last supported time"))?;
    if ends_at <= starts_at.max(now) {
        return Err(Error::usage(
            "the silence must end after it starts, and after now",
        ));
    }
    let mut silence = Silence {
        id: String::new(),
        api_name: args.api,
        alert_type: args.alert_type,
        alert_id: None,
        starts_at,
        ends_at,
        reason: args.reason,
        created_by: args.author.name(),
        created_at: now,
    };
    let mut db = context.open(Access::Write)?;
    let has_match = db.write_tx(|db| -> Result<bool> {
        let rules = rules::all(db)?;
        if let Some(reference) = &args.rule {
            silence.alert_id = Some(find_rule(&rules, reference)?.id.clone());
        }
        silence.id = id::scattered(now, format!("{silence:?}").as_bytes()).to_string();
        silences::add(db, &silence)?;
        Ok(rules.iter().any(|rule| may_match(&silence, rule)))
    })?;
    warn_of_unknown(context, &mut db, &silence.api_name)?;
    if !has_match {
        context.warn("no rule matches the silence now");
    }
    context.finish(&Silences {
        action: Some(Action::Added),
        silences: vec![silence],
        now,
    })
}

/// Whether the silence matches the rule, or a rule for all APIs matches it for one of them.
fn may_match(silence: &Silence, rule: &Rule) -> bool {
    let api = match (rule.api_name.as_str(), &silence.api_name) {
        (ALL_APIS, Some(api)) => api,
        (api, _) => api,
    };
    silence.matches(rule, api)
}
