//! The status page in a real browser: what it shows is what the API says, for every reader.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::operating::monitoring::{BOUND, Watched, one, yaml};
use crate::rig::http::get;
use crate::rig::{Broker, Message, browser, skipped};

/// Where screenshots go: kept after the test, for whoever wants to see them.
fn screenshots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A number as the page writes it.
fn grouped(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), alluvia::model::numbers::grouped)
}

#[test]
fn every_reader_of_the_page_sees_what_the_api_says() {
    if skipped("Chromium") {
        return;
    }
    let Some(broker) = Broker::shared() else { return };
    let (topic, folder) = (broker.topic("page", 3), tempfile::tempdir().unwrap());
    let failing = yaml(broker.bootstrap(), "no-such-topic", "broken", "");
    let watched = Watched::run(&format!("{}{failing}", one(broker, &topic)), folder.path(), &[]);
    // Several micro-batches, so that the charts have something to draw.
    watched.until("a running stream", "orders", |s| s["state"] == "running");
    for round in 0..12_u64 {
        let batches = watched.stream("orders")["totals"]["batches"].as_u64().unwrap();
        let good = (0..100 * (round + 1))
            .map(|id| Message::new(format!("{{\"id\":{id}}}")).partition((id % 3) as i32));
        broker.produce(&topic, good);
        if round % 3 == 0 {
            broker.produce(&topic, (0..=round).map(|_| Message::new("{").partition(1)));
            broker.produce(&topic, [Message::new("{\"name\":\"x\"}").partition(0)]);
        }
        watched.until("another batch", "orders", |s| s["totals"]["batches"].as_u64() > Some(batches));
    }
    let records = 7800 + 22 + 4;
    watched.until("all records", "orders", |s| s["totals"]["inputRows"] == records && s["lag"] == 0);
    watched.until("a failed stream", "broken", |s| s["state"] == "failed");

    let kept = screenshots();
    let Some(seen) = browser::page(&format!("http://{}/", watched.observe), &kept) else { return };
    let (orders, broken) = (watched.stream("orders"), watched.stream("broken"));
    for reader in ["desktop-light", "desktop-dark", "phone-light", "phone-dark"] {
        let page = &seen[reader];
        assert_eq!((&page["complaints"], &page["elsewhere"]), (&Value::Array(vec![]), &Value::Array(vec![])));
        assert_eq!(page["overall"], "✕ 1 of 2 failed");
        assert!(
            page["overflow"].as_i64() <= Some(0),
            "{reader}: wider than the screen by {}",
            page["overflow"]
        );
        let contrast = &page["contrast"];
        assert!(contrast["ratio"].as_f64() >= Some(4.5), "{reader}: {contrast} is hard to read");
        assert_eq!(page["unnamed"], 0, "{reader}: a screen reader has no name for it");
        println!("{reader}: loaded in {} ms", page["milliseconds"]);
        let shown = &page["streams"][0];
        assert_eq!((&shown["heading"], &shown["state"]), (&"orders".into(), &"● running".into()));
        assert_eq!(shown["error"], Value::Null);
        let totals = &orders["totals"];
        assert_eq!(shown["numbers"]["rows"], grouped(&totals["outputRows"]).as_str());
        assert_eq!(shown["numbers"]["rejected"], grouped(&totals["deadLetters"]).as_str());
        assert_eq!(shown["numbers"]["lag"], "0");
        assert_eq!(shown["numbers"]["oldest"], "0 s");
        let batch = format!("{} / {}", grouped(&orders["batchId"]), grouped(&orders["tableVersion"]));
        assert_eq!(shown["numbers"]["batch"], batch.as_str());
        assert_eq!(
            shown["reasons"],
            serde_json::json!({"MALFORMED_RECORD": "22", "NOT_NULL_VIOLATION": "4"})
        );
        assert_eq!(shown["drawn"], 4, "{shown}");
        let newest = get(&watched.observe, "/api/v1/streams/orders/history").json();
        let duration = newest.as_array().unwrap().last().unwrap()["batchDuration"].as_u64().unwrap();
        let label = shown["charts"][2].as_str().unwrap();
        assert!(label.contains(&format!(": {duration} ms last")), "{label}, and the API says {duration}");
        let failed = &page["streams"][1];
        assert_eq!(failed["state"], "✕ failed");
        let error = broken["lastError"]["message"].as_str().unwrap();
        assert!(failed["error"].as_str().unwrap().ends_with(&format!("(config): {error}")), "{failed}");
    }
    for partition in seen["tables"][0].as_array().unwrap() {
        assert_eq!((&partition[0], &partition[4]), (&topic.as_str().into(), &"0".into()));
    }
    let batches = seen["tables"][1].as_array().unwrap().len() as u64;
    assert_eq!(Some(batches), orders["totals"]["batches"].as_u64());
    let keyboard = &seen["keyboard"];
    assert!(keyboard["chart"].as_str().unwrap().contains("batch "), "{keyboard}");
    for stop in keyboard["stops"].as_array().unwrap() {
        assert!(stop["outline"] != "none" && stop["text"] != "", "{stop}: focus is not seen or has no name");
    }
    println!("screenshots: {}", kept.display());
    watched.program.terminate();
    watched.program.wait(BOUND);
}
