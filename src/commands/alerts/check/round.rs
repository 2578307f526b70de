//! One round of all rules: what the data says, and what follows from it. Reads, decides, and saves; the
//! reading and deciding sees one instant of the database, the saving is one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};

use super::super::reading::{self, Usage};
use crate::domain::alert::delivery::{DropReason, Notice};
use crate::domain::alert::evaluate::{Due, Needs, Subject};
use crate::domain::alert::event::{Concern, Event, EventKind};
use crate::domain::alert::notification_policy;
use crate::domain::alert::notification_policy::{Told, Voice};
use crate::domain::alert::rule::{ALL_APIS, AlertType, Rule};
use crate::domain::alert::silence::{Silence, matching};
use crate::domain::alert::state::{Standing, State};
use crate::domain::alert::window::Grid;
use crate::domain::period::shown;
use crate::error::Result;
use crate::store::alerting::states;
use crate::store::alerting::states::Stored;
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
    pub(super) stored: Stored,
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
    told: Told,
    /// Whose rule is gone.
    removed: Vec<Concern>,
    /// Which rules began to fire, and when last.
    fired: BTreeMap<String, DateTime<Utc>>,
}

/// What there is to judge, as it was loaded.
struct Loaded {
    rules: Vec<Rule>,
    stored: HashMap<(String, String), Stored>,
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
        let mut subjects = Vec::new();
        for rule in rules.iter().filter(|rule| rule.enabled) {
            match rule.api_name == ALL_APIS {
                true => {
                    subjects.extend(known.iter().map(|api| reading::subject(rule, api, &limits)))
                }
                false => subjects.push(reading::subject(rule, &rule.api_name, &limits)),
            }
        }
        let mut round = Round {
            rules: rules.iter().filter(|rule| rule.enabled).count(),
            triggers_are_in_place: dirty::triggers_are_in_place(db)?,
            ..Round::default()
        };
        let turns: Vec<Turn<'_>> = subjects
            .into_iter()
            .map(|subject| round.turn(subject, &mut loaded, moment))
            .collect();
        let mut needs: BTreeMap<&str, Vec<Needs>> = BTreeMap::new();
        for turn in &turns {
            let of_api = needs.entry(turn.subject.api_name).or_default();
            of_api.extend(
                turn.steps(moment)
                    .map(|at| turn.subject.needs(at, moment.grid)),
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
    fn turn<'a>(&mut self, subject: Subject<'a>, loaded: &mut Loaded, moment: Moment) -> Turn<'a> {
        let concern = Concern::of(&subject);
        let key = (concern.alert_id.clone(), concern.api_name.clone());
        let same = |stored: &Stored| stored.concern == concern;
        let stored = match loaded.stored.get(&key) {
            Some(stored) if same(stored) => loaded.stored.remove(&key),
            // The rule is about something else now; what it was about is settled.
            _ => None,
        };
        let mut before = stored.as_ref().map(|stored| stored.standing.clone());
        let evaluated_to = before.as_ref().map(|standing| standing.evaluated_to);
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
                Some(Event::skipped(concern.clone(), gap, why, moment.now))
            }
            Due::Anew { evaluated_to, .. } => {
                let at = moment.last();
                let mut event = Event::new(concern.clone(), EventKind::Skipped, at, moment.now);
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
            before = before.map(|standing| standing.after_gap(first));
        }
        self.events.extend(skipped);
        Turn {
            subject,
            concern,
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
            subject,
            ref concern,
            ref before,
            ..
        } = turn;
        let Some(usage) = usage.get(subject.api_name) else {
            return;
        };
        let (grid, rule) = (moment.grid, subject.rule);
        let (after, changes) = subject.advance(
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
                .push(Event::of_change(concern.clone(), change, moment.now));
        }
        let acknowledged = turn
            .stored
            .as_ref()
            .and_then(|stored| stored.acknowledged.clone());
        let channels = match &rule.channels[..] {
            [] => &loaded.channels[..],
            named => named,
        };
        for course in notification_policy::courses(before.as_ref(), &changes, Some(&after)) {
            self.unheard |= channels.is_empty();
            let fired_at = course.episode.fired_at;
            if course.began {
                let last = self.fired.entry(rule.id.clone()).or_insert(fired_at);
                *last = fired_at.max(*last);
            }
            let voice = Voice {
                now: moment.now,
                channels,
                silenced: matching(&loaded.silences, rule, subject.api_name, moment.now).is_some(),
                acknowledged: acknowledged.is_some() && !course.began,
                repeat: rule.settings.repeat,
            };
            self.told.tell(concern, &course, voice, &loaded.so_far);
        }
        let lacks_limit = rule.alert_type == AlertType::RateLimitWarning && subject.limit.is_none();
        self.stands.push(Stand {
            lacks_limit: lacks_limit && after.state == State::Unknown,
            stored: Stored {
                acknowledged,
                concern: turn.concern,
                standing: after,
            },
        });
    }

    /// Ties up the open ends: what is left belongs to rules that are gone, disabled, or about something else.
    fn settle(&mut self, loaded: Loaded, rules: &[Rule], now: DateTime<Utc>) {
        let Loaded { stored, so_far, .. } = loaded;
        for (
            _,
            Stored {
                concern, standing, ..
            },
        ) in stored
        {
            let rule = rules.iter().find(|rule| rule.id == concern.alert_id);
            let why = match rule {
                None => "the rule is gone",
                Some(rule) if !rule.enabled => "the rule is disabled",
                Some(rule) if rule.api_name == ALL_APIS => "nothing is known of this API any more",
                Some(_) => "the rule is about something else now",
            };
            if let Some(mut course) = notification_policy::course(&standing, false) {
                course.ended_at = Some(now);
                let mut event = Event::new(concern.clone(), EventKind::Settled, now, now);
                event.from_state = Some(standing.state);
                event.severity = standing.severity;
                event.episode = Some(course.episode.id.clone());
                event.value = standing.value;
                event.threshold = standing.threshold;
                event.limit_value = standing.limit_value;
                event.note = Some(why.to_owned());
                self.events.push(event);
                // Only those who were told that it fires.
                let voice = Voice {
                    now,
                    channels: &[],
                    silenced: false,
                    acknowledged: false,
                    repeat: TimeDelta::zero(),
                };
                self.told.tell(&concern, &course, voice, &so_far);
            }
            self.removed.push(concern);
        }
    }

    /// How many notices are new.
    pub(super) fn new_notices(&self) -> usize {
        self.told.new.len()
    }

    /// Writes down all that was decided; in one transaction.
    pub(super) fn save(&self, db: &mut Db, now: DateTime<Utc>) -> Result<()> {
        for concern in &self.removed {
            states::remove(db, concern)?;
        }
        let stands: Vec<Stored> = self
            .stands
            .iter()
            .map(|stand| stand.stored.clone())
            .collect();
        states::save(db, &stands)?;
        events::insert(db, &self.events)?;
        notices::insert(db, &self.told.new)?;
        notices::await_delivery(db, &keys(&self.told.released), now)?;
        let dropped = keys(&self.told.dropped);
        notices::drop_all(db, &dropped, DropReason::Superseded)?;
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
        let rules = rules::rules(db)?;
        let stored = states::all(db)?;
        let for_all = |rule: &Rule| rule.enabled && rule.api_name == ALL_APIS;
        let known = match rules.iter().any(for_all) {
            true => rollups::known_apis(db)?,
            false => BTreeSet::new(),
        };
        let episodes = stored
            .iter()
            .filter_map(|stored| stored.standing.episode.as_ref());
        let episodes = episodes.map(|episode| episode.id.clone()).collect();
        let key = |stored: &Stored| {
            let concern = &stored.concern;
            (concern.alert_id.clone(), concern.api_name.clone())
        };
        Ok(Loaded {
            so_far: notices::of_episodes(db, &episodes)?,
            stored: stored
                .into_iter()
                .map(|stored| (key(&stored), stored))
                .collect(),
            silences: silences::not_over(db, now)?,
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
    subject: Subject<'a>,
    concern: Concern,
    /// As it was stored.
    stored: Option<Stored>,
    /// Where it goes on from.
    before: Option<Standing>,
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
