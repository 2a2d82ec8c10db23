//! The main job with everything in Azure: table, dead letters, checkpoint and lease, under each credential; read back by
//! Python `deltalake`.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use crate::merge::duplicates::Duplicates;
use crate::rig::{Alluvia, Answer, Azurite, BlobProxy, Broker, Digest, Message, Scheme, http};
use crate::scene::{BOUND, Scene};

/// A container, and the `storageOptions` by which a stream reaches it.
pub struct Lake {
    pub azurite: &'static Azurite,
    pub container: String,
    options: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
}

impl Lake {
    /// A container that is reached with the account's key.
    pub fn new(azurite: &'static Azurite, hint: &str) -> Lake {
        Lake::with(azurite, hint, |_| vec![("azure_storage_account_key", azurite.key().to_owned())])
    }

    /// The same with the credential that `options` give for the container.
    pub fn with(
        azurite: &'static Azurite,
        hint: &str,
        options: impl FnOnce(&str) -> Vec<(&'static str, String)>,
    ) -> Lake {
        let container = azurite.container(hint);
        let mut options = options(&container);
        options.push(("azure_storage_account_name", azurite.account().to_owned()));
        options.push(("azure_storage_endpoint", azurite.endpoint().to_owned()));
        let mut environment = Vec::new();
        if azurite.endpoint().starts_with("https") {
            environment.push(("SSL_CERT_FILE", azurite.ca().to_owned()));
        } else {
            options.push(("allow_http", "true".to_owned()));
        }
        Lake { azurite, container, options, environment }
    }

    /// Reached by way of `proxy`.
    pub fn through(mut self, proxy: &BlobProxy) -> Lake {
        self.options.retain(|(key, _)| *key != "azure_storage_endpoint");
        self.options.push(("azure_storage_endpoint", proxy.endpoint().to_owned()));
        self
    }

    /// With one more setting of `storageOptions`.
    pub fn option(mut self, key: &'static str, value: &str) -> Lake {
        self.options.push((key, value.to_owned()));
        self
    }

    /// A stream whose tables and checkpoint are on the disk, with all of them in the folder `at` of the container.
    pub fn moved(&self, yaml: &str, at: &str) -> String {
        let mut moved = yaml.to_owned();
        for name in ["table", "letters", "checkpoint"] {
            moved = moved.replace(&format!("./{name}"), &self.url(at, name));
        }
        moved.push_str("    storageOptions:\n");
        for (key, value) in &self.options {
            writeln!(moved, "      {key}: '{value}'").unwrap();
        }
        moved
    }

    pub fn url(&self, at: &str, name: &str) -> String {
        format!("az://{}/{at}/{name}", self.container)
    }

    /// What no output may show: the credential, and of a signature its value, as it is and decoded.
    pub fn secrets(&self) -> Vec<String> {
        let credential =
            |key: &str| self.options.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone());
        let mut secrets = Vec::from_iter(credential("azure_storage_account_key"));
        if let Some(sas) = credential("azure_storage_sas_token") {
            let signature = sas.split("sig=").nth(1).unwrap().split('&').next().unwrap();
            let plain = url::form_urlencoded::parse(sas.as_bytes()).find(|(key, _)| key == "sig").unwrap().1;
            secrets.extend([signature.to_owned(), plain.into_owned()]);
        }
        secrets
    }

    /// Starts a stream.
    pub fn run(&self, yaml: &str, folder: &Path, environment: &[(&str, &str)]) -> Alluvia {
        let own = self.environment.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = own.chain(environment.iter().copied()).collect();
        Alluvia::run_with(yaml, folder, &all)
    }

