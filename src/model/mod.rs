//! The vocabulary: pure values that pass between the stages. No I/O, no clocks, no async.
//!
//! Every other module may use `model`; `model` uses none of them.

pub mod build;
pub mod error;
pub mod escape;
pub mod generated;
pub mod hidden;
pub mod identity;
pub mod marks;
pub mod memory;
pub mod offset;
pub mod missing_field;
pub mod numbers;
pub mod offsets;
pub mod record;
pub mod record_column;
pub mod spark_type;
pub mod table_format;
pub mod table_property;
pub mod time;
pub mod user;

pub use error::{Error, Kind, Result};
pub use hidden::Hidden;
pub use identity::{Credential, Identity, Secret};
pub use marks::{Marks, OutputMode, Watermark};
pub use memory::{MemoryAccount, MemoryClaim};
pub use missing_field::MissingField;
pub use offset::{Notes, Offset, OffsetSeq};
pub use offsets::{Loss, OffsetRange, Offsets, TopicPartition};
pub use record::{Header, Record, TimestampType};
pub use record_column::RecordColumn;
pub use table_format::TableFormat;
