//! The decoder of one lane: messages in, outcomes and batches out.
//!
//! Owns the columns and decides nothing about JSON: `fast` and `exact` read, this keeps a message's
//! row, gives it its corrupt-record text, or takes it back, as mode and policy say.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType as ArrowType, Schema, SchemaRef};

use super::column::{Column, StructColumn};
use super::exact::{self, Parsed, rejection};
use super::fast::{self, FastParse};
use super::jackson::Scratch;
use super::number::Symbols;
use super::options::{JsonOptions, ParseMode};
use super::outcome::{Outcome, Rejection, RejectionCode};
use super::required::Required;
use super::{Conversion, utf8};
use crate::decode::datetime::{FormatOptions, Formats};
use crate::decode::schema::{DataType, StructField, StructType};
use crate::model::error::{Error, Result};

/// Bytes of messages in one batch. What is written anew can grow threefold (a bad byte becomes
/// U+FFFD), and the offsets of an Arrow array have 31 bits.
const BATCH_BYTES_MAX: usize = 512 << 20;

/// What a stream does beyond Spark's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of malformed records in mode PERMISSIVE; the other modes always reject them.
    pub on_malformed: OnMalformed,
    /// Whether a row that breaks NOT NULL is rejected. If not, every column is nullable, as in
    /// Spark's `from_json`.
    pub enforce_not_null: bool,
}

/// What becomes of malformed records in mode PERMISSIVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMalformed {
    /// They are rows of what could be read, as in Spark.
    Keep,
    /// They are rejected, for the dead letters.
    Reject,
}

/// Decodes the messages of one lane into Arrow, as Spark's `from_json` with its options does.
pub struct JsonDecoder {
    root: Column,
    root_type: ArrowType,
    schema: SchemaRef,
    conversion: Conversion,
    required: Option<Required>,
    /// The index of the column for the text of malformed records.
    corrupt: Option<usize>,
    keep_malformed: bool,
    bytes: usize,
    scratch: Scratch,
    /// The indices of the fields that lead to a fault.
    path: Vec<u32>,
    replaced: String,
}

impl JsonDecoder {
    /// A decoder of rows of `schema`.
    ///
    /// # Errors
    /// `Config` if a column has a type that a Delta table or JSON cannot hold, if the column for
    /// corrupt records is no STRING, or if a format, zone or locale is not known.
    pub fn new(schema: &StructType, options: &JsonOptions, policy: Policy) -> Result<JsonDecoder> {
        let schema = if policy.enforce_not_null { schema.clone() } else { schema.to_nullable() };
        let corrupt_name = options.corrupt_record_column.as_str();
        let corrupt = corrupt_column(&schema, corrupt_name)?;
        let arrow = Arc::new(schema.to_arrow()?);
        let root = Column::Struct(Box::new(StructColumn::new(&schema, corrupt.map(|_| corrupt_name))?));
        let required = Required::of_fields(&schema);
        let mut decoder = Self::over(root, arrow, options, policy)?;
        decoder.corrupt = corrupt;
        decoder.required = required;
        Ok(decoder)
    }

    /// A decoder of single values: the result of `from_json` with `root` for a schema, an ARRAY, a MAP
    /// or a STRUCT. Its rows come from [`JsonDecoder::finish_array`]; NOT NULL is forgotten.
    ///
    /// # Errors
    /// As [`JsonDecoder::new`], and for a type that `from_json` does not take.
    pub fn for_root(root: &DataType, options: &JsonOptions, policy: Policy) -> Result<JsonDecoder> {
        match root {
            DataType::Struct(fields) => {
                Self::new(fields, options, Policy { enforce_not_null: false, ..policy })
            }
            DataType::Array { .. } | DataType::Map { .. } => {
                let root = root.to_nullable();
                let field = StructField::new("value", root.clone(), true);
                let arrow = Arc::new(StructType { fields: vec![field] }.to_arrow()?);
                Self::over(Column::new(&root)?, arrow, options, policy)
            }
            other => Err(Error::config(format!("from_json does not take {other:?} for a schema"))
                .hint("declare columns, a STRUCT, an ARRAY or a MAP")),
        }
    }

    fn over(root: Column, schema: Arc<Schema>, options: &JsonOptions, policy: Policy) -> Result<JsonDecoder> {
        let formats = Formats::new(&FormatOptions {
            timestamp_format: options.timestamp_format.as_deref(),
            timestamp_ntz_format: options.timestamp_ntz_format.as_deref(),
            date_format: options.date_format.as_deref(),
            time_zone: Some(&options.time_zone),
            locale: Some(&options.locale),
            fallback: options.datetime_fallback,
        })?;
        let symbols = Symbols::of(options);
        let root_type = match &root {
            Column::Struct(_) => ArrowType::Struct(schema.fields().clone()),
            _ => schema.field(0).data_type().clone(),
        };
        let keep = options.mode == ParseMode::Permissive && policy.on_malformed == OnMalformed::Keep;
        Ok(JsonDecoder {
            root,
            root_type,
            schema,
            conversion: Conversion { lexing: options.lexing, formats, symbols, now: 0 },
            required: None,
            corrupt: None,
            keep_malformed: keep,
            bytes: 0,
            scratch: Scratch::default(),
            path: Vec::new(),
            replaced: String::new(),
        })
    }

    /// The columns of the rows, in the order of the schema.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Says what time it is, in microseconds since the epoch: the day of times without a date. A
    /// replayed batch must say the same; until it is said, it is 1970-01-01.
    pub fn set_now(&mut self, micros: i64) {
        self.conversion.now = micros;
    }

    /// How many rows there are that have not been handed out.
    pub fn rows(&self) -> usize {
        self.root.len()
    }

