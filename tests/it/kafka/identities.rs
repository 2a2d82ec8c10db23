//! Identities of Entra ID at a broker that verifies tokens: each logs in, what is wrong with one is said with what mends it, and
//! tokens that end are renewed while the stream runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kafka::faults::numbered;
use crate::kafka::logins::rows_reach;
use crate::operating::monitoring::Watched;
use crate::rig::{Alluvia, Broker, Entra, http, until};

const BOUND: Duration = Duration::from_secs(60);
/// A start that cannot succeed says so within this time.
const START_BOUND: Duration = Duration::from_secs(30);

/// A folder with everything that the identities are made of, and who gives tokens for them.
pub struct Rig {
    pub folder: TempDir,
    pub entra: Entra,
    broker: &'static Broker,
}

impl Rig {
    pub fn start(broker: &'static Broker, life: u32) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("secret"), "s3cr3t-of-the-app\n").unwrap();
        std::fs::write(at("federated"), "federated-t0ken").unwrap();
        for name in ["app", "other"] {
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=app", "-keyout"])
                .args([at(&format!("{name}.key")), "-out".into(), at(&format!("{name}.pem"))])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let packed = Command::new("openssl")
                .args(["pkcs12", "-export", "-passout", "pass:p12-p4ssword", "-inkey"])
                .args([at(&format!("{name}.key")), "-in".into(), at(&format!("{name}.pem"))])
                .args([PathBuf::from("-out"), at(&format!("{name}.p12"))])
                .output()
                .unwrap();
            assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
        }
        let (federated, certificate) = (at("federated"), at("app.pem"));
        let more = ["--federated-token", federated.to_str().unwrap()];
        let more = [&more[..], &["--certificate", certificate.to_str().unwrap()]].concat();
        let entra = Entra::start_with(broker, &at("secret"), life, &more);
        Rig { folder, entra, broker }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A stream from the event hub `topic` with the block `azure`.
    pub fn yaml(&self, topic: &str, azure: &str, trigger: &str) -> String {
        let azure = if azure.is_empty() { String::new() } else { format!("    azure: {{ {azure} }}\n") };
        format!(
            "streams:
  - name: identity
{azure}    source:
      format: eventhubs
      options:
        namespace: {}
        eventHub: '{topic}'
        kafka.bootstrap.servers: '{}'
        kafka.ssl.ca.location: '{}'
        startingOffsets: earliest
    sink: {{ format: delta, path: ./table }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
    restart: {{ backoff: 100 ms }}
",
            self.broker.fact("/tokens/audience").trim_start_matches("https://"),
            self.broker.fact("/bootstrap/tokens"),
            self.broker.fact("/ca"),
        )
    }

    /// What every run needs to trust the stand-in, and more.
    pub fn environment<'e>(&'e self, more: &[(&'e str, &'e str)]) -> Vec<(&'e str, &'e str)> {
        let trust =
            [("AZURE_AUTHORITY_HOST", self.entra.url.as_str()), ("SSL_CERT_FILE", self.broker.fact("/ca"))];
        [&trust[..], more].concat()
    }
}

/// A search path on which the rig's Azure CLI comes first.
pub fn with_azure_cli() -> String {
    format!(
        "{}/tests/rig/azure-cli:{}",
        env!("CARGO_MANIFEST_DIR"),
        std::env::var("PATH").unwrap_or_default()
    )
}

#[test]
fn every_identity_reads_an_event_hub_by_the_file_or_by_the_environment() {
    let Some(broker) = Broker::shared() else { return };
    let rig = Rig::start(broker, 3600);
    let topic = broker.topic("identities", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let (secret, federated, p12) = (rig.path("secret"), rig.path("federated"), rig.path("app.p12"));
    let msi = format!("{}/msi/token", rig.entra.metadata);
    let (search, metadata) = (with_azure_cli(), rig.entra.metadata.as_str());
    let named = [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "app")];
    let with = |more: &[(&'static str, String)]| -> Vec<(&str, String)> {
        named.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(more.iter().cloned()).collect()
    };
    let cases = [
        (format!("tenantId: tenant, clientId: app, clientSecret: '${{file:{secret}}}'"), Vec::new()),
        (
            format!(
                "tenantId: tenant, clientId: app, clientCertificate: {p12}, clientCertificatePassword: p12-p4ssword"
            ),
            Vec::new(),
        ),
        (format!("tenantId: tenant, clientId: app, federatedTokenFile: {federated}"), Vec::new()),
        (
            "credential: managedIdentity".into(),
            vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata.to_owned())],
        ),
        (
            "clientId: app".into(),
            vec![("IDENTITY_ENDPOINT", msi), ("IDENTITY_HEADER", "rig-header".to_owned())],
        ),
        ("credential: azureCli".into(), vec![("PATH", search), ("RIG_METADATA", metadata.to_owned())]),
        (String::new(), with(&[("AZURE_FEDERATED_TOKEN_FILE", federated.clone())])),
        (String::new(), with(&[("AZURE_CLIENT_SECRET", "s3cr3t-of-the-app".into())])),
        (
            String::new(),
            with(&[
                ("AZURE_CLIENT_CERTIFICATE_PATH", p12.clone()),
                ("AZURE_CLIENT_CERTIFICATE_PASSWORD", "p12-p4ssword".into()),
                ("AZURE_FEDERATED_TOKEN_FILE", "/not/chosen".into()),
            ]),
        ),
    ];
    for (azure, environment) in &cases {
        let folder = tempfile::tempdir().unwrap();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let yaml = rig.yaml(&topic, azure, "availableNow");
        let ended = Alluvia::run_with(&yaml, folder.path(), &rig.environment(&environment)).wait(BOUND);
        assert_eq!(ended.code(), 0, "{azure} {environment:?}\n{}", ended.stderr);
        rows_reach(folder.path(), 5);
    }
}

