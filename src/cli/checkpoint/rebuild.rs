//! `alluvia checkpoint rebuild`: makes the lost checkpoint of a stateless stream from its newest commits.
//!
//! Only an empty checkpoint is written to (or one that an earlier rebuild was cut off in), under the
//! stream's lease, by put-if-absent. What the table does not say for sure is refused, and so is a checkpoint
//! that a start would refuse: it is inspected as a start inspects it before it is written.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::args::{CheckpointRebuildArgs, OutputFormat};
use super::super::{io_runtime, one_stream};
use crate::checkpoint::lease::Acquire;
use crate::checkpoint::rebuild::{self, CommittedBatch, File};
use crate::checkpoint::{CheckpointBinding, CheckpointLog, Identity, Lease, Owner, Plan};
use crate::config::StreamConfig;
use crate::model::{Error, Result};
use crate::observe::Busy;
use crate::runtime::open::Access;
use crate::runtime::recovery::{self, Targets};
use crate::runtime::row_pipeline::RowPipeline;
use crate::sink::{CommitInfo, Sink, SinkCommit};
use crate::storage::{Put, Store};

/// Runs the command.
///
/// # Errors
/// `Config` if the table does not say which query the stream is or the checkpoint is not empty;
/// `Corrupt` if what the tables say does not fit together; `Fenced` if someone runs the stream.
pub(super) fn run(args: &CheckpointRebuildArgs) -> Result<()> {
    let config = one_stream(&args.stream)?;
    let runtime = io_runtime()?;
    let access = Access { handle: runtime.handle().clone(), deadline: None };
    let checkpoint = access.checkpoint(&config)?;
    if let Some(owner) = Lease::owner(&checkpoint)? {
        return Err(run_by(&config, &owner));
    }
    let reading = Busy::with("reading the logs of the tables");
    let mut row_pipeline = RowPipeline::of(&config, &access)?;
    refuse_state(&config, &row_pipeline)?;
    let mut targets = Targets::read(&config, &access)?;
    targets.check_columns(&mut row_pipeline)?;
    let found = read_commits(&config, &checkpoint, args.query_id.as_deref(), &mut targets)?;
    let identity = Identity { id: found.query_id.clone() };
    let files = rebuild::files(&identity, &found.binding, found.rows.as_ref(), found.letters.as_ref())?;
    let there = rebuild::check_empty(&checkpoint, &files)?;
    inspect(&config, &checkpoint, &files, &row_pipeline, targets)?;
    drop(reading);
    if !args.dry_run {
        let _lease = lease(&checkpoint, &config)?;
        write(&checkpoint, &files)?;
    }
    match args.output.output {
        OutputFormat::Json => println!("{}", as_json(&checkpoint, &found, &files, args.dry_run)),
        OutputFormat::Text => print!("{}", as_text(&checkpoint, &found, &files, &there, args.dry_run)),
    }
    Ok(())
}

/// What the tables say of the stream.
struct Lost {
    query_id: String,
    binding: CheckpointBinding,
    rows: Option<CommittedBatch>,
    letters: Option<CommittedBatch>,
}

/// State is in no commit: it was in the checkpoint alone.
fn refuse_state(config: &StreamConfig, row_pipeline: &RowPipeline) -> Result<()> {
    if !row_pipeline.keeps_state() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the checkpoint of stream {} cannot be rebuilt: its query keeps state between micro-batches, and only the checkpoint had it",
        config.name
    ))
    .hint("restore the checkpoint from a backup, or start the stream on a new checkpointLocation, with startingOffsets from where its windows must be filled again"))
}

/// Refuses files with which a start would be refused.
fn inspect(
    config: &StreamConfig,
    checkpoint: &Store,
    files: &[File],
    row_pipeline: &RowPipeline,
    targets: Targets,
) -> Result<()> {
    let trial = checkpoint.in_memory();
    for file in files {
        trial.put_if_absent(&file.path, file.content.clone())?;
    }
    let log = CheckpointLog::new(trial, config.min_batches_to_retain);
    recovery::inspect_rebuilt(config, &log, row_pipeline, targets).map(|_| ())
}

