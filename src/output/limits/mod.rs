//! The answers of `limits`.

pub mod audit;
pub mod check;
pub mod import;
pub mod init;
pub mod list;
pub mod plan;
pub mod show;

use crate::domain::format::count;

/// A number as people read it: thousands set apart, no digits that say nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let (whole, cents) = text.split_once('.').unwrap_or((&text, ""));
    let Ok(whole_number) = whole.parse::<i128>() else {
        return value.to_string();
    };
    let sign = if value < 0.0 && whole_number == 0 {
        "-"
    } else {
        ""
    };
    match cents.trim_end_matches('0') {
        "" => count(whole_number),
        cents => format!("{sign}{}.{cents}", count(whole_number)),
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_has_no_digits_that_say_nothing() {
        let numbers = [
            0.0,
            256.0,
            1e7,
            201.5,
            0.049,
            -0.5,
            -3.25,
            16666.666,
            f64::NAN,
        ]
        .map(number);
        let expected = [
            "0",
            "256",
            "10,000,000",
            "201.5",
            "0.05",
            "-0.5",
            "-3.25",
            "16,666.67",
            "NaN",
        ];
        assert_eq!(numbers, expected);
    }
}
