//! No secret is shown: one is planted in each place where a secret can stand, and everything that the program says is searched
//! for it (the log at trace level, with librdkafka's own debugging; errors; `--print-config`; check; progress; API, metrics and
//! page; the process list), as it is and in the encodings in which it travels.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::azure::lake::Lake;
use crate::command_line::check_chain::both_cas;
use crate::kafka::faults::numbered;
use crate::kafka::logins::rows_reach;
use crate::operating::monitoring::Watched;
use crate::rig::{Alluvia, Azurite, Broker, Entra, Scheme, http};

const BOUND: Duration = Duration::from_secs(60);

/// A stream with secrets in it.
struct Plant {
    name: &'static str,
    yaml: String,
    environment: Vec<(&'static str, String)>,
    secrets: Vec<String>,
    /// Whether the secrets are right, so that the stream reads its topic to the end.
    right: bool,
}

/// Everything that was said, and where.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        self.0.push((place.into(), text.into()));
    }

    /// Panics where one of `secrets` is, or a token that was signed here.
    fn shows_none(&self, plant: &str, secrets: &[String]) {
        for (place, text) in &self.0 {
            for secret in secrets {
                let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
                for form in [secret.clone(), STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), percent]
                {
                    let at = text.find(&form);
                    let line = at.map(|at| text[..at].rsplit('\n').next().unwrap_or_default());
                    assert!(line.is_none(), "{plant}: a secret is in {place}, behind: {}", line.unwrap());
                }
            }
            // The head of every token that the rig signs: {"alg": "RS256"...
            assert!(!text.contains("eyJhbGciOi"), "{plant}: a token is in {place}");
        }
    }
}

fn kafka(bootstrap: &str, topic: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("        {line}\n")).collect();
    format!(
        "streams:
  - name: sweep
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{bootstrap}'
        kafka.debug: all
        subscribe: '{topic}'
        startingOffsets: earliest
{lines}    sink: {{ format: delta, path: ./table }}
    trigger: availableNow
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 0 }}
"
    )
}

fn jaas(module: &str, username: &str, password: &str) -> String {
    format!(
        "kafka.sasl.jaas.config: 'org.apache.kafka.common.security.{module} required username=\"{username}\" password=\"{password}\";'"
    )
}

#[test]
fn the_sweep_finds_a_secret_in_every_form_in_which_it_travels() {
    let secret = "hunter2+/=".to_owned();
    let shown = [
        "password hunter2+/=",
        "Basic aHVudGVyMisvPQ==",
        "jwt.aHVudGVyMisvPQ.x",
        "sig=hunter2%2B%2F%3D",
        "Bearer eyJhbGciOiJSUzI1NiJ9.x",
    ];
    for text in shown {
        let mut said = Said::default();
        said.add("a log", text);
        let found = std::panic::catch_unwind(|| said.shows_none("this one", std::slice::from_ref(&secret)));
        assert!(found.is_err(), "{text}");
    }
    let mut said = Said::default();
    said.add("a log", "hunter3");
    said.shows_none("this one", &[secret]);
}

/// What is said of a plant by every command that takes a stream file.
fn sweep(plant: &Plant) {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Said::default();
    let environment: Vec<(&str, &str)> =
        plant.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let environment =
        [&environment[..], &[("ALLUVIA_LOG", "trace"), ("ALLUVIA_PROGRESS_FILE", "progress")]].concat();
    std::fs::write(folder.path().join("stream.yaml"), &plant.yaml).unwrap();
    let commands: [&[&str]; 6] = [
        &["run", "stream.yaml", "--print-config"],
        &["check", "stream.yaml"],
        &["check", "stream.yaml", "--output", "json"],
        &["explain", "stream.yaml"],
        &["checkpoint", "show", "stream.yaml"],
        &["run", "stream.yaml"],
    ];
    for command in commands {
        let program = Alluvia::start(command, folder.path(), &environment);
        let line = std::fs::read(format!("/proc/{}/cmdline", program.pid())).unwrap_or_default();
        said.add("the process list", String::from_utf8_lossy(&line));
        let ended = program.wait(BOUND);
        if plant.right && command[..] != commands[4][..] {
            let traced = command[..] != commands[5][..] || ended.stderr.contains("\"TRACE\"");
            assert!(traced, "{}: nothing is logged at trace level", plant.name);
            assert_eq!(ended.code(), 0, "{}: {command:?}\n{}", plant.name, ended.stderr);
        }
        said.add(format!("{command:?}, standard output"), &ended.stdout);
        said.add(format!("{command:?}, standard error"), &ended.stderr);
    }
    if plant.right && plant.yaml.contains("./table") {
        rows_reach(folder.path(), 3);
    }
    for file in files(folder.path()) {
        said.add(file.display().to_string(), String::from_utf8_lossy(&std::fs::read(&file).unwrap()));
    }
    said.shows_none(plant.name, &plant.secrets);
}

