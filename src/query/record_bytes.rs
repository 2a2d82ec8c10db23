//! How much a query may make of one record.

/// The most for any stream: as much as a message may have.
const BYTES_MAX: usize = 512 << 20;
/// The most that several records become at once.
const SLICE_BYTES_MAX: usize = 32 << 20;

/// How many bytes a query may make of one record. The same for every run of a micro-batch, whatever else is in memory: it
/// decides which records are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordBytes(usize);

impl Default for RecordBytes {
    /// The most for any stream.
    fn default() -> RecordBytes {
        RecordBytes(BYTES_MAX)
    }
}

impl RecordBytes {
    /// For a stream that may hold `memory_bytes`: at most a quarter of it, for what is made of a record may be there up to three
    /// times, as it was made, put together, and encoded. A power of two MiB: a machine with a little less memory gives the same.
    pub fn within(memory_bytes: usize) -> RecordBytes {
        let mebibytes = ((memory_bytes / 4) >> 20).max(1);
        RecordBytes((1 << mebibytes.ilog2() << 20).min(BYTES_MAX))
    }

    /// How many.
    pub fn most(self) -> usize {
        self.0
    }

    /// What several records may become at once: less than one alone, so that none passes among others that is too much alone.
    pub(super) fn of_several(self) -> usize {
        (self.0 / 4).min(SLICE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_may_become_at_most_a_quarter_of_what_the_stream_may_hold_and_no_more_than_a_message_may_have()
    {
        for (memory, most, of_several) in [
            (0, 1 << 20, 1 << 18),
            (255, 32 << 20, 8 << 20),
            (256, 64 << 20, 16 << 20),
            (1024, 256 << 20, 32 << 20),
        ] {
            let bytes = RecordBytes::within(memory << 20);
            assert_eq!((bytes.most(), bytes.of_several()), (most, of_several), "{memory} MiB");
        }
        assert_eq!(RecordBytes::within(usize::MAX), RecordBytes::default());
        assert_eq!(RecordBytes::within(2 << 30), RecordBytes::default());
    }
}
