//! Logs that are cut, and that grow again over the offsets that were read or planned.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use alluvia::config::kafka::KafkaOptions;
use alluvia::model::{Kind, MemoryAccount, Notes, Record, Result};
use alluvia::source::kafka::{KafkaSource, LANE_MEMORY_BYTES};
use alluvia::source::{Admission, Intake, Position, Source, SplitReader};
use arrow::array::RecordBatch;

use super::{BOUND, codes, lost_ranges, names, numbered, raw_yaml, run, stops, table_rows, tolerant, values};
use crate::kafka::source::options;
use crate::rig::{Alluvia, Broker, until};

/// The files of a stopped broker's partition, brought from one folder to another.
fn bring(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for file in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_log_that_was_cut_between_a_plan_and_its_run_stops_the_stream_or_is_recorded() {
    let Some(mut broker) = Broker::private() else { return };
    let (topic, folder) = ("cut", tempfile::tempdir().unwrap());
    let (log, earlier) = (broker.home().join("data/cut-0"), broker.home().join("earlier"));
    broker.create_topic(topic, 1, &[]);
    broker.produce(topic, numbered("v", 0..60));
    broker.stop();
    bring(&log, &earlier);
    broker.start();
    broker.produce(topic, numbered("v", 60..100));
    let yaml = raw_yaml(&broker, topic, "", "");
    let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
    assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    broker.stop();
    bring(&earlier, &log);
    broker.start();
    assert_eq!(broker.offsets(topic)[&0], (0, 60), "the log is shorter than the plan");
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "cut-0", "offset 60", "[60, 100)", "failOnDataLoss"]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), names("v", 0..60));
    assert_eq!(lost_ranges(folder.path()), ["cut-0 [60, 100)", "cut-0 [100, 100)"]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST", "OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce(topic, numbered("w", 0..10));
    run(&yaml, folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..60), names("w", 0..10)].concat());
}

/// A broker whose partition `topic-0` held v0000..v0100 and was cut to the first 60 of them, and a new record w… for each
/// of `more`; `between` runs before the cut.
fn cut_and_grown(topic: &str, more: u32, between: impl FnOnce(&Broker)) -> Option<Broker> {
    let mut broker = Broker::private()?;
    let (log, earlier) = (broker.home().join(format!("data/{topic}-0")), broker.home().join("earlier"));
    broker.create_topic(topic, 1, &[]);
    broker.produce(topic, numbered("v", 0..60));
    broker.stop();
    bring(&log, &earlier);
    broker.start();
    broker.produce(topic, numbered("v", 60..100));
    between(&broker);
    broker.stop();
    bring(&earlier, &log);
    broker.start();
    broker.produce(topic, numbered("w", 0..more));
    Some(broker)
}

#[test]
fn a_log_that_was_cut_and_has_grown_again_is_not_read_on_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let mut yaml = String::new();
    let broker = cut_and_grown("regrown", 150, |broker| {
        yaml = raw_yaml(broker, "regrown", "", "");
        run(&yaml, folder.path());
    });
    let Some(broker) = broker else { return };
    // More than before: by its offsets alone nothing would be wrong.
    assert_eq!(broker.offsets("regrown")[&0], (0, 210));
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "regrown-0", "offset 60", "offset 100", "failOnDataLoss"]);
    assert_eq!(table_rows(folder.path()), 100, "nothing was written");
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..100), names("w", 0..150)].concat());
    assert_eq!(lost_ranges(folder.path()), ["regrown-0 [100, 100)"]);
    assert_eq!(codes(folder.path()), ["OFFSETS_LOST"]);
    // It was recorded: from here on all is well again.
    broker.produce("regrown", numbered("w", 150..160));
    run(&yaml, folder.path());
    assert_eq!(table_rows(folder.path()), 260);
}

