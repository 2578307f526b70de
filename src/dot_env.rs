//! The `.env` file: found upward, read by dotenvy.
//!
//! dotenvy reads some files differently than the program that wrote them, without an error. This module reports those
//! differences where they concern a requested variable; other lines are ignored, even if they do not parse, since the
//! file belongs to another program.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::format::is_invisible;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DotEnv {
    pub path: PathBuf,
    /// The requested variables that the file contains.
    pub variables: Vec<(String, String)>,
}

/// The file cannot be used, and why. Never quotes a line, which may contain a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {}: {reason}", path.display())]
pub(crate) struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

/// Reads the values of `names` in the nearest `.env` upward.
pub(crate) fn read(names: &[&str]) -> Result<Option<DotEnv>, Unreadable> {
    read_in(names, Path::to_owned)
}

/// Reads the values of `names` in the nearest `.env` upward, which is in the `place` of a directory.
pub(crate) fn read_in(
    names: &[&str],
    place: impl Fn(&Path) -> PathBuf,
) -> Result<Option<DotEnv>, Unreadable> {
    let Ok(directory) = env::current_dir() else {
        return Ok(None);
    };
    let mut files = directory.ancestors().map(|it| place(it).join(".env"));
    let Some(path) = files.find(|path| path.is_file()) else {
        return Ok(None);
    };
    read_file(path, names).map(Some)
}

pub(crate) fn read_file(path: PathBuf, names: &[&str]) -> Result<DotEnv, Unreadable> {
    let text = fs::read(&path).map_err(|error| error.to_string());
    // Windows' Notepad and PowerShell write UTF-16, in which letters have zero bytes.
    let text = text.and_then(|bytes| match bytes.contains(&0) {
        true => Err("it is UTF-16; save it as UTF-8".to_owned()),
        false => String::from_utf8(bytes).map_err(|error| error.to_string()),
    });
    let is_set = |name: &str| env::var_os(name).is_some();
    match text.and_then(|text| parse(&text, names, is_set)) {
        Ok(variables) => Ok(DotEnv { path, variables }),
        Err(reason) => Err(Unreadable { path, reason }),
    }
}

