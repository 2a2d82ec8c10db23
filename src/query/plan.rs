//! A query of a stream, planned once: from its text to physical plans that every batch runs.
//!
//! What is pinned here decides results, with nothing of a batch in it: the plans are the same for every lane and for a
//! replay. A query that keeps nothing between batches is one fragment, which the lanes run. At a stateful operator the
//! plan is cut ([`super::stateful`]).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::Statement;

use super::clock::BatchClock;
use super::conf::{Conf, is_same_name};
use super::definition::Definition;
use super::fragment::Fragment;
use super::record_bytes::RecordBytes;
use super::rewrite::literal::interval_of;
use super::rewrite::{Rewriter, twins};
use super::session::{Session, refused};
use super::slot::{Of, Places, Slot};
use super::stateful::below;
use super::stateful::cut::Core;
use super::stateful::dedupe_node::Dedupe;
use super::stateful::event_time::{self, EventTimeWatermark};
use super::stateful::tracker::{WatermarkPolicy, WatermarkRule, WatermarkTracker};
use super::{check, dialect, generate, record, types};
use crate::decode::schema::StructType;
use crate::model::error::Context;
use crate::model::{Error, Marks, Result};

/// A planned query.
pub struct Query {
    /// What lanes run over the rows of the first stream; of a stateful query the part below its first operator.
    pub(super) lanes: Fragment,
    /// The operators that keep state, and what is between and above them.
    pub(super) core: Option<Core>,
    pub(super) clock: BatchClock,
    pub(super) session: Session,
    pub(super) places: Places,
    /// What moves each watermark that is declared.
    pub(super) watermarks: Vec<WatermarkRule>,
    policy: WatermarkPolicy,
    logical: LogicalPlan,
    output: StructType,
    schema: SchemaRef,
    /// The columns that lanes give: of a stateless query those of the query.
    lane_schema: SchemaRef,
    /// Which column of the stream is the number of the record, which the lanes' rows have as their last; `None` if there
    /// are several streams.
    pub(super) record: Option<usize>,
    /// The most rows that a lane takes at once, so that its windows make no more than [`EXPANDED_ROWS`] of them.
    pub(super) rows_at_once: usize,
}

/// How many rows windows may make at once.
const EXPANDED_ROWS: usize = 64 * 1024;

/// The least `idleTimeout`.
const MIN_IDLE_TIMEOUT_MS: i64 = 1000;

impl Query {
    /// Plans a query.
    ///
    /// # Errors
    /// `Config`: it can't be parsed, names something that is not there, or cannot be run over a stream.
    pub fn plan(definition: &Definition) -> Result<Query> {
        let clock = BatchClock::default();
        let conf = Conf { clock: clock.clone(), ..definition.conf.clone() };
        let places = Places { streams: definition.inputs.len(), tables: definition.tables.len() };
        let mut session = Session::new(&conf);
        let mut watermarks = Vec::new();
        for (place, input) in definition.inputs.iter().enumerate() {
            let relation = &input.relation;
            record::check_columns(relation)?;
            let slot = Slot::new(place, Of::Stream, &relation.name, Arc::clone(&relation.schema));
            session.add_table(&relation.name, Arc::new(slot));
            if input.marks != Marks::default() {
                let sql = format!("SELECT * FROM `{}`", relation.name.replace('`', "``"));
                let plan = logical(&session, &sql).context(|| format!("plan {}", relation.name))?;
                let plan = marked(plan, &input.marks, &relation.name, &definition.conf, &mut watermarks)?;
                session.add_table(&relation.name, Arc::new(ViewTable::new(plan, None)));
            }
        }
        for (number, relation) in definition.tables.iter().enumerate() {
            let place = places.streams + number;
            let slot = Slot::new(place, Of::Table, &relation.name, Arc::clone(&relation.schema));
            session.add_table(&relation.name, Arc::new(slot));
        }
        for view in &definition.views {
            let plan = logical(&session, &view.sql).context(|| format!("plan view {}", view.name))?;
            let plan = marked(plan, &view.marks, &view.name, &definition.conf, &mut watermarks)?;
            session.add_table(&view.name, Arc::new(ViewTable::new(plan, None)));
        }
        let logical = logical(&session, &definition.sql).context(|| "plan sql".to_owned())?;
        let analyzed = session
            .state()
            .analyzer()
            .execute_and_check(logical, session.state().config_options(), |_, _| {})
            .map_err(|error| refused(&error))?;
        check::of_stream(&analyzed, definition.output_mode)?;
        let (output, schema) = output(&analyzed)?;
        let read = event_time::read_watermarks(&analyzed).map_err(|error| refused(&error))?;
        for (number, rule) in watermarks.iter_mut().enumerate() {
            rule.is_read = read.contains(&number);
        }
        let rows_at_once = (EXPANDED_ROWS / generate::copies(&analyzed).max(1)).max(1);
        let shown = analyzed.clone();
        let analyzed = below::placed(&session, analyzed).map_err(|error| refused(&error))?;
        let record = match definition.inputs.as_slice() {
            [only] => Some(only.relation.schema.fields().len()),
            _ => None,
        };
        let (lanes, core, lane_schema) = match Core::cut(&session, &analyzed, places, definition.output_mode)?
        {
            Some((lanes, core, lane_schema)) => (lanes, Some(core), lane_schema),
            None => {
                let all = places.streams + places.tables;
                let analyzed = if record.is_some() {
                    record::carried(analyzed).map_err(|error| refused(&error))?
                } else {
                    analyzed
                };
                let fragment = Fragment::plan(&session, analyzed, all).map_err(|error| refused(&error))?;
                (fragment, None, Arc::clone(&schema))
            }
        };
        let policy = definition.conf.watermark_policy;
        Ok(Query {
            lanes,
            core,
            clock,
            session,
            places,
            watermarks,
            policy,
            logical: shown,
            output,
            schema,
            lane_schema,
            record,
            rows_at_once,
        })
    }

