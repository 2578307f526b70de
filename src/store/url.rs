//! The database URL: where it is found, how it is parsed, how it is shown.
//!
//! Only this module parses URLs. The scheme selects the engine, so that no string becomes a SQLite file by
//! accident; Prisma's parameters are translated or dropped; passwords are masked.

use std::env::{self, VarError};
use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::prisma_path::{self, PrismaPath};
use crate::domain::format::shell_word;
use crate::dot_env::{self, DotEnv};
use crate::error::Exit;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlSource {
    /// `--database-url`.
    Flag,
    /// An environment variable, by name.
    Environment(&'static str),
    /// A variable in a `.env` file.
    DotEnv(&'static str, PathBuf),
    /// The SQLite file in the user's data directory.
    Default,
}

impl fmt::Display for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlSource::Flag => f.write_str("--database-url"),
            UrlSource::Environment(name) => write!(f, "{name}"),
            UrlSource::DotEnv(name, path) => write!(f, "{name} in {}", path.display()),
            UrlSource::Default => f.write_str("the default location"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub source: UrlSource,
    pub target: DatabaseTarget,
    /// Whether it is a SQLite file in Prisma's spelling, `file:`.
    pub is_prismas_file: bool,
    /// Dropped and translated parameters, a message each.
    pub notes: Vec<String>,
    /// The command that uses it, such as `usagectl alerts check`, for the server's list of sessions and the
    /// holders of locks.
    pub application: String,
}

/// The application, if no command sets another one.
const APPLICATION: &str = "usagectl";

#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseTarget {
    Sqlite(PathBuf),
    Postgres(PostgresTarget),
}

/// A PostgreSQL database: a connection string for libpq, and the schema of the application.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresTarget {
    connection_string: String,
    /// The schema of the application's tables (Prisma's `schema=`); `public` by default.
    pub application_schema: String,
    /// Whether the URL names it.
    pub names_schema: bool,
}

impl PostgresTarget {
    /// The string for libpq. May contain a password: never print it.
    pub fn connection_string(&self) -> &str {
        &self.connection_string
    }

    /// Removes the URL's passwords from a message: libpq quotes a URL, or a part of it, that it cannot parse.
    pub fn without_secrets(&self, message: &str) -> String {
        let mut message = message.replace(&self.connection_string, &mask(&self.connection_string));
        for secret in secrets(&self.connection_string) {
            // Replacing a shorter one would garble the message.
            if secret.len() >= 4 {
                message = message.replace(&secret, "***");
            }
        }
        message
    }
}

impl fmt::Debug for DatabaseTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.connection_string))
    }
}

impl fmt::Display for DatabaseTarget {
    /// The URL, its password masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseTarget::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            DatabaseTarget::Postgres(target) => f.write_str(&mask(&target.connection_string)),
        }
    }
}

/// The URL was refused. No variant contains the URL itself, since it may contain a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    #[error("{source_name} {fault}")]
    Invalid {
        source_name: String,
        fault: UrlFault,
    },
    #[error("cannot read {}: {reason}", path.display())]
    DotEnv { path: PathBuf, reason: String },
    /// See [`prisma_path`].
    #[error(
        "there is no database at {}, which the URL names by Prisma's rules, but there is one at {}",
        expected.display(),
        found.display()
    )]
    Elsewhere { expected: PathBuf, found: PathBuf },
    /// There is no URL and no database at the default place, but a package of the repository has a URL.
    #[error("no database URL is given, but there is one in {}", .0.display())]
    OfPackage(PathBuf),
    /// Neither `XDG_DATA_HOME` nor `HOME` is set.
    #[error("no database URL is given, and there is no home directory for the default one")]
    NoHome,
}

/// A clause about a URL, which it never quotes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlFault {
    #[error("has no scheme: expected sqlite:, file:, postgres: or postgresql:")]
    NoScheme,
    #[error("has the unknown scheme `{0}`: expected sqlite, file, postgres or postgresql")]
    UnknownScheme(String),
    #[error("is set but empty")]
    Empty,
    /// No path, or an in-memory database, which would be lost when the command ends.
    #[error("does not name a SQLite file")]
    NoFile,
    #[error("is not a valid PostgreSQL URL: {0}")]
    Malformed(&'static str),
    #[error("has the unknown TLS parameter `{0}`")]
    UnknownTlsParameter(String),
    #[error("is not valid UTF-8")]
    NotText,
}

