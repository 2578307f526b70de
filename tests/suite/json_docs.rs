//! `docs/json.md` against what the program prints: every field of every JSON answer is described with its type,
//! and every described field is printed.
//!
//! `USAGECTL_PRINT_FIELDS=1 cargo test json_docs -- --nocapture` prints the fields as rows for the document.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use clap::Command;
use serde_json::Value;

use crate::support::TestDatabase;
use crate::support::http::HttpServer;
use crate::support::{Engine, Run};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md");
const SESSION: &str = include_str!("json_docs.session");
const RECOMMENDATION: &str =
    "$(usagectl recommend list --all --service VERCEL_KV --format csv | sed -n '2s/,.*//p')";

/// Commands that do not answer in JSON.
const TEXT_ONLY: [&str; 3] = ["completions", "man", "limits catalogue"];

/// Types by field, such as `lines[].api_name`.
type Fields = BTreeMap<String, BTreeSet<String>>;

/// The types of a value, and of the fields in it.
fn collect(path: &str, value: &Value, fields: &mut Fields) {
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}.")
    };
    let kind = match value {
        Value::Array(items) => {
            for item in items {
                if item.is_object() {
                    collect(&format!("{path}[]"), item, fields);
                } else {
                    let kind = format!("array of {}", kind(item));
                    fields.entry(path.to_owned()).or_default().insert(kind);
                }
            }
            if items.iter().any(|item| !item.is_object()) {
                return;
            }
            "array"
        }
        Value::Object(members) => {
            for (name, member) in members {
                collect(&format!("{prefix}{name}"), member, fields);
            }
            if path.is_empty() || path.ends_with("[]") {
                return;
            }
            "object"
        }
        _ => kind(value),
    };
    fields
        .entry(path.to_owned())
        .or_default()
        .insert(kind.to_owned());
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(text) if is_time(text) => "time",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether the text is a time as JSON answers write it: RFC 3339 in UTC with milliseconds.
fn is_time(text: &str) -> bool {
    let has_milliseconds = text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.';
    has_milliseconds && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

/// The rows of each section of the document: | `field` | type | meaning |.
fn documented() -> BTreeMap<String, Fields> {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let mut sections = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.replace('`', "");
            sections.insert(section.clone(), Fields::new());
        } else if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            let [field, types, meaning] = cells[..] else {
                panic!("a row has three cells: {line}");
            };
            assert!(!meaning.trim().is_empty(), "no meaning: {line}");
            let types = types.split(" or ").map(str::to_owned).collect();
            let fields = sections.get_mut(&section).unwrap();
            let former = fields.insert(field.trim_end_matches('`').to_owned(), types);
            assert!(former.is_none(), "{section}: two rows: {line}");
        }
    }
    sections
}

/// A documented field and the row that describes it.
struct Described<'a> {
    types: BTreeSet<String>,
    row: (&'a str, &'a str),
}

/// The fields of a section and of the objects that it refers to: the type `event` stands for the rows of the
/// section "Object event".
fn expand<'a>(
    sections: &'a BTreeMap<String, Fields>,
    section: &'a str,
    prefix: &str,
    found: &mut BTreeMap<String, Described<'a>>,
) {
    for (field, types) in &sections[section] {
        let path = format!("{prefix}{field}");
        let mut known = BTreeSet::new();
        for kind in types {
            let item = kind.strip_prefix("array of ");
            let object = format!("Object {}", item.unwrap_or(kind));
            let object = sections.get_key_value(&object);
            known.insert(match (object, item) {
                (None, _) => kind.clone(),
                (Some(_), None) => "object".to_owned(),
                (Some(_), Some(_)) => "array".to_owned(),
            });
            if item.is_some() {
                // It may be empty.
                known.insert("array".to_owned());
            }
            if let Some((object, _)) = object {
                let brackets = if item.is_some() { "[]" } else { "" };
                expand(sections, object, &format!("{path}{brackets}."), found);
            }
        }
        let row = (section, field.as_str());
        found.insert(path, Described { types: known, row });
    }
}

/// Whether a command line is one of `name`: `migrate --dry-run --to x` is one of `migrate` and one of
/// `migrate --dry-run`.
fn is_of(line: &[&str], name: &str) -> bool {
    let (options, words): (Vec<&str>, Vec<&str>) =
        name.split(' ').partition(|word| word.starts_with('-'));
    line.starts_with(&words) && options.iter().all(|option| line.contains(option))
}

/// The section that describes the answer of a command line; its title is a list of commands.
fn section_of<'a>(sections: &'a BTreeMap<String, Fields>, line: &str) -> &'a str {
    let words: Vec<&str> = line.split(' ').collect();
    let length = |title: &str| {
        let names = title.split(", ").filter(|name| is_of(&words, name));
        names.map(|name| name.split(' ').count()).max()
    };
    let titles = sections
        .keys()
        .filter_map(|title| Some((length(title)?, title)));
    let (_, title) = titles
        .max()
        .unwrap_or_else(|| panic!("no section for `{line}`"));
    title
}

