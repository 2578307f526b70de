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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_has_the_highest_block() {
        assert_eq!(sparkline(&[Some(0.0), Some(5.0), Some(10.0), None]), "▁▅█ ");
        assert_eq!(sparkline(&[Some(0.0), Some(0.0)]), "▁▁");
        assert_eq!(sparkline(&[]), "");
    }
}
