//! `alluvia dead-letters show` and `replay`.
//!
//! The one place that prints values of records: they are asked for here. Control characters never reach
//! the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use super::args::{DeadLettersReplayArgs, DeadLettersShowArgs, GlobalArgs, OutputFormat};
use super::run::{end_background, stop_on_signals, style};
use super::{io_runtime, one_stream, process_context};
use crate::config::StreamConfig;
use crate::decode::json::RejectionCode;
use crate::model::escape::escaped_char;
use crate::model::numbers::{counted, grouped};
use crate::model::time::utc;
use crate::model::{Error, Header, Result, TimestampType};
use crate::observe::Reporter;
use crate::runtime::Stop;
use crate::runtime::open::Access;
use crate::runtime::replay::{self, ReplayOptions, Replayed, TakenLetters};
use crate::runtime::stream::WrittenRows;
use crate::sink::dead_letter::{self, Letter, OFFSETS_LOST};
use crate::storage::Store;
use crate::table::DeltaTable;

/// Characters of a key or value that people are shown.
const SHOWN: usize = 120;

/// A letter to be shown, in the order from old to new.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    rejected_at_micros: i64,
    batch_id: i64,
    topic: String,
    partition: i32,
    offset: i64,
    text: String,
    json: String,
}

/// Shows the newest dead letters and how many there are of each kind.
///
/// # Errors
/// `Config` if the stream has no `deadLetter`; as for reading a table.
pub(super) fn show(args: &DeadLettersShowArgs) -> Result<()> {
    let config = one_stream(&args.stream)?;
    let Some(target) = &config.dead_letter else {
        return Err(
            Error::config(format!("stream {} has no dead-letter table", config.name)).hint("set deadLetter")
        );
    };
    let runtime = io_runtime()?;
    let store = Store::open(&target.url, &config.storage.0, runtime.handle())?;
    let table = DeltaTable::open(&store)?;
    let replays = match &table {
        None => Replays::Nothing,
        Some(table) => Replays::of(&config, runtime.handle(), table, args.open)?,
    };
    let is_wanted = |code: &str| args.code.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(code));
    let mut replayed = 0;
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    let mut newest: Vec<Shown> = Vec::new();
    if let Some(table) = &table {
        dead_letter::read(table, &mut |letter| {
            let count = codes.entry(letter.code.to_owned()).or_default();
            let is_replayed = replays.took(letter);
            if args.open && is_replayed == Some(true) {
                return Ok(());
            }
            *count += 1;
            replayed += u64::from(is_replayed == Some(true));
            if args.limit > 0 && is_wanted(letter.code) {
                newest.push(shown(letter, args.output.output, is_replayed));
                if newest.len() >= args.limit.saturating_mul(2).max(64) {
                    keep_newest(&mut newest, args.limit);
                }
            }
            Ok(())
        })?;
    }
    if let Some(code) = &args.code {
        check_code(code, codes.keys().map(String::as_str))?;
    }
    codes.retain(|_, count| *count > 0);
    keep_newest(&mut newest, args.limit);
    let total: u64 = codes.values().sum();
    match args.output.output {
        OutputFormat::Json => {
            let letters: Vec<Value> =
                newest.iter().map(|letter| serde_json::from_str(&letter.json).unwrap_or_default()).collect();
            println!(
                "{}",
                json!({"stream": config.name, "table": store.url().as_str(), "total": total, "replayed": replayed, "codes": codes, "deadLetters": letters})
            );
        }
        OutputFormat::Text => {
            let number = match args.open {
                true => counted(total, "open dead letter"),
                false => open_and_replayed(total, replayed),
            };
            println!("{}: {number} in {}", config.name, store.url());
            for (code, count) in &codes {
                println!("  {:>9}  {}", grouped(*count), plain(code.as_bytes()));
            }
            newest.iter().for_each(|letter| print!("\n{}", letter.text));
            let wanted: u64 = codes.iter().filter(|(code, _)| is_wanted(code)).map(|(_, count)| count).sum();
            let more = wanted.saturating_sub(newest.len() as u64);
            if more > 0 {
                println!("\n{} older; --limit shows more", counted(more, "dead letter"));
            }
        }
    }
    Ok(())
}

/// What replays of a stream took of a table.
enum Replays {
    /// The stream's checkpoint can't be read.
    Unknown,
    /// There was none.
    Nothing,
    /// These.
    Took(TakenLetters),
}

impl Replays {
    /// What they took of `table`. Where the checkpoint can't be read the letters are shown all the same, unless only the open
    /// ones are `needed`.
    ///
    /// # Errors
    /// As for [`TakenLetters::of`].
    fn of(config: &StreamConfig, handle: &Handle, table: &DeltaTable, needed: bool) -> Result<Replays> {
        let access = Access { handle: handle.clone(), deadline: None };
        match TakenLetters::of(config, &access, table) {
            Ok(taken) => Ok(taken.map_or(Replays::Nothing, Replays::Took)),
            Err(error) if needed => Err(error.context("find the open dead letters")),
            Err(error) => {
                tracing::warn!(%error, "which dead letters were replayed is not known");
                Ok(Replays::Unknown)
            }
        }
    }

