//! What a lane knows of one partition: how far the client has delivered, and what was taken too early.
//!
//! Pure bookkeeping of offsets. Two positions carry the exactness: everything below `wanted` was handed to
//! the batch or does not exist; everything below `seen` came out of the client, and what of it is not below
//! `wanted` is held. So a range that starts between the two goes on without asking the broker again.

use std::collections::VecDeque;
use std::time::Instant;

use super::doubt::Doubt;
use crate::model::TopicPartition;

/// What to do with a message that came out of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It belongs to the range that is being read.
    Deliver,
    /// It lies behind that range, or no range is being read: keep it for the next one.
    Hold,
    /// The partition is not assigned any more: a leftover.
    Drop,
    /// It came after a later one: nothing about this partition can be trusted.
    Disorder,
}

/// A partition on a lane; `M` is a held message.
pub(super) struct PartitionCursor<M> {
    /// Which.
    pub(super) partition: TopicPartition,
    /// Whether the client fetches it for us.
    pub(super) assigned: bool,
    /// The first offset behind the range that is being read; `None` if none is.
    pub(super) until: Option<i64>,
    /// The round in which the partition was placed; see [`PartitionCursor::is_leftover`].
    pub(super) placed_in: u64,
    /// How often this read had to place the partition anew.
    pub(super) restarts: u32,
    /// How many reads in a row left held messages where they are.
    pub(super) unused_reads: u32,
    /// Whether the partition exists, if the brokers say that it does not.
    missing: Option<Doubt>,
    /// The client's own position when the partition was assigned; what it says is news only above it.
    pub(super) position_at_assign: i64,
    /// Which log the plan of the newest range spoke of: the topic's id, and the leader epoch at its end. Everything that
    /// is held was fetched under that plan, or under an earlier one that spoke of the same.
    log: String,
    wanted: i64,
    seen: i64,
    /// One above the highest offset that an error or end-of-partition event named: librdkafka 2.12 lets its
    /// position jump there without a record (librdkafka #4844).
    marked: i64,
    /// The end of the log, if the last look found it before the end of the range that is being read.
    short: Option<i64>,
    held: VecDeque<(i64, usize, M)>,
    held_bytes: usize,
}

