//! Arrow's types in Spark's words, for messages.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

/// A type as DDL has it, NOT NULL inside structs included.
pub fn name_of(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "VOID".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 => "STRING".into(),
        DataType::Binary => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        DataType::Interval(IntervalUnit::YearMonth) => "INTERVAL YEAR TO MONTH".into(),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::Duration(TimeUnit::Second) => "INTERVAL DAY".into(),
        DataType::Duration(_) => "INTERVAL DAY TO SECOND".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p},{s})"),
        DataType::List(element) => format!("ARRAY<{}>", name_of(element.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", name_of(pair[0].data_type()), name_of(pair[1].data_type()))
            }
            other => format!("{other}"),
        },
        DataType::Struct(fields) => {
            let inner = fields.iter().map(|f| {
                let not_null = if f.is_nullable() { "" } else { " NOT NULL" };
                format!("{}: {}{not_null}", f.name(), name_of(f.data_type()))
            });
            format!("STRUCT<{}>", inner.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn types_have_the_names_that_spark_gives_them() {
        let pair = |value: DataType, nullable| {
            let fields = vec![Field::new("k", DataType::Utf8, false), Field::new("v", value, nullable)];
            DataType::Struct(fields.into())
        };
        let map = Field::new("entries", pair(DataType::Null, true), false);
        for (data_type, name) in [
            (DataType::Null, "VOID"),
            (DataType::Interval(IntervalUnit::YearMonth), "INTERVAL YEAR TO MONTH"),
            (DataType::Interval(IntervalUnit::MonthDayNano), "INTERVAL"),
            (DataType::Duration(TimeUnit::Second), "INTERVAL DAY"),
            (DataType::Duration(TimeUnit::Microsecond), "INTERVAL DAY TO SECOND"),
            (DataType::Map(map.into(), false), "MAP<STRING, VOID>"),
            (pair(DataType::Decimal128(5, 2), true), "STRUCT<k: STRING NOT NULL, v: DECIMAL(5,2)>"),
        ] {
            assert_eq!(name_of(&data_type), name);
        }
    }
}