    /// Runs the stream of `scene` to its end and compares both tables in `at` with the topic.
    pub fn finish(&self, scene: &Scene, at: &str, what: &str) {
        let folder = tempfile::tempdir().unwrap();
        let ended = self.run(&self.moved(&scene.yaml(), at), folder.path(), &[("ALLUVIA_OWNER", "pod-0")]);
        let ended = ended.wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}: the run after it failed:\n{}", ended.stderr);
        self.check(scene, at, what);
    }

    pub fn check(&self, scene: &Scene, at: &str, what: &str) {
        scene.check_by(what, |table, columns| self.digest(at, table, columns));
    }

    pub fn digest(&self, at: &str, table: &str, columns: &[&str]) -> Digest {
        self.azurite.delta_digest(&self.url(at, table), columns)
    }
}

/// A token as Entra ID gives them for storage; Azurite checks everything but the signature.
pub fn token(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/rig/",
        "iat": now - 60, "nbf": now - 60, "exp": now + seconds, "sub": "rig",
    });
    format!("{}.{}.c2ln", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims))
}

fn taken_in(lake: &Lake, scene: &Scene) {
    let folder = tempfile::tempdir().unwrap();
    lake.run(&lake.moved(&scene.yaml(), "main"), folder.path(), &[]).wait(BOUND).success();
    lake.check(scene, "main", &lake.container);
}

#[test]
fn a_topic_is_in_the_table_once_with_everything_in_azure_under_each_credential() {
    let (Some(broker), Some(http), Some(https)) =
        (Broker::shared(), Azurite::shared(Scheme::Http), Azurite::shared(Scheme::Https))
    else {
        return;
    };
    let scene = Scene::new(broker, "azure", 3, 20_000, 3_000);
    let sas = |azurite: &'static Azurite| {
        move |container: &str| vec![("azure_storage_sas_token", azurite.sas(container, "racwdl", 3600))]
    };
    let lakes = [
        Lake::new(http, "key"),
        Lake::with(http, "sas", sas(http)),
        Lake::new(https, "tls-key"),
        Lake::with(https, "tls-sas", sas(https)),
        Lake::with(https, "tls-token", |_| vec![("azure_storage_token", token(3600))]),
    ];
    for lake in &lakes {
        taken_in(lake, &scene);
    }
}

#[test]
fn a_merge_with_everything_in_azure_gives_one_row_for_each_key_though_it_is_killed() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Http)) else { return };
    let events = Duplicates::new(broker, "azure-merge");
    let lake = Lake::new(azurite, "merge");
    let yaml = lake.moved(&events.yaml(""), "main");
    let folder = tempfile::tempdir().unwrap();
    for arm in ["merge.files=kill@2", "merge.committed=kill", "sink.before=kill", ""] {
        events.produce(2_000);
        let ended =
            lake.run(&yaml, folder.path(), &[("ALLUVIA_OWNER", "pod-0"), ("ALLUVIA_FAILPOINTS", arm)]);
        let ended = ended.wait(BOUND);
        assert_eq!(ended.status.code().is_none(), !arm.is_empty(), "{arm}: {}", ended.stderr);
    }
    events.check_by("a merge in Azure", |columns| lake.digest("main", "table", columns));
}

#[test]
fn runs_that_end_by_themselves_keep_the_tables_log_in_azure_short() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Http)) else { return };
    let (lake, topic) = (Lake::new(azurite, "log"), broker.topic("log", 1));
    let yaml = format!(
        "streams:
  - name: log
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: 'n INT' }}
    sink: {{ format: delta, path: {}, tableProperties: {{ delta.checkpointInterval: '2' }} }}
    trigger: availableNow
    checkpointLocation: {}