    /// Whether one of them took the letter; `None` if that is not known.
    fn took(&self, letter: &Letter<'_>) -> Option<bool> {
        match self {
            Replays::Unknown => None,
            Replays::Nothing => Some(false),
            Replays::Took(taken) => Some(taken.has(letter)),
        }
    }
}

/// Refuses a code that no letter can have and none of `found` is.
fn check_code<'c>(code: &str, found: impl Iterator<Item = &'c str>) -> Result<()> {
    let known = RejectionCode::ALL.map(RejectionCode::name);
    let mut all = known.into_iter().chain([OFFSETS_LOST]).chain(found);
    if all.any(|known| known.eq_ignore_ascii_case(code)) {
        return Ok(());
    }
    Err(Error::config(format!("--code: there is no error code {}", plain(code.as_bytes())))
        .hint(format!("the codes are {}, {OFFSETS_LOST}", known.join(", "))))
}

fn open_and_replayed(total: u64, replayed: u64) -> String {
    let all = counted(total, "dead letter");
    match replayed {
        0 => all,
        _ => format!(
            "{all}, {} of them replayed, {} open",
            grouped(replayed),
            grouped(total.saturating_sub(replayed))
        ),
    }
}

fn keep_newest(letters: &mut Vec<Shown>, limit: usize) {
    letters.sort_unstable_by(|a, b| b.cmp(a));
    letters.truncate(limit);
}

fn shown(letter: &Letter<'_>, output: OutputFormat, is_replayed: Option<bool>) -> Shown {
    let record = &letter.record;
    let (text, json) = match output {
        OutputFormat::Text => (text_of(letter, is_replayed == Some(true)), String::new()),
        OutputFormat::Json => (String::new(), json_of(letter, is_replayed).to_string()),
    };
    Shown {
        rejected_at_micros: letter.rejected_at_micros,
        batch_id: letter.batch_id,
        topic: record.topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        text,
        json,
    }
}

fn text_of(letter: &Letter<'_>, is_replayed: bool) -> String {
    let record = &letter.record;
    let replayed = if is_replayed { ", replayed" } else { "" };
    let field = letter.field.map(|field| format!(" in {}", plain(field.as_bytes()))).unwrap_or_default();
    let mut text = format!(
        "{}-{} offset {}: {}{field} (batch {}, {}{replayed})\n  {}\n",
        plain(record.topic.as_bytes()),
        record.partition,
        record.offset,
        plain(letter.code.as_bytes()),
        letter.batch_id,
        time(letter.rejected_at_micros),
        plain(letter.message.as_bytes()),
    );
    for (what, bytes) in [("key", record.key), ("value", record.value)] {
        if let Some(bytes) = bytes {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {what} ({} bytes): {}", grouped(bytes.len() as u64), plain(bytes));
        }
    }
    text
}

fn json_of(letter: &Letter<'_>, is_replayed: Option<bool>) -> Value {
    let record = &letter.record;
    let mut object = Map::new();
    object.insert("topic".into(), record.topic.into());
    object.insert("partition".into(), record.partition.into());
    object.insert("offset".into(), record.offset.into());
    let timestamp = (record.timestamp_type != TimestampType::None)
        .then(|| time(record.timestamp_ms.saturating_mul(1000)));
    object.insert("timestamp".into(), timestamp.into());
    bytes_into(&mut object, "key", record.key);
    bytes_into(&mut object, "value", record.value);
    object.insert(
        "headers".into(),
        record.headers.map(|headers| headers.iter().map(header).collect::<Vec<Value>>()).into(),
    );
    object.insert("errorCode".into(), letter.code.into());
    object.insert("errorField".into(), letter.field.into());
    object.insert("errorMessage".into(), letter.message.into());
    object.insert("queryId".into(), letter.query_id.into());
    object.insert("batchId".into(), letter.batch_id.into());
    object.insert("attempt".into(), letter.attempt.into());
    object.insert("rejectedAt".into(), time(letter.rejected_at_micros).into());
    object.insert("replayed".into(), is_replayed.into());
    Value::Object(object)
}

fn header(header: &Header<'_>) -> Value {
    let mut object = Map::new();
    object.insert("key".into(), header.key.into());
    bytes_into(&mut object, "value", header.value);
    Value::Object(object)
}

