//! What a Nagios plugin answers: a status, a line with performance data, and details.

use std::fmt;

use super::format;
use super::named::{Named, named};

named! {
    /// In the order of the exit codes.
    NagiosStatus, "Nagios status" {
        Ok = "OK",
        Warning = "WARNING",
        Critical = "CRITICAL",
        Unknown = "UNKNOWN",
    }
}

impl NagiosStatus {
    pub fn code(self) -> u8 {
        self as u8
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerformanceValue {
    pub label: String,
    /// None if unknown.
    pub value: Option<f64>,
    /// `%`, or nothing.
    pub unit: &'static str,
    pub warning: Option<f64>,
    pub critical: Option<f64>,
}

impl PerformanceValue {
    pub fn count(label: &str, count: u64) -> PerformanceValue {
        PerformanceValue {
            label: label.to_owned(),
            value: Some(count as f64),
            ..PerformanceValue::default()
        }
    }
}

impl fmt::Display for PerformanceValue {
    /// `'label'=value%;warning;critical`, where an unknown value is `U`, by the Monitoring Plugins Development
    /// Guidelines, "Performance data".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An equals sign ends the label even within quotes.
        let label = self.label.replace('=', "_");
        if label.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            write!(f, "'{}'=", label.replace('\'', "''"))?;
        } else {
            write!(f, "{label}=")?;
        }
        match self.value {
            Some(value) => write!(f, "{}{}", format::exact(value), self.unit)?,
            None => f.write_str("U")?,
        }
        let text = |number: Option<f64>| number.map_or(String::new(), format::exact);
        let range = format!(";{};{}", text(self.warning), text(self.critical));
        f.write_str(range.trim_end_matches(';'))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NagiosAnswer {
    pub status: NagiosStatus,
    pub text: String,
}

impl NagiosAnswer {
    /// `STATUS - text | performance data`, then a line for each detail. Nagios splits the text at bars, so those of
    /// `text` and `details` are replaced.
    pub fn new(
        status: NagiosStatus,
        text: &str,
        details: &[String],
        performance: &[PerformanceValue],
    ) -> NagiosAnswer {
        let mut text = format!("{} - {}", status.as_str(), text.replace('|', "/"));
        for (index, value) in performance.iter().enumerate() {
            text.push_str(if index == 0 { " | " } else { " " });
            text.push_str(&value.to_string());
        }
        for detail in details {
            text.push('\n');
            text.push_str(&detail.replace('|', "/"));
        }
        NagiosAnswer { status, text }
    }

    /// The answer of a check that could not be made.
    pub fn failed(reason: &str) -> NagiosAnswer {
        NagiosAnswer::new(NagiosStatus::Unknown, reason, &[], &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_separates_text_from_performance_data() {
        let answer = |data: &[PerformanceValue]| {
            let details = ["c|d".to_owned()];
            NagiosAnswer::new(NagiosStatus::Warning, "a|b", &details, data).text
        };
        let firing = [PerformanceValue::count("firing", 1)];
        assert_eq!(answer(&firing), "WARNING - a/b | firing=1\nc/d");
        assert_eq!(answer(&[]), "WARNING - a/b\nc/d");
        assert_eq!(NagiosAnswer::failed("no rule").text, "UNKNOWN - no rule");
    }

    #[test]
    fn performance_value_has_unit_and_thresholds() {
        let mut value = PerformanceValue {
            label: "finnhub/it's=1".to_owned(),
            value: Some(83.5),
            unit: "%",
            warning: Some(80.0),
            critical: Some(95.0),
        };
        assert_eq!(value.to_string(), "'finnhub/it''s_1'=83.5%;80;95");
        value.warning = None;
        assert_eq!(value.to_string(), "'finnhub/it''s_1'=83.5%;;95");
        value.value = Some(3.906_25e19);
        assert_eq!(value.to_string(), "'finnhub/it''s_1'=3.90625e19%;;95");
        (value.value, value.critical) = (None, None);
        assert_eq!(value.to_string(), "'finnhub/it''s_1'=U");
    }
}
