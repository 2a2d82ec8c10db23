//! LIMIT in append mode: so many rows over the life of the query.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;

use super::{BatchTimes, Operator, OperatorProgress};
use crate::model::{Error, OutputMode, Result};
use crate::state::{StateBatch, StateColumn, TableDefinition, TableId};

/// Passes rows on until there were `rows` of them.
#[derive(Debug)]
pub(super) struct Limit {
    pub(super) rows: u64,
    pub(super) table: TableId,
}

const KEY: &[u8] = b"passed";

impl Operator for Limit {
    fn run(
        &self,
        state: &mut dyn StateBatch,
        rows: Vec<RecordBatch>,
        _times: BatchTimes,
    ) -> Result<(Vec<RecordBatch>, OperatorProgress)> {
        let found = state.get_many(self.table, &[KEY])?.pop().flatten();
        let passed = match &found {
            None => 0,
            Some(bytes) => {
                let bytes = bytes.as_slice().try_into();
                u64::from_be_bytes(bytes.map_err(|_| Error::corrupt("the state of LIMIT is not a number"))?)
            }
        };
        let mut left = self.rows.saturating_sub(passed);
        let mut out = Vec::new();
        for batch in rows {
            let take = (batch.num_rows() as u64).min(left);
            left -= take;
            if take > 0 {
                out.push(batch.slice(0, take as usize));
            }
        }
        let now = self.rows.saturating_sub(left).max(passed);
        if now > passed {
            let (key, value) = (KEY.to_vec(), now.to_be_bytes().to_vec());
            match found {
                Some(_) => state.replace(self.table, key, value),
                None => state.insert(self.table, key, value),
            }
        }
        let progress = OperatorProgress {
            operator_name: "globalLimit",
            num_rows_total: state.len(self.table)?,
            num_rows_updated: u64::from(now > passed),
            ..OperatorProgress::default()
        };
        Ok((out, progress))
    }

    fn wants_empty_batch(&self, _mode: OutputMode) -> bool {
        false
    }

    fn explain(&self) -> String {
        format!("Limit {}: keeps how many rows have passed", self.rows)
    }

    fn state_definition(&self) -> Vec<TableDefinition> {
        vec![TableDefinition {
            name: "rows passed".to_owned(),
            operator: "globalLimit".to_owned(),
            keys: Vec::new(),
            values: vec![StateColumn::new("passed", &DataType::Int64)],
            layout: None,
            time: None,
            any_time: false,
        }]
    }
}
