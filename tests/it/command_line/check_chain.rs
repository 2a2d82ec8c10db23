//! `alluvia check` walks the chain to the broker and to storage: each test breaks one link, which is named with what to change.
//! The examples of `config/examples` pass it at the rig.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;

use crate::azure::lake::Lake;
use crate::kafka::faults::numbered;
use crate::kafka::logins::plain;
use crate::rig::{Alluvia, Azurite, Broker, Entra, Scheme};

const BOUND: Duration = Duration::from_secs(60);

fn yaml(options: &[String]) -> String {
    let options: String = options.iter().map(|line| format!("        {line}\n")).collect();
    format!(
        "streams:
  - name: chain
    source:
      format: kafka
      options:
{options}    sink: {{ format: delta, path: ./table }}
    checkpointLocation: ./checkpoint
"
    )
}

fn options(bootstrap: &str, topic: &str, more: &[String]) -> Vec<String> {
    let own = [format!("kafka.bootstrap.servers: '{bootstrap}'"), format!("subscribe: '{topic}'")];
    [&own[..], more].concat()
}

/// The exit code and the checks of the stream, as JSON.
fn check(yaml: &str, environment: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    check_in(folder.path(), yaml, environment)
}

fn check_in(folder: &Path, yaml: &str, environment: &[(&str, &str)]) -> (i32, Vec<Value>) {
    std::fs::write(folder.join("stream.yaml"), yaml).unwrap();
    let ended = Alluvia::start(["check", "stream.yaml", "--output", "json"], folder, environment).wait(BOUND);
    let said: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", ended.stdout, ended.stderr));
    let checks = said["streams"][0]["checks"].as_array().unwrap_or_else(|| panic!("{said}")).clone();
    (ended.code(), checks)
}

fn steps(checks: &[Value], wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
    checks.iter().filter(|check| wanted(&check["ok"])).map(|check| check["check"].as_str().unwrap()).collect()
}

/// Checks that `link` is the only one that is wrong, that it says so, and that what rests on it is not tried.
fn breaks(yaml: &str, environment: &[(&str, &str)], code: i32, link: &str, says: &[&str]) {
    let (ended, checks) = check(yaml, environment);
    assert_eq!(steps(&checks, |ok| ok == false), [link], "{checks:#?}");
    assert_eq!(ended, code, "{checks:#?}");
    let broken = checks.iter().find(|check| check["check"] == link).unwrap();
    let text = format!("{} / {}", broken["error"], broken["hint"]);
    for say in says {
        assert!(text.contains(say), "no `{say}` in {text}");
    }
    let untried = checks.iter().filter(|check| check["ok"].is_null());
    assert!(untried.clone().all(|check| check["notTriedAfter"] == link), "{checks:#?}");
    assert_eq!(untried.count() > 0, !["read", "owner"].contains(&link), "{checks:#?}");
}

/// A file with the CAs of the broker's rig and of Azurite.
pub fn both_cas(broker: &Broker, azurite: &Azurite, folder: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let file = folder.join("cas.pem");
    std::fs::write(&file, format!("{}\n{}", read(broker.fact("/ca")), read(azurite.ca()))).unwrap();
    file.display().to_string()
}

fn tls(ca: &str) -> Vec<String> {
    vec!["kafka.security.protocol: SSL".into(), format!("kafka.ssl.ca.location: '{ca}'")]
}

#[test]
fn each_broken_link_to_the_broker_is_named_with_what_to_change() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("chain", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let at = |listener: &str| broker.fact(&format!("/bootstrap/{listener}")).to_owned();
    let stream = |bootstrap: &str, more: &[String]| yaml(&options(bootstrap, &topic, more));
    breaks(
        &stream("no-such-host.invalid:9092", &[]),
        &[],
        2,
        "resolve",
        &["no-such-host.invalid:9092", "the DNS of this machine"],
    );
    breaks(&stream("127.0.0.1:1", &[]), &[], 3, "tcp", &["127.0.0.1:1", "firewalls"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    breaks(&stream(&address, &[]), &[], 3, "broker", &[&address, "does not answer"]);
    let (other, own) = (broker.fact("/otherCa"), broker.fact("/ca"));
    breaks(
        &stream(&at("tls"), &tls(other)),
        &[],
        2,
        "tls",
        &["certificate", "kafka.ssl.truststore.location"],
    );
    let wrong = plain(broker, "hunter2");
    breaks(
        &stream(&at("eventhubs"), &wrong),
        &[],
        2,
        "login",
        &["refuses the login", "kafka.sasl.jaas.config"],
    );
    breaks(&yaml(&options(&at("tls"), "no-such-topic", &tls(own))), &[], 2, "source", &["no-such-topic"]);
    let right = plain(broker, broker.fact("/eventhubs/password"));
    let (code, checks) = check(&stream(&at("eventhubs"), &right), &[]);
    let names = [
        "schema",
        "resolve",
        "tcp",
        "tls",
        "login",
        "broker",
        "source",
        "read",
        "table",
        "checkpoint",
        "owner",
    ];
    assert_eq!((code, steps(&checks, |ok| ok == true)), (0, names.to_vec()), "{checks:#?}");
}

#[test]
fn a_topic_that_may_be_seen_and_not_read_is_told() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("seen", 1, 1).unwrap();
    let bootstrap = cluster.bootstrap_servers();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a producer");
    producer.send(BaseRecord::<(), _>::to("seen").payload("v")).unwrap();
    producer.flush(BOUND).unwrap();
    let forbidden = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 50];
    cluster.request_errors(RDKafkaApiKey::Fetch, &forbidden);
    breaks(
        &yaml(&options(&bootstrap, "seen", &[])),
        &[],
        2,
        "read",
        &["does not allow", "READ on the topic"],
    );
}

