//! A stream's query: from the configuration to the stage that its lanes run, and the tables that it joins.
//!
//! The tables are opened when the stream starts, for a query is planned with their columns. Which version of them a
//! micro-batch reads is decided when it is planned ([`StreamSql::versions`]) and stored in the plan, so that a run of
//! the batch after a crash reads the same rows ([`StreamSql::begin`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;

use super::memory;
use super::open::{self, Access};
use crate::config::{StreamConfig, TableConfig, ViewConfig};
use crate::decode::schema::StructType;
use crate::model::error::Context;
use crate::model::{Error, Hidden, Marks, MemoryAccount, OutputMode, Result};
use crate::query::tables::{StaticTable, TableSource};
use crate::query::{
    Conf, Definition, Input, Query, RecordBytes, Relation, Runner, SqlStage, TableRows, View, WatermarkPolicy,
};

/// What the rows of all static tables of a stream may take in memory, where no memory limit says otherwise.
const TABLES_BYTES: usize = 1 << 30;

/// The version of what SQL makes of rows. Raise it by hand in every change by which the same query gives other rows.
const SEMANTICS: u32 = 5;

/// The relation that the stream's rows are in a query.
const INPUT: &str = "input";

/// A planned query with its tables.
#[derive(Debug, Clone)]
pub struct StreamSql {
    /// The stage that lanes run.
    pub stage: SqlStage,
    tables: Arc<Mutex<Vec<StaticTable>>>,
    /// Of each table the columns that are read; `None`: it is not read.
    columns: Arc<[Option<Vec<usize>>]>,
    /// The plan in the words of a query.
    outline: Arc<str>,
    /// The plan with all that is run.
    plan: Arc<str>,
    /// Whether a micro-batch without data is run when the watermark has moved.
    pub empty_batches: bool,
}

/// A planned query that is no stage yet: which columns its rows will have is still to be said.
pub struct Planned {
    query: Query,
    tables: Vec<StaticTable>,
    definition: String,
    empty_batches: bool,
    hidden: Hidden,
}

/// Plans the stream's query over `input`, the columns that its decoder can give; `None` if it has none.
///
/// # Errors
/// `Config` if the query or a table is wrong; `Unavailable` or `Corrupt` if a table cannot be read.
pub fn plan(config: &StreamConfig, input: SchemaRef, access: &Access) -> Result<Option<Planned>> {
    let marked = config.source.marks != Marks::default();
    let sql = match &config.sql {
        Some(sql) => sql.as_str(),
        // What is marked on the source needs no query of the user's.
        None if marked || config.output_mode != OutputMode::Append => "SELECT * FROM input",
        None => return Ok(None),
    };
    let limit = config.memory_limit.map_or(TABLES_BYTES, |limit| limit as usize / 2);
    let conf = Conf::from_map(&config.conf).context(|| "read conf".to_owned())?;
    let conf = Conf { record_bytes: memory::record_bytes(config), ..conf };
    let mut tables = Vec::with_capacity(config.tables.len());
    for table in &config.tables {
        tables.push(StaticTable::open(source(config, table, &conf, access)?, limit)?);
    }
    let relation =
        |table: &StaticTable| Relation { name: table.name().to_owned(), schema: Arc::clone(table.schema()) };
    let view = |view: &ViewConfig| View {
        name: view.name.clone(),
        sql: view.sql.clone(),
        marks: view.marks.clone(),
    };
    let definition = Definition {
        inputs: vec![Input {
            relation: Relation { name: INPUT.to_owned(), schema: input },
            marks: config.source.marks.clone(),
        }],
        tables: tables.iter().map(relation).collect(),
        views: config.views.iter().map(view).collect(),
        sql: sql.to_owned(),
        conf,
        output_mode: config.output_mode,
    };
    let query = Query::plan(&definition).map_err(|error| config.hidden.error(error))?;
    open::check_output_mode(config, query.replaces_rows())?;
    // A table must be able to hold the columns.
    query.output().to_arrow().context(|| "plan sql".to_owned())?;
    let unfit =
        |name: &str| name.is_empty() || name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']);
    if let Some(field) = query.output().fields.iter().find(|field| unfit(&field.name)) {
        return Err(Error::config(format!(
            "sql gives a column named {}, which a table cannot hold",
            field.name
        ))
        .hint("give it a name with AS"));
    }
    let Conf { empty_batches, .. } = definition.conf;
    let hidden = config.hidden.clone();
    Ok(Some(Planned { query, tables, definition: text(config, &definition.conf), empty_batches, hidden }))
}

fn source(config: &StreamConfig, table: &TableConfig, conf: &Conf, access: &Access) -> Result<TableSource> {
    let schema = table.schema.as_ref().map(|ddl| StructType::from_ddl(ddl)).transpose();
    Ok(TableSource {
        name: table.name.clone(),
        format: table.format,
        store: access.store(config, &table.url)?,
        schema: schema.context(|| format!("read tables.{}.schema", table.name))?,
        header: table.header,
        separator: table.separator,
        conf: conf.clone(),
    })
}

