//! The names of APIs that a user gives, checked against those that have usage.

use std::collections::BTreeSet;

use crate::commands::prelude::*;
use crate::domain::nearest::nearest;
use crate::store::plans::catalogues;
use crate::store::usage::{aggregates, rollups};

/// The names, no more than fit into a message; `None` if there are none.
fn first_names(known: &BTreeSet<String>) -> Option<String> {
    const SHOWN: usize = 20;
    let names: Vec<_> = known.iter().take(SHOWN).map(|it| printable(it)).collect();
    let more = if known.len() > SHOWN { ", ..." } else { "" };
    (!names.is_empty()).then(|| names.join(", ") + more)
}

/// The error about a named API without any usage.
fn unknown(name: &str, known: &BTreeSet<String>) -> Error {
    let (expected, next) = match first_names(known) {
        None => ("no usage is recorded yet".to_owned(), "usagectl record"),
        Some(known) => (
            format!("expected one of {known}"),
            "correct --api, or omit it for all APIs",
        ),
    };
    let message = format!("unknown API `{}`: {expected}", printable(name));
    Error::usage(message).with_next(next)
}

/// Requires that each named API has usage: one without is most likely mistyped, and an empty answer would hide
/// that.
pub(crate) fn require_known(db: &mut Db, named: &[String], known: &BTreeSet<String>) -> Result<()> {
    for api in named {
        if !known.contains(api) && !aggregates::exist_for(db, api)? {
            return Err(unknown(api, known));
        }
    }
    Ok(())
}

/// Warns of each named API that has no usage and is not in the catalogue: it is most likely mistyped. Nothing is
/// compared before the first record, unless the catalogue has a similar name.
pub(crate) fn warn_of_unknown(
    context: &mut Context,
    db: &mut Db,
    named: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<()> {
    let mut known: Option<(BTreeSet<String>, BTreeSet<String>)> = None;
    for api in named {
        let api = api.as_ref();
        let (used, published) = match &mut known {
            Some(known) => known,
            None => {
                let catalogue = catalogues::active(db)?;
                let plans = catalogue.plans.into_iter();
                let plans = plans.filter(|plan| !plan.api_limits.is_empty());
                let published = plans.map(|plan| plan.provider).collect();
                known.insert((rollups::known_apis(db)?, published))
            }
        };
        let is_known = used.contains(api) || published.contains(api);
        if is_known || aggregates::exist_for(db, api)? {
            continue;
        }
        if let Some(warning) = warning(api, used, published) {
            context.warn(warning);
        }
    }
    Ok(())
}

fn warning(api: &str, used: &BTreeSet<String>, published: &BTreeSet<String>) -> Option<String> {
    let names = used.iter().chain(published).map(String::as_str);
    let known = match nearest(api, names) {
        Some(name) => format!("did you mean `{}`?", printable(name)),
        None => format!("known APIs: {}", first_names(used)?),
    };
    let api = printable(api);
    Some(format!("no calls to `{api}` are recorded; {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    #[test]
    fn warning_has_the_nearest_name_or_the_known_ones() {
        let warning = |api: &str, used: &BTreeSet<String>| {
            super::warning(api, used, &names(["coinmarketcap", "finnhub"]))
        };
        let used = names(["billing", "tmdb"]);
        let expected = "no calls to `tmbd` are recorded; did you mean `tmdb`?";
        assert_eq!(warning("tmbd", &used).as_deref(), Some(expected));
        let expected = "no calls to `finhub` are recorded; did you mean `finnhub`?";
        assert_eq!(warning("finhub", &names([])).as_deref(), Some(expected));
        let expected = "no calls to `weather` are recorded; known APIs: billing, tmdb";
        assert_eq!(warning("weather", &used).as_deref(), Some(expected));
        assert_eq!(warning("weather", &names([])), None);
    }

    #[test]
    fn at_most_twenty_known_apis_are_listed() {
        let known: BTreeSet<String> = (0..21).map(|n| format!("api-{n:02}")).collect();
        let text = unknown("tmbd", &known).to_string();
        assert!(text.starts_with("unknown API `tmbd`: expected one of api-00, api-01"));
        assert!(text.ends_with("api-19, ..."));
        let text = unknown("tmbd\n", &BTreeSet::new()).to_string();
        assert_eq!(text, "unknown API `tmbd\\n`: no usage is recorded yet");
    }
}
