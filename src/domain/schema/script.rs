//! Parses a migration's SQL into steps.
//!
//! ```sql
//! -- step: index (api_name, timestamp)
//! -- index: api_usage (api_name, timestamp)
//! DROP INDEX CONCURRENTLY "api_usage_api_name_timestamp_idx";
//! ```
//!
//! * `-- step: TITLE` begins a step; a script without such a line is one step. A step is one transaction.
//! * `-- repeat: ROWS rows of TABLE`: the step is run again, each time in a transaction of its own, until its
//!   last statement changes no row. Each run changes at most ROWS rows.
//! * A step whose only statement creates or drops an index CONCURRENTLY runs outside a transaction.
//! * `-- index: TABLE (COLUMNS)` before `DROP INDEX` gives the definition of the index. Indexes are found by
//!   definition, since an application or an operator may have given them other names.
//! * `-- keep: TABLE` (SQLite): the step replaces the table; the indexes and triggers on it that are not ours
//!   are created again.

use std::iter::Peekable;
use std::ops::Range;
use std::slice;

/// A part of a migration that is committed on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Empty in a script of one step without title.
    pub title: &'a str,
    pub statements: Vec<Statement<'a>>,
    pub repeat: Option<Repeat<'a>>,
    /// The table to replace.
    pub keep: Option<&'a str>,
}

/// A step that is run many times, each time on some rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat<'a> {
    pub rows: u64,
    pub table: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Without the semicolon.
    pub sql: &'a str,
    pub index: Option<IndexChange>,
}

/// A statement about an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexChange {
    pub kind: IndexChangeKind,
    /// Its name in the script.
    pub name: String,
    pub is_concurrent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChangeKind {
    Create {
        /// As in `SchemaObject::what`: `index api_usage (timestamp desc)`.
        object: String,
        /// The place of the table's name in the statement.
        table: Range<usize>,
    },
    Drop {
        object: String,
    },
    Rename {
        to: String,
    },
}

impl IndexChange {
    /// The table of the index; unknown if it is renamed.
    pub fn table(&self) -> Option<&str> {
        match &self.kind {
            IndexChangeKind::Create { object, .. } | IndexChangeKind::Drop { object } => {
                object.split(' ').nth(1)
            }
            IndexChangeKind::Rename { .. } => None,
        }
    }
}

impl Step<'_> {
    /// The statement that runs outside a transaction.
    pub fn concurrent(&self) -> Option<&IndexChange> {
        match self.statements.as_slice() {
            [statement] => statement.index.as_ref().filter(|it| it.is_concurrent),
            _ => None,
        }
    }
}

/// What a statement creates under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    Table,
    /// Also that of a primary key.
    Index,
    Type,
}

impl NameKind {
    /// With its article.
    pub fn described(self) -> &'static str {
        match self {
            NameKind::Table => "a table",
            NameKind::Index => "an index",
            NameKind::Type => "a type",
        }
    }
}

/// The statement that created a view or an index, with another name, which is quoted; nothing if it has a comment, which
/// would hide the rest of a line.
pub fn renamed_in(sql: &str, name: &str) -> Option<String> {
    let words: Vec<Token<'_>> = tokens_of(sql).collect();
    let is = |at: usize, word: &str| {
        let token = words.get(at);
        token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
    };
    let kind = (1..4).find(|at| is(*at, "VIEW") || is(*at, "INDEX"))?;
    let mut at = kind + 1;
    if is(at, "IF") {
        at += 3;
    }
    if is(at + 1, ".") {
        at += 2;
    }
    let place = &words.get(at)?.range;
    let text = format!("{}{name}{}", &sql[..place.start], &sql[place.end..]);
    let has_comment = text.contains("--") || text.contains("/*");
    (!has_comment).then(|| text.split_whitespace().collect::<Vec<_>>().join(" "))
}

