//! How a stream's records become rows, and what becomes of those that do not.
//!
//! Read once from the configuration before anything is connected to; each lane's pipeline is made from
//! it. Its definition is a hash of all that decides results, so that a batch that is run again can tell
//! whether dead letters of its earlier run still count.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use uuid::Uuid;

use super::lane::OnReject;
use super::lane_pipeline::{Keep, LanePipeline};
use super::open::Access;
use super::sql::{self, StreamSql};
use crate::config::{JsonValue, RawColumns, StreamConfig, ValueConfig};
use crate::decode::admission::{Admission, ColumnCast};
use crate::decode::json::{
    JsonDecoder, JsonOptions, OnMalformed, ParseMode, Policy, Rejection, RejectionCode,
};
use crate::decode::rows::{self, RowDecoder};
use crate::decode::schema::StructType;
use crate::decode::stage::{NextStage, RejectedRecord, Stage, StageFactory, StageRows};
use crate::model::error::Context;
use crate::model::{MemoryAccount, RecordColumn, Result};
use crate::sink::AttemptWriter;

/// How values become rows: parsed once, made into one pipeline per lane.
#[derive(Debug, Clone)]
pub struct RowPipeline {
    /// The columns of a source that delivers rows; nothing is decoded then.
    rows: Option<SchemaRef>,
    schema: Option<StructType>,
    options: JsonOptions,
    policy: Policy,
    keep: Vec<RecordColumn>,
    /// How many columns the stream file declares; a query may need fewer.
    declared: usize,
    /// What follows the decoder.
    stages: Vec<Arc<dyn StageFactory>>,
    /// The stream's query, which is one of the stages.
    sql: Option<StreamSql>,
    /// What decides which rows the sink takes; it follows the stages. `None` while there is nothing to write to.
    admission: Option<Admission>,
    /// The hash of all that decides results but the sink's demands.
    own_hash: String,
    /// What becomes of a rejected record.
    pub on_reject: OnReject,
    /// Hash of all that decides results.
    pub definition_hash: String,
}

impl RowPipeline {
    /// Reads the schema and the options, and plans the query, for which static tables are opened.
    ///
    /// # Errors
    /// `Config`, with the place in the text; `Unavailable` or `Corrupt` if a table cannot be read.
    pub fn of(config: &StreamConfig, access: &Access) -> Result<RowPipeline> {
        let pipeline = match &config.source.value {
            ValueConfig::Raw => RowPipeline::raw(config),
            ValueConfig::Json(json) => RowPipeline::json(config, json)?,
        };
        match sql::plan(config, pipeline.arrow_schema()?, access)? {
            Some(planned) => pipeline.with_query(config, planned),
            None => Ok(pipeline),
        }
    }

    /// The same with a query behind the decoder, which decodes only the columns that are read.
    fn with_query(mut self, config: &StreamConfig, planned: sql::Planned) -> Result<RowPipeline> {
        let all = self.arrow_schema()?;
        let read: Vec<String> =
            planned.input_columns().iter().map(|column| all.field(*column).name().clone()).collect();
        if self.may_leave_columns_out(config, &read) {
            let decoded = self.schema.as_ref().map_or(0, |schema| schema.fields.len());
            let first = if decoded > 0 { all.fields().first() } else { None };
            let is_read = |name: &str| read.iter().any(|column| column == name);
            if let Some(schema) = &mut self.schema {
                schema.fields.retain(|field| {
                    // A record is judged by NOT NULL whether or not the query reads the column.
                    let only = read.is_empty() && first.is_some_and(|first| *first.name() == field.name);
                    is_read(&field.name) || !field.nullable || only
                });
            }
            self.keep
                .retain(|column| is_read(column.name()) || decoded == 0 && *column == RecordColumn::Offset);
            if self.schema.as_ref().is_some_and(|schema| schema.fields.is_empty()) {
                self.schema = None;
            }
        }
        let rows = self.arrow_schema()?;
        let position = |name: &String| rows.fields().iter().position(|field| field.name() == name);
        let positions = read.iter().filter_map(position).collect();
        let sql = planned.stage(positions);
        self = self.with_stage(Arc::new(sql.stage.clone()));
        self.sql = Some(sql);
        Ok(self)
    }

    /// Whether a column that the query does not read need not be decoded: not if what is wrong with it decides about
    /// the record (dead letters, FAILFAST, DROPMALFORMED, the column of corrupt records), as Spark prunes.
    fn may_leave_columns_out(&self, config: &StreamConfig, read: &[String]) -> bool {
        match &config.source.value {
            ValueConfig::Raw => true,
            ValueConfig::Json(json) => {
                self.on_reject == OnReject::Fail
                    && json.mode == ParseMode::Permissive
                    && !read.contains(&json.corrupt_column)
            }
        }
    }