fn shell(db: &TestDatabase, script: &str) -> Run {
    let programs = Path::new(env!("CARGO_BIN_EXE_usagectl")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let command = db.sandbox().command("sh").database(db.url());
    command
        .env("PATH", path)
        .env("USER", "ann")
        .arg("-c")
        .arg(script)
        .run()
}

/// The fields of all answers by the title of their section.
fn observed(sections: &BTreeMap<String, Fields>) -> BTreeMap<String, Fields> {
    let db = TestDatabase::empty(Engine::Sqlite);
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    symlink(examples, db.sandbox().work().join("examples")).unwrap();
    let server = HttpServer::with([]);
    let mut found: BTreeMap<String, Fields> = BTreeMap::new();
    let mut add = |section: &str, document: &Value| {
        collect("", document, found.entry(section.to_owned()).or_default());
    };
    let without_schema = |text: &str| -> Option<Value> {
        let mut document: Value = serde_json::from_str(text).ok()?;
        (document.as_object_mut()?.remove("schema")? == 1).then_some(document)
    };
    for line in SESSION.lines().filter(|line| !line.starts_with('#')) {
        let Some((first, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest
            .replace("{url}", &server.url("/"))
            .replace("{id}", RECOMMENDATION);
        match first {
            "sql" => db.execute(&rest),
            "sh" => drop(shell(&db, &rest).success()),
            _ => {
                let run = shell(&db, &format!("usagectl --format json {rest}"));
                let answer = without_schema(&run.stdout);
                if let Some(answer) = &answer {
                    add(section_of(sections, &rest), answer);
                }
                let error = run.stderr.lines().last().and_then(without_schema);
                if let Some(error) = &error {
                    add("Errors", error);
                }
                assert_eq!(error.is_some(), run.code != 0, "{line}\n{}", run.stderr);
                let is_failure = [1, 2, 5, 6, 7].contains(&run.code);
                assert_ne!(answer.is_some(), is_failure, "{line}\n{}", run.stderr);
            }
        }
    }
    for request in server.received() {
        // Several notices are one array.
        match request.json() {
            Value::Array(bodies) => bodies
                .iter()
                .for_each(|body| add("Object webhook body", body)),
            body => add("Object webhook body", &body),
        }
    }
    found
}

#[allow(
    clippy::print_stdout,
    reason = "it prints the rows of the document on request"
)]
#[test]
fn every_json_field_is_documented_with_its_type() {
    let sections = documented();
    let observed = observed(&sections);
    if env::var_os("USAGECTL_PRINT_FIELDS").is_some() {
        for (section, fields) in &observed {
            println!("\n## {section}\n\n| field | type | meaning |\n|---|---|---|");
            for (field, types) in fields {
                let types: Vec<&str> = types.iter().map(String::as_str).collect();
                println!("| `{field}` | {} |  |", types.join(" or "));
            }
        }
    }
    let rows = sections.iter().flat_map(|(section, fields)| {
        fields
            .keys()
            .map(move |field| (section.as_str(), field.as_str()))
    });
    let mut never_printed: BTreeSet<(&str, &str)> = rows.collect();
    let mut faults = Vec::new();
    for (section, fields) in &observed {
        let mut described = BTreeMap::new();
        expand(&sections, section, "", &mut described);
        for (field, types) in fields {
            // `metadata.*` stands for all fields in `metadata`.
            let any = described.iter().find(|(path, _)| {
                path.strip_suffix('*')
                    .is_some_and(|prefix| field.starts_with(prefix))
            });
            match described.get(field).or(any.map(|(_, any)| any)) {
                None => faults.push(format!("{section}: `{field}` is not documented")),
                Some(known) => {
                    never_printed.remove(&known.row);
                    if any.is_none() && !types.is_subset(&known.types) {
                        let known = &known.types;
                        faults.push(format!("{section}: `{field}` is {types:?}, not {known:?}"));
                    }
                }
            }
        }
    }
    for (section, field) in never_printed {
        faults.push(format!(
            "{section}: `{field}` is documented and never printed"
        ));
    }
    assert!(faults.is_empty(), "docs/json.md:\n{}", faults.join("\n"));
}

/// The commands without subcommands.
fn leaves(command: &Command, name: &str, found: &mut Vec<String>) {
    let inner = command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help");
    let mut is_leaf = true;
    for inner in inner {
        is_leaf = false;
        leaves(inner, format!("{name} {}", inner.get_name()).trim(), found);
    }
    if is_leaf {
        found.push(name.to_owned());
    }
}

#[test]
fn session_runs_every_command() {
    let mut commands = Vec::new();
    leaves(&usagectl::cli::definition(), "", &mut commands);
    commands.retain(|name| !TEXT_ONLY.contains(&name.as_str()));
    let runs = |name: &str| {
        SESSION.lines().any(|line| {
            // Arguments may stand between the words: `alerts channel add desk webhook`.
            let mut words = line.split(' ').skip(1);
            name.split(' ')
                .all(|wanted| words.any(|word| word == wanted))
        })
    };
    commands.retain(|name| !runs(name));
    assert!(
        commands.is_empty(),
        "not in json_docs.session: {commands:?}"
    );
}
