//! `alluvia stop`: asks a running process to stop a stream, or to restart it.

use std::thread;
use std::time::{Duration, Instant};

use super::args::StopArgs;
use super::client::{Client, control_token};
use crate::model::{Error, Kind, Result};

/// How often a stream that was asked to stop is asked whether it has.
const POLL: Duration = Duration::from_millis(200);

/// Stops a stream and waits until it has.
///
/// # Errors
/// As for [`Client::post`]; `Config` if there is no such stream; `Unavailable` if it did not stop in time.
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
    loop {
        let now = match client.get(&[&args.name]) {
            Ok(now) => now,
            // The process ends with the last of its streams.
            Err(error) if error.kind() == Kind::Unavailable && !args.restart => {
                println!("{}: stopped, and its process has ended", args.name);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let restarted = now["runId"] != before["runId"] && now["state"] == "running";
        if if args.restart { restarted } else { now["isActive"] == false } {
            println!("{}: {}", args.name, now["state"].as_str().unwrap_or_default());
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::unavailable(format!(
                "stream {} did not {action} within {} s",
                args.name, args.timeout
            ))
            .hint(
                "the stream finishes its micro-batch within shutdownTimeout; to wait longer, raise --timeout",
            ));
        }
        thread::sleep(POLL);
    }
}
