//! The limits there are.

use serde::Serialize;

use crate::domain::period::shown;
use crate::domain::plans::{ApiLimit, ApiLimitOrigin, Grade, PageDate, Unit};
use crate::output::Answer;
use crate::output::table::{Side, layout};

/// The answer of `limits list`.
#[derive(Debug)]
pub struct Limits {
    /// What the APIs allow.
    pub api_limits: Vec<ApiLimit>,
}

impl Answer for Limits {
    fn table(&self) -> String {
        if self.api_limits.is_empty() {
            return "no limits\n".to_owned();
        }
        let columns = [
            ("API", Side::Left),
            ("PER", Side::Left),
            ("LIMIT", Side::Right),
            ("UNIT", Side::Left),
            ("ORIGIN", Side::Left),
            ("GRADE", Side::Left),
            ("PAGE OF", Side::Left),
            ("SOURCE", Side::Left),
        ];
        let rows = self.api_limits.iter().map(|limit| {
            vec![
                limit.api_name.clone(),
                limit.period.to_string(),
                limit.value.to_string(),
                limit.unit.to_string(),
                limit.origin.to_string(),
                or_dash(limit.grade),
                or_dash(limit.page_date),
                or_dash(limit.source.as_ref()),
            ]
        });
        layout(&columns, rows)
    }

    fn json(&self) -> impl Serialize {
        Json {
            api_limits: self.api_limits.iter().map(ApiLimitJson::new).collect(),
        }
    }

    fn csv(&self) -> Vec<Vec<String>> {
        let header = [
            "api_name",
            "period",
            "limit_value",
            "unit",
            "origin",
            "grade",
            "page_date",
            "source",
            "catalogue_version",
            "updated_at",
        ];
        let rows = self.api_limits.iter().map(|limit| {
            vec![
                limit.api_name.clone(),
                limit.period.to_string(),
                limit.value.to_string(),
                limit.unit.to_string(),
                limit.origin.to_string(),
                or_nothing(limit.grade),
                or_nothing(limit.page_date),
                or_nothing(limit.source.as_ref()),
                or_nothing(limit.catalogue_version.as_ref()),
                shown(limit.updated_at),
            ]
        });
        std::iter::once(header.map(str::to_owned).to_vec())
            .chain(rows)
            .collect()
    }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[derive(Serialize)]
struct Json<'a> {
    api_limits: Vec<ApiLimitJson<'a>>,
}

#[derive(Serialize)]
struct ApiLimitJson<'a> {
    api_name: &'a str,
    period: &'a str,
    limit_value: f64,
    unit: Unit,
    origin: ApiLimitOrigin,
    grade: Option<Grade>,
    page_date: Option<PageDate>,
    source: Option<&'a str>,
    catalogue_version: Option<&'a str>,
    updated_at: String,
}

impl ApiLimitJson<'_> {
    fn new(limit: &ApiLimit) -> ApiLimitJson<'_> {
        ApiLimitJson {
            api_name: &limit.api_name,
            period: limit.period.as_str(),
            limit_value: limit.value,
            unit: limit.unit,
            origin: limit.origin,
            grade: limit.grade,
            page_date: limit.page_date,
            source: limit.source.as_deref(),
            catalogue_version: limit.catalogue_version.as_deref(),
            updated_at: shown(limit.updated_at),
        }
    }
}
