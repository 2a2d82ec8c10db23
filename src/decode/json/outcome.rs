//! What became of a message, and why a bad one is bad.
//!
//! The only thing the decoder says of a single message. Carries names and positions, never values.

use std::fmt;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is a row now.
    Row,
    /// It is malformed, and what could be read of it is a row now (PERMISSIVE).
    KeptMalformed(Rejection),
    /// It is no row; the decoder is as it was before. Where it goes is the caller's business: to the
    /// dead letters, nowhere (DROPMALFORMED), or the stream stops (FAILFAST).
    Rejected(Rejection),
    /// It was not looked at, as the batch is full: `finish` it and push the message again. An empty
    /// batch is never full.
    Full,
}

/// Why a message is malformed or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of fault.
    pub code: RejectionCode,
    /// The path of the first field that is at fault, dotted, if a field is.
    pub field: Option<String>,
    /// What is wrong, without any value of the message.
    pub message: String,
}

/// Kinds of faults; the names are stable and stand in dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectionCode {
    /// The text is no JSON object of the kind the schema wants.
    MalformedRecord,
    /// A field's value cannot be read as its type, or its text is no JSON.
    CannotParseField,
    /// A column declared NOT NULL would be null.
    NotNullViolation,
    /// The message does not fit into what a batch can hold.
    RecordTooLarge,
    /// An expression of the stream's query has no value for the row.
    ExpressionFailed,
    /// A text can't be read as the type of the table's column.
    CastInvalidInput,
    /// A value is out of range for the type of the table's column.
    CastOverflow,
    /// A text is longer than the table's VARCHAR or CHAR.
    ExceedsLength,
    /// The value of a partition column can't be written into the log or into a path.
    InvalidPartitionValue,
    /// The writer of the table's files failed on the row.
    WriteFailed,
}

impl RejectionCode {
    /// Every kind of fault.
    pub const ALL: [RejectionCode; 10] = [
        RejectionCode::MalformedRecord,
        RejectionCode::CannotParseField,
        RejectionCode::NotNullViolation,
        RejectionCode::RecordTooLarge,
        RejectionCode::ExpressionFailed,
        RejectionCode::CastInvalidInput,
        RejectionCode::CastOverflow,
        RejectionCode::ExceedsLength,
        RejectionCode::InvalidPartitionValue,
        RejectionCode::WriteFailed,
    ];

    /// The name in dead letters and metrics.
    pub fn name(self) -> &'static str {
        match self {
            RejectionCode::MalformedRecord => "MALFORMED_RECORD",
            RejectionCode::CannotParseField => "CANNOT_PARSE_FIELD",
            RejectionCode::NotNullViolation => "NOT_NULL_VIOLATION",
            RejectionCode::RecordTooLarge => "RECORD_TOO_LARGE",
            RejectionCode::ExpressionFailed => "EXPRESSION_FAILED",
            RejectionCode::CastInvalidInput => "CAST_INVALID_INPUT",
            RejectionCode::CastOverflow => "CAST_OVERFLOW",
            RejectionCode::ExceedsLength => "EXCEED_CHAR_VARCHAR_LIMIT",
            RejectionCode::InvalidPartitionValue => "INVALID_PARTITION_VALUE",
            RejectionCode::WriteFailed => "WRITE_FAILED",
        }
    }

    /// Whether the record itself is at fault and DROPMALFORMED leaves it out; one that the table can't take is not
    /// malformed.
    pub fn is_malformed(self) -> bool {
        use RejectionCode::{CannotParseField, MalformedRecord, RecordTooLarge};
        matches!(self, MalformedRecord | CannotParseField | RecordTooLarge)
    }

    /// What helps against records with this fault, naming the keys to change.
    pub fn hint(self) -> &'static str {
        match self {
            RejectionCode::MalformedRecord
            | RejectionCode::CannotParseField
            | RejectionCode::RecordTooLarge => {
                "set deadLetter to keep such records aside, or change source.value.mode"
            }
            RejectionCode::NotNullViolation => {
                "set deadLetter to keep such records aside, or make the column nullable: in source.value.schema and, if it is there already, in the table"
            }
            RejectionCode::CastInvalidInput | RejectionCode::CastOverflow => {
                "set deadLetter to keep such records aside, or give the stream's column (source.value.schema, sql) and the table's one type"
            }
            RejectionCode::ExceedsLength => {
                "set deadLetter to keep such records aside, or give the table's column a greater length"
            }
            RejectionCode::InvalidPartitionValue => {
                "set deadLetter to keep such records aside, or leave the column out of sink.partitionBy"
            }
            RejectionCode::ExpressionFailed => {
                "set deadLetter to keep such records aside, or use a try_ function in sql"
            }
            RejectionCode::WriteFailed => "set deadLetter to keep such records aside, and report the fault",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        if let Some(field) = &self.field {
            write!(f, " in field {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_listed_so_that_it_has_a_counter() {
        for (place, code) in RejectionCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place, "{} is not in its place", code.name());
        }
        let last = match RejectionCode::WriteFailed {
            // A new kind comes before the last one, or is named here.
            RejectionCode::MalformedRecord
            | RejectionCode::CannotParseField
            | RejectionCode::NotNullViolation
            | RejectionCode::RecordTooLarge
            | RejectionCode::ExpressionFailed
            | RejectionCode::CastInvalidInput
            | RejectionCode::CastOverflow
            | RejectionCode::ExceedsLength
            | RejectionCode::InvalidPartitionValue
            | RejectionCode::WriteFailed => RejectionCode::WriteFailed,
        };
        assert_eq!(RejectionCode::ALL.len(), last as usize + 1);
    }
}
