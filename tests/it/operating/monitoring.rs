//! What a running process shows: status API, metrics, health and log say the same, and it is the truth.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::http::{self, get, request};
use crate::rig::prometheus::promtool;
use crate::rig::{Alluvia, Broker, Message, until};

pub const BOUND: Duration = Duration::from_secs(120);

/// A program with both listeners on free ports.
pub struct Watched {
    pub program: Alluvia,
    pub observe: String,
    pub control: String,
}

impl Watched {
    pub fn run(yaml: &str, folder: &Path, environment: &[(&str, &str)]) -> Watched {
        let mut all = vec![("ALLUVIA_LISTEN", "127.0.0.1:0"), ("ALLUVIA_CONTROL_LISTEN", "127.0.0.1:0")];
        all.extend(environment);
        let program = Alluvia::run_with(yaml, folder, &all);
        let address = |what: &str| {
            let line = program.wait_for(&format!("the {what} listener is ready"), BOUND);
            let line: Value = serde_json::from_str(&line).unwrap();
            line["address"].as_str().unwrap().to_owned()
        };
        let (observe, control) = (address("observe"), address("control"));
        Watched { program, observe, control }
    }

    pub fn stream(&self, name: &str) -> Value {
        get(&self.observe, &format!("/api/v1/streams/{name}")).json()
    }

    /// Waits until the stream is as `wanted` says.
    pub fn until(&self, what: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, BOUND, || Some(self.stream(name)).filter(&wanted))
    }

    /// Runs a command of the command line against the program.
    fn command(&self, arguments: &[&str], folder: &Path) -> crate::rig::Ended {
        let (url, control) = (format!("http://{}", self.observe), format!("http://{}", self.control));
        let environment = [("ALLUVIA_URL", url.as_str()), ("ALLUVIA_CONTROL_URL", control.as_str())];
        Alluvia::start(arguments, folder, &environment).wait(BOUND)
    }
}

pub fn yaml(broker: &str, topic: &str, name: &str, more: &str) -> String {
    format!(
        "  - name: {name}
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{broker}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: 'id INT NOT NULL, name STRING' }}
    sink: {{ format: delta, path: ./{name} }}
    deadLetter: {{ format: delta, path: ./{name}_dead }}
    trigger: {{ processingTime: 50 ms }}
    checkpointLocation: ./checkpoint_{name}
{more}"
    )
}

pub fn one(broker: &Broker, topic: &str) -> String {
    format!("streams:\n{}", yaml(broker.bootstrap(), topic, "orders", ""))
}

/// The value of a sample of the text format.
fn sample(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    metrics.lines().find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        let fits = labels.iter().all(|(label, value)| rest.contains(&format!("{label}=\"{value}\"")));
        (found == name && fits).then(|| value.parse().unwrap())
    })
}

