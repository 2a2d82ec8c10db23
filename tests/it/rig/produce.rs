//! Messages into a topic of the rig's broker, each acknowledged; transactions that commit, abort or stay open.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{Broker, workload};

const BOUND: Duration = Duration::from_secs(60);

/// One message to send: `Message::new("{}").partition(0).key("k").header("h", None)`.
#[derive(Clone, Debug, Default)]
pub struct Message {
    value: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Message {
    pub fn new(value: impl Into<Vec<u8>>) -> Message {
        Message { value: Some(value.into()), ..Message::default() }
    }

    /// Event `seq` of workload W1 with this seed, to its partition of `partitions`; see `workload::SCHEMA_DDL`.
    pub fn event(seed: u64, seq: u64, partitions: u32) -> Message {
        let mut value = Vec::with_capacity(256);
        workload::write_event(&mut value, seed, seq);
        Message::new(value).partition(workload::partition_of(seq, partitions))
    }

    /// A message whose value is null.
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Message {
        Message::default().key(key)
    }

    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Message {
        self.key = Some(key.into());
        self
    }

    /// Absent: by the key's hash, or any.
    pub fn partition(mut self, partition: i32) -> Message {
        self.partition = Some(partition);
        self
    }

    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Message {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Message {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// Where the broker put a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placed {
    pub partition: i32,
    pub offset: i64,
}

impl Broker {
    /// Sends the messages in order (per partition idempotently); returns when all are acknowledged, with their places in the order given.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Message>) -> Vec<Placed> {
        send(&producer(self, &[("enable.idempotence", "true")]), topic, messages)
    }

    /// Begins a transaction of the producer `id`; an earlier open one of the same id is aborted by the broker.
    pub fn transaction(&self, id: &str) -> Transaction {
        self.transaction_with_timeout(id, Duration::from_secs(60))
    }

    /// As [`Broker::transaction`]; the broker aborts it when it stays open longer than `timeout`.
    pub fn transaction_with_timeout(&self, id: &str, timeout: Duration) -> Transaction {
        let timeout_ms = timeout.as_millis().to_string();
        let producer = producer(self, &[("transactional.id", id), ("transaction.timeout.ms", &timeout_ms)]);
        producer.init_transactions(BOUND).expect("init transactions");
        producer.begin_transaction().expect("begin a transaction");
        Transaction { producer }
    }
}

/// A transaction that was begun. Dropping it leaves it open on the broker, until its timeout or its id's next use.
pub struct Transaction {
    producer: BaseProducer<Acknowledged>,
}

impl Transaction {
    /// As [`Broker::produce`], within the transaction.
    pub fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Message>) -> Vec<Placed> {
        send(&self.producer, topic, messages)
    }

    pub fn commit(self) {
        self.producer.commit_transaction(BOUND).expect("commit a transaction");
    }

    pub fn abort(self) {
        self.producer.abort_transaction(BOUND).expect("abort a transaction");
    }
}

/// Collects what the broker says of each message, by the message's number.
#[derive(Default)]
struct Acknowledged(Mutex<Vec<Option<Placed>>>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Ok(message) = result {
            let placed = Placed { partition: message.partition(), offset: message.offset() };
            let mut all = self.0.lock().expect("no test panics while it holds this");
            if all.len() <= number {
                all.resize(number + 1, None);
            }
            all[number] = Some(placed);
        }
    }
}

fn producer(broker: &Broker, settings: &[(&str, &str)]) -> BaseProducer<Acknowledged> {
    let mut config = broker.client();
    config.set("linger.ms", "5").set("message.timeout.ms", "30000").set("message.max.bytes", "8000000");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create_with_context(Acknowledged::default()).expect("a producer")
}

fn send(
    producer: &BaseProducer<Acknowledged>,
    topic: &str,
    messages: impl IntoIterator<Item = Message>,
) -> Vec<Placed> {
    producer.context().0.lock().expect("no test panics while it holds this").clear();
    let mut count = 0;
    for message in messages {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, count);
        record.payload = message.value.as_deref();
        record.key = message.key.as_deref();
        record.partition = message.partition;
        record.timestamp = message.timestamp_ms;
        if !message.headers.is_empty() {
            record.headers = Some(message.headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: value.as_deref() })
            }));
        }
        while let Err((error, same)) = producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "send to {topic}: {error}");
            producer.poll(Duration::from_millis(50));
            record = same;
        }
        count += 1;
        if count % 1024 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(BOUND).expect("every message is acknowledged in time");
    let mut all = producer.context().0.lock().expect("no test panics while it holds this");
    assert_eq!(all.iter().flatten().count(), count, "messages acknowledged by {topic}");
    all.drain(..).flatten().collect()
}
