//! Made-up device events into the embedded broker, never faster than the table follows.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::model::time::utc;
use crate::model::{Error, Result};

/// The events' columns.
pub(super) const SCHEMA: &str =
    "event_id STRING NOT NULL, device STRING, status STRING, temperature DOUBLE, event_time TIMESTAMP";

/// One event in so many is malformed.
const MALFORMED_EVERY: u64 = 9_973;
/// One message in so many is an event that was sent before, as a producer sends it again after a lost answer.
const AGAIN_EVERY: u64 = 100;
/// How far back such an event is: some come again in the same micro-batch, some in a later one.
const AGAIN_BACK: [u64; 2] = [37, 2_003];
/// The time of the first event: 2026-01-01T00:00:00Z.
const FIRST_EVENT_MS: i64 = 1_767_225_600_000;

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Generated {
    /// Events that are malformed.
    pub malformed: u64,
    /// Others whose status is `offline`: those that the demo's query leaves out.
    pub offline: u64,
    /// Others that were sent before, and become no row again.
    pub again: u64,
}

/// Sends `events` events; `may_send(sent)` says `Some(true)` to go on, `Some(false)` to wait a moment and
/// `None` to stop.
///
/// # Errors
/// `Unavailable` if the embedded broker does not take them.
pub(super) fn generate(
    brokers: &str,
    topic: &str,
    partitions: i32,
    events: u64,
    rate: Option<u64>,
    may_send: impl Fn(u64) -> Option<bool>,
) -> Result<Generated> {
    let failed = |e: KafkaError| Error::unavailable("the embedded broker does not accept events").source(e);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "5")
        .set("enable.idempotence", "true")
        .create()
        .map_err(failed)?;
    let started = Instant::now();
    let (mut generated, mut sent) = (Generated::default(), 0);
    while sent < events {
        let too_fast = rate.is_some_and(|rate| sent as f64 >= started.elapsed().as_secs_f64() * rate as f64);
        match may_send(sent) {
            None => break,
            Some(true) if !too_fast => {}
            Some(_) => {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
        }
        let number = number_of(sent);
        let (event, kind) = event(number);
        let partition = i32::try_from(sent % u64::from(partitions.unsigned_abs())).unwrap_or(0);
        let mut record: BaseRecord<'_, str, String> =
            BaseRecord::to(topic).payload(&event).partition(partition);
        while let Err((error, same)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(failed(error));
            }
            thread::sleep(Duration::from_millis(5));
            record = same;
        }
        generated.malformed += u64::from(kind == Kind::Malformed);
        generated.offline += u64::from(kind == Kind::Offline);
        generated.again += u64::from(kind == Kind::Row && number != sent);
        sent += 1;
    }
    producer.flush(Duration::from_secs(30)).map_err(failed)?;
    Ok(generated)
}

/// The event that message `sent` holds: its own, or one that was sent before.
fn number_of(sent: u64) -> u64 {
    let back = AGAIN_BACK[(sent / AGAIN_EVERY % 2) as usize];
    if sent % AGAIN_EVERY == AGAIN_EVERY - 1 { sent.checked_sub(back).unwrap_or(sent) } else { sent }
}

/// How many of the first `messages` messages are events before `micros` (since the Unix epoch) that are read, each once.
pub(super) fn before(micros: i64, messages: u64) -> u64 {
    let until = u64::try_from(micros / 1000 - FIRST_EVENT_MS).unwrap_or_default().min(messages);
    (0..until).filter(|sent| number_of(*sent) == *sent && event(*sent).1 != Kind::Malformed).count() as u64
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is a row.
    Row,
    /// It is malformed on purpose.
    Malformed,
    /// The query leaves it out.
    Offline,
}

/// Event `number` as JSON, and what becomes of it.
fn event(number: u64) -> (String, Kind) {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ number;
    let device = mixed % 500;
    let status = ["ok", "ok", "ok", "warning", "offline"][(mixed >> 20) as usize % 5];
    let (whole, part) = (15 + (mixed >> 32) % 20, (mixed >> 40) % 100);
    let time = utc(FIRST_EVENT_MS + i64::try_from(number).unwrap_or(0)).unwrap_or_default();
    if number % MALFORMED_EVERY == MALFORMED_EVERY - 1 {
        let text = match (number / MALFORMED_EVERY) % 3 {
            0 => format!(r#"{{"event_id":"e-{number}","device":"device-{device:03}","temperature":"warm"}}"#),
            1 => format!(r#"{{"event_id":"e-{number}","device":"device-{device:03}","#),
            _ => format!(r#"{{"device":"device-{device:03}","status":"{status}"}}"#),
        };
        return (text, Kind::Malformed);
    }
    let event = format!(
        r#"{{"event_id":"e-{number}","device":"device-{device:03}","status":"{status}","temperature":{whole}.{part:02},"event_time":"{time}"}}"#
    );
    (event, if status == "offline" { Kind::Offline } else { Kind::Row })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn events_that_come_again_were_sent_before_and_none_comes_three_times() {
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        for sent in 0..50_000 {
            let number = number_of(sent);
            assert!(number == sent || seen.contains_key(&number), "{sent}");
            *seen.entry(number).or_default() += 1;
        }
        assert!(seen.values().all(|times| *times <= 2), "{seen:?}");
        assert_eq!(seen.values().filter(|times| **times == 2).count(), 490);
    }
}