/// Bytes as text under `name`, or in hexadecimal digits under `nameHex` if they are no UTF-8.
fn bytes_into(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => object.insert(name.into(), Value::Null),
        Some((Ok(text), _)) => object.insert(name.into(), text.into()),
        Some((Err(_), bytes)) => {
            let mut hex = String::with_capacity(bytes.len() * 2);
            for byte in bytes {
                // Writing to a String does not fail.
                let _ = write!(hex, "{byte:02x}");
            }
            object.insert(format!("{name}Hex"), hex.into())
        }
    };
}

/// Bytes as one line of printable text, cut where it gets long.
fn plain(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN * 4)]);
    let mut out: String = start.chars().take(SHOWN).flat_map(escaped_char).collect();
    if start.chars().nth(SHOWN).is_some() || bytes.len() > SHOWN * 4 {
        out.push('…');
    }
    out
}

fn time(micros: i64) -> String {
    utc(micros.div_euclid(1000)).unwrap_or_default()
}

/// Decodes dead letters again and writes those that fit now.
///
/// # Errors
/// `Config` if the stream has no `deadLetter`; as for a stream otherwise.
pub(super) fn replay(args: &DeadLettersReplayArgs, global: &GlobalArgs) -> Result<()> {
    let config = one_stream(&args.stream)?;
    let runtime = io_runtime()?;
    let stop = Stop::new();
    stop_on_signals(runtime.handle(), &stop, config.shutdown_timeout)?;
    let ctx = process_context(&runtime, &stop);
    let options = ReplayOptions { dry_run: args.dry_run, overwrite_newer: args.overwrite_newer };
    let replayed = replay::replay(&config, &ctx, &Reporter::new(style(global)), options);
    end_background(runtime, &stop, config.shutdown_timeout);
    let replayed = replayed?;
    match args.output.output {
        OutputFormat::Json => println!("{}", replayed_json(&config.name, &replayed, args.dry_run)),
        OutputFormat::Text => print!("{}", replayed_text(&config.name, &replayed, args.dry_run)),
    }
    Ok(())
}

fn replayed_json(stream: &str, replayed: &Replayed, dry_run: bool) -> Value {
    let written = &replayed.written;
    let counts: BTreeMap<&str, u64> =
        shown_counts(written).into_iter().map(|(name, count, _)| (name, count)).collect();
    json!({
        "stream": stream,
        "dryRun": dry_run,
        "replayed": replayed.replayed,
        "numOutputRows": (!dry_run).then_some(written.output),
        "filtered": (!dry_run).then(|| filtered(written)),
        "metrics": counts,
        "stillRejected": replayed.left,
        "alreadyReplayed": replayed.already_replayed,
        "offsetsLost": replayed.offsets_lost,
        "uncommitted": replayed.uncommitted,
        "otherQueries": replayed.others,
    })
}

/// Letters of which the stream's query has made no row.
fn filtered(written: &WrittenRows) -> u64 {
    written.input.saturating_sub(written.for_sink)
}

/// What a merge counted of the rows that it did not add: name, number, words.
fn shown_counts(written: &WrittenRows) -> Vec<(&'static str, u64, &'static str)> {
    const SHOWN_COUNTS: [(&str, &str); 5] = [
        ("numDuplicateRowsInBatch", "not written: another replayed row has the key"),
        ("numDuplicateRowsInTable", "not written: the table has a row of the key"),
        (
            "numIgnoredRows",
            "not written: they delete a key that the table does not have, or are older than its row",
        ),
        ("numUpdatedRows", "written in place of a row of the table"),
        ("numDeletedRows", "deleted from the table"),
    ];
    let shown = |(name, words): (&'static str, &'static str)| {
        written.counts.get(name).map(|count| (name, *count, words))
    };
    SHOWN_COUNTS.into_iter().filter_map(shown).collect()
}

/// How many letters were replayed, and how many rows they have become.
fn outcome(replayed: &Replayed, dry_run: bool) -> String {
    let WrittenRows { input, output, .. } = replayed.written;
    let letters = counted(replayed.replayed, "dead letter");
    let rows = match output {
        0 => "no row was written to the table".to_owned(),
        1 => "1 row was written to the table".to_owned(),
        rows => format!("{} were written to the table", counted(rows, "row")),
    };
    match (replayed.replayed, dry_run) {
        (0, false) if input > 0 => {
            format!("no other dead letter can be decoded now; an interrupted replay was finished, and {rows}")
        }
        (0, _) => "no dead letter can be decoded now; there is nothing to replay".to_owned(),
        (_, true) => format!("{letters} can now be decoded and would be replayed"),
        (1, false) => format!("{letters} can now be decoded and was replayed; {rows}"),
        (_, false) => format!("{letters} can now be decoded and were replayed; {rows}"),
    }
}

