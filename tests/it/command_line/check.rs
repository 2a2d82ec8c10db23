//! `alluvia check`: what a run would meet, said before, and nothing written.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Message};

const BOUND: Duration = Duration::from_secs(60);

fn yaml(bootstrap: &str, topic: &str, schema: &str) -> String {
    format!(
        "streams:
  - name: checked
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{bootstrap}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}' }}
    sink: {{ format: delta, path: ./lake/table }}
    deadLetter: {{ format: delta, path: ./lake/dead }}
    checkpointLocation: ./checkpoints/checked
"
    )
}

/// The exit code and what was said, as JSON.
fn check(yaml: &str, folder: &Path) -> (i32, Value) {
    std::fs::write(folder.join("stream.yaml"), yaml).unwrap();
    let ended = Alluvia::start(["check", "stream.yaml", "--output", "json"], folder, &[]).wait(BOUND);
    let said = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", ended.stdout, ended.stderr));
    (ended.code(), said)
}

/// The names of the checks that failed, with what is wrong and what mends it.
fn wrong(said: &Value) -> Vec<(String, String)> {
    let checks = said["streams"][0]["checks"].as_array().unwrap();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    failed
        .map(|check| {
            (check["check"].as_str().unwrap().to_owned(), format!("{} / {}", check["error"], check["hint"]))
        })
        .collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_stream_that_would_start_is_well_and_nothing_is_left_behind() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("check", 2);
    broker.produce(&topic, [Message::new("{}")]);
    let (code, said) = check(&yaml(broker.bootstrap(), &topic, "a INT"), folder.path());
    assert_eq!((code, &said["ok"], wrong(&said)), (0, &true.into(), vec![]), "{said}");
    assert_eq!(files(folder.path()), ["stream.yaml"]);
    let text = Alluvia::start(["check", "stream.yaml"], folder.path(), &[]).wait(BOUND).success();
    assert!(
        text.stdout.contains("ok      source")
            && text.stdout.contains("2 partitions, 1 offset from where a new stream starts"),
        "{}",
        text.stdout
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lake"), "a file where a folder must be").unwrap();
    let (code, said) = check(&yaml("127.0.0.1:1", "t", "a INT, b TEXT"), folder.path());
    assert_eq!((code, &said["ok"]), (2, &false.into()));
    let config = said["config"].to_string();
    assert!(
        config.contains("stream.yaml:6") && config.contains("TEXT") && config.contains("STRING"),
        "{said}"
    );
    let (code, said) = check(&yaml("127.0.0.1:1", "t", "a INT"), folder.path());
    let wrong = wrong(&said);
    let steps: Vec<&str> = wrong.iter().map(|(step, _)| step.as_str()).collect();
    assert_eq!(steps[..3], ["tcp", "table", "deadLetter"], "{said}");
    assert!(
        wrong[0].1.contains("127.0.0.1:1") && wrong[0].1.contains("kafka.bootstrap.servers"),
        "{wrong:?}"
    );
    assert!(wrong[1].1.contains("a file is in its way"), "{wrong:?}");
    assert_eq!((code, &said["exitCode"]), (3, &3.into()));
    let (code, said) = check("streams: [ { name: x, sorce: 1 } ]", folder.path());
    assert_eq!((code, &said["ok"]), (2, &false.into()));
    assert!(said["config"]["error"].as_str().unwrap().contains("sorce"), "{said}");
}

#[test]
fn a_topic_that_is_not_there_and_a_broker_that_does_not_answer_have_their_own_codes() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = check(&yaml(broker.bootstrap(), "no-such-topic", "a INT"), folder.path());
    assert_eq!((code, wrong(&said).len()), (2, 1), "{said}");
    assert!(wrong(&said)[0].1.contains("no-such-topic"), "{said}");
    let (code, said) = check(&yaml("127.0.0.1:1", "t", "a INT"), folder.path());
    assert_eq!((code, wrong(&said).len()), (3, 1), "{said}");
    assert_eq!(files(folder.path()), ["stream.yaml"]);
}

#[test]
fn a_login_that_is_refused_is_the_sources_fault() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = yaml(broker.fact("/bootstrap/eventhubs"), "t", "a INT").replace(
        "startingOffsets: earliest",
        &format!(
            "kafka.security.protocol: SASL_SSL, kafka.sasl.mechanism: PLAIN, kafka.ssl.ca.location: '{}', \
             kafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"hunter2-wrong\";'",
            broker.fact("/ca")
        ),
    );
    let (code, said) = check(&text, folder.path());
    assert_eq!(code, 2, "{said}");
    let text = said.to_string();
    assert!(wrong(&said)[0].0 == "login" && !text.contains("hunter2"), "{text}");
}

