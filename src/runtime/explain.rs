//! A stream's plan as people read it: what is read, decoded, computed and written, and what that promises.
//!
//! Static tables and the target are opened, for their columns and promises; no broker is asked and nothing is made.

use super::open::{self, Access};
use super::row_pipeline::RowPipeline;
use super::sql::StreamSql;
use crate::config::{MergeConfig, StreamConfig, Trigger, WhenMatched};
use crate::model::{OutputMode, Result};
use crate::sink::Delivery;

/// One step of a stream: its name, and what it does, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// `source`, `decode`, `query`, `table`, `output`, `state`, `merge`, `rejected`, `trigger`, `sink`.
    pub name: &'static str,
    /// What it does.
    pub lines: Vec<String>,
}

impl Step {
    fn new(name: &'static str, line: impl Into<String>) -> Step {
        Step { name, lines: vec![line.into()] }
    }
}

/// Explains a stream; `verbose`, its query with all that is run.
///
/// # Errors
/// `Config` if it could not start for its configuration; `Unavailable` or `Corrupt` if a table cannot be read.
pub fn explain(config: &StreamConfig, verbose: bool, access: &Access) -> Result<Vec<Step>> {
    let pipeline = RowPipeline::of(config, access)?;
    let mut steps = vec![Step::new("source", open::source_words(config))];
    steps.push(Step::new("trigger", trigger(config.trigger)));
    steps.push(Step::new("decode", pipeline.decode_words()));
    if let Some(sql) = pipeline.sql() {
        steps.push(Step { name: "query", lines: sql.plan_lines(verbose) });
        steps.extend(sql.table_lines().into_iter().map(|line| Step::new("table", line)));
    }
    let merge = config.sink.merge();
    let state = pipeline.sql().map(StreamSql::state_lines).unwrap_or_default();
    let rows = output(config.output_mode, !state.is_empty());
    steps.push(Step::new("output", format!("{}: {rows}", config.output_mode.name())));
    if state.is_empty() {
        steps.push(Step::new("state", "none: every micro-batch is computed by itself"));
    } else {
        steps.push(Step { name: "state", lines: state });
    }
    let rejected = match &config.dead_letter {
        Some(target) => {
            format!("to the dead letters at {}, in the micro-batch's transaction of that table", target.url)
        }
        None => "by the source's mode; see docs/decoding.md".to_owned(),
    };
    steps.push(Step::new("rejected", rejected));
    steps.extend(merge.map(|merge| Step { name: "merge", lines: merge_lines(merge) }));
    let sink = open::sink(config, access)?.describe();
    let mut lines = vec![sink.name];
    let partition_by = config.sink.partition_by().join(", ");
    if !partition_by.is_empty() {
        lines.push(format!("partitioned by {partition_by}"));
    }
    lines.push(promise(config, sink.delivery).to_owned());
    steps.push(Step { name: "sink", lines });
    Ok(steps)
}

/// What source and sink promise together; `docs/guarantees.md` says the same.
fn promise(config: &StreamConfig, delivery: Delivery) -> &'static str {
    if !open::source_is_replayable(config) {
        return "at most once: what was read and not committed when the process ended is lost, and recorded as lost";
    }
    match delivery {
        Delivery::Transactional if config.sink.merge().is_some() => {
            "exactly once, and each key once: the micro-batch, its number and what it does to rows of its keys are one commit"
        }
        Delivery::Transactional => "exactly once: the micro-batch and its number are one commit",
        Delivery::IdempotentByBatch => {
            "each batch once in the process: a micro-batch that is written again replaces itself"
        }
        Delivery::AtLeastOnce => "at least once: a micro-batch that is run again may be there twice",
    }
}

/// What a merge does with rows, by their keys.
fn merge_lines(merge: &MergeConfig) -> Vec<String> {
    let mut lines = vec![format!("by {}", merge.keys.join(", "))];
    match &merge.when_matched {
        WhenMatched::Ignore => {
            lines.push("whenMatched ignore: a row whose key the table holds is left out".to_owned());
        }
        WhenMatched::Update(update) => {
            let newest = match &update.order_by {
                Some(column) => format!("if its {column} is not older"),
                None => "in the order of the source".to_owned(),
            };
            lines.push(format!("whenMatched update: a row takes the place of the table's, {newest}"));
            lines.extend(update.delete_when.as_ref().map(|when| {
                format!("deleteWhen: {} is {} deletes the key", when.column, when.values.join(" or "))
            }));
        }
    }
    if !merge.except_columns.is_empty() {
        lines.push(format!(
            "exceptColumns: every column is written to the table but {}",
            merge.except_columns.join(", ")
        ));
    }
    lines.extend(merge.within.as_ref().map(|within| {
        format!("within {:?} of {}: rows further apart are not compared", within.length, within.event_time)
    }));
    lines
}

fn output(mode: OutputMode, stateful: bool) -> &'static str {
    match mode {
        OutputMode::Append if !stateful => "each row of the micro-batch once",
        OutputMode::Append => "rows that will not change any more",
        OutputMode::Update => "rows that changed in the micro-batch",
        OutputMode::Complete => "all rows of the result, in place of the last ones",
    }
}