/// Every file that a run left but the stream file.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "stream.yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_login_at_the_broker_shows_its_secret() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("sweep", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let fact = |pointer: &str| broker.fact(pointer).to_owned();
    let ca = format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca"));
    let sasl = |protocol: &str, mechanism: &str, more: String| {
        vec![
            format!("kafka.security.protocol: {protocol}"),
            format!("kafka.sasl.mechanism: {mechanism}"),
            ca.clone(),
            more,
        ]
    };
    let at = |listener: &str, lines: Vec<String>| {
        kafka(broker.fact(&format!("/bootstrap/{listener}")), &topic, &lines)
    };
    let plant = |name, yaml, secrets: &[&str], right| Plant {
        name,
        yaml,
        environment: vec![("PLANTED", secrets[0].to_owned())],
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
        right,
    };
    let (scram, hub) = (fact("/scram/password"), fact("/eventhubs/password"));
    let key = hub.split("SharedAccessKey=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let mtls = |password: &str| {
        let lines = [
            "kafka.security.protocol: SSL".to_owned(),
            format!("kafka.ssl.certificate.location: '{}'", fact("/client/certificate")),
            format!("kafka.ssl.key.location: '{}'", fact("/client/encryptedKey")),
            format!("kafka.ssl.key.password: '{password}'"),
        ];
        [&lines[..], std::slice::from_ref(&ca)].concat()
    };
    let p12 = |password: &str| {
        let lines = [
            "kafka.security.protocol: SSL".to_owned(),
            format!("kafka.ssl.keystore.location: '{}'", fact("/client/p12")),
            format!("kafka.ssl.keystore.password: '{password}'"),
        ];
        [&lines[..], std::slice::from_ref(&ca)].concat()
    };
    let event_hub = |password: &str| {
        let lines = [format!("connectionString: '{password}'"), ca.clone()];
        at("eventhubs", lines.to_vec()).replace("format: kafka", "format: eventhubs")
    };
    let scram_module = "scram.ScramLoginModule";
    let plants = [
        plant(
            "SCRAM",
            at("scram", sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", jaas(scram_module, "alice", &scram))),
            &[&scram],
            true,
        ),
        plant(
            "SCRAM by the environment",
            at("scramtls", sasl("SASL_SSL", "SCRAM-SHA-256", jaas(scram_module, "alice", "${env:PLANTED}"))),
            &[&scram],
            true,
        ),
        plant(
            "SCRAM, wrong",
            at(
                "scram",
                sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", jaas(scram_module, "alice", "hunter2+/pl4nt")),
            ),
            &["hunter2+/pl4nt"],
            false,
        ),
        plant(
            "a JAAS line that is broken",
            at(
                "scram",
                sasl(
                    "SASL_PLAINTEXT",
                    "SCRAM-SHA-512",
                    "kafka.sasl.jaas.config: 'x required password=\"hunter2-br0ken\"'".into(),
                ),
            ),
            &["hunter2-br0ken"],
            false,
        ),
        plant(
            "user and password",
            at(
                "scram",
                [
                    sasl("SASL_PLAINTEXT", "SCRAM-SHA-512", "kafka.sasl.username: alice".into()),
                    vec![format!("kafka.sasl.password: {scram}")],
                ]
                .concat(),
            ),
            &[&scram],
            true,
        ),
        plant("connection string", event_hub(&hub), &[&key], true),
        plant(
            "connection string, wrong",
            event_hub(&hub.replace(&key, "aHVudGVyMi1wbDRudA==")),
            &["aHVudGVyMi1wbDRudA"],
            false,
        ),
        plant(
            "connection string, unreadable",
            event_hub("Endpoint=hunter2-pl4nt;x"),
            &["hunter2-pl4nt"],
            false,
        ),
        plant(
            "key password",
            at("mtls", mtls(&fact("/client/password"))),
            &[&fact("/client/password")],
            true,
        ),
        plant("key password, wrong", at("mtls", mtls("hunter2-k3y")), &["hunter2-k3y"], false),
        plant(
            "PKCS#12 password",
            at("mtls", p12(&fact("/client/password"))),
            &[&fact("/client/password")],
            true,
        ),
        plant("PKCS#12 password, wrong", at("mtls", p12("hunter2-p12")), &["hunter2-p12"], false),
        plant(
            "a misspelt key",
            at("scram", vec!["kafka.sasl.pasword: hunter2-m1sspelt".into()]),
            &["hunter2-m1sspelt"],
            false,
        ),
    ];
    plants.iter().for_each(sweep);
}