fn read_commits(
    config: &StreamConfig,
    checkpoint: &Store,
    query_id: Option<&str>,
    targets: &mut Targets,
) -> Result<Lost> {
    let Targets { sink, dead_letters } = targets;
    let target = sink.target();
    let Some(table_id) = target.id else {
        return Err(Error::config(format!(
            "there is no table at {} to tell how far stream {} has read",
            target.location, config.name
        ))
        .hint("without a table and a checkpoint, `alluvia run` starts the stream from the beginning"));
    };
    let mut queries = sink.newest_commits()?;
    let mut rejected = dead_letters.as_ref().map(Sink::newest_commits).transpose()?.unwrap_or_default();
    let query_id = choose(query_id, config, checkpoint, &queries, &rejected, &target.location)?;
    let binding =
        CheckpointBinding { format: 1, stream: config.name.clone(), table: target.location, table_id };
    let rows = committed(sink.as_mut(), queries.remove(&query_id), &query_id)?;
    let letters = match dead_letters {
        None => None,
        Some(table) => committed(table, rejected.remove(&query_id), &query_id)?,
    };
    Ok(Lost { binding, rows, letters, query_id })
}

/// The query that is meant: the one that is asked for, or the only one whose commits bear the stream's name
/// (of several, the only one that was run from this checkpoint).
fn choose(
    wanted: Option<&str>,
    config: &StreamConfig,
    checkpoint: &Store,
    rows: &BTreeMap<String, SinkCommit>,
    letters: &BTreeMap<String, SinkCommit>,
    url: &str,
) -> Result<String> {
    let mut queries: BTreeMap<&String, &SinkCommit> = letters.iter().collect();
    queries.extend(rows);
    let pick = |fits: &dyn Fn(&SinkCommit) -> bool| -> Vec<&String> {
        queries.iter().filter(|(_, commit)| fits(commit)).map(|(id, _)| *id).collect()
    };
    let of_stream = |commit: &SinkCommit| commit.is_of(Some(&config.name), None);
    let from_here = |commit: &SinkCommit| commit.is_of(None, Some(checkpoint.url().as_str()));
    let ids = match wanted {
        Some(wanted) => queries.keys().copied().filter(|id| *id == wanted).collect(),
        None => match pick(&of_stream) {
            several if several.len() > 1 => match pick(&|commit| of_stream(commit) && from_here(commit)) {
                one if one.len() == 1 => one,
                _ => several,
            },
            ids => ids,
        },
    };
    let name = &config.name;
    match (ids.as_slice(), wanted) {
        ([one], _) => Ok((*one).clone()),
        _ if queries.is_empty() => Err(Error::config(format!("the log of table {url} holds no commit that Alluvia made, or another tool has cleaned it up"))
            .hint("only such commits say their offsets; to start at known offsets give the stream a new checkpointLocation and source.options.startingOffsets as JSON")),
        ([], Some(wanted)) => Err(Error::config(format!(
            "the log of table {url} holds no commit that Alluvia made for query {wanted}"
        ))
        .hint(listed("--query-id", &queries))),
        ([], None) => Err(Error::config(format!("the log of table {url} holds no commit of a stream named {name}"))
            .hint(listed("if the stream was renamed, choose its query with --query-id", &queries))),
        _ => Err(Error::config(format!("{} queries of stream {name} have written to table {url}", ids.len()))
            .hint(listed("choose one with --query-id", &queries))),
    }
}

fn listed(ask: &str, queries: &BTreeMap<&String, &SinkCommit>) -> String {
    let lines: Vec<String> = queries
        .iter()
        .map(|(id, commit)| {
            let info = commit.info.as_ref();
            format!(
                "{id}: stream {}, micro-batch {}, version {}, up to {}",
                info.and_then(|info| info.stream.as_deref()).unwrap_or("(unknown)"),
                commit.batch_id,
                commit.version,
                commit.end().map(ToString::to_string).unwrap_or_default()
            )
        })
        .collect();
    format!("{ask}; the queries are [{}]", lines.join("; "))
}

