//! `alluvia table vacuum`: deletes files that the table no longer needs.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::args::OutputFormat;
use super::super::args::table::VacuumArgs;
use super::super::io_runtime;
use super::{bytes, open};
use crate::model::numbers::grouped;
use crate::model::{Error, Result};
use crate::observe::Busy;
use crate::table::vacuum::{FileKind, VacuumReport, VacuumRules};
use crate::table::{DeltaTable, no_table};

/// Runs the command.
///
/// # Errors
/// `Config` if there is no table or the retention is too short; `Corrupt` if the log can't be read; `Unavailable` if
/// storage does not answer.
pub(super) fn run(args: &VacuumArgs) -> Result<()> {
    let runtime = io_runtime()?;
    let (store, _) = open(&args.table, runtime.handle())?;
    let busy = Busy::with("reading the table's log");
    let mut table = DeltaTable::open(&store)?.ok_or_else(|| no_table(&store))?;
    let rules = VacuumRules {
        retain: args.retain,
        retain_at_least: Duration::ZERO,
        any_retention: args.no_retention_check,
        orphan_age: args.orphan_age,
        dry_run: args.dry_run,
    };
    let report = table.vacuum(&rules, &mut |so_far| {
        let total = so_far.total();
        let verb = if args.dry_run { "found" } else { "deleted" };
        busy.say(format!("{verb} {} files, {}", grouped(total.files), bytes(total.size_bytes)));
        true
    })?;
    drop(busy);
    match args.output.output {
        OutputFormat::Json => {
            let mut shown = json!({"table": store.url().as_str(), "dryRun": args.dry_run});
            let report = serde_json::to_value(&report)
                .map_err(|e| Error::internal("cannot print the counts").source(e))?;
            if let (Some(shown), Value::Object(report)) = (shown.as_object_mut(), report) {
                shown.extend(report);
            }
            println!("{shown}");
        }
        OutputFormat::Text => print!("{}", text(&report, store.url().as_str(), args.dry_run)),
    }
    Ok(())
}

fn text(report: &VacuumReport, table: &str, dry_run: bool) -> String {
    let mut text = String::new();
    if dry_run {
        for file in &report.files {
            text += &format!("{}\n", file.path.replace(|c: char| c.is_control(), " "));
        }
        let more = report.total().files - report.files.len() as u64;
        if more > 0 {
            text += &format!("… and {} more\n", grouped(more));
        }
    }
    let hours = report.retention_ms as f64 / 3_600_000.0;
    text += &format!("table      {table}, version {}, retention {hours:.0} hours\n", report.version);
    let verb = if dry_run { "to delete" } else { "deleted" };
    for (kind, name) in [
        (FileKind::DataFile, "data files"),
        (FileKind::DeletionVector, "deletion vector files"),
        (FileKind::ChangeData, "change data files"),
        (FileKind::Orphan, "orphaned files, whose micro-batches were committed without them"),
    ] {
        let count = report.deleted.get(&kind).copied().unwrap_or_default();
        if count.files > 0 || kind == FileKind::DataFile {
            text += &format!("{verb:10} {} {name}, {}\n", grouped(count.files), bytes(count.size_bytes));
        }
    }
    let young = report.too_young;
    if young.files > 0 {
        text += &format!(
            "too young  {} files that no commit references, {}\n",
            grouped(young.files),
            bytes(young.size_bytes)
        );
    }
    for folder in &report.folders_left {
        text += &format!("kept       folder {folder}: it is itself a table or a checkpoint, or a link\n");
    }
    text
}
