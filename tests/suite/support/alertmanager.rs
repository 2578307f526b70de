//! A real Alertmanager, for one test. Where it is not installed, its tests fail with an installation hint;
//! they are never skipped.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use usagectl::http::{Client, Policy, Request, Url};

use super::http::{HttpServer, Received, Reply};

const WHAT_TO_INSTALL: &str = "\
Alertmanager is needed: `tests/run.sh` installs it, or do it yourself \
(Debian, Ubuntu: `apt-get install --no-install-recommends prometheus-alertmanager`; elsewhere put \
`alertmanager` on the PATH).";

/// The timeout of each wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, and the receiver of its notifications.
pub struct Alertmanager {
    pub url: String,
    receiver: HttpServer,
    _keeper: Keeper,
}

/// Holds the pipe that keeps the server alive.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Alertmanager {
    /// Starts it on a free port.
    pub fn start() -> Alertmanager {
        let receiver = HttpServer::answering(|_| Reply::ok(""));
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").expect("this machine has a free port");
            let port = free.local_addr().expect("it is bound").port();
            drop(free);
            if let Some(server) = Alertmanager::start_on(port, &receiver) {
                return Alertmanager {
                    url: format!("http://127.0.0.1:{port}"),
                    receiver,
                    _keeper: server,
                };
            }
        }
        panic!("Alertmanager does not start.\n{WHAT_TO_INSTALL}");
    }

    fn start_on(port: u16, receiver: &HttpServer) -> Option<Keeper> {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/suite/support/alertmanager.sh"
        );
        let mut command = Command::new("sh");
        command.args([script, &port.to_string(), &receiver.url("/")]);
        // A process group of its own: Ctrl-C in the terminal ends us, and our end ends the server.
        command.stdin(Stdio::piped()).process_group(0);
        let mut keeper = Keeper(command.spawn().expect("there is a shell"));
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if get(&ready).is_some() {
                return Some(keeper);
            }
            let ended = keeper.0.try_wait().expect("it is a child");
            assert!(ended.is_none(), "{WHAT_TO_INSTALL}");
            thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// The alerts that it holds, including resolved ones that have not expired.
    pub fn alerts(&self) -> Vec<Value> {
        let alerts = get(&format!("{}/api/v2/alerts", self.url)).expect("it answers");
        let alerts: Value = serde_json::from_slice(&alerts).expect("it answers in JSON");
        alerts.as_array().expect("a list").clone()
    }

    /// Its notifications, such as `firing warning`, once there are at least `count`.
    pub fn sent(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        while self.receiver.received().len() < count && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
        }
        let received = self.receiver.received();
        received.iter().map(in_short).collect()
    }
}

fn in_short(received: &Received) -> String {
    let json = received.json();
    let alert = &json["alerts"][0];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    format!(
        "{} {}",
        text(&alert["status"]),
        text(&alert["labels"]["severity"])
    )
}

fn get(url: &str) -> Option<Vec<u8>> {
    let url = Url::parse(url).expect("a URL");
    let answer = Client::new(Policy::default())
        .send(Request::get(url))
        .ok()?;
    answer.is_success().then_some(answer.body)
}
