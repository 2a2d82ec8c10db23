//! The schema of rows: Spark's data types, as a stream's configuration names them.
//!
//! `decode/ddl` makes a [`StructType`] out of text and writes it back; the decoders walk it; the
//! table gets its Arrow form. Holds no values, reads no configuration and does no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{
    DataType as ArrowType, Field as ArrowField, Fields as ArrowFields, Schema as ArrowSchema, TimeUnit,
};

use crate::model::error::{Error, Result};

/// The key of a column's comment in a field's metadata, in Spark's JSON form, Delta and Arrow.
pub const COMMENT_KEY: &str = "comment";

/// The name of an array's element field in Arrow, as the Delta kernel spells it.
const LIST_ELEMENT: &str = "element";
/// The name of a map's entry field in Arrow, as the Delta kernel spells it.
const MAP_ENTRIES: &str = "key_value";
/// The name of a map's key field in Arrow.
const MAP_KEY: &str = "key";
/// The name of a map's value field in Arrow.
const MAP_VALUE: &str = "value";

/// A data type of Spark 4.0 (`org.apache.spark.sql.types`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataType {
    /// BOOLEAN.
    Boolean,
    /// TINYINT: 8 bits with sign.
    Byte,
    /// SMALLINT: 16 bits with sign.
    Short,
    /// INT: 32 bits with sign.
    Integer,
    /// BIGINT: 64 bits with sign.
    Long,
    /// FLOAT: 32 bits.
    Float,
    /// DOUBLE: 64 bits.
    Double,
    /// DECIMAL(precision, scale): precision 0 to 38, scale at most the precision.
    Decimal {
        /// How many digits at most.
        precision: u8,
        /// How many of them stand behind the point.
        scale: u8,
    },
    /// STRING, compared by its bytes.
    String,
    /// STRING COLLATE: the canonical name of the collation, such as `UNICODE_CI`.
    CollatedString(String),
    /// VARCHAR(n): n characters at most. `from_json` refuses it.
    Varchar(u32),
    /// CHAR(n): n characters, padded. `from_json` refuses it.
    Char(u32),
    /// BINARY.
    Binary,
    /// DATE: days since 1970-01-01, proleptic Gregorian.
    Date,
    /// TIMESTAMP: an instant, microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// TIMESTAMP_NTZ: a local date and time, microseconds since 1970-01-01T00:00:00.
    TimestampNtz,
    /// STRUCT.
    Struct(StructType),
    /// ARRAY.
    Array {
        /// The type of the elements.
        element: Box<DataType>,
        /// Whether an element may be null.
        contains_null: bool,
    },
    /// MAP; a key is never null.
    Map {
        /// The type of the keys.
        key: Box<DataType>,
        /// The type of the values.
        value: Box<DataType>,
        /// Whether a value may be null.
        value_contains_null: bool,
    },
    /// VOID: null only.
    Void,
    /// INTERVAL: months, days and microseconds.
    CalendarInterval,
    /// INTERVAL DAY TO SECOND and its parts: microseconds.
    DayTimeInterval {
        /// The widest unit.
        start: DayTimeUnit,
        /// The narrowest unit; `start` or below it.
        end: DayTimeUnit,
    },
    /// INTERVAL YEAR TO MONTH and its parts: months.
    YearMonthInterval {
        /// The widest unit.
        start: YearMonthUnit,
        /// The narrowest unit; `start` or below it.
        end: YearMonthUnit,
    },
    /// VARIANT.
    Variant,
}

/// A unit of a day-time interval, from wide to narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayTimeUnit {
    /// DAY.
    Day,
    /// HOUR.
    Hour,
    /// MINUTE.
    Minute,
    /// SECOND, with six digits of a fraction.
    Second,
}

impl DayTimeUnit {
    /// The word in DDL, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            DayTimeUnit::Day => "day",
            DayTimeUnit::Hour => "hour",
            DayTimeUnit::Minute => "minute",
            DayTimeUnit::Second => "second",
        }
    }
}

/// A unit of a year-month interval, from wide to narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum YearMonthUnit {
    /// YEAR.
    Year,
    /// MONTH.
    Month,
}

