//! A Delta table that already holds the keys of events `0 .. keys`: what the merges of `make bench-merge` are merged into.
//!
//! Rows have `event_id`, `seq` and `event_time` as the events have them and NULL in the other columns: a merge that inserts
//! reads the key alone, and a table of 100 million keys takes 3 GB and not 10.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use crate::Outcome;
use crate::raw_limit::schema;
use crate::workload::{FIRST_EVENT_MS, write_event_id};

/// Files have at most so many rows; a table has at least [`FILES_MIN`] files, so that several threads can read it.
const FILE_ROWS_MAX: u64 = 1_000_000;
const FILES_MIN: u64 = 4;
const BATCH_ROWS: u64 = 65_536;

/// Which table to write where.
#[derive(clap::Args)]
pub(crate) struct Table {
    /// A folder that does not exist yet.
    #[arg(long)]
    out: PathBuf,
    #[arg(long)]
    keys: u64,
    #[arg(long, default_value_t = 20_261_101)]
    seed: u64,
}

impl Table {
    /// Writes the data files with all cores, then version 0 of the log.
    pub(crate) fn run(&self) -> Outcome<()> {
        fs::create_dir_all(self.out.join("_delta_log"))?;
        let file_rows = (self.keys / FILES_MIN).clamp(1, FILE_ROWS_MAX);
        let files = self.keys.div_ceil(file_rows);
        let next = AtomicU64::new(0);
        let write = || -> Outcome<Vec<Value>> {
            let mut adds = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= files {
                    return Ok(adds);
                }
                let rows = number * file_rows..((number + 1) * file_rows).min(self.keys);
                adds.push(self.write_file(number, rows)?);
            }
        };
        let threads = std::thread::available_parallelism()?.get();
        let adds = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..threads).map(|_| scope.spawn(write)).collect();
            writers
                .into_iter()
                .map(|writer| writer.join().expect("a writer returns its error"))
                .collect::<Outcome<Vec<_>>>()
        })?;
        self.commit(adds.concat())
    }

    /// Writes a data file; returns the log's entry of it.
    fn write_file(&self, number: u64, rows: Range<u64>) -> Outcome<Value> {
        let name = format!("part-{number:05}.parquet");
        let path = self.out.join(&name);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = ArrowWriter::try_new(File::create(&path)?, schema(), Some(properties))?;
        let mut from = rows.start;
        while from < rows.end {
            let to = (from + BATCH_ROWS).min(rows.end);
            writer.write(&self.batch(&schema(), from..to)?)?;
            from = to;
        }
        writer.into_inner()?.sync_all()?;
        Ok(json!({"add": {
            "path": name, "partitionValues": {}, "size": fs::metadata(&path)?.len(), "modificationTime": FIRST_EVENT_MS,
            "dataChange": true, "stats": self.statistics(&rows),
        }}))
    }

    fn batch(&self, schema: &Arc<Schema>, rows: Range<u64>) -> Outcome<RecordBatch> {
        let count = (rows.end - rows.start) as usize;
        let mut ids = StringBuilder::with_capacity(count, count * 32);
        for seq in rows.clone() {
            ids.append_value(self.id(seq));
        }
        let times = rows.clone().map(|seq| (FIRST_EVENT_MS + seq as i64) * 1_000);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ids.finish()),
            Arc::new(Int64Array::from_iter_values(rows.map(|seq| seq as i64))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00")),
        ];
        let filled = ["event_id", "seq", "event_time"];
        let column = |name: &str, kind| match filled.iter().position(|other| *other == name) {
            Some(position) => Arc::clone(&columns[position]),
            None => new_null_array(kind, count),
        };
        let all = schema.fields().iter().map(|field| column(field.name(), field.data_type())).collect();
        Ok(RecordBatch::try_new(Arc::clone(schema), all)?)
    }

    fn id(&self, seq: u64) -> String {
        let mut id = Vec::with_capacity(32);
        write_event_id(&mut id, self.seed, seq);
        String::from_utf8(id).expect("an id is hexadecimal")
    }

    /// Numbers and bounds, as text; ids are in the order of their numbers.
    fn statistics(&self, rows: &Range<u64>) -> String {
        let bound = |seq: u64| json!({"event_id": self.id(seq), "seq": seq});
        json!({
            "numRecords": rows.end - rows.start,
            "minValues": bound(rows.start),
            "maxValues": bound(rows.end - 1),
            "nullCount": {"event_id": 0, "seq": 0, "event_time": 0},
        })
        .to_string()
    }

    fn commit(&self, adds: Vec<Value>) -> Outcome<()> {
        let metadata = json!({"metaData": {
            "id": format!("00000000-0000-4000-8000-{:012}", self.keys), "format": {"provider": "parquet", "options": {}},
            "schemaString": delta_schema().to_string(), "partitionColumns": [], "configuration": {}, "createdTime": FIRST_EVENT_MS,
        }});
        let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
        write_log(&self.out, [protocol, metadata].into_iter().chain(adds))
    }
}

fn write_log(table: &Path, actions: impl Iterator<Item = Value>) -> Outcome<()> {
    let mut log = File::create(table.join("_delta_log").join("00000000000000000000.json"))?;
    for action in actions {
        writeln!(log, "{action}")?;
    }
    Ok(log.sync_all()?)
}

/// `workload::SCHEMA_DDL` as Delta writes it.
fn delta_schema() -> Value {
    let field =
        |name: &str, kind: Value| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
    let structure = |fields: Vec<Value>| json!({"type": "struct", "fields": fields});
    let location = structure(vec![field("lat", json!("double")), field("lon", json!("double"))]);
    structure(vec![
        field("event_id", json!("string")),
        field("device", json!("string")),
        field("status", json!("string")),
        field("temperature", json!("double")),
        field("humidity", json!("double")),
        field("battery", json!("integer")),
        field("seq", json!("long")),
        field("event_time", json!("timestamp")),
        field("location", location),
    ])
}
