//! Kafka as a source: ranges of records, brokers that fail, topics that change, logins, identities, consumer groups.

mod answers;
mod consumer_group;
pub mod faults;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod identities;
pub mod logins;
mod source;
