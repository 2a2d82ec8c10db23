//! The keys of one file of a table: its key columns, without the rows that are deleted.
//!
//! Only the key columns are read from the file, in the kernel's batches, by their physical names; a key column that the
//! table is partitioned by is taken from the log.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::scan::state::DvInfo;
use delta_kernel::schema::{DataType as KernelType, SchemaRef as KernelSchema, StructField, StructType};
use delta_kernel::{Engine, FileMeta};
use url::Url;

use super::fingerprint::{Fingerprint, KeyHasher};
use super::key_columns::KeyColumns;
use crate::model::{Error, Result};
use crate::storage::Store;
use crate::table::file_entry::LiveFile;
use crate::table::file_rows::partition_value;
use crate::table::live_files::is_not_found;
use crate::table::{DeltaTable, kernel_error};

/// Fingerprints that are handed over at once.
const PIECE: usize = 128 * 1024;

/// Reads the keys of a table's files.
pub(super) struct KeyReader {
    engine: Arc<dyn Engine>,
    store: Store,
    root: Url,
    columns: KeyColumns,
    hasher: KeyHasher,
    physical: KernelSchema,
    sources: Vec<Source>,
}

/// Where a key column comes from.
enum Source {
    /// The positions in the physical columns, from the top-level column down.
    File(Vec<usize>),
    /// The partition column with this physical name.
    Partition(String, KernelType),
}

/// Why an index could not be brought to the table's version.
pub(super) enum Trouble {
    /// A file is gone: it may have left the table since.
    Gone(Error),
    /// The index was found damaged.
    Damaged(std::io::Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Failed(error)
    }
}

impl KeyReader {
    /// A reader of the files of `table` as of its current version.
    pub(super) fn new(table: &DeltaTable, columns: &KeyColumns, hasher: KeyHasher) -> Result<KeyReader> {
        let failed = |e| kernel_error(e, "read the keys", table.store());
        let schema = table.snapshot.schema();
        let partitioned = table.partition_columns();
        let in_file = |path: &&[String]| !partitioned.contains(&path[0]);
        let mut read: Vec<&[String]> = columns.paths().filter(in_file).collect();
        let first_column;
        if read.is_empty() {
            // A file says how many rows it has by one of its columns.
            let other = schema.fields().find(|field| !partitioned.contains(&field.name));
            first_column = [other.ok_or_else(|| Error::internal("a table has no columns"))?.name.clone()];
            read.push(&first_column);
        }
        let logical = Arc::new(prune(schema.as_ref(), &read)?);
        let scan = Arc::clone(&table.snapshot).scan_builder().with_schema(Arc::clone(&logical));
        let physical = Arc::clone(scan.build().map_err(failed)?.physical_schema());
        let mode = table.snapshot.table_configuration().column_mapping_mode();
        let sources = columns.paths().map(|path| {
            if in_file(&path) {
                return position(&logical, path).map(Source::File);
            }
            let column = schema.field(&path[0]).ok_or_else(|| lacking(path))?;
            Ok(Source::Partition(column.physical_name(mode).to_owned(), column.data_type.clone()))
        });
        Ok(KeyReader {
            engine: Arc::clone(table.engine()),
            store: table.store().clone(),
            root: table.snapshot.table_root().clone(),
            columns: columns.clone(),
            hasher,
            sources: sources.collect::<Result<_>>()?,
            physical,
        })
    }

    /// Hands over the keys of a file's rows, in sorted pieces; rows one of whose keys is NULL are left out. Returns how
    /// many there were.
    pub(super) fn read(
        &self,
        file: &LiveFile,
        mut each: impl FnMut(Vec<Fingerprint>) -> Result<()>,
    ) -> std::result::Result<u64, Trouble> {
        let failed = |e: delta_kernel::Error| {
            let gone = is_not_found(&e);
            let error = kernel_error(e, "read the keys", &self.store);
            if gone { Trouble::Gone(error) } else { Trouble::Failed(error) }
        };
        let location = self
            .root
            .join(&file.path)
            .map_err(|e| Error::corrupt("the log names a file by something that is not a path").source(e))?;
        let deleted = file.deletion_vector.clone().map(DvInfo::from).unwrap_or_default();
        let keep = deleted.get_selection_vector(self.engine.as_ref(), &self.root).map_err(failed)?;
        let meta = FileMeta { last_modified: 0, size: file.size_bytes, location };
        let handler = self.engine.parquet_handler();
        let rows = handler.read_parquet_files(&[meta], Arc::clone(&self.physical), None).map_err(failed)?;
        let (mut from, mut count, mut piece) = (0, 0, Vec::with_capacity(PIECE));
        for rows in rows {
            let rows = rows.and_then(|rows| rows.try_into_record_batch()).map_err(failed)?;
            let until = from + rows.num_rows();
            let keep = keep.as_ref().map(|keep| live(keep, from, until));
            from = until;
            self.add_keys(&rows, file, keep.as_ref(), &mut piece)?;
            if piece.len() >= PIECE {
                count += piece.len() as u64;
                piece.sort_unstable();
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
                each(full)?;
            }
        }
        count += piece.len() as u64;
        piece.sort_unstable();
        each(piece)?;
        Ok(count)
    }

