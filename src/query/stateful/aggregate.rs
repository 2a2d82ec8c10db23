//! GROUP BY over a stream: partial groups in the lanes, merged with what the state has of each.
//!
//! A lane aggregates by chunk and key. The chunks of a batch are merged in their order, whichever lane had them, so
//! that a batch that is run again, or by another number of lanes, gives the same doubles.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StructArray, UInt64Array,
    new_empty_array,
};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::keys::{bound, times_of};
use super::{BatchTimes, Operator, OperatorProgress, failed};
use crate::model::{OutputMode, Result};
use crate::state::codec::Codec;
use crate::state::{KeyTime, StateBatch, StateColumn, TableDefinition, TableId, in_words};

type DfResult<T> = std::result::Result<T, DataFusionError>;

/// One aggregate of a GROUP BY.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) function: Arc<AggregateFunctionExpr>,
    pub(super) args: Vec<Argument>,
    /// The column of its FILTER.
    pub(super) filter: Option<usize>,
    /// How many columns its state has.
    pub(super) states: usize,
}

/// What a function is given.
#[derive(Debug, Clone)]
pub(super) enum Argument {
    /// A column of the rows.
    Column(usize),
    /// The same value for every row.
    Constant(ScalarValue),
}

/// A column of the result that groups are made by.
#[derive(Debug, Clone)]
pub(super) enum GroupColumn {
    /// A key as it is: its number.
    Key(usize),
    /// A window: the number of the key that is its start; the next is its end.
    Window(usize),
}

/// What is grouped by what. Its rows have the keys first: a window as its start and its end.
pub(in crate::query) struct Grouping {
    /// The columns of its rows: keys, arguments, filters.
    pub(super) input: SchemaRef,
    /// The types of the keys.
    pub(super) keys: Vec<DataType>,
    /// The key that carries the event time: of a window its end.
    pub(super) event_time: Option<usize>,
    pub(super) groups: Vec<GroupColumn>,
    pub(super) aggregates: Vec<Aggregate>,
    /// The columns that come out: groups, then aggregates.
    pub(super) output: SchemaRef,
    pub(super) key_codec: Codec,
    pub(super) state_codec: Codec,
    /// What keys and states are made of, for explain and for the state's definition.
    pub(super) key_columns: Vec<StateColumn>,
    pub(super) state_columns: Vec<StateColumn>,
}

impl fmt::Debug for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouping").field("keys", &self.key_columns).finish_non_exhaustive()
    }
}

/// Groups and the state of each of their aggregates, column by column.
pub(super) struct Groups {
    pub(super) keys: Vec<ArrayRef>,
    pub(super) states: Vec<ArrayRef>,
    pub(super) rows: usize,
}

impl Grouping {
    fn accumulators(&self) -> DfResult<Vec<Box<dyn GroupsAccumulator>>> {
        self.aggregates.iter().map(|aggregate| accumulator(&aggregate.function)).collect()
    }

    /// Merges states into `accumulators`: row N into group `ids[N]`.
    fn merge(
        &self,
        accumulators: &mut [Box<dyn GroupsAccumulator>],
        states: &[ArrayRef],
        ids: &[usize],
        groups: usize,
    ) -> DfResult<()> {
        let mut first = 0;
        for (aggregate, accumulator) in self.aggregates.iter().zip(accumulators) {
            let own = &states[first..first + aggregate.states];
            accumulator.merge_batch(own, ids, groups)?;
            first += aggregate.states;
        }
        Ok(())
    }

    /// The states that come of merging others, in their order: row N of each into group `ids[N]`.
    pub(super) fn merged(
        &self,
        states: &[(&[ArrayRef], &[usize])],
        groups: usize,
    ) -> DfResult<Vec<ArrayRef>> {
        let mut accumulators = self.accumulators()?;
        for (states, ids) in states {
            self.merge(&mut accumulators, states, ids, groups)?;
        }
        Self::states(&mut accumulators)
    }