fn trigger(trigger: Trigger) -> String {
    match trigger {
        Trigger::AsSoonAsPossible => "as soon as the micro-batch before is done".to_owned(),
        Trigger::ProcessingTime(time) => format!("every {time:?}"),
        Trigger::Once => "once: reads everything in one micro-batch, then stops".to_owned(),
        Trigger::AvailableNow => {
            "availableNow: reads everything that is there at the start, then stops".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessLookup};

    const KAFKA: &str = "{format: kafka, options: {kafka.bootstrap.servers: 'b:9092', subscribe: t}}";
    /// What the page calls a source, and such a source.
    const SOURCES: [(&str, &str); 4] = [
        ("Kafka", KAFKA),
        // A replay writes to the stream's own table.
        ("dead letters (`replay`)", KAFKA),
        ("rate", "{format: rate}"),
        ("socket", "{format: socket, options: {host: h, port: 1}}"),
    ];
    /// What the page calls a sink, and such a sink.
    const SINKS: [(&str, &str); 7] = [
        ("Delta (append)", "{format: delta, path: ./table}"),
        ("Delta (`merge`, `whenMatched: ignore`)", "{format: delta, path: ./table, merge: {keys: [value]}}"),
        (
            "Delta (`merge`, `whenMatched: update`)",
            "{format: delta, path: ./table, merge: {keys: [value], whenMatched: update}}",
        ),
        (
            "Delta (`outputMode: update`)",
            "{format: delta, path: ./table, merge: {keys: [value], whenMatched: update}}",
        ),
        ("Delta (`outputMode: complete`)", "{format: delta, path: ./table}"),
        ("memory", "{format: memory}"),
        ("console", "{format: console}"),
    ];

    /// Source, sink and guarantee of each row of the page's first table.
    fn rows(page: &str) -> Vec<[String; 3]> {
        let (_, table) = page.split_once("| source | sink | guarantee |").expect("the page has the table");
        let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cell = |line: &str, at: usize| line.split('|').nth(at).unwrap_or_default().trim().to_owned();
        lines.map(|line| [cell(line, 1), cell(line, 2), cell(line, 3)]).collect()
    }

    #[test]
    fn the_page_of_guarantees_says_of_every_pair_what_source_and_sink_say() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
        let rows = rows(&std::fs::read_to_string(page).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let access = Access { handle: crate::storage::test_runtime().clone(), deadline: None };
        let mut told = vec![0; rows.len()];
        for (source_word, source) in SOURCES {
            for (sink_word, sink) in SINKS {
                let sink = sink.replace("./table", &folder.path().join("table").to_string_lossy());
                let yaml = format!(
                    "streams: [{{name: s, source: {source}, sink: {sink}, checkpointLocation: {}}}]",
                    folder.path().join("checkpoint").display()
                );
                let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
                let config = &config.streams[0];
                let promise = promise(config, open::sink(config, &access).unwrap().describe().delivery);
                let promise = promise.split(':').next().unwrap();
                let before: usize = told.iter().sum();
                for (row, told) in rows.iter().zip(&mut told) {
                    let [sources, sinks, guarantee] = row;
                    if sources.split(", ").any(|source| source == source_word)
                        && (sinks == "any" || sinks.starts_with(sink_word))
                    {
                        assert!(guarantee.starts_with(promise), "{row:?}: {promise}");
                        *told += 1;
                    }
                }
                let is_replayed_into_a_table = sink_word == "Delta (append)";
                if source_word != SOURCES[1].0 || is_replayed_into_a_table {
                    let after: usize = told.iter().sum();
                    assert!(after > before, "the page has no row for {source_word} into {sink_word}");
                }
            }
        }
        let untold: Vec<_> = rows.iter().zip(told).filter(|(_, told)| *told == 0).collect();
        assert!(rows.len() > 8 && untold.is_empty(), "no source and sink say this: {untold:?}");
    }

    #[test]
    fn a_merge_is_explained_with_its_keys_order_and_deletions() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access { handle: crate::storage::test_runtime().clone(), deadline: None };
        let place = folder.path().display();
        let yaml = format!(
            "streams:
  - name: s
    source: {{format: kafka, options: {{kafka.bootstrap.servers: 'b:9092', subscribe: t}}, value: {{format: json, schema: 'id INT, op STRING, at TIMESTAMP, day DATE'}}}}
    sink:
      format: delta
      path: {place}/table
      partitionBy: [day]
      merge: {{keys: [id], whenMatched: update, orderBy: at, deleteWhen: {{column: op, values: [d, x]}}, exceptColumns: [op]}}
    checkpointLocation: {place}/checkpoint
"
        );
        let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
        let steps = explain(&config.streams[0], false, &access).unwrap();
        let lines = |name: &str| {
            let step = steps.iter().find(|step| step.name == name);
            step.map(|step| step.lines.clone()).unwrap_or_default()
        };
        assert_eq!(
            lines("merge"),
            [
                "by id",
                "whenMatched update: a row takes the place of the table's, if its at is not older",
                "deleteWhen: op is d or x deletes the key",
                "exceptColumns: every column is written to the table but op",
            ]
        );
        assert_eq!(lines("sink")[1], "partitioned by day");
        assert!(lines("sink")[2].starts_with("exactly once, and each key once: "), "{:?}", lines("sink"));
        assert_eq!(lines("output"), ["append: each row of the micro-batch once"]);
    }
}
