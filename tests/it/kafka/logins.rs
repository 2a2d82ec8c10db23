//! Logins at a real broker, as Spark's and Databricks' users write them: each works, and what is wrong with one is said
//! at the start with its cause, never with its secret.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use alluvia::config::{Config, KafkaOptions, ProcessLookup};
use alluvia::model::{Error, Kind, Result};
use alluvia::source::kafka::{KafkaSource, LANE_MEMORY_BYTES, LaneReader};
use alluvia::storage::credentials::{AccessToken, TokenProvider};

use crate::kafka::faults::{numbered, table_rows};
use crate::rig::{Alluvia, Broker, Entra, Message, tokens, until};

const BOUND: Duration = Duration::from_secs(60);
/// A start that cannot succeed says so within this time.
const START_BOUND: Duration = Duration::from_secs(20);

/// The Kafka options of a stream file with these lines.
fn options(bootstrap: &str, topic: &str, lines: &[String]) -> KafkaOptions {
    let yaml = yaml(bootstrap, topic, lines, "availableNow");
    let config = Config::from_texts(&[("s.yaml".into(), yaml)], &[], &ProcessLookup).unwrap();
    config.streams.into_iter().next().unwrap().source.kafka().unwrap().clone()
}

fn yaml(bootstrap: &str, topic: &str, lines: &[String], trigger: &str) -> String {
    let lines: String = lines.iter().map(|line| format!("        {line}\n")).collect();
    format!(
        "streams:
  - name: login
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{bootstrap}'
        subscribe: '{topic}'
        startingOffsets: earliest
{lines}    sink: {{ format: delta, path: ./table }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
    restart: {{ backoff: 100 ms }}
"
    )
}

/// How many records a source with these options reads.
fn read(options: &KafkaOptions) -> Result<u64> {
    let source = KafkaSource::open(options)?;
    let start = source.initial_offsets()?;
    let ranges = start.ranges_to(&source.latest(&start)?.end)?;
    let mut reader = LaneReader::open(options, LANE_MEMORY_BYTES, 1)?;
    Ok(reader.read(&ranges, &AtomicBool::new(false), |_| Ok(()))?.records)
}

/// The options of a connection whose server is known by the rig's CA.
pub fn tls(broker: &Broker) -> Vec<String> {
    let ca = broker.fact("/ca");
    vec![
        "kafka.security.protocol: SSL".into(),
        "kafka.ssl.truststore.type: PEM".into(),
        format!("kafka.ssl.truststore.location: '{ca}'"),
    ]
}

/// More options behind others.
pub fn with(mut lines: Vec<String>, more: &[String]) -> Vec<String> {
    lines.extend_from_slice(more);
    lines
}

/// The options of a login with SCRAM.
pub fn scram(protocol: &str, mechanism: &str, password: &str) -> Vec<String> {
    vec![
        format!("kafka.security.protocol: {protocol}"),
        format!("kafka.sasl.mechanism: {mechanism}"),
        format!(
            "kafka.sasl.jaas.config: 'kafkashaded.org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{password}\";'"
        ),
    ]
}

/// The options of a login with PLAIN over TLS, as an Event Hubs namespace has it.
pub fn plain(broker: &Broker, password: &str) -> Vec<String> {
    vec![
        "kafka.security.protocol: SASL_SSL".into(),
        "kafka.sasl.mechanism: PLAIN".into(),
        format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca")),
        format!(
            "kafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"{password}\";'"
        ),
    ]
}

#[test]
fn every_login_reads_the_topic() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("logins-all", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let fact = |pointer: &str| broker.fact(pointer).to_owned();
    let ca = format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca"));
    let cases = [
        ("plaintext", Vec::new()),
        ("tls", tls(broker)),
        (
            "mtls",
            with(tls(broker), &[format!("kafka.ssl.keystore.location: '{}'", fact("/client/keystore"))]),
        ),
        (
            "mtls",
            with(
                tls(broker),
                &[
                    format!("kafka.ssl.certificate.location: '{}'", fact("/client/certificate")),
                    format!("kafka.ssl.key.location: '{}'", fact("/client/encryptedKey")),
                    format!("kafka.ssl.key.password: '{}'", fact("/client/password")),
                ],
            ),
        ),
        (
            "mtls",
            with(
                tls(broker),
                &[
                    format!("kafka.ssl.keystore.location: '{}'", fact("/client/p12")),
                    "kafka.ssl.keystore.type: PKCS12".into(),
                    format!("kafka.ssl.keystore.password: '{}'", fact("/client/password")),
                ],
            ),
        ),
        ("eventhubs", plain(broker, &fact("/eventhubs/password"))),
        ("scram", scram("SASL_PLAINTEXT", "SCRAM-SHA-256", &fact("/scram/password"))),
        ("scram", scram("SASL_PLAINTEXT", "SCRAM-SHA-512", &fact("/scram/password"))),
        ("scramtls", with(scram("SASL_SSL", "SCRAM-SHA-512", &fact("/scram/password")), &[ca])),
    ];
    for (at, (listener, lines)) in cases.iter().enumerate() {
        let bootstrap = broker.fact(&format!("/bootstrap/{listener}"));
        let records =
            read(&options(bootstrap, &topic, lines)).unwrap_or_else(|e| panic!("{at} {listener}: {e}"));
        assert_eq!(records, 5, "{at} {listener}");
    }
}

#[test]
fn a_wrong_password_ca_or_certificate_stops_the_start_and_names_the_cause() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("logins-wrong", 1);
    let fact = |pointer: &str| broker.fact(pointer).to_owned();
    let secret = "hunter2-is-not-the-password";
    let other_ca =
        ["kafka.security.protocol: SSL".into(), format!("kafka.ssl.ca.location: '{}'", fact("/otherCa"))];
    let cases: [(&str, Vec<String>, &str); 6] = [
        ("tls", other_ca.to_vec(), "certificate verify failed"),
        ("tls", vec!["kafka.security.protocol: SSL".into()], "certificate verify failed"),
        ("mtls", tls(broker), "bad certificate"),
        ("eventhubs", plain(broker, secret), "Invalid username or password"),
        ("scram", scram("SASL_PLAINTEXT", "SCRAM-SHA-512", secret), "credentials"),
        (
            "mtls",
            with(
                tls(broker),
                &[
                    format!("kafka.ssl.keystore.location: '{}'", fact("/client/p12")),
                    format!("kafka.ssl.keystore.password: '{secret}'"),
                ],
            ),
            "ssl.keystore",
        ),
    ];
    for (listener, lines, cause) in cases {
        let started = Instant::now();
        let bootstrap = broker.fact(&format!("/bootstrap/{listener}"));
        let error = KafkaSource::open(&options(bootstrap, &topic, &lines)).err().expect("it must not open");
        assert!(started.elapsed() < START_BOUND, "{listener}: {:?}", started.elapsed());
        assert_eq!(error.kind(), Kind::Config, "{listener}: {error}");
        assert!(error.to_string().contains(cause), "{listener}: no `{cause}` in {error}");
        assert!(!error.to_string().contains(secret), "{listener}: {error}");
    }
}