#[test]
fn page_api_metrics_and_log_agree_on_what_happened() {
    let Some(broker) = Broker::private() else { return };
    let (topic, folder) = (broker.topic("planted", 3), tempfile::tempdir().unwrap());
    let good = (0..900).map(|id: i32| Message::new(format!("{{\"id\":{id}}}")).partition(id % 3));
    broker.produce(&topic, good);
    broker.produce(&topic, (0..7).map(|_| Message::new("{not json").partition(1)));
    broker.produce(&topic, (0..5).map(|_| Message::new("{\"name\":\"no id\"}").partition(2)));
    let watched = Watched::run(&one(&broker, &topic), folder.path(), &[]);
    let stream = watched.until("all records", "orders", |s| s["totals"]["inputRows"] == 912);
    assert_eq!(stream["totals"]["outputRows"], 900);
    assert_eq!(stream["totals"]["deadLetters"], 12);
    let reasons = &stream["totals"]["rejectedRows"];
    assert_eq!((&reasons["MALFORMED_RECORD"], &reasons["NOT_NULL_VIOLATION"]), (&7.into(), &5.into()));

    let metrics = get(&watched.observe, "/metrics");
    assert!(metrics.headers.contains("text/plain; version=0.0.4"), "{}", metrics.headers);
    let of = |name: &str, labels: &[(&str, &str)]| {
        let all: Vec<(&str, &str)> = labels.iter().copied().chain([("stream", "orders")]).collect();
        sample(&metrics.body, name, &all).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    assert_eq!(of("alluvia_input_rows_total", &[]), 912.0);
    assert_eq!(of("alluvia_output_rows_total", &[]), 900.0);
    assert_eq!(of("alluvia_dead_letters_total", &[]), 12.0);
    assert_eq!(of("alluvia_rejected_rows_total", &[("reason", "MALFORMED_RECORD")]), 7.0);
    assert_eq!(of("alluvia_rejected_rows_total", &[("reason", "NOT_NULL_VIOLATION")]), 5.0);
    assert_eq!(of("alluvia_rejected_rows_total", &[("reason", "RECORD_TOO_LARGE")]), 0.0);
    assert_eq!(of("alluvia_stream_state", &[("state", "running")]), 1.0);
    assert_eq!(of("alluvia_batches_total", &[]), stream["totals"]["batches"].as_f64().unwrap());
    assert_eq!(of("alluvia_table_version", &[]), stream["tableVersion"].as_f64().unwrap());
    for step in ["latestOffset", "walCommit", "addBatch", "commitOffsets", "writeFiles", "commitTable"] {
        let count = of("alluvia_batch_step_duration_seconds_count", &[("step", step)]);
        assert_eq!(count, of("alluvia_batches_total", &[]), "{step}");
    }

    promtool(&["check", "metrics"], &metrics.body);

    // The log names an example of each reason, with its place, and no value.
    let log = watched.program.stderr();
    let rejected: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("records were rejected"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let reasons: BTreeSet<&str> = rejected.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, BTreeSet::from(["MALFORMED_RECORD", "NOT_NULL_VIOLATION"]));
    for line in &rejected {
        assert_eq!((&line["stream"], &line["topic"]), (&"orders".into(), &topic.as_str().into()));
        assert!(line["partition"].is_i64() && line["offset"].is_i64() && line["batch"].is_i64(), "{line}");
    }
    assert!(!log.contains("not json") && !log.contains("no id"));

    // Another writer's commit takes the version that the next batch wants: tried again on the one after it.
    let version = stream["tableVersion"].as_u64().unwrap() + 1;
    let log_file = folder.path().join(format!("orders/_delta_log/{version:020}.json"));
    std::fs::write(log_file, "{\"commitInfo\":{\"timestamp\":0,\"operation\":\"MANUAL\"}}\n").unwrap();
    broker.produce(&topic, [Message::new("{\"id\":900}").partition(0)]);
    let stream = watched.until("the next batch", "orders", |s| s["totals"]["outputRows"] == 901);
    assert_eq!(
        (&stream["tableVersion"], &stream["totals"]["commitConflicts"]),
        (&(version + 1).into(), &1.into())
    );
    let conflicts = sample(&get(&watched.observe, "/metrics").body, "alluvia_commit_conflicts_total", &[]);
    assert_eq!(conflicts, Some(1.0));
    assert!(watched.program.stderr().contains("another writer took the table's next version"));

    // A broker that is gone: a restart is waited for, everyone says so, and lag stays what it was.
    assert_eq!(get(&watched.observe, "/readyz").status, 200);
    let mut broker = broker;
    broker.kill();
    let down = watched.until("a restart", "orders", |s| s["state"] == "restarting");
    let error = down["lastError"]["message"].as_str().unwrap().to_owned();
    assert_eq!(down["lastError"]["kind"], "unavailable");
    let ready = get(&watched.observe, "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("stream orders waits for a restart: "), "{}", ready.body);
    assert_eq!(get(&watched.observe, "/livez").status, 200);
    assert!(watched.program.stderr().contains(&serde_json::to_string(&error).unwrap()), "{error}");
    broker.start();
    let back = watched.until("a running stream", "orders", |s| s["state"] == "running");
    assert_eq!(get(&watched.observe, "/readyz").status, 200);
    let restarts = back["totals"]["restarts"].as_f64().unwrap();
    let metrics = get(&watched.observe, "/metrics").body;
    let counted = sample(&metrics, "alluvia_stream_restarts_total", &[("kind", "unavailable")]);
    assert_eq!(counted, Some(restarts));
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

#[test]
fn lag_is_the_brokers_truth_behind_and_caught_up() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("lag", 3), tempfile::tempdir().unwrap());
    let message = |id: u64| Message::new(format!("{{\"id\":{id}}}")).partition((id % 3) as i32);
    broker.produce(&topic, (0..3000).map(message));
    // One batch of 300 offsets, then a long wait: the stream is behind.
    let slow = one(broker, &topic)
        .replace("startingOffsets: earliest", "startingOffsets: earliest, maxOffsetsPerTrigger: 300")
        .replace("processingTime: 50 ms", "processingTime: 1 hour");
    let watched = Watched::run(&slow, folder.path(), &[]);
    let behind = watched.until("a batch", "orders", |s| s["totals"]["batches"] == 1);
    assert_eq!(behind["lag"], 2700);
    agrees_with_the_broker(broker, &topic, &watched);
    watched.program.kill();

    // With another stream, so that the process goes on when this one is stopped.
    let two = format!("{}{}", one(broker, &topic), yaml(broker.bootstrap(), &topic, "copy", ""));
    let watched = Watched::run(&two, folder.path(), &[]);
    let caught_up = watched.until("the end", "orders", |s| s["lag"] == 0 && s["totals"]["batches"] != 0);
    assert_eq!(caught_up["oldestUncommittedAgeSeconds"], 0.0);
    agrees_with_the_broker(broker, &topic, &watched);

    // A stream that is stopped, while its process goes on: new records are lag.
    watched.command(&["stop", "orders"], folder.path()).success();
    assert_eq!(watched.stream("orders")["state"], "stopped");
    broker.produce(&topic, (0..30).map(message));
    watched.until("lag of a stopped stream", "orders", |s| s["lag"] == 30);
    agrees_with_the_broker(broker, &topic, &watched);
    let waits = watched.stream("orders")["oldestUncommittedAgeSeconds"].as_f64().unwrap();
    assert!(waits > 0.0 && waits < 60.0, "{waits}");
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

#[test]
fn a_thousand_partitions_are_a_quick_scrape() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("wide", 1000), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..2000).map(|id| Message::new(format!("{{\"id\":{id}}}")).partition(id % 1000)));
    let watched = Watched::run(&one(broker, &topic), folder.path(), &[]);
    watched.until("all records", "orders", |s| s["totals"]["outputRows"] == 2000 && s["lag"] == 0);
    let metrics = get(&watched.observe, "/metrics").body;
    assert_eq!(metrics.matches("alluvia_lag_offsets{").count(), 1000);
    // What a partition adds to an answer is two lines, and the page asks for no list of them before a reader does.
    let of_partitions = metrics.lines().filter(|line| line.contains("partition=")).count();
    assert_eq!(of_partitions, 2000, "a partition adds more to each scrape");
    assert!(metrics.len() < 256 * 1024, "a scrape has {} bytes", metrics.len());
    assert!(get(&watched.observe, "/api/v1/streams").body.len() < 8 * 1024);
    for path in
        ["/metrics", "/api/v1/streams", "/api/v1/streams/orders/lag", "/api/v1/streams/orders/history"]
    {
        let mut times: Vec<u128> = (0..9)
            .map(|_| {
                let before = Instant::now();
                assert_eq!(get(&watched.observe, path).status, 200);
                before.elapsed().as_micros()
            })
            .collect();
        times.sort_unstable();
        println!("{path} of 1000 partitions: {:.1} ms (median of 9)", times[4] as f64 / 1000.0);
    }
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

