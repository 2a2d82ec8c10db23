//! `alluvia demo`: the main job on one machine with nothing installed.
//!
//! librdkafka's mock cluster plays the broker, generated device events go in, a local Delta table comes
//! out, and at the end the table is read back and compared with what was generated. A few events are
//! malformed, to show where such records go, and some come twice and are one row. What runs is the real stream from a real stream file.

mod events;
mod preview;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use url::Url;

use super::args::{DemoArgs, GlobalArgs};
use super::{io_runtime, temporary};
use crate::config::{Config, ProcessLookup};
use crate::model::numbers::grouped;
use crate::model::{Error, Result};
use crate::observe::{Reporter, Style};
use crate::runtime::{ProcessContext, Stop, Streams};

const STREAM: &str = "device_events";
const WINDOWS: &str = "status_windows";
const TOPIC: &str = "device-events";
const PARTITIONS: i32 = 8;
/// The mock cluster keeps 5 MiB per partition and drops what is older, read or not: so many events may
/// be in it and not yet in the table.
const EVENTS_AHEAD: u64 = 80_000;

/// Runs the demo.
///
/// # Errors
/// `Config` if `--dir` holds another demo's table; `Data` if the table does not hold exactly what was
/// generated; else the stream's error.
pub(super) fn run(args: &DemoArgs, _: &GlobalArgs) -> Result<()> {
    let folder = folder(args)?;
    let cluster =
        MockCluster::new(1).map_err(|e| Error::unavailable("cannot start the embedded broker").source(e))?;
    cluster
        .create_topic(TOPIC, PARTITIONS, 1)
        .map_err(|e| Error::unavailable("cannot create the demo's topic").source(e))?;
    let yaml = stream_file(&cluster.bootstrap_servers(), &folder);
    let file = folder.join("ingest.yaml");
    std::fs::write(&file, &yaml).map_err(|e| cannot_write(&file, e))?;
    let config = Config::from_files(std::slice::from_ref(&file), &[], &ProcessLookup)?;
    println!(
        "Alluvia demo: an embedded Kafka broker, {} messages with device events (a few malformed, some duplicated),",
        grouped(args.events)
    );
    println!(
        "and two streams that write events, dead letters and windows to Delta tables. The stream file is {}\n",
        file.display()
    );

    let reporter = Reporter::new(match Style::detect() {
        Style::Terminal => Style::Terminal,
        Style::Json | Style::Quiet => Style::Quiet,
    });
    let generated = ingest(args, &config, &cluster.bootstrap_servers(), &reporter)?;
    reporter.summary();
    let runtime = io_runtime()?;
    preview::show(&folder, args.events, generated, runtime.handle())?;
    next_steps(&folder);
    Ok(())
}

