//! One round of all rules: what the data says, and what follows from it. Reads, decides, and saves; the
//! reading and deciding sees one instant of the database, the saving is one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::super::reading::{self, Usage};
use crate::domain::alert::delivery::{DropReason, Notice};
use crate::domain::alert::evaluate::{Due, RequiredWindows, RuleTarget};
use crate::domain::alert::event::{AlertRef, Event, EventKind};
use crate::domain::alert::notification_policy;
use crate::domain::alert::notification_policy::{NotificationPolicy, Notifications};
use crate::domain::alert::rule::{ALL_APIS, AlertType, Rule};
use crate::domain::alert::silence::{Silence, matching};
use crate::domain::alert::state::AlertRecord;
use crate::domain::alert::state::{AlertState, AlertStatus};
use crate::domain::alert::window::Grid;
use crate::domain::period::shown;
use crate::error::Result;
use crate::store::alerting::states;
use crate::store::alerting::{channels, events, notices, rules, silences};
use crate::store::db::Db;
use crate::store::plans::api_limits;
use crate::store::usage::{dirty, rollups};

/// When a round takes place, and how far it looks back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: DateTime<Utc>,
    pub(super) grid: Grid,
    /// How old a step must be, so that its calls have come in.
    pub(super) settle: TimeDelta,
    pub(super) max_catch_up: TimeDelta,
}

impl Moment {
    /// The last step that is evaluated.
    fn last(&self) -> DateTime<Utc> {
        self.grid.at_or_before(self.now - self.settle)
    }
}

/// Where a rule stands after the round, for one API.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) stored: AlertRecord,
    /// It is about a limit that nobody has told.
    pub(super) lacks_limit: bool,
}

/// What a round found.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// How many rules are enabled.
    pub(super) rules: usize,
    /// Where they stand, by rule and API.
    pub(super) stands: Vec<Stand>,
    /// What happened, in order.
    pub(super) events: Vec<Event>,
    /// Rules that were evaluated up to a moment that is yet to come, and that moment.
    pub(super) ahead_until: Option<DateTime<Utc>>,
    /// Whether the triggers are in place that say which roll-ups are right.
    pub(super) triggers_are_in_place: bool,
    /// Whether something fires, or fired, that no channel could tell of.
    pub(super) unheard: bool,
    told: Notifications,
    /// Whose rule is gone.
    removed: Vec<AlertRef>,
    /// Which rules began to fire, and when last.
    fired: BTreeMap<String, DateTime<Utc>>,
}

/// What there is to judge, as it was loaded.
struct Loaded {
    rules: Vec<Rule>,
    stored: HashMap<(String, String), AlertRecord>,
    silences: Vec<Silence>,
    channels: Vec<String>,
    known: BTreeSet<String>,
    so_far: Vec<Notice>,
}

impl Round {
    /// Reads and decides.
    pub(super) fn new(db: &mut Db, moment: Moment) -> Result<Round> {
        let limits = api_limits::all(db)?;
        let mut loaded = Loaded::new(db, moment.now)?;
        let rules = std::mem::take(&mut loaded.rules);
        let known = std::mem::take(&mut loaded.known);
        let mut targets = Vec::new();
        for rule in rules.iter().filter(|rule| rule.enabled) {
            match rule.api_name == ALL_APIS {
                true => targets.extend(known.iter().map(|api| reading::target(rule, api, &limits))),
                false => targets.push(reading::target(rule, &rule.api_name, &limits)),
            }
        }
        let mut round = Round {
            rules: rules.iter().filter(|rule| rule.enabled).count(),
            triggers_are_in_place: dirty::triggers_are_in_place(db)?,
            ..Round::default()
        };
        let turns: Vec<Turn<'_>> = targets
            .into_iter()
            .map(|target| round.turn(target, &mut loaded, moment))
            .collect();
        let mut needs: BTreeMap<&str, Vec<RequiredWindows>> = BTreeMap::new();
        for turn in &turns {
            let of_api = needs.entry(turn.target.api_name).or_default();
            of_api.extend(
                turn.steps(moment)
                    .map(|at| turn.target.needs(at, moment.grid)),
            );
        }
        let usage = reading::read(db, &needs, round.triggers_are_in_place)?;
        for turn in turns {
            round.take(turn, &usage, &loaded, moment);
        }
        round.settle(loaded, &rules, moment.now);
        round
            .events
            .sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        Ok(round)
    }

