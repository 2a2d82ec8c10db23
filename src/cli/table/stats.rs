//! `alluvia table stats`: files, bytes, rows, small files, deletion vectors and partitions of a table.

use serde_json::{Value, json};

use super::super::args::OutputFormat;
use super::super::args::table::StatsArgs;
use super::super::io_runtime;
use super::{bytes, open};
use crate::model::numbers::grouped;
use crate::model::{Error, Result};
use crate::observe::Busy;
use crate::table::key_index::SavedIndex;
use crate::table::no_table;
use crate::table::reader::TableReader;
use crate::table::table_stats::{FileCounts, PartitionStats, TableStats};

/// Runs the command.
///
/// # Errors
/// `Config` if there is no table; `Unavailable` if storage does not answer; `Corrupt` if the log can't be read.
pub(super) fn run(args: &StatsArgs) -> Result<()> {
    let runtime = io_runtime()?;
    let (store, stream) = open(&args.table, runtime.handle())?;
    let reading = Busy::with("reading the table's log");
    let table = TableReader::open(&store)?.ok_or_else(|| no_table(&store))?;
    let mut stats = table.stats()?;
    drop(reading);
    let merge = stream
        .as_ref()
        .filter(|_| !args.table.dead_letters)
        .and_then(|stream| stream.sink.delta()?.merge.as_ref());
    let index = merge.and_then(|merge| SavedIndex::of(&merge.index_folder, &stats.table_id));
    let partitions = if stats.partition_columns.is_empty() { 0 } else { stats.partitions.len() };
    stats.partitions.truncate(if partitions == 0 { 0 } else { args.partitions });
    match args.output.output {
        OutputFormat::Json => {
            let mut shown =
                json!({"table": store.url().as_str(), "partitionCount": partitions, "keyIndex": index});
            let stats = serde_json::to_value(&stats)
                .map_err(|e| Error::internal("cannot print the counts").source(e))?;
            if let (Some(shown), Value::Object(stats)) = (shown.as_object_mut(), stats) {
                shown.extend(stats);
            }
            println!("{shown}");
        }
        OutputFormat::Text => {
            println!("table        {}, version {}", store.url(), stats.version);
            print!("{}", text(&stats, partitions));
            if let Some(index) = index {
                println!(
                    "key index    {} keys of ({}) as of version {}",
                    grouped(index.keys),
                    index.key_columns.join(", "),
                    index.version
                );
            }
        }
    }
    Ok(())
}

fn text(stats: &TableStats, partitions: usize) -> String {
    let FileCounts {
        files,
        size_bytes,
        rows,
        files_without_row_count: unknown,
        small_files,
        small_bytes,
        files_with_deletion_vector: vectors,
        deleted_rows,
        largest_bytes,
    } = stats.total;
    let unknown = if unknown > 0 {
        format!(", plus those of {} files without a row count", grouped(unknown))
    } else {
        String::new()
    };
    let mut text = format!(
        "files        {}, {} in total, largest {}\nrows         {}{unknown}\nsmall files  {}, {} in total (smaller than half of the target size, {})\ndeleted      {} rows, by deletion vectors of {} files\n",
        grouped(files),
        bytes(size_bytes),
        bytes(largest_bytes),
        grouped(rows),
        grouped(small_files),
        bytes(small_bytes),
        bytes(stats.target_file_bytes),
        grouped(deleted_rows),
        grouped(vectors),
    );
    if partitions > 0 {
        text += &format!(
            "partitions   {} by {}\n",
            grouped(partitions as u64),
            stats.partition_columns.join(", ")
        );
        text += &format!("\n{:>9}  {:>9}  {:>12}  {:>14}  partition\n", "files", "small", "size", "rows");
        text.extend(stats.partitions.iter().map(line));
    }
    text
}

fn line(partition: &PartitionStats) -> String {
    let counts = &partition.counts;
    let value =
        |(name, value): (&String, &Option<String>)| format!("{name}={}", value.as_deref().unwrap_or("NULL"));
    let values: Vec<String> = partition.values.iter().map(value).collect();
    format!(
        "{:>9}  {:>9}  {:>12}  {:>14}  {}",
        grouped(counts.files),
        grouped(counts.small_files),
        bytes(counts.size_bytes),
        grouped(counts.rows),
        values.join("/")
    )
    .replace(|c: char| c.is_control(), " ")
        + "\n"
}
