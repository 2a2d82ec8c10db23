//! How a merge that updates reads a row: which of two rows of a key is the newer one, and whether a row deletes its key.
//!
//! Rows are compared as Spark orders the column of `merge.orderBy`: -0.0 is 0.0, every NaN is one value above all others,
//! texts by their bytes. NULL is older than every value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::row::{RowConverter, SortField};

use crate::config::{DeleteWhen, UpdateConfig};
use crate::model::spark_type::name_of;
use crate::model::{Error, Result};
use crate::table::key_index::ComparedColumn;

/// The column of `merge.orderBy`.
#[derive(Debug, Clone)]
pub(super) struct OrderColumn {
    column: ComparedColumn,
}

/// The rows that delete their key: `merge.deleteWhen`.
#[derive(Debug, Clone)]
pub(super) struct DeleteRule {
    column: ComparedColumn,
    values: Vec<String>,
}

/// What `merge` says of rows beside their keys.
#[derive(Debug, Clone, Default)]
pub(super) struct RowRules {
    pub(super) order: Option<OrderColumn>,
    pub(super) delete: Option<DeleteRule>,
}

impl RowRules {
    /// Finds the columns that the configuration names in `owner`, which is `the stream` or `table …`.
    ///
    /// # Errors
    /// `Config` if one is not there or of a type that can't be compared in this way.
    pub(super) fn resolve(update: &UpdateConfig, schema: &Schema, owner: &str) -> Result<RowRules> {
        let order = update.order_by.as_ref().map(|name| OrderColumn::resolve(schema, name, owner));
        let delete = update.delete_when.as_ref().map(|when| DeleteRule::resolve(schema, when, owner));
        Ok(RowRules { order: order.transpose()?, delete: delete.transpose()? })
    }
}

impl OrderColumn {
    fn resolve(schema: &Schema, name: &str, owner: &str) -> Result<OrderColumn> {
        const SETTING: &str = "sink.merge.orderBy";
        let column = ComparedColumn::resolve(schema, SETTING, name, owner)?;
        if matches!(column.data_type(), DataType::Struct(_) | DataType::List(_)) {
            let of = name_of(column.data_type());
            return Err(Error::config(format!(
                "{SETTING}: {name} is {of}, by which rows are not put in order"
            ))
            .hint("name a column of numbers, texts, dates or timestamps"));
        }
        Ok(OrderColumn { column })
    }

    /// The top-level column that it is or lies in.
    pub(super) fn top_level(&self) -> &str {
        self.column.top_level()
    }

    /// Of each row bytes that are in the order of the rows.
    ///
    /// # Errors
    /// `Internal` if the rows lack the column.
    pub(super) fn of_rows(&self, rows: &RecordBatch) -> Result<BinaryArray> {
        let failed = |e| Error::internal("put rows in order").source(e);
        let values = normal(cast(&self.column.of_rows(rows)?, self.column.data_type()).map_err(failed)?)?;
        let converter =
            RowConverter::new(vec![SortField::new(values.data_type().clone())]).map_err(failed)?;
        converter.convert_columns(&[values]).and_then(arrow::row::Rows::try_into_binary).map_err(failed)
    }
}

/// Floats as Spark orders them; everything else as it is.
fn normal(values: ArrayRef) -> Result<ArrayRef> {
    if !values.data_type().is_floating() {
        return Ok(values);
    }
    let values =
        cast(&values, &DataType::Float64).map_err(|e| Error::internal("put rows in order").source(e))?;
    let values = values.as_primitive::<Float64Type>();
    let values: Float64Array = values.unary(|value| match value {
        value if value.is_nan() => f64::NAN,
        0.0 => 0.0,
        value => value,
    });
    Ok(Arc::new(values))
}

impl DeleteRule {
    fn resolve(schema: &Schema, when: &DeleteWhen, owner: &str) -> Result<DeleteRule> {
        const SETTING: &str = "sink.merge.deleteWhen.column";
        let column = ComparedColumn::resolve(schema, SETTING, &when.column, owner)?;
        if !matches!(column.data_type(), DataType::Utf8 | DataType::Boolean) {
            let of = name_of(column.data_type());
            return Err(Error::config(format!("{SETTING}: {} is {of}, not STRING or BOOLEAN", when.column))
                .hint("make such a column of it in sql"));
        }
        if let (DataType::Utf8, Some(value)) = (column.data_type(), &when.no_text) {
            return Err(Error::config(format!(
                "sink.merge.deleteWhen.values: {value} is a boolean or a number, and {} is STRING",
                when.column
            ))
            .hint(format!(
                "write the text in quotes, \"{value}\"; if the file has another word here, such as Y, no or 0123, Helm has changed it: quote that word, or give the chart's config as a text (--set-file config=FILE)"
            )));
        }
        Ok(DeleteRule { column, values: when.values.clone() })
    }

