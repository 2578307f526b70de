//! Layout of tables.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::domain::format::printable;

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

#[cfg(test)]
mod tests {
    use super::*;

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
