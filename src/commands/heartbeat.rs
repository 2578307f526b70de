//! Heartbeats: pings of a monitoring service when a command starts, succeeds and fails, by the convention of
//! healthchecks.io. The service notices a command that is no longer run.

use std::thread;
use std::time::Duration;

use crate::commands::prelude::*;
use crate::domain::nagios::NagiosStatus;
use crate::http::{Client, Limit, Policy, Request, Secret, Url};

/// The time limit of a ping.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Debug)]
pub(crate) struct HeartbeatArgs {
    /// Environment variable with the URL of a heartbeat monitor
    ///
    /// URL/start is requested at the start, URL after success and URL/EXITCODE after a failure, each for at most 5
    /// seconds. A warning or critical state is a success. A heartbeat that fails is a warning.
    #[arg(long, value_name = "VAR")]
    heartbeat_env: Option<String>,
}

/// Runs a command between two heartbeats, which never change its result.
pub(crate) fn with_heartbeat(
    context: &mut Context,
    args: &HeartbeatArgs,
    command: impl FnOnce(&mut Context) -> Result<Outcome>,
) -> Result<Outcome> {
    let Some(variable) = &args.heartbeat_env else {
        return command(context);
    };
    let url = match find_url(variable) {
        Ok(url) => url,
        Err(reason) => {
            warn(context, variable, &reason);
            return command(context);
        }
    };
    // In a thread, so that a slow service does not delay the command.
    let start = {
        let url = url.clone();
        thread::spawn(move || ping(&url, "/start"))
    };
    let result = command(context);
    if let Ok(Err(reason)) = start.join() {
        warn(context, variable, &reason);
    }
    let exit = match &result {
        Ok(outcome) => outcome.exit,
        Err(error) => error.exit(),
    };
    if let Err(reason) = ping(&url, &path(exit)) {
        warn(context, variable, &reason);
    }
    result
}

fn find_url(variable: &str) -> Result<Url, String> {
    let text = Secret::from_variable(variable).map_err(|error| error.to_string())?;
    Url::parse(text.expose()).map_err(|error| error.to_string())
}

/// The path of the ping for an exit code.
fn path(exit: Exit) -> String {
    match exit {
        Exit::Done | Exit::Warning | Exit::Critical => String::new(),
        Exit::Nagios(status) if status != NagiosStatus::Unknown => String::new(),
        exit => format!("/{}", exit.code()),
    }
}

fn ping(url: &Url, path: &str) -> Result<(), String> {
    let client = Client::new(Policy {
        // The request has no content, and monitors in a local network often have no certificate.
        insecure_http: true,
        connect: TIMEOUT,
        total: TIMEOUT,
        response: Limit::Beginning(0),
    });
    let url = match path {
        "" => url.clone(),
        path => url.join(path).map_err(|error| error.to_string())?,
    };
    let response = client.send(Request::get(url.clone()));
    let response = response.map_err(|error| error.to_string())?;
    match response.is_success() {
        true => Ok(()),
        false => Err(format!("{url} answered {}", response.status)),
    }
}

fn warn(context: &mut Context, variable: &str, reason: &str) {
    let (variable, reason) = (printable(variable), printable(reason));
    context.warn(format_args!(
        "the heartbeat of ${variable} failed: {reason}"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_success_and_failure_has_its_code() {
        let paths = [Exit::Done, Exit::Warning, Exit::Critical].map(path);
        assert_eq!(paths, ["", "", ""]);
        let paths = [Exit::Failed, Exit::Busy, Exit::Unknown].map(path);
        assert_eq!(paths, ["/1", "/6", "/12"]);
        let nagios = |status| path(Exit::Nagios(status));
        let paths = [
            NagiosStatus::Ok,
            NagiosStatus::Critical,
            NagiosStatus::Unknown,
        ]
        .map(nagios);
        assert_eq!(paths, ["", "", "/3"]);
    }
}