#[test]
#[cfg(any(debug_assertions, feature = "failpoints"))]
fn a_planned_range_of_a_log_that_was_cut_and_has_grown_again_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut yaml = String::new();
    let broker = cut_and_grown("replanned", 150, |broker| {
        yaml = raw_yaml(broker, "replanned", "", "");
        let kill = [("ALLUVIA_FAILPOINTS", "plan.after=kill@1")];
        assert!(!Alluvia::run_with(&yaml, folder.path(), &kill).wait(BOUND).status.success());
    });
    if broker.is_none() {
        return;
    }
    stops(&yaml, folder.path(), &["LOG_TRUNCATED", "replanned-0", "[60, 100)"]);
    run(&tolerant(&yaml), folder.path());
    assert_eq!(values(folder.path()), [names("v", 0..60), names("w", 0..150)].concat());
    assert_eq!(lost_ranges(folder.path()), ["replanned-0 [60, 100)", "replanned-0 [100, 100)"]);
}

#[test]
fn a_log_that_is_cut_and_grows_again_under_a_running_stream_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = None;
    let broker = cut_and_grown("regrows", 150, |broker| {
        let yaml = raw_yaml(broker, "regrows", "", "")
            .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }")
            .replace("maxAttempts: 3", "maxAttempts: 500");
        let running = Alluvia::run(&yaml, folder.path());
        running.wait_for("\"endOffset\":{\"regrows\":{\"0\":100}}", BOUND);
        program = Some(running);
    });
    let (Some(_broker), Some(program)) = (broker, program) else { return };
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    // Whether the stream looks before the log has grown again is chance; that it goes on is not.
    assert!(ended.stderr.lines().last().unwrap().contains("LOG_TRUNCATED"), "{}", ended.stderr);
    assert_eq!(table_rows(folder.path()), 100);
}

/// The values that a read delivers.
struct Values(Vec<String>);

impl Intake for Values {
    fn record(&mut self, record: &Record<'_>) -> Result<()> {
        self.0.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
        Ok(())
    }

    fn rows(&mut self, _: RecordBatch) -> Result<()> {
        panic!("Kafka's records have no columns");
    }
}

/// Plans, reads and verifies the batch behind `from`; returns where it ends, and its values.
fn batch(source: &mut KafkaSource, reader: &mut dyn SplitReader, from: &Position) -> (Position, Vec<String>) {
    let range = until("a range", BOUND, || source.latest_offset(from, &Admission::default()).ok()?.range);
    let splits = source.splits(&range, &[], 1).unwrap().concat();
    let values = until("a read", BOUND, || {
        let mut values = Values(Vec::new());
        match reader.read(&splits, &AtomicBool::new(false), &mut values) {
            Ok(_) => Some(values.0),
            // That the log was cut is said only now: the batch is run again, as a stream does.
            Err(error) if error.kind() == Kind::Conflict => None,
            Err(error) => panic!("{error}"),
        }
    });
    source.verify(&range, &[]).unwrap();
    (Position { offset: range.end, notes: range.notes }, values)
}

#[test]
fn what_was_fetched_ahead_of_a_log_that_was_cut_since_is_not_delivered() {
    let mut running = None;
    let broker = cut_and_grown("ahead", 150, |broker| {
        let options = KafkaOptions { max_offsets_per_trigger: Some(50), ..options(broker, &["ahead"]) };
        let mut source = KafkaSource::open(&options).unwrap();
        let mut reader = source.reader(&MemoryAccount::new(LANE_MEMORY_BYTES), None).unwrap();
        let start = Position { offset: source.initial_offset().unwrap(), notes: Notes::new() };
        let (position, values) = batch(&mut source, reader.as_mut(), &start);
        assert_eq!(values, names("v", 0..50));
        running = Some((source, reader, position));
    });
    let (Some(_broker), Some((mut source, mut reader, position))) = (broker, running) else { return };
    // The position lies before the cut: it is as good as it was. What the lane fetched behind it is not.
    let (_, values) = batch(&mut source, reader.as_mut(), &position);
    assert_eq!(values, [names("v", 50..60), names("w", 0..40)].concat());
}
