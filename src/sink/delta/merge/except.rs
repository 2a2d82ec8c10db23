//! Columns of the stream that are not written to the table (`merge.exceptColumns`), such as the `op` of a change feed.
//!
//! Admission carries them behind the table's columns to the lanes, where `deleteWhen` reads them ([`super::order`]). Rows that
//! wait for the commit have the table's columns alone.

use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};

use super::super::{DeltaAppend, position_in, same_name};
use crate::config::{MergeConfig, WhenMatched};
use crate::decode::admission::Admission;
use crate::model::{Error, Result};
use crate::table::key_index::ComparedColumn;

const SETTING: &str = "sink.merge.exceptColumns";

/// The columns that are not written.
#[derive(Debug)]
pub(super) struct ExceptedColumns {
    /// Their positions among the stream's columns.
    positions: Vec<usize>,
}

impl ExceptedColumns {
    /// Finds the columns in a stream that is merged into `target`.
    ///
    /// # Errors
    /// `Config` if the stream lacks one, the merge needs it in the table, or the table has a column of its name.
    pub(super) fn resolve(
        merge: &MergeConfig,
        stream: &SchemaRef,
        target: &DeltaAppend,
    ) -> Result<ExceptedColumns> {
        let positions = merge.except_columns.iter().map(|name| position_in(stream, SETTING, name));
        let excepted = ExceptedColumns { positions: positions.collect::<Result<_>>()? };
        if !excepted.positions.is_empty() {
            excepted.check_not_needed(merge, stream, target)?;
            excepted.check_not_in_table(stream, target)?;
        }
        Ok(excepted)
    }

