//! `alluvia stop`: asks a running process to stop a stream, or to restart it.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::args::StopArgs;
use super::client::{Client, control_token};
use crate::model::{Error, Kind, Result};

/// How often a stream that was asked to stop is asked whether it has.
const POLL: Duration = Duration::from_millis(200);
/// How long a restarted stream must run that has neither a micro-batch nor an error.
const RUNS_AT_LEAST: Duration = Duration::from_secs(2);

/// Stops a stream and waits until it has.
///
/// # Errors
/// As for [`Client::post`]; `Config` if there is no such stream; `Unavailable` if it did not stop in time, or has failed again
/// after a restart.
pub(super) fn stop(args: &StopArgs) -> Result<()> {
    let token = control_token(args.control_token_file.as_deref())?;
    let client = Client::new("--control-url", &args.control_url, token)?;
    let before = client.get(&[&args.name])?;
    let action = if args.restart { "restart" } else { "stop" };
    client.post(&[&args.name, action])?;
    if args.no_wait {
        println!("{}: asked to {action}", args.name);
        return Ok(());
    }
    let until = Instant::now() + Duration::from_secs(args.timeout);
    let mut running: Option<Instant> = None;
    loop {
        let now = match client.get(&[&args.name]) {
            Ok(now) => now,
            // The process ends with the last of its streams.
            Err(error) if error.kind() == Kind::Unavailable && !args.restart => {
                println!("{}: stopped, and its process has ended", args.name);
                return Ok(());
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                return Err(error.context(format!("wait for stream {} after its restart", args.name)));
            }
            Err(error) => return Err(error),
        };
        let done = if !args.restart {
            now["isActive"] == false
        } else {
            match after_restart(&before, &now) {
                Restarted::NotYet => false,
                Restarted::Running => running.get_or_insert_with(Instant::now).elapsed() >= RUNS_AT_LEAST,
                Restarted::Works => true,
                Restarted::Failed(error) => {
                    let fact = format!("stream {} was restarted and has failed again: {error}", args.name);
                    return Err(Error::unavailable(fact));
                }
            }
        };
        if done {
            println!("{}: {}", args.name, now["state"].as_str().unwrap_or_default());
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(too_late(args, action, &now));
        }
        thread::sleep(POLL);
    }
}

/// What became of a restart so far.
#[derive(Debug, PartialEq, Eq)]
enum Restarted {
    /// It is still to come.
    NotYet,
    /// The stream is open, and has neither worked nor failed.
    Running,
    /// It has had a micro-batch, or found that there is no data, or has ended by itself.
    Works,
    /// It has an error that it had not before.
    Failed(String),
}

fn after_restart(before: &Value, now: &Value) -> Restarted {
    let state = now["state"].as_str().unwrap_or_default();
    let is_new_error = now["lastError"]["timestamp"] != before["lastError"]["timestamp"];
    if matches!(state, "failed" | "restarting") && is_new_error {
        return Restarted::Failed(now["lastError"]["message"].as_str().unwrap_or_default().to_owned());
    }
    if now["runId"] == before["runId"] {
        return Restarted::NotYet;
    }
    let has_batch = now["totals"]["batches"] != before["totals"]["batches"];
    let waits = now["status"]["message"] == "Waiting for data to arrive";
    match state {
        "finished" => Restarted::Works,
        "running" if has_batch || waits => Restarted::Works,
        "running" => Restarted::Running,
        _ => Restarted::NotYet,
    }
}

/// The error for a stream that was not done in time, with what it does instead.
fn too_late(args: &StopArgs, action: &str, now: &Value) -> Error {
    let mut fact = format!(
        "stream {} did not {action} within {} s; it is {}",
        args.name,
        args.timeout,
        now["state"].as_str().unwrap_or("in no known state")
    );
    if let Some(error) = now["lastError"]["message"].as_str() {
        fact.push_str(&format!("; its last error: {error}"));
    }
    Error::unavailable(fact)
        .hint("the stream finishes its micro-batch within shutdownTimeout; to wait longer, raise --timeout")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_restarted_stream_works_once_it_has_done_something_and_a_new_error_is_told() {
        let stream = |run: &str, state: &str, message: &str, batches: u64, error: Option<&str>| {
            let error = error.map(|at| json!({"timestamp": at, "message": "the topic is gone"}));
            json!({"runId": run, "state": state, "status": {"message": message}, "totals": {"batches": batches}, "lastError": error})
        };
        let waits = "Waiting for data to arrive";
        let before = stream("a", "running", waits, 3, Some("t1"));
        let after = |now: Value| after_restart(&before, &now);
        assert_eq!(after(stream("a", "running", waits, 3, Some("t1"))), Restarted::NotYet);
        assert_eq!(after(stream("a", "starting", "", 3, Some("t1"))), Restarted::NotYet);
        assert_eq!(after(stream("b", "running", "", 3, Some("t1"))), Restarted::Running);
        assert_eq!(after(stream("b", "running", waits, 3, Some("t1"))), Restarted::Works);
        assert_eq!(after(stream("b", "running", "", 4, Some("t1"))), Restarted::Works);
        assert_eq!(after(stream("b", "finished", "", 3, None)), Restarted::Works);
        let failed = Restarted::Failed("the topic is gone".into());
        assert_eq!(after(stream("a", "failed", "", 3, Some("t2"))), failed);
        assert_eq!(after(stream("b", "restarting", "", 3, Some("t2"))), failed);
    }

    #[test]
    fn who_waits_in_vain_is_told_the_state_and_the_last_error() {
        let args = StopArgs {
            name: "q".into(),
            restart: false,
            no_wait: false,
            timeout: 60,
            control_url: String::new(),
            control_token_file: None,
        };
        let now = json!({"state": "running", "lastError": {"message": "no broker answers"}});
        let error = too_late(&args, "stop", &now).to_string();
        let fact = "stream q did not stop within 60 s; it is running; its last error: no broker answers (";
        assert!(error.starts_with(fact), "{error}");
    }
}
