//! `alluvia progress`: the newest micro-batches of a stream of a running process, once or as they come.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::args::{OutputFormat, ProgressArgs};
use super::client::Client;
use crate::model::numbers::grouped;
use crate::model::{Error, Result};

/// How often a watched stream is asked for new micro-batches.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// Shows the progress of a stream.
///
/// # Errors
/// As for [`Client::get`]; `Config` if it is not clear which stream is meant; `Data` if a watched stream has failed.
pub(super) fn progress(args: &ProgressArgs) -> Result<()> {
    let client = Client::new("--url", &args.client.url, None)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => only_stream(&client)?,
    };
    if args.watch {
        return watch(&client, &name, args.output.output);
    }
    let recent = client.get(&[&name, "recent-progress"])?;
    let recent = recent.as_array().map_or(&[] as &[Value], Vec::as_slice);
    let shown = if args.recent { recent } else { &recent[recent.len().saturating_sub(1)..] };
    for progress in shown {
        match args.output.output {
            OutputFormat::Json => println!("{progress}"),
            OutputFormat::Text => println!("{}", line(progress)),
        }
    }
    if shown.is_empty() && args.output.output == OutputFormat::Text {
        println!("{name}: no micro-batch yet");
    }
    Ok(())
}

/// The only stream of the process.
fn only_stream(client: &Client) -> Result<String> {
    let streams = client.get(&[])?;
    let names: Vec<&str> =
        streams.as_array().into_iter().flatten().filter_map(|stream| stream["name"].as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Error::config("the process has no stream")),
        _ => Err(Error::config("the process has several streams")
            .hint(format!("choose one of {}", names.join(", ")))),
    }
}

/// Prints every micro-batch from the newest on, until the stream has ended.
fn watch(client: &Client, name: &str, output: OutputFormat) -> Result<()> {
    let mut seen: Option<String> = None;
    loop {
        // Asked before the progress: what the stream did last must not be missed.
        let stream = client.get(&[name])?;
        let recent = client.get(&[name, "recent-progress"])?;
        let recent = recent.as_array().map_or(&[] as &[Value], Vec::as_slice);
        for progress in unseen(recent, seen.as_deref()) {
            match output {
                OutputFormat::Json => println!("{progress}"),
                OutputFormat::Text => println!("{}", line(progress)),
            }
        }
        seen = recent.last().map(identity).or(seen);
        if stream["isActive"] == false {
            let error = stream["lastError"]["message"].as_str().filter(|_| stream["state"] == "failed");
            return match error {
                Some(error) => Err(Error::data(format!("stream {name} has failed: {error}"))),
                None => Ok(()),
            };
        }
        thread::sleep(WATCH_EVERY);
    }
}

fn identity(progress: &Value) -> String {
    format!("{} {} {}", progress["runId"], progress["batchId"], progress["timestamp"])
}

/// What came after `seen`; of the first look only the newest.
fn unseen<'a>(recent: &'a [Value], seen: Option<&str>) -> &'a [Value] {
    let from = match seen {
        None => recent.len().saturating_sub(1),
        Some(seen) => recent.iter().rposition(|progress| identity(progress) == seen).map_or(0, |at| at + 1),
    };
    &recent[from..]
}

fn line(progress: &Value) -> String {
    let number = |value: &Value| grouped(value.as_f64().unwrap_or(0.0).max(0.0).round() as u64);
    let operators = progress["stateOperators"].as_array();
    let late: u64 =
        operators.into_iter().flatten().filter_map(|one| one["numRowsDroppedByWatermark"].as_u64()).sum();
    let late = if late > 0 { format!("  late rows {}", grouped(late)) } else { String::new() };
    format!(
        "{}  batch {}  {} records  {} records/s  {} ms  lag {}  dead letters {}{late}",
        progress["timestamp"].as_str().unwrap_or_default(),
        progress["batchId"],
        number(&progress["numInputRows"]),
        number(&progress["processedRowsPerSecond"]),
        number(&progress["batchDuration"]),
        number(&progress["alluvia"]["lag"]),
        number(&progress["alluvia"]["deadLetters"]),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watch_shows_the_newest_batch_and_then_each_once() {
        let batch = |id: i64| json!({"runId": "r", "batchId": id, "timestamp": "t"});
        let recent: Vec<Value> = (0..4).map(batch).collect();
        assert_eq!(unseen(&recent, None), &recent[3..]);
        assert_eq!(unseen(&recent, Some(&identity(&recent[1]))), &recent[2..]);
        assert!(unseen(&recent, Some(&identity(&recent[3]))).is_empty());
        assert_eq!(unseen(&recent, Some("forgotten by now")), recent.as_slice());
        assert!(unseen(&[], None).is_empty());
    }
}
