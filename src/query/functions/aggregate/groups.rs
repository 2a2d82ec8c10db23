//! What an aggregate's accumulator does, and the two forms in which DataFusion calls it: for many groups, and for one.

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

/// The groups of one aggregate. `state` and `evaluate` give the groups away.
pub(super) trait Groups: Send + Sync {
    /// Makes room for `groups` groups; new ones have had no rows.
    fn grow(&mut self, groups: usize);

    /// Takes up rows: the arguments' arrays, the group of each row, and which rows FILTER lets through.
    ///
    /// # Errors
    /// What Spark raises for one of them.
    fn update(&mut self, args: &[ArrayRef], groups: &[usize], filter: Option<&BooleanArray>) -> Result<()>;

    /// Takes up states, in order: the columns of [`Groups::state`], and the group of each row.
    ///
    /// # Errors
    /// What Spark raises for one of them.
    fn merge(&mut self, states: &[ArrayRef], groups: &[usize]) -> Result<()>;

    /// The states of the first groups or of all.
    ///
    /// # Errors
    /// Arrow's.
    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>>;

    /// The results of the first groups or of all.
    ///
    /// # Errors
    /// What Spark raises for one of them.
    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef>;

    /// The memory of the groups in bytes.
    fn size(&self) -> usize;
}

/// Many groups.
pub(super) struct Many(pub(super) Box<dyn Groups>);

impl GroupsAccumulator for Many {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.0.grow(count);
        self.0.update(values, groups, filter)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.0.grow(count);
        self.0.merge(states, groups)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.0.evaluate(emit)
    }

    fn convert_to_state(
        &self,
        _values: &[ArrayRef],
        _filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        datafusion::common::not_impl_err!("rows of an aggregate are not turned into states one by one")
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

/// One group.
pub(super) struct Single {
    groups: Box<dyn Groups>,
    /// Zeros: the group of each row.
    zeros: Vec<usize>,
}

impl Single {
    pub(super) fn new(mut groups: Box<dyn Groups>) -> Single {
        groups.grow(1);
        Single { groups, zeros: Vec::new() }
    }

    /// The number of rows of `arrays`, for which there are zeros then.
    fn rows(&mut self, arrays: &[ArrayRef]) -> usize {
        let rows = arrays.first().map_or(0, |array| array.len());
        if self.zeros.len() < rows {
            self.zeros.resize(rows, 0);
        }
        rows
    }
}

impl std::fmt::Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Single").finish_non_exhaustive()
    }
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.rows(values);
        self.groups.update(values, &self.zeros[..rows], None)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = self.rows(states);
        self.groups.merge(states, &self.zeros[..rows])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = self.groups.state(EmitTo::All)?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.groups.evaluate(EmitTo::All)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.size() + self.zeros.capacity() * size_of::<usize>()
    }
}
