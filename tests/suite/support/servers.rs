//! Real servers of one test: Redis, Prometheus's node exporter and PgBouncer, as packaged by Debian.
//!
//! A shell holds the other end of a pipe, so that a server stops when this process ends, even by `kill -9`.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use rustix::process::getuid;

use super::postgres::{self, PASSWORD};

/// A server of one test, stopped after it.
pub struct Server {
    pub port: u16,
    keeper: Child,
    _directory: TempDir,
}

impl Server {
    /// A Redis with the password [`PASSWORD`].
    pub fn redis() -> Server {
        Server::start("redis-server", &["redis-server"], |port, directory| {
            format!(
                "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no \
                 --dir {directory} --requirepass {PASSWORD} --maxclients 321"
            )
        })
    }

    /// The node exporter with the collector for memory.
    pub fn node_exporter() -> Server {
        let programs = ["prometheus-node-exporter", "node_exporter"];
        Server::start("prometheus-node-exporter", &programs, |port, _| {
            format!(
                "$(command -v prometheus-node-exporter || command -v node_exporter) \
                 --web.listen-address=127.0.0.1:{port} --collector.disable-defaults --collector.meminfo"
            )
        })
    }

    /// PgBouncer in transaction mode: at most `pool_size` sessions of the test server for each database, and a wait
    /// of `wait_seconds` for one.
    pub fn pgbouncer(pool_size: usize, wait_seconds: u32) -> Server {
        Server::pgbouncer_in_mode("transaction", pool_size, wait_seconds)
    }

    pub fn pgbouncer_in_mode(mode: &str, pool_size: usize, wait_seconds: u32) -> Server {
        let to = postgres::server().address();
        let programs = ["pgbouncer", "/usr/sbin/pgbouncer"];
        Server::start("pgbouncer", &programs, |port, directory| {
            let config = format!(
                "[databases]\n* = host={} port={}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {directory}/users\npool_mode = {mode}\n\
                 default_pool_size = {pool_size}\nmax_client_conn = 200\nquery_wait_timeout = {wait_seconds}\n",
                to.host, to.port
            );
            let users = format!("\"{}\" \"{}\"\n", to.user, to.password);
            // It refuses to run as root.
            let readable = fs::Permissions::from_mode(0o755);
            fs::write(format!("{directory}/pgbouncer.ini"), config)
                .and_then(|()| fs::write(format!("{directory}/users"), users))
                .and_then(|()| fs::set_permissions(directory, readable))
                .expect("the temporary directory is writable");
            let user = if getuid().is_root() { "-u nobody" } else { "" };
            format!(
                "$(command -v pgbouncer || echo /usr/sbin/pgbouncer) -q {user} {directory}/pgbouncer.ini"
            )
        })
    }

    fn start(package: &str, programs: &[&str], command: impl Fn(u16, &str) -> String) -> Server {
        let is_here = |program: &&str| {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output();
            found.is_ok_and(|found| found.status.success())
        };
        assert!(
            programs.iter().any(is_here),
            "{package} is needed: `tests/run.sh` installs it, or do it yourself \
             (Debian, Ubuntu: `apt-get install {package}`)"
        );
        // Another process may take the port before it is used.
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("the temporary directory is writable");
            let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
            let port = listener.local_addr().expect("it is bound").port();
            drop(listener);
            let path = directory.path().display().to_string();
            let script = format!("{} & cat >/dev/null; kill $!", command(port, &path));
            let keeper = Command::new("sh")
                .args(["-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("there is a shell");
            let server = Server {
                port,
                keeper,
                _directory: directory,
            };
            if server.answers() {
                return server;
            }
        }
        panic!("{package} does not start");
    }

    fn answers(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
