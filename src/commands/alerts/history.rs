//! `alerts history`: what happened to rules, and what was told of it.

use chrono::TimeDelta;
use clap::Args;

use crate::args::Lookback;
use crate::context::Context;
use crate::domain::alert::event::Concern;
use crate::error::{Outcome, Result};
use crate::output::alerts::history::{Events, Notices};
use crate::store::alerting::{events, notices};
use crate::store::db::Access;

/// Show what happened: when rules began and ceased to fire, and what they measured
///
/// Events are kept for good, those of rules that are gone too. Value, threshold and limit are those of the
/// moment.
#[derive(Args, Debug)]
#[command(
    mut_arg("last", |last| last.default_value("7d")),
    after_help = "Example: usagectl --database-url sqlite:usage.db alerts history --last 30d --format json"
)]
pub struct HistoryArgs {
    /// Only this API
    #[arg(long, value_name = "NAME")]
    api: Option<String>,

    /// Only this rule: an id, the beginning of one, or API/TYPE/PERIOD
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    #[command(flatten)]
    lookback: Lookback,

    /// Show the notices instead, and how far each has come
    #[arg(long)]
    notices: bool,
}

/// Reads and answers.
pub fn run(context: &mut Context, args: HistoryArgs) -> Result<Outcome> {
    // What is being written this very moment belongs to what happened.
    let window = args
        .lookback
        .window(context.now + TimeDelta::milliseconds(1))?;
    let is_asked_for = |concern: &Concern| {
        let place = format!(
            "{}/{}/{}",
            concern.api_name, concern.alert_type, concern.period
        );
        let is_rule = |word: &String| {
            !word.is_empty() && concern.alert_id.starts_with(word.as_str())
                || place.eq_ignore_ascii_case(word)
        };
        args.rule.as_ref().is_none_or(is_rule)
            && args.api.as_ref().is_none_or(|api| *api == concern.api_name)
    };
    let mut db = context.open(Access::Read)?;
    if args.notices {
        let mut notices = notices::created_between(&mut db, window.from, window.to)?;
        notices.retain(|notice| {
            let content = &notice.content;
            is_asked_for(&Concern {
                alert_id: content.alert_id.clone(),
                api_name: content.api_name.clone(),
                alert_type: content.alert_type.clone(),
                period: content.period.clone(),
            })
        });
        context.answer(&Notices { window, notices })?;
    } else {
        let mut events = events::between(&mut db, window.from, window.to)?;
        events.retain(|event| is_asked_for(&event.concern));
        context.answer(&Events { window, events })?;
    }
    Ok(Outcome::DONE)
}
