//! `alerts history`: recorded events and notices.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use crate::args::{ApiFilter, Lookback};
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
use crate::domain::alert::lookup::{NotFound, find_alerts, split_place};
use crate::domain::alert::rule::{ALL_APIS, AlertRef};
use crate::output::alerts::history::{Events, Notices};
use crate::store::alerting::{events, notices, rules};
use crate::store::usage::settings;

/// Show state changes of rules and the notices sent
///
/// Events are never deleted, not even those of removed rules. Value, threshold and limit are those at the
/// time of the event. An event that did not happen by data that arrived or changed later is shown as corrected.
#[derive(Args, Debug)]
#[command(
    mut_arg("last", |last| last.default_value("7d")),
    after_help = example!("alerts history --last 30d --format json")
)]
pub struct HistoryArgs {
    #[command(flatten)]
    filter: ApiFilter,

    /// Only this rule, which may be removed: id, unique prefix of an id, or API/TYPE/PERIOD
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    #[command(flatten)]
    lookback: Lookback,

    /// Show notices and their delivery instead of events
    #[arg(long)]
    notices: bool,
}

pub fn run(context: &mut Context, args: HistoryArgs) -> Result<Outcome> {
    // The default end includes what another run writes at this very instant.
    let until = context.now + TimeDelta::milliseconds(1);
    let apis = &args.filter.apis;
    let mut db = context.open(Access::Read)?;
    let calendar = settings::load(&mut db)?.calendar;
    let window = args.lookback.window(until, calendar)?;
    warn_of_unknown(context, &mut db, apis)?;
    if args.notices {
        let mut notices = notices::created_between(&mut db, window.from, window.to)?;
        let alerts = notices.iter().map(|notice| &notice.content.alert);
        let named = named(context, &mut db, args.rule.as_deref(), alerts)?;
        notices.retain(|notice| {
            let alert = &notice.content.alert;
            named.contains(alert) && (apis.is_empty() || apis.contains(&alert.api_name))
        });
        context.answer(&Notices { window, notices })?;
    } else {
        let mut events = events::between(&mut db, window.from, window.to)?;
        let alerts = events.iter().map(|event| &event.alert);
        let named = named(context, &mut db, args.rule.as_deref(), alerts)?;
        events.retain(|event| {
            let alert = &event.alert;
            named.contains(alert) && (apis.is_empty() || apis.contains(&alert.api_name))
        });
        context.answer(&Events { window, events })?;
    }
    Ok(Outcome::DONE)
}

/// Those of `recorded` that --rule names, or all.
fn named<'a>(
    context: &mut Context,
    db: &mut Db,
    reference: Option<&str>,
    recorded: impl Iterator<Item = &'a AlertRef> + Clone,
) -> Result<BTreeSet<AlertRef>> {
    let Some(reference) = reference else {
        return Ok(recorded.cloned().collect());
    };
    let [api_name, ..] = split_place(reference).unwrap_or_default();
    let rules = rules::all(db)?;
    let rules = rules.iter().map(|rule| match rule.api_name.as_str() {
        // Its events have the API.
        ALL_APIS => AlertRef::new(rule, api_name),
        own => AlertRef::new(rule, own),
    });
    let rules: BTreeSet<AlertRef> = rules.collect();
    let found = find_alerts(
        rules.iter().cloned().chain(recorded.clone().cloned()),
        reference,
    );
    let mut found = match found {
        Err(NotFound::None(_)) => BTreeSet::new(),
        found => found?,
    };
    if api_name == ALL_APIS {
        let ids: BTreeSet<String> = found.iter().map(|it| it.alert_id.clone()).collect();
        found.extend(recorded.filter(|it| ids.contains(&it.alert_id)).cloned());
    }
    if rules.is_disjoint(&found) {
        let reference = printable(reference);
        context.warn(format_args!("there is no rule `{reference}` now"));
    }
    Ok(found)
}
