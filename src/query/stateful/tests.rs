//! What must hold for every input: windows do not depend on how a stream is cut into batches, nor on the number of lanes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use proptest::prelude::*;

use crate::model::{Marks, OutputMode, Watermark};
use crate::query::{
    Conf, Definition, Failure, Feed, Input, Query, Relation, Runner, WatermarkTracker, Watermarks,
};
use crate::state::{DEFINITION, MemoryState, StateDefinition};
use crate::storage::{Store, test_runtime};

/// Key, time in milliseconds, value.
type Event = (u8, i64, f64);

const SQL: &str =
    "SELECT window.start AS start, k, count(*) AS n, sum(v) AS total, avg(v) AS mean, stddev(v) AS spread
    FROM input GROUP BY window(ts, '10 seconds'), k";
/// Later than every event.
const END_MS: i64 = 10_000_000;

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("ts", time, true),
        Field::new("v", DataType::Float64, true),
    ]))
}

fn rows(events: &[Event]) -> RecordBatch {
    let keys: StringArray = events.iter().map(|(key, ..)| Some(format!("k{key}"))).collect();
    let times: TimestampMicrosecondArray = events.iter().map(|(_, ms, _)| Some(ms * 1000)).collect();
    let values: Float64Array = events.iter().map(|(.., value)| Some(*value)).collect();
    let times = times.with_timezone("UTC");
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(times), Arc::new(values)]).unwrap()
}

/// A stream of its own, batch after batch.
struct Stream {
    runner: Runner,
    state: MemoryState,
    tracker: WatermarkTracker,
    watermarks: Watermarks,
    out: Vec<String>,
    /// The rows of the largest batch that came out.
    most: usize,
}

impl Stream {
    fn new(sql: &str, mode: OutputMode) -> Stream {
        let watermark = Watermark {
            event_time: "ts".into(),
            delay_threshold: "30 seconds".into(),
            max_future_skew: None,
            idle_timeout: None,
        };
        let relation = Relation { name: "input".into(), schema: schema() };
        let marks = Marks { watermark: Some(watermark), ..Marks::default() };
        let of_stream = Definition::of_stream(relation.clone(), sql, Conf::default());
        let definition =
            Definition { inputs: vec![Input { relation, marks }], output_mode: mode, ..of_stream };
        let query = Query::plan(&definition).unwrap();
        let tracker = query.watermark_tracker(0);
        let runner = Runner::new(query);
        Stream {
            runner,
            state: MemoryState::default(),
            tracker,
            watermarks: Watermarks::default(),
            out: Vec::new(),
            most: 0,
        }
    }

    /// Runs a batch whose rows are dealt to `lanes` lanes in chunks of `chunk` rows.
    fn batch(&mut self, events: &[Event], lanes: usize, chunk: usize) {
        self.try_batch(events, lanes, chunk).unwrap();
    }

    fn try_batch(&mut self, events: &[Event], lanes: usize, chunk: usize) -> Result<(), Failure> {
        let run = self.runner.begin(0, &[]).unwrap();
        let query = self.runner.query();
        let grouping = query.lane_grouping().expect("its lanes group");
        let mut groups: Vec<_> = (0..lanes).map(|_| grouping.begin().unwrap()).collect();
        for (number, events) in events.chunks(chunk).enumerate() {
            let input = rows(events).project(&query.input_columns()).unwrap();
            for made in run.rows(input).unwrap() {
                let chunks = vec![number as u64; made.num_rows()];
                groups[number % lanes].update(&made, chunks).unwrap();
            }
        }
        // Whichever lane ends first.
        let parts = groups.into_iter().rev().map(|groups| groups.finish().unwrap()).collect();
        let mut state = self.state.begin();
        let stateful = run.stateful().expect("it keeps state");
        let answer = stateful.run(query, &mut state, Feed::Groups(parts), self.watermarks)?;
        self.state.commit(state);
        self.most = answer.rows.iter().map(RecordBatch::num_rows).fold(self.most, usize::max);
        let text = pretty_format_batches(&answer.rows).unwrap().to_string();
        // The columns' widths follow the other rows.
        let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        self.out.extend(text.lines().skip(3).filter(|line| line.starts_with('|')).map(cells));
        let next = self.tracker.advance(&run.event_times(query));
        self.watermarks = Watermarks { before: self.watermarks.now, now: next };
        Ok(())
    }