fn event_hub(broker: &Broker, topic: &str, more: &[&str]) -> String {
    let lines = [
        format!("connectionString: '{}'", broker.fact("/eventhubs/password")),
        format!("eventHub: '{topic}'"),
        format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca")),
    ];
    let lines = [lines.to_vec(), more.iter().map(|line| (*line).to_owned()).collect()].concat();
    yaml(broker.fact("/bootstrap/eventhubs"), topic, &lines, "{ processingTime: 100 ms }")
        .replace("format: kafka", "format: eventhubs")
        .replace(&format!("        subscribe: '{topic}'\n"), "")
}

#[test]
fn an_event_hub_is_read_by_its_connection_string_and_throttling_is_in_the_progress() {
    let Some(broker) = Broker::private() else { return };
    let topic = broker.topic("hub", 1);
    broker.produce(&topic, (0..60).map(|_| Message::new(vec![b'x'; 10_000]).partition(0)));
    let of = ["configs", "--alter", "--entity-type", "clients", "--entity-name", "throttled"];
    let set = broker.tool(&[&of[..], &["--add-config", "consumer_byte_rate=100000"]].concat());
    set.unwrap_or_else(|said| panic!("the quota could not be set: {said}"));
    let folder = tempfile::tempdir().unwrap();
    let more =
        ["kafka.client.id: throttled", "kafka.statistics.interval.ms: 100", "maxOffsetsPerTrigger: 10"];
    let program = Alluvia::run(&event_hub(&broker, &topic, &more), folder.path());
    rows_reach(folder.path(), 60);
    until("a throttle time in the progress", BOUND, || {
        broker.produce(&topic, (0..10).map(|_| Message::new(vec![b'x'; 10_000]).partition(0)));
        let said = program.stderr();
        let times = said.split("\"throttleTimeMs\":\"").skip(1);
        times.filter_map(|rest| rest.split('"').next()?.parse::<u64>().ok()).any(|ms| ms > 0).then_some(())
    });
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert!(!ended.stderr.contains("cmlnLXNlY3JldA"), "{}", ended.stderr);
}

