//! Names of APIs, as `api_usage` holds them.

/// The name that stands for all APIs in an alert rule.
pub const ALL_APIS: &str = "*";

/// A text that cannot be the name of one API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of one API, as in api_usage")]
pub struct InvalidApiName;

/// Parses the name of one API: not empty, and not [`ALL_APIS`].
pub fn parse(name: &str) -> Result<String, InvalidApiName> {
    match name.trim() {
        "" | ALL_APIS => Err(InvalidApiName),
        name => Ok(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_name_and_name_of_all_apis_are_refused() {
        assert_eq!(parse(" finnhub "), Ok("finnhub".to_owned()));
        for name in ["", " ", ALL_APIS] {
            assert_eq!(parse(name), Err(InvalidApiName));
        }
    }
}