/// What the newest commit of the query says, if it is also the newest transaction of the query.
fn committed(
    target: &mut dyn Sink,
    commit: Option<SinkCommit>,
    query_id: &str,
) -> Result<Option<CommittedBatch>> {
    let since = commit.as_ref().map(|commit| commit.version);
    let transaction = target.state(query_id, since)?.transaction;
    let url = target.target().location;
    let Some(commit) = commit else {
        return match transaction {
            None => Ok(None),
            Some(batch) => Err(silent(&url, batch)),
        };
    };
    if let Some(batch) = transaction.filter(|batch| *batch != commit.batch_id) {
        return Err(silent(&url, batch));
    }
    let SinkCommit { batch_id, info, .. } = commit;
    let Some(CommitInfo {
        start_offset: Some(start),
        end_offset: Some(end),
        plan: Some(plan),
        next_batch_watermark_ms,
        dead_letters_follow,
        ..
    }) = info.map(|info| *info)
    else {
        return Err(silent(&url, batch_id));
    };
    Ok(Some(CommittedBatch {
        plan: Plan::from_parts(batch_id, &plan.to_string(), &end)?,
        start,
        next_watermark_ms: next_batch_watermark_ms,
        dead_letters_pending: dead_letters_follow,
    }))
}

fn silent(table: &str, batch: i64) -> Error {
    Error::corrupt(format!(
        "the newest micro-batch of the query in table {table} is {batch}, but no commit in the table's log contains its offsets: another tool has cleaned up the log, or Spark wrote the batch, and its commits do not contain them"
    ))
    .hint("restore the checkpoint from a backup, or start with a new checkpointLocation and with source.options.startingOffsets as JSON")
}

fn lease(checkpoint: &Store, config: &StreamConfig) -> Result<Lease> {
    match Lease::take(checkpoint, &Owner::here(""), false)? {
        Acquire::Acquired(lease) => Ok(lease),
        Acquire::HeldBy(other) => Err(run_by(config, &other)),
    }
}

fn run_by(config: &StreamConfig, owner: &Owner) -> Error {
    Error::fenced(format!("stream {} is run by {owner}", config.name)).hint("stop it before rebuilding")
}

fn write(checkpoint: &Store, files: &[File]) -> Result<()> {
    // Looked at again under the lease.
    rebuild::check_empty(checkpoint, files)?;
    for file in files {
        if checkpoint.put_if_absent(&file.path, file.content.clone())? == Put::Exists {
            return Err(Error::conflict(format!(
                "another process wrote {} of checkpoint {}",
                file.path,
                checkpoint.url()
            ))
            .hint("nothing was overwritten; see `alluvia checkpoint show`"));
        }
    }
    Ok(())
}

fn as_json(checkpoint: &Store, lost: &Lost, files: &[File], dry_run: bool) -> serde_json::Value {
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    json!({
        "checkpoint": checkpoint.url().as_str(),
        "stream": lost.binding.stream,
        "table": lost.binding.table,
        "queryId": lost.query_id,
        "batchId": lost.rows.as_ref().map(|rows| rows.plan.batch_id),
        "endOffset": lost.rows.as_ref().map(|rows| rows.plan.end.to_value()),
        "files": paths,
        "dryRun": dry_run,
    })
}

fn as_text(checkpoint: &Store, lost: &Lost, files: &[File], there: &[String], dry_run: bool) -> String {
    let mut lines = vec![format!("Query {} of table {}", lost.query_id, lost.binding.table)];
    if let Some(rows) = &lost.rows {
        lines.push(format!("its newest micro-batch is {}, up to {}", rows.plan.batch_id, rows.plan.end));
    }
    if let Some(letters) = &lost.letters
        && lost.rows.as_ref().is_none_or(|rows| letters.plan.batch_id > rows.plan.batch_id)
    {
        lines.push(format!(
            "micro-batch {} has dead letters but no rows yet: the next run runs it again",
            letters.plan.batch_id
        ));
    }
    lines.push(match (dry_run, there.len() == files.len()) {
        (_, true) => format!("checkpoint {} holds all of this already:", checkpoint.url()),
        (true, false) => format!("checkpoint {} would get:", checkpoint.url()),
        (false, false) => format!("checkpoint {} now holds:", checkpoint.url()),
    });
    lines.extend(files.iter().map(|file| format!("  {}", file.path)));
    lines.join("\n") + "\n"
}
