//! The columns of a list, declared once: the table, the CSV and, with [`object`], the JSON derive from them.
//!
//! A cell is a typed value, so that one measurement prints the same in every list: formatted in tables,
//! exact in CSV and JSON.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use serde::{Serialize, Serializer};

use super::table::{Side, layout};
use crate::domain::format;
use crate::domain::metrics::names::Metric;

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// `-` in tables, empty in CSV.
    Missing,
    Text(String),
    Count(i128),
    Number(f64),
    /// 89.2 for 89.2 %.
    Percent(f64),
    /// 0.892 for 89.2 %; CSV holds the ratio.
    Ratio(f64),
    Usd(Decimal),
    Time(DateTime<Utc>),
    Duration(TimeDelta),
    Bool(bool),
    /// A lower bound; the bare value in CSV and JSON.
    AtLeast(Box<Cell>),
}

impl Cell {
    pub fn text(text: impl ToString) -> Cell {
        Cell::Text(text.to_string())
    }

    pub fn count(number: impl TryInto<i128>) -> Cell {
        number.try_into().map_or(Cell::Missing, Cell::Count)
    }

    /// A value of a metric, which may be missing: money in dollars and cents.
    pub fn measured(metric: impl Into<Option<Metric>>, value: Option<f64>) -> Cell {
        let is_money = metric.into() == Some(Metric::CostUsd);
        let usd = value.filter(|_| is_money);
        match usd.and_then(Decimal::from_f64) {
            Some(usd) => Cell::Usd(usd),
            None => Cell::number(value),
        }
    }

    pub fn or_missing<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
        value.map_or(Cell::Missing, cell)
    }

    pub fn maybe(text: Option<impl ToString>) -> Cell {
        Cell::or_missing(text, Cell::text)
    }

    pub fn number(value: Option<f64>) -> Cell {
        Cell::or_missing(value, Cell::Number)
    }

    pub fn percent(percent: Option<f64>) -> Cell {
        Cell::or_missing(percent, Cell::Percent)
    }

    /// The cell as a lower bound, if it is one.
    #[must_use]
    pub fn at_least(self, at_least: bool) -> Cell {
        match self {
            Cell::Missing => Cell::Missing,
            value if at_least => Cell::AtLeast(Box::new(value)),
            value => value,
        }
    }

    pub fn time(at: Option<DateTime<Utc>>) -> Cell {
        Cell::or_missing(at, Cell::Time)
    }

    /// Whether it holds nothing that a table must show.
    fn is_blank(&self) -> bool {
        match self {
            Cell::Missing | Cell::Bool(false) => true,
            Cell::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// As tables print it.
    fn formatted(&self) -> String {
        match self {
            Cell::Missing => format::DASH.to_owned(),
            Cell::Text(text) => text.clone(),
            Cell::Count(number) => format::count(*number),
            Cell::Number(value) => format::number(*value),
            Cell::Percent(percent) => format::percent(*percent),
            Cell::Ratio(ratio) => format::percent(*ratio * 100.0),
            Cell::Usd(amount) => format::usd(*amount),
            Cell::Time(at) => format::time(*at),
            Cell::Duration(span) => format::duration(*span),
            Cell::Bool(value) => (if *value { "yes" } else { "no" }).to_owned(),
            Cell::AtLeast(value) => format::at_least(value.formatted(), true),
        }
    }

    /// As CSV holds it: numbers in full, times in milliseconds, durations in milliseconds.
    fn exact(&self) -> String {
        match self {
            Cell::Missing => String::new(),
            Cell::Text(text) => text.clone(),
            Cell::Count(number) => number.to_string(),
            Cell::Number(value) | Cell::Percent(value) | Cell::Ratio(value) => {
                if value.is_finite() {
                    format::exact(*value)
                } else {
                    String::new()
                }
            }
            Cell::Usd(amount) => amount.normalize().to_string(),
            Cell::Time(at) => format::time_ms(*at),
            Cell::Duration(span) => span.num_milliseconds().to_string(),
            Cell::Bool(value) => value.to_string(),
            Cell::AtLeast(value) => value.exact(),
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Missing => serializer.serialize_none(),
            Cell::Count(number) => serializer.serialize_i128(*number),
            Cell::Number(value) | Cell::Percent(value) | Cell::Ratio(value) => {
                serializer.serialize_f64(*value)
            }
            Cell::Bool(value) => serializer.serialize_bool(*value),
            Cell::Text(_) | Cell::Usd(_) | Cell::Time(_) => serializer.serialize_str(&self.exact()),
            Cell::Duration(span) => serializer.serialize_i64(span.num_milliseconds()),
            Cell::AtLeast(value) => value.serialize(serializer),
        }
    }
}

pub struct Column<'a, T> {
    header: &'static str,
    name: &'static str,
    side: Side,
    in_table: bool,
    in_csv: bool,
    drop_order: Option<u8>,
    hidden_if_blank: bool,
    cell: Box<dyn Fn(&T) -> Cell + 'a>,
}