/// Compares API and metrics, partition by partition, with the broker's ends and the newest plan's offsets.
fn agrees_with_the_broker(broker: &Broker, topic: &str, watched: &Watched) {
    let last = get(&watched.observe, "/api/v1/streams/orders/progress").json();
    let committed = &last["sources"][0]["endOffset"][topic];
    let lags = get(&watched.observe, "/api/v1/streams/orders/lag").json();
    let metrics = get(&watched.observe, "/metrics").body;
    let ends = broker.offsets(topic);
    assert_eq!(lags.as_array().unwrap().len(), ends.len());
    for (place, (partition, (_, end))) in lags.as_array().unwrap().iter().zip(ends) {
        let committed = committed[partition.to_string()].as_i64().unwrap();
        assert_eq!((&place["partition"], &place["latest"]), (&partition.into(), &end.into()));
        assert_eq!((&place["committed"], &place["lag"]), (&committed.into(), &(end - committed).into()));
        let labels = [("stream", "orders"), ("topic", topic), ("partition", &partition.to_string())];
        assert_eq!(sample(&metrics, "alluvia_lag_offsets", &labels), Some((end - committed) as f64));
    }
}

#[test]
fn a_quiet_stream_tells_its_last_commit_and_its_watermark_after_a_restart() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("quiet", 1), tempfile::tempdir().unwrap());
    let event =
        |minute: u32| Message::new(format!("{{\"id\":{minute},\"ts\":\"2024-01-01T00:{minute:02}:00Z\"}}"));
    let query = "      watermark: { eventTime: ts, delayThreshold: 1 minute }
      dropDuplicates: [id, ts]
    sink:";
    let yaml = one(broker, &topic).replace("name STRING", "ts TIMESTAMP").replace("    sink:", query);
    let watched = Watched::run(&yaml, folder.path(), &[]);
    for (minutes, rows) in [(0..30, 30), (40..41, 31)] {
        broker.produce(&topic, minutes.map(event));
        watched.until("the rows", "orders", |s| s["totals"]["outputRows"] == rows);
    }
    watched.program.terminate();
    let ended = watched.program.wait(BOUND).success();
    let last = ended.stderr.lines().rfind(|line| line.contains("\"event\":\"progress\"")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert!(last["eventTime"]["watermark"].as_str().unwrap() > "2024-01-01T00:20", "{last}");

    let again = Watched::run(&yaml, folder.path(), &[]);
    let resumed = again.until("where it goes on", "orders", |s| s["batchId"] == last["batchId"]);
    assert_eq!(resumed["totals"]["batches"], 0, "{resumed}");
    assert_eq!(resumed["watermark"], last["eventTime"]["watermark"], "{resumed}");
    assert!(resumed["lastCommit"].is_string(), "{resumed}");
    let metrics = get(&again.observe, "/metrics").body;
    let of = |name: &str| sample(&metrics, name, &[("stream", "orders")]).unwrap();
    assert!(of("alluvia_last_commit_timestamp_seconds") > 1_704_067_200.0);
    assert!(of("alluvia_watermark_timestamp_seconds") > 1_704_067_200.0);
    again.program.terminate();
    again.program.wait(BOUND).success();
}

