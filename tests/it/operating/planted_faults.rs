//! Faults that were planted, looked for where operators look: the status page, the metrics by way of a real Prometheus, the API
//! and the log say the same. And every expression of the dashboard and of the alerts is asked of that Prometheus.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::azure::lake::Lake;
use crate::kafka::faults::numbered;
use crate::kafka::identities::Rig;
use crate::operating::monitoring::{BOUND, Watched, yaml};
use crate::rig::http::get;
use crate::rig::prometheus::Prometheus;
use crate::rig::{Azurite, BlobProxy, Broker, Message, Scheme, browser, delta_digest, skipped, until};

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/alluvia/files/alerts.yaml");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/helm/alluvia/files/dashboard.json");

/// A stream that merges by `id`, with records that are no rows; one that deduplicates behind a watermark.
fn merging_and_deduplicating(broker: &Broker, orders: &str, clicks: &str) -> String {
    let merging = yaml(broker.bootstrap(), orders, "orders", "    lanes: 1\n")
        .replace("path: ./orders }", "path: ./orders, merge: { keys: [id] } }");
    let deduplicating = yaml(broker.bootstrap(), clicks, "clicks", "    lanes: 1\n").replace(
        "schema: 'id INT NOT NULL, name STRING' }",
        "schema: 'id INT, ts TIMESTAMP' }
      watermark: { eventTime: ts, delayThreshold: 10 minutes }
      dropDuplicates: [id, ts]",
    );
    format!("streams:\n{merging}{deduplicating}")
}

fn order(id: i32) -> Message {
    Message::new(format!("{{\"id\":{id}}}")).partition(0)
}

fn click(id: i32, time: &str) -> Message {
    Message::new(format!("{{\"id\":{id},\"ts\":\"2026-01-01T{time}:00Z\"}}")).partition(0)
}

/// What was planted, and what it makes of a stream's totals.
const ORDERS: [(&str, u64); 5] =
    [("inputRows", 123), ("outputRows", 100), ("deadLetters", 11), ("duplicateRows", 12), ("lateRows", 0)];
const CLICKS: [(&str, u64); 5] =
    [("inputRows", 55), ("outputRows", 43), ("deadLetters", 0), ("duplicateRows", 7), ("lateRows", 5)];

/// 100 orders, 12 of them again, in the same batch and in a later one; 7 records that are no JSON, 4 without an id. 42 clicks, 7 of
/// them again; one two hours later, which moves the watermark; then 5 that are late by it.
fn plant(broker: &Broker, orders: &str, clicks: &str, watched: &Watched) {
    let rows = |name: &str, count: u64| {
        watched.until("the planted records", name, |stream| stream["totals"]["inputRows"] == count);
    };
    let no_json = (0..7).map(|_| Message::new("{not json").partition(0));
    let no_id = (0..4).map(|_| Message::new("{\"name\":\"no id\"}").partition(0));
    broker.produce(orders, (0..100).chain(0..5).map(order).chain(no_json).chain(no_id));
    broker.produce(clicks, (0..42).chain(0..7).map(|id| click(id, "10:00")));
    rows("orders", 116);
    rows("clicks", 49);
    broker.produce(orders, (20..27).map(order));
    broker.produce(clicks, [click(0, "12:00")]);
    rows("clicks", 50);
    // The watermark holds from the batch after that on.
    broker.produce(clicks, (100..105).map(|id| click(id, "10:30")));
    rows("orders", 123);
    rows("clicks", 55);
}

/// The metric of each of the totals.
fn metric(total: &str) -> &'static str {
    match total {
        "inputRows" => "alluvia_input_rows_total",
        "outputRows" => "alluvia_output_rows_total",
        "deadLetters" => "alluvia_dead_letters_total",
        "duplicateRows" => "alluvia_duplicate_rows_total",
        "lateRows" => "alluvia_late_rows_total",
        _ => panic!("{total}"),
    }
}

/// The sums of a stream's progress lines in the log.
fn logged(log: &str, stream: &str) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    let lines = log.lines().filter(|line| line.starts_with("{\"event\":\"progress\""));
    for line in lines.map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if line["name"] != stream {
            continue;
        }
        let mut add = |total, count: &Value| {
            let count = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
            *sums.entry(total).or_default() += count;
        };
        add("inputRows", &line["numInputRows"]);
        add("outputRows", &line["sink"]["numOutputRows"]);
        add("deadLetters", &line["alluvia"]["deadLetters"]);
        add("duplicateRows", &line["sink"]["metrics"]["numDuplicateRowsInBatch"]);
        add("duplicateRows", &line["sink"]["metrics"]["numDuplicateRowsInTable"]);
        for operator in line["stateOperators"].as_array().unwrap() {
            add("duplicateRows", &operator["customMetrics"]["numDroppedDuplicateRows"]);
            add("lateRows", &operator["numRowsDroppedByWatermark"]);
        }
    }
    sums
}

