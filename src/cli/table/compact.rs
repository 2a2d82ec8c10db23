//! `alluvia table compact`: small files of each partition become larger ones.

use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::super::args::OutputFormat;
use super::super::args::table::CompactArgs;
use super::super::io_runtime;
use super::condition::Condition;
use super::{bytes, open};
use crate::model::numbers::grouped;
use crate::model::{MemoryAccount, Result};
use crate::observe::{Busy, BytesBar};
use crate::table::compact::{Compacted, CompactionPlan, CompactionRules};
use crate::table::{DeltaTable, no_table};

/// What the files being written hold in memory, about.
const MEMORY_BYTES: usize = 128 * 1024 * 1024;
/// How Hive names the folder of the partition whose value is NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Runs the command.
///
/// # Errors
/// `Config` if there is no table, its rows can't be written again or `--where` can't be applied to it; `Unavailable` if
/// storage does not answer; `Conflict` if other writers keep winning.
pub(super) fn run(args: &CompactArgs) -> Result<()> {
    let runtime = io_runtime()?;
    let (store, stream) = open(&args.table, runtime.handle())?;
    let condition =
        args.condition.as_deref().map(|text| Condition::new(text, stream.as_ref())).transpose()?;
    let reading = Busy::with("reading the table's log");
    let mut table = DeltaTable::open(&store)?.ok_or_else(|| no_table(&store))?;
    let account = MemoryAccount::new(MEMORY_BYTES);
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let compactor_of =
        |table: &DeltaTable| table.compactor(rules(args, condition.as_ref(), table)?, &account, lanes);
    let mut compactor = compactor_of(&table)?;
    let mut plan = compactor.plan()?;
    drop(reading);
    let mut shown = Shown::of(&plan, args.dry_run);
    // A table with very many files takes several commits.
    while !args.dry_run && !plan.is_empty() {
        let is_last = plan.files_of_commit() == plan.files;
        let bar = BytesBar::with("compacting", plan.bytes_of_commit());
        let rewritten = compactor.rewrite(plan, &|bytes| bar.add(bytes), &AtomicBool::new(false))?;
        let commit = table.commit_compaction(rewritten, false)?;
        drop(bar);
        shown.add(&commit);
        if is_last || commit.version.is_none() {
            break;
        }
        let _reading = Busy::with("reading the table's log");
        compactor = compactor_of(&table)?;
        plan = compactor.plan()?;
    }
    match args.output.output {
        OutputFormat::Json => println!("{}", shown.to_json(store.url().as_str())),
        OutputFormat::Text => print!("{}", shown.to_text(store.url().as_str())),
    }
    Ok(())
}

fn rules(args: &CompactArgs, condition: Option<&Condition>, table: &DeltaTable) -> Result<CompactionRules> {
    let value = |value: &str| (value != NULL).then(|| value.to_owned());
    let only = args.partitions.iter().map(|given| (given.key.clone(), value(&given.value)));
    Ok(CompactionRules {
        target_bytes: args.target_file_size,
        only: only.collect(),
        chosen: condition.map(|condition| condition.choose(table)).transpose()?,
        ..CompactionRules::by_hand()
    })
}

/// What was planned and what was done.
struct Shown {
    dry_run: bool,
    version: u64,
    target_bytes: u64,
    /// Files of the partitions that flags name.
    files_chosen: u64,
    partitions: u64,
    /// What was planned of a dry run.
    done: Compacted,
    versions: Vec<u64>,
}

impl Shown {
    fn of(plan: &CompactionPlan, dry_run: bool) -> Shown {
        let planned = Compacted {
            files_removed: plan.files,
            bytes_removed: plan.bytes,
            files_added: plan.files_after,
            ..Compacted::default()
        };
        Shown {
            dry_run,
            version: plan.version,
            target_bytes: plan.target_bytes,
            files_chosen: plan.files_chosen,
            partitions: plan.partitions,
            done: if dry_run { planned } else { Compacted::default() },
            versions: Vec::new(),
        }
    }

    fn add(&mut self, commit: &Compacted) {
        let done = &mut self.done;
        done.files_removed += commit.files_removed;
        done.bytes_removed += commit.bytes_removed;
        done.files_added += commit.files_added;
        done.bytes_added += commit.bytes_added;
        done.vectors_removed += commit.vectors_removed;
        done.files_dropped += commit.files_dropped;
        self.versions.extend(commit.version);
    }

    fn to_json(&self, table: &str) -> Value {
        json!({
            "table": table,
            "dryRun": self.dry_run,
            "readVersion": self.version,
            "versions": self.versions,
            "targetFileBytes": self.target_bytes,
            "partitions": self.partitions,
            "filesRemoved": self.done.files_removed,
            "bytesRemoved": self.done.bytes_removed,
            "filesAdded": self.done.files_added,
            "bytesAdded": if self.dry_run { Value::Null } else { self.done.bytes_added.into() },
            "deletionVectorsRemoved": if self.dry_run { Value::Null } else { self.done.vectors_removed.into() },
            "filesLeft": self.done.files_dropped,
        })
    }

    fn to_text(&self, table: &str) -> String {
        let Compacted { files_removed, bytes_removed, files_added, bytes_added, files_dropped, .. } =
            self.done;
        let mut text = format!("table      {table}, version {}\n", self.version);
        if self.files_chosen == 0 {
            return text
                + "nothing to do: there is no file in the table, or in the partitions that are named\n";
        }
        if files_removed == 0 && files_dropped == 0 {
            return text
                + &format!(
                    "nothing to do: no partition has two files smaller than half of {}\n",
                    bytes(self.target_bytes)
                );
        }
        let partitions = match self.partitions {
            1 => "one partition".to_owned(),
            partitions => format!("{} partitions", grouped(partitions)),
        };
        if self.dry_run {
            return text
                + &format!(
                    "would compact {} files ({}) of {partitions} into {}\n",
                    grouped(files_removed),
                    bytes(bytes_removed),
                    grouped(files_added)
                );
        }
        text += &format!(
            "compacted  {} files ({}) of {partitions} into {} ({})\n",
            grouped(files_removed),
            bytes(bytes_removed),
            grouped(files_added),
            bytes(bytes_added)
        );
        let versions: Vec<String> = self.versions.iter().map(u64::to_string).collect();
        if !versions.is_empty() {
            text += &format!("committed  version {}\n", versions.join(", "));
        }
        if files_dropped > 0 {
            text += &format!(
                "skipped    {} files: another writer changed or removed some of them in the meantime\n",
                grouped(files_dropped)
            );
        }
        text
    }
}
