//! The names of APIs that a user gives, checked against those that have usage.

use std::collections::BTreeSet;

use crate::commands::prelude::*;
use crate::store::usage::aggregates;

/// A named API without any usage.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum UnknownApi {
    #[error("unknown API `{0}`: no usage is recorded yet")]
    NoUsage(String),
    #[error("unknown API `{name}`: expected one of {known}")]
    NotOneOf { name: String, known: String },
}

impl UnknownApi {
    fn new(name: &str, known: &BTreeSet<String>) -> UnknownApi {
        let name = printable(name).into_owned();
        match first_names(known) {
            None => UnknownApi::NoUsage(name),
            Some(known) => UnknownApi::NotOneOf { name, known },
        }
    }
}

/// The names, no more than fit into a message; `None` if there are none.
pub(super) fn first_names(known: &BTreeSet<String>) -> Option<String> {
    const SHOWN: usize = 20;
    let names: Vec<_> = known.iter().take(SHOWN).map(|it| printable(it)).collect();
    let more = if known.len() > SHOWN { ", ..." } else { "" };
    (!names.is_empty()).then(|| names.join(", ") + more)
}

impl From<UnknownApi> for Error {
    fn from(error: UnknownApi) -> Error {
        let next = match error {
            UnknownApi::NoUsage(_) => "usagectl record",
            UnknownApi::NotOneOf { .. } => "correct --api, or omit it for all APIs",
        };
        Error::new(Exit::Failed, error).with_next(next)
    }
}

/// Requires that each named API has usage: one without is most likely mistyped, and an empty answer would hide
/// that.
pub(crate) fn require_known(db: &mut Db, named: &[String], known: &BTreeSet<String>) -> Result<()> {
    for api in named {
        if !known.contains(api) && !aggregates::exist_for(db, api)? {
            return Err(UnknownApi::new(api, known).into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_twenty_known_apis_are_listed() {
        let known: BTreeSet<String> = (0..21).map(|n| format!("api-{n:02}")).collect();
        let text = UnknownApi::new("tmbd", &known).to_string();
        assert!(text.starts_with("unknown API `tmbd`: expected one of api-00, api-01"));
        assert!(text.ends_with("api-19, ..."));
        let text = UnknownApi::new("tmbd\n", &BTreeSet::new()).to_string();
        assert_eq!(text, "unknown API `tmbd\\n`: no usage is recorded yet");
    }
}
