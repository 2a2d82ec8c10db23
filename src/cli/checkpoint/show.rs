//! `alluvia checkpoint show`: reads a checkpoint, and with a stream file its table, and says what a run
//! would do first. Writes nothing, takes no lease.

use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::super::args::{CheckpointShowArgs, OutputFormat, StreamArgs};
use super::super::{io_runtime, one_stream};
use crate::checkpoint::{CheckpointBinding, CheckpointLog, Decision, Identity, Lease, paths};
use crate::config::{StreamConfig, parse_location};
use crate::model::{Error, Result};
use crate::runtime::open::Access;
use crate::runtime::recovery;
use crate::runtime::row_pipeline::RowPipeline;
use crate::storage::Store;

/// Runs the command.
///
/// # Errors
/// `Config` if there is no such checkpoint; `Unavailable` if storage does not answer. What is wrong *in*
/// the checkpoint is no error but part of the answer.
pub(super) fn run(args: &CheckpointShowArgs) -> Result<()> {
    let runtime = io_runtime()?;
    let config = stream_file(args)?;
    let store = match &config {
        Some(config) => Store::open(&config.checkpoint, &config.storage.0, runtime.handle())?,
        None => Store::open(&location(&args.target)?, &Default::default(), runtime.handle())?,
    };
    let shown = describe(&store, config.as_ref(), args.batches)?;
    match args.output.output {
        OutputFormat::Json => println!("{shown}"),
        OutputFormat::Text => print!("{}", text(&shown)),
    }
    Ok(())
}

/// The stream, if the target is a file: a checkpoint is a folder or a URL.
fn stream_file(args: &CheckpointShowArgs) -> Result<Option<StreamConfig>> {
    let path = Path::new(&args.target);
    if !path.is_file() {
        let is_named_as_file = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_named_as_file && !path.exists() && !args.target.contains("://") {
            return Err(Error::config(format!("there is no file {}", args.target))
                .hint("name a stream file, or a checkpoint's folder or URL"));
        }
        return Ok(None);
    }
    one_stream(&StreamArgs { file: args.target.clone().into(), stream: args.stream.clone() }).map(Some)
}

fn location(target: &str) -> Result<url::Url> {
    let base = std::env::current_dir()
        .map_err(|e| Error::unavailable("cannot tell the current folder").source(e))?;
    parse_location(target, &base).map_err(Error::config)
}

/// All that is shown, as the JSON object that `--output json` prints.
fn describe(store: &Store, config: Option<&StreamConfig>, batches: usize) -> Result<Value> {
    let log =
        CheckpointLog::new(store.clone(), config.map_or(u32::MAX, |config| config.min_batches_to_retain));
    let entries = log.entries()?;
    let identity = Identity::read(store);
    if let (Ok(None), true) = (&identity, entries.plans.is_empty() && entries.commits.is_empty())
        && config.is_none()
    {
        return Err(Error::config(format!("{} holds no checkpoint", store.url()))
            .hint("name a checkpoint's folder or URL, or a stream file"));
    }
    let served = CheckpointBinding::read(store);
    let newest: Vec<i64> = entries.plans.union(&entries.commits).copied().collect();
    let newest = newest.into_iter().rev().take(batches);
    let rows: Vec<Value> = newest.map(|batch| batch_row(&log, batch)).collect();
    let (identity, no_id) = apart(identity);
    let query_id = identity.flatten().map(|identity| identity.id);
    let (binding, no_binding) = apart(served);
    let binding = binding.flatten();
    let mut problems: Vec<String> = no_id.into_iter().chain(no_binding).collect();
    if problems.is_empty() {
        problems.extend(recovery::check_alone(&log).err().map(|error| error.to_string()));
    }
    Ok(json!({
        "checkpoint": store.url().as_str(),
        "queryId": query_id,
        "stream": binding.as_ref().map(|binding| &binding.stream),
        "table": binding.as_ref().map(|binding| &binding.table),
        "tableId": binding.as_ref().map(|binding| &binding.table_id),
        "owner": Lease::owner(store)?.map(|owner| owner.to_string()),
        "newestPlan": entries.plans.last(),
        "newestCommit": entries.commits.last(),
        "batches": rows,
        "problems": problems,
        "next": next(&log, config),
    }))
}

