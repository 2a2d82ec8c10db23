//! Apache Kafka as a source: what is there, what goes into a micro-batch, and its records.
//!
//! [`KafkaSource`] asks the brokers for partitions and offsets, once per trigger and off the hot path
//! (`admission`). Between it and the lanes are pure functions: [`limit`] and [`MinOffsets`] (how much), [`losses`] and
//! [`check_data_loss`] (what is gone), [`assign_splits`] (who reads what). A [`LaneReader`] then delivers every record
//! of its ranges once, in offset order per partition, and none outside of them.
//!
//! Offsets live in Alluvia's checkpoint: nothing here commits to Kafka, joins a group, or lets the client
//! choose an offset. rdkafka is used in this folder only, its raw part in `native` only.
//!
//! The source finds new topics and partitions within [`METADATA_REFRESH`] (sooner if
//! `kafka.metadata.max.age.ms` is), and takes one for deleted that the brokers have not known for half a minute (`doubt`).

mod admin;
mod admission;
mod answer;
mod assignment;
mod client;
mod cluster;
mod doubt;
mod epochs;
mod events;
mod topic_ids;
mod splits;
mod left;
mod limit;
mod links;
mod login;
mod loss;
mod mirror;
mod native;
mod options;
mod reader;
mod cursor;
mod source;
mod stall;
mod standstill;
mod start;
mod throttle;
mod tokens;
mod view;
#[cfg(test)]
mod testing;

pub use admin::KafkaSource;
pub use client::LANE_MEMORY_BYTES;
pub use limit::{MinOffsets, limit};
pub use links::{links, may_read};
pub use loss::{Latest, LossReason, LostRange, check_data_loss, losses, reconcile_positions, recreated};
pub use native::give_back as give_back_memory;
pub use reader::{LaneReader, ReadReport};
pub use splits::{PIECE_MIN, assign_splits};
pub use view::METADATA_REFRESH;