#[test]
fn an_identity_that_is_refused_stops_the_start_and_says_what_to_change() {
    let Some(broker) = Broker::shared() else { return };
    let rig = Rig::start(broker, 3600);
    let topic = broker.topic("identities-refused", 1);
    let (forged, other, p12) = (rig.path("forged"), rig.path("other.p12"), rig.path("app.p12"));
    std::fs::write(&forged, "hunter2-forged").unwrap();
    let metadata = rig.entra.metadata.as_str();
    let of_app = "tenantId: tenant, clientId: app";
    let cases: [(String, Vec<(&str, String)>, [&str; 2]); 7] = [
        (
            format!("{of_app}, federatedTokenFile: {forged}"),
            Vec::new(),
            ["workload identity app", "api://AzureADTokenExchange"],
        ),
        (format!("{of_app}, federatedTokenFile: /no/such/token"), Vec::new(), ["/no/such/token", "mounted"]),
        (
            format!("{of_app}, clientCertificate: {other}, clientCertificatePassword: p12-p4ssword"),
            Vec::new(),
            ["application app (by certificate)", "registered with the application"],
        ),
        (
            format!("{of_app}, clientCertificate: {p12}, clientCertificatePassword: hunter2"),
            Vec::new(),
            ["PKCS12 parsing failed", "its password"],
        ),
        (
            "credential: managedIdentity, clientId: another".into(),
            vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", metadata.to_owned())],
            ["managed identity another", "assigned to this machine"],
        ),
        (
            "credential: azureCli".into(),
            vec![("PATH", with_azure_cli())],
            ["az login", "the login of the Azure CLI"],
        ),
        (
            "credential: azureCli".into(),
            vec![("PATH", "/usr/bin:/bin".to_owned())],
            ["not found on PATH", "install the Azure CLI"],
        ),
    ];
    for (azure, environment, says) in &cases {
        let folder = tempfile::tempdir().unwrap();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let yaml = rig.yaml(&topic, azure, "availableNow");
        let ended = Alluvia::run_with(&yaml, folder.path(), &rig.environment(&environment)).wait(START_BOUND);
        assert_eq!(ended.code(), 2, "{azure}\n{}", ended.stderr);
        for say in says {
            assert!(ended.stderr.contains(say), "no `{say}` in\n{}", ended.stderr);
        }
        assert!(
            !ended.stderr.contains("hunter2") && !ended.stderr.contains("p12-p4ssword"),
            "{}",
            ended.stderr
        );
    }
}

