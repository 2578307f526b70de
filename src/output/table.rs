//! Layout of tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::printable;
use crate::domain::format::count;

/// The alignment of a column: text left, numbers right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// Lays out rows under a header, without borders: columns two spaces apart, no trailing spaces. Control
/// characters are escaped.
pub fn layout(columns: &[(&str, Side)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|(heading, _)| *heading));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell).into_owned()));
    }
    for (index, (_, side)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match side {
                Side::Left => CellAlignment::Left,
                Side::Right => CellAlignment::Right,
            });
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An amount of any size, as exact as people read it: `0.25`, `83.4`, `1,250`.
pub fn amount(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1e15 => return format!("{value:.2e}"),
        1_000.0.. => 0,
        10.0.. => 1,
        0.01.. => 2,
        0.0 => 0,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let whole: i128 = whole.trim_start_matches('-').parse().unwrap_or(0);
    format!("{sign}{}{point}{rest}", count(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_as_exact_as_people_read_them() {
        let amounts = [
            0.0, 0.25, -0.5, 0.0004, 83.44, 99.0, 1_250.6, -12_345.0, 1e18,
        ]
        .map(amount);
        let expected = [
            "0", "0.25", "-0.5", "4.0e-4", "83.4", "99", "1,251", "-12,345", "1.00e18",
        ];
        assert_eq!(amounts, expected);
    }

    #[test]
    fn numbers_are_right_aligned_without_trailing_spaces() {
        let text = layout(
            &[("API", Side::Left), ("REQUESTS", Side::Right)],
            [
                vec!["tmdb".into(), "7".into()],
                vec!["a\nb".into(), "1,000".into()],
            ],
        );
        assert_eq!(text, "API   REQUESTS\ntmdb         7\na\\nb     1,000\n");
    }
}