#[test]
fn no_query_shows_the_salt_that_stands_in_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("sweep-salt", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let plant = |name, sql: &str, more: &str| {
        let yaml = kafka(broker.bootstrap(), &topic, &[]);
        let yaml = yaml.replace("    sink:", &format!("    sql: |\n      {sql}\n{more}    sink:"));
        let secrets = vec!["hunter2-s4lt".to_owned()];
        Plant { name, yaml, environment: vec![("PLANTED", "hunter2-s4lt".into())], secrets, right: false }
    };
    let fails = "SELECT CAST(concat('${env:PLANTED}', CAST(value AS STRING)) AS INT) AS n FROM input";
    let plants = [
        plant("a query that fails", fails, ""),
        plant("a query with dead letters", fails, "    deadLetter: { format: delta, path: ./dead }\n"),
        plant(
            "a query that cannot be planned",
            "SELECT '${env:PLANTED}' + map('${env:PLANTED}', 1) FROM input",
            "",
        ),
        plant("a query that cannot be parsed", "SELECT ('${env:PLANTED}' FROM input", ""),
        plant("a view", "SELECT * FROM v", &format!("    views: [{{ name: v, sql: \"{fails}\" }}]\n")),
        plant(
            "a key of groups",
            "SELECT topic = '${env:PLANTED}' AS k, count(*) AS n FROM input GROUP BY 1",
            "    outputMode: complete\n",
        ),
    ];
    plants.iter().for_each(sweep);
}

#[test]
fn no_identity_shows_its_secrets_or_its_tokens() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("sweep-entra", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let folder = tempfile::tempdir().unwrap();
    let (secret, federated) = (folder.path().join("secret"), folder.path().join("federated"));
    std::fs::write(&secret, "cl13nt-s3cr3t~x.y").unwrap();
    std::fs::write(&federated, "f3d3rated-t0ken.x").unwrap();
    let entra = Entra::start_with(broker, &secret, 3600, &["--federated-token", federated.to_str().unwrap()]);
    let namespace = broker.fact("/tokens/audience").trim_start_matches("https://");
    let hub = |azure: &str| {
        let lines =
            [format!("namespace: {namespace}"), format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca"))];
        kafka(broker.fact("/bootstrap/tokens"), &topic, &lines)
            .replace("format: kafka", "format: eventhubs")
            .replace("    source:\n", &format!("    azure: {{ {azure} }}\n    source:\n"))
    };
    let trust =
        [("AZURE_AUTHORITY_HOST", entra.url.clone()), ("SSL_CERT_FILE", broker.fact("/ca").to_owned())];
    let plant = |name, azure: &str, more: &[(&'static str, &str)], secrets: &[&str], right| Plant {
        name,
        yaml: hub(azure),
        environment: trust.iter().cloned().chain(more.iter().map(|(n, v)| (*n, (*v).to_owned()))).collect(),
        secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
        right,
    };
    let of_app = "tenantId: t, clientId: app";
    let msi = format!("{}/msi/token", entra.metadata);
    let plants = [
        plant(
            "client secret",
            &format!("{of_app}, clientSecret: cl13nt-s3cr3t~x.y"),
            &[],
            &["cl13nt-s3cr3t~x.y"],
            true,
        ),
        plant(
            "client secret, wrong",
            &format!("{of_app}, clientSecret: hunter2~cl13nt"),
            &[],
            &["hunter2~cl13nt"],
            false,
        ),
        plant(
            "client secret of the environment",
            "",
            &[
                ("AZURE_TENANT_ID", "t"),
                ("AZURE_CLIENT_ID", "app"),
                ("AZURE_CLIENT_SECRET", "cl13nt-s3cr3t~x.y"),
            ],
            &["cl13nt-s3cr3t~x.y"],
            true,
        ),
        plant(
            "federated token",
            &format!("{of_app}, federatedTokenFile: {}", federated.display()),
            &[],
            &["f3d3rated-t0ken.x"],
            true,
        ),
        plant(
            "App Service's header",
            "credential: managedIdentity",
            &[("IDENTITY_ENDPOINT", &msi), ("IDENTITY_HEADER", "rig-header")],
            &["rig-header"],
            true,
        ),
        plant(
            "certificate's password, wrong",
            &format!(
                "{of_app}, clientCertificate: {}, clientCertificatePassword: hunter2-p12",
                broker.fact("/client/p12")
            ),
            &[],
            &["hunter2-p12"],
            false,
        ),
    ];
    plants.iter().for_each(sweep);
}

#[test]
fn no_setting_of_storage_shows_its_secret() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Https)) else { return };
    let topic = broker.topic("sweep-storage", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "st0rage-s3cr3t~x.y").unwrap();
    let entra = Entra::start(broker, &secret, 3600);
    let environment = [
        ("AZURE_AUTHORITY_HOST", entra.url.clone()),
        ("SSL_CERT_FILE", both_cas(broker, azurite, folder.path())),
    ];
    let stream = kafka(broker.bootstrap(), &topic, &[]);
    let sweep_in = |name, options: Vec<(&'static str, String)>, secrets: &[&str], right| {
        let lake = Lake::with(azurite, "sweep", |_| options);
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let yaml = lake.moved(&stream, "main");
        sweep(&Plant { name, yaml, environment: environment.to_vec(), secrets, right });
    };
    let option = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    let application = |secret: &str| {
        [
            option("azure_tenant_id", "t"),
            option("azure_client_id", "app"),
            option("azure_client_secret", secret),
        ]
        .concat()
    };
    let key = azurite.key();
    sweep_in("account key", option("azure_storage_account_key", key), &[key], true);
    sweep_in("account key, wrong", option("ACCESS_KEY", "aHVudGVyMi1rZXk="), &["aHVudGVyMi1rZXk="], false);
    sweep_in("key of Hadoop", option("fs.azure.account.key.acc.dfs.core.windows.net", key), &[key], true);
    sweep_in("client secret", application("st0rage-s3cr3t~x.y"), &["st0rage-s3cr3t~x.y"], true);
    sweep_in("client secret, wrong", application("hunter2~client"), &["hunter2~client"], false);
    sweep_in("bearer token, wrong", option("bearer_token", "hunter2-bearer"), &["hunter2-bearer"], false);
    sweep_in(
        "a misspelt key",
        option("azure_storage_acount_key", "hunter2-m1sspelt"),
        &["hunter2-m1sspelt"],
        false,
    );
    let lake = Lake::with(azurite, "sweep", |container| {
        option("azure_storage_sas_token", &azurite.sas(container, "racwdl", 3600))
    });
    let yaml = lake.moved(&stream, "main");
    let secrets = lake.secrets();
    assert_eq!(secrets.len(), 2, "the signature, as it is and decoded");
    sweep(&Plant { name: "signature", yaml, environment: environment.to_vec(), secrets, right: true });
}

