//! Which rows of a batch a writer fails on: the second line of defence behind admission.
//!
//! Used only when a run of a micro-batch has failed in its writers. The rows are written into memory, by the very
//! writer that failed and under a budget of their own; where that fails they are halved, down to single rows. Nothing is
//! stored and nothing is committed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::FileWriter;
use super::writer_settings::WriterSettings;
use crate::model::{Kind, MemoryAccount, Result};
use crate::storage::Store;

/// The number that stands in for a lane's.
const TRIAL_LANE: usize = 99_998;

/// The positions of the rows that `write` fails on even alone, ascending.
pub fn refused_rows(rows: &RecordBatch, write: &dyn Fn(&RecordBatch) -> Result<()>) -> Vec<usize> {
    let mut refused = Vec::new();
    search(rows, 0, write, &mut refused);
    refused
}

fn search(
    rows: &RecordBatch,
    first: usize,
    write: &dyn Fn(&RecordBatch) -> Result<()>,
    refused: &mut Vec<usize>,
) {
    match write(rows) {
        Ok(()) => {}
        // Not a matter of rows.
        Err(error) if error.kind() == Kind::Unavailable => {}
        Err(_) if rows.num_rows() <= 1 => refused.push(first),
        Err(_) => {
            let half = rows.num_rows() / 2;
            search(&rows.slice(0, half), first, write, refused);
            search(&rows.slice(half, rows.num_rows() - half), first + half, write, refused);
        }
    }
}

/// Writes rows as a lane's writer does, into memory.
///
/// # Errors
/// As for the writer.
pub fn write_into_memory(settings: &WriterSettings, rows: &RecordBatch) -> Result<()> {
    let store = &settings.store;
    let memory = Store::new(Arc::new(InMemory::new()), store.url().clone(), Path::default(), store.runtime());
    let account = MemoryAccount::new(settings.account.limit_bytes());
    let mut writer =
        FileWriter::new(WriterSettings { store: memory, account, ..settings.clone() }, TRIAL_LANE)?;
    writer.write(rows)?;
    writer.finish().map(|_| ())
}

#[cfg(test)]
mod tests {
    use crate::model::Error;
    use arrow::array::AsArray;
    use arrow::array::Int32Array;
    use arrow::datatypes::Int32Type;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn the_rows_that_fail_alone_are_found_among_those_that_do_not() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
        let rows =
            RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from_iter(0..100))]).unwrap();
        let fails_on = |bad: &'static [i32], kind| {
            move |rows: &RecordBatch| {
                let values = rows.column(0).as_primitive::<Int32Type>();
                let holds = values.values().iter().any(|value| bad.contains(value));
                if holds { Err(Error::new(kind, "no")) } else { Ok(()) }
            }
        };
        assert_eq!(refused_rows(&rows, &fails_on(&[0, 17, 18, 99], Kind::Internal)), [0, 17, 18, 99]);
        assert!(refused_rows(&rows, &fails_on(&[], Kind::Internal)).is_empty());
        assert!(refused_rows(&rows, &fails_on(&[5], Kind::Unavailable)).is_empty());
        assert_eq!(refused_rows(&rows.slice(40, 3), &fails_on(&[41], Kind::Config)), [1]);
    }
}
