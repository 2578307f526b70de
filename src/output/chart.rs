//! Small charts for a terminal.

/// One character for each value, from the lowest block to the highest; an unknown value is a space.
///
/// The scale begins at zero, so that a flat line of large numbers does not look like noise.
#[must_use]
pub fn sparkline(values: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let block = |value: f64| {
        if most <= 0.0 {
            return BLOCKS[0];
        }
        // 0 stays the lowest block, the maximum is the highest.
        let step = (value / most * (BLOCKS.len() - 1) as f64).round();
        BLOCKS[(step as usize).min(BLOCKS.len() - 1)]
    };
    values
        .iter()
        .map(|value| value.map_or(' ', block))
        .collect()
}

/// A value as a bar of `width` characters on a scale from zero to `full`, with a mark where the threshold
/// is. What is beyond the scale fills it and ends in `▶`.
#[must_use]
pub fn bar(value: f64, mark: f64, full: f64, width: usize) -> String {
    let cells = |amount: f64| {
        let share = (amount / full).clamp(0.0, 1.0);
        (share * width as f64).round() as usize
    };
    let filled = cells(value);
    // The mark stands at the first cell that reaching it fills.
    let marked = cells(mark).saturating_sub(1);
    let cell = |index: usize| match (index < filled, index == marked) {
        (true, _) if value > full && index + 1 == width => '▶',
        (true, true) => '▓',
        (true, false) => '█',
        (false, true) => '│',
        (false, false) => '·',
    };
    (0..width).map(cell).collect()
}

/// A chart of several lines: a column for each value, from zero at the bottom, and a line across where the
/// threshold is. Each line begins with what its top stands for; an unknown value is a gap.
#[must_use]
pub fn columns(
    values: &[Option<f64>],
    threshold: Option<f64>,
    height: usize,
    label: impl Fn(f64) -> String,
) -> String {
    let known = values.iter().flatten().copied();
    let most = known.chain(threshold).fold(0.0, f64::max);
    if most <= 0.0 || height == 0 {
        return String::new();
    }
    let step = most / height as f64;
    // The line of the chart whose top is nearest to the threshold carries it.
    let marked = threshold.map(|at| ((at / step).round() as usize).clamp(1, height));
    let labels: Vec<String> = (1..=height)
        .map(|line| match (marked == Some(line), threshold) {
            (true, Some(threshold)) => label(threshold),
            _ => label(step * line as f64),
        })
        .collect();
    let widest = labels.iter().map(|label| label.chars().count()).max();
    let widest = widest.unwrap_or_default();
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

/// The block that fills so much of a cell, from an eighth to all of it.
fn block(part: f64) -> char {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let eighths = (part.min(1.0) * 8.0).ceil() as usize;
    EIGHTHS[eighths.clamp(1, 8) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_has_the_highest_block() {
        assert_eq!(sparkline(&[Some(0.0), Some(5.0), Some(10.0), None]), "▁▅█ ");
        assert_eq!(sparkline(&[Some(0.0), Some(0.0)]), "▁▁");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn a_bar_shows_the_value_and_where_the_threshold_is() {
        assert_eq!(bar(0.0, 80.0, 100.0, 10), "·······│··");
        assert_eq!(bar(50.0, 80.0, 100.0, 10), "█████··│··");
        assert_eq!(bar(80.0, 80.0, 100.0, 10), "███████▓··");
        assert_eq!(bar(100.0, 80.0, 100.0, 10), "███████▓██");
        assert_eq!(bar(250.0, 80.0, 100.0, 10), "███████▓█▶");
    }

    #[test]
    fn a_chart_has_a_line_where_the_threshold_is() {
        let values = [Some(0.0), Some(2.0), Some(4.0), None, Some(3.0)];
        let chart = columns(&values, Some(3.0), 4, |value| value.to_string());
        assert_eq!(chart, "4 ┤  █\n3 ┼──█─█\n2 ┤ ██ █\n1 ┤ ██ █\n");
        assert_eq!(columns(&[None], None, 4, |value| value.to_string()), "");
    }
}
