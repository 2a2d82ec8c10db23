//! `alluvia streams` and `alluvia status`: what the streams of a running process do.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::args::{OutputFormat, StatusArgs, StreamsArgs};
use super::client::Client;
use crate::model::Result;
use crate::model::escape::escaped_lines;
use crate::model::numbers::grouped;

/// From this age on of a lag it is said: the process measures every ten seconds as long as the source answers.
const LAG_AGE_SHOWN_SECONDS: i64 = 20;

/// Lists the streams.
///
/// # Errors
/// As for [`Client::get`].
pub(super) fn streams(args: &StreamsArgs) -> Result<()> {
    let streams = Client::new("--url", &args.client.url, None)?.get(&[])?;
    match args.output.output {
        OutputFormat::Json => println!("{streams}"),
        OutputFormat::Text => {
            print!("{}", escaped_lines(&table(streams.as_array().map_or(&[], Vec::as_slice))));
        }
    }
    Ok(())
}

/// Shows one stream, or all of them, at length.
///
/// # Errors
/// As for [`Client::get`]; `Config` if there is no such stream.
pub(super) fn status(args: &StatusArgs) -> Result<()> {
    let client = Client::new("--url", &args.client.url, None)?;
    let answer = match &args.name {
        Some(name) => client.get(&[name])?,
        None => client.get(&[])?,
    };
    match args.output.output {
        OutputFormat::Json => println!("{answer}"),
        OutputFormat::Text => match answer.as_array() {
            Some(streams) => {
                streams.iter().for_each(|stream| print!("{}", escaped_lines(&paragraph(stream, Utc::now()))));
            }
            None => print!("{}", escaped_lines(&paragraph(&answer, Utc::now()))),
        },
    }
    Ok(())
}

/// A text of the answer; `-` where there is none.
fn text<'a>(stream: &'a Value, key: &str) -> &'a str {
    stream[key].as_str().unwrap_or("-")
}

fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), grouped)
}

fn table(streams: &[Value]) -> String {
    let header = ["NAME", "STATE", "BATCH", "ROWS SINCE START", "DEAD LETTERS", "LAG", "LAST COMMIT"]
        .map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(streams.iter().map(|stream| {
        let totals = &stream["totals"];
        [
            text(stream, "name").to_owned(),
            text(stream, "state").to_owned(),
            stream["batchId"].as_i64().map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
            count(&totals["outputRows"]),
            count(&totals["deadLetters"]),
            count(&stream["lag"]),
            text(stream, "lastCommit").to_owned(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// How long ago the lag was measured, if that is longer than a process lets it become while the source answers.
fn measured(stream: &Value, now: DateTime<Utc>) -> String {
    let at = stream["lagMeasured"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let ago = at.map_or(0, |at| (now - at.to_utc()).num_seconds());
    if ago >= LAG_AGE_SHOWN_SECONDS { format!("; measured {ago} s ago") } else { String::new() }
}

fn paragraph(stream: &Value, now: DateTime<Utc>) -> String {
    let mut out = String::new();
    let status = &stream["status"];
    let yes_no = |key: &str| if status[key].as_bool().unwrap_or(false) { "yes" } else { "no" };
    let mut line = |text: String| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("{}: {} since {}", text(stream, "name"), text(stream, "state"), text(stream, "since")));
    line(format!("  {} -> {}", text(stream, "source"), text(stream, "sink")));
    line(format!(
        "  {} (data available: {}, trigger active: {})",
        status["message"].as_str().unwrap_or("-"),
        yes_no("isDataAvailable"),
        yes_no("isTriggerActive")
    ));
    let totals = &stream["totals"];
    line(format!(
        "  batch {}, table version {}; since start: {} rows written, {} dead letters, {} late rows, {} restarts",
        stream["batchId"].as_i64().map_or_else(|| "-".to_owned(), |batch| batch.to_string()),
        stream["tableVersion"].as_u64().map_or_else(|| "-".to_owned(), |version| version.to_string()),
        count(&totals["outputRows"]),
        count(&totals["deadLetters"]),
        count(&totals["lateRows"]),
        count(&totals["restarts"])
    ));
    let age = stream["oldestUncommittedAgeSeconds"].as_f64();
    line(format!(
        "  lag {}, age of the oldest uncommitted record {}{}",
        count(&stream["lag"]),
        age.map_or_else(|| "-".to_owned(), |age| format!("at most {age:.1} s")),
        measured(stream, now)
    ));
    if let Some(watermark) = stream["watermark"].as_str() {
        line(format!("  watermark {watermark}"));
    }
    if let Some(error) = stream["lastError"].as_object() {
        let of = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        line(format!("  last error at {} ({}): {}", of("timestamp"), of("kind"), of("message")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_that_has_done_nothing_yet_is_shown_too() {
        let stream = json!({
            "name": "q", "state": "starting", "since": "2026-01-01T00:00:00.000Z", "batchId": null,
            "status": {"message": "Initializing sources", "isDataAvailable": false, "isTriggerActive": false},
            "totals": {"outputRows": 0, "deadLetters": 0, "restarts": 0},
        });
        assert_eq!(
            table(std::slice::from_ref(&stream)),
            "NAME  STATE     BATCH  ROWS SINCE START  DEAD LETTERS  LAG  LAST COMMIT\n\
             q     starting  -      0                 0             -    -\n"
        );
        let said = paragraph(&stream, Utc::now());
        assert!(said.contains("Initializing sources (data available: no, trigger active: no)"), "{said}");
    }

    #[test]
    fn a_lag_that_is_old_says_how_old() {
        let stream = json!({"lag": 0, "lagMeasured": "2026-01-01T00:00:00.000Z"});
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let said = paragraph(&stream, at("2026-01-01T00:00:40Z"));
        assert!(
            said.contains("lag 0, age of the oldest uncommitted record -; measured 40 s ago\n"),
            "{said}"
        );
        let said = paragraph(&stream, at("2026-01-01T00:00:09Z"));
        assert!(said.contains("uncommitted record -\n"), "{said}");
    }
}
