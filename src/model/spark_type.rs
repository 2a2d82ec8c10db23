//! Arrow's types in Spark's words, for messages.

use arrow::datatypes::DataType;

/// A type as DDL has it, NOT NULL inside structs included.
pub fn name_of(data_type: &DataType) -> String {
    match data_type {
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
