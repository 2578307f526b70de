//! The PostgreSQL server of this test run.
//!
//! `TEST_DATABASE_URL` may name one: an administrator's URL of a server with password authentication over
//! TCP. Otherwise a private server is started, once per process, by `postgres.sh`: a shell that holds the
//! other end of a pipe, so that the server stops when this process ends, even by `kill -9`.
//!
//! PostgreSQL is never skipped: without a server its tests fail and name the package to install.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};

/// The password in every URL that a test gives to the program, which must never print it.
pub const PASSWORD: &str = "s3cret-of-the-tests";

const WHAT_TO_INSTALL: &str = "\
PostgreSQL's server is needed: `tests/run.sh` installs it, or do it yourself \
(Debian, Ubuntu: `apt-get install postgresql`; Fedora: `dnf install postgresql-server`; \
macOS: `brew install postgresql`). Or set TEST_DATABASE_URL to an administrator's URL of a server.";

/// Speed instead of durability.
const SETTINGS: &str = "\
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
wal_level = minimal
max_wal_senders = 0
max_connections = 200
shared_buffers = 64MB
";

/// A server for test databases.
pub struct Server {
    admin_url: String,
    /// The URL of a test database before and after the database's name.
    test_url: (String, String),
    /// Whether the server stops with this process, so that templates need not be dropped.
    pub private: bool,
    /// Holds the pipe that keeps a private server alive.
    _keeper: Option<Child>,
}

pub struct Address {
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
}

/// The server, started on first use.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match env::var("TEST_DATABASE_URL") {
        Ok(url) => Server::given(&url),
        Err(_) => Server::start(SETTINGS),
    });
    server
        .as_ref()
        .unwrap_or_else(|problem| panic!("{problem}"))
}

impl Server {
    fn given(url: &str) -> Result<Server, String> {
        let (base, query) = split_url(url);
        let server = Server {
            admin_url: url.to_owned(),
            test_url: (format!("{base}/"), query),
            private: false,
            _keeper: None,
        };
        match PgConnection::establish(url) {
            Ok(_) => Ok(server),
            Err(error) => Err(format!("TEST_DATABASE_URL cannot be used: {error}")),
        }
    }

    fn start(settings: &str) -> Result<Server, String> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/suite/support/postgres.sh"
        );
        let mut command = Command::new("sh");
        command
            .arg(script)
            .env("SETTINGS", settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A process group of its own: Ctrl-C ends this process, and its end stops the server.
        command.process_group(0);
        let mut keeper = command
            .spawn()
            .map_err(|error| format!("cannot run {command:?}: {error}"))?;

        let mut line = String::new();
        let stdout = keeper.stdout.take().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        let Some(port) = line.split(' ').nth(1).filter(|_| read.is_ok()) else {
            let mut reason = String::new();
            let mut stderr = keeper.stderr.take().expect("stderr is piped");
            let _ = stderr.read_to_string(&mut reason);
            return Err(format!(
                "PostgreSQL does not start:\n{reason}\n{WHAT_TO_INSTALL}"
            ));
        };
        let server = Server {
            admin_url: format!("postgresql://postgres@127.0.0.1:{port}/postgres"),
            test_url: (
                format!("postgresql://app:{PASSWORD}@127.0.0.1:{port}/"),
                String::new(),
            ),
            private: true,
            _keeper: Some(keeper),
        };
        // Not a superuser: the program requires only the rights of a database's owner.
        server.administer(&[
            &format!("CREATE ROLE app LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'"),
            &format!("CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"),
        ]);
        Ok(server)
    }

    /// A server of one test, with a further line in its configuration.
    pub fn configured(line: &str) -> Server {
        Server::start(&format!("{SETTINGS}{line}\n")).unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Runs statements as the administrator, without a transaction.
    pub fn administer(&self, statements: &[&str]) {
        run_statements(&self.admin_url, statements);
    }

    /// As [`Server::administer`], in the database `name`.
    pub fn administer_in(&self, name: &str, statements: &[&str]) {
        let (base, query) = split_url(&self.admin_url);
        run_statements(&format!("{base}/{name}{query}"), statements);
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        let (before, after) = &self.test_url;
        format!("{before}{name}{after}")
    }

    /// The address and the user of the test databases.
    pub fn address(&self) -> Address {
        let (base, _) = &self.test_url;
        let (user, host) = base
            .trim_start_matches("postgresql://")
            .trim_end_matches('/')
            .rsplit_once('@')
            .unwrap_or(("postgres", base));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, "5432"));
        let [host, port, user, password] = [host, port, user, password].map(str::to_owned);
        Address {
            host,
            port,
            user,
            password,
        }
    }

    /// The URL of the database `name` with a wrong password.
    pub fn url_with_wrong_password(&self, name: &str) -> String {
        let url = self.url(name);
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let (user, host) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
        let user = match self.private {
            true => "guarded",
            false => user.split(':').next().unwrap_or_default(),
        };
        format!("{scheme}://{user}:{PASSWORD}-but-wrong@{host}")
    }

    /// Creates an empty database, or a copy of `template`, and returns its name.
    pub fn create_database(&self, template: Option<&str>) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("usagectl_test_{}_{count}", std::process::id());
        let owner = if self.private { "OWNER app" } else { "" };
        let template = template.map_or(String::new(), |name| format!("TEMPLATE {name}"));
        self.administer(&[
            &format!("CREATE DATABASE {name} {owner} {template}"),
            // Neither UTC nor ISO, so that a session that relies on the defaults fails.
            &format!("ALTER DATABASE {name} SET timezone TO 'Asia/Seoul'"),
            &format!("ALTER DATABASE {name} SET datestyle TO 'SQL, DMY'"),
        ]);
        name
    }

    /// Drops a database, even if sessions are connected.
    pub fn drop_database(&self, name: &str) {
        self.administer(&[&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")]);
    }
}

fn run_statements(url: &str, statements: &[&str]) {
    let mut connection = PgConnection::establish(url)
        .unwrap_or_else(|error| panic!("connecting as administrator: {error}"));
    for sql in statements {
        connection
            .batch_execute(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// The parts of a URL before and after the name of the database, without the `/` between.
fn split_url(url: &str) -> (&str, String) {
    let (address, query) = match url.split_once('?') {
        Some((address, query)) => (address, format!("?{query}")),
        None => (url, String::new()),
    };
    let slash = address.rfind('/').filter(|at| *at > "postgresql://".len());
    (slash.map_or(address, |at| &address[..at]), query)
}