    /// Begins the turn of one rule and API: where it stands, and from where on it goes.
    fn turn<'a>(
        &mut self,
        target: RuleTarget<'a>,
        loaded: &mut Loaded,
        moment: Moment,
    ) -> Turn<'a> {
        let alert = AlertRef::of(&target);
        let key = (alert.alert_id.clone(), alert.api_name.clone());
        let same = |stored: &AlertRecord| stored.alert == alert;
        let stored = match loaded.stored.get(&key) {
            Some(stored) if same(stored) => loaded.stored.remove(&key),
            // The rule is about something else now; what it was about is settled.
            _ => None,
        };
        let mut before = stored.as_ref().map(|stored| stored.state.clone());
        let evaluated_to = before.as_ref().map(|state| state.evaluated_to);
        let due = Due::new(
            evaluated_to,
            moment.last(),
            moment.grid,
            moment.max_catch_up,
        );
        let first = due.after() + moment.grid.step();
        let skipped = match due {
            Due::AfterGap(gap) => {
                let why = "too long ago to be caught up with, see --max-catch-up";
                Some(Event::skipped(alert.clone(), gap, why, moment.now))
            }
            Due::Anew { evaluated_to, .. } => {
                let at = moment.last();
                let mut event = Event::new(alert.clone(), EventKind::Skipped, at, moment.now);
                event.note = Some(format!(
                    "the clock was wrong: it had been evaluated up to {}",
                    shown(evaluated_to)
                ));
                Some(event)
            }
            Due::NotBefore(at) if at > moment.now => {
                self.ahead_until = self.ahead_until.max(Some(at));
                None
            }
            Due::After(_) | Due::NotBefore(_) => None,
        };
        if skipped.is_some() {
            before = before.map(|state| state.after_gap(first));
        }
        self.events.extend(skipped);
        Turn {
            target,
            alert,
            stored,
            before,
            due,
        }
    }

    /// Takes the turn: goes on step by step, and says what is to be told.
    fn take(
        &mut self,
        turn: Turn<'_>,
        usage: &HashMap<&str, Usage>,
        loaded: &Loaded,
        moment: Moment,
    ) {
        let Turn {
            target,
            ref alert,
            ref before,
            ..
        } = turn;
        let Some(usage) = usage.get(target.api_name) else {
            return;
        };
        let (grid, rule) = (moment.grid, target.rule);
        let (after, changes) = target.advance(
            before.clone(),
            turn.steps(moment),
            grid,
            &usage.series,
            usage.begins,
        );
        let Some(after) = after else {
            return;
        };
        for change in &changes {
            self.events
                .push(Event::of_change(alert.clone(), change, moment.now));
        }
        let acknowledged = turn
            .stored
            .as_ref()
            .and_then(|stored| stored.acknowledged.clone());
        let channels = match &rule.channels[..] {
            [] => &loaded.channels[..],
            named => named,
        };
        for progress in
            notification_policy::episode_progress(before.as_ref(), &changes, Some(&after))
        {
            self.unheard |= channels.is_empty();
            let fired_at = progress.episode.fired_at;
            if progress.began {
                let last = self.fired.entry(rule.id.clone()).or_insert(fired_at);
                *last = fired_at.max(*last);
            }
            let policy = NotificationPolicy {
                now: moment.now,
                channels,
                silenced: matching(&loaded.silences, rule, target.api_name, moment.now).is_some(),
                acknowledged: acknowledged.is_some() && !progress.began,
                repeat: rule.settings.repeat,
            };
            self.told.tell(alert, &progress, policy, &loaded.so_far);
        }
        let lacks_limit = rule.alert_type == AlertType::RateLimitWarning && target.limit.is_none();
        self.stands.push(Stand {
            lacks_limit: lacks_limit && after.status == AlertStatus::Unknown,
            stored: AlertRecord {
                acknowledged,
                alert: turn.alert,
                state: after,
            },
        });
    }

    /// Ties up the open ends: what is left belongs to rules that are gone, disabled, or about something else.
    fn settle(&mut self, loaded: Loaded, rules: &[Rule], now: DateTime<Utc>) {
        let Loaded { stored, so_far, .. } = loaded;
        for (_, AlertRecord { alert, state, .. }) in stored {
            let rule = rules.iter().find(|rule| rule.id == alert.alert_id);
            let why = match rule {
                None => "the rule is gone",
                Some(rule) if !rule.enabled => "the rule is disabled",
                Some(rule) if rule.api_name == ALL_APIS => "nothing is known of this API any more",
                Some(_) => "the rule is about something else now",
            };
            if let Some(mut progress) = notification_policy::progress(&state, false) {
                progress.ended_at = Some(now);
                let mut event = Event::new(alert.clone(), EventKind::Settled, now, now);
                event.from_state = Some(state.status);
                event.severity = state.severity;
                event.episode = Some(progress.episode.id.clone());
                event.value = state.value;
                event.threshold = state.threshold;
                event.limit_value = state.limit_value;
                event.note = Some(why.to_owned());
                self.events.push(event);
                // Only those who were told that it fires.
                let policy = NotificationPolicy {
                    now,
                    channels: &[],
                    silenced: false,
                    acknowledged: false,
                    repeat: TimeDelta::zero(),
                };
                self.told.tell(&alert, &progress, policy, &so_far);
            }
            self.removed.push(alert);
        }
    }

    /// How many notices are new.
    pub(super) fn new_notices(&self) -> usize {
        self.told.new.len()
    }

    /// Writes down all that was decided; in one transaction.
    pub(super) fn save(&self, db: &mut Db, now: DateTime<Utc>) -> Result<()> {
        for alert in &self.removed {
            states::remove(db, alert)?;
        }
        let stands: Vec<AlertRecord> = self
            .stands
            .iter()
            .map(|stand| stand.stored.clone())
            .collect();
        states::save(db, &stands)?;
        events::insert(db, &self.events)?;
        notices::insert(db, &self.told.new)?;
        notices::set_waiting(db, &keys(&self.told.released), now)?;
        let dropped = keys(&self.told.dropped);
        notices::set_dropped(db, &dropped, DropReason::Superseded)?;
        for (alert_id, fired_at) in &self.fired {
            states::set_last_triggered(db, alert_id, *fired_at, now)?;
        }
        Ok(())
    }
}