impl YearMonthUnit {
    /// The word in DDL, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            YearMonthUnit::Year => "year",
            YearMonthUnit::Month => "month",
        }
    }
}

/// A column, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructField {
    /// The name, in the case it was written in; matched exactly.
    pub name: String,
    /// The type.
    pub data_type: DataType,
    /// Whether null is allowed.
    pub nullable: bool,
    /// The COMMENT.
    pub comment: Option<String>,
    /// What a schema in Spark's JSON form says in the field's metadata beside the comment.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl StructField {
    /// A field without a comment.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        StructField {
            name: name.into(),
            data_type,
            nullable,
            comment: None,
            metadata: serde_json::Map::new(),
        }
    }
}

/// The columns of a table, or the fields of a struct, in order; a name may occur twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StructType {
    /// The fields.
    pub fields: Vec<StructField>,
}

impl StructType {
    /// The Arrow schema of the rows, in the very form the Delta kernel gives its own schemas:
    /// TIMESTAMP in microseconds of zone `UTC`, list elements named `element`, map entries
    /// `key_value` of `key` and `value`, comments in the metadata. VARCHAR and CHAR become Utf8.
    ///
    /// # Errors
    /// `Config` if a column has a type that a Delta table cannot hold; the message has the column's path.
    pub fn to_arrow(&self) -> Result<ArrowSchema> {
        let mut path = Path::default();
        Ok(ArrowSchema::new(arrow_fields(self, &mut path)?))
    }

    /// The same schema with every field, element and value nullable: what `from_json` makes of a
    /// schema before it uses it (`StructType.asNullable`).
    pub fn to_nullable(&self) -> StructType {
        let fields = self.fields.iter().map(|field| StructField {
            data_type: field.data_type.to_nullable(),
            nullable: true,
            ..field.clone()
        });
        StructType { fields: fields.collect() }
    }
}

impl DataType {
    /// The same type with every inner field, element and value nullable (`DataType.asNullable`).
    pub fn to_nullable(&self) -> DataType {
        match self {
            DataType::Struct(inner) => DataType::Struct(inner.to_nullable()),
            DataType::Array { element, .. } => {
                DataType::Array { element: Box::new(element.to_nullable()), contains_null: true }
            }
            DataType::Map { key, value, .. } => DataType::Map {
                key: Box::new(key.to_nullable()),
                value: Box::new(value.to_nullable()),
                value_contains_null: true,
            },
            other => other.clone(),
        }
    }
}

/// Where in a nested schema we are: `orders.items.element`.
#[derive(Default)]
struct Path<'a>(Vec<&'a str>);

impl<'a> Path<'a> {
    fn within<T>(&mut self, name: &'a str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.0.push(name);
        let outcome = work(self)?;
        self.0.pop();
        Ok(outcome)
    }

    fn refuse(&self, what: &str, hint: &str) -> Error {
        Error::config(format!("column {} is {what}, which a Delta table cannot hold", self.0.join(".")))
            .hint(hint)
    }
}

fn arrow_fields<'a>(fields: &'a StructType, path: &mut Path<'a>) -> Result<ArrowFields> {
    let made = fields.fields.iter().map(|field| {
        let data_type = path.within(&field.name, |path| arrow_type(&field.data_type, path))?;
        let metadata = field.comment.iter().map(|text| (COMMENT_KEY.to_owned(), text.clone()));
        let metadata: HashMap<_, _> = metadata.collect();
        Ok(ArrowField::new(&field.name, data_type, field.nullable).with_metadata(metadata))
    });
    made.collect()
}