#[test]
fn a_token_that_is_refused_and_a_clock_that_is_wrong_are_links_of_their_own() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("chain-token", 1);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cr3t").unwrap();
    let stream = |password: &str, entra: &Entra| {
        let namespace = broker.fact("/tokens/audience").trim_start_matches("https://");
        let yaml = yaml(&[
            format!("namespace: {namespace}"),
            format!("eventHub: '{topic}'"),
            format!("kafka.bootstrap.servers: '{}'", broker.fact("/bootstrap/tokens")),
            format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca")),
        ]);
        let azure = format!(
            "    azure: {{ tenantId: t, clientId: app, clientSecret: {password}, authorityHost: '{}' }}\n    sink:",
            entra.url
        );
        yaml.replace("format: kafka", "format: eventhubs").replace("    sink:", &azure)
    };
    let trust = [("SSL_CERT_FILE", broker.fact("/ca"))];
    let entra = Entra::start(broker, &secret, 3600);
    breaks(&stream("hunter2", &entra), &trust, 2, "token", &["AADSTS7000215", "clientSecret"]);
    let away = stream("s3cr3t", &entra);
    std::fs::rename(&secret, folder.path().join("away")).unwrap();
    breaks(&away, &trust, 3, "token", &["the endpoint is away", "authorityHost"]);
    std::fs::rename(folder.path().join("away"), &secret).unwrap();
    let (code, checks) = check(&stream("s3cr3t", &entra), &trust);
    assert_eq!(code, 0, "{checks:#?}");
    let detail =
        |step: &str| checks.iter().find(|check| check["check"] == step).unwrap()["detail"].to_string();
    assert!(
        detail("token").contains("application app has a token") && detail("token").contains("min"),
        "{checks:#?}"
    );
    assert!(detail("login").contains("OAUTHBEARER"), "{checks:#?}");
    let ahead = Entra::start_with(broker, &secret, 3600, &["--clock-ahead", "900"]);
    breaks(&stream("s3cr3t", &ahead), &trust, 2, "clock", &["behind that of Entra ID", "NTP"]);
}

#[test]
fn a_store_that_cannot_be_reached_is_named_before_the_tables_in_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("chain-store", 1);
    let stream = yaml(&options(broker.bootstrap(), &topic, &[]))
        .replace("path: ./table", "path: 'abfss://lake@acc.dfs.no-such-host.invalid/table'")
        .replace(
            "checkpointLocation: ./checkpoint",
            "checkpointLocation: 'abfss://lake@acc.dfs.no-such-host.invalid/cp'",
        );
    let keyed = format!("{stream}    storageOptions: {{ azure_storage_account_key: aHVudGVyMg== }}\n");
    breaks(
        &keyed,
        &[],
        2,
        "storage",
        &["acc.blob.no-such-host.invalid", "privatelink.blob.core.windows.net"],
    );
}

#[test]
fn a_token_for_storage_that_is_refused_and_rights_that_are_missing_are_told_apart() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Https)) else { return };
    let topic = broker.topic("chain-rights", 1);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cr3t").unwrap();
    let entra = Entra::start(broker, &secret, 3600);
    let cas = both_cas(broker, azurite, folder.path());
    let environment = [("SSL_CERT_FILE", cas.as_str()), ("AZURE_AUTHORITY_HOST", entra.url.as_str())];
    let stream = yaml(&options(broker.bootstrap(), &topic, &[]));
    let application = |password: &str| {
        let password = password.to_owned();
        let lake = Lake::with(azurite, "chain", |_| {
            vec![
                ("azure_tenant_id", "t".to_owned()),
                ("azure_client_id", "app".to_owned()),
                ("azure_client_secret", password),
            ]
        });
        lake.moved(&stream, "main")
    };
    breaks(&application("hunter2"), &environment, 2, "storageToken", &["AADSTS7000215", "clientSecret"]);
    let (code, checks) = check(&application("s3cr3t"), &environment);
    let names = [
        "schema",
        "storage",
        "storageToken",
        "resolve",
        "tcp",
        "broker",
        "source",
        "read",
        "table",
        "checkpoint",
        "owner",
    ];
    assert_eq!((code, steps(&checks, |ok| ok == true)), (0, names.to_vec()), "{checks:#?}");
    let reader = Lake::with(azurite, "chain", |container| {
        vec![("azure_storage_sas_token", azurite.sas(container, "rl", 3600))]
    });
    let (code, checks) = check(&reader.moved(&stream, "main"), &environment);
    assert_eq!((code, steps(&checks, |ok| ok == false)), (2, vec!["table", "checkpoint"]), "{checks:#?}");
    let table = checks.iter().find(|check| check["check"] == "table").unwrap();
    assert!(table["error"].as_str().unwrap().contains("403"), "{table:#?}");
}

