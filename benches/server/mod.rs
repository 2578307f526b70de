//! A private PostgreSQL server for a benchmark.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The server runs as long as its keeper's standard input is open.
pub struct Server {
    pub port: String,
    _keeper: Child,
}

impl Server {
    /// `settings` are lines of postgresql.conf.
    pub fn start(settings: &str) -> Server {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/suite/support/postgres.sh"
        );
        let mut keeper = Command::new("sh")
            .arg(script)
            .env("SETTINGS", settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut ready = BufReader::new(keeper.stdout.take().unwrap());
        ready.read_line(&mut line).unwrap();
        let port = line.split(' ').nth(1).expect("PostgreSQL starts");
        Server {
            port: port.to_owned(),
            _keeper: keeper,
        }
    }

    /// The URL of the database `name`.
    pub fn url(&self, name: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.port)
    }
}