#[test]
fn a_running_process_shows_no_secret_to_whoever_may_look_at_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("sweep-running", 1);
    broker.produce(&topic, numbered("v", 0..3));
    let folder = tempfile::tempdir().unwrap();
    let password = broker.fact("/scram/password").to_owned();
    let lines = [
        "kafka.security.protocol: SASL_PLAINTEXT".to_owned(),
        "kafka.sasl.mechanism: SCRAM-SHA-512".to_owned(),
        jaas("scram.ScramLoginModule", "alice", &password),
    ];
    let yaml = kafka(broker.fact("/bootstrap/scram"), &topic, &lines)
        .replace("trigger: availableNow", "trigger: { processingTime: 50 ms }");
    let environment = [("ALLUVIA_LOG", "trace"), ("ALLUVIA_CONTROL_TOKEN", "hunter2-c0ntrol")];
    let watched = Watched::run(&yaml, folder.path(), &environment);
    rows_reach(folder.path(), 3);
    let mut said = Said::default();
    let paths = [
        "/",
        "/metrics",
        "/livez",
        "/readyz",
        "/api/v1/streams",
        "/api/v1/streams/sweep",
        "/api/v1/streams/sweep/recent-progress",
        "/api/v1/openapi.json",
    ];
    for path in paths {
        said.add(path, http::get(&watched.observe, path).body);
    }
    for token in ["Bearer hunter2-c0ntrol", "Bearer hunter2-wr0ng"] {
        let answer = http::request(
            &watched.control,
            "POST",
            "/api/v1/streams/sweep/restart",
            &[("Authorization", token)],
        );
        said.add("the control listener", format!("{}{}", answer.headers, answer.body));
    }
    broker.produce(&topic, numbered("w", 0..2));
    rows_reach(folder.path(), 5);
    let pid = watched.program.pid();
    said.add(
        "the process list",
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()),
    );
    watched.program.terminate();
    let ended = watched.program.wait(BOUND).success();
    said.add("standard error", ended.stderr);
    said.shows_none("a running process", &[password, "hunter2-c0ntrol".into(), "hunter2-wr0ng".into()]);
}