    fn states(accumulators: &mut [Box<dyn GroupsAccumulator>]) -> DfResult<Vec<ArrayRef>> {
        let mut states = Vec::new();
        for accumulator in accumulators {
            states.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(states)
    }

    /// The result's rows of these groups.
    pub(super) fn result(&self, groups: &Groups) -> DfResult<RecordBatch> {
        let mut accumulators = self.accumulators()?;
        let ids: Vec<usize> = (0..groups.rows).collect();
        self.merge(&mut accumulators, &groups.states, &ids, groups.rows)?;
        let mut columns = Vec::with_capacity(self.output.fields().len());
        for (group, field) in self.groups.iter().zip(self.output.fields()) {
            let column: ArrayRef = match group {
                GroupColumn::Key(key) => Arc::clone(&groups.keys[*key]),
                GroupColumn::Window(start) => {
                    let DataType::Struct(fields) = field.data_type() else {
                        return Err(DataFusionError::Internal("a window is not a struct".into()));
                    };
                    let bounds = [*start, start + 1].into_iter().zip(fields);
                    let bounds =
                        bounds.map(|(key, field)| compute::cast(&groups.keys[key], field.data_type()));
                    let bounds = bounds.collect::<std::result::Result<Vec<_>, _>>()?;
                    let nulls = bounds[0].nulls().cloned();
                    Arc::new(StructArray::try_new(fields.clone(), bounds, nulls)?)
                }
            };
            columns.push(column);
        }
        for accumulator in &mut accumulators {
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        for (column, field) in columns.iter_mut().zip(self.output.fields()) {
            if column.data_type() != field.data_type() {
                *column = compute::cast(column, field.data_type())?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(groups.rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.output), columns, &options)?)
    }

    /// The same, a few groups at once.
    fn results(&self, groups: &Groups) -> DfResult<Vec<RecordBatch>> {
        let parts = (0..groups.rows).step_by(EMIT_ROWS);
        parts.map(|first| self.result(&groups.part(first, EMIT_ROWS)?)).collect()
    }

    /// Merges the partial groups of a batch by key, those of an earlier chunk first. Groups that are late, whose event
    /// time is not after `late`, are left out; their number is returned with the others.
    pub(super) fn combine(&self, partials: Vec<RecordBatch>, late: Option<i64>) -> DfResult<(Groups, u64)> {
        let schema = self.partial_schema();
        let all = compute::concat_batches(&schema, &partials)?;
        let chunks = all.column(0).as_primitive::<UInt64Type>();
        let sorted = chunks.values().windows(2).all(|pair| pair[0] <= pair[1]);
        let all = if sorted {
            all
        } else {
            let order = compute::sort_to_indices(
                all.column(0),
                Some(SortOptions { descending: false, nulls_first: true }),
                None,
            )?;
            // Rows of one chunk are of one lane and have different keys: their order does not matter.
            compute::take_record_batch(&all, &order)?
        };
        let keys = &all.columns()[1..=self.keys.len()];
        let states = &all.columns()[1 + self.keys.len()..];
        let (keys, ids, rows) = intern(keys, all.num_rows())?;
        let groups = Groups { keys, states: self.merged(&[(states, &ids)], rows)?, rows };
        match (late, self.event_time) {
            (Some(late), Some(key)) => groups.after(key, late),
            _ => Ok((groups, 0)),
        }
    }

    /// The columns of partial groups: chunk, keys, states.
    pub(super) fn partial_schema(&self) -> SchemaRef {
        let mut fields = vec![Field::new("chunk", DataType::UInt64, false)];
        for (number, key) in self.keys.iter().enumerate() {
            fields.push(Field::new(format!("k{number}"), key.clone(), true));
        }
        for aggregate in &self.aggregates {
            for field in aggregate.function.state_fields().unwrap_or_default() {
                let name = format!("s{}", fields.len());
                fields.push(Field::new(name, field.data_type().clone(), true));
            }
        }
        Arc::new(Schema::new(fields))
    }
}

impl Groups {
    /// At most `count` of them, from `first` on.
    fn part(&self, first: usize, count: usize) -> DfResult<Groups> {
        let rows = count.min(self.rows - first);
        let numbers = UInt64Array::from_iter_values(first as u64..(first + rows) as u64);
        Ok(Groups {
            keys: compute::take_arrays(&self.keys, &numbers, None)?,
            states: compute::take_arrays(&self.states, &numbers, None)?,
            rows,
        })
    }

    /// Those whose key `key` is after `late`, and how many are not.
    fn after(self, key: usize, late: i64) -> DfResult<(Groups, u64)> {
        let times = self.keys[key].as_primitive::<TimestampMicrosecondType>();
        let keep: BooleanArray =
            (0..self.rows).map(|row| Some(!times.is_valid(row) || times.value(row) > late)).collect();
        let kept = keep.true_count();
        if kept == self.rows {
            return Ok((self, 0));
        }
        let filter = |columns: &[ArrayRef]| {
            columns.iter().map(|column| compute::filter(column, &keep)).collect::<std::result::Result<_, _>>()
        };
        let dropped = (self.rows - kept) as u64;
        Ok((Groups { keys: filter(&self.keys)?, states: filter(&self.states)?, rows: kept }, dropped))
    }
}

/// Numbers the distinct keys in the order in which they come: the keys, the number of each row's, how many there are.
fn intern(columns: &[ArrayRef], rows: usize) -> DfResult<(Vec<ArrayRef>, Vec<usize>, usize)> {
    if columns.is_empty() {
        return Ok((Vec::new(), vec![0; rows], usize::from(rows > 0)));
    }
    let mut values = group_values(columns.iter().map(|column| column.data_type().clone()))?;
    let mut ids = Vec::with_capacity(rows);
    values.intern(columns, &mut ids)?;
    let count = values.len();
    Ok((values.emit(EmitTo::All)?, ids, count))
}

fn group_values(types: impl Iterator<Item = DataType>) -> DfResult<Box<dyn GroupValues>> {
    let fields: Vec<Field> =
        types.enumerate().map(|(n, data_type)| Field::new(format!("k{n}"), data_type, true)).collect();
    new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)
}

fn accumulator(function: &Arc<AggregateFunctionExpr>) -> DfResult<Box<dyn GroupsAccumulator>> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    let function = Arc::clone(function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// The groups of one lane while its rows come.
pub(in crate::query) struct Partial {
    grouping: Arc<Grouping>,
    values: Box<dyn GroupValues>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    ids: Vec<usize>,
}

impl Partial {
    pub(in crate::query) fn new(grouping: &Arc<Grouping>) -> Result<Partial> {
        let types = std::iter::once(DataType::UInt64).chain(grouping.keys.iter().cloned());
        Ok(Partial {
            values: group_values(types).map_err(failed)?,
            accumulators: grouping.accumulators().map_err(failed)?,
            grouping: Arc::clone(grouping),
            ids: Vec::new(),
        })
    }

    /// Takes rows; `chunks` has the number of each row's chunk.
    ///
    /// # Errors
    /// An aggregate's: an overflow.
    pub(in crate::query) fn update(&mut self, rows: &RecordBatch, chunks: UInt64Array) -> Result<()> {
        self.add(rows, chunks).map_err(failed)
    }

    fn add(&mut self, rows: &RecordBatch, chunks: UInt64Array) -> DfResult<()> {
        let mut keys: Vec<ArrayRef> = vec![Arc::new(chunks)];
        keys.extend_from_slice(&rows.columns()[..self.grouping.keys.len()]);
        self.values.intern(&keys, &mut self.ids)?;
        let groups = self.values.len();
        for (aggregate, accumulator) in self.grouping.aggregates.iter().zip(&mut self.accumulators) {
            let argument = |argument: &Argument| match argument {
                Argument::Column(column) => Ok(Arc::clone(rows.column(*column))),
                Argument::Constant(value) => value.to_array_of_size(rows.num_rows()),
            };
            let args = aggregate.args.iter().map(argument).collect::<DfResult<Vec<_>>>()?;
            let filter = aggregate.filter.map(|column| rows.column(column).as_boolean());
            accumulator.update_batch(&args, &self.ids, filter, groups)?;
        }
        Ok(())
    }

    /// Bytes that are held.
    pub(in crate::query) fn size(&self) -> usize {
        self.values.size() + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    /// The partial groups: chunk, keys, states.
    ///
    /// # Errors
    /// An aggregate's.
    pub(in crate::query) fn finish(mut self) -> Result<RecordBatch> {
        let mut finish = || -> DfResult<RecordBatch> {
            let schema = self.grouping.partial_schema();
            if self.values.is_empty() {
                return Ok(RecordBatch::new_empty(schema));
            }
            let mut columns = self.values.emit(EmitTo::All)?;
            columns.extend(Grouping::states(&mut self.accumulators)?);
            for (column, field) in columns.iter_mut().zip(schema.fields()) {
                if column.data_type() != field.data_type() {
                    *column = compute::cast(column, field.data_type())?;
                }
            }
            Ok(RecordBatch::try_new(schema, columns)?)
        };
        finish().map_err(failed)
    }
}

/// The operator.
#[derive(Debug)]
pub(in crate::query) struct GroupBy {
    pub(super) grouping: Arc<Grouping>,
    pub(super) mode: OutputMode,
    pub(super) table: TableId,
}

impl GroupBy {
    /// Puts what the state has of these groups and what the batch has together, and back; returns the result.
    fn update(&self, state: &mut dyn StateBatch, groups: &Groups) -> Result<Groups> {
        let grouping = &self.grouping;
        let times = times_of(grouping.event_time.map(|key| &groups.keys[key]), groups.rows);
        let keys = grouping.key_codec.encode_keys(&times, &groups.keys)?;
        let mut order: Vec<usize> = (0..groups.rows).collect();
        order.sort_unstable_by_key(|row| keys.row(*row));
        let asked: Vec<&[u8]> = order.iter().map(|row| keys.row(*row)).collect();
        let known = state.get_many(self.table, &asked)?;
        let (mut ids, mut old) = (Vec::new(), Vec::new());
        for (row, value) in order.iter().zip(&known) {
            if let Some(value) = value {
                ids.push(*row);
                old.push(value.as_slice());
            }
        }
        let states = if ids.is_empty() {
            groups.states.clone()
        } else {
            let all: Vec<usize> = (0..groups.rows).collect();
            let old = grouping.state_codec.decode(&old)?;
            grouping.merged(&[(&old, &ids), (&groups.states, &all)], groups.rows).map_err(failed)?
        };
        let values = grouping.state_codec.encode(&states, groups.rows)?;
        for (row, known) in order.into_iter().zip(known) {
            let (key, value) = (keys.row(row).to_vec(), values.row(row).to_vec());
            match known {
                Some(_) => state.replace(self.table, key, value),
                None => state.insert(self.table, key, value),
            }
        }
        Ok(Groups { keys: groups.keys.clone(), states, rows: groups.rows })
    }

    /// The one group of an aggregate of everything, before its first record.
    fn nothing(&self) -> DfResult<Groups> {
        let mut accumulators = self.grouping.accumulators()?;
        for (aggregate, accumulator) in self.grouping.aggregates.iter().zip(&mut accumulators) {
            let types = aggregate.function.expressions();
            let mut args = Vec::with_capacity(types.len());
            for (argument, expr) in aggregate.args.iter().zip(types) {
                args.push(match argument {
                    Argument::Constant(value) => value.to_array_of_size(0)?,
                    Argument::Column(_) => new_empty_array(&expr.data_type(&self.grouping.input)?),
                });
            }
            accumulator.update_batch(&args, &[], None, 1)?;
        }
        Ok(Groups { keys: Vec::new(), states: Grouping::states(&mut accumulators)?, rows: 1 })
    }

    /// The result of groups of the state, by their keys and values there.
    fn emit(&self, groups: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::new();
        for groups in groups.chunks(EMIT_ROWS) {
            let keys: Vec<&[u8]> = groups.iter().map(|(key, _)| key.as_slice()).collect();
            let values: Vec<&[u8]> = groups.iter().map(|(_, value)| value.as_slice()).collect();
            let groups = Groups {
                keys: self.grouping.key_codec.decode_keys(&keys)?,
                states: self.grouping.state_codec.decode(&values)?,
                rows: keys.len(),
            };
            out.push(self.grouping.result(&groups).map_err(failed)?);
        }
        Ok(out)
    }
}

/// Groups that are evaluated at once.
pub(super) const EMIT_ROWS: usize = 16 * 1024;

impl Operator for GroupBy {
    fn run(
        &self,
        state: &mut dyn StateBatch,
        partials: Vec<RecordBatch>,
        at: BatchTimes,
    ) -> Result<(Vec<RecordBatch>, OperatorProgress)> {
        let grouping = &self.grouping;
        let late = (self.mode != OutputMode::Complete).then_some(at.late);
        let (mut groups, dropped) = grouping.combine(partials, late).map_err(failed)?;
        if grouping.keys.is_empty() && groups.rows == 0 {
            // An aggregate of everything has a row also before the first record.
            groups = self.nothing().map_err(failed)?;
        }
        let updated = self.update(state, &groups)?;
        let mut progress = OperatorProgress {
            operator_name: "stateStoreSave",
            num_rows_updated: groups.rows as u64,
            num_rows_dropped_by_watermark: dropped,
            ..OperatorProgress::default()
        };
        let mut found = Vec::new();
        let mut take = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        let until = bound(at.watermark);
        let out = match self.mode {
            OutputMode::Update => {
                if grouping.event_time.is_some() {
                    progress.num_rows_removed = state.expire(self.table, &until, &mut |_, _| Ok(()))?;
                }
                grouping.results(&updated).map_err(failed)?
            }
            OutputMode::Complete => {
                state.scan(self.table, &[], None, &mut take)?;
                self.emit(&found)?
            }
            OutputMode::Append => {
                progress.num_rows_removed = state.expire(self.table, &until, &mut take)?;
                self.emit(&found)?
            }
        };
        progress.num_rows_total = state.len(self.table)?;
        Ok((out.into_iter().filter(|batch| batch.num_rows() > 0).collect(), progress))
    }

    fn grouping(&self) -> Option<&Arc<Grouping>> {
        Some(&self.grouping)
    }

    fn wants_empty_batch(&self, mode: OutputMode) -> bool {
        mode != OutputMode::Complete
    }

    fn explain(&self) -> String {
        let grouping = &self.grouping;
        let functions: Vec<String> =
            grouping.aggregates.iter().map(|aggregate| in_words(aggregate.function.name())).collect();
        let keys: Vec<String> = grouping.key_columns.iter().map(|column| in_words(&column.name)).collect();
        let what = match keys.as_slice() {
            [] => format!("Aggregate {}", functions.join(", ")),
            keys => format!("Aggregate {} by {}", functions.join(", "), keys.join(", ")),
        };
        let bound = match (grouping.event_time, self.mode) {
            (_, OutputMode::Complete) => "keeps every group for ever, for the output mode is complete",
            (Some(_), _) => "keeps a group until the watermark passes it",
            (None, _) if keys.is_empty() => "keeps one row",
            (None, _) => "keeps every group for ever, for no key is the event time",
        };
        format!("{what}: {bound}")
    }

    fn state_definition(&self) -> Vec<TableDefinition> {
        vec![TableDefinition {
            name: "groups".to_owned(),
            operator: "stateStoreSave".to_owned(),
            keys: self.grouping.key_columns.clone(),
            values: self.grouping.state_columns.clone(),
            layout: None,
            time: Some(self.grouping.event_time.map_or(KeyTime::None, KeyTime::Column)),
            any_time: matches!(
                (self.mode, self.grouping.event_time),
                (OutputMode::Complete, _) | (OutputMode::Update, None)
            ),
        }]
    }
}

/// Rows as the partial groups of one chunk.
pub(super) fn partials(grouping: &Arc<Grouping>, rows: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut partial = Partial::new(grouping)?;
    for batch in rows {
        let chunks = UInt64Array::from(vec![0; batch.num_rows()]);
        partial.update(&batch, chunks)?;
    }
    Ok(vec![partial.finish()?])
}