/// Runs generator and stream side by side until every event was read; what was generated.
fn ingest(args: &DemoArgs, config: &Config, brokers: &str, reporter: &Reporter) -> Result<events::Generated> {
    let runtime = io_runtime()?;
    let stop = Stop::new();
    let deadline = config.streams.iter().map(|stream| stream.shutdown_timeout).max().unwrap_or_default();
    super::run::stop_on_signals(runtime.handle(), &stop, deadline)?;
    let ctx = ProcessContext::new(runtime.handle().clone(), "", stop.clone());
    let (read, stream_ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let (generated, ended) = thread::scope(|scope| {
        let generator = scope.spawn(|| {
            let may_send = |sent: u64| {
                let waiting = sent.saturating_sub(read.load(Ordering::Relaxed)) >= EVENTS_AHEAD;
                let over = stop.requested() || stream_ended.load(Ordering::Relaxed);
                if over { None } else { Some(!waiting) }
            };
            events::generate(brokers, TOPIC, PARTITIONS, args.events, args.rate, may_send)
        });
        let watcher = scope.spawn(|| {
            while !stop.requested() && !stream_ended.load(Ordering::Relaxed) {
                let totals = reporter.totals();
                let read_by = |name: &str| totals.get(name).map_or(0, |totals| totals.input_rows);
                let so_far = read_by(STREAM).min(read_by(WINDOWS));
                read.store(so_far, Ordering::Relaxed);
                if so_far >= args.events {
                    stop.request();
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let ended = Streams::new(ctx.clone(), reporter.clone()).run(&config.streams);
        stream_ended.store(true, Ordering::Relaxed);
        // The watcher only sleeps and looks; it can't fail.
        let _ = watcher.join();
        let generated = generator.join().unwrap_or_else(|_| Err(Error::internal("the generator panicked")));
        (generated, ended)
    });
    ended.into_iter().try_for_each(|stream| stream.result)?;
    generated
}

fn folder(args: &DemoArgs) -> Result<PathBuf> {
    let Some(dir) = &args.dir else { return temporary::create("alluvia-demo-") };
    let folder = std::path::absolute(dir).map_err(|e| cannot_write(dir, e))?;
    if folder.join("table").exists() {
        return Err(Error::config(format!("{} holds the table of an earlier demo", folder.display()))
            .hint("delete the folder, or choose another one with --dir"));
    }
    std::fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, e))?;
    Ok(folder)
}

fn cannot_write(path: &Path, source: std::io::Error) -> Error {
    Error::config(format!("cannot write {}", path.display()))
        .source(source)
        .hint("choose another folder with --dir")
}

fn stream_file(brokers: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "# The streams of `alluvia demo`. To read another broker, change kafka.bootstrap.servers, and give new tables and checkpoints.
streams:
  - name: {STREAM}
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{brokers}'
        subscribe: {TOPIC}
        startingOffsets: earliest
      value:
        format: json
        schema: '{}'
        keep: [partition, offset]
    # Spark SQL over every micro-batch: a derived column and a filter.
    sql: |
      SELECT event_id, device, status, temperature, temperature * 1.8D + 32 AS fahrenheit, event_time, partition, offset
      FROM input WHERE status <> 'offline'
    # A duplicate of an event, in this micro-batch or a later one, does not become a second row.
    sink: {{ format: delta, path: '{folder}/table', merge: {{ keys: [event_id] }} }}
    deadLetter: {{ format: delta, path: '{folder}/dead_letters' }}
    trigger: {{ processingTime: 200 milliseconds }}
    checkpointLocation: '{folder}/checkpoint'

  # The same events in ten-second windows of event time. A window is written once the watermark has passed its end.
  - name: {WINDOWS}
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{brokers}'
        subscribe: {TOPIC}
        startingOffsets: earliest
      value:
        format: json
        mode: DROPMALFORMED
        schema: 'event_id STRING, status STRING, temperature DOUBLE, event_time TIMESTAMP'
      watermark: {{ eventTime: event_time, delayThreshold: 30 seconds }}
      dropDuplicates: [event_id, event_time]
    sql: |
      SELECT window.start AS start, window.end AS end, status, count(*) AS events, round(avg(temperature), 2) AS mean
      FROM input GROUP BY window(event_time, '10 seconds'), status
    sink: {{ format: delta, path: '{folder}/windows' }}
    trigger: {{ processingTime: 200 milliseconds }}
    checkpointLocation: '{folder}/windows_checkpoint'
",
        events::SCHEMA
    )
}

fn next_steps(folder: &Path) {
    let table = Url::from_directory_path(folder.join("table")).map_or(String::new(), |url| url.to_string());
    // As it was called: `cargo run` puts nothing on the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "alluvia".to_owned());
    println!("\nTry next:");
    println!("  {program} explain {}", folder.join("ingest.yaml").display());
    println!("  {program} checkpoint show {} --stream {STREAM}", folder.join("ingest.yaml").display());
    println!("  {program} dead-letters show {} --stream {STREAM}", folder.join("ingest.yaml").display());
    println!("  python -c \"import deltalake; print(deltalake.DeltaTable('{table}').history())\"");
    println!(
        "  {program} ingest --bootstrap-servers localhost:9092 --topic YOUR-TOPIC --table ./lake/your_table"
    );
}
