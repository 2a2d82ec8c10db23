//! What a stream of a file becomes: Spark's defaults, every key, and which layer wins.

use super::*;
use crate::decode::json::ParseMode;
use crate::model::RecordColumn;

#[test]
fn a_minimal_file_has_sparks_defaults() {
    let stream = one(&file_with("subscribe: a, b,,a", "", ""));
    let kafka = stream.source.kafka().unwrap();
    assert_eq!(kafka.subscription, Subscription::Topics(vec!["a".into(), "b".into()]));
    assert_eq!(kafka.starting, StartingOffsets::Latest);
    assert_eq!(kafka.group_id, GroupId::Prefix("spark-kafka-source".into()));
    assert_eq!(kafka.isolation, Isolation::ReadUncommitted);
    assert_eq!(kafka.max_trigger_delay, Duration::from_secs(900));
    assert_eq!(kafka.poll_timeout, Duration::from_secs(120));
    assert!(kafka.fail_on_data_loss && !kafka.include_headers);
    assert_eq!(stream.source.value, ValueConfig::Raw);
    assert_eq!(stream.trigger, Trigger::AsSoonAsPossible);
    assert_eq!(stream.min_commit_interval, Duration::from_secs(1));
    assert_eq!(stream.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(stream.min_batches_to_retain, 100);
    assert_eq!(stream.checkpoint.as_str(), "file:///work/cp/s");
    let sink = stream.sink.delta().unwrap();
    assert_eq!(sink.url.as_str(), "file:///work/lake/s");
    assert!(!sink.merge_schema && sink.auto_compact.is_none());
}

#[test]
fn a_boolean_or_a_number_that_deletes_is_a_text_only_in_quotes() {
    let no_text = |values: &str| {
        let merge = format!(
            "merge: {{keys: [topic], whenMatched: update, deleteWhen: {{column: key, values: {values}}}}}"
        );
        let stream = one(&file_with("subscribe: t", "", &merge));
        let merge = stream.sink.delta().unwrap().merge.clone().unwrap();
        let WhenMatched::Update(update) = merge.when_matched else { panic!("no update") };
        update.delete_when.unwrap().no_text
    };
    for values in ["[true]", "[d, 'x', False]", "[83]", "[0123]", "[-1.5e3]", "[0x1F]", "true"] {
        assert!(no_text(values).is_some(), "{values}");
    }
    for values in ["['true']", "[\"1\"]", "[Y, no, d, 1_000]", "[1a, +x, inf, 0x]"] {
        assert_eq!(no_text(values), None, "{values}");
    }
}

#[test]
fn every_part_of_a_full_stream_is_read() {
    let yaml = file_with(
        "Assign: {\"t\":[0,1]}\nSTARTINGOFFSETS: {t: {0: 5, 1: -2}}\nkafka.Group.Id: g\nmaxTriggerDelay: 5m\nminOffsetsPerTrigger: 10\nmaxOffsetsPerTrigger: 20\nkafka.isolation.level: read_committed\nkafka.fetch.max.wait.ms: 50\nkafka.metadata.max.age.ms: 1000\nkafka.fetch.queue.backoff.ms: 5",
        "deadLetter: {format: delta, path: /dead}\ntrigger: {processingTime: interval 1 minute}\nmemoryLimit: 1g\nlanes: 2\nconf: {spark.sql.session.timeZone: Europe/Berlin, spark.sql.streaming.minBatchesToRetain: 7}\nstorageOptions: {azure_storage_account_key: \"${file:/run/key}\"}\nrestart: {maxAttempts: 0}\nshutdownTimeout: 5s\noutputMode: Append",
        "partitionBy: [a, b]\nautoCompact: true\nautoVacuum: 1 day\noptions: {mergeschema: TRUE}\ntableProperties: {delta.appendOnly: true}",
    );
    let yaml = yaml.replace(
        "    sink:",
        "      value:\n        format: json\n        schema: a INT, b INT\n        mode: failfast\n        options: {timestampformat: yyyy}\n        keep: [offset, topic]\n    sink:",
    );
    let stream = one(&yaml);
    let kafka = stream.source.kafka().unwrap();
    assert!(matches!(&kafka.subscription, Subscription::Assign(p) if p.len() == 2));
    assert!(
        matches!(&kafka.starting, StartingOffsets::Offsets(o) if o.to_json() == r#"{"t":{"0":5,"1":-2}}"#)
    );
    assert_eq!((kafka.min_offsets_per_trigger, kafka.max_offsets_per_trigger), (Some(10), Some(20)));
    assert_eq!(kafka.max_trigger_delay, Duration::from_secs(300));
    assert_eq!(kafka.group_id, GroupId::Fixed("g".into()));
    assert_eq!(kafka.isolation, Isolation::ReadCommitted);
    let client: Vec<(&str, &str)> = kafka.client.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        client,
        [
            ("bootstrap.servers", "b:9092"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", "50"),
            ("metadata.max.age.ms", "1000"),
            ("security.protocol", "PLAINTEXT"),
            ("topic.metadata.refresh.interval.ms", "1000"),
        ]
    );
    let ValueConfig::Json(json) = &stream.source.value else { panic!("not JSON") };
    assert_eq!((json.mode, json.corrupt_column.as_str()), (ParseMode::FailFast, "_corrupt_record"));
    assert_eq!(json.options, BTreeMap::from([("timestampFormat".into(), "yyyy".into())]));
    assert_eq!(json.keep, [RecordColumn::Offset, RecordColumn::Topic]);
    let sink = stream.sink.delta().unwrap();
    assert_eq!(sink.partition_by, ["a", "b"]);
    assert!(sink.merge_schema && sink.auto_compact == Some(true));
    assert_eq!(sink.auto_vacuum, Some(Duration::from_secs(86_400)));
    assert_eq!(sink.table_properties["delta.appendOnly"], "true");
    assert_eq!(stream.dead_letter.unwrap().url.as_str(), "file:///dead");
    assert_eq!(stream.trigger, Trigger::ProcessingTime(Duration::from_secs(60)));
    assert_eq!(stream.min_commit_interval, Duration::ZERO);
    assert_eq!((stream.memory_limit, stream.lanes), (Some(1 << 30), Some(2)));
    assert_eq!(stream.min_batches_to_retain, 7);
    assert_eq!(stream.conf, BTreeMap::from([("spark.sql.session.timeZone".into(), "Europe/Berlin".into())]));
    assert_eq!(stream.storage.0["azure_storage_account_key"], "k3y");
    assert_eq!(stream.restart.max_attempts, Some(0));
    assert_eq!(stream.shutdown_timeout, Duration::from_secs(5));
}

#[test]
fn whether_the_mode_is_written_is_known() {
    for (mode, given) in [("", false), (", mode: PERMISSIVE", true)] {
        let value = format!("      value: {{format: json, schema: a INT{mode}}}\n    sink:\n");
        let stream = one(&file_with("subscribe: t", "", "").replace("    sink:\n", &value));
        let ValueConfig::Json(json) = stream.source.value else { panic!("no JSON") };
        assert_eq!((json.mode.as_str(), json.mode_given), ("PERMISSIVE", given));
    }
}

#[test]
fn what_has_no_effect_is_warned_of_with_the_reason() {
    let yaml = file_with(
        "subscribe: t\nkafka.max.poll.records: 500\nkafka.sasl.mechanism: PLAIN\nstartingTimestamp: 5\nstartingOffsets: earliest",
        "trigger: availableNow\nminCommitInterval: 1s\nconf: {spark.sql.shuffle.partitions: 8}",
        "",
    );
    assert_eq!(
        load(&yaml).unwrap().warnings,
        [
            "stream s: spark.sql.shuffle.partitions has no effect here: nothing is shuffled",
            "stream s: kafka.max.poll.records has no effect here: records are not polled one list at a time; maxOffsetsPerTrigger bounds a batch",
            "stream s: kafka.sasl.* has no effect here: kafka.security.protocol is PLAINTEXT",
            "stream s: startingOffsets has no effect here: startingTimestamp goes before it",
            "stream s: minCommitInterval has no effect here: a trigger is given",
        ]
    );
}

#[test]
fn options_and_settings_of_spark_set_table_properties_and_those_of_a_cluster_are_warned_of() {
    let conf = "conf: {spark.executor.memory: 8g, spark.databricks.delta.properties.defaults.appendOnly: true, spark.databricks.delta.properties.defaults.checkpointInterval: 20, spark.sql.parquet.compression.codec: gzip, spark.sql.ansi.enabled: false}";
    let sink = "options: {compression: zstd, delta.checkpointInterval: 5, delta.logRetentionDuration: interval 9 days}\ntableProperties: {delta.logRetentionDuration: interval 3 days}";
    let config = load(&file_with("subscribe: t", conf, sink)).unwrap();
    let stream = &config.streams[0];
    let expected = [
        ("delta.appendOnly", "true"),
        ("delta.checkpointInterval", "5"),
        ("delta.logRetentionDuration", "interval 3 days"),
        ("delta.parquet.compression.codec", "zstd"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(stream.sink.delta().unwrap().table_properties, BTreeMap::from(expected));
    assert_eq!(stream.conf, BTreeMap::from([("spark.sql.ansi.enabled".into(), "false".into())]));
    assert_eq!(
        config.warnings,
        ["stream s: spark.executor.memory has no effect here: there is no Spark cluster and no JVM"]
    );
    for (conf, sink, says) in [
        ("conf: {spark.sql.nope: 1}", "", "unknown option spark.sql.nope"),
        (
            "conf: {spark.databricks.delta.properties.defaults.appendOnyl: true}",
            "",
            "did you mean delta.appendOnly?",
        ),
        ("", "options: {compression: brotli}", "expected one of"),
        ("", "options: {delta.appendOnly: yes}", "expected true or false"),
    ] {
        let error = message(&file_with("subscribe: t", conf, sink));
        assert!(error.contains(says), "{conf}{sink}: {error}");
    }
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let yaml = file_with("subscribe: t", "memoryLimit: 1g\nlanes: 1\ntrigger: once", "");
    let mut world = world();
    world.env.extend([("ALLUVIA_MEMORY_LIMIT", "2g"), ("ALLUVIA_LANES", "2")]);
    let flags =
        [Setting::text("--lanes", &["lanes"], "3"), Setting::text("--trigger", &["trigger"], "availableNow")];
    let config = load_in(&world, &yaml, &flags).unwrap();
    let stream = &config.streams[0];
    assert_eq!((stream.memory_limit, stream.lanes), (Some(2 << 30), Some(3)));
    assert_eq!(stream.trigger, Trigger::AvailableNow);
    let error = load_in(&world, &yaml, &[Setting::text("--lanes", &["lanes"], "0")]).unwrap_err();
    assert_eq!(error.to_string(), "--lanes: \"0\": expected a whole number above 0");
    // What a later layer covers must be right all the same.
    let broken = yaml.replace("trigger: once", "trigger: soon");
    let error = load_in(&world, &broken, &flags).unwrap_err().to_string();
    assert!(error.starts_with("s.yaml:14:14: streams[0].trigger: \"soon\": expected"), "{error}");
    world.env.insert("ALLUVIA_MEMORY_LIMIT", "x");
    let error = load_in(&world, &yaml, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ALLUVIA_MEMORY_LIMIT: \"x\": expected a size such as 512 MiB, 1g or 1048576"
    );
}

#[test]
fn shared_options_are_merged_and_the_streams_own_win() {
    let yaml = file_with(
        "<<: &common {subscribe: t, includeHeaders: true, minPartitions: 3}\nincludeHeaders: false",
        "",
        "",
    );
    let stream = one(&yaml);
    let kafka = stream.source.kafka().unwrap();
    assert_eq!((kafka.include_headers, kafka.min_partitions), (false, Some(3)));
}