    /// Whether the stream's query keeps state between batches.
    pub fn keeps_state(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| sql.stage.is_stateful())
    }

    /// What admits rows of a query that keeps state to the sink.
    ///
    /// # Errors
    /// `Config` if the stage can't be built.
    pub fn result_admission(&self) -> Result<Option<Box<dyn Stage>>> {
        self.admission.as_ref().filter(|_| self.keeps_state()).map(|admission| admission.stage()).transpose()
    }

    /// The stream's query, if it has one.
    pub fn sql(&self) -> Option<&StreamSql> {
        self.sql.as_ref()
    }

    /// What is decoded, in words.
    pub fn decode_words(&self) -> String {
        let kept: Vec<&str> = self.keep.iter().map(|column| column.name()).collect();
        match (&self.rows, &self.schema) {
            (Some(rows), _) => format!("nothing: the source has {} columns of its own", rows.fields().len()),
            (None, None) => format!("nothing but the columns {}", kept.join(", ")),
            (None, Some(schema)) => {
                let names: Vec<&str> = schema.fields.iter().map(|field| field.name.as_str()).collect();
                let beside = match kept.as_slice() {
                    [] => String::new(),
                    kept => format!("; beside them {}", kept.join(", ")),
                };
                format!("json, {} of {} columns: {}{beside}", names.len(), self.declared, names.join(", "))
            }
        }
    }

    /// The versions that the query's static tables have now.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` if one cannot be read.
    pub fn table_versions(&self) -> Result<BTreeMap<String, String>> {
        self.sql.as_ref().map_or_else(|| Ok(BTreeMap::new()), StreamSql::versions)
    }

    /// Fixes, before its lanes run, what a micro-batch that was planned at `micros` shares: the query's clock and the
    /// versions of its tables. What the query holds counts against `account`, the stream's.
    ///
    /// # Errors
    /// `Data` if a version cannot be read any more; as for [`RowPipeline::table_versions`].
    pub fn begin(
        &self,
        micros: i64,
        versions: &BTreeMap<String, String>,
        account: &Arc<MemoryAccount>,
    ) -> Result<()> {
        self.sql.as_ref().map_or(Ok(()), |sql| sql.begin(micros, versions, account))
    }

    fn raw(config: &StreamConfig) -> RowPipeline {
        let dead_letters = config.dead_letter.is_some();
        let (rows, keep) = match config.source.format.columns() {
            RawColumns::OfRecords(columns) => (None, columns),
            RawColumns::OfRows(columns) => (Some(columns), Vec::new()),
        };
        let definition_hash = definition_hash(config, &raw_definition(config));
        RowPipeline {
            rows,
            schema: None,
            options: JsonOptions::default(),
            policy: Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false },
            declared: 0,
            keep,
            stages: Vec::new(),
            sql: None,
            admission: None,
            on_reject: if dead_letters { OnReject::DeadLetter } else { OnReject::Fail },
            own_hash: definition_hash.clone(),
            definition_hash,
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
        if keep_malformed && !has_corrupt_column && !json.mode_given {
            tracing::warn!(
                stream = config.name,
                "malformed records become rows of NULL and can't be told from others: add `{} STRING` to the schema, or set deadLetter",
                json.corrupt_column
            );
        }
        Ok(RowPipeline {
            rows: None,
            declared: schema.fields.len(),
            schema: Some(schema),
            options,
            policy: Policy {
                on_malformed: if keep_malformed { OnMalformed::Keep } else { OnMalformed::Reject },
                enforce_not_null: true,
            },
            keep: json.keep.clone(),
            stages: Vec::new(),
            sql: None,
            admission: None,
            on_reject,
            own_hash: definition_hash.clone(),
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
        self.own_hash = hash(&format!("{}\n{}", self.own_hash, stage.definition()));
        self.stages.push(stage);
        let admission = self.admission.take();
        self.admit(admission);
        self
    }

    /// The stream's columns, as the sink gets them.
    ///
    /// # Errors
    /// `Config` if a Delta table can't hold one of them.
    pub fn arrow_schema(&self) -> Result<SchemaRef> {
        if let Some(sql) = self.sql.as_ref().filter(|sql| sql.stage.is_stateful()) {
            return Ok(sql.stage.result_schema());
        }
        if let Some(last) = self.stages.last() {
            return Ok(last.schema());
        }
        if let Some(rows) = &self.rows {
            return Ok(Arc::clone(rows));
        }
        let decoded = self.schema.as_ref().map(StructType::to_arrow).transpose()?;
        rows::schema(decoded.as_ref(), &self.keep)
    }

    /// Takes over what decides which rows the sink takes. What the sink demands is part of the definition.
    pub fn admit(&mut self, admission: Option<Admission>) {
        let demands = admission.as_ref().map(Admission::demands).unwrap_or_default();
        self.definition_hash = if demands.is_empty() {
            self.own_hash.clone()
        } else {
            hash(&format!("{}\n{demands}", self.own_hash))
        };
        self.admission = admission;
    }

    /// The columns that the sink's table has in another type, once [`RowPipeline::admit`] has said what it demands.
    pub fn casts(&self) -> &[ColumnCast] {
        self.admission.as_ref().map(Admission::casts).unwrap_or_default()
    }

    /// A pipeline for one lane. With `trial` each row is also tried on that writer, and one that it fails on is
    /// rejected.
    ///
    /// # Errors
    /// `Config` if the schema can't be decoded into.
    pub fn lane(&self, trial: Option<&Arc<dyn AttemptWriter>>) -> Result<LanePipeline> {
        let mut stages = self.stages.iter().map(|stage| stage.stage()).collect::<Result<Vec<_>>>()?;
        let mut may_reject = !stages.is_empty() || trial.is_some();
        // The rows of a query that keeps state come out behind the lanes, and are admitted there.
        let admission = self.admission.as_ref().filter(|_| !self.keeps_state());
        if let Some(admission) = admission {
            may_reject |= admission.may_reject();
            stages.push(admission.stage()?);
        }
        if let Some(writer) = trial.filter(|_| !self.keeps_state()) {
            stages.push(Box::new(TrialStage { writer: Arc::clone(writer) }));
        }
        let keep = match (may_reject, self.on_reject) {
            (false, _) => Keep::Nothing,
            (true, OnReject::DeadLetter) => Keep::Records,
            (true, OnReject::Drop | OnReject::Fail) => Keep::Places,
        };
        if self.rows.is_some() {
            return Ok(LanePipeline::new(None, stages, keep));
        }
        let value = match &self.schema {
            None => None,
            Some(schema) => Some(JsonDecoder::new(schema, &self.options, self.policy)?),
        };
        let decoder = RowDecoder::new(value, &self.keep)?;
        Ok(LanePipeline::new(Some(decoder), stages, keep))
    }
}

/// Tries rows on the writer of a run that has failed, and rejects those that it fails on.
struct TrialStage {
    writer: Arc<dyn AttemptWriter>,
}

impl Stage for TrialStage {
    fn apply(
        &mut self,
        rows: StageRows,
        rejected: &mut Vec<RejectedRecord>,
        next: &mut NextStage<'_>,
    ) -> Result<()> {
        let refused = self.writer.refused(rows.batch());
        if refused.is_empty() {
            return next(rows, rejected);
        }
        let records: BTreeSet<usize> = refused.into_iter().map(|row| rows.record_of(row)).collect();
        let why = || Rejection {
            code: RejectionCode::WriteFailed,
            field: None,
            message: "the writer of the table's files fails on the row".to_owned(),
        };
        rejected.extend(records.iter().map(|record| (*record, why())));
        next(rows.without(&records)?, rejected)
    }
}

/// What decides the raw rows of a source: of a source that makes rows its options, too.
fn raw_definition(config: &StreamConfig) -> String {
    match config.source.format.columns() {
        RawColumns::OfRecords(columns) => format!("raw\n{}", names(&columns)),
        RawColumns::OfRows(_) => format!("raw\n{:?}", config.source.format),
    }
}

/// The version of what decoding and admission make of a record. Raise it by hand in every change by which the same
/// records and the same stream file give other rows or other dead letters. A release that changes neither must not
/// raise it: a batch that the former release planned is then run again as the same batch.
const SEMANTICS: u32 = 2;

/// The hash of what decides results: the stream's own words, the table of the dead letters, and [`SEMANTICS`].
fn definition_hash(config: &StreamConfig, how: &str) -> String {
    let letters = config.dead_letter.as_ref().map(|target| target.url.as_str()).unwrap_or_default();
    hash(&format!("{how}\n{letters}\nsemantics {SEMANTICS}{}", config.sink.definition()))
}

fn names(columns: &[RecordColumn]) -> String {
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
        let access = Access { handle: crate::storage::test_runtime().clone(), deadline: None };
        RowPipeline::of(&config.streams[0], &access).unwrap().definition_hash
    }

    /// The hashes are written down: a batch that was planned by the release before is run again under the same one. They
    /// change with [`SEMANTICS`] only.
    #[test]
    fn the_definition_does_not_change_with_the_release() {
        let json = "      value: {format: json, schema: 'a INT, b STRING', options: {dateFormat: yyyy}, keep: [offset]}\n";
        assert_eq!(definition_of("", ""), "74caca4c-46fe-588a-9cee-241e34dd7d4c");
        assert_eq!(definition_of(json, ""), "f7086f43-6f15-5b9d-84ef-7740af9c7659");
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
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("d.json"), "{}").unwrap();
        let table = |more: &str| {
            format!(
                "    tables: {{d: {{format: json, path: {}/d.json, schema: 'k {more}'}}}}\n",
                folder.path().display()
            )
        };
        let query = "    sql: SELECT a FROM input\n";
        let queries = [
            query.to_owned(),
            query.replace("SELECT a", "SELECT a AS b"),
            format!("{query}    views: [{{name: v, sql: SELECT a FROM input}}]\n"),
            format!("{query}    conf: {{spark.sql.ansi.enabled: false}}\n"),
            format!("{query}{}", table("INT")),
            format!("{query}{}", table("STRING")),
        ];
        let queries = queries.map(|more| definition_of(&json("a INT", "FAILFAST", ""), &more));
        let others: Vec<String> = others.into_iter().chain(queries).collect();
        for (at, other) in others.iter().enumerate() {
            assert!(*other != base && !others[..at].contains(other), "{at}");
        }
    }
}
