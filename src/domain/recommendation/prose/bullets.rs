//! Benefits and risks of a recommendation, one phrase each, with figures of the facts only.

use rust_decimal::Decimal;

use super::summary::effect_text;
use crate::domain::recommendation::facts::{Choice, Facts, Kind};
use crate::domain::recommendation::figure::{Figure, with_unit};

fn is_positive(figure: &Figure) -> bool {
    figure.value.is_some_and(|value| value > Decimal::ZERO)
}

pub fn benefits(facts: &Facts) -> Vec<String> {
    let mut points = Vec::new();
    let money = &facts.money;
    let answer = facts.compared.first();
    if let (Choice::Change { plan }, Some(answer)) = (&facts.target, answer) {
        if answer.unlimited {
            points.push(format!("{plan} has no limit"));
        } else if answer.included.value.is_some() {
            let (included, limit) = (answer.included.short(), facts.limit.short());
            let current = &facts.current_plan;
            points.push(format!("{plan} includes {included}, {current} {limit}"));
        }
    }
    if is_positive(&money.hours_blocked) && facts.kind == Kind::Upgrade {
        let (hours, from) = (money.hours_blocked.short(), money.from.format("%Y-%m-%d"));
        let what = "without service in the billing period from";
        points.push(format!("avoids {hours} {what} {from}"));
    }
    if is_positive(&money.avoided_loss) {
        points.push(format!("avoids a loss of {}", money.avoided_loss.short()));
    }
    match money.extra.exact_value() {
        Some(extra) if extra.is_zero() => points.push("no added cost".to_owned()),
        Some(extra) if extra.is_sign_negative() => {
            let saving = with_unit(-extra, money.extra.unit);
            points.push(format!("saves {saving} in a billing period"));
        }
        _ => {}
    }
    if facts.target == Choice::Stay {
        points.push("no listed plan is cheaper than staying".to_owned());
    }
    points
}

pub fn risks(facts: &Facts) -> Vec<String> {
    let mut points = Vec::new();
    let money = &facts.money;
    if facts.kind != Kind::Downgrade {
        let (limit, effect) = (facts.limit.short(), effect_text(facts));
        points.push(format!("without a change: at {limit}, {effect}"));
    }
    if let Some(answer) = facts.compared.first()
        && is_positive(&answer.chance_exceeded)
        && matches!(answer.choice, Choice::Change { .. })
    {
        let chance = answer.chance_exceeded.short();
        points.push(format!("too small in {chance} of cases"));
    }
    if let Some(most) = money.target.interval.and_then(|it| it.high) {
        let most = with_unit(most, money.target.unit);
        points.push(format!("costs up to {most} in 90% of cases"));
    }
    if facts.outlook.low_confidence {
        points.push("short history".to_owned());
    }
    if money.extra.value.is_none() {
        points.push("the extra cost is unknown".to_owned());
    }
    points
}