impl From<dot_env::Unreadable> for UrlError {
    fn from(file: dot_env::Unreadable) -> UrlError {
        UrlError::DotEnv {
            path: file.path,
            reason: file.reason,
        }
    }
}

impl UrlError {
    pub fn exit(&self) -> Exit {
        match self {
            UrlError::Elsewhere { .. } | UrlError::OfPackage(_) => Exit::Refused,
            _ => Exit::Usage,
        }
    }

    pub fn next_step(&self) -> String {
        let fault = match self {
            UrlError::Elsewhere { found, .. } => {
                let url = shell_word(&format!("sqlite:{}", found.display()));
                return format!("usagectl --database-url {url} status");
            }
            UrlError::OfPackage(file) => {
                let directory = file.parent().unwrap_or(file).display().to_string();
                return format!(
                    "cd {}, then run the same command again; or give --database-url",
                    shell_word(&directory)
                );
            }
            UrlError::DotEnv { .. } => {
                return "correct the .env file, or give --database-url".to_owned();
            }
            UrlError::Invalid { fault, .. } => Some(fault),
            UrlError::NoHome => None,
        };
        let next = match fault {
            Some(UrlFault::Malformed(_)) => {
                "write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE, with special characters percent-encoded"
            }
            Some(UrlFault::UnknownTlsParameter(_)) => {
                "correct or remove that parameter: libpq's are sslmode, sslrootcert, sslcert, sslkey and others"
            }
            _ if self.is_of_proxy() => {
                "set DIRECT_URL to the URL of the server itself: postgresql://USER:PASSWORD@HOST:5432/DATABASE"
            }
            _ => "give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE",
        };
        next.to_owned()
    }

    /// Whether the URL is one of Prisma's proxies, which only its own client can use.
    fn is_of_proxy(&self) -> bool {
        match self {
            UrlError::Invalid {
                fault: UrlFault::UnknownScheme(scheme),
                ..
            } => scheme == "prisma" || scheme == "prisma+postgres",
            _ => false,
        }
    }
}

/// Finds the URL: the flag, else the environment, else the nearest `.env` upward, else the nearest one beside
/// schema.prisma, else the default file.
///
/// With `prefer_direct`, `DIRECT_URL` (Prisma's name for the URL that bypasses a pooler) precedes
/// `DATABASE_URL` of the same source. An invalid URL is an error; no other source replaces it, but `DIRECT_URL` the URL of
/// one of Prisma's proxies.
pub fn find(flag: Option<&str>, prefer_direct: bool) -> Result<DatabaseUrl, UrlError> {
    if let Some(url) = flag {
        return parse_in(url, UrlSource::Flag, Path::new(""));
    }
    let names: &[&'static str] = if prefer_direct {
        &["DIRECT_URL", "DATABASE_URL"]
    } else {
        &["DATABASE_URL"]
    };
    let found = find_named(names);
    if !found.as_ref().is_err_and(UrlError::is_of_proxy) {
        return found;
    }
    match find_named(&["DIRECT_URL"]) {
        Ok(direct) if direct.source == UrlSource::Default => found,
        direct => direct,
    }
}

