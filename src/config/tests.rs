//! What whole configurations become: values, messages with places, and YAML again.
#![allow(clippy::too_many_lines, reason = "tables of cases")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::{GroupId, Isolation, StartingOffsets, Subscription};
use super::*;
use crate::model::{Credential, Secret};

mod hostile;
mod identity;

/// A world of a few variables and files.
#[derive(Default)]
struct World {
    env: BTreeMap<&'static str, &'static str>,
    files: BTreeMap<&'static str, &'static str>,
}

impl Lookup for World {
    fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).map(|v| (*v).to_owned())
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        Ok((*text).to_owned())
    }

    fn current_dir(&self) -> io::Result<PathBuf> {
        Ok("/work".into())
    }
}

fn world() -> World {
    World {
        env: [("USER", "bob"), ("PASSWORD", "hunter2"), ("BOOTSTRAP_SERVERS", "b:9093")].into(),
        files: [("/run/key", "k3y\n"), ("schema.ddl", "a INT,\nb STRING\n")].into(),
    }
}

fn load_in(world: &World, yaml: &str, flags: &[Setting]) -> crate::model::Result<Config> {
    Config::from_texts(&[("s.yaml".into(), yaml.into())], flags, world)
}

fn load(yaml: &str) -> crate::model::Result<Config> {
    load_in(&world(), yaml, &[])
}

/// A stream file whose options, stream keys and sink keys have more lines.
fn file_with(options: &str, stream: &str, sink: &str) -> String {
    let lines = |indent: &str, text: &str| -> String {
        text.lines().map(|line| format!("{indent}{line}\n")).collect()
    };
    format!(
        "streams:\n  - name: s\n    source:\n      format: kafka\n      options:\n{}    sink:\n      format: delta\n      path: lake/s\n{}    checkpointLocation: cp/s\n{}",
        lines("        ", &format!("kafka.bootstrap.servers: b:9092\n{options}")),
        lines("      ", sink),
        lines("    ", stream),
    )
}

fn one(yaml: &str) -> StreamConfig {
    let mut config = load(yaml).unwrap_or_else(|e| panic!("{yaml}\n{e}"));
    assert_eq!(config.streams.len(), 1);
    config.streams.remove(0)
}

fn message(yaml: &str) -> String {
    load(yaml).err().map_or_else(|| panic!("this loads:\n{yaml}"), |error| error.to_string())
}