#[test]
fn every_expression_of_dashboard_and_alerts_answers_on_a_prometheus_that_scrapes_the_program() {
    let Some(broker) = Broker::shared() else { return };
    let (orders, clicks) = (broker.topic("dashboard-orders", 1), broker.topic("dashboard-clicks", 1));
    let folder = tempfile::tempdir().unwrap();
    let watched = Watched::run(&merging_and_deduplicating(broker, &orders, &clicks), folder.path(), &[]);
    for name in ["orders", "clicks"] {
        watched.until("a running stream", name, |stream| stream["state"] == "running");
    }
    let Some(prometheus) = Prometheus::scraping(&watched.observe, ALERTS) else { return };
    // A rate needs what was there before.
    until("counters at 0", BOUND, || {
        (prometheus.value("sum(alluvia_input_rows_total)") == Some(0.0)).then_some(())
    });
    plant(broker, &orders, &clicks, &watched);
    for (stream, totals) in [("orders", ORDERS), ("clicks", CLICKS)] {
        for (total, count) in totals {
            let expression = format!("{}{{stream=\"{stream}\"}}", metric(total));
            until(&format!("{expression} {count}"), BOUND, || {
                (prometheus.value(&expression) == Some(count as f64)).then_some(())
            });
        }
    }

    let text = std::fs::read_to_string(DASHBOARD).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    let label_of_legend = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let asked = expression.replace("$stream", ".*").replace("$__rate_interval", "1m");
            assert!(!asked.contains('$'), "{asked}: a variable that the dashboard does not have");
            let series =
                until(&asked, BOUND, || Some(prometheus.query(&asked)).filter(|found| !found.is_empty()));
            assert!(series.iter().any(|(_, value)| value.is_finite()), "{asked}: {series:?}");
            // The legend names labels that the series have.
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            for label in label_of_legend.captures_iter(legend) {
                assert!(
                    series.iter().all(|(labels, _)| labels[&label[1]].is_string()),
                    "{legend}: {series:?}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 20, "the dashboard has only {count} expressions");
    // What was planted is seen in the rates.
    for (expression, least) in [
        ("sum(rate(alluvia_rejected_rows_total{reason=\"MALFORMED_RECORD\"}[1m])) * 60", 6.0),
        ("sum(rate(alluvia_duplicate_rows_total[1m])) * 60", 10.0),
        ("sum(rate(alluvia_late_rows_total[1m])) * 60", 3.0),
    ] {
        let value = prometheus.value(expression).unwrap();
        assert!(value > least, "{expression}: {value}");
    }
    let variable = "count by (stream) (alluvia_stream_state)";
    assert_eq!(prometheus.query(variable).len(), 2, "the dashboard's list of streams");

    let rules = until("rules that were evaluated", BOUND, || {
        Some(prometheus.rules()).filter(|rules| rules.iter().all(|(_, health)| health != "unknown"))
    });
    let text = std::fs::read_to_string(ALERTS).unwrap();
    assert_eq!(rules.len(), text.matches("- alert: ").count());
    assert!(rules.iter().all(|(_, health)| health == "ok"), "{rules:?}");
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

/// What a reader of the page sees of a stream.
fn shown<'a>(page: &'a Value, stream: &str) -> &'a Value {
    let streams = page["desktop-light"]["streams"].as_array().unwrap();
    streams
        .iter()
        .find(|shown| shown["name"] == stream)
        .unwrap_or_else(|| panic!("{stream} is not on the page"))
}

#[test]
fn page_metrics_api_and_log_agree_on_planted_faults() {
    if skipped("Chromium and Azurite") {
        return;
    }
    let (Some(mut broker), Some(azurite)) = (Broker::private(), Azurite::shared(Scheme::Http)) else {
        return;
    };
    let [orders, clicks, stalled] = ["orders", "clicks", "stalled"].map(|hint| broker.topic(hint, 1));
    let folder = tempfile::tempdir().unwrap();
    let proxy = BlobProxy::new(azurite);
    let lake = Lake::new(azurite, "stalled").through(&proxy);
    let on_azure = yaml(broker.bootstrap(), &stalled, "stalled", "")
        .replace("path: ./stalled }", "path: ./table }")
        .replace("./stalled_dead", "./letters")
        .replace("./checkpoint_stalled", "./checkpoint");
    let streams = merging_and_deduplicating(&broker, &orders, &clicks) + &lake.moved(&on_azure, "main");
    let watched = Watched::run(&streams, folder.path(), &[]);
    plant(&broker, &orders, &clicks, &watched);
    broker.produce(&stalled, (0..50).map(order));
    watched.until("the first rows", "stalled", |s| s["totals"]["outputRows"] == 50 && s["lag"] == 0);
    let Some(prometheus) = Prometheus::scraping(&watched.observe, ALERTS) else { return };
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted-faults");
    std::fs::create_dir_all(&screenshots).unwrap();
    let page = || browser::page(&format!("http://{}/", watched.observe), &screenshots).unwrap();
    let of = |name: &str, stream: &str| prometheus.value(&format!("{name}{{stream=\"{stream}\"}}"));

    // A store that no longer answers: records wait, and nothing is said to be well.
    proxy.dead(true);
    broker.produce(&stalled, (50..90).map(order));
    let waits = watched.until("waiting records", "stalled", |s| {
        s["lag"] == 40 && s["oldestUncommittedAgeSeconds"].as_f64() > Some(1.0)
    });
    assert_eq!(
        (&waits["totals"]["outputRows"], &waits["status"]["isTriggerActive"]),
        (&50.into(), &true.into())
    );
    until("the same lag in Prometheus", BOUND, || {
        (prometheus.value("sum(alluvia_lag_offsets{stream=\"stalled\"})") == Some(40.0)).then_some(())
    });
    assert!(of("alluvia_oldest_uncommitted_event_age_seconds", "stalled") > Some(0.5));
    let seen = page();
    let stall = &shown(&seen, "stalled")["numbers"];
    assert_eq!((&stall["lag"], &stall["rows"]), (&"40".into(), &"50".into()));
    assert!(Regex::new(r"^\d+ s$").unwrap().is_match(stall["oldest"].as_str().unwrap()), "{stall}");

    // The faults of the other two streams, in every place.
    let log = watched.program.stderr();
    for (stream, totals) in [("orders", ORDERS), ("clicks", CLICKS)] {
        let (api, in_log) = (watched.stream(stream)["totals"].clone(), logged(&log, stream));
        let numbers = &shown(&seen, stream)["numbers"];
        for (total, count) in totals {
            assert_eq!(api[total], count, "API: {stream} {total}");
            assert_eq!(of(metric(total), stream), Some(count as f64), "Prometheus: {stream} {total}");
            assert_eq!(in_log.get(total).copied().unwrap_or(0), count, "log: {stream} {total}");
            let key = match total {
                "outputRows" => "rows",
                "deadLetters" => "rejected",
                "duplicateRows" => "duplicates",
                "lateRows" => "late",
                _ => continue,
            };
            let text = if count == 0 && key != "rejected" { String::new() } else { count.to_string() };
            assert_eq!(numbers[key], text, "page: {stream} {total}");
        }
    }
    let reasons = serde_json::json!({"MALFORMED_RECORD": "7", "NOT_NULL_VIOLATION": "4"});
    assert_eq!(shown(&seen, "orders")["reasons"], reasons);
    for (reason, count) in [("MALFORMED_RECORD", 7.0), ("NOT_NULL_VIOLATION", 4.0)] {
        let rejected = format!("alluvia_rejected_rows_total{{stream=\"orders\",reason=\"{reason}\"}}");
        assert_eq!(prometheus.value(&rejected), Some(count));
        assert!(
            log.lines().any(|line| line.contains("records were rejected") && line.contains(reason)),
            "{log}"
        );
    }

    // It answers again: nothing was lost or doubled by the wait.
    proxy.dead(false);
    watched.until("all rows", "stalled", |s| s["totals"]["outputRows"] == 90 && s["lag"] == 0);
    let rows = lake.digest("main", "table", &["id"]);
    assert_eq!((rows.rows, rows.distinct), (90, 90));
    assert_eq!(delta_digest(&folder.path().join("orders"), &["id"]).rows, 100);

    // A broker that is gone: every stream waits for a restart, and every place says why.
    broker.kill();
    for stream in ["orders", "clicks", "stalled"] {
        watched.until("a restart", stream, |s| s["state"] == "restarting");
    }
    // Between two attempts it waits; during one it is starting.
    let not_running = "sum(alluvia_stream_state{state=~\"restarting|starting\"})";
    until("three restarts in Prometheus", BOUND, || {
        (prometheus.value(not_running) == Some(3.0)).then_some(())
    });
    let ready = get(&watched.observe, "/readyz");
    let attempt = Regex::new(r"(?m)^stream \w+ (waits for a restart: |is starting$)").unwrap();
    assert_eq!((ready.status, attempt.find_iter(&ready.body).count()), (503, 3), "{}", ready.body);
    let seen = page();
    assert_eq!(seen["desktop-light"]["overall"], "↻ 3 of 3 not running yet");
    let log = watched.program.stderr();
    for stream in ["orders", "clicks", "stalled"] {
        let error = watched.stream(stream)["lastError"].clone();
        assert_eq!(error["kind"], "unavailable", "{error}");
        let on_page = shown(&seen, stream);
        assert!(["↻ restarting", "… starting"].map(Value::from).contains(&on_page["state"]), "{on_page}");
        assert!(on_page["error"].as_str().unwrap().contains(" (unavailable): "), "{on_page}");
        assert!(log.contains(&serde_json::to_string(&error["message"]).unwrap()), "{error}");
        let restarts = watched.stream(stream)["totals"]["restarts"].as_f64();
        let counted =
            format!("sum(alluvia_stream_restarts_total{{stream=\"{stream}\",kind=\"unavailable\"}})");
        assert!(
            restarts >= prometheus.value(&counted) && prometheus.value(&counted) >= Some(1.0),
            "{stream}"
        );
    }
    broker.start();
    for stream in ["orders", "clicks", "stalled"] {
        watched.until("a running stream", stream, |s| s["state"] == "running");
    }
    assert_eq!(get(&watched.observe, "/readyz").status, 200);
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}

#[test]
fn a_token_that_expires_is_seen_in_every_place_and_costs_time_only() {
    if skipped("Chromium") {
        return;
    }
    let Some(broker) = Broker::shared() else { return };
    let rig = Rig::start(broker, 10);
    let topic = broker.topic("expired-token", 1);
    let azure = format!("tenantId: tenant, clientId: app, federatedTokenFile: {}", rig.path("federated"));
    let yaml = rig.yaml(&topic, &azure, "{ processingTime: 100 ms }");
    let folder = tempfile::tempdir().unwrap();
    let watched = Watched::run(&yaml, folder.path(), &rig.environment(&[]));
    broker.produce(&topic, numbered("v", 0..20));
    watched.until("the first rows", "identity", |s| s["totals"]["outputRows"] == 20);
    let Some(prometheus) = Prometheus::scraping(&watched.observe, ALERTS) else { return };

    // Entra ID gives no token any more, until the one that is shown to the broker has ended and it asks for another.
    let (secret, away) = (rig.path("secret"), rig.path("away"));
    std::fs::rename(&secret, &away).unwrap();
    let failed = until("a stream without a token", BOUND, || {
        let log = watched.program.stderr();
        assert!(!log.contains("ended with an error"), "{log}");
        Some(watched.stream("identity")).filter(|s| s["state"] == "restarting")
    });
    broker.produce(&topic, numbered("w", 0..30));
    let error = &failed["lastError"];
    assert!(error["message"].as_str().unwrap().contains("token"), "{error}");
    until("a token that has expired in Prometheus", BOUND, || {
        // Also while the stream waits for its next start: the alert must not end when the outage begins.
        let left = "min(alluvia_token_expiry_timestamp_seconds) - time()";
        prometheus.value(left).filter(|seconds| *seconds < 0.0)
    });
    until("failed renewals in Prometheus", BOUND, || {
        prometheus.value("max(alluvia_token_renewal_failures_total)").filter(|failures| *failures > 0.0)
    });
    until("the state in Prometheus", BOUND, || {
        let not_running = "sum(alluvia_stream_state{state=~\"restarting|starting\"})";
        (prometheus.value(not_running) == Some(1.0)).then_some(())
    });
    let ready = get(&watched.observe, "/readyz");
    assert!(ready.status == 503 && ready.body.contains("stream identity"), "{}", ready.body);
    let screenshots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("expired-token");
    std::fs::create_dir_all(&screenshots).unwrap();
    let page = browser::page(&format!("http://{}/", watched.observe), &screenshots).unwrap();
    let on_page = shown(&page, "identity");
    assert!(["↻ restarting", "… starting"].map(Value::from).contains(&on_page["state"]), "{on_page}");
    assert!(on_page["error"].as_str().unwrap().contains("token"), "{on_page}");
    let log = watched.program.stderr();
    assert!(log.contains("could not be renewed") && log.contains("started again after a pause"), "{log}");

    std::fs::rename(&away, &secret).unwrap();
    let back = watched.until("a running stream", "identity", |s| s["totals"]["outputRows"] == 50);
    assert_eq!((&back["state"], &back["lag"]), (&"running".into(), &0.into()));
    assert_eq!(delta_digest(&folder.path().join("table"), &["topic", "partition", "offset"]).rows, 50);
    watched.program.terminate();
    watched.program.wait(BOUND).success();
}