    /// The columns that come out.
    pub fn output(&self) -> &StructType {
        &self.output
    }

    /// The columns that come out, as Arrow has them.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that lanes give: those of the query, or those that its first stateful operator takes.
    pub fn lane_schema(&self) -> &SchemaRef {
        &self.lane_schema
    }

    /// How much may be made of one record.
    pub(super) fn record_bytes(&self) -> RecordBytes {
        self.session.conf().record_bytes
    }

    /// What moves its watermark, which stands at `watermark_ms`.
    pub fn watermark_tracker(&self, watermark_ms: i64) -> WatermarkTracker {
        WatermarkTracker::new(&self.watermarks, self.policy, watermark_ms)
    }

    /// Whether it keeps state between micro-batches.
    pub fn is_stateful(&self) -> bool {
        self.core.is_some()
    }

    /// Which of the first stream's columns are read, ascending: batches must have these and no others.
    pub fn input_columns(&self) -> Arc<[usize]> {
        let used = self.lanes.used(0);
        used.iter().copied().filter(|column| Some(*column) != self.record).collect()
    }

    /// Which columns of a static table are read, ascending; `None` if it is not read at all.
    pub fn table_columns(&self, table: usize) -> Option<Vec<usize>> {
        let place = self.places.streams + table;
        let mut fragments = std::iter::once(&self.lanes).chain(self.core.iter().flat_map(Core::fragments));
        let mut columns = BTreeSet::new();
        let mut read = false;
        for fragment in fragments.by_ref().filter(|fragment| fragment.reads(place)) {
            read = true;
            columns.extend(fragment.used(place).iter().copied());
        }
        read.then(|| columns.into_iter().collect())
    }

    /// The plan with all that is run, one operator a line.
    pub fn explain(&self) -> String {
        self.shown(Fragment::explain)
    }

    /// The plan in the words of a query, one step a line.
    pub fn outline(&self) -> String {
        self.shown(Fragment::outline)
    }

    fn shown(&self, shown: fn(&Fragment) -> String) -> String {
        match &self.core {
            None => shown(&self.lanes),
            Some(core) => core.explain(&self.lanes, shown),
        }
    }

    /// The logical plan, as people read it.
    pub fn explain_logical(&self) -> String {
        self.logical.display_indent().to_string()
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("plan", &self.explain()).finish_non_exhaustive()
    }
}

fn logical(session: &Session, sql: &str) -> Result<LogicalPlan> {
    let query = Rewriter::new(session).query(dialect::parse(sql)?)?;
    session.plan(Statement::Query(Box::new(query))).map_err(|error| refused(&error))
}

