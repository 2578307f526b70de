//! The names under which endpoints are rolled up: templates, so that `/movie/603` and `/movie/604` are one endpoint.

use std::borrow::Cow;

use crate::domain::named::named;

named! {
    /// The names of endpoints in roll-ups.
    EndpointNames, "endpoint names" {
        /// Without the query, and with ids replaced.
        Template = "template",
        /// As written.
        Raw = "raw",
    }
}

impl EndpointNames {
    pub fn of(self, endpoint: &str) -> Cow<'_, str> {
        match self {
            EndpointNames::Template => template(endpoint),
            EndpointNames::Raw => Cow::Borrowed(endpoint),
        }
    }
}

/// The endpoint of all calls beyond the largest number of endpoints.
pub const OTHER: &str = "(other)";

/// In place of a part of a path that differs from call to call.
const ID: &str = "{id}";

/// The path without query, fragment and parameters (`;jsessionid=1A5`), its numbers, UUIDs, hashes and long tokens
/// replaced. A template is its own.
pub fn template(endpoint: &str) -> Cow<'_, str> {
    let path = endpoint.split(['?', '#']).next().unwrap_or(endpoint);
    let name = |part| match before_parameters(part) {
        name if is_id(name) => ID,
        name => name,
    };
    if path.split('/').all(|part| name(part) == part) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.split('/').map(name).collect::<Vec<_>>().join("/"))
}

fn before_parameters(part: &str) -> &str {
    part.split_once(';').map_or(part, |(name, _)| name)
}

fn is_id(part: &str) -> bool {
    let count = |is: fn(&u8) -> bool| part.bytes().filter(is).count();
    let digits = count(u8::is_ascii_digit);
    let length = part.len();
    if digits == 0 {
        // A hash may have no digit; a word of sixteen letters from a to f has yet to be found.
        return length >= 16 && count(u8::is_ascii_hexdigit) == length;
    }
    let is_number = digits + count(|c| b".,-+:".contains(c)) == length;
    let is_hex = length >= 8 && count(u8::is_ascii_hexdigit) + count(|c| *c == b'-') == length;
    // tt0111161, 2026-01-30T12.
    let is_numbered = digits >= 5 && digits * 2 >= length;
    let is_mixed = count(u8::is_ascii_uppercase) > 0 && count(u8::is_ascii_lowercase) > 0;
    let is_token = length >= 20 && (digits >= 4 || is_mixed);
    is_number || is_hex || is_numbered || is_token
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_replaced_and_words_are_not() {
        for (endpoint, expected) in [
            ("/movie/123?language=en", "/movie/{id}"),
            ("/quote", "/quote"),
            ("/quote?symbol=AAPL#top", "/quote"),
            (
                "/v1/users/550e8400-e29b-41d4-a716-446655440000/posts",
                "/v1/users/{id}/posts",
            ),
            ("/repos/9f86d081884c7d65/commits", "/repos/{id}/commits"),
            ("/commit/deadbeefdeadbeef", "/commit/{id}"),
            ("/title/tt0111161/", "/title/{id}/"),
            ("/weather/48.85,-2.35", "/weather/{id}"),
            ("/day/2026-01-30", "/day/{id}"),
            ("/s/eyJhbGciOiJIUzI1NiIsInR5cCI6", "/s/{id}"),
            ("/stock/profile2", "/stock/profile2"),
            ("/v2/tools/price-conversion", "/v2/tools/price-conversion"),
            ("/data/2.5/forecast", "/data/{id}/forecast"),
            (
                "/lists/top-10-movies-of-all-time",
                "/lists/top-10-movies-of-all-time",
            ),
            (
                "/cryptocurrency/listings/latest",
                "/cryptocurrency/listings/latest",
            ),
            ("/cafe/facade", "/cafe/facade"),
            (
                "https://api.example.com/v1/movie/7",
                "https://api.example.com/v1/movie/{id}",
            ),
            ("/list;jsessionid=1A530637289A03B07199A44E8D531427", "/list"),
            ("/movie/7;v=1/cast;page=2", "/movie/{id}/cast"),
            ("", ""),
            ("?q=1", ""),
        ] {
            assert_eq!(template(endpoint), expected, "{endpoint}");
        }
        assert_eq!(EndpointNames::Raw.of("/movie/1?q=2"), "/movie/1?q=2");
    }

    proptest! {
        #[test]
        fn template_of_a_template_is_the_same(endpoint in "[a-f0-9A-Z/?.{}#;é-]{0,60}") {
            let once = template(&endpoint).into_owned();
            prop_assert_eq!(template(&once), once.as_str());
        }
    }
}