/// The URL of the first of these variables.
fn find_named(names: &[&'static str]) -> Result<DatabaseUrl, UrlError> {
    let working_directory = Path::new("");
    for name in names {
        match env::var(name) {
            Ok(url) => return parse_in(&url, UrlSource::Environment(name), working_directory),
            Err(VarError::NotPresent) => {}
            Err(VarError::NotUnicode(_)) => {
                return Err(invalid(&UrlSource::Environment(name), UrlFault::NotText));
            }
        }
    }
    type Place = fn(&Path) -> PathBuf;
    for place in [Path::to_owned as Place, prisma_path::schema_directory] {
        let Some(DotEnv { path, variables }) = dot_env::read_in(names, place)? else {
            continue;
        };
        for name in names {
            if let Some((_, url)) = variables.iter().find(|(key, _)| key == name) {
                // A path is relative to the file, not to the working directory.
                let directory = path.parent().unwrap_or(working_directory).to_owned();
                return parse_in(url, UrlSource::DotEnv(name, path), &directory);
            }
        }
    }
    let path = default_path()?;
    if !path.exists()
        && let Some(file) = url_of_a_package(names)
    {
        return Err(UrlError::OfPackage(file));
    }
    Ok(DatabaseUrl {
        source: UrlSource::Default,
        target: DatabaseTarget::Sqlite(path),
        is_prismas_file: false,
        notes: Vec::new(),
        application: APPLICATION.to_owned(),
    })
}

/// The first `.env` of another package of the repository that has a URL.
fn url_of_a_package(names: &[&str]) -> Option<PathBuf> {
    let packages = prisma_path::packages(&env::current_dir().ok()?).into_iter();
    let files = packages.flat_map(|it| [it.clone(), prisma_path::schema_directory(&it)]);
    let mut read = files.filter_map(|it| dot_env::read_file(it.join(".env"), names).ok());
    Some(read.find(|file| !file.variables.is_empty())?.path)
}

/// Parses a URL; a relative path is resolved from `base`.
fn parse_in(url: &str, source: UrlSource, base: &Path) -> Result<DatabaseUrl, UrlError> {
    let mut found = parse(url, source)?;
    if let DatabaseTarget::Sqlite(path) = &mut found.target {
        // The URL may be given in any directory of the project.
        let start = match found.source {
            UrlSource::Environment(_) | UrlSource::Flag => env::current_dir().ok(),
            _ => None,
        };
        *path = match found.is_prismas_file {
            true => match prisma_path::resolve(base, start.as_deref(), path) {
                PrismaPath::At(file) => file,
                PrismaPath::Elsewhere { expected, found } => {
                    return Err(UrlError::Elsewhere { expected, found });
                }
            },
            false => base.join(&path),
        };
    }
    Ok(found)
}

fn default_path() -> Result<PathBuf, UrlError> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data_home = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or(UrlError::NoHome)?;
    Ok(data_home.join("usagectl").join("usagectl.db"))
}

pub fn parse(url: &str, source: UrlSource) -> Result<DatabaseUrl, UrlError> {
    let (url, quoted) = unquoted(url);
    let (target, mut notes) = parse_target(url).map_err(|fault| invalid(&source, fault))?;
    if quoted {
        notes.push(format!("ignored the quotes around {source}"));
    }
    Ok(DatabaseUrl {
        source,
        target,
        is_prismas_file: url
            .get(..5)
            .is_some_and(|it| it.eq_ignore_ascii_case("file:")),
        notes,
        application: APPLICATION.to_owned(),
    })
}

fn invalid(source: &UrlSource, fault: UrlFault) -> UrlError {
    let source_name = source.to_string();
    UrlError::Invalid { source_name, fault }
}

/// The database, and a note for each dropped or translated parameter.
type Parsed = Result<(DatabaseTarget, Vec<String>), UrlFault>;

fn parse_target(url: &str) -> Parsed {
    if url.is_empty() {
        return Err(UrlFault::Empty);
    }
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Err(UrlFault::NoScheme);
    };
    match scheme.to_ascii_lowercase().as_str() {
        "sqlite" | "file" => {
            let is_memory = split_parameters(rest).1.any(|it| it == ("mode", "memory"));
            let (path, parameters) = split_parameters(rest);
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(":memory:") || is_memory {
                return Err(UrlFault::NoFile);
            }
            let ignored = |(name, _)| format!("ignored `{name}`: not supported for SQLite");
            let target = DatabaseTarget::Sqlite(path.into());
            Ok((target, parameters.map(ignored).collect()))
        }
        "postgres" | "postgresql" => parse_postgres(rest),
        _ => Err(UrlFault::UnknownScheme(scheme.to_owned())),
    }
}

/// The URL without white space and quotes around it, and whether there were quotes: `docker --env-file` keeps those of
/// the file.
fn unquoted(url: &str) -> (&str, bool) {
    let url = url.trim();
    let inner = |quote: char| url.strip_prefix(quote)?.strip_suffix(quote);
    match inner('"').or_else(|| inner('\'')) {
        Some(inner) => (inner.trim(), true),
        None => (url, false),
    }
}

