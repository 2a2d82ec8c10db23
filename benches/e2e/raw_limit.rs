//! The raw limit: consume, decode and encode with nothing around them. No commit, no guarantee, no order between clients.
//!
//! Two consumers with settings for throughput, each on its own thread over every second partition; arrow-json in batches of
//! 65,536 rows; one Parquet file per client with Snappy and the writer's defaults.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::Outcome;

const CLIENTS: usize = 2;
const BATCH_ROWS: usize = 65_536;
const CALL_BOUND: Duration = Duration::from_secs(20);
const SILENCE_BOUND: Duration = Duration::from_secs(30);

/// What one client did.
#[derive(Default)]
struct Done {
    rows: u64,
    value_bytes: u64,
}

/// Reads `topic` from its beginning to the end it has now; prints one JSON object with rows, bytes of values and seconds.
pub(crate) fn run(bootstrap: &str, topic: &str, out: &Path) -> Outcome<()> {
    let start = Instant::now();
    let done = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|n| scope.spawn(move || client(bootstrap, topic, out, n))).collect();
        clients
            .into_iter()
            .map(|c| c.join().expect("a client returns its error"))
            .collect::<Outcome<Vec<_>>>()
    })?;
    println!(
        r#"{{"rows":{},"valueBytes":{},"seconds":{:.3}}}"#,
        done.iter().map(|d| d.rows).sum::<u64>(),
        done.iter().map(|d| d.value_bytes).sum::<u64>(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn client(bootstrap: &str, topic: &str, out: &Path, number: usize) -> Outcome<Done> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("group.id", "raw-limit")
        .set("enable.auto.commit", "false")
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.min.bytes", "1048576")
        .set("max.partition.fetch.bytes", "8388608")
        .set("queued.max.messages.kbytes", "262144")
        .create()?;
    let mut ends = ends_of_share(&consumer, topic, number)?;
    let mut assignment = TopicPartitionList::new();
    for (partition, _) in &ends {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;

    let mut file = Encoder::create(&out.join(format!("part-{number}.parquet")))?;
    let mut done = Done::default();
    while !ends.is_empty() {
        let message = consumer.poll(SILENCE_BOUND).ok_or("the broker fell silent")??;
        let value = message.payload().ok_or("a message without a value")?;
        file.push(value)?;
        done.rows += 1;
        done.value_bytes += value.len() as u64;
        if ends
            .iter()
            .any(|(partition, end)| *partition == message.partition() && message.offset() + 1 >= *end)
        {
            ends.retain(|(partition, _)| *partition != message.partition());
        }
    }
    file.finish()?;
    Ok(done)
}

/// This client's partitions that hold anything, with the offset after the last message.
fn ends_of_share(consumer: &BaseConsumer, topic: &str, number: usize) -> Outcome<Vec<(i32, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), CALL_BOUND)?;
    let partitions = metadata.topics().first().ok_or("no such topic")?.partitions();
    let mut ends = Vec::new();
    for partition in partitions.iter().map(|p| p.id()).filter(|id| *id as usize % CLIENTS == number) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, CALL_BOUND)?;
        if high > low {
            ends.push((partition, high));
        }
    }
    Ok(ends)
}

/// JSON to Arrow to one Parquet file.
struct Encoder {
    decoder: Decoder,
    writer: ArrowWriter<File>,
}

impl Encoder {
    fn create(path: &Path) -> Outcome<Encoder> {
        let schema = schema();
        let decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH_ROWS).build_decoder()?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(Encoder { decoder, writer: ArrowWriter::try_new(File::create(path)?, schema, Some(properties))? })
    }

    fn push(&mut self, mut value: &[u8]) -> Outcome<()> {
        loop {
            let taken = self.decoder.decode(value)?;
            value = &value[taken..];
            if value.is_empty() {
                return Ok(());
            }
            self.flush()?;
        }
    }

    fn flush(&mut self) -> Outcome<()> {
        if let Some(batch) = self.decoder.flush()? {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Outcome<()> {
        self.flush()?;
        self.writer.close()?;
        Ok(())
    }
}

/// `workload::SCHEMA_DDL` in Arrow's types.
pub(crate) fn schema() -> Arc<Schema> {
    let column = |name: &str, kind: DataType| Field::new(name, kind, true);
    let location = Fields::from(vec![column("lat", DataType::Float64), column("lon", DataType::Float64)]);
    Arc::new(Schema::new(vec![
        column("event_id", DataType::Utf8),
        column("device", DataType::Utf8),
        column("status", DataType::Utf8),
        column("temperature", DataType::Float64),
        column("humidity", DataType::Float64),
        column("battery", DataType::Int32),
        column("seq", DataType::Int64),
        column("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
        column("location", DataType::Struct(location)),
    ]))
}
