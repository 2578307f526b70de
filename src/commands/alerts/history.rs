//! `alerts history`: recorded events and notices.

use chrono::TimeDelta;

use crate::args::{ApiFilter, Lookback};
use crate::commands::known_apis::warn_of_unknown;
use crate::commands::prelude::*;
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

    /// Only this rule: id, beginning of an id, or API/TYPE/PERIOD
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    #[command(flatten)]
    lookback: Lookback,

    /// Show notices and their delivery instead of events
    #[arg(long)]
    notices: bool,
}

impl HistoryArgs {
    fn includes(&self, alert: &AlertRef) -> bool {
        let apis = &self.filter.apis;
        self.names(alert) && (apis.is_empty() || apis.contains(&alert.api_name))
    }

    /// Whether --rule names the rule, or is not given.
    fn names(&self, alert: &AlertRef) -> bool {
        let AlertRef {
            alert_id,
            api_name,
            alert_type,
            period,
        } = alert;
        let is_rule = |reference: &String| {
            let full = format!("{api_name}/{alert_type}/{period}");
            !reference.is_empty() && alert_id.starts_with(reference.as_str())
                || full.eq_ignore_ascii_case(reference)
        };
        self.rule.as_ref().is_none_or(is_rule)
    }
}

pub fn run(context: &mut Context, args: HistoryArgs) -> Result<Outcome> {
    // The default end includes what another run writes at this very instant.
    let until = context.now + TimeDelta::milliseconds(1);
    let mut db = context.open(Access::Read)?;
    let calendar = settings::load(&mut db)?.calendar;
    let window = args.lookback.window(until, calendar)?;
    warn_of_unknown(context, &mut db, &args.filter.apis)?;
    if let Some(reference) = &args.rule {
        let rules = rules::all(&mut db)?;
        // From the end: an API name may contain a slash.
        let api_name = reference.rsplitn(3, '/').nth(2).unwrap_or_default();
        let mut alerts = rules.iter().map(|rule| match rule.api_name.as_str() {
            // Its events have the API.
            ALL_APIS => AlertRef::new(rule, api_name),
            own => AlertRef::new(rule, own),
        });
        if !alerts.any(|alert| args.names(&alert)) {
            context.warn(format_args!(
                "there is no rule `{}` now",
                printable(reference)
            ));
        }
    }
    if args.notices {
        let mut notices = notices::created_between(&mut db, window.from, window.to)?;
        notices.retain(|notice| args.includes(&notice.content.alert));
        context.answer(&Notices { window, notices })?;
    } else {
        let mut events = events::between(&mut db, window.from, window.to)?;
        events.retain(|event| args.includes(&event.alert));
        context.answer(&Events { window, events })?;
    }
    Ok(Outcome::DONE)
}