/// A provider of tokens that the rig signs.
struct Signed {
    broker: &'static Broker,
    key: &'static str,
    audience: &'static str,
    life: Duration,
}

impl TokenProvider for Signed {
    fn principal(&self) -> &str {
        "rig"
    }

    fn token(&self) -> Result<AccessToken> {
        let (text, expires_at) = tokens::signed(self.broker, self.key, self.audience, self.life);
        Ok(AccessToken { text, expires_at })
    }
}

fn token_options(broker: &Broker, topic: &str) -> KafkaOptions {
    let plain = plain(broker, "x");
    let mut options = options(broker.fact("/bootstrap/tokens"), topic, &plain);
    options.client.insert("sasl.mechanism".into(), "OAUTHBEARER".into());
    options.client.remove("sasl.username");
    options.client.remove("sasl.password");
    options
}

#[test]
fn a_signed_token_logs_in_and_a_forged_one_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("tokens", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let audience = broker.fact("/tokens/audience");
    let open = |key, audience| {
        let provider = Signed { broker, key, audience, life: Duration::from_secs(60) };
        KafkaSource::open_with_tokens_for_tests(&token_options(broker, &topic), Arc::new(provider))
    };
    let source = open("/tokens/key", audience).unwrap();
    assert_eq!(source.partitions().len(), 1);
    for (key, audience) in [("/tokens/forgedKey", audience), ("/tokens/key", "https://other.example")] {
        let started = Instant::now();
        let error: Error = open(key, audience).err().expect("the broker must refuse it");
        assert!(started.elapsed() < START_BOUND, "{:?}", started.elapsed());
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("refuses the login"), "{error}");
    }
}

/// The options of a login with tokens of an application, as Databricks writes them.
pub fn databricks(broker: &Broker, entra: &Entra, secret: &Path) -> Vec<String> {
    vec![
        "kafka.security.protocol: SASL_SSL".into(),
        "kafka.sasl.mechanism: OAUTHBEARER".into(),
        format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca")),
        format!(
            "kafka.sasl.jaas.config: 'kafkashaded.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required clientId=\"app\" clientSecret=\"${{file:{}}}\" scope=\"{}/.default\" ssl.protocol=\"SSL\";'",
            secret.display(),
            broker.fact("/tokens/audience"),
        ),
        format!("kafka.sasl.oauthbearer.token.endpoint.url: {}/tenant/oauth2/v2.0/token", entra.url),
        "kafka.sasl.login.callback.handler.class: kafkashaded.org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler".into(),
    ]
}

