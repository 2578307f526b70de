//! The options that name the fields of a foreign log.

use std::fs;
use std::path::PathBuf;

use crate::commands::prelude::*;
use crate::ingest::{self, Field, Mapping, TimeUnit, UnknownFields};

/// The heading of these options in the help.
pub(super) const FOREIGN_LOGS: &str = "Foreign logs";

/// How the input names its fields.
#[derive(Args, Debug)]
#[command(next_help_heading = FOREIGN_LOGS)]
pub(super) struct MappingArgs {
    /// Embedded mapping of a known log; see --list-presets
    #[arg(long, value_name = "NAME", value_parser = parse_preset)]
    preset: Option<String>,

    /// Mapping of names, units and values to fields: a TOML file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "preset",
        hide_short_help = true
    )]
    mapping: Option<PathBuf>,

    /// Read the column or path in JSON, such as request.uri, as FIELD; repeat for more
    ///
    /// Times and response times may have a unit: s, ms, us or ns. Of several paths of one field the first
    /// with a value is taken.
    #[arg(long, value_name = "PATH=FIELD[:UNIT]", value_parser = parse_map)]
    map: Vec<(String, Field, Option<TimeUnit>)>,

    /// Set FIELD to VALUE in every record; repeat for more
    #[arg(long, value_name = "FIELD=VALUE", value_parser = parse_set)]
    set: Vec<(Field, String)>,

    /// Word that stands for a missing value; repeat for more
    #[arg(
        long,
        value_name = "WORD",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    null: Vec<String>,

    /// Separator of CSV columns, one character or `tab` [default: detected]
    #[arg(long, value_name = "CHAR", value_parser = parse_delimiter, hide_short_help = true)]
    delimiter: Option<u8>,

    /// What to do with unknown fields
    #[arg(
        long,
        value_enum,
        value_name = "ACTION",
        default_value_t,
        hide_short_help = true
    )]
    unknown: UnknownFields,
}

impl MappingArgs {
    pub(super) fn mapping(&self) -> Result<Mapping> {
        let help = |message: String| Error::usage(message).with_next("usagectl record --help");
        let mut mapping = match (&self.preset, &self.mapping) {
            (Some(name), _) => Mapping::preset(name).map_err(help)?,
            (None, Some(path)) => {
                let shown = path.display().to_string();
                let text = fs::read_to_string(path).map_err(|error| {
                    Error::new(Exit::Failed, error)
                        .context(format!("cannot read {}", printable(&shown)))
                        .with_next("give a readable file; nothing was recorded")
                })?;
                Mapping::parse(&text).map_err(|reason| {
                    Error::usage(format!("{}: {}", printable(&shown), printable(&reason)))
                        .with_next("correct the mapping; `usagectl record --help` has an example")
                })?
            }
            (None, None) => Mapping::own(self.unknown),
        };
        for (path, field, unit) in &self.map {
            mapping.map(path, *field, *unit).map_err(help)?;
        }
        for (field, value) in &self.set {
            mapping.set(*field, value.clone());
        }
        mapping.nulls.extend(self.null.iter().cloned());
        mapping.delimiter = self.delimiter.or(mapping.delimiter);
        if !mapping.provides(Field::ApiName) {
            let message = "the mapping does not name the API of a call";
            return Err(Error::usage(message).with_next("add --set api_name=NAME"));
        }
        Ok(mapping)
    }
}

fn parse_preset(name: &str) -> Result<String, String> {
    Mapping::preset(name).map(|_| name.to_owned())
}

fn parse_map(text: &str) -> Result<(String, Field, Option<TimeUnit>), String> {
    let (path, field) = text
        .rsplit_once('=')
        .ok_or("expected PATH=FIELD, such as ts=timestamp or took=response_time:us")?;
    let (field, unit) = match field.split_once(':') {
        Some((field, unit)) => {
            let known = clap::ValueEnum::from_str(unit, false);
            (
                field,
                Some(known.map_err(|_| "expected a unit of s, ms, us or ns")?),
            )
        }
        None => (field, None),
    };
    Ok((path.to_owned(), Field::parse(field)?, unit))
}

fn parse_set(text: &str) -> Result<(Field, String), String> {
    let (field, value) = text
        .split_once('=')
        .ok_or("expected FIELD=VALUE, such as api_name=openai")?;
    Ok((Field::parse(field)?, value.to_owned()))
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        _ if matches!(text, "tab" | "\\t") => Ok(b'\t'),
        (Some(delimiter), None) => ingest::parse_delimiter(delimiter),
        _ => Err("expected one character, or `tab`".to_owned()),
    }
}