    /// Closes every window; what came out, sorted.
    fn finish(mut self) -> Vec<String> {
        for _ in 0..2 {
            self.batch(&[(0, END_MS, 0.0)], 1, 16);
        }
        self.out.sort();
        self.out
    }
}

#[test]
fn the_state_says_how_long_its_windows_are() {
    let cases = [
        ("window(ts, '5 minutes')", "5 minutes"),
        ("window(ts, '300 seconds', '5 minutes')", "5 minutes"),
        ("window(ts, '1 hour', '1 hour', '90 seconds')", "1 hour, from 90 seconds"),
        ("window(ts, '10 minutes', '5 minutes', '-1 minute')", "10 minutes, every 5 minutes, from 4 minutes"),
        ("session_window(ts, '5 minutes')", "a gap of 5 minutes"),
        ("session_window(ts, '1 day')", "a gap of 1 day"),
        ("session_window(ts, '24 hours 10 seconds')", "a gap of 86410 seconds"),
        ("session_window(ts, concat('5', ' minutes'))", "a gap of each row"),
        ("session_window(ts, CASE WHEN k = 'k1' THEN '1 minute' ELSE '2 minutes' END)", "a gap of each row"),
    ];
    for (window, expected) in cases {
        // As it is made, and as a column of a subquery that the group names.
        let made = format!("SELECT k, count(*) AS n FROM input GROUP BY k, {window}");
        let named =
            format!("SELECT w, count(*) AS n FROM (SELECT k, {window} AS w FROM input) GROUP BY k, w");
        for sql in [made, named] {
            let definition = Stream::new(&sql, OutputMode::Append).runner.query().state_definition();
            let shapes: Vec<&str> =
                definition[0].keys.iter().filter_map(|key| key.window.as_deref()).collect();
            assert_eq!(shapes, [expected], "{sql}");
        }
    }
}

/// Why the state of `old` is refused by the query `new`.
fn refusal(old: &str, new: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(folder.path()).unwrap();
    let store = Store::open(&url, &BTreeMap::new(), test_runtime()).unwrap();
    let of = |sql: &str| {
        let mode = if sql.contains("window") { OutputMode::Append } else { OutputMode::Update };
        StateDefinition::new(Stream::new(sql, mode).runner.query().state_definition())
    };
    store.put(DEFINITION, serde_json::to_vec(&of(old)).unwrap().into()).unwrap();
    of(new).check(&store).err().map(|error| error.to_string())
}

#[test]
fn a_key_or_argument_goes_on_under_another_name_and_another_column_is_refused() {
    let by_key = "SELECT k, count(*) AS n FROM input GROUP BY k";
    let sum = "SELECT k, sum(v) AS s FROM input GROUP BY k";
    let both = "SELECT k, min(v) AS lo, max(v) AS hi FROM input GROUP BY k";
    let goes_on = [
        (by_key, "SELECT k AS device, count(*) AS events FROM input WHERE v > 1 GROUP BY 1"),
        (by_key, "SELECT d, count(*) AS n FROM (SELECT *, k AS d FROM input) GROUP BY d"),
        (
            by_key,
            "SELECT d, count(*) AS n FROM (SELECT k AS d FROM (SELECT k FROM input) WHERE k > 'a') GROUP BY d",
        ),
        (by_key, "SELECT d, count(*) AS n FROM (SELECT *, coalesce(k, 'none') AS d FROM input) GROUP BY d"),
        ("SELECT DISTINCT k FROM input", "SELECT DISTINCT k AS d FROM input"),
        (sum, "SELECT k, sum(w) AS s FROM (SELECT k, v AS w FROM input) GROUP BY k"),
    ];
    for (old, new) in goes_on {
        assert_eq!(refusal(old, new), None, "{new}");
    }
    let (most, least) = (sum.replace("sum", "max"), sum.replace("sum", "min"));
    let refused = [
        (by_key, "SELECT u, count(*) AS n FROM (SELECT *, 'x' AS u FROM input) GROUP BY u", "(u STRING) now"),
        (
            "SELECT DISTINCT k FROM input",
            "SELECT DISTINCT u FROM (SELECT k, 'x' AS u FROM input)",
            "(u STRING)",
        ),
        (
            sum,
            "SELECT k, sum(w) AS s FROM (SELECT *, 1.5D AS w FROM input) GROUP BY k",
            "sum(v) became sum(w)",
        ),
        (both, "SELECT k, max(v) AS hi, min(v) AS lo FROM input GROUP BY k", "and are max(v), min(v) now"),
        (&most, &least, "max(v) became min(v)"),
    ];
    for (old, new, expected) in refused {
        let reason = refusal(old, new).unwrap_or_else(|| panic!("{new} goes on"));
        assert!(reason.contains(expected), "{reason}");
    }
}