    fn add_keys(
        &self,
        rows: &RecordBatch,
        file: &LiveFile,
        keep: Option<&BooleanArray>,
        piece: &mut Vec<Fingerprint>,
    ) -> Result<()> {
        let mut arrays = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let array = match source {
                Source::File(positions) => at(rows, positions)?,
                Source::Partition(name, data_type) => {
                    constant(file.partition_values.get(name), data_type, rows.num_rows())?
                }
            };
            arrays.push(match keep {
                None => array,
                Some(keep) => {
                    filter(&array, keep).map_err(|e| Error::internal("leave deleted rows out").source(e))?
                }
            });
        }
        let keys = self.columns.fingerprints(&arrays, &self.hasher)?;
        if keys.has_null.is_empty() {
            piece.extend(keys.fingerprints);
        } else {
            let not_null = keys.fingerprints.iter().zip(&keys.has_null).filter(|(_, null)| !**null);
            piece.extend(not_null.map(|(key, _)| *key));
        }
        Ok(())
    }
}

/// Which of the rows `from..until` of a file are live; a deletion vector may end before the file does.
fn live(keep: &[bool], from: usize, until: usize) -> BooleanArray {
    (from..until).map(|row| Some(keep.get(row).copied().unwrap_or(true))).collect()
}

/// The parts of a schema that the paths name.
fn prune(schema: &StructType, paths: &[&[String]]) -> Result<StructType> {
    let mut fields: Vec<StructField> = Vec::new();
    for field in schema.fields() {
        let below: Vec<&[String]> =
            paths.iter().filter(|path| path[0] == field.name).map(|path| &path[1..]).collect();
        if below.is_empty() {
            continue;
        }
        let mut field = field.clone();
        if let (KernelType::Struct(inner), false) =
            (&field.data_type, below.iter().any(|path| path.is_empty()))
        {
            field.data_type = KernelType::Struct(Box::new(prune(inner, &below)?));
        }
        fields.push(field);
    }
    StructType::try_new(fields).map_err(|e| Error::internal("the key columns make no schema").source(e))
}

/// The positions of a path's parts in a schema.
fn position(schema: &StructType, path: &[String]) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(path.len());
    let mut within = Some(schema);
    for name in path {
        let (at, field) = within.and_then(|s| s.field_with_index(name)).ok_or_else(|| lacking(path))?;
        positions.push(at);
        within = match &field.data_type {
            KernelType::Struct(inner) => Some(inner.as_ref()),
            _ => None,
        };
    }
    Ok(positions)
}

fn at(rows: &RecordBatch, positions: &[usize]) -> Result<ArrayRef> {
    let wrong = || Error::internal("a file was read with other columns than were asked for");
    let (first, rest) = positions.split_first().ok_or_else(wrong)?;
    let mut array = Arc::clone(rows.columns().get(*first).ok_or_else(wrong)?);
    for position in rest {
        let parent = array.as_struct_opt().ok_or_else(wrong)?;
        let child = parent.columns().get(*position).ok_or_else(wrong)?;
        array = super::key_columns::with_nulls_of(child, parent)?;
    }
    Ok(array)
}

/// A partition's value for each of so many rows.
fn constant(value: Option<&String>, data_type: &KernelType, rows: usize) -> Result<ArrayRef> {
    let value = partition_value(value, data_type)?;
    value.to_array(rows).map_err(|e| Error::internal("a partition value has no Arrow form").source(e))
}

fn lacking(path: &[String]) -> Error {
    Error::internal(format!("the table lacks the key column {}", path.join(".")))
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;

    use super::super::fingerprint::HashSecret;
    use super::*;
    use crate::table::int96::examples::{TIMES, files_of, table};

    #[test]
    fn keys_that_spark_wrote_as_int96_are_those_of_the_same_times() {
        for (mapped, name) in [(false, "t"), (false, "s.t"), (true, "t"), (true, "s.t")] {
            let table = DeltaTable::open(&table(mapped)).unwrap().unwrap();
            let schema = table.arrow_schema().unwrap();
            let columns = KeyColumns::resolve(&schema, &[name.to_owned()], "t").unwrap();
            let hasher = HashSecret::random().hasher();
            let times: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from(TIMES.repeat(2)).with_timezone("UTC"));
            let mut expected = columns.fingerprints(&[times], &hasher).unwrap().fingerprints;
            expected.sort_unstable();
            let reader = KeyReader::new(&table, &columns, hasher).unwrap();
            let mut keys = Vec::new();
            let read = reader.read(&files_of(&table)[0].live().unwrap(), |piece| {
                keys.extend(piece);
                Ok(())
            });
            assert_eq!(read.ok(), Some(8));
            assert_eq!(keys, expected, "{name}, mapped: {mapped}");
        }
    }
}
