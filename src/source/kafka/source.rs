//! The Kafka source behind the traits of all sources.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use super::{KafkaSource, LaneReader, Latest, ReadReport};
use crate::config::kafka::{Isolation, KafkaOptions, Subscription};
use crate::model::{OffsetRange, Offsets, Record, Result};
use crate::source::{Reader, Source};

impl Source for KafkaSource {
    fn description(&self) -> String {
        let inner = match &self.options().subscription {
            Subscription::Topics(topics) => format!("Subscribe[{}]", topics.join(", ")),
            Subscription::Pattern(pattern) => format!("SubscribePattern[{pattern}]"),
            Subscription::Assign(partitions) => {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                format!("Assign[{}]", names.join(", "))
            }
        };
        format!("KafkaV2[{inner}]")
    }

    fn initial_offsets(&self) -> Result<Offsets> {
        KafkaSource::initial_offsets(self)
    }

    fn latest(&self, known: &Offsets) -> Result<Latest> {
        KafkaSource::latest(self, known)
    }

    fn topic_ids(&self, needed: &BTreeMap<String, String>, now: bool) -> Result<BTreeMap<String, String>> {
        if now { self.topic_ids_now(needed) } else { KafkaSource::topic_ids(self, needed) }
    }

    fn reader(&self, memory_bytes: usize, isolation: Isolation) -> Result<Box<dyn Reader>> {
        let options = KafkaOptions { isolation, ..self.options().clone() };
        Ok(Box::new(LaneReader::open(&options, memory_bytes, self.partitions().len())?))
    }
}

impl Reader for LaneReader {
    fn read(
        &mut self,
        ranges: &[OffsetRange],
        cancel: &AtomicBool,
        on_record: &mut dyn FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<ReadReport> {
        LaneReader::read(self, ranges, cancel, on_record)
    }
}