impl Statement<'_> {
    /// The kind and name of a table or type that it creates, and of the primary keys and unique constraints, each with
    /// whether it is in our schema. Indexes have [`Statement::index`].
    pub fn created_names(&self) -> Vec<(NameKind, bool, String)> {
        let tokens: Vec<Token<'_>> = tokens_of(self.sql).collect();
        let is = |at: usize, word: &str| {
            let token = tokens.get(at);
            token.is_some_and(|token| token.text.eq_ignore_ascii_case(word))
        };
        let kind = match is(0, "CREATE") {
            true if is(1, "TABLE") => NameKind::Table,
            true if is(1, "TYPE") => NameKind::Type,
            _ => return Vec::new(),
        };
        let is_own = is(3, ".");
        let name = |at: usize| tokens.get(at).map(Token::name).unwrap_or_default();
        let mut names = vec![(kind, is_own, name(if is_own { 4 } else { 2 }))];
        for at in 0..tokens.len() {
            let has_index = is(at + 2, "PRIMARY") || is(at + 2, "UNIQUE");
            if is(at, "CONSTRAINT") && has_index {
                names.push((NameKind::Index, is_own, name(at + 1)));
            }
        }
        names
    }

    /// `TABLE` or `TYPE` and the name, if it creates one of the application's.
    pub fn created(&self) -> Option<(&'static str, String)> {
        let tokens: Vec<Token<'_>> = tokens_of(self.sql).take(3).collect();
        let [create, kind, name] = tokens.as_slice() else {
            return None;
        };
        let is = |token: &Token<'_>, word: &str| token.text.eq_ignore_ascii_case(word);
        let mut kinds = ["TABLE", "TYPE"].into_iter();
        let kind = kinds.find(|word| is(create, "CREATE") && is(kind, word))?;
        // Ours are qualified with their schema, or have its name as a prefix.
        let name = name.name();
        (!name.starts_with("usagectl")).then_some((kind, name))
    }
}

/// The steps of a script.
pub fn parse(script: &str) -> Vec<Step<'_>> {
    let mut starts = Vec::new();
    let mut offset = 0;
    for line in script.split_inclusive('\n') {
        if let Some(title) = line.strip_prefix("-- step:") {
            starts.push((title.trim(), offset, offset + line.len()));
        }
        offset += line.len();
    }
    let head = starts.first().map_or(script.len(), |(_, start, _)| *start);
    let mut steps = vec![step("", &script[..head])];
    for (number, (title, _, body)) in starts.iter().enumerate() {
        let end = starts
            .get(number + 1)
            .map_or(script.len(), |(_, start, _)| *start);
        steps.push(step(title, &script[*body..end]));
    }
    // The comment before the first title.
    steps.retain(|step| !step.statements.is_empty());
    steps
}

fn step<'a>(title: &'a str, text: &'a str) -> Step<'a> {
    let directive = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Step {
        title,
        statements: statements(text),
        repeat: directive("-- repeat:").and_then(repeat),
        keep: directive("-- keep:").map(str::trim),
    }
}

/// `50000 rows of api_usage`
fn repeat(text: &str) -> Option<Repeat<'_>> {
    let (rows, table) = text.split_once(" rows of ")?;
    Some(Repeat {
        rows: rows.trim().parse().ok()?,
        table: table.trim(),
    })
}

fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut tokens: Vec<Token<'_>> = Vec::new();
    // The end of the previous statement.
    let mut after = 0;
    for token in tokens_of(text) {
        if token.text != ";" || is_open_trigger(&tokens) {
            tokens.push(token);
            continue;
        }
        let end = token.range.start;
        statements.extend(statement(text, after, &tokens, end));
        tokens.clear();
        after = token.range.end;
    }
    statements.extend(statement(text, after, &tokens, text.trim_end().len()));
    statements
}

/// Whether a semicolon is inside the body of a SQLite trigger, which ends with `; END`.
fn is_open_trigger(tokens: &[Token<'_>]) -> bool {
    let is = |token: &Token<'_>, word: &str| token.text.eq_ignore_ascii_case(word);
    let has = |word: &str| tokens.iter().any(|token| is(token, word));
    let creates = tokens.first().is_some_and(|token| is(token, "CREATE"))
        && tokens.iter().take(3).any(|token| is(token, "TRIGGER"));
    let ends = matches!(tokens, [.., semicolon, end] if semicolon.text == ";" && is(end, "END"));
    creates && has("BEGIN") && !ends
}

fn statement<'a>(
    text: &'a str,
    after: usize,
    tokens: &[Token<'a>],
    end: usize,
) -> Option<Statement<'a>> {
    let start = tokens.first()?.range.start;
    let comment = text[after..start].lines();
    let object = comment
        .rev()
        .find_map(|line| line.trim().strip_prefix("-- index:"));
    Some(Statement {
        sql: text[start..end].trim_end(),
        index: index_change(tokens, start, object.map(str::trim)),
    })
}