fn arrow_type<'a>(data_type: &'a DataType, path: &mut Path<'a>) -> Result<ArrowType> {
    let as_text = "declare it STRING";
    Ok(match data_type {
        DataType::Boolean => ArrowType::Boolean,
        DataType::Byte => ArrowType::Int8,
        DataType::Short => ArrowType::Int16,
        DataType::Integer => ArrowType::Int32,
        DataType::Long => ArrowType::Int64,
        DataType::Float => ArrowType::Float32,
        DataType::Double => ArrowType::Float64,
        DataType::Decimal { precision: 0, .. } => {
            return Err(path.refuse("DECIMAL of precision 0", "give it a precision from 1 to 38"));
        }
        DataType::Decimal { precision, scale } => {
            let scale = i8::try_from(*scale).expect("a scale is at most 38");
            ArrowType::Decimal128(*precision, scale)
        }
        DataType::String | DataType::Varchar(_) | DataType::Char(_) => ArrowType::Utf8,
        DataType::Binary => ArrowType::Binary,
        DataType::Date => ArrowType::Date32,
        DataType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::TimestampNtz => ArrowType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Struct(fields) => ArrowType::Struct(arrow_fields(fields, path)?),
        DataType::Array { element, contains_null } => {
            let element = path.within(LIST_ELEMENT, |path| arrow_type(element, path))?;
            ArrowType::List(Arc::new(ArrowField::new(LIST_ELEMENT, element, *contains_null)))
        }
        DataType::Map { key, value, value_contains_null } => {
            let key = path.within(MAP_KEY, |path| arrow_type(key, path))?;
            let value = path.within(MAP_VALUE, |path| arrow_type(value, path))?;
            let entry = ArrowType::Struct(ArrowFields::from(vec![
                ArrowField::new(MAP_KEY, key, false),
                ArrowField::new(MAP_VALUE, value, *value_contains_null),
            ]));
            ArrowType::Map(Arc::new(ArrowField::new(MAP_ENTRIES, entry, false)), false)
        }
        DataType::CollatedString(collation) => {
            let what = format!("STRING with collation {collation}");
            return Err(path.refuse(&what, "leave COLLATE out"));
        }
        DataType::Void => return Err(path.refuse("VOID", "leave the column out")),
        DataType::CalendarInterval => return Err(path.refuse("INTERVAL", as_text)),
        DataType::DayTimeInterval { .. } => return Err(path.refuse("a day-time INTERVAL", as_text)),
        DataType::YearMonthInterval { .. } => {
            return Err(path.refuse("a year-month INTERVAL", as_text));
        }
        DataType::Variant => {
            return Err(path.refuse("VARIANT (not supported by Alluvia)", as_text));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, data_type: DataType) -> StructType {
        StructType { fields: vec![StructField::new(name, data_type, true)] }
    }

    fn array(element: DataType) -> DataType {
        DataType::Array { element: Box::new(element), contains_null: true }
    }

    #[test]
    fn what_a_delta_table_cannot_hold_is_refused_by_path() {
        let nested = DataType::Struct(one("inner", array(DataType::CalendarInterval)));
        let error = one("outer", nested).to_arrow().unwrap_err().to_string();
        assert!(error.starts_with("column outer.inner.element is INTERVAL, which a Delta table"), "{error}");
        for refused in [
            DataType::Void,
            DataType::Variant,
            DataType::CollatedString("UTF8_LCASE".into()),
            DataType::YearMonthInterval { start: YearMonthUnit::Year, end: YearMonthUnit::Year },
            DataType::DayTimeInterval { start: DayTimeUnit::Day, end: DayTimeUnit::Second },
            DataType::Decimal { precision: 0, scale: 0 },
        ] {
            assert!(one("c", refused.clone()).to_arrow().is_err(), "{refused:?}");
        }
    }

    #[test]
    fn lists_and_maps_have_the_names_of_the_delta_kernel() {
        let map = DataType::Map {
            key: Box::new(DataType::String),
            value: Box::new(array(DataType::Timestamp)),
            value_contains_null: false,
        };
        let mut schema = one("m", map);
        schema.fields[0].comment = Some("of days".into());
        schema.fields[0].nullable = false;
        let instant = ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = ArrowType::List(Arc::new(ArrowField::new("element", instant, true)));
        let entry = ArrowType::Struct(ArrowFields::from(vec![
            ArrowField::new("key", ArrowType::Utf8, false),
            ArrowField::new("value", list, false),
        ]));
        let map = ArrowType::Map(Arc::new(ArrowField::new("key_value", entry, false)), false);
        let comment = HashMap::from([("comment".to_owned(), "of days".to_owned())]);
        let expected = ArrowSchema::new(vec![ArrowField::new("m", map, false).with_metadata(comment)]);
        assert_eq!(schema.to_arrow().unwrap(), expected);
    }
}