/// RFC 3986: a letter, then letters, digits, `+`, `-`, `.`.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn split_parameters(text: &str) -> (&str, impl Iterator<Item = (&str, &str)>) {
    let (before, query) = text.split_once('?').unwrap_or((text, ""));
    let parameters = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    (before, parameters)
}

type Parameters = Vec<(String, String)>;

/// The parameters that the bundled libpq 18 accepts (`PQconninfoOptions` in fe-connect.c). It refuses a URL with
/// another one, as the URLs of hosting platforms and of other drivers have: `supa`, `uselibpqcompat`,
/// `statement_timeout`.
const LIBPQ_PARAMETERS: &str = "
    application_name channel_binding client_encoding connect_timeout dbname
    fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives
    keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
    oauth_scope options passfile password port replication require_auth requirepeer
    scram_client_key scram_server_key service ssl_max_protocol_version ssl_min_protocol_version
    sslcertmode sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation
    sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout user";

fn parse_postgres(rest: &str) -> Parsed {
    let malformed = UrlFault::Malformed;
    let (base, parameters) = split_parameters(rest);
    let Some(address) = base.strip_prefix("//") else {
        return Err(malformed("`//` is missing after the scheme"));
    };
    check_address(address).map_err(malformed)?;

    let mut kept: Parameters = Vec::new();
    let mut notes = Vec::new();
    let mut application_schema = None;
    let mut strict = false;
    let mut server_certificate = None;
    let mut requires_tls = false;
    for (name, value) in parameters {
        let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
        match name {
            "schema" if decoded.is_empty() => return Err(malformed("`schema` is empty")),
            "schema" => application_schema = Some(decoded),
            "connection_limit" | "pool_timeout" | "socket_timeout" | "statement_cache_size" => {
                notes.push(format!("ignored Prisma's `{name}`: usagectl uses one connection"));
            }
            "pgbouncer" => notes.push(
                "ignored Prisma's `pgbouncer`: `migrate` and `rollback` require a direct connection, set DIRECT_URL"
                    .to_owned(),
            ),
            "sslaccept" => strict = decoded == "strict",
            "sslidentity" => notes.push(
                "ignored Prisma's `sslidentity`: libpq reads PEM files, give `sslcert` and `sslkey`".to_owned(),
            ),
            "sslcert" => server_certificate = Some(decoded),
            // Of other drivers; libpq has no such mode.
            "sslmode" if decoded == "no-verify" => {
                notes.push("read `sslmode=no-verify` as `sslmode=require`".to_owned());
                kept.push((name.to_owned(), "require".to_owned()));
            }
            "ssl" if ["true", "1"].contains(&decoded.as_str()) => requires_tls = true,
            _ if LIBPQ_PARAMETERS.split_whitespace().any(|it| it == name) => kept.push((name.to_owned(), decoded)),
            // A misspelled `sslmode` must not switch encryption off.
            _ if name.starts_with("ssl") && name != "ssl" => {
                return Err(UrlFault::UnknownTlsParameter(name.to_owned()));
            }
            _ => notes.push(format!("ignored `{name}`: not a parameter of libpq")),
        }
    }
    let has = |kept: &Parameters, name: &str| kept.iter().any(|(key, _)| key == name);
    if let Some(file) = server_certificate {
        // To libpq `sslcert` is the client's certificate, used with a key; to Prisma it is the server's CA.
        if has(&kept, "sslkey") {
            kept.push(("sslcert".to_owned(), file));
        } else {
            notes.push("read Prisma's `sslcert` as `sslrootcert`".to_owned());
            kept.push(("sslrootcert".to_owned(), file));
        }
    }
    if strict {
        kept.retain(|(name, _)| name != "sslmode");
        kept.push(("sslmode".to_owned(), "verify-full".to_owned()));
        notes.push("read Prisma's `sslaccept=strict` as `sslmode=verify-full`".to_owned());
    }
    if requires_tls && !has(&kept, "sslmode") {
        kept.push(("sslmode".to_owned(), "require".to_owned()));
        notes.push("read `ssl` as `sslmode=require`".to_owned());
    }
    notes.extend(use_system_certificates(&mut kept));
    // libpq's default is to wait indefinitely.
    if !has(&kept, "connect_timeout") {
        kept.push(("connect_timeout".to_owned(), "10".to_owned()));
    }
    let query: Vec<String> = kept
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    let connection_string = format!("postgresql://{address}?{}", query.join("&"));
    let target = PostgresTarget {
        connection_string,
        names_schema: application_schema.is_some(),
        application_schema: application_schema.unwrap_or_else(|| "public".to_owned()),
    };
    Ok((DatabaseTarget::Postgres(target), notes))
}

