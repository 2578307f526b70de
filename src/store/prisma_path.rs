//! Prisma's SQLite paths. `file:./dev.db` is relative to schema.prisma up to Prisma 6, and to the directory of the
//! configuration from Prisma 7.
//!
//! The schema itself shows the version: up to 6 its `datasource` requires a `url`, from 7 it may not have one.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum PrismaPath {
    /// The file that Prisma uses, whether or not it exists.
    At(PathBuf),
    /// Prisma's file does not exist, but one of the same name where the other versions look, or in another package of a
    /// repository without a schema here.
    Elsewhere { expected: PathBuf, found: PathBuf },
}

/// Resolves the relative path of a `file:` URL; `base` is the directory of `.env`, or the working directory.
///
/// With `start`, the absolute path of the working directory, the project may be in a directory above it.
pub(super) fn resolve(base: &Path, start: Option<&Path>, path: &Path) -> PrismaPath {
    let project = start.map(|start| (start, project(start)));
    let above = project.filter(|(start, project)| start != project);
    if above.is_some() && is_database(&join(base, path)) {
        return PrismaPath::At(join(base, path));
    }
    let project = above.map_or(base, |(_, project)| project);
    let beside_base = join(project, path);
    let Some(schema) = find_schema(project) else {
        let expected = join(base, path);
        let places = packages(start.unwrap_or(base)).into_iter();
        let mut files = places.flat_map(|it| [join(&schema_directory(&it), path), join(&it, path)]);
        return match files.find(|file| !is_database(&expected) && is_database(file)) {
            Some(found) => PrismaPath::Elsewhere { expected, found },
            None => PrismaPath::At(expected),
        };
    };
    let beside_schema = join(schema.parent().unwrap_or(project), path);
    let text = fs::read_to_string(&schema).unwrap_or_default();
    let (expected, other) = match has_url(&text) {
        true => (beside_schema, beside_base),
        false => (beside_base, beside_schema),
    };
    if !is_database(&expected) && is_database(&other) {
        PrismaPath::Elsewhere {
            expected,
            found: other,
        }
    } else {
        PrismaPath::At(expected)
    }
}

/// An empty file is what a failed attempt leaves behind.
fn is_database(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() > 0)
}

/// The directory above `base`, or `base`, that has the schema: a package of a monorepo may be below it. Without a schema
/// up to the root of the repository the directory of the package, or `base` outside of one.
fn project(base: &Path) -> &Path {
    let root = base.ancestors().find(|it| it.join(".git").exists());
    let has_schema = |it: &&Path| find_schema(it).is_some();
    let within = |it: &&Path| root.is_none_or(|root| it.starts_with(root));
    let with_schema = base.ancestors().take_while(within).find(has_schema);
    let is_package = |it: &&Path| it.join("package.json").is_file();
    with_schema
        .or_else(|| base.ancestors().find(is_package))
        .unwrap_or(base)
}

/// The directory of schema.prisma in the project `base`, whose `.env` Prisma reads too.
pub(super) fn schema_directory(base: &Path) -> PathBuf {
    let schema = find_schema(base);
    let directory = schema.as_deref().and_then(Path::parent);
    directory.map_or_else(|| base.join("prisma"), Path::to_owned)
}

/// The schema in the directory `base`: of a schema in several files the one with the `datasource`.
fn find_schema(base: &Path) -> Option<PathBuf> {
    let read = |file: &str| fs::read_to_string(base.join(file)).ok();
    let package = read("package.json").and_then(|text| schema_in_package(&text));
    let config = read("prisma.config.ts").and_then(|text| schema_in_config(&text));
    let usual = ["prisma/schema.prisma", "schema.prisma", "prisma/schema"].map(str::to_owned);
    let paths = config.into_iter().chain(package).chain(usual);
    let mut files = paths.filter_map(|path| {
        let path = join(base, Path::new(&path));
        match path.is_dir() {
            true => datasource_in(&path),
            false => Some(path),
        }
    });
    files.find(|file| file.is_file())
}

/// The file in a directory of schema files that has the `datasource`.
fn datasource_in(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|it| it == "prisma"))
        .collect();
    files.sort();
    files.into_iter().find(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        datasource(&text).next().is_some()
    })
}

/// `schema` of a prisma.config.ts: a text, or texts to be joined as in `path.join("db", "schema")`.
fn schema_in_config(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    let value = lines.find_map(|line| line.strip_prefix("schema:"))?;
    let texts = value.split(['"', '\'', '`']).skip(1).step_by(2);
    let parts: Vec<&str> = texts.collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// `prisma.schema` of a package.json.
fn schema_in_package(text: &str) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(package.get("prisma")?.get("schema")?.as_str()?.to_owned())
}