fn replayed_text(stream: &str, replayed: &Replayed, dry_run: bool) -> String {
    let mut text = format!("{stream}: {}\n", outcome(replayed, dry_run));
    let mut line = |count: u64, what: &str| {
        if count > 0 {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {:>9}  {what}", grouped(count));
        }
    };
    let written = &replayed.written;
    let finished = written.input.saturating_sub(replayed.replayed);
    if replayed.replayed > 0 {
        line(finished, "more from an interrupted replay, which was finished first");
    }
    line(filtered(written), "left out by the query of the stream");
    for (_, count, words) in shown_counts(written) {
        line(count, words);
    }
    for (code, count) in &replayed.left {
        line(*count, &format!("still rejected: {code}"));
    }
    line(replayed.already_replayed, "already replayed");
    line(replayed.offsets_lost, "lost offsets: nothing to replay");
    line(replayed.uncommitted, "from a micro-batch that is not committed yet: run the stream first");
    line(replayed.others, "from other streams or earlier checkpoints");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Record;

    #[test]
    fn values_are_cut_and_never_drive_a_terminal() {
        assert_eq!(plain(b"a\x1b[31m\nb"), "a\\u{1b}[31m\\nb");
        assert_eq!(plain("é".repeat(500).as_bytes()), format!("{}…", "é".repeat(SHOWN)));
        assert_eq!(plain(b"\xff{"), "\u{fffd}{");
    }

    #[test]
    fn a_letter_that_was_replayed_is_marked() {
        let record = Record {
            topic: "t",
            partition: 0,
            offset: 7,
            timestamp_ms: 0,
            timestamp_type: TimestampType::None,
            key: None,
            value: None,
            headers: None,
        };
        let letter = Letter {
            record,
            code: "MALFORMED_RECORD",
            field: None,
            message: "m",
            query_id: "q",
            batch_id: 3,
            attempt: "a",
            rejected_at_micros: 0,
        };
        assert!(text_of(&letter, true).contains("(batch 3, 1970-01-01T00:00:00.000Z, replayed)"));
        assert!(!text_of(&letter, false).contains("replayed"));
        for is_replayed in [Some(true), Some(false), None] {
            assert_eq!(json_of(&letter, is_replayed)["replayed"], json!(is_replayed));
        }
        assert_eq!(Replays::Unknown.took(&letter), None);
        assert_eq!(Replays::Nothing.took(&letter), Some(false));
    }

    #[test]
    fn letters_that_were_replayed_are_counted_apart() {
        assert_eq!(open_and_replayed(16, 0), "16 dead letters");
        assert_eq!(open_and_replayed(1_016, 8), "1,016 dead letters, 8 of them replayed, 1,008 open");
    }

    #[test]
    fn a_replay_says_what_was_written_and_not_only_what_decodes() {
        let text = |replayed: &Replayed, dry_run| replayed_text("s", replayed, dry_run);
        let mut replayed = Replayed::default();
        assert_eq!(
            text(&replayed, false),
            "s: no dead letter can be decoded now; there is nothing to replay\n"
        );
        replayed.replayed = 3;
        assert_eq!(text(&replayed, true), "s: 3 dead letters can now be decoded and would be replayed\n");
        assert_eq!(replayed_json("s", &replayed, true)["numOutputRows"], Value::Null);
        replayed.written = WrittenRows {
            input: 3,
            for_sink: 2,
            output: 0,
            counts: [("numDuplicateRowsInTable", 2), ("numDuplicateRowsInBatch", 0), ("numCopiedRows", 9)]
                .into(),
        };
        assert_eq!(
            text(&replayed, false),
            "s: 3 dead letters can now be decoded and were replayed; no row was written to the table
          1  left out by the query of the stream
          2  not written: the table has a row of the key
"
        );
        let said = replayed_json("s", &replayed, false);
        assert_eq!((&said["numOutputRows"], &said["filtered"]), (&0.into(), &1.into()));
        assert_eq!(said["metrics"], json!({"numDuplicateRowsInTable": 2, "numDuplicateRowsInBatch": 0}));
        replayed.replayed = 0;
        replayed.written.output = 1;
        assert!(text(&replayed, false).contains("an interrupted replay was finished, and 1 row was written"));
    }

    #[test]
    fn a_code_that_no_letter_has_is_refused_with_those_that_there_are() {
        assert!(check_code("malformed_record", std::iter::empty()).is_ok());
        assert!(check_code("OF_BEFORE", std::iter::once("OF_BEFORE")).is_ok());
        let error = check_code("NOPE", std::iter::empty()).unwrap_err().to_string();
        assert!(
            error.starts_with("--code: there is no error code NOPE (the codes are MALFORMED_RECORD, "),
            "{error}"
        );
        assert!(error.contains(OFFSETS_LOST), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_digits() {
        let mut object = Map::new();
        bytes_into(&mut object, "value", Some(b"\xff\x00"));
        bytes_into(&mut object, "key", Some(b"k"));
        assert_eq!(Value::Object(object), json!({"valueHex": "ff00", "key": "k"}));
    }
}
