//! Running a stateful query over micro-batches.
//!
//! [`StatefulRun::run`] takes what the lanes made of a micro-batch and gives the rows of its result. It changes the
//! state of that batch only ([`StateBatch`]); the caller makes it durable, commits the sink, and then the state.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;

use super::aggregate::{Grouping, Partial, partials};
use super::observed::Observed;
use super::{BatchTimes, OperatorProgress};
use crate::model::{OutputMode, Result};
use crate::query::error::{Failure, RESULT_TOO_LARGE, failure, internal};
use crate::query::fragment::FragmentRun;
use crate::query::plan::Query;
use crate::query::record::numbered;
use crate::query::slot::Relation;
use crate::query::types::conform;
use crate::state::{StateBatch, TableDefinition};

/// What lanes made of a micro-batch.
#[derive(Debug)]
pub enum Feed {
    /// Rows of each stream, with the columns of [`Query::stream_columns`], in the order of their offsets.
    Streams(Vec<Vec<RecordBatch>>),
    /// Rows of the lanes' fragment, in the order of their offsets.
    Rows(Vec<RecordBatch>),
    /// Partial groups ([`LaneGroups`]), of all lanes.
    Groups(Vec<RecordBatch>),
}

/// The watermarks of a micro-batch, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// That of the micro-batch before: what is not after it is late.
    pub before: i64,
    /// That of this one: what is not after it is complete.
    pub now: i64,
}

/// What a micro-batch of a stateful query did.
#[derive(Debug, Default)]
pub struct Answer {
    /// The rows of its result.
    pub rows: Vec<RecordBatch>,
    /// What its operators did, the outermost first, as in Spark's progress.
    pub operators: Vec<OperatorProgress>,
}

/// A micro-batch of a stateful query.
#[derive(Debug, Clone)]
pub struct StatefulRun {
    pub(in crate::query) fragments: Vec<Option<FragmentRun>>,
    pub(in crate::query) root: FragmentRun,
    pub(in crate::query) lanes: FragmentRun,
    /// The relations that are the same for all: streams (empty) and static tables.
    pub(in crate::query) relations: Vec<Relation>,
    pub(in crate::query) observed: Arc<Observed>,
    pub(in crate::query) schema: SchemaRef,
}

impl StatefulRun {
    /// Runs the micro-batch.
    ///
    /// # Errors
    /// [`Failure::Expression`] if an expression has no value; what the state returns.
    pub fn run(
        &self,
        query: &Query,
        state: &mut dyn StateBatch,
        feed: Feed,
        watermarks: Watermarks,
    ) -> std::result::Result<Answer, Failure> {
        let Some(core) = &query.core else { return Ok(Answer::default()) };
        let times = BatchTimes {
            late: watermarks.before.saturating_mul(1000),
            watermark: watermarks.now.saturating_mul(1000),
        };
        let mut relations = self.relations.clone();
        relations.resize(relations.len() + core.stages.len(), Relation::default());
        let first = relations.len() - core.stages.len();
        let mut of_lanes = None;
        match feed {
            Feed::Streams(streams) => {
                for (place, mut batches) in streams.into_iter().enumerate() {
                    let mut columns = query.stream_columns(place);
                    if let Some(record) = query.record {
                        columns.push(record);
                        let numbered = batches.iter().map(|rows| numbered(rows, 0));
                        batches = numbered
                            .collect::<DfResult<_>>()
                            .map_err(|error| Failure::Other(internal(error)))?;
                    }
                    relations[place] = Relation { columns: columns.into(), batches: Arc::new(batches) };
                }
            }
            Feed::Rows(rows) if core.of_lanes.is_none() => {
                relations[0] = Relation { columns: query.stream_columns(0).into(), batches: Arc::new(rows) };
            }
            other => of_lanes = Some(other),
        }
        let mut operators = Vec::with_capacity(core.stages.len());
        for (number, (stage, fragment)) in core.stages.iter().zip(&self.fragments).enumerate() {
            let taken = if core.of_lanes == Some(number) { of_lanes.take() } else { None };
            let rows = match taken {
                Some(Feed::Groups(groups)) => groups,
                taken => {
                    let rows = match taken {
                        Some(Feed::Rows(rows)) => rows,
                        _ => match fragment {
                            Some(fragment) => self.execute(fragment, &relations, first)?,
                            None => {
                                let rows = self.execute(&self.lanes, &relations, first)?;
                                let rows = rows.iter().map(|rows| conform(query.lane_schema(), rows));
                                rows.collect::<std::result::Result<_, _>>()?
                            }
                        },
                    };
                    match stage.operator.grouping() {
                        Some(grouping) => partials(grouping, rows).map_err(Failure::Other)?,
                        None => rows,
                    }
                }
            };
            let (rows, progress) = stage.operator.run(state, rows, times).map_err(Failure::Other)?;
            operators.push(progress);
            relations[first + number] =
                Relation { columns: Arc::clone(&stage.columns), batches: Arc::new(rows) };
        }
        let rows = self.execute(&self.root, &relations, first)?;
        let rows =
            rows.iter().map(|rows| conform(&self.schema, rows)).collect::<std::result::Result<_, _>>()?;
        operators.reverse();
        Ok(Answer { rows, operators })
    }

