//! Types to DDL text that reads back as the same type (`StructType.toDDL`, `DataType.sql`).

use std::fmt::{self, Display, Formatter};

use crate::decode::schema::{DataType, StructField, StructType};

impl StructType {
    /// The columns as DDL: `id BIGINT NOT NULL, name STRING COMMENT 'as given'`.
    pub fn to_ddl(&self) -> String {
        Fields { fields: &self.fields, behind_name: " " }.to_string()
    }
}

impl DataType {
    /// The type as DDL: `STRUCT<a: INT, b: ARRAY<STRING>>`.
    pub fn to_ddl(&self) -> String {
        Type(self).to_string()
    }
}

struct Fields<'a> {
    fields: &'a [StructField],
    behind_name: &'static str,
}

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, field) in self.fields.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            write!(f, "{}{}{}", Name(&field.name), self.behind_name, Type(&field.data_type))?;
            if !field.nullable {
                f.write_str(" NOT NULL")?;
            }
            if let Some(comment) = &field.comment {
                write!(f, " COMMENT '{}'", comment.replace('\\', "\\\\").replace('\'', "\\'"))?;
            }
        }
        Ok(())
    }
}

struct Name<'a>(&'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0;
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if plain && !name.is_empty() { f.write_str(name) } else { write!(f, "`{}`", name.replace('`', "``")) }
    }
}

struct Type<'a>(&'a DataType);

impl Display for Type<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let interval = |f: &mut Formatter<'_>, start: &str, end: &str| {
            write!(f, "INTERVAL {}", start.to_ascii_uppercase())?;
            if start == end { Ok(()) } else { write!(f, " TO {}", end.to_ascii_uppercase()) }
        };
        match self.0 {
            DataType::Boolean => f.write_str("BOOLEAN"),
            DataType::Byte => f.write_str("TINYINT"),
            DataType::Short => f.write_str("SMALLINT"),
            DataType::Integer => f.write_str("INT"),
            DataType::Long => f.write_str("BIGINT"),
            DataType::Float => f.write_str("FLOAT"),
            DataType::Double => f.write_str("DOUBLE"),
            DataType::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            DataType::String => f.write_str("STRING"),
            DataType::CollatedString(collation) => write!(f, "STRING COLLATE {collation}"),
            DataType::Varchar(size) => write!(f, "VARCHAR({size})"),
            DataType::Char(size) => write!(f, "CHAR({size})"),
            DataType::Binary => f.write_str("BINARY"),
            DataType::Date => f.write_str("DATE"),
            DataType::Timestamp => f.write_str("TIMESTAMP"),
            DataType::TimestampNtz => f.write_str("TIMESTAMP_NTZ"),
            DataType::Struct(inner) => {
                write!(f, "STRUCT<{}>", Fields { fields: &inner.fields, behind_name: ": " })
            }
            DataType::Array { element, .. } => write!(f, "ARRAY<{}>", Type(element)),
            DataType::Map { key, value, .. } => write!(f, "MAP<{}, {}>", Type(key), Type(value)),
            DataType::Void => f.write_str("VOID"),
            DataType::CalendarInterval => f.write_str("INTERVAL"),
            DataType::DayTimeInterval { start, end } => interval(f, start.name(), end.name()),
            DataType::YearMonthInterval { start, end } => interval(f, start.name(), end.name()),
            DataType::Variant => f.write_str("VARIANT"),
        }
    }
}