fn keys(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

impl Loaded {
    fn new(db: &mut Db, now: DateTime<Utc>) -> Result<Loaded> {
        let rules = rules::all(db)?;
        let stored = states::all(db)?;
        let for_all = |rule: &Rule| rule.enabled && rule.api_name == ALL_APIS;
        let known = match rules.iter().any(for_all) {
            true => rollups::known_apis(db)?,
            false => BTreeSet::new(),
        };
        let episodes = stored
            .iter()
            .filter_map(|stored| stored.state.episode.as_ref());
        let episodes = episodes.map(|episode| episode.id.clone()).collect();
        let key = |stored: &AlertRecord| {
            let alert = &stored.alert;
            (alert.alert_id.clone(), alert.api_name.clone())
        };
        Ok(Loaded {
            so_far: notices::find_by_episodes(db, &episodes)?,
            stored: stored
                .into_iter()
                .map(|stored| (key(&stored), stored))
                .collect(),
            silences: silences::find_unexpired(db, now)?,
            channels: channels::all(db)?
                .into_iter()
                .map(|channel| channel.name)
                .collect(),
            rules,
            known,
        })
    }
}

/// The turn of one rule and API.
struct Turn<'a> {
    target: RuleTarget<'a>,
    alert: AlertRef,
    /// As it was stored.
    stored: Option<AlertRecord>,
    /// Where it goes on from.
    before: Option<AlertState>,
    due: Due,
}

impl Turn<'_> {
    fn steps(&self, moment: Moment) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let to = match self.due {
            Due::NotBefore(after) => after,
            _ => moment.last(),
        };
        moment.grid.steps(self.due.after(), to)
    }
}
