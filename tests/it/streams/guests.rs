//! The small sources and sinks: `rate` and `socket` from a file, `rate` and `console` from flags too, `memory` from a program that
//! uses the library, and `rate` into a Delta table killed at every failpoint that it comes by.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use alluvia::config::{Config, ProcessLookup};
use alluvia::observe::{Reporter, Style};
use alluvia::runtime::{ProcessContext, Stop, Streams};
use alluvia::sink::memory;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::rig::{Alluvia, Broker, Message, delta_digest, delta_rows, digest_of};

const BOUND: Duration = Duration::from_secs(90);

fn rate_yaml(trigger: &str) -> String {
    format!(
        "streams:
  - name: rate
    source: {{ format: rate, options: {{ rowsPerSecond: 500, numPartitions: 3 }} }}
    sink: {{ format: delta, path: ./table, tableProperties: {{ delta.checkpointInterval: '2' }} }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
    minBatchesToRetain: 2
    lanes: 2
"
    )
}

/// The table holds the values from 0 on, each once; how many there are.
fn values(folder: &Path, what: &str) -> u64 {
    let there = delta_digest(&folder.join("table"), &["value"]);
    let expected = digest_of((0..there.rows).map(|value| [value.to_string()]));
    assert!(there.same_rows(&expected), "{what}: {there:?}");
    there.rows
}

#[test]
fn a_rate_goes_on_where_it_was_and_each_value_is_in_the_table_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = |batches: usize| {
        let program = Alluvia::run(&rate_yaml("{ processingTime: 100 ms }"), folder.path());
        let since = Instant::now();
        while program.stderr().matches("\"event\":\"progress\"").count() < batches {
            assert!(since.elapsed() < BOUND, "{}", program.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
        program.terminate();
        program.wait(BOUND).success()
    };
    let first = run(2).stderr;
    assert!(first.contains("RateStreamV2[rowsPerSecond=500"), "{first}");
    let after_one = values(folder.path(), "the first run");
    run(1);
    let after_two = values(folder.path(), "the second run");
    assert!(
        after_one >= 1000 && after_two > after_one && after_two.is_multiple_of(500),
        "{after_one} {after_two}"
    );
    let rows = delta_rows(&folder.path().join("table"), &["value", "timestamp"]);
    let micros = |row: &serde_json::Value| {
        let text = row["timestamp"].as_str().unwrap().replace(' ', "T");
        let time = chrono::DateTime::parse_from_rfc3339(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        time.timestamp_micros()
    };
    let mut times: Vec<(i64, i64)> =
        rows.iter().map(|row| (row["value"].as_i64().unwrap(), micros(row))).collect();
    times.sort_unstable();
    let first = times[0].1;
    assert!(times.iter().all(|(value, time)| time - first == value * 2000), "2 ms from one to the next");
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
#[test]
fn a_rate_killed_at_every_failpoint_loses_nothing_and_doubles_nothing() {
    use std::os::unix::process::ExitStatusExt;
    // Those of dead letters, and of starts that find what this stream never leaves, are not on its way.
    let passed = |name: &&str| {
        ![
            "table.looked",
            "letters.before",
            "letters.after",
            "columns.added",
            "letters.withdrawn",
            "repair.after",
        ]
        .contains(name)
    };
    let names: Vec<&str> = alluvia::failpoint::NAMES.into_iter().filter(passed).collect();
    let count = crate::scene::each(&names, |name| {
        let folder = tempfile::tempdir().unwrap();
        let arm = format!("{name}=kill");
        let yaml = rate_yaml("{ processingTime: 100 ms }");
        let killed = Alluvia::run_with(&yaml, folder.path(), &[("ALLUVIA_FAILPOINTS", &arm)]).wait(BOUND);
        assert_eq!(killed.status.signal(), Some(libc::SIGKILL), "{arm}: {}", killed.stderr);
        let program = Alluvia::run(&yaml, folder.path());
        program.wait_for("\"event\":\"progress\"", BOUND);
        program.terminate();
        program.wait(BOUND).success();
        assert!(values(folder.path(), name) >= 500, "{name}");
    });
    assert_eq!(count, names.len());
}

#[test]
fn kafka_is_shown_on_the_console_as_spark_shows_it_from_flags_and_from_a_file() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("console", 1);
    broker.produce(
        &topic,
        [r#"{"n":1,"s":"one"}"#, r#"{"n":null,"s":"longer than twenty characters"}"#].map(Message::new),
    );
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "ingest",
        "--bootstrap-servers",
        broker.bootstrap(),
        "--topic",
        &topic,
        "--schema",
        "n INT, s STRING",
        "--to",
        "console",
    ];
    let shown = "-------------------------------------------
Batch: 0
-------------------------------------------
+----+--------------------+
|   n|                   s|
+----+--------------------+
|   1|                 one|
|NULL|longer than twent...|
+----+--------------------+
";
    // Without a table the checkpoint is of no use to a later run, and nobody would delete it.
    let temporary = tempfile::tempdir().unwrap();
    let environment = [("TMPDIR", temporary.path().to_str().unwrap())];
    let ended = Alluvia::start(flags, folder.path(), &environment).wait(BOUND).success();
    assert_eq!(ended.stdout.trim_end(), shown.trim_end());
    let left: Vec<_> =
        std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let printed = Alluvia::start(flags.into_iter().chain(["--print-config"]), folder.path(), &environment)
        .wait(BOUND)
        .success();
    let ended = Alluvia::run(&printed.stdout, folder.path()).wait(BOUND).success();
    assert_eq!(ended.stdout.trim_end(), shown.trim_end(), "{}", printed.stdout);
    broker.produce(&topic, [Message::new(r#"{"n":3,"s":"three"}"#)]);
    let ended = Alluvia::run(&printed.stdout, folder.path()).wait(BOUND).success();
    assert!(ended.stdout.contains("Batch: 1") && !ended.stdout.contains("one"), "{}", ended.stdout);
}

#[test]
fn a_rate_runs_into_a_table_from_one_line_of_flags() {
    let folder = tempfile::tempdir().unwrap();
    let flags = "ingest --from rate --option rowsPerSecond=10 --table ./table --checkpoint ./checkpoint --trigger 100ms";
    let program = Alluvia::start(flags.split(' '), folder.path(), &[]);
    program.wait_for("\"event\":\"progress\"", BOUND);
    program.terminate();
    program.wait(BOUND).success();
    assert!(values(folder.path(), "flags") >= 10);
}

#[test]
fn a_program_finds_in_memory_the_rows_of_a_rate_once_each_and_a_result_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let stream = |name: &str, more: &str| {
        format!(
            "  - name: {name}
    source: {{ format: rate, options: {{ rowsPerSecond: 100 }} }}
    sink: {{ format: memory }}
    trigger: {{ processingTime: 100 ms }}
    checkpointLocation: {place}/{name}
    lanes: 2
{more}"
        )
    };
    let count = "    sql: SELECT count(*) AS n FROM input\n    outputMode: complete\n";
    let yaml = format!("streams:\n{}{}", stream("values-in-memory", ""), stream("count-in-memory", count));
    let config = Config::from_texts(&[("stream.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
    let io = tokio::runtime::Runtime::new().unwrap();
    let process = ProcessContext::new(io.handle().clone(), "", Stop::new());
    let streams = Streams::new(process, Reporter::new(Style::Quiet));
    let numbers = |name: &str, column: &str| -> Vec<i64> {
        let rows = memory::rows(name);
        let column = |rows: &RecordBatch| {
            rows.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
        };
        rows.iter().flat_map(column).collect()
    };
    let mut before = 0;
    for run in ["the first run", "the second run"] {
        let queries = [&config.streams[0], &config.streams[1]].map(|stream| streams.start(stream).unwrap());
        crate::rig::until("there are new rows and a new count", BOUND, || {
            let count = numbers("count-in-memory", "n").first().copied().unwrap_or(0);
            (numbers("values-in-memory", "value").len() > before && count > before as i64).then_some(())
        });
        for query in queries {
            query.stop();
            assert!(query.await_termination(Some(BOUND)).unwrap(), "{run}");
        }
        let mut values = numbers("values-in-memory", "value");
        values.sort_unstable();
        assert_eq!(values, (0..values.len() as i64).collect::<Vec<_>>(), "{run}");
        let count = numbers("count-in-memory", "n");
        assert!(count.len() == 1 && count[0] % 100 == 0, "{run}: {count:?}");
        before = values.len().max(count[0] as usize);
    }
}

#[test]
fn lines_of_a_socket_come_once_and_check_says_that_a_server_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let yaml = format!(
        "streams:
  - name: lines
    source: {{ format: socket, options: {{ host: 127.0.0.1, port: {port} }} }}
    sink: {{ format: delta, path: ./table }}
    trigger: {{ processingTime: 50 ms }}
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 0 }}
"
    );
    for (lines, rows) in [("a\nb\n", 2), ("c\nd\ne\n", 5)] {
        let mut program = Alluvia::run(&yaml, folder.path());
        let (mut client, _) = crate::rig::until("a connection to the server", BOUND, || {
            assert!(!program.ended(), "{}", program.stderr());
            server.accept().ok()
        });
        client.write_all(lines.as_bytes()).unwrap();
        crate::rig::until("the lines are in the table", BOUND, || {
            let log = folder.path().join("table/_delta_log");
            (log.exists() && delta_digest(&folder.path().join("table"), &["value"]).rows == rows)
                .then_some(())
        });
        program.terminate();
        program.wait(BOUND).success();
    }
    let there = delta_digest(&folder.path().join("table"), &["value"]);
    assert!(there.same_rows(&digest_of([["a"], ["b"], ["c"], ["d"], ["e"]])), "{there:?}");
    drop(server);
    let check = Alluvia::start(["check", "stream.yaml"], folder.path(), &[]).wait(BOUND);
    assert_eq!(check.code(), 3, "{}", check.stdout);
    assert!(
        check.stdout.contains("no server answers") && check.stdout.contains("source.options.host"),
        "{}",
        check.stdout
    );
}

#[test]
fn keys_of_other_formats_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |yaml: String, says: &[&str]| {
        let ended = Alluvia::run(&yaml, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        for text in says {
            assert!(ended.stderr.contains(text), "no `{text}` in {}", ended.stderr);
        }
    };
    let rate = rate_yaml("availableNow");
    refused(
        rate.replace("numPartitions: 3 }", "numPartitions: 3 }, value: { format: json, schema: 'a INT' }"),
        &["value belongs to format kafka, the format is rate"],
    );
    refused(rate.replace("format: delta", "format: console"), &["path belongs to format delta"]);
    refused(rate.replace("rowsPerSecond: 500", "rowsPerSecond: 0"), &["rowsPerSecond", "above 0"]);
    refused(
        rate.replace("format: rate, options: { rowsPerSecond: 500, numPartitions: 3 }", "format: socket"),
        &["the option host is missing", "the option port is missing"],
    );
    refused(rate.replace("format: rate", "format: rates"), &["expected kafka, eventhubs, rate, socket"]);
}

#[test]
fn a_console_that_nobody_reads_any_more_ends_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("stream.yaml"), rate_to_console()).unwrap();
    let line = r#"set -o pipefail; timeout 50 "$0" run stream.yaml 2> said | head -n 1"#;
    let mut shell = std::process::Command::new("bash");
    shell.env("ALLUVIA_LISTEN", "off").env("ALLUVIA_CONTROL_LISTEN", "off");
    shell.args(["-c", line, env!("CARGO_BIN_EXE_alluvia")]).current_dir(folder.path());
    let ended = shell.output().unwrap();
    let said = std::fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("standard output is closed"), "{said}");
}

fn rate_to_console() -> &'static str {
    "streams:
  - name: shown
    source: { format: rate, options: { rowsPerSecond: 100 } }
    sink: { format: console }
    trigger: { processingTime: 100 ms }
    checkpointLocation: ./checkpoint
"
}