/// Refuses URLs that libpq would misread and quote in its message: it takes part of a password with an
/// unencoded `/`, `?` or `@` for a host or a port.
fn check_address(address: &str) -> Result<(), &'static str> {
    if !is_percent_encoded(address) {
        return Err("a `%` is not followed by two hexadecimal digits; write it as %25");
    }
    let authority = address.split('/').next().unwrap_or_default();
    if address.matches('@').count() > 1 || address[authority.len()..].contains('@') {
        return Err(
            "the user or the password holds an `@` or `/`; percent-encode its special characters",
        );
    }
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    for host in hosts.split(',') {
        // An IPv6 address keeps its colons in brackets.
        let after_brackets = host.rsplit_once(']').map_or(host, |(_, after)| after);
        if let Some((_, port)) = after_brackets.split_once(':')
            && !port.is_empty()
            && port.parse::<u16>().is_err()
        {
            return Err(
                "the port is not a number; if the password has special characters, percent-encode them",
            );
        }
    }
    Ok(())
}

/// Whether every `%` is followed by two hexadecimal digits other than 00, which libpq refuses.
fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let code = after.get(..2).unwrap_or_default();
        code.len() == 2 && code.bytes().all(|b| b.is_ascii_hexdigit()) && code != "00"
    })
}

/// Names the system's certificate bundle: the bundled OpenSSL looks in a directory that does not exist. Returns a note if
/// this changes the given mode.
fn use_system_certificates(parameters: &mut Parameters) -> Option<String> {
    let value = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone())
    };
    let mode = value("sslmode").or_else(|| env::var("PGSSLMODE").ok());
    let roots = value("sslrootcert").or_else(|| env::var("PGSSLROOTCERT").ok());
    let verifies = mode
        .as_ref()
        .is_some_and(|mode| mode.starts_with("verify-"));
    let own_roots = env::var_os("HOME").map(|home| Path::new(&home).join(".postgresql/root.crt"));
    let use_bundle = match roots.as_deref() {
        Some("system") => true,
        Some(_) => false,
        None => verifies && !own_roots.is_some_and(|path| path.exists()),
    };
    if !use_bundle {
        return None;
    }
    let bundle = openssl_probe::probe().cert_file?;
    // libpq's own `sslrootcert=system` implies verify-full.
    const STRICT: &str = "verify-full";
    let note = mode.as_ref().filter(|_| !verifies).map(|mode| {
        format!("read `sslmode={mode}` with `sslrootcert=system` as `sslmode={STRICT}`")
    });
    let mode = mode.filter(|_| verifies);
    let mode = mode.unwrap_or_else(|| STRICT.to_owned());
    parameters.retain(|(name, _)| name != "sslrootcert" && name != "sslmode");
    parameters.push(("sslmode".to_owned(), mode));
    parameters.push(("sslrootcert".to_owned(), bundle.display().to_string()));
    note
}

/// The passwords in a URL, encoded and decoded.
fn secrets(url: &str) -> Vec<String> {
    let (address, parameters) = split_parameters(url);
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let user_and_password = authority.rsplit_once('@').map(|(before, _)| before);
    let password = user_and_password.and_then(|text| text.split_once(':'));
    let named = parameters.filter(|(name, _)| name.ends_with("password"));
    password
        .into_iter()
        .chain(named)
        .flat_map(|(_, secret)| {
            let decoded = percent_decode_str(secret).decode_utf8_lossy().into_owned();
            [secret.to_owned(), decoded]
        })
        .collect()
}