fn apart<T>(read: Result<T>) -> (Option<T>, Option<String>) {
    match read {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

/// One micro-batch: its plan and whether it is committed. Both times are those of the files.
fn batch_row(log: &CheckpointLog, batch_id: i64) -> Value {
    // A file that can't be looked at can't be read either, and is told as a problem below.
    let written = |folder: &str| apart(log.store().written_at(&format!("{folder}/{batch_id}"))).0.flatten();
    let (planned, committed) = (written(paths::OFFSETS), written(paths::COMMITS));
    let (plan, no_plan) = apart(log.plan(batch_id));
    let (_, no_commit) = apart(log.committed(batch_id));
    let committed = committed.filter(|_| no_commit.is_none());
    let mut row = json!({
        "batchId": batch_id,
        "planned": planned.filter(|_| plan.is_some()).map(time),
        "committed": committed.map(time),
    });
    if let Some(plan) = &plan {
        row["plannedBy"] = if plan.is_ours() { "Alluvia" } else { "Spark" }.into();
        row["endOffset"] = plan.end.to_value();
    }
    if let Some(problem) = no_plan.or(no_commit) {
        row["problem"] = problem.into();
    }
    row
}

/// What a run would do first: a word for machines and a sentence for people.
fn next(log: &CheckpointLog, config: Option<&StreamConfig>) -> Value {
    let Some(config) = config else {
        return json!({"action": "unknown", "message": "not known without the table: name the stream file instead of the checkpoint"});
    };
    match decision(log, config) {
        Ok(decision) => {
            let (does, says) = in_words(&decision);
            json!({"action": does, "message": says})
        }
        Err(error) => json!({"action": "refuse", "kind": error.kind().name(), "message": error.to_string()}),
    }
}

/// The decision of a start, by the same steps, without what a start makes.
fn decision(log: &CheckpointLog, config: &StreamConfig) -> Result<Decision> {
    let access = Access { handle: log.store().runtime().clone(), deadline: None };
    let mut row_pipeline = RowPipeline::of(config, &access)?;
    Ok(recovery::inspect_without_lease(config, log, &access, &mut row_pipeline)?.decision)
}

fn in_words(decision: &Decision) -> (&'static str, String) {
    match decision {
        Decision::StartFresh => ("startFresh", "start a new query: plan micro-batch 0".into()),
        Decision::PlanAfter(batch) => (
            "plan",
            format!("plan micro-batch {}, if the broker still has the offsets that follow", batch + 1),
        ),
        Decision::MendCommitLog(batch) => (
            "writeCommitLog",
            format!("write commits/{batch}, because the table holds it, and plan micro-batch {}", batch + 1),
        ),
        Decision::Rerun(batch) => (
            "rerun",
            format!(
                "run micro-batch {batch} again over the offsets of its plan, if the broker still has them"
            ),
        ),
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The same for people.
fn text(shown: &Value) -> String {
    let said = |key: &str, otherwise: &str| shown[key].as_str().unwrap_or(otherwise).to_owned();
    let mut lines = vec![
        format!("checkpoint  {}", said("checkpoint", "")),
        format!("query id    {}", said("queryId", "none")),
        format!("stream      {}", said("stream", "none yet: no run of Alluvia has used this checkpoint")),
        format!("table       {}", said("table", "not known")),
        format!("owner       {}", said("owner", "no one runs the stream")),
        format!("next run    {}", shown["next"]["message"].as_str().unwrap_or_default()),
    ];
    lines.extend(
        shown["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|p| Some(format!("problem     {}", p.as_str()?))),
    );
    lines.push(String::new());
    let batches = shown["batches"].as_array().map(Vec::as_slice).unwrap_or_default();
    match batches {
        [] => lines.push("No micro-batch was planned.".into()),
        _ => lines
            .push(format!("{:>8}  {:24}  {:24}  {:8}  ends before", "batch", "planned", "committed", "by")),
    }
    for batch in batches {
        let field = |key: &str| batch[key].as_str().unwrap_or("-").to_owned();
        let end = match batch["problem"].as_str() {
            Some(problem) => problem.to_owned(),
            None => batch["endOffset"].to_string(),
        };
        let row = (field("planned"), field("committed"), field("plannedBy"));
        lines.push(format!(
            "{:>8}  {:24}  {:24}  {:8}  {end}",
            batch["batchId"].to_string(),
            row.0,
            row.1,
            row.2
        ));
    }
    lines.join("\n") + "\n"
}
