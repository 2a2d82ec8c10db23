//! What lanes hand to a query that keeps state: partial groups, or rows in the order of their offsets.
//!
//! Lanes write here as they write to a sink. Rows are numbered by chunks of offsets, so that what is made of them does
//! not depend on how a batch was dealt to lanes: a chunk is of one lane ([`crate::source`] cuts partitions between two).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;

use crate::model::{MemoryAccount, MemoryClaim, Result, TopicPartition};
use crate::query::{Feed, LaneGrouping, LaneGroups};
use crate::sink::{AttemptWriter, Part, RowPlaces, SinkWriter};
use crate::source::{CHUNK_OFFSETS, Split};

/// What the lanes of one run of a batch have handed over.
#[derive(Clone)]
pub struct LaneRows {
    grouping: Option<LaneGrouping>,
    /// The number of each partition of the batch.
    ranks: Arc<BTreeMap<TopicPartition, u64>>,
    taken: Arc<Mutex<Taken>>,
    account: Arc<MemoryAccount>,
}

#[derive(Default)]
struct Taken {
    groups: Vec<RecordBatch>,
    /// Consecutive rows of one partition, by its number and the offset of the first.
    rows: Vec<(u64, i64, RecordBatch)>,
    /// What all of that takes in memory, until the batch is done.
    claims: Vec<MemoryClaim>,
}

impl LaneRows {
    /// For one run of a batch that reads `shares`.
    pub fn new(
        grouping: Option<LaneGrouping>,
        shares: &[Vec<Split>],
        account: &Arc<MemoryAccount>,
    ) -> LaneRows {
        let mut logs: Vec<&TopicPartition> =
            shares.iter().flatten().map(|split| &split.range.partition).collect();
        logs.sort();
        logs.dedup();
        let ranks = logs.into_iter().cloned().zip(0..).collect();
        LaneRows { grouping, ranks: Arc::new(ranks), taken: Arc::default(), account: Arc::clone(account) }
    }

    /// What all lanes made, once they are done.
    pub fn feed(&self) -> Feed {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if self.grouping.is_some() {
            return Feed::Groups(std::mem::take(&mut taken.groups));
        }
        let mut rows = std::mem::take(&mut taken.rows);
        rows.sort_by_key(|(rank, offset, _)| (*rank, *offset));
        Feed::Rows(rows.into_iter().map(|(_, _, rows)| rows).collect())
    }
}

impl AttemptWriter for LaneRows {
    fn align(&self, rows: RecordBatch) -> Result<RecordBatch> {
        Ok(rows)
    }

    fn needs_places(&self) -> bool {
        true
    }

    fn writer(&self, lane: usize) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(LaneRowsWriter {
            shared: self.clone(),
            lane: lane as u64,
            groups: self.grouping.as_ref().map(LaneGrouping::begin).transpose()?,
            rows: Vec::new(),
            claim: self.account.claim(),
            unplaced: 0,
        }))
    }
}

struct LaneRowsWriter {
    shared: LaneRows,
    lane: u64,
    groups: Option<LaneGroups>,
    rows: Vec<(u64, i64, RecordBatch)>,
    claim: MemoryClaim,
    /// Rows of a source without offsets, which come in the order in which the lane reads them.
    unplaced: i64,
}

impl LaneRowsWriter {
    fn rank(&self, log: &TopicPartition) -> u64 {
        self.shared.ranks.get(log).copied().unwrap_or_default()
    }
}

/// Bits of a chunk's number that count the chunks of a partition.
const CHUNK_BITS: u32 = 44;

impl SinkWriter for LaneRowsWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if let Some(groups) = &mut self.groups {
            groups.update(rows, vec![self.lane << CHUNK_BITS; rows.num_rows()])?;
            self.claim.set(groups.size());
            return Ok(());
        }
        self.claim.set(self.claim.bytes() + rows.get_array_memory_size());
        self.rows.push((self.lane, self.unplaced, rows.clone()));
        self.unplaced += rows.num_rows() as i64;
        Ok(())
    }

    fn write_placed(&mut self, rows: &RecordBatch, places: RowPlaces) -> Result<()> {
        let ranks: Vec<u64> = places.logs().iter().map(|log| self.rank(log)).collect();
        if let Some(groups) = &mut self.groups {
            let chunk = |row: usize| {
                let (log, offset) = places.get(row);
                (ranks[log] << CHUNK_BITS) | (offset / CHUNK_OFFSETS) as u64
            };
            groups.update(rows, (0..rows.num_rows()).map(chunk).collect())?;
            self.claim.set(groups.size());
            return Ok(());
        }
        self.claim.set(self.claim.bytes() + rows.get_array_memory_size());
        let mut first = 0;
        for row in 1..=rows.num_rows() {
            if row == rows.num_rows() || places.get(row).0 != places.get(first).0 {
                let (log, offset) = places.get(first);
                self.rows.push((ranks[log], offset, rows.slice(first, row - first)));
                first = row;
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Part>> {
        let groups = self.groups.map(LaneGroups::finish).transpose()?;
        let mut taken = self.shared.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.groups.extend(groups);
        taken.rows.extend(self.rows);
        taken.claims.push(self.claim);
        Ok(Vec::new())
    }
}