#[test]
fn a_watermark_that_leaves_the_sessions_for_another_key_is_refused() {
    let by_session =
        "SELECT count(*) AS n FROM input GROUP BY session_window(ts, '5 minutes'), date_trunc('DAY', ts)";
    let by_key =
        "SELECT count(*) AS n FROM input GROUP BY session_window(date_trunc('DAY', ts), '5 minutes'), ts";
    assert_eq!(refusal(by_session, by_session), None);
    let reason = refusal(by_session, by_key).expect("it goes on");
    assert!(reason.contains("declared on another column"), "{reason}");
}

/// Events in disorder of less than the delay.
fn events(value: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<Event>> {
    let event = (0_u8..4, 0_i64..20_000, value);
    prop::collection::vec(event, 1..120).prop_map(|events| {
        let at = |(number, (key, back, value)): (usize, (u8, i64, f64))| {
            (key, 30_000 + number as i64 * 700 - back, value)
        };
        events.into_iter().enumerate().map(at).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_into_batches_gives_the_same_windows(
        // Quarters, whose sums are exact in whatever order.
        events in events((0_i32..4000).prop_map(|n| f64::from(n) / 4.0)),
        cuts in prop::collection::vec(1_usize..40, 1..12),
    ) {
        let counts = SQL.replace(", stddev(v) AS spread", "");
        let mut whole = Stream::new(&counts, OutputMode::Append);
        whole.batch(&events, 1, 1000);
        let mut cut = Stream::new(&counts, OutputMode::Append);
        let mut rest = &events[..];
        for size in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*size).min(rest.len()));
            cut.batch(now, 1, 1000);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole.finish(), cut.finish());
    }

    #[test]
    fn any_number_of_lanes_gives_the_same_bits(
        events in events(-1e9_f64..1e9),
        lanes in 2_usize..5,
    ) {
        for mode in [OutputMode::Append, OutputMode::Update] {
            let [mut one, mut several] = [1, lanes].map(|_| Stream::new(SQL, mode));
            for batch in events.chunks(50) {
                one.batch(batch, 1, 16);
                several.batch(batch, lanes, 16);
            }
            prop_assert_eq!(one.finish(), several.finish());
        }
    }
}

#[test]
fn groups_come_out_a_few_at_once() {
    let events: Vec<Event> = (0..20_000).map(|n| (1, n * 1000, 1.0)).collect();
    let by = |window: &str| format!("SELECT count(*) AS n FROM input GROUP BY k, {window}");
    for (sql, mode) in [
        (by("ts"), OutputMode::Update),
        (by("ts"), OutputMode::Append),
        (by("session_window(ts, '500 milliseconds')"), OutputMode::Append),
    ] {
        let mut stream = Stream::new(&sql, mode);
        stream.batch(&events, 2, 1000);
        stream.batch(&[], 2, 1000);
        assert!(stream.out.len() > 19_900 && stream.most < 17_000, "{sql}: {} at once", stream.most);
    }
}

#[test]
fn a_text_is_bounded_for_one_group_and_not_for_all_that_are_evaluated_at_once() {
    let texts = |times: u32| {
        Stream::new(
            &format!("SELECT length(repeat(k, {times})) AS n FROM input GROUP BY k"),
            OutputMode::Update,
        )
    };
    let events: Vec<Event> = (0..=255).map(|key| (key, 1000, 1.0)).collect();
    let mut stream = texts(700_000);
    stream.batch(&events, 1, 1000);
    assert_eq!(stream.out.len(), 256);
    let failure = texts(300_000_000).try_batch(&events, 1, 1000).unwrap_err();
    assert!(
        matches!(&failure, Failure::Expression(why) if why.message.contains("or of a group")),
        "{failure:?}"
    );
}

#[test]
fn partial_groups_of_keys_that_a_lane_has_never_seen_are_none() {
    let mut stream = Stream::new(SQL, OutputMode::Append);
    stream.batch(&[], 3, 16);
    stream.batch(&[(1, 40_000, 1.5)], 3, 16);
    let rows = stream.finish();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let cells: BTreeMap<usize, &str> = rows[0].split('|').map(str::trim).enumerate().collect();
    assert_eq!((cells[&2], cells[&3], cells[&4]), ("k1", "1", "1.5"), "{rows:?}");
}
