//! How a stream's records become rows, and what becomes of those that do not.
//!
//! Read once from the configuration before anything is connected to; each lane's pipeline is made from
//! it. Its definition is a hash of all that decides results, so that a batch that is run again can tell
//! whether dead letters of its earlier run still count.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use uuid::Uuid;

use super::lane::OnReject;
use super::lane_pipeline::LanePipeline;
use super::open::{self, RawColumns};
use crate::config::{JsonValue, KafkaColumn, ParseMode, StreamConfig, ValueConfig};
use crate::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Policy};
use crate::decode::rows::{self, RowDecoder};
use crate::decode::schema::StructType;
use crate::decode::stage::StageFactory;
use crate::model::Result;
use crate::model::error::Context;

/// How values become rows: parsed once, made into one pipeline per lane.
#[derive(Debug, Clone)]
pub struct RowPipeline {
    /// The columns of a source that delivers rows; nothing is decoded then.
    rows: Option<SchemaRef>,
    schema: Option<StructType>,
    options: JsonOptions,
    policy: Policy,
    keep: Vec<KafkaColumn>,
    /// Kafka's columns that the table declares NOT NULL.
    required: Vec<KafkaColumn>,
    /// What follows the decoder.
    stages: Vec<Arc<dyn StageFactory>>,
    /// What becomes of a rejected record.
    pub on_reject: OnReject,
    /// Hash of all that decides results.
    pub definition_hash: String,
}

impl RowPipeline {
    /// Reads the schema and the options.
    ///
    /// # Errors
    /// `Config`, with the place in the text.
    pub fn of(config: &StreamConfig) -> Result<RowPipeline> {
        match &config.source.value {
            ValueConfig::Raw => Ok(RowPipeline::raw(config)),
            ValueConfig::Json(json) => RowPipeline::json(config, json),
        }
    }

    fn raw(config: &StreamConfig) -> RowPipeline {
        let dead_letters = config.dead_letter.is_some();
        let (rows, keep) = match open::raw_columns(config) {
            RawColumns::OfRecords(columns) => (None, columns),
            RawColumns::OfRows(columns) => (Some(columns), Vec::new()),
        };
        RowPipeline {
            rows,
            schema: None,
            options: JsonOptions::default(),
            policy: Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false },
            definition_hash: definition_hash(config, &raw_definition(config)),
            keep,
            required: Vec::new(),
            stages: Vec::new(),
            on_reject: if dead_letters { OnReject::DeadLetter } else { OnReject::Fail },
        }
    }

    fn json(config: &StreamConfig, json: &JsonValue) -> Result<RowPipeline> {
        let dead_letters = config.dead_letter.is_some();
        let schema = StructType::from_ddl(&json.schema).context(|| "read source.value.schema".into())?;
        let mut options = json.options.clone();
        options.insert("columnNameOfCorruptRecord".into(), json.corrupt_column.clone());
        options.insert("mode".into(), json.mode.as_str().into());
        if let Some(zone) = config.conf.get("spark.sql.session.timeZone") {
            options.entry("timeZone".into()).or_insert_with(|| zone.clone());
        }
        // The words of the stream file, not the form that they have in memory: a release may change that.
        let given = serde_json::to_string(&options).expect("strings are always JSON");
        let definition_hash =
            definition_hash(config, &format!("json\n{}\n{given}\n{}", json.schema, names(&json.keep)));
        let (options, without_effect) = JsonOptions::from_map(&options)?;
        for name in without_effect {
            tracing::warn!(
                stream = config.name,
                option = name,
                "the option has no effect when a schema is given"
            );
        }
        let on_reject = match (dead_letters, json.mode) {
            (true, _) => OnReject::DeadLetter,
            (false, ParseMode::DropMalformed) => OnReject::Drop,
            (false, ParseMode::FailFast | ParseMode::Permissive) => OnReject::Fail,
        };
        let keep_malformed = !dead_letters && json.mode == ParseMode::Permissive;
        let has_corrupt_column = schema.fields.iter().any(|field| field.name == json.corrupt_column);
        if keep_malformed && !has_corrupt_column {
            tracing::warn!(
                stream = config.name,
                "malformed records become rows of NULL and can't be told from others: add `{} STRING` to the schema, or set deadLetter",
                json.corrupt_column
            );
        }
        Ok(RowPipeline {
            rows: None,
            schema: Some(schema),
            options,
            policy: Policy {
                on_malformed: if keep_malformed { OnMalformed::Keep } else { OnMalformed::Reject },
                enforce_not_null: true,
            },
            keep: json.keep.clone(),
            required: Vec::new(),
            stages: Vec::new(),
            on_reject,
            definition_hash,
        })
    }

    /// The same for records that were rejected once and are selected because they decode now: one that
    /// does not is an error.
    pub fn for_replay(mut self) -> RowPipeline {
        self.policy.on_malformed = OnMalformed::Reject;
        self.on_reject = OnReject::Fail;
        self
    }

    /// The same with another stage behind those there are.
    pub fn with_stage(mut self, stage: Arc<dyn StageFactory>) -> RowPipeline {
        self.definition_hash = hash(&format!("{}\n{}", self.definition_hash, stage.definition()));
        self.stages.push(stage);
        self
    }

    /// The stream's columns, as the sink gets them.
    ///
    /// # Errors
    /// `Config` if a Delta table can't hold one of them.
    pub fn arrow_schema(&self) -> Result<SchemaRef> {
        if let Some(last) = self.stages.last() {
            return Ok(last.schema());
        }
        if let Some(rows) = &self.rows {
            return Ok(Arc::clone(rows));
        }
        let decoded = self.schema.as_ref().map(StructType::to_arrow).transpose()?;
        rows::schema(decoded.as_ref(), &self.keep)
    }

    /// Declares the columns at these positions NOT NULL, which the sink demands, so that each record is judged by
    /// itself. What the sink demands beyond the schema is part of the definition. Behind a stage the sink judges rows.
    ///
    /// # Errors
    /// As for [`RowPipeline::arrow_schema`].
    pub fn demand(&mut self, required: &[usize]) -> Result<()> {
        if !self.stages.is_empty() {
            return Ok(());
        }
        let columns = self.arrow_schema()?;
        for position in required {
            let name = columns.field(*position).name();
            let fields = self.schema.iter_mut().flat_map(|schema| &mut schema.fields);
            let mut added = false;
            if let Some(field) = fields.into_iter().find(|field| field.name == *name) {
                added = field.nullable;
                field.nullable = false;
            } else if let Some(column) = self.keep.iter().find(|column| column.name() == name)
                && !self.required.contains(column)
            {
                added = true;
                self.required.push(*column);
            }
            if added {
                self.definition_hash = hash(&format!("{}\n{name} NOT NULL", self.definition_hash));
            }
        }
        Ok(())
    }

    /// A pipeline for one lane.
    ///
    /// # Errors
    /// `Config` if the schema can't be decoded into.
    pub fn lane(&self) -> Result<LanePipeline> {
        let stages = self.stages.iter().map(|stage| stage.stage()).collect::<Result<_>>()?;
        let whole = self.on_reject == OnReject::DeadLetter;
        if self.rows.is_some() {
            return Ok(LanePipeline::new(None, stages, whole));
        }
        let value = match &self.schema {
            None => None,
            Some(schema) => Some(JsonDecoder::new(schema, &self.options, self.policy)?),
        };
        let mut decoder = RowDecoder::new(value, &self.keep)?;
        decoder.require(&self.required);
        Ok(LanePipeline::new(Some(decoder), stages, whole))
    }
}

