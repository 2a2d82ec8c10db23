//! Topics in which some messages are events that were sent before: which event each message is, by its number alone.

/// How far back in the topic a repeated event is at most, in new events.
const BACK_MAX: u64 = 1_000;
/// Spreads the repeats evenly without a state: a prime beyond both bounds.
const STEP: u64 = 2_147_483_647;

/// Which messages repeat an earlier event.
#[derive(clap::Args)]
pub(crate) struct Repeats {
    /// How many of 100 messages repeat an event that was sent before.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..100))]
    repeats: u64,
    /// Every second repeat is one of the events `0 .. repeats-of`; 0: all are of the topic's last 1,000 new events.
    #[arg(long, default_value_t = 0)]
    repeats_of: u64,
}

impl Repeats {
    /// The event that message `number` (from 0) is; new events are numbered from `first` without gaps.
    pub(crate) fn event_of(&self, number: u64, first: u64) -> u64 {
        let repeated = number * self.repeats / 100;
        let new = number - repeated;
        if (number + 1) * self.repeats / 100 == repeated {
            return first + new;
        }
        let step = (repeated + 1) * STEP;
        if self.repeats_of > 0 && (repeated.is_multiple_of(2) || new == 0) {
            step % self.repeats_of
        } else {
            first + new.saturating_sub(1 + step % BACK_MAX)
        }
    }
}
