//! The place that a URL names.

use std::path::{self, Path, PathBuf};
use std::{env, io};

use percent_encoding::percent_decode_str;

use super::url::{self, DatabaseTarget, DatabaseUrl, UrlError, UrlSource};
use crate::domain::schema::place::Place;

pub fn of(target: &DatabaseTarget) -> Place {
    match target {
        DatabaseTarget::Sqlite(path) => Place {
            host: None,
            name: path.display().to_string(),
            schema: None,
        },
        DatabaseTarget::Postgres(target) => {
            let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
            let schema = &target.application_schema;
            of_connection_string(target.connection_string(), schema, variable)
        }
    }
}

/// Reads a URL as libpq does: parameters override the address, and environment variables fill gaps.
fn of_connection_string(
    text: &str,
    schema: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Place {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| decode(value));
        values.next_back()
    };
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let some = |text: &str| (!text.is_empty()).then(|| decode(text));
    let user = some(user.split(':').next().unwrap_or_default());
    let name = parameter("dbname")
        .or_else(|| some(path))
        .or_else(|| variable("PGDATABASE"))
        .or_else(|| parameter("user"))
        .or(user)
        .or_else(|| variable("PGUSER"))
        .or_else(|| variable("USER"));
    let port = parameter("port")
        .or_else(|| variable("PGPORT"))
        .unwrap_or_else(|| "5432".to_owned());
    let hosts = parameter("host")
        .or_else(|| some(hosts))
        .or_else(|| variable("PGHOST"))
        .unwrap_or_else(|| "localhost".to_owned());
    let with_port = |host: &str| {
        let after_brackets = host.rsplit_once(']').map_or(host, |(_, after)| after);
        match after_brackets.contains(':') {
            true => host.to_owned(),
            false => format!("{host}:{port}"),
        }
    };
    let hosts: Vec<String> = hosts.split(',').map(with_port).collect();
    Place {
        host: Some(hosts.join(",")),
        // libpq takes the user's name from the system.
        name: name.unwrap_or_else(|| "(default)".to_owned()),
        schema: Some(schema.to_owned()),
    }
}

/// The database of DATABASE_URL, if `used` is DIRECT_URL and names another one.
pub fn other_than(used: &DatabaseUrl) -> Result<Option<Place>, UrlError> {
    match used.source {
        UrlSource::Environment("DIRECT_URL") | UrlSource::DotEnv("DIRECT_URL", _) => {}
        _ => return Ok(None),
    }
    let other = url::find(None, false)?;
    if other.source == UrlSource::Default {
        return Ok(None);
    }
    if let (DatabaseTarget::Sqlite(a), DatabaseTarget::Sqlite(b)) = (&other.target, &used.target)
        && is_one_file(a, b)
    {
        return Ok(None);
    }
    let other = of(&other.target);
    Ok((!other.may_be(&of(&used.target))).then_some(other))
}

/// Whether two paths lead to one file, which may not exist yet.
fn is_one_file(a: &Path, b: &Path) -> bool {
    let are_equal =
        |of: fn(&Path) -> io::Result<PathBuf>| matches!((of(a), of(b)), (Ok(a), Ok(b)) if a == b);
    are_equal(|path| path::absolute(path)) || are_equal(|path| path.canonicalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> String {
        let variables = |name: &str| match name {
            "PGHOST" => Some("pghost".to_owned()),
            "PGUSER" => Some("pguser".to_owned()),
            _ => None,
        };
        of_connection_string(url, "public", variables).to_string()
    }

    #[test]
    fn host_and_database_are_those_that_libpq_uses() {
        for (url, expected) in [
            ("postgresql://u:p@db/shop?x=1", "shop at db:5432"),
            ("postgresql://db:6543/my%20shop", "my shop at db:6543"),
            ("postgresql://a,b:1/shop", "shop at a:5432,b:1"),
            ("postgresql://[::1]/shop", "shop at [::1]:5432"),
            (
                "postgresql:///shop?host=%2Frun%2Fpg&port=6",
                "shop at /run/pg:6",
            ),
            ("postgresql://u@db", "u at db:5432"),
            ("postgresql://", "pguser at pghost:5432"),
            ("postgresql://db/shop?dbname=other", "other at db:5432"),
        ] {
            let expected = format!("database {expected}, schema public");
            assert_eq!(place(url), expected, "{url}");
        }
    }
}