/// What decides the raw rows of a source: of a source that makes rows its options, too.
fn raw_definition(config: &StreamConfig) -> String {
    match open::raw_columns(config) {
        RawColumns::OfRecords(columns) => format!("raw\n{}", names(&columns)),
        RawColumns::OfRows(_) => format!("raw\n{:?}", config.source.format),
    }
}

/// The version of what decoding and admission make of a record. Raise it by hand in every change by which the same
/// records and the same stream file give other rows or other dead letters. A release that changes neither must not
/// raise it: a batch that the former release planned is then run again as the same batch.
const SEMANTICS: u32 = 1;

/// The hash of what decides results: the stream's own words, the table of the dead letters, and [`SEMANTICS`].
fn definition_hash(config: &StreamConfig, how: &str) -> String {
    let letters = config.dead_letter.as_ref().map(|target| target.url.as_str()).unwrap_or_default();
    hash(&format!("{how}\n{letters}\nsemantics {SEMANTICS}"))
}

fn names(columns: &[KafkaColumn]) -> String {
    columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(",")
}

/// A hash that stays the same over releases of the compiler: a UUID of version 5.
fn hash(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ProcessLookup};

    fn definition_of(value: &str, more: &str) -> String {
        let yaml = format!(
            "streams:\n  - name: s\n    source:\n      format: kafka\n      options: {{kafka.bootstrap.servers: b:9092, subscribe: t}}\n{value}    sink: {{format: delta, path: /lake/t}}\n    checkpointLocation: /cp/s\n{more}"
        );
        let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
        RowPipeline::of(&config.streams[0]).unwrap().definition_hash
    }

    /// The hashes are written down: a batch that was planned by the release before is run again under the same one. They
    /// change with [`SEMANTICS`] only.
    #[test]
    fn the_definition_does_not_change_with_the_release() {
        let json = "      value: {format: json, schema: 'a INT, b STRING', options: {dateFormat: yyyy}, keep: [offset]}\n";
        assert_eq!(definition_of("", ""), "02760f7b-40db-57f4-b7ec-b08d9ea0dc25");
        assert_eq!(definition_of(json, ""), "72fc4240-5dff-5319-8e5b-c5d8629d10c5");
    }

    #[test]
    fn the_definition_changes_with_what_decides_results() {
        let json = |schema: &str, mode: &str, keep: &str| {
            format!("      value: {{format: json, schema: '{schema}', mode: {mode}, keep: [{keep}]}}\n")
        };
        let base = definition_of(&json("a INT", "FAILFAST", ""), "");
        let others = [
            definition_of(&json("a BIGINT", "FAILFAST", ""), ""),
            definition_of(&json("a INT", "DROPMALFORMED", ""), ""),
            definition_of(&json("a INT", "FAILFAST", "offset"), ""),
            definition_of(
                &json("a INT", "FAILFAST", ""),
                "    conf: {spark.sql.session.timeZone: Europe/Berlin}\n",
            ),
            definition_of(
                &json("a INT", "FAILFAST", ""),
                "    deadLetter: {format: delta, path: /lake/dead}\n",
            ),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != base && !others[..at].contains(other), "{at}");
        }
    }
}
