//! `--where`: a condition on a table's partition columns, as Spark's `OPTIMIZE … WHERE` takes one.
//!
//! It is Spark's SQL, so it is planned and run as a query: over one row for each partition that has files. NULL is no
//! match, as in every WHERE.

use arrow::datatypes::FieldRef;
use chrono::Utc;

use crate::config::StreamConfig;
use crate::model::{Error, Result};
use crate::query::{Conf, Definition, Failure, Query, Relation, Runner};
use crate::table::DeltaTable;
use crate::table::compact::ChosenPartitions;

/// A condition as it was given.
pub(super) struct Condition {
    text: String,
    conf: Conf,
    /// The time of `current_date()`.
    now_micros: i64,
}

impl Condition {
    /// A condition whose casts and times are those of `stream`, or of Spark's defaults.
    ///
    /// # Errors
    /// `Config` if a setting of the stream can't be read.
    pub(super) fn new(text: &str, stream: Option<&StreamConfig>) -> Result<Condition> {
        let conf = stream.map(|stream| Conf::from_map(&stream.conf)).transpose()?.unwrap_or_default();
        Ok(Condition { text: text.to_owned(), conf, now_micros: Utc::now().timestamp_micros() })
    }

    /// The partitions of `table` that the condition holds for.
    ///
    /// # Errors
    /// `Config` if the table has no partitions, or if the condition can't be planned, names another column or has no value
    /// for one of them; what reading the log answers.
    pub(super) fn choose(&self, table: &DeltaTable) -> Result<ChosenPartitions> {
        let columns = table.partition_columns().join(", ");
        if columns.is_empty() {
            let fact = format!("table {} has no partition columns", table.store().url());
            return Err(Error::config(fact).context("apply --where").hint("omit the flag"));
        }
        let refused = |error: Error| {
            let form = "it takes a condition in SQL on the partition columns of the table";
            error
                .context("apply --where")
                .hint(format!("{form} ({columns}), such as \"day >= '2026-01-01'\""))
        };
        let partitions = table.partitions()?;
        let relation = Relation { name: "partitions".to_owned(), schema: partitions.rows().schema() };
        // A comment at the end of the text ends with its line.
        let sql = format!("SELECT 1 FROM partitions WHERE (\n{}\n)", self.text);
        let plan = Query::plan(&Definition::of_stream(relation, sql, self.conf.clone()));
        let query = plan.map_err(|error| refused(not_of_partitions(table, error)))?;
        let no_condition = || refused(Error::config("it is not a condition on single partitions"));
        if query.is_stateful() {
            return Err(no_condition());
        }
        let read = query.input_columns();
        let rows = partitions.rows().project(&read);
        let rows = rows.map_err(|e| Error::internal("choose the columns of partitions").source(e))?;
        let run = Runner::new(query).begin(self.now_micros, &[])?;
        let made = run.made(rows).map_err(|failure| match failure {
            Failure::Expression(error) => refused(Error::config(error.to_string())),
            Failure::Other(error) => error,
        })?;
        let chosen = made.records.ok_or_else(no_condition)?;
        Ok(partitions.choose(&self.text, &chosen))
    }
}

