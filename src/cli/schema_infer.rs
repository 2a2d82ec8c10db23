//! `alluvia schema infer`: a sample of messages becomes a schema that decodes all of them.
//!
//! Standard output has the DDL alone, to be redirected into a file; what to know about it goes to standard
//! error.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::args::{OutputFormat, SchemaInferArgs};
use crate::config::{KafkaOptions, ProcessLookup};
use crate::decode::infer::{Inference, MixedColumn};
use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use crate::model::escape::{escaped, escaped_lines};
use crate::model::numbers::counted;
use crate::model::{Error, OffsetRange, Offsets, Result};
use crate::source::kafka::{KafkaSource, LANE_MEMORY_BYTES, LaneReader};

/// Bytes of messages that are kept to be decoded by what was inferred.
const SAMPLE_BYTES_MAX: usize = 256 << 20;

/// Messages that were looked at.
#[derive(Default)]
struct Sample {
    messages: Vec<Vec<u8>>,
    bytes: usize,
    /// Tombstones, empty and blank messages.
    blank: u64,
}

impl Sample {
    /// Takes a message; whether there is room for more.
    fn take(&mut self, message: &[u8], records: u64) -> bool {
        if message.trim_ascii().is_empty() {
            self.blank += 1;
        } else {
            self.bytes += message.len();
            self.messages.push(message.to_vec());
        }
        (self.messages.len() as u64) < records && self.bytes < SAMPLE_BYTES_MAX
    }
}

/// Prints the schema of a sample.
///
/// # Errors
/// `Config` if the file or the topic can't be read; `Data` if no message is a JSON object.
pub(super) fn infer(args: &SchemaInferArgs) -> Result<()> {
    let sample = match &args.file {
        Some(path) => from_file(path, args.records)?,
        None => from_topic(args)?,
    };
    let mut inference = Inference::default();
    let objects: Vec<&Vec<u8>> = sample.messages.iter().filter(|message| inference.add(message)).collect();
    let left_out = inference.others();
    let made_text = sync(&mut inference, &objects)?;
    let schema = inference.schema();
    if schema.fields.is_empty() {
        if sample.messages.is_empty() {
            let file = args.file.as_ref().map(|path| path.display().to_string());
            let topic = || format!("topic {}", args.topic.as_deref().unwrap_or_default());
            return Err(nothing_in(&file.unwrap_or_else(topic), sample.blank));
        }
        return Err(Error::data(format!(
            "no columns can be inferred: {left_out} of {} messages are not JSON objects",
            sample.messages.len()
        ))
        .hint("is the value JSON? use another topic or file, or raise --records"));
    }
    let ddl = schema.to_ddl();
    let timestamps = inference.timestamps();
    match args.output.output {
        OutputFormat::Json => println!(
            "{}",
            json!({
                "ddl": ddl,
                "records": objects.len(),
                "notJson": left_out,
                "blank": sample.blank,
                "timestamps": timestamps,
                "text": made_text,
                "mixed": mixed_json(inference.mixed()),
            })
        ),
        // A file gets the names as they are.
        OutputFormat::Text if std::io::stdout().is_terminal() => println!("{}", escaped_lines(&ddl)),
        OutputFormat::Text => println!("{ddl}"),
    }
    eprintln!("alluvia: inferred from {}", counted(objects.len() as u64, "message"));
    if left_out > 0 {
        eprintln!("alluvia: left out because they are not JSON objects: {}", counted(left_out, "message"));
    }
    if !timestamps.is_empty() {
        eprintln!(
            "alluvia: every sampled value is an ISO 8601 instant, so these are TIMESTAMP (write STRING to keep the text): {}",
            escaped(&timestamps.join(", "))
        );
    }
    if !made_text.is_empty() {
        eprintln!(
            "alluvia: these are STRING because some sampled values cannot be read as the inferred type: {}",
            escaped(&made_text.join(", "))
        );
    }
    for MixedColumn { path, before, then, message } in inference.mixed() {
        eprintln!(
            "alluvia: {} is STRING because its values differ in type: {before} at first, {then} in message {message}",
            escaped(path)
        );
    }
    for (one, other) in inference.same_but_case() {
        eprintln!(
            "alluvia: {} and {} differ only in case: a Delta table can have only one of them; remove the other",
            escaped(&one),
            escaped(&other)
        );
    }
    Ok(())
}