impl<M> PartitionCursor<M> {
    /// A partition of which nothing was read.
    pub(super) fn new(partition: TopicPartition) -> Self {
        PartitionCursor {
            partition,
            assigned: false,
            until: None,
            placed_in: 0,
            restarts: 0,
            unused_reads: 0,
            missing: None,
            position_at_assign: i64::MIN,
            log: String::new(),
            wanted: 0,
            seen: 0,
            marked: i64::MIN,
            short: None,
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// The next offset that the client will deliver, or proves absent.
    pub(super) fn seen(&self) -> i64 {
        self.seen
    }

    /// The bytes of all held messages.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether any message is held.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Begins the range `[from, until)` of `log`. True if what the client delivers goes on from there, false if the
    /// partition must be [restarted](PartitionCursor::restart) at `from`: also if what was fetched ahead may be of a log
    /// that was cut or made anew since.
    pub(super) fn open(&mut self, from: i64, until: i64, log: &str) -> bool {
        self.until = Some(until);
        self.restarts = 0;
        self.unused_reads = 0;
        self.short = None;
        self.missing = None;
        if self.log != log {
            log.clone_into(&mut self.log);
            return false;
        }
        if !self.assigned || from < self.wanted || from > self.seen {
            return false;
        }
        while self.held.front().is_some_and(|(offset, ..)| *offset < from) {
            self.take_front();
        }
        self.wanted = from;
        true
    }

    /// The partition is assigned anew, from `offset` on.
    pub(super) fn restart(&mut self, offset: i64) {
        self.drop_held();
        self.assigned = true;
        self.wanted = offset;
        self.seen = offset;
        self.marked = i64::MIN;
        self.position_at_assign = i64::MIN;
        self.missing = None;
    }

    /// The partition is not assigned any more; a range being read stays open at `seen`.
    pub(super) fn release(&mut self) {
        self.drop_held();
        self.assigned = false;
    }

    fn drop_held(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Whether what came out of the client in `round` is of an assignment that ended in the middle of it: the
    /// new one brings it again.
    #[inline]
    pub(super) fn is_leftover(&self, round: u64) -> bool {
        self.placed_in == round
    }

    /// A message came out of the client.
    #[inline]
    pub(super) fn arrive(&mut self, offset: i64) -> Disposition {
        if !self.assigned {
            return Disposition::Drop;
        }
        if offset < self.seen {
            return Disposition::Disorder;
        }
        self.seen = offset + 1;
        self.forget_looks();
        match self.until {
            Some(until) if offset < until => Disposition::Deliver,
            _ => Disposition::Hold,
        }
    }

    /// Keeps a message for which [`Disposition::Hold`] was said.
    pub(super) fn hold(&mut self, offset: i64, bytes: usize, message: M) {
        self.held.push_back((offset, bytes, message));
        self.held_bytes += bytes;
    }

    /// The first held message of the range that is being read.
    pub(super) fn take_held(&mut self) -> Option<M> {
        let until = self.until?;
        if self.held.front().is_some_and(|(offset, ..)| *offset < until) {
            return self.take_front();
        }
        None
    }

    fn take_front(&mut self) -> Option<M> {
        let (_, bytes, message) = self.held.pop_front()?;
        self.held_bytes -= bytes;
        Some(message)
    }

    /// An error or end-of-partition event named `offset`.
    pub(super) fn mark(&mut self, offset: i64) {
        self.marked = self.marked.max(offset.saturating_add(1));
    }

    /// Everything below `offset` has come out of the client or does not exist. True if that is news.
    pub(super) fn pass(&mut self, offset: i64) -> bool {
        let news = offset > self.seen;
        if news {
            self.seen = offset;
            self.forget_looks();
        }
        news
    }

    /// The partition has got on: it is there, and what earlier looks found counts no more.
    #[inline]
    fn forget_looks(&mut self) {
        self.missing = None;
        self.short = None;
    }

    /// A look found that the log ends at `end` (`None`: no answer). True if the rest of the range is lost: all
    /// that the log holds was seen, and the look before found the same. Once is not enough, for a broker
    /// that has just taken over may know of less for a moment.
    pub(super) fn is_cut(&mut self, end: Option<i64>) -> bool {
        let short = end.filter(|&end| end <= self.seen && self.until.is_some_and(|until| end < until));
        let before = std::mem::replace(&mut self.short, short);
        short.is_some() && short == before
    }

    /// A look that lasted from `began` to `now` was told that the partition does not exist. Returns the doubt about that,
    /// which ends when another look of the range finds it, or something comes of it.
    pub(super) fn miss(&mut self, began: Instant, now: Instant) -> Doubt {
        *self.missing.insert(Doubt::again(self.missing, began, now))
    }

    /// A look found the partition.
    pub(super) fn find(&mut self) {
        self.missing = None;
    }

    /// The doubt whether the partition exists, if a range of it is being read and the last look did not find it.
    pub(super) fn missing(&self) -> Option<Doubt> {
        self.until.and(self.missing)
    }

    /// The client says that its position is `position`. Only a record, or a marker of a transaction, moves
    /// it above all that was marked; then everything below is passed. True if that is news.
    pub(super) fn pass_position(&mut self, position: i64) -> bool {
        let news = self.assigned
            && position > self.position_at_assign
            && position > self.marked
            && position > self.seen;
        if news {
            self.seen = position;
            self.forget_looks();
        }
        news
    }

    /// Whether the range being read has been passed; its records must all have been delivered.
    #[inline]
    pub(super) fn ended(&self) -> bool {
        self.until.is_some_and(|until| self.seen >= until)
    }

    /// Ends the range being read; the next one may start at its end.
    pub(super) fn close(&mut self) {
        if let Some(until) = self.until.take() {
            self.wanted = until;
            self.seen = self.seen.max(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;

    fn slot(at: i64) -> PartitionCursor<i64> {
        let mut slot = PartitionCursor::new(TopicPartition::new("t", 0));
        slot.restart(at);
        slot
    }

    #[test]
    fn what_lies_behind_the_range_is_held_for_the_next_one() {
        let mut slot = slot(5);
        assert!(slot.open(5, 7, ""));
        assert_eq!(slot.arrive(5), Disposition::Deliver);
        assert_eq!(slot.arrive(9), Disposition::Hold);
        slot.hold(9, 10, 9);
        assert!(slot.ended(), "a record behind the end proves that the range has none left");
        slot.close();
        assert!(slot.open(7, 10, ""), "the next range starts where the last one ended");
        assert_eq!(slot.take_held(), Some(9));
        assert_eq!((slot.take_held(), slot.held_bytes()), (None, 0));
        assert!(slot.ended());
    }

    #[test]
    fn what_was_fetched_of_another_log_is_not_delivered() {
        let mut slot = slot(0);
        let held = |slot: &mut PartitionCursor<i64>, from, until| {
            slot.arrive(until);
            slot.hold(until, 10, until);
            slot.close();
            assert!(slot.holds(), "[{from}, {until}) left a record for the next range");
        };
        assert!(!slot.open(0, 5, "id@3"), "nobody knows what was fetched before");
        slot.restart(0);
        held(&mut slot, 0, 5);
        assert!(slot.open(5, 7, "id@3"), "the same leader: its log never gets shorter");
        assert_eq!(slot.take_held(), Some(5));
        held(&mut slot, 5, 7);
        for (from, log) in [(7, "id@4"), (9, "other@4"), (11, "")] {
            assert!(!slot.open(from, from + 2, log), "{log}");
            slot.restart(from);
            assert_eq!((slot.take_held(), slot.seen()), (None, from), "{log}");
            held(&mut slot, from, from + 2);
        }
    }

    #[test]
    fn a_range_ends_at_its_last_record_or_where_the_client_has_passed_it() {
        let mut slot = slot(0);
        slot.open(0, 3, "");
        slot.arrive(1);
        assert!(!slot.ended());
        slot.pass(3);
        assert!(slot.ended());
    }

    #[test]
    fn a_range_elsewhere_needs_a_restart() {
        let mut slot = slot(5);
        slot.open(5, 7, "");
        slot.pass(7);
        slot.close();
        assert!(!slot.open(6, 8, ""), "offset 6 was passed");
        assert!(!slot.open(8, 9, ""), "offset 7 was not asked for, but 8 has not come yet either");
        slot.release();
        assert!(!slot.open(7, 8, ""), "nobody fetches");
    }

    #[test]
    fn a_log_that_ends_before_the_range_is_believed_the_second_time_in_a_row() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        let mut looks = |ends: &[Option<i64>]| ends.iter().map(|&end| slot.is_cut(end)).collect::<Vec<_>>();
        assert_eq!(looks(&[Some(9), Some(9)]), [false, false], "it does not end before");
        assert_eq!(looks(&[Some(7), Some(7)]), [false, false], "what it holds was not seen yet");
        assert_eq!(looks(&[Some(5), None, Some(5), Some(4)]), [false; 4], "not the same in a row");
        assert_eq!(looks(&[Some(5), Some(5)]), [false, true]);
        slot.open(5, 9, "");
        assert!(!slot.is_cut(Some(5)), "another read looks for itself");
        slot.arrive(6);
        assert!(!slot.is_cut(Some(5)), "a record behind that end came between the looks");
        assert!(slot.is_cut(Some(5)));
    }

    /// A look does not find the partition `second`s after the first one; whether it is believed.
    fn miss(slot: &mut PartitionCursor<i64>, second: u64) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = *START + Duration::from_secs(second);
        slot.miss(now, now).is_over()
    }

    #[test]
    fn a_partition_is_missing_since_the_first_look_that_did_not_find_it_again() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        assert!(!miss(&mut slot, 0));
        assert!(!miss(&mut slot, 20));
        assert!(miss(&mut slot, 30));
        slot.find();
        assert_eq!(slot.missing(), None);
        assert!(!miss(&mut slot, 40));
        assert!(slot.missing().is_some());
        slot.close();
        assert_eq!(slot.missing(), None, "nobody waits for it");
        slot.open(9, 12, "");
        assert_eq!(slot.missing(), None, "another read looks for itself");
    }

    #[test]
    fn a_partition_of_which_something_came_since_is_not_missing_any_more() {
        type Coming = fn(&mut PartitionCursor<i64>);
        let came: [(&str, Coming); 5] = [
            ("a record of the range", |slot| assert_eq!(slot.arrive(5), Disposition::Deliver)),
            ("a record behind it", |slot| assert_eq!(slot.arrive(20), Disposition::Hold)),
            ("the end of the partition", |slot| assert!(slot.pass(6))),
            ("a position", |slot| assert!(slot.pass_position(6))),
            ("a restart", |slot| slot.restart(5)),
        ];
        for (what, come) in came {
            let mut slot = slot(5);
            slot.open(5, 9, "");
            assert!(!miss(&mut slot, 0) && !miss(&mut slot, 15));
            come(&mut slot);
            assert_eq!(slot.missing(), None, "{what}");
            assert!(!miss(&mut slot, 30), "{what}: this look is the first again");
        }
        let mut slot = slot(5);
        slot.open(5, 9, "");
        assert!(!miss(&mut slot, 0) && !miss(&mut slot, 15));
        assert!(!slot.pass(5) && !slot.pass_position(5));
        assert!(miss(&mut slot, 30), "the same end or position again says nothing");
    }

    #[test]
    fn a_position_that_an_event_moved_proves_nothing() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        slot.mark(7);
        assert!(slot.pass(7));
        assert!(!slot.pass(7), "the same end again is no news");
        assert!(!slot.pass_position(8), "one above the end of partition is librdkafka's slip");
        assert!(slot.pass_position(9), "a marker of a transaction lies at 8");
        assert!(slot.ended());
    }

    #[test]
    fn a_position_from_before_the_assignment_proves_nothing() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        slot.position_at_assign = 50;
        assert!(!slot.pass_position(50));
        slot.release();
        assert!(!slot.pass_position(60));
    }

    #[test]
    fn what_came_before_the_partition_was_placed_anew_is_a_leftover() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        assert!(!slot.is_leftover(1));
        assert_eq!(slot.arrive(5), Disposition::Deliver);
        // An event in round 1 places the partition anew; 6 and 7 came in that round too.
        slot.restart(6);
        slot.placed_in = 1;
        assert!(slot.is_leftover(1));
        assert!(!slot.is_leftover(2), "the new assignment brings them again");
        assert_eq!((slot.arrive(6), slot.arrive(7)), (Disposition::Deliver, Disposition::Deliver));
    }

    #[test]
    fn disorder_and_leftovers_are_seen() {
        let mut slot = slot(5);
        slot.open(5, 9, "");
        slot.arrive(7);
        assert_eq!(slot.arrive(6), Disposition::Disorder);
        slot.release();
        assert_eq!(slot.arrive(8), Disposition::Drop);
    }
}
