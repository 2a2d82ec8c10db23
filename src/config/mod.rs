//! The configuration: file, environment and flags become one validated [`Config`].
//!
//! Layers, later wins: built-in defaults < file < environment < flags. Each layer is a tree of text
//! with places ([`document`]); the layers are laid over each other, then the tree is read once, all
//! problems are gathered, and what comes out needs no further check. Every stage takes its part of
//! the result; none reads the environment itself.
//!
//! It must not do I/O, except through the [`Lookup`] it is given, nor ever show a secret.

mod azure;
mod columns;
mod delta;
mod document;
mod environment;
mod event_hubs;
mod formats;
pub mod kafka;
mod harmless;
mod keys;
mod layers;
mod local_folder;
mod marks;
mod location;
mod lookup;
mod merge;
mod option_lists;
mod origin;
mod print;
mod problems;
mod quantity;
mod reader;
pub mod reference;
mod secrets;
mod stream;
mod sql_parser;
mod stream_parser;
mod table_properties;
#[cfg(test)]
mod tests;

pub use azure::StorageOptions;
pub use columns::RawColumns;
pub use delta::{DeltaSink, DeltaTarget};
pub use formats::{ConsoleSink, RateOptions, SinkConfig, SocketOptions, SourceFormat};
pub use kafka::KafkaOptions;
pub use layers::Setting;
pub use location::parse as parse_location;
pub use lookup::{Lookup, ProcessLookup};
pub use merge::{DeleteWhen, MergeConfig, UpdateConfig, WhenMatched};
pub(crate) use problems::nearest;
pub use quantity::{duration as parse_duration, size_bytes as parse_size};
pub use stream::{
    Config, JsonValue, RestartPolicy, SourceConfig, StreamConfig, TableConfig, Trigger, ValueConfig,
    ViewConfig,
};