    /// How many bytes those rows take.
    pub fn memory_bytes(&self) -> usize {
        self.root.memory_bytes()
    }

    /// Decodes one message. A tombstone (`None`), an empty or a blank message is a row of nulls, and
    /// not malformed.
    pub fn push(&mut self, value: Option<&[u8]>) -> Outcome {
        let row = self.root.len();
        let Some(value) = value else {
            self.root.push_null();
            return self.checked(row, Outcome::Row);
        };
        if value.len() > BATCH_BYTES_MAX - self.bytes {
            return self.no_room(row, value.len());
        }
        self.bytes += value.len();
        if let Ok(text) = simdutf8::basic::from_utf8(value) {
            return self.push_text(row, text);
        }
        let mut replaced = std::mem::take(&mut self.replaced);
        replaced.clear();
        utf8::replace_bad(value, &mut replaced);
        let outcome = self.push_text(row, &replaced);
        self.replaced = replaced;
        outcome
    }

    #[inline]
    fn push_text(&mut self, row: usize, text: &str) -> Outcome {
        let strict = !self.keep_malformed;
        match fast::parse(text, &mut self.root, &self.conversion, strict, &mut self.path) {
            FastParse::Good if self.required.is_none() => Outcome::Row,
            FastParse::Good => self.checked(row, Outcome::Row),
            FastParse::Partial(fault) => {
                let why = rejection(&fault, &self.path, &self.root);
                self.sync(row, text, Parsed::Partial(why))
            }
            FastParse::Malformed(fault) => {
                let why = rejection(&fault, &self.path, &self.root);
                self.root.truncate(row);
                self.sync(row, text, Parsed::Malformed(why))
            }
            FastParse::Unsure => {
                self.root.truncate(row);
                self.push_exact(row, text)
            }
        }
    }

    fn push_exact(&mut self, row: usize, text: &str) -> Outcome {
        let parsed = exact::parse(text, &mut self.root, &self.conversion, &mut self.scratch);
        self.sync(row, text, parsed)
    }

    /// Keeps or takes back what has been read of a message that is not plainly good.
    fn sync(&mut self, row: usize, text: &str, parsed: Parsed) -> Outcome {
        let outcome = match parsed {
            Parsed::Good => Outcome::Row,
            Parsed::Nothing => {
                self.root.push_null();
                Outcome::Row
            }
            Parsed::Partial(why) | Parsed::Malformed(why) if !self.keep_malformed => {
                self.root.truncate(row);
                return Outcome::Rejected(why);
            }
            Parsed::Partial(why) => {
                self.keep_text(row, text);
                Outcome::KeptMalformed(why)
            }
            Parsed::Malformed(why) => {
                match &mut self.root {
                    Column::Struct(fields) => fields.close(),
                    other => other.push_null(),
                }
                self.keep_text(row, text);
                Outcome::KeptMalformed(why)
            }
        };
        self.checked(row, outcome)
    }

    /// Sets the corrupt-record column of the last row.
    fn keep_text(&mut self, row: usize, text: &str) {
        let (Column::Struct(fields), Some(index)) = (&mut self.root, self.corrupt) else { return };
        let column = &mut fields.columns[index];
        column.truncate(row);
        match column {
            Column::Text(column) => column.push(text.as_bytes()),
            other => other.push_null(),
        }
    }

    /// Takes row `row` back if it breaks NOT NULL.
    fn checked(&mut self, row: usize, outcome: Outcome) -> Outcome {
        let Some(required) = &self.required else { return outcome };
        let Some(field) = required.broken_by(&self.root, row) else { return outcome };
        self.root.truncate(row);
        Outcome::Rejected(Rejection {
            code: RejectionCode::NotNullViolation,
            field: Some(field),
            message: "the column is declared NOT NULL and would be null".to_owned(),
        })
    }

    #[cold]
    fn no_room(&self, row: usize, length: usize) -> Outcome {
        if row > 0 || self.bytes > 0 {
            return Outcome::Full;
        }
        Outcome::Rejected(Rejection {
            code: RejectionCode::RecordTooLarge,
            field: None,
            message: format!("the message has {length} bytes, a batch holds {BATCH_BYTES_MAX}"),
        })
    }

    /// Hands out the rows and starts anew, with room for as many.
    ///
    /// # Errors
    /// `Internal` if the rows make no batch, which would be a defect; `new` decodes columns, a decoder
    /// `for_root` of an ARRAY or MAP has none.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let rows = self.root.len();
        let Column::Struct(fields) = &mut self.root else {
            return Err(Error::internal("a decoder of single values has no columns"));
        };
        let (columns, _) = fields.finish_columns(self.schema.fields())?;
        self.bytes = 0;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema(), columns, &options)
            .map_err(|error| Error::internal("decoded rows make no batch").source(error))
    }

    /// Hands out the rows as one array of the root type, in which a tombstone, an empty or a blank
    /// message is null as a whole, and starts anew.
    ///
    /// # Errors
    /// `Internal` if the rows make no array, which would be a defect.
    pub fn finish_array(&mut self) -> Result<ArrayRef> {
        self.bytes = 0;
        self.root.finish(&self.root_type)
    }
}

/// The index of the column for corrupt records, if the schema has it; of several the last.
fn corrupt_column(schema: &StructType, name: &str) -> Result<Option<usize>> {
    let Some(index) = schema.fields.iter().rposition(|field| field.name == name) else { return Ok(None) };
    let field = &schema.fields[index];
    if field.data_type != DataType::String || !field.nullable {
        return Err(Error::config(format!(
            "column {name} is for corrupt records and must be a nullable STRING"
        ))
        .hint("change its type in the schema, or columnNameOfCorruptRecord"));
    }
    Ok(Some(index))
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