",
        broker.bootstrap(),
        lake.url("main", "table"),
        lake.url("checkpoints", "table"),
    );
    let folder = tempfile::tempdir().unwrap();
    for n in 0..5 {
        broker.produce(&topic, [Message::new(format!("{{\"n\":{n}}}"))]);
        let ended = lake.run(&lake.moved(&yaml, "main"), folder.path(), &[]).wait(BOUND).success();
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    let pointer = format!(
        "/{}/{}/main/table/_delta_log/_last_checkpoint?{}",
        azurite.account(),
        lake.container,
        azurite.sas(&lake.container, "r", 3600)
    );
    let answer = http::get(azurite.address(), &pointer);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_static_table_is_read_from_azure_with_the_same_credential() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Http)) else { return };
    let lake = Lake::new(azurite, "static");
    let stream = |topic: &str, table: &str, schema: &str, more: &str| {
        let yaml = format!(
            "streams:
  - name: {table}
    source:
      format: kafka
      options: {{ kafka.bootstrap.servers: '{}', subscribe: '{topic}', startingOffsets: earliest }}
      value: {{ format: json, schema: '{schema}' }}
{more}    sink: {{ format: delta, path: {} }}
    trigger: availableNow
    checkpointLocation: {}
",
            broker.bootstrap(),
            lake.url("main", table),
            lake.url("checkpoints", table),
        );
        let folder = tempfile::tempdir().unwrap();
        lake.run(&lake.moved(&yaml, "main"), folder.path(), &[]).wait(BOUND).success();
    };
    let (devices, readings) = (broker.topic("devices", 1), broker.topic("readings", 1));
    broker.produce(
        &devices,
        [r#"{"device":"a","site":"north"}"#, r#"{"device":"b","site":"south"}"#].map(Message::new),
    );
    broker.produce(&readings, [r#"{"device":"a","t":1}"#, r#"{"device":"b","t":2}"#].map(Message::new));
    stream(&devices, "devices", "device STRING, site STRING", "");
    let join = format!(
        "    tables: {{ devices: {{ format: delta, path: {} }} }}\n    sql: SELECT site, t FROM input JOIN devices USING (device)\n",
        lake.url("main", "devices")
    );
    stream(&readings, "joined", "device STRING, t INT", &join);
    let rows = azurite.delta_rows(&lake.url("main", "joined"), &["site", "t"]);
    assert_eq!(rows, [json!({"site": "north", "t": 1}), json!({"site": "south", "t": 2})]);
}

/// The last line of a start that fails, and its exit code.
fn refused(lake: &Lake, scene: &Scene) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let yaml =
        lake.moved(&scene.yaml().replace("trigger:", "restart: { maxAttempts: 1 }\n    trigger:"), "main");
    let ended = lake.run(&yaml, folder.path(), &[("ALLUVIA_LOG", "trace")]).wait(BOUND);
    (ended.code(), ended.stderr)
}

#[test]
fn a_start_that_azure_refuses_says_why_and_shows_no_signature_or_key() {
    let (Some(broker), Some(azurite)) = (Broker::shared(), Azurite::shared(Scheme::Http)) else { return };
    let scene = Scene::new(broker, "azure-refused", 1, 10_000, 10_000);
    let signed = |permissions: &'static str, seconds: i64| {
        Lake::with(azurite, "signed", move |container| {
            vec![("azure_storage_sas_token", azurite.sas(container, permissions, seconds))]
        })
    };
    let key = base64::prelude::BASE64_STANDARD.encode([7; 64]);
    let wrong_key = Lake::with(azurite, "wrong", |_| vec![("azure_storage_account_key", key.clone())]);
    let missing = Lake { container: "not-there".into(), ..Lake::new(azurite, "missing") };
    let proxy = BlobProxy::new(azurite);
    proxy.answer("delete", "", 1, u64::MAX / 2, Answer::Status(500));
    let cases = [
        (wrong_key, 2, "403"),
        (signed("rl", 3600), 2, "the rights to read, write and lease blobs there"),
        (signed("racwdl", -60), 2, "403"),
        (missing, 2, "the container is not there"),
        // This error of object_store has the whole URL in it.
        (signed("racwdl", 3600).through(&proxy), 3, "sig=REDACTED"),
    ];
    for (lake, code, says) in cases {
        let (ended, said) = refused(&lake, &scene);
        assert_eq!(ended, code, "{says}: {said}");
        assert!(said.contains(says), "{says}: {said}");
        for secret in lake.secrets() {
            assert!(!said.contains(&secret), "{secret} is shown: {said}");
        }
    }
}
