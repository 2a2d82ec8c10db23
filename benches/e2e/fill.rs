//! Fills a topic with events of workload W1: partition by number, in order, the same bytes in every run; on demand with repeats.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::Outcome;
use crate::repeats::Repeats;
use crate::workload::{FIRST_EVENT_MS, partition_of, write_event};

const BOUND: Duration = Duration::from_secs(120);

/// What to send where.
#[derive(clap::Args)]
pub(crate) struct Fill {
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    messages: u64,
    /// Number of the first event.
    #[arg(long, default_value_t = 0)]
    first: u64,
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    #[arg(long, default_value_t = 20_261_101)]
    seed: u64,
    #[command(flatten)]
    repeats: Repeats,
    /// Send even if the topic holds messages already.
    #[arg(long)]
    append: bool,
}

impl Fill {
    /// Prints one JSON object: what the topic holds and whether it was sent now.
    pub(crate) fn run(&self) -> Outcome<()> {
        let start = Instant::now();
        let held = self.make_topic()?;
        let sends = self.append || held == 0;
        if sends {
            self.send()?;
            let now = self.make_topic()?;
            if now != held + self.messages {
                return Err(format!(
                    "topic {} holds {now} messages, not {}: the broker has refused some",
                    self.topic,
                    held + self.messages
                )
                .into());
            }
        } else if held != self.messages {
            return Err(format!(
                "topic {} holds {held} messages, not {}; delete it",
                self.topic, self.messages
            )
            .into());
        }
        println!(
            r#"{{"topic":"{}","messages":{},"sent":{sends},"seconds":{:.3}}}"#,
            self.topic,
            self.messages,
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("broker.address.family", "v4");
        config
    }

    /// Makes the topic unless it exists; returns the number of messages in it.
    fn make_topic(&self) -> Outcome<u64> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        // Records carry times of the past (a broker refuses those of the future), which a retention by time would delete.
        let topic = NewTopic::new(&self.topic, self.partitions as i32, TopicReplication::Fixed(1))
            .set("retention.ms", "-1");
        for made in
            block_on(admin.create_topics([&topic], &AdminOptions::new().operation_timeout(Some(BOUND))))?
        {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(format!("create topic {name}: {code}").into()),
            }
        }
        (0..self.partitions as i32).try_fold(0, |held, partition| {
            let (low, high) = bounds(&admin, &self.topic, partition)?;
            Ok(held + (high - low) as u64)
        })
    }

    fn send(&self) -> Outcome<()> {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "131072");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        let mut value = Vec::with_capacity(512);
        for number in 0..self.messages {
            let seq = self.repeats.event_of(number, self.first);
            value.clear();
            write_event(&mut value, self.seed, seq);
            let mut record = BaseRecord::<(), [u8]>::to(&self.topic).payload(&value);
            let partition = partition_of(self.first + number, self.partitions);
            record = record.partition(partition).timestamp(FIRST_EVENT_MS + number as i64);
            while let Err((error, same)) = producer.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    return Err(error.into());
                }
                std::thread::sleep(Duration::from_millis(1));
                record = same;
            }
        }
        Ok(producer.flush(BOUND)?)
    }
}

/// Log start and end of a partition; a topic made just now may have no leader for a moment.
fn bounds(admin: &AdminClient<DefaultClientContext>, topic: &str, partition: i32) -> Outcome<(i64, i64)> {
    let start = Instant::now();
    loop {
        match admin.inner().fetch_watermarks(topic, partition, BOUND) {
            Err(_) if start.elapsed() < BOUND / 10 => std::thread::sleep(Duration::from_millis(20)),
            answer => return Ok(answer?),
        }
    }
}