#[test]
fn a_stream_in_azure_that_another_process_runs_is_told_by_its_lease() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Http)) else { return };
    let topic = broker.topic("chain-owner", 1);
    let lake = Lake::new(azurite, "chain-owner");
    let yaml = lake.moved(&yaml(&options(broker.bootstrap(), &topic, &[])), "main");
    let folder = tempfile::tempdir().unwrap();
    let running = lake.run(&yaml, folder.path(), &[("ALLUVIA_LOG", "debug")]);
    running.wait_for("the stream has started", BOUND);
    breaks(&yaml, &[], 5, "owner", &["is run by"]);
    running.terminate();
    running.wait(BOUND).success();
}

/// An example, with the topic and more options.
fn example(name: &str, topic: &str, more: &[String]) -> String {
    let path = format!("{}/config/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let more: String = more.iter().map(|line| format!("        {line}\n")).collect();
    let text = text.replacen("      options:\n", &format!("      options:\n{more}"), 1);
    assert!(text.contains("device-events"), "{path}");
    text.replace("device-events", topic)
}

#[test]
fn the_examples_pass_the_check_at_the_rig() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("examples", 2);
    let trust = ("SSL_CERT_FILE", broker.fact("/ca"));
    let own = |listener: &str| {
        vec![format!("kafka.bootstrap.servers: '{}'", broker.fact(&format!("/bootstrap/{listener}")))]
    };
    let cases: [(&str, Vec<String>, Vec<(&str, &str)>); 3] = [
        ("local-kafka", Vec::new(), vec![("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap())]),
        (
            "confluent-sasl",
            Vec::new(),
            vec![
                ("KAFKA_BOOTSTRAP_SERVERS", broker.fact("/bootstrap/eventhubs")),
                ("KAFKA_USERNAME", "$ConnectionString"),
                ("KAFKA_PASSWORD", broker.fact("/eventhubs/password")),
            ],
        ),
        (
            "event-hubs-connection-string",
            own("eventhubs"),
            vec![("EVENT_HUBS_CONNECTION_STRING", broker.fact("/eventhubs/password"))],
        ),
    ];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples");
    let in_azure = "event-hubs-adls-workload-identity";
    let there: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".yaml").to_owned())
        .collect();
    let tried = |name: &String| name == in_azure || cases.iter().any(|(case, ..)| case == name);
    assert!(there.iter().all(tried), "one has no case: {there:?}");
    for (name, more, environment) in &cases {
        let environment = [&environment[..], &[trust]].concat();
        let (code, checks) = check(&example(name, &topic, more), &environment);
        assert_eq!((code, steps(&checks, |ok| ok != true)), (0, Vec::new()), "{name}: {checks:#?}");
    }
    let Some(azurite) = Azurite::shared(Scheme::Https) else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("secret"), "unused").unwrap();
    std::fs::write(at("federated"), "federated-t0ken").unwrap();
    let entra =
        Entra::start_with(broker, Path::new(&at("secret")), 3600, &["--federated-token", &at("federated")]);
    let lake = Lake::with(azurite, "example", |_| Vec::new());
    let text = example(in_azure, &topic, &own("tokens"));
    assert_eq!(
        text.matches("abfss://lake@${env:STORAGE_ACCOUNT}.dfs.core.windows.net/").count(),
        3,
        "{text}"
    );
    let here = text.replace(
        "abfss://lake@${env:STORAGE_ACCOUNT}.dfs.core.windows.net/",
        &format!("az://{}/", lake.container),
    );
    let cas = both_cas(broker, azurite, folder.path());
    let federated = at("federated");
    let environment = [
        ("EVENT_HUBS_NAMESPACE", broker.fact("/tokens/audience").trim_start_matches("https://")),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "app"),
        ("AZURE_FEDERATED_TOKEN_FILE", &federated),
        ("AZURE_AUTHORITY_HOST", &entra.url),
        ("SSL_CERT_FILE", &cas),
    ];
    let (code, checks) = check(&lake.moved(&here, "main"), &environment);
    assert_eq!((code, steps(&checks, |ok| ok != true)), (0, Vec::new()), "{in_azure}: {checks:#?}");
    let names = steps(&checks, |ok| ok == true);
    assert!(["token", "storageToken", "table", "owner"].iter().all(|name| names.contains(name)), "{names:?}");
}
