//! Families of daily series to test forecasts with: each is a way in which storage, connections or requests grow.
//!
//! Each seed gives another series of the family, with its own growth, noise and start. Nothing here
//! calls a transcendental function: the same seed gives the same series on every machine.

use super::random::Random;

/// Levels.
pub const GAUGES: [&str; 8] = [
    "line and noise",
    "weekly, AR(1)",
    "walk with jumps",
    "clean-up",
    "spikes",
    "slope change",
    "gaps",
    "flat walk",
];

/// Levels of a retention, which deletes the oldest data every 7, 10 or 30 days, and of growth that compounds. A history of
/// a few weeks does not show which it is.
pub const SHAPES: [&str; 5] = [
    "drop every 7 days",
    "drop every 10",
    "drop every 30",
    "2 % a day",
    "3.5 % and noise",
];

/// Amounts of each day.
pub const PERIODS: [&str; 6] = [
    "flat",
    "weekly",
    "weekly, growing",
    "bursts",
    "often zero",
    "new level",
];

/// A value of a day.
pub type Point = (i32, f64);

/// From a distribution close to the standard normal one.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}

/// From `low` to `high`.
fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * random.unit()
}

/// Half a wave over the week: the offset of a weekday as a share of the amplitude.
const WEEK: [f64; 7] = [0.6, 0.8, 0.7, 0.5, 0.2, -1.5, -1.3];

/// The levels of a family on the days from 0 on; the past is the first 60 of them.
pub fn gauge(family: &str, seed: u64, days: i32) -> Vec<Point> {
    let mut random = Random::new(
        seed.wrapping_mul(0x9e37_79b9)
            .wrapping_add(family.len() as u64),
    );
    let random = &mut random;
    let mut level = between(random, 80.0, 300.0);
    let pace = between(random, 0.2, 2.0);
    let noise = between(random, 2.0, 6.0);
    let event = random.below(26) as i32 + 28;
    let phase = random.below(7) as usize;
    let mut slow = 0.0;
    let mut points = Vec::new();
    for day in 0..days {
        let chance = normal(random);
        let mut value = None;
        match family {
            "line and noise" => value = Some(level + pace * f64::from(day) + noise * chance),
            "weekly, AR(1)" => {
                slow = 0.6 * slow + noise * chance;
                let week = WEEK[(day as usize + phase) % 7];
                value = Some(level + 0.5 * pace * f64::from(day) + 10.0 * week + slow);
            }
            "walk with jumps" => {
                level += pace + noise * 0.5 * chance;
                if random.chance(0.03) {
                    level += between(random, 10.0, 40.0);
                }
            }
            "clean-up" => {
                level += pace + noise * 0.5 * chance;
                if day == event {
                    level *= 0.7;
                }
            }
            "spikes" => {
                let spike = random.chance(0.06);
                let height = between(random, 0.5, 1.5) * level;
                let calm = level + pace * f64::from(day) + noise * chance;
                value = Some(if spike { calm + height } else { calm });
            }
            "slope change" => {
                level += if day < 60 - 18 { pace } else { 3.0 * pace };
                value = Some(level + 0.5 * noise * chance);
            }
            "drop every 7 days" | "drop every 10" | "drop every 30" => {
                let (_, length) = family.split_at("drop every ".len());
                let length = length.trim_end_matches(" days").parse().unwrap_or(1);
                let day = f64::from((day + event) % length);
                value = Some(level + 5.0 * pace * (day + 0.3 * chance));
            }
            "2 % a day" | "3.5 % and noise" => {
                let (growth, noise) = if family == "2 % a day" {
                    (1.02, 0.02)
                } else {
                    (1.035, 0.08)
                };
                value = Some(level * (1.0 + noise * chance));
                level *= growth;
            }
            "gaps" => level += pace + noise * 0.5 * chance,
            _ => level += noise * 0.5 * chance,
        }
        let missing =
            family == "gaps" && (random.chance(0.3) || (20..25).contains(&day)) && day % 30 != 29;
        // The days of the forecasts are kept.
        if !missing || day >= 60 {
            points.push((day, value.unwrap_or(level).max(0.0)));
        }
    }
    points
}

/// The amounts of a family on the days from 0 on.
pub fn period(family: &str, seed: u64, days: i32) -> Vec<Point> {
    let mut random = Random::new(
        seed.wrapping_mul(0x9e37_79b9)
            .wrapping_add(family.len() as u64),
    );
    let random = &mut random;
    let usual = between(random, 500.0, 5_000.0);
    let noise = between(random, 0.1, 0.3);
    let phase = random.below(7) as usize;
    let event = random.below(30) as i32 + 15;
    let factor = between(random, 0.5, 2.0);
    let mut points = Vec::new();
    for day in 0..days {
        let mut amount = usual * (1.0 + noise * normal(random)).max(0.05);
        let week = 1.0 + 0.3 * WEEK[(day as usize + phase) % 7];
        match family {
            "weekly" => amount *= week,
            "weekly, growing" => amount *= week * (1..=day).fold(1.0, |grown, _| grown * 1.01),
            "bursts" if random.chance(0.08) => amount *= between(random, 2.0, 6.0),
            "often zero" if random.chance(0.35) => amount = 0.0,
            "new level" if day >= event => amount *= factor,
            _ => {}
        }
        points.push((day, amount.round()));
    }
    points
}