#[test]
fn a_process_at_rest_with_both_listeners_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "streams:
  - name: rest
    source: { format: rate, options: { rowsPerSecond: 10 } }
    sink: { format: delta, path: ./rest }
    trigger: { processingTime: 1 minute }
    checkpointLocation: ./checkpoint
";
    let watched = Watched::run(yaml, folder.path(), &[]);
    let resident = || {
        let metrics = get(&watched.observe, "/metrics").body;
        let bytes = sample(&metrics, "process_resident_memory_bytes", &[]).unwrap();
        Some(()).filter(|()| bytes < 40.0 * 1024.0 * 1024.0)
    };
    until("less than 40 MiB of resident memory", BOUND, resident);
}

#[test]
fn readiness_names_a_stream_that_has_failed_and_one_that_lost_its_lease() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("ready", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, [Message::new("{\"id\":1}")]);
    let failing = yaml(broker.bootstrap(), "no-such-topic", "broken", "");
    let two = format!("{}{failing}", one(broker, &topic));
    let watched = Watched::run(&two, folder.path(), &[("ALLUVIA_OWNER", "pod-0")]);
    watched.until("a running stream", "orders", |s| s["state"] == "running");
    let broken = watched.until("a failed stream", "broken", |s| s["state"] == "failed");
    let ready = get(&watched.observe, "/readyz");
    assert_eq!(ready.status, 503);
    let reason = format!("stream broken has failed: {}", broken["lastError"]["message"].as_str().unwrap());
    assert_eq!(ready.body.trim_end(), reason);

    // A newer process of the same name takes the other stream over.
    let successor = Watched::run(&one(broker, &topic), folder.path(), &[("ALLUVIA_OWNER", "pod-0")]);
    let ended = watched.program.wait(BOUND);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
    successor.until("a running stream", "orders", |s| s["state"] == "running");
    assert_eq!(get(&successor.observe, "/readyz").status, 200);
    successor.program.terminate();
    successor.program.wait(BOUND).success();
}

