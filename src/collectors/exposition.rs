//! The Prometheus exposition format, and OpenMetrics, which differs in details.
//!
//! The crate `prometheus-parse` is unmaintained since 2023, skips invalid lines silently and does not read
//! OpenMetrics. Only names, labels and values are needed here; each line of a histogram or summary is a sample.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use chrono::{DateTime, Utc};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Whether the last line has no end, so that it may be a part of a number.
    pub is_truncated: bool,
    /// In the order of the lines.
    pub samples: Vec<Sample>,
    /// The type of each family that declares one: `counter`, `gauge`, ...
    pub types: BTreeMap<String, String>,
    /// Numbers of the first hundred invalid lines, from 1.
    pub invalid_lines: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// May be NaN or infinite.
    pub value: f64,
    /// The time of the value, where the exporter states one.
    pub at: Option<DateTime<Utc>>,
}

impl Sample {
    /// Whether it has this name and at least these labels.
    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.name == name
            && labels
                .iter()
                .all(|(label, value)| self.labels.get(label) == Some(value))
    }
}

const MAX_INVALID_LINES: usize = 100;

impl Exposition {
    /// Reads a page. An invalid line is recorded and skipped.
    pub fn parse(text: &str) -> Exposition {
        let mut page = Exposition::default();
        // Only OpenMetrics has an end; its timestamps are seconds, the others milliseconds.
        let has_end = text.trim_end().ends_with("# EOF");
        page.is_truncated = !has_end && !text.ends_with('\n');
        let units_a_second = match has_end {
            true => 1.0,
            false => 1e3,
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                page.types.extend(type_of(comment));
            } else if !line.is_empty() {
                match sample(line, units_a_second) {
                    Some(sample) => page.samples.push(sample),
                    None if page.invalid_lines.len() < MAX_INVALID_LINES => {
                        page.invalid_lines.push(index + 1)
                    }
                    None => {}
                }
            }
        }
        page
    }

    /// Whether a metric is a counter: by its type, that of its family, or its suffix if there is no type. In OpenMetrics
    /// the family of `x_total` is `x`; a histogram has `x_bucket`, `x_sum` and `x_count`.
    pub fn is_counter(&self, name: &str) -> bool {
        let type_of = |name: &str| {
            let kind = self.types.get(name).map(String::as_str);
            kind.filter(|kind| !matches!(*kind, "untyped" | "unknown"))
        };
        if let Some(kind) = type_of(name) {
            return kind == "counter";
        }
        let suffixes = ["_total", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|it| name.strip_suffix(it));
        let kind = family.map(type_of);
        kind.is_some_and(|kind| matches!(kind, None | Some("counter" | "histogram" | "summary")))
    }
}

/// Reads `TYPE name counter` or `TYPE "name" counter`.
fn type_of(comment: &str) -> Option<(String, String)> {
    let rest = comment.trim_start().strip_prefix("TYPE")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (name, kind) = match rest.strip_prefix('"') {
        None => {
            let (name, kind) = rest.split_once([' ', '\t'])?;
            (name.to_owned(), kind)
        }
        Some(inside) => {
            let mut chars = inside.chars().peekable();
            (quoted(&mut chars)?, rest_of(inside, chars))
        }
    };
    Some((name, kind.split_whitespace().next()?.to_owned()))
}

/// Reads `name{label="value"} 1.5 1700000000`; an exemplar behind the value is ignored.
fn sample(line: &str, units_a_second: f64) -> Option<Sample> {
    let (name, labels, rest) = selector(line)?;
    let mut words = rest.split_whitespace();
    let value = words.next()?;
    let stamp = words.next().and_then(|stamp| stamp.parse::<f64>().ok());
    let millis = stamp.map(|stamp| stamp * 1e3 / units_a_second);
    Some(Sample {
        name,
        labels,
        // As in Prometheus, `inf`, `infinity` and `nan` in any case are numbers.
        value: value.parse().ok()?,
        at: millis.and_then(|millis| DateTime::from_timestamp_millis(millis as i64)),
    })
}

/// The text that an iterator over its characters has not read.
fn rest_of<'a>(text: &'a str, chars: Peekable<Chars<'_>>) -> &'a str {
    let left: usize = chars.map(char::len_utf8).sum();
    &text[text.len() - left..]
}

/// Reads `name{label="value",...}` or `{"name",label="value",...}` and returns the rest of the text.
pub(super) fn selector(text: &str) -> Option<(String, BTreeMap<String, String>, &str)> {
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let rest = rest.trim_start();
    let Some(inside) = rest.strip_prefix('{') else {
        return Some((name?, BTreeMap::new(), rest));
    };
    let mut chars = inside.chars().peekable();
    let (inner, labels) = labels(&mut chars)?;
    let name = match (name, inner) {
        (Some(name), None) | (None, Some(name)) => name,
        _ => return None,
    };
    Some((name, labels, rest_of(inside, chars)))
}

/// A quoted name of the metric, and the labels.
type Labels = (Option<String>, BTreeMap<String, String>);

