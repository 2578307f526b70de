//! The known name that a mistyped or shortened one is most like.

/// The most similar of the known names, if one is so similar that `name` may stand for it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let likeness = |known: &str| {
        let known = known.to_lowercase();
        let is_part = |part: &str, of: &str| part.len() > 2 && of.contains(part);
        match strsim::normalized_damerau_levenshtein(&name, &known) {
            // Such as `status` of `status_code`.
            _ if known.starts_with(&name) => 0.95,
            likeness if is_part(&name, &known) || is_part(&known, &name) => likeness.max(0.9),
            likeness => likeness,
        }
    };
    let known = known.into_iter().map(|known| (likeness(known), known));
    let best = known.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| name.len() > 2 && *likeness >= 0.7)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_name_or_part_of_one_is_found() {
        let known = ["finnhub", "openai", "openweather", "tmdb"];
        for (name, expected) in [
            ("finhub", Some("finnhub")),
            ("tmbd", Some("tmdb")),
            ("TMDB", Some("tmdb")),
            ("weather", Some("openweather")),
            ("openai-eu", Some("openai")),
            ("opena", Some("openai")),
            ("billing", None),
            ("tm", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
        assert_eq!(nearest("openapis", ["openweather"]), None);
        assert_eq!(nearest("finhub", []), None);
    }
}