#[test]
fn the_openapi_document_is_what_the_listeners_answer() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("openapi", 2), tempfile::tempdir().unwrap());
    broker.produce(&topic, [Message::new("{\"id\":1}"), Message::new("{")]);
    let failing = yaml(broker.bootstrap(), "no-such-topic", "broken", "");
    let two = format!("{}{failing}", one(broker, &topic));
    let watched = Watched::run(&two, folder.path(), &[]);
    watched.until("a batch", "orders", |s| s["totals"]["inputRows"] == 2);
    watched.until("a failed stream", "broken", |s| s["state"] == "failed");
    let document = get(&watched.observe, "/api/v1/openapi.json").json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            for name in ["orders", "broken", "nobody"] {
                let at = path.replace("{name}", name);
                let addresses: &[&String] = match method.as_str() {
                    "post" => &[&watched.control],
                    _ if path.starts_with("/api/") => &[&watched.observe, &watched.control],
                    _ => &[&watched.observe],
                };
                // What is stopped here is started again by the restart of the next path.
                let named: [&[(&str, &str)]; 2] = [&[], &[("Host", "rebound.example")]];
                for (address, headers) in
                    addresses.iter().flat_map(|address| named.map(|headers| (address, headers)))
                {
                    let answer = request(address, &method.to_uppercase(), &at, headers);
                    assert_eq!(answer.status == 403, !headers.is_empty(), "{method} {at}: {}", answer.body);
                    let Some(response) = responses.get(&answer.status.to_string()) else {
                        panic!("{method} {at} answers {}, which the document does not say", answer.status)
                    };
                    check_answer(&document, response, &answer, &format!("{method} {at}"));
                }
            }
        }
    }
    watched.program.terminate();
    watched.program.wait(BOUND);
}

fn check_answer(document: &Value, response: &Value, answer: &http::Answer, what: &str) {
    if let Some(name) = response["$ref"].as_str() {
        let response = document.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return check_answer(document, response, answer, what);
    }
    let content = response["content"].as_object().unwrap();
    let (kind, content) = content.iter().next().unwrap();
    assert!(answer.headers.contains(&format!("content-type: {kind}")), "{what}: {}", answer.headers);
    if kind == "application/json" {
        check_schema(document, &content["schema"], &answer.json(), what);
    }
}

/// Checks a value against the part of JSON Schema that the document uses.
fn check_schema(document: &Value, schema: &Value, value: &Value, what: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.strip_prefix('#').unwrap()).unwrap();
        return check_schema(document, schema, value, what);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = if value.is_null() { choices.last() } else { choices.first() };
        return check_schema(document, choice.unwrap(), value, what);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"));
    assert!(fits, "{what}: {value} is not of type {kinds:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{what}: {value} is none of {allowed:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        check_schema(document, &schema["items"], item, what);
    }
    let Some(object) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(object.contains_key(required.as_str().unwrap()), "{what}: {required} is missing");
    }
    for (key, value) in object {
        let (known, others) = (&schema["properties"][key], &schema["additionalProperties"]);
        assert!(*others != Value::Bool(false) || known.is_object(), "{what}: {key} is not in the document");
        let schema = if known.is_object() { known } else { others };
        if schema.is_object() {
            check_schema(document, schema, value, &format!("{what}: {key}"));
        }
    }
}

#[test]
fn a_stream_is_stopped_and_restarted_from_the_command_line_while_others_go_on() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("control", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..10).map(|id| Message::new(format!("{{\"id\":{id}}}"))));
    let two = format!("{}{}", one(broker, &topic), yaml(broker.bootstrap(), &topic, "copy", ""));
    let watched = Watched::run(&two, folder.path(), &[]);
    for name in ["orders", "copy"] {
        watched.until("ten rows", name, |s| s["totals"]["outputRows"] == 10);
    }
    let said = |arguments: &[&str]| watched.command(arguments, folder.path()).success().stdout;
    let listed = said(&["streams"]);
    assert!(listed.lines().next().unwrap().starts_with("NAME"), "{listed}");
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(said(&["status", "copy"]).contains("10 rows written"));
    let progress: Value = serde_json::from_str(&said(&["progress", "copy", "--output", "json"])).unwrap();
    assert_eq!(progress["numInputRows"], 10);
    let line = said(&["progress", "copy"]);
    assert!(line.lines().count() == 1 && line.contains("  10 records  "), "{line}");

    assert_eq!(said(&["stop", "copy"]).trim_end(), "copy: stopped");
    assert_eq!(watched.stream("copy")["isActive"], false);
    assert_eq!(watched.stream("orders")["isActive"], true);
    assert_eq!(get(&watched.observe, "/readyz").status, 200, "a stream that was stopped has not failed");
    broker.produce(&topic, [Message::new("{\"id\":10}")]);
    watched.until("eleven rows", "orders", |s| s["totals"]["outputRows"] == 11);
    assert_eq!(watched.stream("copy")["totals"]["outputRows"], 10);

    assert_eq!(said(&["stop", "copy", "--restart"]).trim_end(), "copy: running");
    watched.until("eleven rows", "copy", |s| s["totals"]["outputRows"] == 11);
    // One that runs is restarted too, and goes on where it was.
    assert_eq!(said(&["stop", "orders", "--restart"]).trim_end(), "orders: running");
    broker.produce(&topic, [Message::new("{\"id\":11}")]);
    watched.until("twelve rows", "orders", |s| s["totals"]["outputRows"] == 12);

    let refused = watched.command(&["stop", "nobody"], folder.path());
    assert_eq!(refused.code(), 2);
    assert_eq!(
        refused.stderr.trim_end(),
        "alluvia: there is no stream nobody (the streams are orders, copy)"
    );
    for name in ["orders", "copy"] {
        said(&["stop", name]);
    }
    watched.program.wait(BOUND).success();
    let gone = Alluvia::start(["streams", "--url", &watched.observe], folder.path(), &[]).wait(BOUND);
    assert_eq!(gone.code(), 3);
    assert!(gone.stderr.starts_with("alluvia: no process answers at http://127.0.0.1:"), "{}", gone.stderr);
}

