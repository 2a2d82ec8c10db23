//! The end of the demo: the table read back, counted against what was generated, and shown.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use siphasher::sip128::SipHasher24;
use tokio::runtime::Handle;
use url::Url;

use super::events::Generated;
use crate::model::numbers::grouped;
use crate::model::{Error, Result};
use crate::storage::Store;
use crate::table::DeltaTable;
use crate::table::read::recent_commits;

/// Rows shown of each table.
const SHOWN: usize = 5;
/// Characters shown of a value.
const WIDTH: usize = 34;

/// Shows both tables in `folder` and checks that they hold exactly the generated events.
///
/// # Errors
/// `Data` if an event is missing or twice there.
pub(super) fn show(folder: &Path, events: u64, generated: Generated, runtime: &Handle) -> Result<()> {
    let Generated { malformed, offline, again } = generated;
    let table = open(&folder.join("table"), runtime)?;
    let letters = open(&folder.join("dead_letters"), runtime)?;
    let (rows, distinct) = count(&table)?;
    let ids = distinct_ids(&table)?;
    let (rejected, distinct_rejected) = count(&letters)?;
    println!("\nDelta table {} (version {}):", table.store().url(), table.version());
    print_rows(&table, &["event_id", "device", "status", "temperature", "fahrenheit", "offset"])?;
    if rejected > 0 {
        println!("\nDead letters {}:", letters.store().url());
        print_rows(&letters, &["partition", "offset", "errorCode", "errorField", "value"])?;
    }
    print_history(&table)?;
    windows(folder, events, runtime)?;
    let exact = rows == distinct
        && rows == ids
        && rejected == distinct_rejected
        && rejected == malformed
        && rows + rejected + offline + again == events;
    println!(
        "\n{} messages = {} rows + {} dead letters + {} filtered out by the query + {} duplicates; {}",
        grouped(events),
        grouped(rows),
        grouped(rejected),
        grouped(offline),
        grouped(again),
        if exact {
            "every event_id is in the table once."
        } else {
            "the tables do not hold every event exactly once."
        }
    );
    if exact {
        return Ok(());
    }
    Err(Error::data(format!(
        "the tables do not hold each of the {events} events once: {rows} rows ({distinct} distinct offsets, {ids} distinct event_ids), {rejected} dead letters ({distinct_rejected} distinct); {malformed} events were malformed, {offline} offline, {again} duplicates"
    ))
    .hint("if you did not interrupt the demo, this is a defect: please report it"))
}

/// Shows the windows, and checks that those which are closed have counted every event once.
fn windows(folder: &Path, messages: u64, runtime: &Handle) -> Result<()> {
    let table = open(&folder.join("windows"), runtime)?;
    let (mut counted, mut end, mut closed) = (0, None, HashSet::new());
    table.read(&["end", "events"], |batch| {
        let ends = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let events = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            counted += events.value(row) as u64;
            end = end.max(Some(ends.value(row)));
            closed.insert(ends.value(row));
        }
        Ok(())
    })?;
    println!("\nWindows {}:", table.store().url());
    print_rows(&table, &["start", "status", "events", "mean"])?;
    let expected = end.map_or(0, |end| super::events::before(end, messages));
    println!("  {} windows are closed and contain {} events", closed.len(), grouped(counted));
    if counted == expected {
        return Ok(());
    }
    Err(Error::data(format!("the windows contain {counted} events instead of {expected}"))
        .hint("if you did not interrupt the demo, this is a defect: please report it"))
}

fn open(folder: &Path, runtime: &Handle) -> Result<DeltaTable> {
    let url = Url::from_directory_path(folder)
        .map_err(|()| Error::internal(format!("{} is not an absolute path", folder.display())))?;
    let store = Store::open(&url, &BTreeMap::new(), runtime)?;
    DeltaTable::open(&store)?.ok_or_else(|| Error::data(format!("there is no table at {url}")))
}

/// Rows, and distinct places in the topic: bounds and counts of each partition's offsets.
fn count(table: &DeltaTable) -> Result<(u64, u64)> {
    let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    let mut rows = 0;
    table.read(&["partition", "offset"], |batch| {
        let partition = batch.column(0).as_primitive::<arrow::datatypes::Int32Type>();
        let offset = batch.column(1).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            offsets.entry(partition.value(row)).or_default().push(offset.value(row));
        }
        rows += batch.num_rows() as u64;
        Ok(())
    })?;
    let mut distinct = 0;
    for places in offsets.values_mut() {
        places.sort_unstable();
        places.dedup();
        distinct += places.len() as u64;
    }
    Ok((rows, distinct))
}

/// How many different events the table holds.
fn distinct_ids(table: &DeltaTable) -> Result<u64> {
    let mut ids = HashSet::new();
    table.read(&["event_id"], |batch| {
        let texts = batch.column(0).as_string_opt::<i32>();
        let texts = texts.ok_or_else(|| Error::internal("event_id is not a string"))?;
        // A hash of each is enough to count by.
        ids.extend(texts.iter().flatten().map(|id| SipHasher24::new().hash(id.as_bytes()).as_u128()));
        Ok(())
    })?;
    Ok(ids.len() as u64)
}

/// The table's history, read by delta-rs: another library than the one that wrote it.
fn print_history(table: &DeltaTable) -> Result<()> {
    println!("\nHistory of the table, as read by delta-rs:");
    for commit in recent_commits(table.store(), SHOWN)? {
        let rows = commit.rows.map_or(String::new(), |rows| format!("{rows} rows"));
        println!("  {:<16}  {rows:<12}  {}", commit.operation, commit.engine);
    }
    Ok(())
}

fn print_rows(table: &DeltaTable, columns: &[&str]) -> Result<()> {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| (*c).to_owned()).collect()];
    table.read(columns, |batch| {
        for row in 0..batch.num_rows() {
            if lines.len() > SHOWN {
                break;
            }
            lines.push(columns.iter().map(|name| text(batch, name, row)).collect());
        }
        Ok(())
    })?;
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("  {}", padded.join("  ").trim_end());
    }
    Ok(())
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    let Some(column) = batch.column_by_name(name) else { return String::new() };
    if column.is_null(row) {
        return "NULL".into();
    }
    let text = match column.as_binary_opt::<i32>() {
        Some(bytes) => String::from_utf8_lossy(bytes.value(row)).into_owned(),
        None => ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default())
            .map_or_else(|_| "?".into(), |formatter| formatter.value(row).to_string()),
    };
    if text.chars().count() <= WIDTH {
        return text;
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
