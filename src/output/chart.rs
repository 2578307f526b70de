//! Charts for the terminal.

use crate::domain::forecast::{Band, DayNumber, day_date};
use crate::domain::format::number;

/// Blocks from an eighth of a cell to a full one.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One character per value: a dot for zero, else from the lowest block to the highest.
///
/// The scale starts at zero, so that a flat line of large numbers does not look like noise.
pub fn sparkline(values: &[u64]) -> String {
    let max = values.iter().copied().max().unwrap_or(0).max(1);
    let block = |value: u64| {
        let step = (value as f64 / max as f64 * (BLOCKS.len() - 1) as f64).round();
        BLOCKS[(step as usize).min(BLOCKS.len() - 1)]
    };
    values
        .iter()
        .map(|value| if *value == 0 { '·' } else { block(*value) })
        .collect()
}

/// A bar of `width` characters on a scale from zero to `full`, with a mark at each threshold. A bar beyond
/// the scale ends in `▶`.
pub fn bar(value: f64, thresholds: &[f64], full: f64, width: usize) -> String {
    let cells = |value: f64| {
        let share = (value / full).clamp(0.0, 1.0);
        (share * width as f64).round() as usize
    };
    let filled = cells(value);
    // The last cell of a bar that reaches the threshold.
    let marked = |index| {
        thresholds
            .iter()
            .any(|it| cells(*it).saturating_sub(1) == index)
    };
    let cell = |index: usize| match (index < filled, marked(index)) {
        (true, _) if value > full && index + 1 == width => '▶',
        (true, true) => '▓',
        (true, false) => '█',
        (false, true) => '│',
        (false, false) => '·',
    };
    (0..width).map(cell).collect()
}