/// Waits until the table in `folder` has so many rows.
pub fn rows_reach(folder: &Path, rows: u64) {
    until(&format!("{rows} rows"), BOUND, || {
        (folder.join("table").exists() && table_rows(folder) == rows).then_some(())
    });
}

#[test]
fn a_token_of_entra_id_is_renewed_under_a_running_stream_and_an_endpoint_away_costs_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("entra", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cr3t-of-the-app\n").unwrap();
    let mut entra = Entra::start(broker, &secret, 16);
    let lines = databricks(broker, &entra, &secret);
    let yaml = yaml(broker.fact("/bootstrap/tokens"), &topic, &lines, "{ processingTime: 100 ms }");
    let environment = [
        ("AZURE_AUTHORITY_HOST", entra.url.as_str()),
        ("SSL_CERT_FILE", broker.fact("/ca")),
        ("ALLUVIA_LOG", "debug"),
    ];
    let program = Alluvia::run_with(&yaml, folder.path(), &environment);
    entra.wait_for("200");
    rows_reach(folder.path(), 5);
    // The endpoint is away when the token is to be renewed, and back before it ends.
    let away = folder.path().join("away");
    std::fs::rename(&secret, &away).unwrap();
    entra.wait_for("503");
    std::fs::rename(&away, &secret).unwrap();
    entra.wait_for("200");
    // Longer than the first token held: what comes now was fetched with a later one.
    std::thread::sleep(Duration::from_secs(10));
    broker.produce(&topic, numbered("w", 0..5));
    rows_reach(folder.path(), 10);
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("s3cr3t-of-the-app"), "{}", ended.stderr);
}

#[test]
fn a_client_secret_that_entra_id_refuses_stops_the_start_and_is_not_shown() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("entra-refused", 1);
    let folder = tempfile::tempdir().unwrap();
    let (secret, wrong) = (folder.path().join("secret"), folder.path().join("wrong"));
    std::fs::write(&secret, "right").unwrap();
    std::fs::write(&wrong, "hunter2-of-the-app").unwrap();
    let entra = Entra::start(broker, &secret, 60);
    let lines = databricks(broker, &entra, &wrong);
    let yaml = yaml(broker.fact("/bootstrap/tokens"), &topic, &lines, "availableNow");
    let environment = [("AZURE_AUTHORITY_HOST", entra.url.as_str()), ("SSL_CERT_FILE", broker.fact("/ca"))];
    let ended = Alluvia::run_with(&yaml, folder.path(), &environment).wait(START_BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    for says in ["AADSTS7000215", "clientSecret", "application app"] {
        assert!(ended.stderr.contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("hunter2-of-the-app"), "{}", ended.stderr);
}

#[test]
fn a_password_that_changes_on_disk_is_used_without_a_restart() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("rotated", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, broker.fact("/scram/password")).unwrap();
    let lines = scram("SASL_PLAINTEXT", "SCRAM-SHA-512", &format!("${{file:{}}}", file.display()));
    let yaml = yaml(broker.fact("/bootstrap/scram"), &topic, &lines, "{ processingTime: 50 ms }");
    let program = Alluvia::run(&yaml, folder.path());
    rows_reach(folder.path(), 5);
    let of = ["configs", "--alter", "--entity-type", "users", "--entity-name", "alice"];
    let changed = broker.tool(&[&of[..], &["--add-config", "SCRAM-SHA-512=[password=next-secret]"]].concat());
    changed.unwrap_or_else(|said| panic!("the password could not be changed: {said}"));
    std::fs::write(&file, "next-secret").unwrap();
    program.wait_for("have changed on disk", BOUND);
    // Every connection logs in again.
    broker.kill();
    broker.start();
    broker.produce(&topic, numbered("w", 0..5));
    rows_reach(folder.path(), 10);
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert!(
        !ended.stderr.contains("next-secret") && !ended.stderr.contains("alice-secret"),
        "{}",
        ended.stderr
    );
}