/// Reads up to and including the closing brace.
fn labels(chars: &mut Peekable<Chars<'_>>) -> Option<Labels> {
    let mut metric = None;
    let mut labels = BTreeMap::new();
    loop {
        skip_blanks(chars);
        if chars.next_if_eq(&'}').is_some() {
            return Some((metric, labels));
        }
        let is_quoted = chars.next_if_eq(&'"').is_some();
        let mut name = String::new();
        if is_quoted {
            name = quoted(chars)?;
        }
        while let Some(c) = chars.next_if(|c| !is_quoted && is_name(*c)) {
            name.push(c);
        }
        if name.is_empty() {
            return None;
        }
        skip_blanks(chars);
        if chars.next_if_eq(&'=').is_some() {
            skip_blanks(chars);
            if chars.next() != Some('"') || labels.insert(name, quoted(chars)?).is_some() {
                return None;
            }
        } else if is_quoted && metric.is_none() && labels.is_empty() {
            metric = Some(name);
        } else {
            return None;
        }
        skip_blanks(chars);
        if chars.next_if_eq(&',').is_none() && chars.peek() != Some(&'}') {
            return None;
        }
    }
}

/// Reads up to and including the closing quote.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(match chars.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => text.push(c),
        }
    }
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        let page = Exposition::parse(text);
        let show = |sample: &Sample| format!("{}{:?} {}", sample.name, sample.labels, sample.value);
        page.samples.iter().map(show).collect()
    }

    #[test]
    fn names_labels_and_values_are_read() {
        let text = "# HELP a b\n# TYPE a counter\na 1\na{} 2 1700000000\n\
            b{x=\"1\",y=\"a,}\\\"\\\\\\n\",} -1.5e3\nc{ x = \"y\" } +Inf # {id=\"7\"} 1\nd NaN\n# EOF\n";
        let expected = [
            r#"a{} 1"#,
            r#"a{} 2"#,
            r#"b{"x": "1", "y": "a,}\"\\\n"} -1500"#,
            r#"c{"x": "y"} inf"#,
            r#"d{} NaN"#,
        ];
        assert_eq!(parsed(text), expected);
        assert!(Exposition::parse(text).is_counter("a_total"));
        assert_eq!(Exposition::parse(text).invalid_lines, [0; 0]);
    }

    #[test]
    fn timestamps_are_milliseconds_or_the_seconds_of_openmetrics() {
        let at = |text: &str| Exposition::parse(text).samples[0].at;
        let expected = DateTime::from_timestamp_millis(1_700_000_000_500);
        assert_eq!(at("a 1 1700000000500"), expected);
        assert_eq!(at("a 1 1700000000.5 # {id=\"7\"} 1\n# EOF\n"), expected);
        assert_eq!((at("a 1"), at("a 1 # {id=\"7\"} 1")), (None, None));
    }

    #[test]
    fn invalid_line_is_recorded_and_skipped() {
        let bad = r#"a;a{;a{x};a{x=1} 1;a{x="1" 1;1a 1;a one;{x="1"} 1;a{x="\q"} 1;a{x="1",x="2"} 1;<html>"#;
        for line in bad.split(';') {
            let page = Exposition::parse(&format!("{line}\nb 1"));
            let found = (page.invalid_lines, page.samples.len());
            assert_eq!(found, (vec![1], 1), "{line}");
        }
    }

    #[test]
    fn quoted_names_are_read() {
        let text =
            "# TYPE \"my metric\" counter\n{\"my metric\"} 1\n{\"a.b\",\"c.d\"=\"e\",f=\"g\"} 2\n";
        let expected = [r#"my metric{} 1"#, r#"a.b{"c.d": "e", "f": "g"} 2"#];
        assert_eq!(parsed(text), expected);
        let page = Exposition::parse(text);
        assert!(page.is_counter("my metric") && !page.is_counter("a.b"));
        for line in [
            r#"a{"b"} 1"#,
            r#"{"a","b"} 1"#,
            r#"{x="1","a"} 1"#,
            r#"{""} 1"#,
            "{} 1",
            "{\"a",
        ] {
            assert_eq!(parsed(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn counter_is_known_by_type_or_suffix() {
        let page = Exposition::parse(
            "# TYPE a counter\n# TYPE b_total gauge\n# TYPE c histogram\n# TYPE d summary\n# TYPE e gauge\n\
            # TYPE f_count gauge\n# TYPE g_total untyped\nh NaN\nh nan\nh +Inf\nh infinity\n",
        );
        assert_eq!((page.samples.len(), page.invalid_lines.len()), (4, 0));
        let names = "a a_total c_bucket c_sum c_count d_count g_total x_total x_count";
        assert!(names.split(' ').all(|name| page.is_counter(name)));
        let names = "b_total d e e_total e_count f_count x";
        assert!(!names.split(' ').any(|name| page.is_counter(name)));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed(text in "[a-z{}=\"\\\\, 1#\\n]{0,80}") {
            let lines = Exposition::parse(&text);
            prop_assert!(lines.samples.len() + lines.invalid_lines.len() <= text.lines().count());
        }
    }
}
