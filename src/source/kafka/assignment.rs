//! The partitions of one lane: what the client fetches for it, and where each partition's messages go.
//!
//! A partition is assigned at an explicit offset and taken away again, never sought or paused. Here is the
//! one order of calls to librdkafka that loses no message and delivers none twice; see [`Assignment::assign`].

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::cursor::PartitionCursor;
use super::native::{Client, Message, Queue, Topic};
use crate::model::{Error, Result, TopicPartition};

/// The client of a lane and what it was told to fetch.
pub(super) struct Assignment {
    // What holds messages stands above what holds the client: messages must go first.
    /// All partitions that were ever read; their places here never change.
    pub(super) slots: Vec<PartitionCursor<Message>>,
    places: HashMap<(usize, i32), usize>,
    topics: HashMap<Arc<str>, Topic>,
    /// How often messages were taken from the queue.
    pub(super) round: u64,
    /// Where the messages of all assigned partitions arrive.
    pub(super) queue: Queue,
    pub(super) client: Arc<Client>,
}

impl Assignment {
    /// Nothing assigned yet.
    pub(super) fn new(client: Arc<Client>) -> Assignment {
        Assignment {
            slots: Vec::new(),
            places: HashMap::new(),
            topics: HashMap::new(),
            round: 0,
            queue: Queue::new(Arc::clone(&client)),
            client,
        }
    }

    /// The slot of the messages of `place`.
    pub(super) fn find(&self, place: (usize, i32)) -> Option<usize> {
        self.places.get(&place).copied()
    }

    /// The slots whose range is being read.
    pub(super) fn open(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|&at| self.slots[at].until.is_some()).collect()
    }

    /// The slots that the client fetches.
    pub(super) fn assigned(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|&at| self.slots[at].assigned).collect()
    }

    /// Where a partition is kept; made if it is new.
    pub(super) fn slot_of(&mut self, partition: &TopicPartition) -> Result<usize> {
        if !self.topics.contains_key(&partition.topic) {
            let topic = Topic::new(&self.client, &partition.topic);
            let topic = topic.ok_or_else(|| {
                Error::internal(format!("{:?} cannot be the name of a topic", partition.topic))
            })?;
            self.topics.insert(Arc::clone(&partition.topic), topic);
        }
        let place = (self.topics[&partition.topic].identity(), partition.partition);
        let next = self.slots.len();
        let at = *self.places.entry(place).or_insert(next);
        if at == next {
            self.slots.push(PartitionCursor::new(partition.clone()));
        }
        Ok(at)
    }

    /// Assigns partitions at explicit offsets, taking away first those that are assigned elsewhere.
    pub(super) fn assign(&mut self, places: &[(usize, i64)]) -> Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let assigned: Vec<usize> =
            places.iter().map(|&(at, _)| at).filter(|&at| self.slots[at].assigned).collect();
        self.release(&assigned)?;
        let mut list = TopicPartitionList::with_capacity(places.len());
        for &(at, offset) in places {
            let partition = &self.slots[at].partition;
            if !self.queue.take_partition(partition) {
                return Err(Error::internal(format!("partition {partition} has no queue")));
            }
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(offset))
                .map_err(|e| {
                    Error::internal(format!("{offset} is not an offset of {partition}")).source(e)
                })?;
        }
        self.client
            .incremental_assign(&list)
            .map_err(|e| Error::unavailable("the Kafka client does not take its partitions").source(e))?;
        for &(at, offset) in places {
            self.slots[at].restart(offset);
            self.slots[at].placed_in = self.round;
        }
        for (at, position) in self.positions() {
            if places.iter().any(|&(placed, _)| placed == at) {
                self.slots[at].position_at_assign = position;
            }
        }
        Ok(())
    }

    /// Takes partitions away from the client, and drops what was held of them.
    pub(super) fn release(&mut self, slots: &[usize]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(slots.len());
        for &at in slots {
            let slot = &mut self.slots[at];
            slot.release();
            list.add_partition(&slot.partition.topic, slot.partition.partition);
        }
        let gone = |e| Error::unavailable("the Kafka client does not give back its partitions").source(e);
        self.client.incremental_unassign(&list).map_err(gone)?;
        // Stopping a partition resets where its messages go, in librdkafka's main thread. This question is
        // answered by that thread behind it: after it, the partition can be forwarded anew.
        self.client.assignment().map(drop).map_err(gone)
    }

    /// The client's own positions of the assigned partitions.
    pub(super) fn positions(&self) -> Vec<(usize, i64)> {
        let Ok(list) = self.client.position() else { return Vec::new() };
        let known = |topic: &str| self.topics.get(topic).map(Topic::identity);
        let elements = list.elements();
        let positions = elements.iter().filter_map(|e| {
            let Offset::Offset(position) = e.offset() else { return None };
            Some((*self.places.get(&(known(e.topic())?, e.partition()))?, position))
        });
        positions.collect()
    }
}