impl<'a, T> Column<'a, T> {
    /// A column aligned left: `header` in tables, `name` in CSV.
    pub fn left(
        header: &'static str,
        name: &'static str,
        cell: impl Fn(&T) -> Cell + 'a,
    ) -> Column<'a, T> {
        Column {
            header,
            name,
            side: Side::Left,
            in_table: true,
            in_csv: true,
            drop_order: None,
            hidden_if_blank: false,
            cell: Box::new(cell),
        }
    }

    pub fn right(
        header: &'static str,
        name: &'static str,
        cell: impl Fn(&T) -> Cell + 'a,
    ) -> Column<'a, T> {
        Column {
            side: Side::Right,
            ..Column::left(header, name, cell)
        }
    }

    pub fn table_only(header: &'static str, cell: impl Fn(&T) -> Cell + 'a) -> Column<'a, T> {
        Column {
            in_csv: false,
            ..Column::left(header, "", cell)
        }
    }

    pub fn csv_only(name: &'static str, cell: impl Fn(&T) -> Cell + 'a) -> Column<'a, T> {
        Column {
            in_table: false,
            ..Column::left("", name, cell)
        }
    }

    /// Leaves the column out of the table unless `shown`.
    #[must_use]
    pub fn in_table(mut self, shown: bool) -> Column<'a, T> {
        self.in_table &= shown;
        self
    }

    /// Leaves the column out of a table in whose rows it has no value; false is none.
    #[must_use]
    pub fn if_any(mut self) -> Column<'a, T> {
        self.hidden_if_blank = true;
        self
    }

    /// Lets a terminal that is too narrow drop the column; lower numbers go first. A column without a
    /// number is never dropped.
    #[must_use]
    pub fn dropped(mut self, order: u8) -> Column<'a, T> {
        self.drop_order = Some(order);
        self
    }
}

/// The table of `rows`. Where it is wider than `width` characters, columns are dropped in their order.
pub fn table<T>(columns: &[Column<'_, T>], rows: &[T], width: Option<usize>) -> String {
    let is_shown = |column: &&Column<'_, T>| {
        column.in_table
            && (!column.hidden_if_blank || rows.iter().any(|row| !(column.cell)(row).is_blank()))
    };
    let mut shown: Vec<&Column<'_, T>> = columns.iter().filter(is_shown).collect();
    loop {
        let heads: Vec<(&str, Side)> = shown.iter().map(|it| (it.header, it.side)).collect();
        let cells = rows.iter().map(|row| {
            let cells = shown.iter().map(|column| (column.cell)(row).formatted());
            cells.collect()
        });
        let text = layout(&heads, cells);
        let widest = text.lines().map(|line| line.chars().count()).max();
        let first_to_go = (0..shown.len())
            .filter(|index| shown[*index].drop_order.is_some())
            .min_by_key(|index| shown[*index].drop_order);
        match (width, first_to_go) {
            (Some(width), Some(index)) if widest > Some(width) => shown.remove(index),
            _ => return text,
        };
    }
}

/// As [`table`]; without rows, the text `empty`.
pub fn table_or<T>(
    empty: &str,
    columns: &[Column<'_, T>],
    rows: &[T],
    width: Option<usize>,
) -> String {
    match rows {
        [] => empty.to_owned(),
        rows => table(columns, rows, width),
    }
}

pub fn csv<T>(columns: &[Column<'_, T>], rows: &[T]) -> Vec<Vec<String>> {
    let shown: Vec<&Column<'_, T>> = columns.iter().filter(|column| column.in_csv).collect();
    let header = shown.iter().map(|column| column.name.to_owned()).collect();
    let rows = rows.iter().map(|row| {
        let cells = shown.iter().map(|column| (column.cell)(row).exact());
        cells.collect()
    });
    std::iter::once(header).chain(rows).collect()
}

/// A JSON object of named cells, such as those of a row.
pub struct Object(Vec<(&'static str, Cell)>);

impl FromIterator<(&'static str, Cell)> for Object {
    fn from_iter<I: IntoIterator<Item = (&'static str, Cell)>>(cells: I) -> Object {
        Object(cells.into_iter().collect())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, cell)| (name, cell)))
    }
}

/// A row in JSON, with the names and the values of CSV.
pub fn object<T>(columns: &[Column<'_, T>], row: &T) -> Object {
    let shown = columns.iter().filter(|column| column.in_csv);
    let cells = shown.map(|column| (column.name, (column.cell)(row)));
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static str, f64);

    fn columns() -> Vec<Column<'static, Row>> {
        vec![
            Column::left("API", "api_name", |row: &Row| Cell::text(row.0)),
            Column::right("USED", "used_percent", |row: &Row| Cell::Percent(row.1)).dropped(2),
            Column::table_only("NOTE", |_| Cell::Missing).dropped(1),
        ]
    }

    const ROWS: [Row; 2] = [("tmdb", 89.214), ("finnhub", f64::NAN)];

    #[test]
    fn table_formats_and_csv_keeps_every_digit() {
        let text = table(&columns(), &ROWS, None);
        assert_eq!(
            text,
            "API       USED  NOTE\ntmdb     89.2%  -\nfinnhub      -  -\n"
        );
        let csv = csv(&columns(), &ROWS);
        assert_eq!(csv[0], ["api_name", "used_percent"]);
        assert_eq!(csv[1], ["tmdb", "89.214"]);
        assert_eq!(csv[2], ["finnhub", ""]);
    }

    #[test]
    fn narrow_terminal_drops_columns_in_order() {
        assert!(table(&columns(), &ROWS, Some(20)).starts_with("API       USED  NOTE\n"));
        assert!(table(&columns(), &ROWS, Some(19)).starts_with("API       USED\n"));
        assert!(table(&columns(), &ROWS, Some(3)).starts_with("API\n"));
    }
}