/// The value of a metric of the tokens for the broker; `None` if there is no sample.
fn token_metric(address: &str, service: &str, name: &str) -> Option<f64> {
    let text = http::get(address, "/metrics").body;
    let sample = format!("alluvia_token_{name}{{service=\"{service}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok())
}

/// The longest time between two micro-batches, in milliseconds.
pub fn longest_gap_ms(folder: &Path) -> i64 {
    let lines = std::fs::read_to_string(folder.join("progress")).unwrap();
    let at = |line: &str| {
        let progress: serde_json::Value = serde_json::from_str(line).unwrap();
        chrono::DateTime::parse_from_rfc3339(progress["timestamp"].as_str().unwrap())
            .unwrap()
            .timestamp_millis()
    };
    let times: Vec<i64> = lines.lines().map(at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn tokens_that_end_are_renewed_without_a_gap_in_commits_though_entra_id_is_away_for_a_while() {
    let Some(broker) = Broker::shared() else { return };
    let life = Duration::from_secs(16);
    let mut rig = Rig::start(broker, u32::try_from(life.as_secs()).unwrap());
    let topic = broker.topic("identities-renewed", 1);
    let azure = format!("tenantId: tenant, clientId: app, federatedTokenFile: {}", rig.path("federated"));
    let yaml = rig.yaml(&topic, &azure, "{ processingTime: 100 ms }");
    let folder = tempfile::tempdir().unwrap();
    let watched =
        Watched::run(&yaml, folder.path(), &rig.environment(&[("ALLUVIA_PROGRESS_FILE", "progress")]));
    let address = watched.observe.clone();
    let service = broker.fact("/tokens/audience").trim_start_matches("https://");
    broker.produce(&topic, numbered("v", 0..1));
    rows_reach(folder.path(), 1);
    let first = token_metric(&address, service, "expiry_timestamp_seconds").expect("it is exposed");
    assert_eq!(token_metric(&address, service, "renewal_failures_total"), Some(0.0));
    // Away when the token is to be renewed, for longer than that margin has attempts, and back before it ends.
    let (secret, away) = (rig.path("secret"), rig.path("away"));
    std::fs::rename(&secret, &away).unwrap();
    let started = Instant::now();
    let mut rows = 1;
    let produce_until = |rows: &mut u32, done: &dyn Fn() -> bool| {
        while !done() {
            broker.produce(&topic, numbered("w", *rows..*rows + 1));
            *rows += 1;
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let failures = || token_metric(&address, service, "renewal_failures_total").unwrap_or_default();
    produce_until(&mut rows, &|| {
        assert!(started.elapsed() < BOUND, "the token is not renewed:\n{}", watched.program.stderr());
        failures() >= 2.0
    });
    std::fs::rename(&away, &secret).unwrap();
    rig.entra.wait_for("200");
    // Beyond the end of the first token: what is read now was fetched with a later one.
    produce_until(&mut rows, &|| started.elapsed() > life + Duration::from_secs(4));
    rows_reach(folder.path(), u64::from(rows));
    let later = until("a later token", BOUND, || token_metric(&address, service, "expiry_timestamp_seconds"));
    assert!(later > first, "{later} {first}");
    watched.program.terminate();
    let ended = watched.program.wait(BOUND).success();
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
    for says in ["could not be renewed; the one before it is used on", service] {
        assert!(ended.stderr.contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    // A connection that had to wait for its login would show as a gap; a record came every 200 ms.
    let gap_ms = longest_gap_ms(folder.path());
    assert!(u128::try_from(gap_ms).unwrap() < life.as_millis() / 2, "{gap_ms} ms");
}