#[test]
fn tables_checkpoints_and_owners_that_stop_a_run_stop_the_check() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("check-used", 1);
    broker.produce(&topic, [Message::new(r#"{"a":1}"#)]);
    let good = yaml(broker.bootstrap(), &topic, "a INT");
    let once = |text: &str| format!("{text}    trigger: availableNow\n");
    Alluvia::run(&once(&good), folder.path()).wait(BOUND).success();
    let before = (
        files(&folder.path().join("lake/table/_delta_log")),
        files(&folder.path().join("checkpoints/checked/offsets")),
    );
    assert_eq!(check(&good, folder.path()).0, 0);

    let step = |text: &str, code: i32, step: &str, says: &str| {
        let (found, said) = check(text, folder.path());
        assert_eq!(found, code, "{said}");
        let wrong = wrong(&said);
        assert!(wrong.iter().any(|(at, what)| at == step && what.contains(says)), "no {says} in {said}");
    };
    step(&good.replace("a INT", "a BOOLEAN"), 2, "table", "column a is BOOLEAN in the stream but INT");
    step(&good.replace("a INT", "a INT, b INT"), 2, "table", "sink.options.mergeSchema");
    let by_time = good
        .replace("./lake/table }", "./lake/new, partitionBy: [at] }")
        .replace("a INT", "a INT, at TIMESTAMP");
    let by_time = by_time.replace("checkpoints/checked", "checkpoints/new");
    let (code, said) = check(&by_time, folder.path());
    assert!(code == 0 && said.to_string().contains("partitioned by at, a TIMESTAMP"), "{said}");
    // One that is cast is well, and told: each record might be rejected.
    let (code, said) = check(&good.replace("a INT", "a STRING"), folder.path());
    let cast =
        "; column a is STRING in the stream and cast to INT; a record whose value does not fit is rejected";
    assert!(code == 0 && said.to_string().contains(cast), "{said}");
    step(
        &good
            .replace("./lake/table }", "./lake/table, partitionBy: [topic] }")
            .replace("'a INT'", "'a INT', keep: [topic]"),
        2,
        "table",
        "partition",
    );
    let other = good
        .replace("name: checked", "name: rows")
        .replace("./lake/table", "./lake/rows")
        .replace("checkpoints/checked", "checkpoints/rows");
    Alluvia::run(&once(&other), folder.path()).wait(BOUND).success();
    step(&good.replace("./lake/dead", "./lake/rows"), 2, "deadLetter", "not a table of dead letters");
    step(&good.replace("name: checked", "name: other"), 2, "checkpoint", "belongs to stream checked");
    step(&good.replace("./lake/table", "./lake/other"), 7, "checkpoint", "there is no table at");
    std::fs::rename(folder.path().join("checkpoints/checked/offsets"), folder.path().join("offsets"))
        .unwrap();
    step(&good, 7, "checkpoint", "offset log");
    std::fs::rename(folder.path().join("offsets"), folder.path().join("checkpoints/checked/offsets"))
        .unwrap();

    let named = [("ALLUVIA_LOG", "debug"), ("ALLUVIA_OWNER", "lake/events/job-1")];
    let running = Alluvia::run_with(&good, folder.path(), &named);
    running.wait_for("decided what to do first", BOUND);
    step(&good, 5, "owner", "is run by lake/events/job-1 (process");
    // In the pod that runs the stream a check is about the next start of that pod.
    let inside = Alluvia::start(["check", "stream.yaml"], folder.path(), &named[1..]).wait(BOUND).success();
    assert!(inside.stdout.contains("a start would take the stream over"), "{}", inside.stdout);
    // The check of a release is content with its jobs, and with those of no other release.
    let under = |name: &str| {
        Alluvia::start(["check", "stream.yaml"], folder.path(), &[("ALLUVIA_OWNER", name)]).wait(BOUND)
    };
    let release = under("lake/events").success();
    assert!(release.stdout.contains("a start with --wait-for-lease waits"), "{}", release.stdout);
    assert_eq!(under("lake/event").code(), 5);
    running.terminate();
    running.wait(BOUND).success();
    assert_eq!(check(&good, folder.path()).0, 0);
    let after = (
        files(&folder.path().join("lake/table/_delta_log")),
        files(&folder.path().join("checkpoints/checked/offsets")),
    );
    assert_eq!(before, after, "a check wrote something");
}

#[test]
fn what_the_checkpoint_goes_on_with_is_looked_for_at_the_broker() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("check-stands", 1);
    broker.produce(&topic, (0..10).map(|n| Message::new(format!("{{\"a\":{n}}}"))));
    let good = yaml(broker.bootstrap(), &topic, "a INT");
    let once = |text: &str| format!("{text}    trigger: availableNow\n");
    Alluvia::run(&once(&good), folder.path()).wait(BOUND).success();
    broker.produce(&topic, (0..4).map(|n| Message::new(format!("{{\"a\":{n}}}"))));
    let found = |said: &Value| {
        let checks = said["streams"][0]["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == "source").unwrap()["detail"].to_string()
    };
    let (code, said) = check(&good, folder.path());
    assert_eq!(code, 0, "{said}");
    assert!(found(&said).contains("1 partition, 4 offsets to read after micro-batch 0"), "{said}");
    broker.delete_records(&topic, 0, rdkafka::Offset::Offset(12));
    let aged_out = check(&good, folder.path());
    assert_eq!(aged_out.0, 6, "{}", aged_out.1);
    assert_eq!(wrong(&aged_out.1)[0].0, "source");
    assert!(wrong(&aged_out.1)[0].1.contains("COULD_NOT_READ_OFFSET_RANGE"), "{}", aged_out.1);
    assert_eq!(Alluvia::run(&once(&good), folder.path()).wait(BOUND).code(), 6, "as a run");
    let tolerant = |text: &str| text.replace("startingOffsets:", "failOnDataLoss: false, startingOffsets:");
    assert_eq!(check(&tolerant(&good), folder.path()).0, 0);
    Alluvia::run(&once(&tolerant(&good)), folder.path()).wait(BOUND).success();
    broker.delete_topic(&topic);
    broker.create_topic(&topic, 1, &[]);
    broker.produce(&topic, (0..20).map(|n| Message::new(format!("{{\"a\":{n}}}"))));
    let anew = check(&good, folder.path());
    assert_eq!(anew.0, 6, "{}", anew.1);
    assert!(wrong(&anew.1)[0].1.contains("TOPIC_RECREATED"), "{}", anew.1);
    assert_eq!(Alluvia::run(&once(&good), folder.path()).wait(BOUND).code(), 6, "as a run");
}

#[test]
fn a_start_behind_the_end_of_a_partition_is_told_as_a_run_tells_it() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = broker.topic("check-beyond", 2);
    broker.produce(&topic, (0..2).map(|n| Message::new(format!("{{\"a\":{n}}}")).partition(1)));
    let from = |offset: u64, more: &str| {
        let starts = format!("{more}startingOffsets: '{{\"{topic}\":{{\"0\":0,\"1\":{offset}}}}}'");
        let text = yaml(broker.bootstrap(), &topic, "a INT").replace("startingOffsets: earliest", &starts);
        check(&text, folder.path())
    };
    assert_eq!(from(2, "").0, 0, "at the end");
    let (code, said) = from(999, "");
    assert_eq!((code, wrong(&said)[0].0.as_str()), (6, "source"), "{said}");
    for part in
        ["PARTITION_OFFSET_CHANGED", &format!("{topic}-1 ends at offset 2"), "offset 999", "startingOffsets"]
    {
        assert!(wrong(&said)[0].1.contains(part), "{part} is missing in: {said}");
    }
    assert_eq!(from(999, "failOnDataLoss: false, ").0, 0, "the loss is recorded");
}

#[test]
fn a_folder_in_which_no_table_can_be_made_is_told_as_a_run_tells_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("check-foreign", 1);
    let good = yaml(broker.bootstrap(), &topic, "a INT") + "    trigger: availableNow\n";
    for (step, table) in [("table", "lake/table"), ("deadLetter", "lake/dead")] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join(table).join("_delta_log");
        std::fs::create_dir_all(&log).unwrap();
        std::fs::write(log.join("notes.txt"), "no version of a table").unwrap();
        let (code, said) = check(&good, folder.path());
        assert_eq!((code, wrong(&said)[0].0.as_str()), (2, step), "{said}");
        let ended = Alluvia::run(&good, folder.path()).wait(BOUND);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let why = "cannot be created: its _delta_log holds files, but no version of a table";
        assert!(wrong(&said)[0].1.contains(why) && ended.stderr.contains(why), "{said}\n{}", ended.stderr);
        assert_eq!(files(&log), ["notes.txt"]);
        assert!(!folder.path().join("lake/table/_delta_log/00000000000000000000.json").exists());
    }
}

#[test]
fn every_folder_that_a_run_writes_to_is_tried() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("check-probes", 1);
    let good = yaml(broker.bootstrap(), &topic, "a INT");
    for place in ["alluvia", "alluvia/lease", "offsets", "commits"] {
        let folder = tempfile::tempdir().unwrap();
        // A file where a folder must be: not even root can write below it.
        let path = folder.path().join("checkpoints/checked").join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        let (code, said) = check(&good, folder.path());
        assert_eq!((code, wrong(&said)[0].0.as_str()), (2, "checkpoint"), "{place}: {said}");
        assert!(wrong(&said)[0].1.contains(place), "{place}: {said}");
    }
}