    /// Which rows delete their key.
    ///
    /// # Errors
    /// `Internal` if the rows lack the column.
    pub(super) fn of_rows(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let column = self.column.of_rows(rows)?;
        let is_one = |text: &str| self.values.iter().any(|value| value == text);
        if let Some(flags) = column.as_boolean_opt() {
            let (yes, no) = (is_one("true"), is_one("false"));
            return Ok(flags
                .iter()
                .map(|flag| Some(flag.is_some_and(|flag| if flag { yes } else { no })))
                .collect());
        }
        let texts =
            column.as_string_opt::<i32>().ok_or_else(|| Error::internal("a column changed its type"))?;
        Ok(texts.iter().map(|text| Some(text.is_some_and(is_one))).collect())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn ordered(values: ArrayRef) -> Vec<usize> {
        let rows = RecordBatch::try_from_iter_with_nullable([("o", values, true)]).unwrap();
        let update = UpdateConfig { order_by: Some("O".into()), delete_when: None };
        let rules = RowRules::resolve(&update, rows.schema_ref(), "table t").unwrap();
        let bytes = rules.order.unwrap().of_rows(&rows).unwrap();
        let mut rows: Vec<usize> = (0..bytes.len()).collect();
        rows.sort_by(|a, b| bytes.value(*a).cmp(bytes.value(*b)));
        rows
    }

    #[test]
    fn rows_are_in_sparks_order_with_null_below_every_value() {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63);
        let floats = vec![
            Some(0.0),
            Some(negative_nan),
            Some(-0.0),
            None,
            Some(f64::INFINITY),
            Some(f64::NAN),
            Some(-1.0),
        ];
        // A stable sort: rows that are equal stay as they come.
        assert_eq!(ordered(Arc::new(Float64Array::from(floats))), [3, 6, 0, 2, 4, 1, 5]);
        let texts = StringArray::from(vec![Some("b"), Some(""), None, Some("B"), Some("ä")]);
        assert_eq!(ordered(Arc::new(texts)), [2, 1, 3, 0, 4]);
        let times = TimestampMicrosecondArray::from(vec![Some(5), Some(-7), None]).with_timezone("UTC");
        assert_eq!(ordered(Arc::new(times)), [2, 1, 0]);
        let decimals =
            Decimal128Array::from(vec![Some(150), Some(-3), None]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(ordered(Arc::new(decimals)), [2, 1, 0]);
    }

    #[test]
    fn the_rows_that_delete_are_those_with_one_of_the_values() {
        let ops: ArrayRef =
            Arc::new(StringArray::from(vec![Some("c"), Some("d"), None, Some("D"), Some("t")]));
        let flags: ArrayRef =
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, Some(true)]));
        let rows = RecordBatch::try_from_iter([("op", ops), ("gone", flags)]).unwrap();
        let deletes = |column: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let update = UpdateConfig {
                order_by: None,
                delete_when: Some(DeleteWhen { column: column.into(), values, no_text: None }),
            };
            let rules = RowRules::resolve(&update, rows.schema_ref(), "table t").unwrap();
            rules.delete.unwrap().of_rows(&rows).unwrap()
        };
        assert_eq!(deletes("op", &["d", "t"]), BooleanArray::from(vec![false, true, false, false, true]));
        assert_eq!(deletes("gone", &["true"]), BooleanArray::from(vec![true, false, false, false, true]));
    }

    #[test]
    fn a_boolean_that_is_not_in_quotes_is_no_value_of_a_text() {
        let (ops, flags) = (StringArray::from(vec!["Y"]), BooleanArray::from(vec![true]));
        let (ops, flags): (ArrayRef, ArrayRef) = (Arc::new(ops), Arc::new(flags));
        let rows = RecordBatch::try_from_iter([("op", ops), ("gone", flags)]).unwrap();
        let resolved = |column: &str| {
            let when = DeleteWhen {
                column: column.into(),
                values: vec!["D".into(), "true".into()],
                no_text: Some("true".into()),
            };
            let update = UpdateConfig { order_by: None, delete_when: Some(when) };
            RowRules::resolve(&update, rows.schema_ref(), "table t")
        };
        let error = resolved("op").unwrap_err().to_string();
        assert!(
            error.contains("sink.merge.deleteWhen.values: true is a boolean or a number, and op is STRING"),
            "{error}"
        );
        assert!(resolved("gone").is_ok());
    }

    #[test]
    fn columns_that_are_not_there_or_of_another_type_are_refused() {
        let ids: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1]));
        let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let refused = |order: Option<&str>, delete: Option<&str>| {
            let update = UpdateConfig {
                order_by: order.map(str::to_owned),
                delete_when: delete.map(|column| DeleteWhen {
                    column: column.into(),
                    values: vec!["d".into()],
                    no_text: None,
                }),
            };
            RowRules::resolve(&update, rows.schema_ref(), "table t").unwrap_err().to_string()
        };
        assert!(
            refused(Some("at"), None).contains("sink.merge.orderBy names at, which table t does not have")
        );
        assert!(
            refused(None, Some("id"))
                .contains("sink.merge.deleteWhen.column: id is INT, not STRING or BOOLEAN")
        );
    }
}
