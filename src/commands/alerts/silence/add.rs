//! `alerts silence add`.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::ArgGroup;

use crate::args::{Author, parse_duration, parse_instant, parse_text};
use crate::commands::alerts::rule_options::alert_type;
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::lookup::find_rule;
use crate::domain::alert::rule::{AlertType, Rule};
use crate::domain::alert::silence::{Silence, matches_pattern};
use crate::domain::alert::state::AlertRecord;
use crate::domain::api_name::ALL_APIS;
use crate::domain::id;
use crate::domain::metrics::names::Service;
use crate::domain::named::Named;
use crate::output::alerts::Action;
use crate::output::alerts::silence::Silences;
use crate::store::alerting::{rules, silences, states};
use crate::store::usage::rollups;

/// Add a silence
///
/// A rule is silenced if it matches all of --api, --type and --rule that are given. Notices that were sent
/// before stay valid.
///
/// With --until-resolved the silence ends with the last of the matching episodes that are open now; without
/// one the command is refused. Until then it also covers episodes of matching rules that begin.
#[derive(Args, Debug)]
#[command(
    // clap writes it on one line of 160 columns.
    override_usage = "usagectl alerts silence add [OPTIONS] --reason <TEXT>\n           \
        <--api <PATTERN>|--type <TYPE>|--rule <RULE>|--all>\n           \
        <--for <DURATION>|--until <TIME>|--until-resolved>",
    after_help = example!("alerts silence add --api finnhub --for 2h --reason 'new release'"),
    group = ArgGroup::new("matcher").required(true).multiple(true).args(["api", "alert_type", "rule", "all"]),
    group = ArgGroup::new("end").required(true).args(["length", "until", "until_resolved"])
)]
pub struct AddArgs {
    /// Silence rules for this API, or for APIs that match a pattern
    ///
    /// `*` is any text, `?` any character: 'open*'. Upper and lower case differ.
    #[arg(long, value_name = "PATTERN", value_parser = parse_text::<1_000>)]
    api: Option<String>,

    /// Silence rules of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = alert_type(), ignore_case = true)]
    alert_type: Option<AlertType>,

    /// Silence this rule: id, unique prefix of an id, or API/TYPE/PERIOD
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

    /// End the silence when the matching rules that fire now have resolved
    #[arg(long, conflicts_with = "from")]
    until_resolved: bool,

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
    let ends_at = args.until.or_else(|| starts_at.checked_add_signed(length?));
    if ends_at.is_none() && !args.until_resolved {
        return Err(Error::usage("--for ends after the last supported time"));
    }
    if ends_at.is_some_and(|end| end <= starts_at.max(now)) {
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
        episodes: BTreeSet::new(),
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
        if args.until_resolved {
            silence.episodes = open_episodes(db, &rules, &silence)?;
        }
        silence.id = id::scattered(now, format!("{silence:?}").as_bytes()).to_string();
        silences::add(db, &silence)?;
        Ok(rules.iter().any(|rule| may_match(&silence, rule)))
    })?;
    let known = rollups::known_apis(&mut db)?;
    let is_known = |pattern: &&String| known.iter().any(|api| matches_pattern(pattern, api));
    let of_limits = |pattern: &&String| {
        let mut services = Service::ALL.iter().map(|it| it.as_str());
        services.any(|it| pattern.starts_with(it) || matches_pattern(pattern, it))
    };
    let named = silence.api_name.iter();
    let unknown = named.filter(|it| !is_known(it) && !of_limits(it));
    warn_of_unknown(context, &mut db, unknown)?;
    let is_of_rule = silence.alert_id.is_some() || silence.alert_type.is_some();
    if !has_match && (is_of_rule || !silence.api_name.iter().any(|it| of_limits(&it))) {
        context.warn("no rule matches the silence now");
    }
    context.finish(&Silences {
        action: Some(Action::Added),
        silences: vec![silence],
        now,
    })
}

/// The open episodes of the rules that a silence matches; there must be one.
fn open_episodes(db: &mut Db, rules: &[Rule], silence: &Silence) -> Result<BTreeSet<String>> {
    let matches = |record: &AlertRecord| {
        let alert = &record.alert;
        let mut rules = rules.iter();
        rules.any(|rule| rule.id == alert.alert_id && silence.matches(rule, &alert.api_name))
    };
    let records = states::all(db)?.into_iter().filter(matches);
    let open: BTreeSet<String> = records
        .filter_map(|record| Some(record.state.episode?.id))
        .collect();
    if open.is_empty() {
        let message =
            "no matching rule is firing, which --until-resolved requires; nothing was changed";
        let next = "give the silence an end with --for or --until";
        return Err(Error::message(Exit::Refused, message).with_next(next));
    }
    Ok(open)
}

/// Whether the silence matches the rule, or a rule for all APIs matches it for one of them.
fn may_match(silence: &Silence, rule: &Rule) -> bool {
    let api = match (rule.api_name.as_str(), &silence.api_name) {
        (ALL_APIS, Some(api)) => api,
        (api, _) => api,
    };
    silence.matches(rule, api)
}