fn parse(
    text: &str,
    names: &[&str],
    is_set: impl Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, String> {
    // Windows editors write a byte order mark, which dotenvy takes for a part of the first name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // An error is one line that does not parse; iteration continues with the next.
    let all: Vec<(String, String)> = dotenvy::from_read_iter(text.as_bytes()).flatten().collect();
    let mut found = Vec::new();
    for name in names {
        // The last one, as for Prisma and a shell.
        let position = all.iter().rposition(|(known, _)| known == name);
        let raw = text.lines().enumerate();
        let raw = raw.filter_map(|(index, line)| Some((index + 1, raw_value(line, name)?)));
        let Some((line, raw)) = raw.last() else {
            let is_in_value = |line: &str| all.iter().any(|(_, value)| value.contains(line.trim()));
            let is_found = |line: &str| is_disguised(line, name) && !is_in_value(line);
            match text.lines().position(is_found) {
                Some(index) => {
                    let line = index + 1;
                    return Err(format!(
                        "line {line} has more than {name} before its `=`, such as `set` or an invisible character"
                    ));
                }
                None => continue,
            }
        };
        let earlier: HashMap<&str, &str> = all[..position.unwrap_or(all.len())]
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let is_defined = |name: &str| is_set(name) || earlier.contains_key(name);
        if let Some(quote) = raw.chars().next().filter(|it| OTHER_QUOTES.contains(*it)) {
            return Err(format!(
                "line {line}: the value of {name} begins with {quote}, which is no quote here; write ' or \""
            ));
        }
        if !expansions(raw).into_iter().all(is_defined) {
            return Err(format!(
                "line {line}: a `$` in the value of {name} names no variable; write it as \\$, or put the value in single \
                 quotes (a variable is written as ${{NAME}}, without a default)"
            ));
        }
        let Some(position) = position else {
            return Err(format!("the line of {name} does not parse"));
        };
        found.push(all[position].clone());
    }
    Ok(found)
}

/// Quotes of other programs and of word processors, which dotenvy takes for a part of the value.
const OTHER_QUOTES: &str = "`\u{2018}\u{2019}\u{201c}\u{201d}";

/// The text after `NAME=`, if `line` begins with that variable; empty without `=`, which does not parse.
fn raw_value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let rest = line.trim_start().strip_prefix(name)?;
    if rest.starts_with(|c: char| c.is_alphanumeric() || "_.".contains(c) || is_invisible(c)) {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=');
    Some(value.unwrap_or_default().trim_start())
}

/// Whether `line` sets the variable for another program than dotenvy: `set NAME=`, `$env:NAME =`, or with an invisible
/// character before or after the name.
fn is_disguised(line: &str, name: &str) -> bool {
    let key = line.split('=').next().unwrap_or_default();
    let visible: String = key.chars().filter(|it| !is_invisible(*it)).collect();
    let is_comment = visible.trim_start().starts_with('#');
    let mut words = visible.split(|it: char| it.is_whitespace() || it == ':');
    let last = words.rfind(|word| !word.is_empty());
    line.contains('=') && !is_comment && last == Some(name)
}

/// The names that dotenvy replaces in a value: letters and digits after an unescaped `$`, or the text in `${}`.
fn expansions(value: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let (mut in_single, mut in_double) = (false, false);
    let mut characters = value.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if !in_double => in_single = !in_single,
            _ if in_single => {}
            '"' => in_double = !in_double,
            '\\' => {
                characters.next();
            }
            // A comment may follow.
            ' ' | '\t' if !in_double => break,
            '$' => {
                let rest = &value[at + 1..];
                let is_name = |c: char| c.is_alphanumeric();
                names.push(match rest.strip_prefix('{') {
                    Some(inner) => inner.split('}').next().unwrap_or_default(),
                    None => &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())],
                });
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `URL`, with the environment variable `HOST` set.
    fn value(text: &str) -> Result<String, String> {
        let found = parse(text, &["URL"], |name| name == "HOST")?;
        Ok(found.into_iter().map(|(_, value)| value).collect())
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        assert_eq!(value("\u{feff}URL=a\r\n"), Ok("a".to_owned()));
    }

    #[test]
    fn dollar_without_variable_is_refused_without_quoting_it() {
        for text in [
            "URL=pa$word",
            "URL=\"pa$word\"",
            "export URL=pa$",
            // dotenvy would replace `$DB` and keep `_HOST`.
            "DB_HOST=h\nURL=$DB_HOST",
            "URL=${LATER}\nLATER=h",
        ] {
            let reason = value(text).unwrap_err();
            assert!(reason.contains(": a `$` in the value of URL"), "{reason}");
            assert!(!reason.contains("word"), "{reason}");
        }
    }

    #[test]
    fn text_of_a_shell_or_a_word_processor_is_refused_with_its_line() {
        for (text, expected) in [
            ("A=b\nURL=`a`", "line 2: the value of URL begins with `"),
            (
                "URL=\u{201c}a\u{201d}",
                "line 1: the value of URL begins with \u{201c}",
            ),
            ("URL=${DB:-a}", "line 1: a `$` in the value of URL"),
        ] {
            let reason = value(text).unwrap_err();
            assert!(reason.starts_with(expected), "{reason}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        fs::write(&path, [0xff, 0xfe, b'U', 0, b'=', 0, b'a', 0]).unwrap();
        let error = read_file(path, &["U"]).unwrap_err();
        assert_eq!(error.reason, "it is UTF-16; save it as UTF-8");
    }

    #[test]
    fn escaped_dollar_and_known_variables_are_read() {
        for (text, expected) in [
            ("URL='pa$word'", "pa$word"),
            ("URL=pa\\$word", "pa$word"),
            ("URL=\"pa\\$word\"", "pa$word"),
            ("PW=s\nURL=${PW}@h # costs $5", "s@h"),
            ("OTHER=$none\nURL=a", "a"),
        ] {
            assert_eq!(value(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn line_that_does_not_parse_is_an_error() {
        for text in [
            "TITLE=it's\nURL=a\n",
            "URL: a",
            "URL\nOTHER=b\n",
            "export URL",
        ] {
            let expected = Err("the line of URL does not parse".to_owned());
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn line_for_another_program_is_an_error() {
        for line in [
            "set URL=a",
            "$env:URL = \"a\"",
            "\u{200b}URL=a",
            "URL\u{200b}=a",
            "export \u{feff}URL=a",
        ] {
            let reason = value(&format!("OTHER=b\n{line}")).unwrap_err();
            assert!(
                reason.starts_with("line 2 has more than URL before its `=`"),
                "{line}"
            );
        }
        for text in [
            "# set URL=a",
            "MY_URL=a",
            "set URLS=a",
            "set URL=a\nURL=b",
            "TEXT=\"a\nset URL=b\n\"",
        ] {
            assert!(value(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn last_value_counts_and_absent_variable_is_none() {
        assert_eq!(value("URL=a\nURL=b\n#URL=c\n"), Ok("b".to_owned()));
        assert_eq!(value("# URL=a\nURL_OLD: b\n"), Ok(String::new()));
    }
}