/// The packages of the repository that `start` is in, at most two levels below its root: `apps/web`.
pub(super) fn packages(start: &Path) -> Vec<PathBuf> {
    let has = |file: &'static str| move |it: &&Path| it.join(file).exists();
    let repository = start.ancestors().find(has(".git"));
    let root = repository.or_else(|| start.ancestors().filter(has("package.json")).last());
    let within = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let is_part = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_dir() && !name.starts_with('.') && name != "node_modules"
        };
        let mut paths: Vec<PathBuf> = paths.filter(is_part).collect();
        paths.sort();
        paths
    };
    let first = root.map(within).unwrap_or_default();
    let second: Vec<PathBuf> = first.iter().flat_map(|it| within(it)).collect();
    let mut all = [first, second].concat();
    all.retain(|it| it.join("package.json").is_file());
    all
}

/// Where Prisma's migrations may be in the project `base`: the folder that prisma.config.ts names, `prisma/migrations`,
/// and beside the schema.
pub(super) fn migrations_directories(base: &Path) -> Vec<PathBuf> {
    let configured = fs::read_to_string(base.join("prisma.config.ts")).ok();
    let configured = configured.and_then(|text| migrations_in_config(&text));
    let configured = configured.map(|path| join(base, Path::new(&path)));
    let beside_schema = schema_directory(base).join("migrations");
    let usual = [base.join("prisma/migrations"), beside_schema];
    configured.into_iter().chain(usual).collect()
}

/// `migrations: { path: "..." }` of a prisma.config.ts.
fn migrations_in_config(text: &str) -> Option<String> {
    let (_, block) = text.split_once("migrations:")?;
    let (block, _) = block.split_once('}')?;
    let (_, value) = block.split_once("path:")?;
    let value = value.trim_start();
    let quote = value.chars().next().filter(|it| "\"'`".contains(*it))?;
    Some(value.split(quote).nth(1)?.to_owned())
}

/// Whether the `datasource` of a schema has a `url`.
fn has_url(schema: &str) -> bool {
    datasource(schema).any(|line| line.split(['=', ' ', '\t']).next() == Some("url"))
}

/// The lines of the `datasource` of a schema.
fn datasource(schema: &str) -> impl Iterator<Item = &str> {
    let lines = schema.lines().map(str::trim);
    lines
        .skip_while(|line| !line.starts_with("datasource "))
        .take_while(|line| !line.starts_with('}'))
}

/// Joins two paths without `.` between them.
fn join(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_the_datasource_is_found() {
        let with = |line: &str| {
            format!(
                "generator client {{\n  url = 1\n}}\ndatasource db {{\n  provider = \"sqlite\"\n  {line}\n}}\nmodel Url {{\n  url String\n}}\n"
            )
        };
        assert!(has_url(&with("url      = env(\"DATABASE_URL\")")));
        assert!(has_url(&with("url=\"file:./dev.db\"")));
        for line in ["", "// url = env(\"X\")", "directUrl = env(\"X\")"] {
            assert!(!has_url(&with(line)), "{line}");
        }
    }

    #[test]
    fn configured_migrations_are_read() {
        let config = "export default defineConfig({\n  schema: 'db/schema.prisma',\n  \
                      migrations: {\n    path: 'db/migrations',\n  },\n})";
        let found = migrations_in_config(config);
        assert_eq!(found.as_deref(), Some("db/migrations"));
        assert_eq!(
            migrations_in_config("migrations: { seed: 'x' }, path: 'y'"),
            None
        );
    }

    #[test]
    fn configured_schema_is_read_from_package() {
        let found = schema_in_package(r#"{"prisma": {"schema": "db/schema.prisma"}}"#);
        assert_eq!(found.as_deref(), Some("db/schema.prisma"));
        assert_eq!(schema_in_package("{}"), None);
    }

    #[test]
    fn configured_schema_is_read_from_config() {
        let found = |value: &str| {
            schema_in_config(&format!(
                "export default defineConfig({{\n  schema: {value},\n}})\n"
            ))
        };
        assert_eq!(found("'prisma/schema'").as_deref(), Some("prisma/schema"));
        assert_eq!(found("path.join(\"db\", \"s\")").as_deref(), Some("db/s"));
        assert_eq!(found("process.env.SCHEMA"), None);
    }
}