    fn names<'a>(&self, stream: &'a Schema) -> impl Iterator<Item = &'a str> {
        self.positions.iter().map(|at| stream.field(*at).name().as_str())
    }

    /// Refuses columns by which rows of the table are found, compared or divided.
    fn check_not_needed(&self, merge: &MergeConfig, stream: &Schema, target: &DeltaAppend) -> Result<()> {
        let order_by = match &merge.when_matched {
            WhenMatched::Ignore => None,
            WhenMatched::Update(update) => update.order_by.as_ref(),
        };
        let keys = merge.keys.iter().map(|name| ("sink.merge.keys", name));
        let others = order_by.map(|name| ("sink.merge.orderBy", name)).into_iter();
        let others =
            others.chain(merge.within.as_ref().map(|within| ("sink.merge.eventTime", &within.event_time)));
        for (setting, name) in keys.chain(others) {
            let column = ComparedColumn::resolve(stream, setting, name, "the stream")?;
            self.check_is_none(stream, setting, name, column.top_level())?;
        }
        let partition_by = &target.config.partition_by;
        partition_by.iter().try_for_each(|name| self.check_is_none(stream, "sink.partitionBy", name, name))
    }

    /// Refuses the columns if one of them is `column`, which `setting` calls `name`.
    fn check_is_none(&self, stream: &Schema, setting: &str, name: &str, column: &str) -> Result<()> {
        match self.names(stream).find(|excepted| same_name(excepted, column)) {
            None => Ok(()),
            Some(excepted) => Err(Error::config(format!(
                "{SETTING} names {excepted}, and {setting} needs {name} in the table"
            ))
            .hint(format!("remove {excepted} from {SETTING}, or name another column in {setting}"))),
        }
    }

    fn check_not_in_table(&self, stream: &Schema, target: &DeltaAppend) -> Result<()> {
        let Some(table) = target.table() else { return Ok(()) };
        let there = table.arrow_schema()?;
        let is_there = |name: &&str| there.fields().iter().any(|field| same_name(field.name(), name));
        match self.names(stream).find(is_there) {
            None => Ok(()),
            Some(name) => Err(Error::config(format!(
                "{SETTING} names {name}, which is a column of table {}",
                table.store().url()
            ))
            .hint(format!(
                "remove {name} from {SETTING} to write it, or drop it from the table (ALTER TABLE … DROP COLUMN {name}, which needs column mapping)"
            ))),
        }
    }

    /// The columns of the stream that are written.
    pub(super) fn written(&self, stream: &SchemaRef) -> SchemaRef {
        if self.positions.is_empty() {
            return Arc::clone(stream);
        }
        let fields = stream.fields().iter().enumerate();
        let fields =
            fields.filter(|(at, _)| !self.positions.contains(at)).map(|(_, field)| Arc::clone(field));
        Arc::new(Schema::new_with_metadata(fields.collect::<Fields>(), stream.metadata().clone()))
    }

    /// How rows of the stream are admitted, if `admission` admits its columns that are written.
    pub(super) fn carried_by(&self, admission: Admission, stream: &Schema) -> Admission {
        if self.positions.is_empty() { admission } else { admission.carrying(stream, &self.positions) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::super::DeltaMerge;
    use super::*;
    use crate::config::{Config, ProcessLookup};
    use crate::decode::datetime::Zone;
    use crate::decode::schema::StructType;
    use crate::model::MemoryAccount;
    use crate::sink::{BatchCommit, BatchRun, Sink};
    use crate::storage::{Store, test_runtime};

    /// A merge into `folder` of what a query gives, so that its columns are known to the sink alone; `more` stands in the sink.
    fn sink(folder: &Path, more: &str) -> DeltaMerge {
        let place = folder.display();
        let yaml = format!(
            "streams: [{{name: s, source: {{format: rate}}, sql: SELECT 1, sink: {{format: delta, path: {place}/table, {more}}}, checkpointLocation: {place}/checkpoint}}]"
        );
        let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
        let config = config.streams[0].sink.delta().unwrap();
        let store = Store::open(&config.url, &BTreeMap::new(), test_runtime()).unwrap();
        let table = DeltaAppend::open(config, store, Zone::UTC).unwrap();
        DeltaMerge::of(table, config.merge.as_ref().unwrap(), 1, None)
    }

    fn columns(ddl: &str) -> SchemaRef {
        Arc::new(StructType::from_ddl(ddl).unwrap().to_arrow().unwrap())
    }

    #[test]
    fn columns_that_the_table_needs_or_has_are_refused_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let stream =
            columns("id BIGINT, s STRUCT<x: INT, y: INT>, at TIMESTAMP, day DATE, Op STRING NOT NULL");
        let refused = |more: &str| sink(folder.path(), more).check(&stream).unwrap_err().to_string();
        let cases = [
            (
                "merge: {keys: [id], exceptColumns: [nothing]}",
                "names nothing, which is not a column of the stream (the columns are id, s, at, day, Op)",
            ),
            ("merge: {keys: [id], exceptColumns: [s.x]}", "names s.x, which is not a column of the stream"),
            (
                "merge: {keys: [ID], exceptColumns: [op, iD]}",
                "names id, and sink.merge.keys needs ID in the table (remove id from sink.merge.exceptColumns, or name another column in sink.merge.keys)",
            ),
            (
                "merge: {keys: [id, s.x], exceptColumns: [s]}",
                "names s, and sink.merge.keys needs s.x in the table",
            ),
            (
                "merge: {keys: [id], whenMatched: update, orderBy: s.y, exceptColumns: [s]}",
                "names s, and sink.merge.orderBy needs s.y in the table",
            ),
            (
                "merge: {keys: [id], within: 1 day, eventTime: at, exceptColumns: [at]}",
                "names at, and sink.merge.eventTime needs at in the table",
            ),
            (
                "partitionBy: [DAY], merge: {keys: [id], exceptColumns: [day]}",
                "names day, and sink.partitionBy needs DAY in the table",
            ),
        ];
        for (more, expected) in cases {
            let said = refused(more);
            assert!(
                said.starts_with("sink.merge.exceptColumns ") && said.contains(expected),
                "{more}: {said}"
            );
        }
        let merge = "merge: {keys: [id], whenMatched: update, deleteWhen: {column: op, values: [d]}";
        assert!(
            sink(folder.path(), &format!("{merge}, exceptColumns: [op]}}")).check(&stream).unwrap().is_none()
        );
        assert!(!folder.path().join("table").exists());
        // A table without the column takes the stream only if it is left out, and one that has it only if it is not.
        sink(folder.path(), &format!("{merge}, exceptColumns: [op]}}")).prepare(&stream).unwrap();
        let said = refused(&format!("{merge}}}"));
        assert!(
            said.contains("has no column Op; it has id, s, at, day")
                && said.contains("sink.merge.exceptColumns"),
            "{said}"
        );
        let said = refused(&format!("{merge}, exceptColumns: [op, s]}}"));
        assert!(
            said.contains("names s, which is a column of table") && said.contains("remove s from"),
            "{said}"
        );
    }

    #[test]
    fn a_row_deletes_by_a_column_that_is_neither_in_the_table_nor_in_the_rows_that_wait() {
        let stream = columns("op STRING, id BIGINT, name STRING");
        let more = "merge: {keys: [id], whenMatched: update, deleteWhen: {column: op, values: [d]}, exceptColumns: [op]}";
        // With room for all rows, and with none: they wait on the disk.
        for bytes in [64 << 20, 1] {
            let folder = tempfile::tempdir().unwrap();
            let mut sink = sink(folder.path(), more);
            let admission = sink.prepare(&stream).unwrap().unwrap();
            assert_eq!(
                sink.target.table().unwrap().arrow_schema().unwrap(),
                columns("id BIGINT, name STRING")
            );
            let mut write = |batch_id: i64, rows: &[(&str, i64)]| {
                let run = BatchRun { query_id: "q", batch_id, attempt: &format!("run-{batch_id}") };
                let attempt = sink.begin(&run, &MemoryAccount::new(bytes)).unwrap();
                let columns: [ArrayRef; 3] = [
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|(op, _)| op))),
                    Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, id)| *id))),
                    Arc::new(StringArray::from_iter_values(rows.iter().map(|(op, id)| format!("{op}{id}")))),
                ];
                let rows = RecordBatch::try_new(Arc::clone(&stream), columns.to_vec()).unwrap();
                let admitted = admission.admit(&rows, 0).unwrap().rows;
                assert_eq!(attempt.align(rows).unwrap(), admitted);
                assert!(attempt.refused(&admitted).is_empty());
                let mut writer = attempt.writer(0).unwrap();
                writer.write(&admitted).unwrap();
                sink.commit(&BatchCommit::of_test(batch_id), writer.finish().unwrap()).unwrap();
                let counts: BTreeMap<&str, u64> = sink.metrics().counts.into_iter().collect();
                ["numInsertedRows", "numUpdatedRows", "numDeletedRows"].map(|name| counts[name])
            };
            assert_eq!(write(0, &[("c", 1), ("c", 2), ("d", 3), ("c", 4)]), [3, 0, 0]);
            assert_eq!(write(1, &[("u", 1), ("u", 2), ("d", 2), ("d", 4), ("c", 4)]), [0, 2, 1]);
        }
    }
}