fn mixed_json(columns: &[MixedColumn]) -> Vec<serde_json::Value> {
    let entry = |column: &MixedColumn| json!({"column": column.path, "before": column.before, "then": column.then, "message": column.message});
    columns.iter().map(entry).collect()
}

/// The error for a sample without a message that has a value; `blank` ones have none.
fn nothing_in(from: &str, blank: u64) -> Error {
    let what = match blank {
        0 => "no messages".to_owned(),
        blank => format!("only messages without a value ({blank})"),
    };
    Error::data(format!("no columns can be inferred: {from} has {what}"))
        .hint("write messages first, or use another topic or file")
}

/// Decodes the sample by its own schema; a column that a message does not fit becomes STRING. Gives the
/// names of those.
fn sync(inference: &mut Inference, objects: &[&Vec<u8>]) -> Result<Vec<String>> {
    let mut made_text = Vec::new();
    loop {
        let schema = inference.schema();
        if schema.fields.is_empty() {
            return Ok(made_text);
        }
        let options = JsonOptions { corrupt_record_column: String::new(), ..JsonOptions::default() };
        let policy = Policy { on_malformed: OnMalformed::Reject, enforce_not_null: true };
        let mut decoder = JsonDecoder::new(&schema, &options, policy)?;
        let mut changed = false;
        for message in objects {
            if let Outcome::Rejected(why) = decoder.push(Some(message))
                && let Some(field) = why.field
                && inference.declare_text(&field)
            {
                made_text.push(field);
                changed = true;
                break;
            }
            decoder.finish()?;
        }
        if !changed {
            return Ok(made_text);
        }
    }
}

fn from_file(path: &Path, records: u64) -> Result<Sample> {
    let failed = |e| {
        Error::config(format!("cannot read {}", path.display())).source(e).hint("give a file of JSON lines")
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut sample = Sample::default();
    for line in BufReader::new(file).split(b'\n') {
        if !sample.take(&line.map_err(failed)?, records) {
            break;
        }
    }
    Ok(sample)
}

/// Reads the first records of every partition.
fn from_topic(args: &SchemaInferArgs) -> Result<Sample> {
    let (options, warnings) = KafkaOptions::from_flags(&args.settings(), &ProcessLookup)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let source = KafkaSource::open(&options)?;
    let start = source.initial_offsets()?;
    let latest = source.latest(&start)?;
    let mut reader = LaneReader::open(&options, LANE_MEMORY_BYTES, source.partitions().len())?;
    let mut sample = Sample::default();
    let share = (args.records / start.0.len().max(1) as u64).max(1);
    // A share of each partition first, then what the others have more of.
    let mut position = start;
    loop {
        let until = |(partition, from): (&_, &i64)| {
            let end =
                latest.end.get(partition)?.min(from.saturating_add(i64::try_from(share).unwrap_or(i64::MAX)));
            Some((partition.clone(), end.max(*from)))
        };
        let next = Offsets(position.0.iter().filter_map(until).collect());
        let ranges: Vec<OffsetRange> = position.ranges_to(&next)?;
        let mut more = true;
        if ranges.is_empty() {
            return Ok(sample);
        }
        reader.read(&ranges, &AtomicBool::new(false), |record| {
            if more {
                more = sample.take(record.value.unwrap_or_default(), args.records);
            }
            Ok(())
        })?;
        if !more {
            return Ok(sample);
        }
        position = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_without_messages_is_told_from_one_without_json() {
        let error = nothing_in("topic empty", 0).to_string();
        assert!(error.starts_with("no columns can be inferred: topic empty has no messages ("), "{error}");
        assert!(nothing_in("f.json", 2).to_string().contains("f.json has only messages without a value (2)"));
    }
}