/// A name as the value of a parameter of a URL.
pub(super) fn encoded(name: &str) -> impl std::fmt::Display {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');
    utf8_percent_encode(name, ENCODED)
}

/// The URL with its password replaced by `***`, and only the parameters that identify the database.
pub fn mask(url: &str) -> String {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let masked = address.split_once("://").and_then(|(scheme, rest)| {
        let (credentials, host) = rest.rsplit_once('@')?;
        let (user, _) = credentials.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    let mut masked = masked.unwrap_or_else(|| address.to_owned());
    let shown: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            ["host=", "port=", "dbname=", "user=", "schema="]
                .iter()
                .any(|name| pair.starts_with(name))
        })
        .collect();
    if !shown.is_empty() {
        masked.push('?');
        masked.push_str(&shown.join("&"));
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    fn target(url: &str) -> DatabaseTarget {
        parse(url, UrlSource::Flag).unwrap().target
    }

    fn postgres(url: &str) -> (PostgresTarget, Vec<String>) {
        let found = parse(url, UrlSource::Flag).unwrap();
        match found.target {
            DatabaseTarget::Postgres(target) => (target, found.notes),
            DatabaseTarget::Sqlite(path) => panic!("{} is not PostgreSQL", path.display()),
        }
    }

    #[test]
    fn all_sqlite_schemes_name_the_same_file() {
        let sqlite = |path: &str| DatabaseTarget::Sqlite(path.into());
        let urls = "sqlite:a/b.db sqlite://a/b.db file:a/b.db SQLITE:a/b.db file:a/b.db?connection_limit=1";
        for url in urls.split(' ') {
            assert_eq!(target(url), sqlite("a/b.db"), "{url}");
        }
        assert_eq!(target("sqlite:///tmp/x.db"), sqlite("/tmp/x.db"));
        assert_eq!(target("file:./dev.db"), sqlite("./dev.db"));
    }

    #[test]
    fn unknown_scheme_is_refused() {
        let table = "
            usage.db | has no scheme: expected sqlite:, file:, postgres: or postgresql:
            postgress://h/d | has the unknown scheme `postgress`: expected sqlite, file, postgres or postgresql
            mysql://u:secret@h/d | has the unknown scheme `mysql`: expected sqlite, file, postgres or postgresql
            | is set but empty
            sqlite: | does not name a SQLite file
            sqlite::memory: | does not name a SQLite file
            file:x?cache=shared&mode=memory | does not name a SQLite file
            postgres:h/d | is not a valid PostgreSQL URL: `//` is missing after the scheme
            postgres://h/d?sslmod=require | has the unknown TLS parameter `sslmod`";
        for [url, message] in cases(table) {
            let refused = parse(url, UrlSource::Flag).unwrap_err().to_string();
            assert_eq!(refused, format!("--database-url {message}"));
        }
    }

    #[test]
    fn prisma_url_is_accepted() {
        let (target, notes) = postgres(
            "postgresql://app:pw@db:6543/shop?schema=portal&connection_limit=5&pool_timeout=0&pgbouncer=true&socket_timeout=3&statement_cache_size=0",
        );
        assert_eq!(target.application_schema, "portal");
        assert_eq!(notes.len(), 5);
        assert_eq!(
            target.connection_string(),
            "postgresql://app:pw@db:6543/shop?connect_timeout=10"
        );
    }

    #[test]
    fn prisma_certificate_parameters_are_translated() {
        let (target, _) =
            postgres("postgres://h/d?sslmode=require&sslaccept=strict&sslcert=/ca.pem");
        let text = target.connection_string();
        assert!(
            text.contains("sslmode=verify%2Dfull") && text.contains("sslrootcert=%2Fca%2Epem"),
            "{text}"
        );
        let (target, _) = postgres("postgres://h/d?sslcert=/me.pem&sslkey=/me.key");
        assert!(target.connection_string().contains("sslcert=%2Fme%2Epem"));
        let (_, notes) = postgres("postgres://h/d?sslidentity=me.p12");
        assert!(notes[0].contains("PEM"));
    }

    #[test]
    fn parameters_of_other_drivers_are_ignored_with_a_note() {
        let (target, notes) = postgres(
            "postgres://h/d?supa=base-pooler.x&workaround=supabase-pooler.vercel&uselibpqcompat=true&ssl=false\
             &statement_timeout=5000&max_idle_connection_lifetime=30&connect_timeout=2&application_name=a",
        );
        assert_eq!(
            target.connection_string(),
            "postgresql://h/d?connect_timeout=2&application_name=a"
        );
        let names =
            "supa workaround uselibpqcompat ssl statement_timeout max_idle_connection_lifetime";
        let note = |name| format!("ignored `{name}`: not a parameter of libpq");
        let expected: Vec<String> = names.split(' ').map(note).collect();
        assert_eq!(notes, expected);
    }

    #[test]
    fn tls_modes_of_other_drivers_require_tls() {
        let table = "
            postgres://h/d?sslmode=no-verify | read `sslmode=no-verify` as `sslmode=require`
            postgres://h/d?ssl=true | read `ssl` as `sslmode=require`";
        for [url, note] in cases(table) {
            let (target, notes) = postgres(url);
            assert!(target.connection_string().contains("sslmode=require&"));
            assert_eq!(notes, [note]);
        }
        let (target, _) = postgres("postgres://h/d?ssl=true&sslmode=verify-ca&sslrootcert=a");
        let text = target.connection_string();
        assert!(text.contains("sslmode=verify%2Dca") && !text.contains("require"));
    }

    #[test]
    fn quotes_around_the_url_are_ignored_with_a_note() {
        for url in ["\"file:a.db\"", "'file:a.db'", " \"file:a.db\"\n"] {
            let found = parse(url, UrlSource::Environment("DATABASE_URL")).unwrap();
            assert_eq!(found.target, DatabaseTarget::Sqlite("a.db".into()));
            assert_eq!(found.notes, ["ignored the quotes around DATABASE_URL"]);
        }
        assert!(parse("\"file:a.db", UrlSource::Flag).is_err());
    }

    #[test]
    fn libpq_parameters_are_kept() {
        let (target, notes) =
            postgres("postgres:///d?host=/run/postgresql&connect_timeout=2&application_name=cron");
        assert_eq!(
            target.connection_string(),
            "postgresql:///d?host=%2Frun%2Fpostgresql&connect_timeout=2&application_name=cron"
        );
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn password_is_masked() {
        for url in [
            "postgres://user:s3cret@host/db",
            "postgres://user:s3c%40ret@host:5432/db",
            "postgres://user@host/db?password=s3cret",
            "postgres://user:s3cret@a,b:5433/db?sslpassword=s3cret",
        ] {
            let shown = format!("{} {:?}", target(url), target(url));
            assert!(!shown.contains("s3c") && !shown.contains("ret@"), "{shown}");
        }
        assert_eq!(
            target("postgres://user:s3cret@host/db").to_string(),
            "postgresql://user:***@host/db"
        );
        assert_eq!(
            mask("postgresql://user:s3cret@host/db?sslpassword=s3cret&schema=app"),
            "postgresql://user:***@host/db?schema=app"
        );
    }

    #[test]
    fn unencoded_password_is_refused_without_quoting_it() {
        for url in [
            "postgres://user:s3/cret@host/db",
            "postgres://user:pa@s3@host/db",
            "postgres://user:s3cret",
            "postgres://u:a:s3@h:x/db",
            "postgres://u:s3%zz@h/db",
            "postgres://u:s3%00@h/db",
            "postgres://u:s3%@h/db",
        ] {
            let message = parse(url, UrlSource::Flag).unwrap_err().to_string();
            assert!(
                message.contains('%') || message.contains("percent-encode"),
                "{message}"
            );
            assert!(!message.contains("s3"), "{message}");
        }
    }

    #[test]
    fn url_quoted_by_libpq_is_masked() {
        let (target, _) = postgres("postgres://u:s3cr%65t@[/db?sslpassword=hidden");
        let message = format!(
            "no matching \"]\" in \"{}\", s3cr%65t, s3cret, hidden",
            target.connection_string()
        );
        let masked = target.without_secrets(&message);
        assert!(
            !masked.contains("s3cr") && !masked.contains("hidden"),
            "{masked}"
        );
        assert!(masked.contains("u:***@[/db"), "{masked}");
    }
}
