//! GROUPING SETS, ROLLUP and CUBE over a stream: each row goes to one group of each set.
//!
//! As in Spark, rows are first multiplied: one for each set, with the keys that the set leaves out as NULL and the number of
//! the set as one more key, so that a NULL that was left out and a NULL of the stream are different groups. What is
//! behind that is an ordinary aggregation. The number is DataFusion's: a bit for each key that is left out, the last
//! key's lowest; above them which of several equal sets it is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, UnnestOptions, plan_err};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, when};

/// Keys that one set can leave out: each has a bit, and the sign is none.
const KEYS_MAX: usize = 31;
/// The column of a multiplied row that says which sets there are, and then which it is for.
const SET: &str = "__grouping_set";

/// The sets of one GROUP BY.
pub(in crate::query) struct GroupingSets {
    /// Every key once.
    keys: Vec<Expr>,
    /// The number of each set, and which keys it has.
    sets: Vec<(i64, Vec<bool>)>,
}

impl GroupingSets {
    /// The sets of a GROUP BY, if it has any.
    ///
    /// # Errors
    /// `Plan` if it has too many keys.
    pub(in crate::query) fn of(groups: &[Expr]) -> Result<Option<GroupingSets>> {
        let [Expr::GroupingSet(set)] = groups else { return Ok(None) };
        let keys: Vec<Expr> = grouping_set_to_exprlist(groups)?.into_iter().cloned().collect();
        if keys.len() > KEYS_MAX {
            return plan_err!("GROUPING SETS over a stream take {KEYS_MAX} keys at most, not {}", keys.len());
        }
        let of_keys = |wanted: &dyn Fn(usize, &Expr) -> bool| {
            keys.iter().enumerate().map(|(n, key)| wanted(n, key)).collect::<Vec<bool>>()
        };
        let members: Vec<Vec<bool>> = match set {
            GroupingSet::GroupingSets(sets) => {
                sets.iter().map(|set| of_keys(&|_, key| set.contains(key))).collect()
            }
            GroupingSet::Rollup(all) => {
                let with = |length: usize| of_keys(&|_, key| all[..length].contains(key));
                (0..=all.len()).rev().map(with).collect()
            }
            GroupingSet::Cube(all) => {
                let with = |mask: usize| {
                    of_keys(&|_, key| {
                        all.iter().enumerate().any(|(n, other)| mask >> n & 1 == 0 && other == key)
                    })
                };
                (0..1 << all.len()).map(with).collect()
            }
        };
        let mut sets: Vec<(i64, Vec<bool>)> = Vec::with_capacity(members.len());
        for has in members {
            let left_out = has.iter().fold(0, |bits, has| bits << 1 | i64::from(!has));
            let equal = sets.iter().filter(|(_, other)| *other == has).count() as i64;
            sets.push((equal << keys.len() | left_out, has));
        }
        Ok(Some(GroupingSets { keys, sets }))
    }

    fn is_in_every_set(&self, key: usize) -> bool {
        self.sets.iter().all(|(_, has)| has[key])
    }

    /// What the keys are over `input`. One that a set leaves out is a plain value there, whatever is marked on it;
    /// second is whether it is one.
    ///
    /// # Errors
    /// If a key's type can't be told.
    pub(in crate::query) fn fields(&self, input: &DFSchema) -> Result<Vec<(Arc<Field>, bool)>> {
        let one = |(n, key): (usize, &Expr)| Ok((key.to_field(input)?.1, !self.is_in_every_set(n)));
        self.keys.iter().enumerate().map(one).collect()
    }

    /// Rows of `input` multiplied, and the keys that they are grouped by: those of the sets, and the number as a BIGINT.
    ///
    /// # Errors
    /// If the plan can't be built.
    pub(in crate::query) fn expand(self, input: LogicalPlan) -> Result<(LogicalPlan, Vec<Expr>)> {
        let columns = |plan: &LogicalPlan| -> Vec<Expr> {
            let columns = plan.schema().iter();
            columns.map(|(of, field)| Expr::Column(Column::new(of.cloned(), field.name()))).collect()
        };
        let numbers: Vec<ScalarValue> =
            self.sets.iter().map(|(number, _)| ScalarValue::from(*number)).collect();
        let list = ScalarValue::List(ScalarValue::new_list(&numbers, &DataType::Int64, false));
        let mut with_list = columns(&input);
        let own = with_list.clone();
        with_list.push(lit(list).alias(SET));
        let multiplied = LogicalPlanBuilder::from(input)
            .project(with_list)?
            .unnest_column_with_options(Column::from_name(SET), UnnestOptions::default())?
            .build()?;
        let number = || Expr::Column(Column::from_name(SET));
        let mut columns = own;
        let mut groups = Vec::with_capacity(self.keys.len() + 1);
        for (n, key) in self.keys.iter().enumerate() {
            let name = format!("__key_{n}");
            let value = if self.is_in_every_set(n) {
                key.clone()
            } else {
                let with = self.sets.iter().filter(|(_, has)| has[n]).map(|(number, _)| lit(*number));
                when(number().in_list(with.collect(), false), key.clone().unalias()).end()?
            };
            columns.push(value.alias(&name));
            groups.push(Expr::Column(Column::from_name(name)));
        }
        columns.push(number().alias(Aggregate::INTERNAL_GROUPING_ID));
        groups.push(Expr::Column(Column::from_name(Aggregate::INTERNAL_GROUPING_ID)));
        Ok((LogicalPlanBuilder::from(multiplied).project(columns)?.build()?, groups))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    fn numbers(set: GroupingSet) -> Vec<i64> {
        let sets = GroupingSets::of(&[Expr::GroupingSet(set)]).unwrap().unwrap();
        sets.sets.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn a_set_has_a_bit_for_each_key_that_it_leaves_out() {
        assert_eq!(numbers(GroupingSet::Rollup(vec![col("a"), col("b")])), [0b00, 0b01, 0b11]);
        assert_eq!(numbers(GroupingSet::Cube(vec![col("a"), col("b")])), [0b00, 0b10, 0b01, 0b11]);
        let sets = vec![vec![col("a")], vec![col("b")], vec![], vec![col("a")], vec![]];
        assert_eq!(numbers(GroupingSet::GroupingSets(sets)), [0b01, 0b10, 0b11, 0b101, 0b111]);
        assert!(GroupingSets::of(&[col("a"), col("b")]).unwrap().is_none());
    }
}
