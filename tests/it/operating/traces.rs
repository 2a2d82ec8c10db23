//! Micro-batches as OpenTelemetry traces: what a collector is sent, and what happens without one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::monitoring::BOUND;
use crate::rig::{Alluvia, Ended, until};

/// What one request of an exporter held: the path, the header `x-team`, the resource's attributes and the spans.
struct Export {
    path: String,
    team: Option<String>,
    resource: BTreeMap<String, String>,
    spans: Vec<Span>,
}

/// A collector on a free port that keeps what it is sent.
fn collector() -> (String, Receiver<Export>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, exports) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            loop {
                let mut head = Vec::new();
                while reader.read_until(b'\n', &mut head).unwrap_or(0) > 2 {}
                let head = String::from_utf8(head).unwrap();
                let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { break };
                let header = |name: &str| {
                    let line = head
                        .lines()
                        .find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
                    line.map(|value| value.trim().to_owned())
                };
                let mut body = vec![0; header("content-length:").unwrap().parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                for of in request.resource_spans {
                    let resource =
                        of.resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
                    let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans).collect();
                    let export = Export { path: path.clone(), team: header("x-team:"), resource, spans };
                    if sender.send(export).is_err() {
                        return;
                    }
                }
            }
        }
    });
    (address, exports)
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    all.iter().map(|one| (one.key.clone(), text(one.value.as_ref()))).collect()
}

/// A stream of rows that come by themselves, until it has committed some or has ended.
fn ticks(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let all = ["ingest", "--from", "rate", "--option", "rowsPerSecond=1000", "--table", "./ticks"];
    let all = [&all[..], &["--trigger", "200 ms"], arguments].concat();
    let mut program = Alluvia::start(&all, folder, environment);
    until("a micro-batch, or the end", BOUND, || {
        (program.stderr().contains(r#""event":"progress""#) || program.ended()).then_some(())
    });
    if !program.ended() {
        program.terminate();
    }
    program.wait(BOUND)
}

#[test]
fn each_micro_batch_is_a_trace_with_a_span_for_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let (address, exports) = collector();
    let environment = [("OTEL_EXPORTER_OTLP_HEADERS", "x-team=lake")];
    let ended = ticks(folder.path(), &["--otlp-endpoint", &address], &environment).success();
    let all: Vec<Export> = exports.try_iter().collect();
    let of: Vec<(&str, Option<&str>)> =
        all.iter().map(|export| (&*export.path, export.team.as_deref())).collect();
    assert!(!of.is_empty() && of.iter().all(|one| *one == ("/v1/traces", Some("lake"))), "{of:?}");
    assert_eq!(all[0].resource["service.name"], "alluvia");
    assert_eq!(all[0].resource["service.version"], env!("CARGO_PKG_VERSION"));

    let spans: Vec<&Span> = all.iter().flat_map(|export| &export.spans).collect();
    let batches: Vec<&&Span> = spans.iter().filter(|span| span.name == "micro-batch").collect();
    assert_eq!(batches.len(), ended.stderr.matches(r#""event":"progress""#).count(), "{}", ended.stderr);
    let (batch, told) = (batches[0], attributes(&batches[0].attributes));
    assert_eq!((&*told["alluvia.stream"], &*told["alluvia.batch_id"]), ("ticks", "0"), "{told:?}");
    assert!(told["alluvia.input_rows"] == told["alluvia.output_rows"], "{told:?}");
    let named = |name: &str| {
        let of_batch = |span: &&&Span| span.name == name && span.trace_id == batch.trace_id;
        spans.iter().find(of_batch).unwrap_or_else(|| panic!("no {name}"))
    };
    for step in ["latestOffset", "walCommit", "addBatch", "commitOffsets"] {
        let span = named(step);
        assert_eq!(span.parent_span_id, batch.span_id, "{step}");
        assert!(span.start_time_unix_nano >= batch.start_time_unix_nano, "{step}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{step}");
    }
    for pair in
        ["latestOffset", "walCommit", "queryPlanning", "getBatch", "addBatch", "commitOffsets"].windows(2)
    {
        let (before, after) = (named(pair[0]), named(pair[1]));
        assert!(before.end_time_unix_nano <= after.start_time_unix_nano, "{pair:?}");
    }
    for part in ["writeFiles", "commitTable"] {
        assert_eq!(named(part).parent_span_id, named("addBatch").span_id, "{part}");
    }
}

#[test]
fn a_failure_is_a_span_with_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let (address, exports) = collector();
    std::fs::write(folder.path().join("ticks"), "this is a file").unwrap();
    let ended = ticks(
        folder.path(),
        &[],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*address), ("OTEL_SERVICE_NAME", "lake")],
    );
    assert_ne!(ended.code(), 0);
    let all: Vec<Export> = exports.try_iter().collect();
    assert_eq!(all[0].resource["service.name"], "lake");
    let failure = all.iter().flat_map(|export| &export.spans).find(|span| span.name == "failure").unwrap();
    let status = failure.status.as_ref().unwrap();
    assert!(status.code == 2 && status.message.contains("ticks"), "{status:?}");
    assert_eq!(attributes(&failure.attributes)["alluvia.stream"], "ticks");
}

#[test]
fn a_collector_that_is_not_there_is_said_once_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = "http://127.0.0.1:1";
    let ended = ticks(folder.path(), &["--otlp-endpoint", nobody], &[]).success();
    assert_eq!(ended.stderr.matches("traces cannot be sent").count(), 1, "{}", ended.stderr);

    let refused = ticks(folder.path(), &["--otlp-endpoint", "collector:4318"], &[]);
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("--otlp-endpoint"), "{}", refused.stderr);
    let disabled = [("OTEL_EXPORTER_OTLP_ENDPOINT", nobody), ("OTEL_SDK_DISABLED", "true")];
    let quiet = ticks(folder.path(), &[], &disabled).success();
    assert!(!quiet.stderr.contains("traces"), "{}", quiet.stderr);
}
