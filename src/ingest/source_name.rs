//! The name of a file in derived ids: the same before and after a log is rotated and compressed.

/// The name without what rotation and compression add: `.gz`, `.zst`, a number, a date, seconds since 1970.
pub(super) fn source_name(file_name: &str) -> String {
    let mut name = file_name;
    while let Some(shorter) = strip(name).filter(|shorter| !shorter.is_empty()) {
        name = shorter;
    }
    // `app-2026-01-30.log`.
    match name.rsplit_once('.') {
        Some((stem, extension)) => match strip_date(stem).filter(|stem| !stem.is_empty()) {
            Some(stem) => format!("{stem}.{extension}"),
            None => name.to_owned(),
        },
        None => name.to_owned(),
    }
}

fn strip(name: &str) -> Option<&str> {
    let is_number = |text: &str| {
        (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_epoch =
        |text: &str| text.len() == 10 && text.starts_with('1') && text.parse::<u32>().is_ok();
    if let Some((stem, end)) = name.rsplit_once('-')
        && is_epoch(end)
    {
        return Some(stem);
    }
    match name.rsplit_once('.') {
        Some((stem, "gz" | "zst" | "zstd")) => Some(stem),
        Some((stem, number)) if is_number(number) && strip_date(name).is_none() => Some(stem),
        _ => strip_date(name),
    }
}

/// Strips a date, with or without a time of day, and the separator before it.
fn strip_date(name: &str) -> Option<&str> {
    let separators = name.match_indices(['-', '_', '.']);
    separators.into_iter().find_map(|(at, _)| {
        let date = &name[at + 1..];
        let digits: String = date
            .chars()
            .filter(|c| !matches!(c, '-' | '_' | '.' | ':' | 'T' | 'Z'))
            .collect();
        let part = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u32>().ok();
        let is_date = date.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(digits.len(), 8 | 10 | 12 | 14)
            && (1990..2100).contains(&part(0..4)?)
            && (1..=12).contains(&part(4..6)?)
            && (1..=31).contains(&part(6..8)?);
        is_date.then(|| &name[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_and_compression_do_not_change_source() {
        for name in [
            "access.log",
            "access.log.1",
            "access.log.12.gz",
            "access.log.gz",
            "access.log.zst",
            "access.log-20260130",
            "access.log-20260130.gz",
            "access.log.2026-01-30",
            "access.log-2026013010",
            "access-20260130.log",
            "access-2026-01-30.log.gz",
            "access_2026-01-30T10:00:00.log",
            "access_20260130T100000Z.log",
            "access.log-1769767200.gz",
            "access.log-20260130-1769767200",
        ] {
            assert_eq!(source_name(name), "access.log", "{name}");
        }
    }

    #[test]
    fn other_numbers_belong_to_the_name() {
        for name in [
            "usage-2026-01.csv",
            "call-12345678.json",
            "call-1234567890.json",
            "20260130.log",
            "api_v2.ndjson",
            "-",
            ".gz",
        ] {
            assert_eq!(source_name(name), name);
        }
    }
}
