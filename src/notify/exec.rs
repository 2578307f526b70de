//! Programs: the notice as JSON on standard input, its main fields in the environment, the exit code as the answer.
//!
//! The program runs without a shell and with a minimal environment. On timeout its process group is killed.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::Failure;
use crate::domain::alert::channel::Exec;
use crate::domain::alert::notice::Content;
use crate::http::Secret;

/// The variables that every program gets; the channel names all others.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];

/// The part of standard error that is kept, in bytes. The rest is read and discarded, so that the program never
/// blocks.
const STDERR_LIMIT: usize = 4096;

/// How long to wait for the end of standard error after the program ended: a child may keep it open.
const STDERR_WAIT: Duration = Duration::from_millis(200);

pub(super) fn run(exec: &Exec, content: &Content) -> Result<(), Failure> {
    let json = serde_json::to_vec(content).map_err(Failure::of_notice)?;
    let (program, arguments) = exec
        .command
        .split_first()
        .ok_or_else(|| Failure::of_channel("it has no command"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(variables(content))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for name in &exec.pass_env {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        } else if let Ok(secret) = Secret::from_variable(name) {
            command.env(name, secret.expose());
        }
    }
    let mut child = command
        .spawn()
        .map_err(|error| Failure::of_channel(format!("cannot run {program}: {error}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // In a thread, since the program may not read it. A closed pipe is not a failure.
        thread::spawn(move || stdin.write_all(&json));
    }
    let stderr = read_stderr(&mut child);
    let limit = Duration::from_millis(exec.timeout_ms);
    let ended = wait(&mut child, limit).map_err(Failure::of_channel)?;
    let Some(status) = ended else {
        let seconds = limit.as_secs_f64();
        return Err(Failure::of_channel(format!(
            "{program} did not end within {seconds} s"
        )));
    };
    if status.success() {
        return Ok(());
    }
    let stderr = stderr.recv_timeout(STDERR_WAIT).unwrap_or_default();
    let line = stderr.trim().lines().next_back().unwrap_or_default();
    Err(Failure {
        detail: (!line.is_empty()).then(|| line.chars().take(200).collect()),
        ..Failure::of_notice(format!("{program} {}", ending(status)))
    })
}

/// The fields of a notice that a script uses. An unknown number is empty.
fn variables(content: &Content) -> [(&'static str, String); 8] {
    let number = |number: Option<f64>| number.map_or(String::new(), |it| it.to_string());
    // A variable cannot contain NUL, which the name of an API may.
    let text = |text: &str| text.replace('\0', "");
    [
        ("USAGECTL_NOTICE_KEY", content.key.clone()),
        ("USAGECTL_NOTICE_KIND", content.kind.to_string()),
        ("USAGECTL_NOTICE_EPISODE", content.episode.clone()),
        ("USAGECTL_NOTICE_API", text(&content.alert.api_name)),
        ("USAGECTL_NOTICE_SEVERITY", content.severity.to_string()),
        ("USAGECTL_NOTICE_VALUE", number(content.observed.value)),
        (
            "USAGECTL_NOTICE_THRESHOLD",
            number(content.observed.threshold),
        ),
        ("USAGECTL_NOTICE_SUMMARY", text(&content.summary)),
    ]
}

/// Reads standard error to the end and sends its beginning.
fn read_stderr(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(mut stderr) = child.stderr.take() {
        thread::spawn(move || {
            let mut kept = Vec::new();
            let mut buffer = [0; STDERR_LIMIT];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                let room = STDERR_LIMIT - kept.len();
                kept.extend_from_slice(&buffer[..read.min(room)]);
            }
            let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
        });
    }
    receiver
}

/// Waits for the end of the program, or kills its process group after `limit` and returns `None`.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    const POLL: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            // Not waited for yet, so the process id is not reused.
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended in {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::notice::{NoticeKind, sample};

    fn sh(script: &str) -> Exec {
        Exec {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            pass_env: Vec::new(),
            timeout_ms: 5_000,
        }
    }

    fn run_script(script: &str) -> Result<(), Failure> {
        run(&sh(script), &sample(NoticeKind::Firing))
    }

    #[test]
    fn program_gets_notice_and_minimal_environment() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let script = format!("cat >'{}'; env >'{}'", file("in"), file("env"));
        run_script(&script).unwrap();
        let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
        let content: Content = serde_json::from_str(&read("in")).unwrap();
        assert_eq!(content, sample(NoticeKind::Firing));
        let env = read("env");
        let mut own: Vec<&str> = env
            .lines()
            .filter(|it| it.starts_with("USAGECTL"))
            .collect();
        own.sort_unstable();
        let expected = [
            "API=finnhub",
            "EPISODE=019c0000",
            "KEY=019c1234",
            "KIND=FIRING",
            "SEVERITY=WARNING",
            "SUMMARY=finnhub uses 91.7% of its limit of 60 calls a minute",
            "THRESHOLD=80",
            "VALUE=91.7",
        ];
        assert_eq!(own, expected.map(|it| format!("USAGECTL_NOTICE_{it}")));
        assert!(!read("env").contains("CARGO"), "{}", read("env"));
    }

    #[test]
    fn exit_code_is_the_result_and_stderr_is_detail() {
        run_script("exec <&-; exit 0").unwrap();
        let failure = run_script("echo no >&2; echo mail is down >&2; exit 3").unwrap_err();
        assert_eq!(failure.reason, "/bin/sh ended in 3");
        assert_eq!(failure.detail.as_deref(), Some("mail is down"));
        assert_eq!(
            run_script("kill -9 $$").unwrap_err().reason,
            "/bin/sh was ended by signal 9"
        );
        let missing = Exec {
            command: vec!["/no/such/program".to_owned()],
            ..sh("")
        };
        let failure = run(&missing, &sample(NoticeKind::Firing)).unwrap_err();
        assert!(failure.channel_is_down && failure.reason.contains("/no/such/program"));
    }

    #[test]
    fn large_output_does_not_block() {
        run_script("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2").unwrap();
    }

    #[test]
    fn timeout_kills_the_process_group() {
        let begun = Instant::now();
        let hasty = Exec {
            timeout_ms: 300,
            ..sh("sleep 60")
        };
        let failure = run(&hasty, &sample(NoticeKind::Firing)).unwrap_err();
        assert_eq!(failure.reason, "/bin/sh did not end within 0.3 s");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & echo started; sleep 60"]);
        let mut child = command
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 8]).unwrap();
        assert_eq!(wait(&mut child, Duration::ZERO).unwrap(), None);
        // Ends when no process of the group has it open.
        stdout.read_to_end(&mut Vec::new()).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn background_process_is_not_waited_for() {
        let begun = Instant::now();
        run_script("sleep 30 & exit 0").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