/// A chart of `height` lines: one column per value, zero at the bottom, and a horizontal line at the
/// threshold. Each line is labelled with the value at its top; an unknown value is a gap.
pub fn columns(
    values: &[Option<f64>],
    threshold: Option<f64>,
    height: usize,
    label: impl Fn(f64) -> String,
) -> String {
    let known = values.iter().flatten().copied();
    let max = known.chain(threshold).fold(0.0, f64::max);
    if max <= 0.0 || height == 0 {
        return String::new();
    }
    let step = max / height as f64;
    // The line whose top is nearest to the threshold.
    let marked = threshold.map(|at| ((at / step).round() as usize).clamp(1, height));
    let labels: Vec<String> = (1..=height)
        .map(|line| match threshold.filter(|_| marked == Some(line)) {
            Some(threshold) => label(threshold),
            None => label(step * line as f64),
        })
        .collect();
    let widest = labels.iter().map(|label| label.chars().count()).max();
    let widest = widest.unwrap_or(0);
    let mut text = String::new();
    for (below, label) in labels.iter().enumerate().rev() {
        let is_marked = marked == Some(below + 1);
        let sign = if is_marked { '┼' } else { '┤' };
        text.push_str(&format!("{label:>widest$} {sign}"));
        let bottom = step * below as f64;
        for value in values {
            let above = value.map(|value| (value - bottom) / step);
            text.push(match above {
                Some(part) if part > 0.0 => block(part),
                _ if is_marked => '─',
                _ => ' ',
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The block that fills `part` of a cell, an eighth at least.
fn block(part: f64) -> char {
    let eighths = (part.min(1.0) * 8.0).ceil() as usize;
    BLOCKS[eighths.clamp(1, 8) - 1]
}

#[derive(Debug)]
pub struct ForecastChart<'a> {
    pub past: &'a [(DayNumber, f64)],
    pub ahead: &'a [(DayNumber, Band)],
    /// Horizontal lines, such as limits, with their names.
    pub lines: &'a [(f64, String)],
}

const WIDTH: usize = 64;
const HEIGHT: usize = 14;

/// Draws `•` for a measured day, `◦` for the median forecast and `░` for its 80 % band. Empty without data.
pub fn forecast(chart: &ForecastChart) -> String {
    let days = || {
        let past = chart.past.iter().map(|(day, _)| *day);
        past.chain(chart.ahead.iter().map(|(day, _)| *day))
    };
    let (Some(first), Some(last)) = (days().min(), days().max()) else {
        return String::new();
    };
    let scale = Scale::of(chart);
    let span = (last - first).max(1) as usize;
    let column = |day: DayNumber| (day - first) as usize * (WIDTH - 1) / span;
    let mut cells = [[' '; WIDTH]; HEIGHT];
    let mut labels: [&str; HEIGHT] = [""; HEIGHT];
    for (day, band) in chart.ahead {
        let (low, high) = (scale.row(band.p10), scale.row(band.p90));
        cells[high..=low]
            .iter_mut()
            .for_each(|row| row[column(*day)] = '░');
    }
    for (value, name) in chart.lines {
        if scale.holds(*value) {
            let row = scale.row(*value);
            labels[row] = name;
            let free = cells[row].iter_mut().filter(|cell| **cell == ' ');
            free.for_each(|cell| *cell = '─');
        }
    }
    for (day, band) in chart.ahead {
        cells[scale.row(band.p50)][column(*day)] = '◦';
    }
    for (day, value) in chart.past {
        cells[scale.row(*value)][column(*day)] = '•';
    }

    let marks = [
        (0, scale.high),
        (HEIGHT / 2, scale.at(HEIGHT / 2)),
        (HEIGHT - 1, scale.low),
    ];
    let marks = marks.map(|(row, value)| (row, number(value)));
    let margin = marks.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (row, (cells, label)) in cells.iter().zip(labels).enumerate() {
        let mark = marks.iter().find(|(at, _)| *at == row);
        let mark = mark.map_or("", |(_, text)| text);
        let cells: String = cells.iter().collect();
        let line = format!("{mark:>margin$} │{cells} {label}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let (from, to) = (day_date(first).to_string(), day_date(last).to_string());
    let between = WIDTH.saturating_sub(from.len() + to.len());
    text.push_str(&format!("{:margin$} └{}\n", "", "─".repeat(WIDTH)));
    text.push_str(&format!("{:margin$}  {from}{:between$}{to}\n", "", ""));
    text
}

/// The values at the bottom and the top of a chart.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(chart: &ForecastChart) -> Scale {
        let past = chart.past.iter().map(|(_, value)| *value);
        let ahead = chart
            .ahead
            .iter()
            .flat_map(|(_, band)| [band.p10, band.p90]);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in past.chain(ahead) {
            (low, high) = (low.min(value), high.max(value));
        }
        // A line far above would flatten everything else.
        let near = chart.lines.iter().map(|(value, _)| *value);
        high = near
            .filter(|value| *value <= 2.0 * high)
            .fold(high, f64::max);
        // From zero, unless all values are far from it.
        if low > 0.0 && low < 0.7 * high {
            low = 0.0;
        }
        if high - low < 1e-9 * high.abs().max(1e-9) {
            (low, high) = (low - low.abs() * 0.5 - 0.5, high + high.abs() * 0.5 + 0.5);
        }
        Scale { low, high }
    }

    fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// The row of a value; the first row is the highest.
    fn row(&self, value: f64) -> usize {
        let share = ((self.high - value) / (self.high - self.low)).clamp(0.0, 1.0);
        (share * (HEIGHT - 1) as f64).round() as usize
    }

    fn at(&self, row: usize) -> f64 {
        self.high - (self.high - self.low) * row as f64 / (HEIGHT - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maximum_has_highest_block() {
        assert_eq!(sparkline(&[0, 1, 500, 1_000]), "·▁▅█");
        assert_eq!(sparkline(&[0, 0]), "··");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn bar_marks_thresholds() {
        let bar = |value| super::bar(value, &[80.0], 100.0, 10);
        assert_eq!(bar(0.0), "·······│··");
        assert_eq!(bar(50.0), "█████··│··");
        assert_eq!(bar(80.0), "███████▓··");
        assert_eq!(bar(100.0), "███████▓██");
        assert_eq!(bar(250.0), "███████▓█▶");
        let bar = |value| super::bar(value, &[75.0, 90.0], 100.0, 10);
        assert_eq!(bar(0.0), "·······││·");
        assert_eq!(bar(80.0), "███████▓│·");
        assert_eq!(bar(250.0), "███████▓▓▶");
    }

    #[test]
    fn columns_have_line_at_threshold() {
        let values = [Some(0.0), Some(2.0), Some(4.0), None, Some(3.0)];
        let chart = columns(&values, Some(3.0), 4, |value| value.to_string());
        assert_eq!(chart, "4 ┤  █\n3 ┼──█─█\n2 ┤ ██ █\n1 ┤ ██ █\n");
        assert_eq!(columns(&[None], None, 4, |value| value.to_string()), "");
    }

    #[test]
    fn forecast_shows_past_band_and_limit() {
        let level = |day: DayNumber| 100.0 + 2.0 * f64::from(day);
        let past: Vec<(DayNumber, f64)> = (0..30).map(|day| (day, level(day))).collect();
        let band = |day: DayNumber| {
            let (p50, half) = (level(day), f64::from(day - 29));
            let (p10, p90) = (p50 - half, p50 + half);
            (day, Band { p10, p50, p90 })
        };
        let ahead: Vec<(DayNumber, Band)> = (30..60).map(band).collect();
        let lines = [(200.0, "limit 200"), (9e9, "far away")];
        let lines = lines.map(|(value, name)| (value, name.to_owned()));
        let chart = forecast(&ForecastChart {
            past: &past,
            ahead: &ahead,
            lines: &lines,
        });
        assert_eq!(chart.lines().count(), HEIGHT + 2);
        assert!(chart.contains("limit 200") && !chart.contains("far away"));
        for mark in ['•', '◦', '░', '─'] {
            assert!(chart.contains(mark), "{chart}");
        }
        assert!(chart.ends_with("1970-03-01\n"), "{chart}");
    }

    #[test]
    fn forecast_of_one_value_or_none_is_drawn() {
        let of = |past: &[(DayNumber, f64)]| {
            forecast(&ForecastChart {
                past,
                ahead: &[],
                lines: &[],
            })
        };
        assert_eq!(of(&[]), "");
        assert!(of(&[(0, 0.0)]).contains('•') && of(&[(0, -5.0), (1, -5.0)]).contains('•'));
    }
}