fn application(tenant: &str, client: &str, secret: &str) -> Credential {
    Credential::ClientSecret {
        tenant_id: tenant.into(),
        client_id: client.into(),
        secret: Secret::Text(secret.into()),
    }
}

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
    assert_eq!(json.keep, [KafkaColumn::Offset, KafkaColumn::Topic]);
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
fn sasl_and_tls_become_librdkafkas_properties() {
    let jaas = "subscribe: t\nkafka.security.protocol: sasl_ssl\nkafka.sasl.mechanism: SCRAM-SHA-512\nkafka.sasl.jaas.config: 'kafkashaded.org.apache.kafka.common.security.scram.ScramLoginModule required username=\"${env:USER}\" password=\"${env:PASSWORD}\";'\nkafka.ssl.truststore.type: PEM\nkafka.ssl.truststore.location: /ca\nkafka.ssl.keystore.location: /me.p12\nkafka.ssl.keystore.password: ${file:/run/key}\nkafka.ssl.endpoint.identification.algorithm: ''";
    let stream = one(&file_with(jaas, "", ""));
    let client = &stream.source.kafka().unwrap().client;
    let expected = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "bob"),
        ("sasl.password", "hunter2"),
        ("ssl.ca.location", "/ca"),
        ("ssl.keystore.location", "/me.p12"),
        ("ssl.keystore.password", "k3y"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ];
    for (name, value) in expected {
        assert_eq!(client.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(client.len(), expected.len() + 1, "{:?}", client.keys());
    let shown = format!("{stream:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("k3y"), "{shown}");
}

#[test]
fn the_databricks_block_for_entra_id_names_the_application_and_shows_no_secret() {
    let block = "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: OAUTHBEARER\nkafka.sasl.jaas.config: 'kafkashaded.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"app\" clientSecret=\"${env:PASSWORD}\" scope=\"https://ns.servicebus.windows.net/.default\" ssl.protocol=\"SSL\";'\nkafka.sasl.oauthbearer.token.endpoint.url: https://login.microsoft.com/tenant/oauth2/v2.0/token\nkafka.sasl.login.callback.handler.class: kafkashaded.org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler";
    let stream = one(&file_with(block, "", ""));
    let login = stream.source.kafka().unwrap().security.tokens.as_ref().expect("tokens log in");
    assert_eq!(login.identity.authority, "https://login.microsoft.com");
    assert_eq!(login.identity.credential, application("tenant", "app", "hunter2"));
    assert_eq!(login.scope, "https://ns.servicebus.windows.net/.default");
    let printed = load(&file_with(block, "", "")).unwrap().to_yaml();
    assert!(!format!("{stream:?}{printed}").contains("hunter2"), "{printed}");
    let literal = file_with(&block.replace("${env:PASSWORD}", "hunter2"), "", "");
    assert!(!load(&literal).unwrap().to_yaml().contains("hunter2"));
}

fn event_hubs(options: &str) -> String {
    file_with("", "", "").replace("format: kafka", "format: eventhubs").replace(
        "        kafka.bootstrap.servers: b:9092\n",
        &options.lines().map(|line| format!("        {line}\n")).collect::<String>(),
    )
}

#[test]
fn an_event_hub_needs_its_connection_string_and_no_more() {
    let mut world = world();
    world.env.insert("EH", "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=k;SharedAccessKey=hunter2=;EntityPath=hub-1");
    let config = load_in(
        &world,
        &event_hubs(
            "connectionString: ${env:EH}\nconsumerGroup: $Default\neventhubs.maxEventsPerTrigger: 500",
        ),
        &[],
    );
    let config = config.unwrap();
    let kafka = config.streams[0].source.kafka().unwrap();
    let expected = [
        ("bootstrap.servers", "ns.servicebus.windows.net:9093"),
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "$ConnectionString"),
        ("socket.keepalive.enable", "true"),
        ("metadata.max.age.ms", "180000"),
        ("topic.metadata.refresh.interval.ms", "180000"),
        ("connections.max.idle.ms", "180000"),
        ("socket.timeout.ms", "60000"),
    ];
    for (name, value) in expected {
        assert_eq!(kafka.client.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(kafka.client["sasl.password"], world.env["EH"]);
    assert_eq!(kafka.subscription, Subscription::Topics(vec!["hub-1".into()]));
    assert_eq!(
        (&kafka.group_id, kafka.max_offsets_per_trigger),
        (&GroupId::Fixed("$Default".into()), Some(500))
    );
    let printed = config.to_yaml();
    assert!(!printed.contains("hunter2") && printed.contains("connectionString: ${env:EH}"), "{printed}");
    assert_eq!(load_in(&world, &printed, &[]).unwrap().streams, config.streams);
    // What is given for Kafka wins, and the names of azure-event-hubs-spark are known.
    let literal = event_hubs(&format!(
        "eventhubs.connectionString: '{}'\neventhubs.name: other\nkafka.connections.max.idle.ms: 5",
        world.env["EH"]
    ));
    let config = load_in(&world, &literal, &[]).unwrap();
    let kafka = config.streams[0].source.kafka().unwrap();
    assert_eq!(kafka.client["connections.max.idle.ms"], "5");
    assert_eq!(kafka.subscription, Subscription::Topics(vec!["other".into()]));
    assert!(!config.to_yaml().contains("hunter2"), "{}", config.to_yaml());
}

#[test]
fn an_event_hub_logs_in_with_entra_id_in_every_cloud() {
    let options = "namespace: NS\neventHub: hub\ntenantId: t\nclientId: c\nclientSecret: ${env:PASSWORD}";
    let clouds = [
        ("ns", "ns.servicebus.windows.net", "https://login.microsoftonline.com"),
        (
            "ns.servicebus.usgovcloudapi.net",
            "ns.servicebus.usgovcloudapi.net",
            "https://login.microsoftonline.us",
        ),
        (
            "ns.servicebus.chinacloudapi.cn",
            "ns.servicebus.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
        ),
    ];
    for (namespace, host, authority) in clouds {
        let stream = one(&event_hubs(&options.replace("NS", namespace)));
        let kafka = stream.source.kafka().unwrap();
        assert_eq!(kafka.client["bootstrap.servers"], format!("{host}:9093"));
        let login = kafka.security.tokens.as_ref().expect("tokens log in");
        assert_eq!(login.identity.authority, authority);
        assert_eq!(login.identity.credential, application("t", "c", "hunter2"));
        assert_eq!(login.scope, format!("https://{host}/.default"));
    }
    let cases = [
        ("eventHub: h", "the option connectionString is missing"),
        ("connectionString: hunter2", "expected Endpoint=sb://"),
        ("namespace: n\neventHub: h\nclientId: c\nclientSecret: hunter2", "tenantId is missing"),
        ("namespace: n\nconnectionString: x\neventHub: h", "exclude each other"),
        (
            "eventhubs.startingPosition: '{}'\nconnectionString: x",
            "eventhubs.startingPosition is refused (use startingOffsets",
        ),
    ];
    for (options, says) in cases {
        let message = message(&event_hubs(options));
        assert!(message.contains(says) && !message.contains("hunter2"), "no `{says}` in {message}");
    }
}

#[test]
fn credentials_that_refer_to_a_file_are_read_again() {
    let mut world = world();
    world.files.insert("/run/pw", "one\n");
    let line = "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.ssl.key.password: ${file:/run/pw}\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"${file:/run/pw}\";'";
    let config = load_in(&world, &file_with(line, "", ""), &[]).unwrap();
    let kafka = config.streams[0].source.kafka().unwrap();
    assert!(kafka.credentials_may_change());
    world.files.insert("/run/pw", "two\n");
    let renewed = kafka.renewed(&world).unwrap();
    for name in ["sasl.password", "ssl.key.password"] {
        assert_eq!((kafka.client[name].as_str(), renewed.client[name].as_str()), ("one", "two"), "{name}");
    }
    world.files.remove("/run/pw");
    assert!(kafka.renewed(&world).unwrap_err().contains("/run/pw"));
    assert!(!one(&file_with("subscribe: t", "", "")).source.kafka().unwrap().credentials_may_change());
}

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
            "s.yaml:12:15: streams[0].trigger.continuous: continuous is not available in this version (Continuous processing is not there yet: use processingTime)",
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
        ("", "table: t", "s.yaml:11:14: streams[0].sink.table: table and path exclude each other"),
    ];
    for (stream, sink, expected) in cases {
        assert_eq!(message(&file_with("subscribe: t", stream, sink)), expected, "{stream}{sink}");
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
        (file("a INT, A INT", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "stands twice"),
        (file("a INT, topic INT", ""), "s.yaml:8:52: streams[0].source.value.schema: ", "stands twice"),
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
        ("a: &a [*a]", "s.yaml:1:8: this alias stands inside the value it names"),
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
fn the_printed_configuration_loads_to_the_same_one() {
    let yaml = format!(
        "warehouse: ${{env:USER}}/lake\n{}",
        file_with(
            "subscribe: t\nstartingOffsets: {t: {0: 1}}\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"${env:PASSWORD}\";'",
            "memoryLimit: 1g\ntrigger: {processingTime: 5 seconds}\nstorageOptions: {azure_storage_account_key: \"${file:/run/key}\"}\nconf: {}",
            "",
        )
        .replace("path: lake/s", "table: s")
    );
    let flags = [Setting::list(
        "--partition-by",
        &["sink", "partitionBy"],
        vec!["topic".into(), "timestampType".into()],
    )];
    let config = load_in(&world(), &yaml, &flags).unwrap();
    let printed = config.to_yaml();
    assert!(
        !printed.contains("hunter2") && !printed.contains("k3y") && !printed.contains("masked"),
        "{printed}"
    );
    assert!(printed.contains("path: ${env:USER}/lake/s\n"), "{printed}");
    let again = load(&printed).unwrap_or_else(|e| panic!("{printed}\n{e}"));
    assert_eq!(again.streams, config.streams);
    assert_eq!(again.to_yaml(), printed);
}

#[test]
fn literal_secrets_are_masked_in_print() {
    let yaml = file_with(
        "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";'\nkafka.ssl.key.password: x${env:USER}hunter2",
        "storageOptions: {azure_storage_sas_key: hunter2, azure_storage_master_key: hunter2, not_known_yet: hunter2, proxy_url: 'http://u:hunter2@p'}",
        "tableProperties: {team: hunter2}",
    );
    let printed = load(&yaml).unwrap().to_yaml();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(printed.matches("\"********\"").count(), 7, "{printed}");
    assert!(printed.starts_with("# Secrets are masked"), "{printed}");
}

#[test]
fn the_examples_of_the_repository_load_and_read_back() {
    let mut world = world();
    world.env.insert(
        "EVENT_HUBS_CONNECTION_STRING",
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=y",
    );
    let set = [("KAFKA_BOOTSTRAP_SERVERS", "b:9092"), ("KAFKA_USERNAME", "u"), ("KAFKA_PASSWORD", "p")];
    world.env.extend([("EVENT_HUBS_NAMESPACE", "ns"), ("STORAGE_ACCOUNT", "acc")]);
    world.env.extend([
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/t"),
    ]);
    world.env.extend(set);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let in_folder = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = in_folder(&folder).chain(in_folder(&folder.join("examples"))).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let config = load_in(&world, &text, &[]).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", file.display());
        let again = load_in(&world, &config.to_yaml(), &[]).unwrap();
        assert_eq!(again.streams, config.streams, "{}", file.display());
    }
}

#[test]
fn whole_stream_files_on_the_pages_are_read() {
    // As in a pod with workload identity.
    let env =
        ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"].map(|name| (name, "given"));
    let pod = World { env: env.into(), ..world() };
    let mut count = 0;
    for page in ["README.md", "docs/azure.md", "docs/from-spark.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !block.starts_with("streams:\n") {
                continue;
            }
            let read = load_in(&pod, block, &[]);
            assert!(read.is_ok(), "{page}:\n{block}\n{}", read.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} files");
}