/// Recognises the statements about indexes; other forms of them than ours are ordinary statements.
fn index_change(tokens: &[Token<'_>], start: usize, object: Option<&str>) -> Option<IndexChange> {
    let mut words = tokens.iter().peekable();
    let accept = |words: &mut Peekable<slice::Iter<'_, Token<'_>>>, word: &str| {
        words
            .next_if(|token| token.text.eq_ignore_ascii_case(word))
            .is_some()
    };
    let change = |name: &Token<'_>, is_concurrent, kind| {
        Some(IndexChange {
            kind,
            name: name.name(),
            is_concurrent,
        })
    };
    if accept(&mut words, "CREATE") {
        let is_unique = accept(&mut words, "UNIQUE");
        if !accept(&mut words, "INDEX") {
            return None;
        }
        let is_concurrent = accept(&mut words, "CONCURRENTLY");
        let name = words.next()?;
        if !accept(&mut words, "ON") {
            return None;
        }
        let table = words.next()?;
        if !accept(&mut words, "(") {
            return None;
        }
        let columns = columns(&mut words)?;
        let kind = if is_unique { "unique" } else { "index" };
        let object = format!("{kind} {} ({columns})", table.name());
        let table = table.range.start - start..table.range.end - start;
        change(
            name,
            is_concurrent,
            IndexChangeKind::Create { object, table },
        )
    } else if accept(&mut words, "DROP") && accept(&mut words, "INDEX") {
        let is_concurrent = accept(&mut words, "CONCURRENTLY");
        let name = words.next()?;
        let object = format!("index {}", object?);
        change(name, is_concurrent, IndexChangeKind::Drop { object })
    } else if accept(&mut words, "ALTER") && accept(&mut words, "INDEX") {
        let name = words.next()?;
        if !(accept(&mut words, "RENAME") && accept(&mut words, "TO")) {
            return None;
        }
        let to = words.next()?.name();
        change(name, false, IndexChangeKind::Rename { to })
    } else {
        None
    }
}

/// `"a", "b" DESC)` as `a, b desc`; nothing if more follows.
fn columns<'a>(words: &mut impl Iterator<Item = &'a Token<'a>>) -> Option<String> {
    let mut columns = String::new();
    loop {
        let token = words.next()?;
        match token.text {
            ")" => break,
            "," => columns.push_str(", "),
            word if word.eq_ignore_ascii_case("DESC") => columns.push_str(" desc"),
            _ => columns.push_str(&token.name()),
        }
    }
    words.next().is_none().then_some(columns)
}

/// A word, a quoted name or text, or a character.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) range: Range<usize>,
}

impl Token<'_> {
    /// A name without its quotes, which in SQLite are of four kinds.
    pub(super) fn name(&self) -> String {
        let Some(open) = self.text.chars().next().filter(|c| "\"`[".contains(*c)) else {
            return self.text.to_owned();
        };
        let close = closing(open);
        let inner = &self.text[1..];
        let inner = inner.strip_suffix(close).unwrap_or(inner);
        inner.replace(&format!("{close}{close}"), &close.to_string())
    }

    /// Whether it is a word or a quoted name.
    pub(super) fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| is_word(c) || "\"`[".contains(c))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn closing(quote: char) -> char {
    if quote == '[' { ']' } else { quote }
}

/// The tokens of a script, without comments.
pub(super) fn tokens_of(text: &str) -> impl Iterator<Item = Token<'_>> {
    Tokens { text, at: 0 }
}

struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            let until = |found: Option<usize>| found.unwrap_or(rest.len());
            let skipped = if first.is_whitespace() {
                until(rest.find(|c: char| !c.is_whitespace()))
            } else if rest.starts_with("--") {
                until(rest.find('\n'))
            } else if rest.starts_with("/*") {
                until(rest.find("*/").map(|end| end + 2))
            } else {
                0
            };
            if skipped > 0 {
                self.at += skipped;
                continue;
            }
            let length = match first {
                '\'' | '"' | '`' | '[' => quoted(rest, closing(first)),
                '$' => dollar_quoted(rest).unwrap_or(1),
                c if is_word(c) => until(rest.find(|c| !is_word(c) && c != '$')),
                c => c.len_utf8(),
            };
            let range = self.at..self.at + length;
            self.at = range.end;
            return Some(Token {
                text: &rest[..length],
                range,
            });
        }
    }
}

/// The length of a text in quotes; a doubled quote stands for one. To the end if it is not closed.
fn quoted(rest: &str, close: char) -> usize {
    let mut end = 1;
    while let Some(at) = rest[end..].find(close) {
        end += at + 1;
        match rest[end..].starts_with(close) && close != ']' {
            true => end += 1,
            false => return end,
        }
    }
    rest.len()
}

