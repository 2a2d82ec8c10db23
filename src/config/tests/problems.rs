//! What is wrong in a file is said with its place, its key and what to change.

use super::*;

#[test]
fn problems_of_options_name_place_key_and_remedy() {
    let cases = [
        (
            "subscirbe: t",
            "2 problems in the configuration\n  s.yaml:7:9: streams[0].source.options.subscirbe: unknown option subscirbe (did you mean subscribe?)\n  s.yaml:6:9: streams[0].source.options: no topics are named (give exactly one of subscribe, subscribePattern and assign)",
        ),
        (
            "subscribe: t\nassign: '{\"t\":[0]}'",
            "s.yaml:6:9: streams[0].source.options: subscribe and assign exclude each other (give exactly one of subscribe, subscribePattern and assign)",
        ),
        (
            "subscribe: t\nbootstrap.servers: x",
            "s.yaml:8:9: streams[0].source.options.bootstrap.servers: unknown option bootstrap.servers (did you mean kafka.bootstrap.servers?)",
        ),
        (
            "subscribe: t\nkafka.fetch.min.byte: 1",
            "s.yaml:8:9: streams[0].source.options.kafka.fetch.min.byte: unknown Kafka property kafka.fetch.min.byte (did you mean kafka.fetch.min.bytes?)",
        ),
        (
            "subscribe: t\nkafka.auto.offset.reset: earliest",
            "s.yaml:8:9: streams[0].source.options.kafka.auto.offset.reset: kafka.auto.offset.reset is refused (where to start is decided by startingOffsets, and what to do about lost offsets by failOnDataLoss)",
        ),
        (
            "subscribe: t\nendingOffsets: latest",
            "s.yaml:8:9: streams[0].source.options.endingOffsets: endingOffsets is refused (it is for batch queries; use trigger availableNow to stop at the end there is now)",
        ),
        (
            "subscribe: t\nSubscribe: u",
            "s.yaml:8:9: streams[0].source.options.Subscribe: the option subscribe is given twice; its case does not matter",
        ),
        ("subscribe: t\nsubscribe: u", "s.yaml:8:9: the key subscribe is given twice, first at s.yaml:7:9"),
        (
            "subscribe: t u",
            "s.yaml:7:20: streams[0].source.options.subscribe: \"t u\": a topic's name has letters, digits, . _ and -, at most 249; for a pattern use subscribePattern",
        ),
        (
            "subscribePattern: '(?=a)b'",
            "s.yaml:7:27: streams[0].source.options.subscribePattern: \"(?=a)b\": the pattern cannot be used: look-around, including look-ahead and look-behind, is not supported",
        ),
        (
            "subscribe: t\nstartingOffsets: somewhere",
            "s.yaml:8:26: streams[0].source.options.startingOffsets: \"somewhere\": expected earliest, latest or {\"topic\":{\"0\":23,\"1\":-2}}",
        ),
        (
            "subscribe: t\nstartingOffsets: '{\"u\":{\"0\":1}}'",
            "s.yaml:8:26: streams[0].source.options.startingOffsets: it lacks topic t, which is subscribed (name every partition that is read, no other)",
        ),
        (
            "assign: {t: [0]}\nstartingOffsets: {t: {0: 1, 1: 1}}",
            "s.yaml:8:26: streams[0].source.options.startingOffsets: it names partition t-1, which is not assigned (name every partition that is read, no other)",
        ),
        (
            "subscribe: t\nstartingOffsets: {t: {0: -3}}",
            "s.yaml:8:26: streams[0].source.options.startingOffsets: offset -3 of partition t-0 means nothing; -1 is latest, -2 earliest",
        ),
        (
            "subscribe: t\nminOffsetsPerTrigger: 5\nmaxOffsetsPerTrigger: 4",
            "s.yaml:8:31: streams[0].source.options.minOffsetsPerTrigger: minOffsetsPerTrigger 5 is more than maxOffsetsPerTrigger 4",
        ),
        (
            "subscribe: t\nmaxOffsetsPerTrigger: 1e6",
            "s.yaml:8:31: streams[0].source.options.maxOffsetsPerTrigger: \"1e6\": expected a whole number above 0",
        ),
        (
            "subscribe: t\nfailOnDataLoss: maybe",
            "s.yaml:8:25: streams[0].source.options.failOnDataLoss: \"maybe\": expected true or false",
        ),
        (
            "subscribe: ${env:NOPE}",
            "s.yaml:7:20: streams[0].source.options.subscribe: the environment variable NOPE is not set",
        ),
        (
            "subscribe: '{{secrets/scope/topic}}'",
            "s.yaml:7:20: streams[0].source.options.subscribe: the secret cannot be looked up (secret scopes are Databricks'; give ${env:NAME} or ${file:/path})",
        ),
        (
            "subscribe: '********'",
            "s.yaml:7:20: streams[0].source.options.subscribe: this is what --print-config writes in place of a secret, not the secret (write ${env:NAME} or ${file:/path})",
        ),
        (
            "subscribe: t\nkafka.security.protocol: ${env:NOPE}\nkafka.sasl.mechanism: PLAIN",
            "s.yaml:8:34: streams[0].source.options.kafka.security.protocol: the environment variable NOPE is not set",
        ),
        (
            "subscribe: t ${env:PASSWORD}",
            "s.yaml:7:20: streams[0].source.options.subscribe: t ${env:PASSWORD}: a topic's name has letters, digits, . _ and -, at most 249; for a pattern use subscribePattern",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL",
            "s.yaml:6:9: streams[0].source.options: kafka.security.protocol is SASL_SSL but kafka.sasl.mechanism is missing (Kafka's default, GSSAPI, is not built in; give PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER)",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: GSSAPI",
            "s.yaml:9:31: streams[0].source.options.kafka.sasl.mechanism: \"GSSAPI\": Kerberos is not built in; use PLAIN, SCRAM-SHA-512 or OAUTHBEARER",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: AWS_MSK_IAM",
            "s.yaml:9:31: streams[0].source.options.kafka.sasl.mechanism: \"AWS_MSK_IAM\": MSK IAM is not available; use SCRAM-SHA-512 with a SCRAM user",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: OAUTHBEARER",
            "s.yaml:6:9: streams[0].source.options: kafka.sasl.mechanism is OAUTHBEARER but there are no credentials (add kafka.sasl.jaas.config; without it tokens are those of the block azure, for *.servicebus.* only)",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: OAUTHBEARER\nkafka.sasl.jaas.config: 'kafkashaded.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"c\" clientSecret=\"hunter2\";'",
            "s.yaml:10:33: streams[0].source.options.kafka.sasl.jaas.config: the JAAS line has no scope (add scope=\"https://NAMESPACE.servicebus.windows.net/.default\")",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.login.callback.handler.class: com.example.Own\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";'",
            "s.yaml:10:50: streams[0].source.options.kafka.sasl.login.callback.handler.class: the login callback handler cannot be used (Java classes cannot run here; only OAuthBearerLoginCallbackHandler with OAUTHBEARER is known)",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN",
            "s.yaml:6:9: streams[0].source.options: kafka.sasl.mechanism is PLAIN but there are no credentials (add kafka.sasl.jaas.config)",
        ),
        (
            "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.jaas.config: org.apache.kafka.common.security.plain.PlainLoginModule required username=u password=hunter2",
            "s.yaml:10:33: streams[0].source.options.kafka.sasl.jaas.config: the JAAS line does not end with ;",
        ),
        (
            "subscribe: t\nkafka.ssl.truststore.location: /etc/trust.jks",
            "s.yaml:8:40: streams[0].source.options.kafka.ssl.truststore.location: a JKS or PKCS12 trust store cannot be read (turn it into PEM with keytool -list -rfc -keystore FILE > ca.pem, then set kafka.ssl.truststore.type PEM and this location)",
        ),
        (
            "subscribe: t\nmaxTriggerDelay: 1 month",
            "s.yaml:8:26: streams[0].source.options.maxTriggerDelay: \"1 month\": Doesn't support month or year interval: 1 month",
        ),
        (
            "subscribe: [a, b]",
            "s.yaml:7:20: streams[0].source.options.subscribe: expected a single value, found a list",
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(message(&file_with(options, "", "")), expected, "{options}");
    }
}

#[test]
fn problems_of_streams_and_sinks_name_place_key_and_remedy() {
    let cases = [
        (
            "views: [{name: v, sql: SELECT 1}]",
            "",
            "s.yaml:12:12: streams[0].views: views is there, but no sql that uses it (add sql)",
        ),
        (
            "outputMode: upsert",
            "",
            "s.yaml:12:17: streams[0].outputMode: \"upsert\": expected append, update or complete",
        ),
        (
            "trigger: {continuous: 1 second}",
            "",
            "s.yaml:12:15: streams[0].trigger.continuous: continuous is not available in this version (Continuous processing is not supported yet: use processingTime)",
        ),
        (
            "trigger: {once: true, availableNow: true}",
            "",
            "s.yaml:12:14: streams[0].trigger: only one of processingTime, availableNow and once can be given",
        ),
        (
            "trigger: {once: false}",
            "",
            "s.yaml:12:21: streams[0].trigger.once: \"false\": it can only be true; remove the trigger instead",
        ),
        (
            "trigger: sometimes",
            "",
            "s.yaml:12:14: streams[0].trigger: \"sometimes\": expected availableNow, once, asSoonAsPossible or an interval such as 5 seconds",
        ),
        ("trigger: {}", "", "s.yaml:12:14: streams[0].trigger: the trigger is empty"),
        (
            "trigger: {processingTime: 2 years}",
            "",
            "s.yaml:12:31: streams[0].trigger.processingTime: \"2 years\": Doesn't support month or year interval: 2 years",
        ),
        (
            "chekpointLocation: x",
            "",
            "s.yaml:12:5: streams[0].chekpointLocation: unknown key chekpointLocation (did you mean checkpointLocation?)",
        ),
        (
            "deadLetter: {format: delta, path: lake/s/dead}",
            "",
            "s.yaml:11:25: streams[0].deadLetter.path: the dead-letter table is in the folder of the sink's table, where VACUUM would delete it (put it elsewhere)",
        ),
        (
            "sql: SELECT 1\ntables: {d: {format: csv, path: d}}",
            "",
            "s.yaml:13:17: streams[0].tables.d: the key schema is missing: csv and json files name no types",
        ),
        (
            "memoryLimit: 1k",
            "",
            "s.yaml:12:18: streams[0].memoryLimit: \"1k\": the least that a stream works in is 32 MiB",
        ),
        (
            "memoryLimit: lots",
            "",
            "s.yaml:12:18: streams[0].memoryLimit: \"lots\": expected a size such as 512 MiB, 1g or 1048576",
        ),
        (
            "",
            "merge: {keys: [topic], exceptColumns: [op, OP]}",
            "s.yaml:11:50: streams[0].sink.merge.exceptColumns[1]: \"OP\": the column is named twice",
        ),
        ("", "merge: {keys: []}", "s.yaml:11:14: streams[0].sink.merge.keys: a merge needs at least one key"),
        (
            "",
            "partitionBy: [topic, topic]",
            "s.yaml:11:28: streams[0].sink.partitionBy[1]: \"topic\": the column is named twice",
        ),
        (
            "",
            "options: {replaceWhere: x}",
            "s.yaml:11:17: streams[0].sink.options.replaceWhere: replaceWhere is refused (a stream appends; remove it)",
        ),
        (
            "",
            "mergeSchema: true",
            "s.yaml:11:7: streams[0].sink.mergeSchema: unknown key mergeSchema (it is an option: write it under options)",
        ),
        (
            "deadLetter: {format: delta, path: ~/dead}",
            "",
            "s.yaml:12:39: streams[0].deadLetter.path: \"~/dead\": ~ is not the home folder here; write ${env:HOME}",
        ),
        (
            "",
            "merge: {keys: [topic], indexFolder: ~/index}",
            "s.yaml:11:43: streams[0].sink.merge.indexFolder: \"~/index\": ~ is not the home folder here; write ${env:HOME}",
        ),
        ("", "table: t", "s.yaml:11:14: streams[0].sink.table: table and path exclude each other"),
    ];
    for (stream, sink, expected) in cases {
        assert_eq!(message(&file_with("subscribe: t", stream, sink)), expected, "{stream}{sink}");
    }
}

#[test]
fn a_schema_is_ddl_or_sparks_json_or_a_file_of_either() {
    let json = r#"{"type":"struct","fields":[{"name":"a","type":"integer","nullable":true,"metadata":{}},{"name":"b","type":"string","nullable":true,"metadata":{}}]}"#;
    let mut world = world();
    world.files.insert("schema.json", json);
    let file = |schema: &str| {
        file_with("subscribe: t", "", "").replace(
            "    sink:\n",
            &format!("      value: {{format: json, schema: '{schema}'}}\n    sink:\n"),
        )
    };
    for (schema, ddl) in
        [(json, "a INT, b STRING"), ("@schema.json", "a INT, b STRING"), ("@schema.ddl", "a INT,\nb STRING")]
    {
        let config = load_in(&world, &file(schema), &[]).unwrap_or_else(|e| panic!("{schema}: {e}"));
        let ValueConfig::Json(value) = &config.streams[0].source.value else { panic!("{schema}") };
        assert_eq!(value.schema, ddl, "{schema}");
        let table = format!("sql: SELECT 1\ntables: {{d: {{format: csv, path: d, schema: '{schema}'}}}}");
        let config = load_in(&world, &file_with("subscribe: t", &table, ""), &[]).unwrap();
        assert_eq!(config.streams[0].tables[0].schema.as_deref(), Some(ddl), "{schema}");
    }
    let place = "s.yaml:8:37: streams[0].source.value.schema: ";
    let cases = [
        (r#"{"type":"struct"}"#, ""),
        ("{a INT}", "schema is not JSON"),
        ("@nope.ddl", "cannot read nope.ddl: entity not found"),
    ];
    for (schema, says) in cases {
        let error = message(&file(schema));
        assert!(error.starts_with(place) && error.contains(says), "{schema}: {error}");
    }
}

#[test]
fn schemas_and_partition_columns_are_read_with_the_file() {
    let file = |schema: &str, sink: &str| {
        file_with("subscribe: t", "", sink).replace(
            "    sink:\n",
            &format!("      value: {{format: json, keep: [topic], schema: \"{schema}\"}}\n    sink:\n"),
        )
    };
    assert_eq!(one(&file("a INT, b STRING", "partitionBy: [topic, b]")).name, "s");
    let cases = [
        (file("a INT, temperature DUBLE", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "DUBLE"),
        (file("a INT, b VOID", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "column b is VOID"),
        (file("a INT, A INT", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "appears twice"),
        (file("a INT, topic INT", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "appears twice"),
        (file(" ", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "the schema is empty"),
        (
            file("a INT", "partitionBy: [a, nope]"),
            "s.yaml:12:24: streams[0].sink.partitionBy[1]: sink.partitionBy names \"nope\"",
            "(the columns are a, topic)",
        ),
        (
            file("a INT", "partitionBy: [a, topic]"),
            "s.yaml:12:20: streams[0].sink.partitionBy: sink.partitionBy names every column",
            "",
        ),
    ];
    for (yaml, place, says) in cases {
        let error = message(&yaml);
        assert!(error.starts_with(place) && error.contains(says), "{place}{says}: {error}");
    }
}

#[test]
fn problems_of_the_file_itself_are_told() {
    let cases = [
        ("", "s.yaml:1:1: the file is empty"),
        ("streams: {}", "s.yaml:1:10: streams: expected a list, found a mapping; each stream begins with -"),
        ("streams: []", "s.yaml:1:10: streams: the list is empty"),
        (
            "stream: []",
            "2 problems in the configuration\n  s.yaml:1:1: stream: unknown key stream (did you mean streams?)\n  s.yaml:1:1: the key streams is missing",
        ),
        ("a: [", "s.yaml:1:4: this is not YAML: unclosed bracket '['"),
        (
            "streams: !x []",
            "2 problems in the configuration\n  s.yaml:1:13: the tag !x means nothing here\n  s.yaml:1:13: streams: the list is empty",
        ),
        (
            "streams: []\n---\nstreams: []",
            "s.yaml:2:1: a second document begins here; one file holds one document",
        ),
        ("a: &a [*a]", "s.yaml:1:8: this alias refers to a value that contains it"),
    ];
    for (yaml, expected) in cases {
        assert_eq!(message(yaml), expected, "{yaml}");
    }
    let bomb: String = (1..20)
        .map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(",")))
        .fold("a0: &a0 [x,x]\n".to_owned(), |all, line| all + &line);
    assert!(message(&bomb).contains("the file expands to more than 50000 values"));
}

#[test]
fn a_name_of_three_parts_is_a_folder_and_that_is_said() {
    let named = |table: &str| {
        let yaml = file_with("subscribe: t", "", "").replace("path: lake/s", &format!("table: {table}"));
        load(&format!("warehouse: wh\n{yaml}")).unwrap()
    };
    let config = named("main.bronze.live");
    assert_eq!(
        config.warnings,
        [
            "streams[0].sink.table: there is no catalog; \"main.bronze.live\" is the name of a folder in the warehouse, not CATALOG.SCHEMA.TABLE"
        ]
    );
    assert_eq!(config.streams[0].sink.delta().unwrap().url.path(), "/work/wh/main.bronze.live");
    assert_eq!(named("bronze.live").warnings, Vec::<String>::new());
}

#[test]
fn a_variable_in_the_way_of_a_shell_is_not_taken_in_silence() {
    let yaml = file_with("subscribe: t", "", "").replace("b:9092", "b:9092,$KAFKA:9092");
    assert_eq!(
        message(&yaml),
        "s.yaml:6:34: streams[0].source.options.kafka.bootstrap.servers: \"b:9092,$KAFKA:9092\": $KAFKA is not looked up; write ${env:KAFKA}"
    );
    let yaml = file_with("subscribe: t\nkafka.client.id: $CLIENT\nkafka.ssl.key.password: $hunter2", "", "");
    let warnings = load(&yaml).unwrap().warnings.join("\n");
    assert!(
        warnings.contains("kafka.client.id: $CLIENT is taken as it is written; for the environment variable write ${env:CLIENT}"),
        "{warnings}"
    );
    assert!(
        warnings.contains("kafka.ssl.key.password: $NAME is taken") && !warnings.contains("hunter2"),
        "{warnings}"
    );
}

#[test]
fn what_streams_share_stands_under_a_key_that_begins_with_x() {
    let yaml = file_with("subscribe: t\n<<: *common", "", "");
    let config = load(&format!("x-common: &common {{kafka.client.id: c}}\n{yaml}")).unwrap();
    let SourceFormat::Kafka(kafka) = &config.streams[0].source.format else { panic!("not Kafka") };
    assert_eq!(kafka.client.get("client.id").map(String::as_str), Some("c"));
    let nested = message(&file_with("subscribe: t", "x-common: 1", ""));
    assert!(nested.contains("unknown key x-common"), "{nested}");
}

#[test]
fn many_problems_come_at_once_and_none_shows_a_secret() {
    let yaml = "streams:\n  - name: a/b\n    source:\n      format: parquet\n      options:\n        kafka.sasl.password: hunter2 ${env:PASSWORD}\n        kafka.security.protocol: TLS\n      watermark: {}\n    sink: {format: postgres, path: 's3://u:hunter2@x/y'}\n";
    let message = message(yaml);
    assert_eq!(
        message.lines().map(|l| l.trim().split(" (").next().unwrap()).collect::<Vec<_>>(),
        [
            "10 problems in the configuration",
            "s.yaml:2:5: streams[0]: the key checkpointLocation is missing",
            "s.yaml:2:11: streams[0].name: \"a/b\": a stream's name has 1 to 128 characters, no slash, and does not begin with a dot",
            "s.yaml:4:15: streams[0].source.format: format \"parquet\" is not available in this version",
            "s.yaml:6:9: streams[0].source.options: the option kafka.bootstrap.servers is missing",
            "s.yaml:7:34: streams[0].source.options.kafka.security.protocol: \"TLS\": expected PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
            "s.yaml:6:9: streams[0].source.options: no topics are named",
            "s.yaml:8:18: streams[0].source.watermark: the key eventTime is missing",
            "s.yaml:8:18: streams[0].source.watermark: the key delayThreshold is missing",
            "s.yaml:9:20: streams[0].sink.format: format \"postgres\" is not available in this version",
            "s.yaml:9:36: streams[0].sink.path: the given value: s3 is not available in this version; use a local path or an abfss URL",
        ],
        "{message}"
    );
    assert!(!message.contains("hunter2"));
}

#[test]
fn names_and_checkpoints_are_used_once_over_all_files() {
    let yaml = file_with("subscribe: t", "", "");
    let twice = [("a.yaml".to_owned(), yaml.clone()), ("b.yaml".to_owned(), yaml)];
    let error = Config::from_texts(&twice, &[], &world()).unwrap_err().to_string();
    assert!(
        error.contains("b.yaml:2:5: streams[0].name: the stream name s is taken by the one at a.yaml:2:5"),
        "{error}"
    );
    assert!(error.contains("the checkpoint is that of stream s at a.yaml:2:5"), "{error}");
}

#[test]
fn a_checkpoint_in_the_tables_folder_needs_a_name_that_vacuum_spares() {
    let at = |place: &str| file_with("subscribe: t", "", "").replace("cp/s", place);
    one(&at("lake/s/_checkpoints/s"));
    one(&at("lake/s2"));
    for place in ["lake/s", "lake/s/checkpoint", "./lake/./s/"] {
        let message = message(&at(place));
        assert!(
            message.contains("where VACUUM would delete it (put it under _checkpoints there"),
            "{message}"
        );
    }
}

#[test]
fn a_checkpoint_or_a_table_in_the_log_of_a_table_is_refused() {
    let at = |place: &str| file_with("subscribe: t", "", "").replace("cp/s", place);
    one(&at("lake/s/_delta_logs"));
    for place in ["lake/s/_delta_log", "./lake/s/_delta_log/cp/s2", "lake/other/./_delta_log/x"] {
        let message = message(&at(place));
        assert!(
            message.contains("streams[0].checkpointLocation: the checkpoint is in the _delta_log of a table"),
            "{message}"
        );
    }
    let message = message(&at("cp/s").replace("path: lake/s", "path: lake/s/_delta_log"));
    assert!(message.contains("streams[0].sink: the sink table is in the _delta_log of a table"), "{message}");
}
