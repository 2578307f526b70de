//! `alerts silence add`: a new silence.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{ArgGroup, Args};

use crate::args::{parse_duration, parse_instant};
use crate::commands::alerts::options::alert_type;
use crate::context::{Context, current_user};
use crate::domain::alert::lookup::choose;
use crate::domain::alert::rule::{ALL_APIS, AlertType};
use crate::domain::alert::silence::Silence;
use crate::domain::id;
use crate::error::{Error, Outcome, Result};
use crate::output::alerts::silence::Silences;
use crate::store::alerting::{rules, silences};
use crate::store::db::Access;

/// Keep what matches quiet for a while
///
/// All that is given must match. What fires and is told already stays told; from now on nothing new is.
#[derive(Args, Debug)]
#[command(
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts silence add --api finnhub \
--for 2h --reason 'new release'",
    group = ArgGroup::new("what").required(true).multiple(true).args(["api", "alert_type", "rule", "all"]),
    group = ArgGroup::new("end").required(true).args(["length", "until"])
)]
pub struct AddArgs {
    /// Only what is about this API
    #[arg(long, value_name = "NAME")]
    api: Option<String>,

    /// Only rules of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true)]
    alert_type: Option<AlertType>,

    /// Only this rule: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    /// Everything
    #[arg(long, conflicts_with_all = ["api", "alert_type", "rule"])]
    all: bool,

    /// How long
    #[arg(long = "for", id = "length", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,

    /// Until when (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    until: Option<DateTime<Utc>>,

    /// From when on (RFC 3339); now, unless given
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    from: Option<DateTime<Utc>>,

    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Adds it.
pub fn run(context: &mut Context, args: AddArgs) -> Result<Outcome> {
    let now = context.now;
    let starts_at = args.from.unwrap_or(now);
    let length = args
        .length
        .map(|length| TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX));
    let ends_at = args
        .until
        .or_else(|| starts_at.checked_add_signed(length?))
        .ok_or_else(|| Error::usage("--for reaches beyond the end of the calendar"))?;
    if ends_at <= starts_at.max(now) {
        return Err(Error::usage("the silence would be over before it begins"));
    }
    if args.reason.trim().is_empty() {
        return Err(Error::usage("--reason must say something"));
    }
    let mut silence = Silence {
        id: String::new(),
        api_name: args.api.filter(|api| api != ALL_APIS),
        alert_type: args.alert_type,
        alert_id: None,
        starts_at,
        ends_at,
        reason: args.reason,
        created_by: current_user(),
        created_at: now,
    };
    let mut db = context.open(Access::Write)?;
    let matched = db.write_tx(|db| -> Result<bool> {
        let rules = rules::rules(db)?;
        if let Some(word) = &args.rule {
            silence.alert_id = Some(choose(&rules, word)?.id.clone());
        }
        silence.id = id::scattered(now, format!("{silence:?}").as_bytes()).to_string();
        silences::add(db, &silence)?;
        let about = |api: Option<&str>| silence.api_name.as_deref().or(api).map(str::to_owned);
        Ok(rules.iter().any(|rule| {
            let api = match rule.api_name.as_str() {
                ALL_APIS => about(None).unwrap_or_default(),
                api => api.to_owned(),
            };
            silence.matches(rule, &api)
        }))
    })?;
    if !matched {
        context.warn("no rule matches it now");
    }
    context.answer(&Silences::added(silence))?;
    Ok(Outcome::DONE)
}