/// All that decides what a query answers, as text for the definition's hash.
fn text(config: &StreamConfig, conf: &Conf) -> String {
    let mut text = format!("sql semantics {SEMANTICS}\n{}", config.sql.as_deref().unwrap_or_default());
    if config.source.marks != Marks::default() {
        let _ = write!(text, "\n{:?}", config.source.marks);
    }
    for view in &config.views {
        let _ = write!(text, "\nview {}\n{}", view.name, view.sql);
        if view.marks != Marks::default() {
            let _ = write!(text, "\n{:?}", view.marks);
        }
    }
    if config.output_mode != OutputMode::Append {
        let _ = write!(text, "\noutput mode {}", config.output_mode.name());
    }
    for table in &config.tables {
        let TableConfig { name, format, url, schema, header, separator } = table;
        let _ = write!(text, "\ntable {name}\n{format:?} {url} {schema:?} {header} {separator}");
    }
    let _ = write!(text, "\nansi {} zone {} case {}", conf.ansi, conf.zone_id, conf.case_sensitive);
    if conf.watermark_policy != WatermarkPolicy::Min {
        let _ = write!(text, "\nwatermark policy {:?}", conf.watermark_policy);
    }
    // Under another limit other records are dead letters.
    if conf.record_bytes != RecordBytes::default() {
        let _ = write!(text, "\nrecord {}", conf.record_bytes.most());
    }
    text
}

impl Planned {
    /// Which of the input's columns the query reads, ascending.
    pub fn input_columns(&self) -> Arc<[usize]> {
        self.query.input_columns()
    }

    /// The stage, for rows that have the columns which the query reads at these positions.
    pub fn stage(self, positions: Vec<usize>) -> StreamSql {
        let columns = (0..self.tables.len()).map(|n| self.query.table_columns(n));
        StreamSql {
            columns: columns.collect(),
            outline: self.hidden.text(&self.query.outline()).into(),
            plan: self.hidden.text(&self.query.explain()).into(),
            empty_batches: self.empty_batches,
            stage: SqlStage::new(Runner::new(self.query), positions, self.definition, self.hidden),
            tables: Arc::new(Mutex::new(self.tables)),
        }
    }
}

impl StreamSql {
    /// The query's steps, from the sink to the source, one a line; with `all` that is run.
    pub fn plan_lines(&self, all: bool) -> Vec<String> {
        let plan = if all { &self.plan } else { &self.outline };
        plan.lines().map(str::to_owned).collect()
    }

    /// Whether the query has a watermark or state.
    pub fn keeps_more_than_rows(&self) -> bool {
        self.stage.has_watermark() || self.stage.is_stateful()
    }

    /// What the query keeps between micro-batches, and what bounds it; a line for each operator.
    pub fn state_lines(&self) -> Vec<String> {
        self.stage.state_lines()
    }

    /// A line for each table: its name, its format and the columns that are read.
    pub fn table_lines(&self) -> Vec<String> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(table, columns): (&StaticTable, &Option<Vec<usize>>)| {
            let name = |column: &usize| table.schema().field(*column).name().as_str();
            match columns {
                None => format!("{} is not read", table.name()),
                Some(columns) => {
                    let names: Vec<&str> = columns.iter().map(name).collect();
                    format!("{} [{}], read again when it changes", table.name(), names.join(", "))
                }
            }
        };
        tables.iter().zip(self.columns.iter()).map(line).collect()
    }

    /// The versions that the tables have now, by name, of those that the query reads.
    ///
    /// # Errors
    /// As for [`StaticTable::newest_version`].
    pub fn versions(&self) -> Result<BTreeMap<String, String>> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let read = tables.iter_mut().zip(self.columns.iter()).filter(|(_, columns)| columns.is_some());
        read.map(|(table, _)| Ok((table.name().to_owned(), table.newest_version()?))).collect()
    }

    /// Begins a micro-batch that was planned at `micros` with these versions of the tables; of a table that the plan
    /// does not know the newest is read. Its rows, and what lanes make of theirs, count against `account`.
    ///
    /// # Errors
    /// As for [`StaticTable::rows`].
    pub fn begin(
        &self,
        micros: i64,
        versions: &BTreeMap<String, String>,
        account: &Arc<MemoryAccount>,
    ) -> Result<()> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let mut contents = Vec::with_capacity(tables.len());
        for (table, columns) in tables.iter_mut().zip(self.columns.iter()) {
            contents.push(match columns {
                None => TableRows { version: String::new(), batches: Arc::default(), held: None },
                Some(columns) => {
                    let version = match versions.get(table.name()) {
                        Some(version) => version.clone(),
                        None => table.newest_version()?,
                    };
                    table.rows(&version, columns, account)?
                }
            });
        }
        self.stage.begin(micros, &contents, account)
    }
}