#[test]
fn only_the_token_controls_and_no_web_page_does() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("token", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, [Message::new("{\"id\":1}")]);
    let watched = Watched::run(&one(broker, &topic), folder.path(), &[("ALLUVIA_CONTROL_TOKEN", "hunter2")]);
    watched.until("a running stream", "orders", |s| s["state"] == "running");
    let stop = |headers: &[(&str, &str)]| {
        request(&watched.control, "POST", "/api/v1/streams/orders/stop", headers).status
    };
    assert_eq!(stop(&[]), 401);
    assert_eq!(stop(&[("Authorization", "Bearer hunter3")]), 401);
    assert_eq!(stop(&[("Authorization", "Bearer hunter2"), ("Origin", "http://evil.example")]), 403);
    assert_eq!(request(&watched.observe, "POST", "/api/v1/streams/orders/stop", &[]).status, 404);
    let listed = |at: &str, headers: &[(&str, &str)]| request(at, "GET", "/api/v1/streams", headers).status;
    // A page of a browser on this machine whose name was made to mean 127.0.0.1.
    let rebound = ("Host", "evil.example:9464");
    assert_eq!(listed(&watched.observe, &[]), 200);
    assert_eq!(listed(&watched.observe, &[rebound]), 403);
    assert_eq!(listed(&watched.control, &[rebound]), 401);
    // The token says who asks, whatever the name; the scheme's case does not matter.
    assert_eq!(listed(&watched.control, &[rebound, ("Authorization", "bearer hunter2")]), 200);
    assert_eq!(watched.command(&["stop", "orders"], folder.path()).code(), 2);
    assert_eq!(watched.stream("orders")["isActive"], true);
    std::fs::write(folder.path().join("token"), "hunter2\n").unwrap();
    watched.command(&["stop", "orders", "--control-token-file", "token"], folder.path()).success();
    let ended = watched.program.wait(BOUND).success();
    assert!(!ended.stderr.contains("hunter"), "{}", ended.stderr);

    let open = Alluvia::run_with(
        &one(broker, &topic),
        folder.path(),
        &[("ALLUVIA_CONTROL_LISTEN", "0.0.0.0:0"), ("ALLUVIA_LISTEN", "off")],
    );
    let refused = open.wait(BOUND);
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("there is no token"), "{}", refused.stderr);
}

#[test]
fn progress_goes_to_a_file_and_the_log_keeps_one_line_per_batch() {
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("progress-file", 1), tempfile::tempdir().unwrap());
    broker.produce(&topic, (0..10).map(|id| Message::new(format!("{{\"id\":{id}}}"))));
    let yaml = one(broker, &topic)
        .replace("startingOffsets: earliest", "startingOffsets: earliest, maxOffsetsPerTrigger: 5")
        .replace("trigger: { processingTime: 50 ms }", "trigger: availableNow");
    let environment = [("ALLUVIA_PROGRESS_FILE", "progress.jsonl")];
    let ended = Alluvia::run_with(&yaml, folder.path(), &environment).wait(BOUND).success();
    let lines = std::fs::read_to_string(folder.path().join("progress.jsonl")).unwrap();
    let batches: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(batches.len(), 2);
    let steps: BTreeSet<&str> =
        batches[0]["durationMs"].as_object().unwrap().keys().map(String::as_str).collect();
    let spark = [
        "latestOffset",
        "queryPlanning",
        "getBatch",
        "walCommit",
        "addBatch",
        "commitOffsets",
        "triggerExecution",
    ];
    assert_eq!(steps, BTreeSet::from(spark));
    assert!(!ended.stderr.contains(r#""event":"progress""#), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("micro-batch committed").count(), 2, "{}", ended.stderr);
}