/// The length of a text in dollar quotes: `$$...$$`, `$tag$...$tag$`.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag = &rest[..=rest[1..].find('$')? + 1];
    let is_tag = tag[1..tag.len() - 1].chars().all(is_word);
    let end = rest[tag.len()..].find(tag).filter(|_| is_tag)?;
    Some(tag.len() + end + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql<'a>(steps: &[Step<'a>]) -> Vec<Vec<&'a str>> {
        let statements = |step: &Step<'a>| step.statements.iter().map(|it| it.sql).collect();
        steps.iter().map(statements).collect()
    }

    #[test]
    fn script_without_titles_is_one_step() {
        let steps = parse("-- why\nCREATE TABLE a (x TEXT);\n\n-- more\nSELECT 1;\n");
        assert_eq!(sql(&steps), [["CREATE TABLE a (x TEXT)", "SELECT 1"]]);
        assert_eq!(steps[0].title, "");
        assert_eq!(parse("-- nothing\n"), []);
    }

    #[test]
    fn titles_begin_steps() {
        let steps =
            parse("-- why\n\n-- step: one\nA;\n-- step: two\n-- repeat: 5 rows of t\nB; C;\n");
        assert_eq!(sql(&steps), [vec!["A"], vec!["B", "C"]]);
        assert_eq!([steps[0].title, steps[1].title], ["one", "two"]);
        assert_eq!(steps[0].repeat, None);
        assert_eq!(
            steps[1].repeat,
            Some(Repeat {
                rows: 5,
                table: "t"
            })
        );
    }

    #[test]
    fn semicolons_in_texts_comments_and_bodies_end_no_statement() {
        let script = "SELECT ';', 'it''s;', \"a;\"; -- x;\n/* ; */ CREATE FUNCTION f() AS $$ a; $$;\
             DO $t$ ; $$ $t$;SELECT $1";
        let expected = [
            "SELECT ';', 'it''s;', \"a;\"",
            "CREATE FUNCTION f() AS $$ a; $$",
            "DO $t$ ; $$ $t$",
            "SELECT $1",
        ];
        assert_eq!(sql(&parse(script)), [expected]);
    }

    #[test]
    fn trigger_ends_with_its_body() {
        let body =
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; B; END";
        assert_eq!(sql(&parse(&format!("{body}; C;"))), [[body, "C"]]);
        let postgres = "CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f()";
        assert_eq!(sql(&parse(&format!("{postgres}; C;"))), [[postgres, "C"]]);
    }

    fn change(script: &str) -> IndexChange {
        parse(script)[0].statements[0].index.clone().unwrap()
    }

    #[test]
    fn created_index_is_named_by_its_definition() {
        let script = "CREATE UNIQUE INDEX CONCURRENTLY \"i\" ON \"t\" (\"a\", \"b\" DESC);";
        let IndexChange {
            kind: IndexChangeKind::Create { object, table },
            name,
            is_concurrent: true,
        } = change(script)
        else {
            panic!("another change");
        };
        assert_eq!(
            (object.as_str(), name.as_str()),
            ("unique t (a, b desc)", "i")
        );
        assert_eq!(&script[table], "\"t\"");
        assert_eq!(
            parse("CREATE INDEX i ON t (a) WHERE a > 0")[0].statements[0].index,
            None
        );
    }

    #[test]
    fn dropped_index_has_definition_in_comment() {
        let drop = change("-- step: x\n-- index: t (a, b desc)\nDROP INDEX CONCURRENTLY \"i\";");
        let object = "index t (a, b desc)".to_owned();
        assert_eq!(drop.kind, IndexChangeKind::Drop { object });
        let rename = change("ALTER INDEX \"i\" RENAME TO \"j\";");
        assert_eq!(rename.kind, IndexChangeKind::Rename { to: "j".to_owned() });
    }

    #[test]
    fn created_table_of_the_application_is_named() {
        let created = |script: &str| parse(script)[0].statements[0].created();
        let named = |kind, name: &str| Some((kind, name.to_owned()));
        assert_eq!(created("CREATE TABLE \"T\" (a INT)"), named("TABLE", "T"));
        assert_eq!(created("create type t AS ENUM ()"), named("TYPE", "t"));
        for other in ["CREATE TABLE usagectl.t (a INT)", "DROP TABLE t", "CREATE"] {
            assert_eq!(created(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_single_statement_is_concurrent() {
        let create = "CREATE INDEX CONCURRENTLY i ON t (a);";
        assert!(parse(create)[0].concurrent().is_some());
        assert!(
            parse(&format!("{create}{create}"))[0]
                .concurrent()
                .is_none()
        );
        assert!(parse("CREATE INDEX i ON t (a);")[0].concurrent().is_none());
    }
}
