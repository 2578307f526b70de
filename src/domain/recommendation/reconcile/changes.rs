//! Material changes: which new figures a reviewer has to look at again.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::domain::recommendation::facts::{Baseline, Facts};
use crate::domain::recommendation::figure::{Figure, Unit};
use crate::domain::recommendation::lifecycle::history::Change;

/// The facts with their baseline: that of the unchanged facts before, so that many small changes add up, or
/// else a new one.
pub(super) fn with_baseline(facts: &Facts, unchanged: Option<&Facts>) -> Facts {
    let baseline = unchanged.and_then(|old| old.baseline.clone());
    Facts {
        baseline: Some(baseline.unwrap_or_else(|| Baseline::of(facts))),
        ..facts.clone()
    }
}

/// The differences between facts that are more than noise.
pub(super) fn material_changes(old: &Facts, new: &Facts) -> Vec<Change> {
    let before = old.baseline.clone().unwrap_or_else(|| Baseline::of(old));
    let after = Baseline::of(new);
    let change = |name: &str, is_material: bool, text: &dyn Fn(&Baseline) -> String| {
        let (from, to) = (text(&before), text(&after));
        let name = name.to_owned();
        (is_material && from != to).then_some(Change { name, from, to })
    };
    let day = |at: Option<DateTime<Utc>>| {
        let day = at.map(|at| at.date_naive().to_string());
        day.unwrap_or_else(|| "beyond the forecast".to_owned())
    };
    let moves = match (before.reaches, after.reaches) {
        // A limit that was reached is reached in every later run.
        (Some(from), Some(to)) if from <= to && to <= new.measured_at => false,
        (Some(from), Some(to)) => {
            let (by, left) = ((to - from).abs(), (from - new.measured_at).abs());
            // A quarter of a few days is below the precision of the forecast.
            by > TimeDelta::days(7) || (by > left / 4 && by >= TimeDelta::days(2))
        }
        (from, to) => from != to,
    };
    let costs_differ = match (before.extra, after.extra) {
        (Some(from), Some(to)) => {
            let by = (to - from).abs();
            // Less than a dollar changes with every measurement.
            by * Decimal::TEN > from.abs() && by >= Decimal::ONE
        }
        (from, to) => from != to,
    };
    let changes = [
        change("priority", true, &|it| it.priority.to_string()),
        change("answer", true, &|it| it.target.to_string()),
        change("limit reached", moves, &|it| day(it.reaches)),
        change("extra cost", costs_differ, &|it| {
            let extra = Figure::new(it.extra, Unit::Usd);
            extra.at_least(it.extra_at_least).short()
        }),
    ];
    changes.into_iter().flatten().collect()
}