/// A plan with its marks; `name` is the relation's, for messages.
fn marked(
    plan: LogicalPlan,
    marks: &Marks,
    name: &str,
    conf: &Conf,
    watermarks: &mut Vec<WatermarkRule>,
) -> Result<LogicalPlan> {
    if *marks == Marks::default() {
        return Ok(plan);
    }
    // One name for the columns of a view, whatever they were called by where they came from.
    let mut plan = LogicalPlanBuilder::from(plan)
        .alias(name)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| refused(&error))?;
    if let Some(watermark) = &marks.watermark {
        let column = column(plan.schema(), &watermark.event_time, name, conf)?;
        let field = plan.schema().field(column);
        if !is_time(field) {
            return Err(Error::config(format!(
                "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE: the watermark of {name} is on {}, which is not a TIMESTAMP",
                field.name()
            ))
            .hint("cast the column in a view, and declare the watermark on the view"));
        }
        let delay_ms = delay_ms(&watermark.delay_threshold)?;
        let skew = watermark.max_future_skew.as_deref().map(|text| duration_ms("maxFutureSkew", text));
        let skew = skew.transpose()?;
        let idle = watermark.idle_timeout.as_deref().map(|text| duration_ms("idleTimeout", text));
        let rule = WatermarkRule { delay_ms, idle_timeout_ms: idle.transpose()?, is_read: false };
        if rule.idle_timeout_ms.is_some_and(|timeout| timeout < MIN_IDLE_TIMEOUT_MS) {
            return Err(Error::config(format!("the idleTimeout of {name} is less than a second"))
                .hint("it is how long the stream may be quiet: 5 minutes"));
        }
        plan = EventTimeWatermark::plan(plan, column, (delay_ms, skew), watermarks.len())
            .map_err(|error| refused(&error))?;
        watermarks.push(rule);
    }
    for (keys, within) in [(&marks.drop_duplicates, false), (&marks.drop_duplicates_within_watermark, true)] {
        let Some(keys) = keys else { continue };
        let keys = match keys.as_slice() {
            [] => (0..plan.schema().fields().len()).collect(),
            keys => {
                let mut found = Vec::new();
                for key in keys {
                    let at = column(plan.schema(), key, name, conf)?;
                    if !found.contains(&at) {
                        found.push(at);
                    }
                }
                found
            }
        };
        plan = Dedupe::plan(plan, keys, within);
    }
    Ok(plan)
}

fn is_time(field: &arrow::datatypes::Field) -> bool {
    use arrow::datatypes::{DataType, TimeUnit};
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.is_some(),
        DataType::Struct(_) => event_time::is_window(field),
        _ => false,
    }
}

/// A delay in milliseconds.
fn delay_ms(text: &str) -> Result<i64> {
    let delay = duration_ms("delayThreshold", text)?;
    if delay < 0 {
        return Err(Error::config(format!("INVALID_DELAY_THRESHOLD: the delayThreshold {text} is negative")));
    }
    Ok(delay)
}

/// The time that the key `key` says, in milliseconds; a month is 31 days, as in Spark.
fn duration_ms(key: &str, text: &str) -> Result<i64> {
    let Some((months, days, micros)) = interval_of(text) else {
        return Err(Error::config(format!("CANNOT_PARSE_INTERVAL: {text} is not a valid {key}"))
            .hint("write it as 10 minutes, or 1 hour 30 minutes"));
    };
    let days = i64::from(months) * 31 + i64::from(days);
    Ok(days.saturating_mul(86_400_000).saturating_add(micros.div_euclid(1000)))
}

fn column(schema: &DFSchema, wanted: &str, relation: &str, conf: &Conf) -> Result<usize> {
    let is_it = |field: &FieldRef| is_same_name(conf.case_sensitive, field.name(), wanted);
    if let Some(at) = schema.fields().iter().position(is_it) {
        return Ok(at);
    }
    let nearest = schema.fields().iter().min_by_key(|field| strsim::levenshtein(field.name(), wanted));
    let error = Error::config(format!(
        "UNRESOLVED_COLUMN: {relation} has no column {wanted}, which is marked as a key or an event time"
    ));
    Err(match nearest {
        Some(nearest) => error.hint(format!("the nearest name is {}", nearest.name())),
        None => error,
    })
}

/// The columns that a plan gives, in Spark's types and in the Arrow form that the decoders use.
fn output(plan: &LogicalPlan) -> Result<(StructType, SchemaRef)> {
    let schema: &Schema = plan.schema().as_arrow();
    let mut names = BTreeSet::new();
    for field in schema.fields() {
        if !names.insert(field.name().to_lowercase()) {
            return Err(twins(field.name()));
        }
    }
    let output = types::of_schema(schema)?;
    let arrow = types::conformed(schema)?;
    Ok((output, Arc::new(arrow)))
}