/// The error of a plan over partitions; if a column is missing that the table has, that it is no partition column.
fn not_of_partitions(table: &DeltaTable, error: Error) -> Error {
    let Ok(schema) = table.arrow_schema() else { return error };
    let missing = error.message().rsplit_once("there is no column ").map_or("", |(_, name)| name);
    let named = |field: &&FieldRef| field.name().eq_ignore_ascii_case(missing.trim_matches('`'));
    match schema.fields().iter().find(named) {
        Some(field) => Error::config(format!("{} is no partition column of the table", field.name())),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use tempfile::TempDir;
    use url::Url;

    use super::*;
    use crate::model::{Kind, MemoryAccount};
    use crate::storage::{Store, test_runtime};
    use crate::table::compact::CompactionRules;

    /// Partitions by day and name, each with two small files.
    const PARTITIONS: [(&str, Option<&str>); 5] = [
        ("2026-01-01", Some("a b")),
        ("2026-01-02", Some("Zürich")),
        ("2026-01-02", None),
        ("2026-01-10", Some("a b")),
        ("2027-01-01", Some("10")),
    ];

    fn table() -> (TempDir, DeltaTable) {
        let folder = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
        let column = |id: u8, name: &str, data_type: &str| {
            let physical = format!("col-{id}");
            let metadata =
                json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical});
            json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
        };
        let fields = json!([column(1, "k", "long"), column(2, "Day", "date"), column(3, "city", "string")]);
        let mut log = vec![
            json!({"commitInfo": {"timestamp": 1, "operation": "WRITE"}}),
            json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}),
            json!({"metaData": {
                "id": "t", "format": {"provider": "parquet", "options": {}},
                "schemaString": json!({"type": "struct", "fields": fields}).to_string(),
                "partitionColumns": ["Day", "city"], "createdTime": 1,
                "configuration": {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3"},
            }}),
        ];
        for (number, (day, city)) in PARTITIONS.iter().chain(&PARTITIONS).enumerate() {
            log.push(json!({"add": {
                "path": format!("{number}.parquet"), "partitionValues": {"col-2": day, "col-3": city}, "size": 10,
                "modificationTime": number, "dataChange": true,
            }}));
        }
        let log: Vec<String> = log.iter().map(Value::to_string).collect();
        store.put("_delta_log/00000000000000000000.json", log.join("\n").into()).unwrap();
        (folder, DeltaTable::open(&store).unwrap().unwrap())
    }

    fn partitions(table: &DeltaTable, condition: &str) -> Result<u64> {
        let chosen = Condition::new(condition, None)?.choose(table)?;
        let rules = CompactionRules { chosen: Some(chosen), ..CompactionRules::by_hand() };
        let plan = table.compactor(rules, &MemoryAccount::new(1 << 20), 1)?.plan()?;
        assert_eq!(plan.files, plan.partitions * 2);
        Ok(plan.partitions)
    }

    #[test]
    fn partitions_are_chosen_as_spark_would_choose_them() {
        let (_folder, table) = table();
        for (condition, count) in [
            ("day >= '2026-01-02'", 4),
            ("day > DATE'2026-01-02' AND city = 'a b'", 1),
            ("DAY BETWEEN '2026-01-02' AND '2026-01-10'", 3),
            ("city IN ('Zürich', '10') -- both", 2),
            ("city IS NULL OR city LIKE 'Z%'", 2),
            ("NOT city = 'a b'", 2),
            ("year(day) = 2027", 1),
            ("day > date_add(current_date(), 100000)", 0),
            ("true", 5),
            ("1 = 2", 0),
            ("city = NULL", 0),
        ] {
            assert_eq!(partitions(&table, condition).unwrap(), count, "{condition}");
        }
    }

    #[test]
    fn what_is_no_condition_on_partitions_is_refused_with_the_columns_that_there_are() {
        let (_folder, table) = table();
        for condition in [
            "k = 1",
            "day",
            "day >",
            "day > 'soon'",
            "city = 1",
            "count(*) > 1",
            "city IN (SELECT city FROM partitions GROUP BY city)",
            "true) LIMIT (1",
            "true; SELECT 1",
        ] {
            let refused = partitions(&table, condition).expect_err(condition);
            assert_eq!(refused.kind(), Kind::Config, "{condition}: {refused}");
            let said = refused.to_string();
            assert!(
                said.starts_with("apply --where: ") && said.contains("(Day, city)"),
                "{condition}: {said}"
            );
        }
        let said = partitions(&table, "K = 1").unwrap_err().to_string();
        assert!(said.starts_with("apply --where: k is no partition column of the table ("), "{said}");
    }
}