    /// Runs a fragment. A function's bound is for all rows that it is given at once, so if it makes too much of the rows of the
    /// operators, whose relations are those from `first` on, it gets fewer.
    fn execute(
        &self,
        fragment: &FragmentRun,
        relations: &[Relation],
        first: usize,
    ) -> std::result::Result<Vec<RecordBatch>, Failure> {
        let mut relations = relations.to_vec();
        loop {
            // What a run saw before it failed must not count.
            let observed: Arc<Observed> = Arc::default();
            let error = match fragment.execute(relations.clone(), Some(Arc::clone(&observed))) {
                Ok(rows) => {
                    self.observed.add(&observed);
                    return Ok(rows);
                }
                Err(error) => error,
            };
            match failure(&error) {
                Some(failure) if failure.class == RESULT_TOO_LARGE && halve(&mut relations[first..]) => {}
                Some(failure) => return Err(Failure::Expression(failure.clone())),
                None => return Err(Failure::Other(internal(error))),
            }
        }
    }
}

/// Cuts every batch of rows in two; whether any had more than one row.
fn halve(relations: &mut [Relation]) -> bool {
    let mut any = false;
    for relation in relations {
        let mut halves = Vec::with_capacity(2 * relation.batches.len());
        for batch in relation.batches.iter() {
            let half = batch.num_rows() / 2;
            any |= half > 0;
            halves.extend((half > 0).then(|| batch.slice(0, half)));
            halves.push(batch.slice(half, batch.num_rows() - half));
        }
        relation.batches = Arc::new(halves);
    }
    any
}

/// The groups of one lane while its rows come.
pub struct LaneGroups(Partial);

impl LaneGroups {
    /// Takes rows of the lanes' fragment; `chunks` has the number of each row's chunk. Chunks are merged in the order of
    /// their numbers, and the rows of one must all come to one lane, in the order of their offsets.
    ///
    /// # Errors
    /// `Data` if an aggregate has no value: an overflow.
    pub fn update(&mut self, rows: &RecordBatch, chunks: Vec<u64>) -> Result<()> {
        self.0.update(rows, UInt64Array::from(chunks))
    }

    /// Bytes that are held.
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// The groups, for [`Feed::Groups`].
    ///
    /// # Errors
    /// `Data` if an aggregate has no value.
    pub fn finish(self) -> Result<RecordBatch> {
        self.0.finish()
    }
}

/// Makes the groups of each lane.
#[derive(Debug, Clone)]
pub struct LaneGrouping(Arc<Grouping>);

impl LaneGrouping {
    /// For one lane and micro-batch.
    ///
    /// # Errors
    /// `Internal` if an aggregate cannot be begun.
    pub fn begin(&self) -> Result<LaneGroups> {
        Ok(LaneGroups(Partial::new(&self.0)?))
    }
}

impl Query {
    /// How lanes group their rows; `None` if they hand rows on.
    pub fn lane_grouping(&self) -> Option<LaneGrouping> {
        let core = self.core.as_ref()?;
        let grouping = core.stages[core.of_lanes?].operator.grouping()?;
        Some(LaneGrouping(Arc::clone(grouping)))
    }

    /// Which columns of a stream [`Feed::Streams`] has, ascending.
    pub fn stream_columns(&self, stream: usize) -> Vec<usize> {
        let mut columns = self.lanes.used(stream).to_vec();
        if let Some(core) = &self.core {
            columns.extend(core.fragments().flat_map(|fragment| fragment.used(stream).to_vec()));
        }
        columns.retain(|column| Some(*column) != self.record);
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Whether a watermark is declared.
    pub fn has_watermark(&self) -> bool {
        self.watermarks.iter().any(|rule| rule.is_read)
    }

    /// Whether a micro-batch without rows is due, the watermark having moved since the last one.
    pub fn wants_empty_batch(&self) -> bool {
        let wants = |core: &super::cut::Core| {
            core.stages.iter().any(|stage| stage.operator.wants_empty_batch(core.mode))
        };
        self.has_watermark() && self.core.as_ref().is_some_and(wants)
    }

    /// Whether rows of its result take the place of earlier ones: of an aggregation in the modes update and complete.
    pub fn replaces_rows(&self) -> bool {
        let aggregates = |core: &super::cut::Core| {
            core.mode != OutputMode::Append
                && core.stages.iter().any(|stage| stage.operator.grouping().is_some())
        };
        self.core.as_ref().is_some_and(aggregates)
    }

    /// What each stateful operator keeps, and what bounds it; from the source to the sink.
    pub fn explain_state(&self) -> Vec<String> {
        let stages = self.core.iter().flat_map(|core| &core.stages);
        stages.map(|stage| stage.operator.explain()).collect()
    }

    /// The tables of its state, in the order of their numbers.
    pub fn state_definition(&self) -> Vec<TableDefinition> {
        let stages = self.core.iter().flat_map(|core| &core.stages);
        stages.flat_map(|stage| stage.operator.state_definition()).collect()
    }
}
