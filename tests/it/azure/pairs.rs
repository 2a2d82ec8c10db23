//! The main job by every login at the broker with every credential of storage: table, dead letters, checkpoint and lease in Azure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::azure::identities::{every_source, trust};
use crate::azure::lake::{Lake, token};
use crate::kafka::identities::{Rig, with_azure_cli};
use crate::kafka::logins::{databricks, plain, scram, tls, with};
use crate::rig::{Azurite, Broker, Scheme};
use crate::scene::{BOUND, Scene, each, seed};

/// How a stream logs in at the broker.
struct Login {
    name: &'static str,
    format: &'static str,
    options: Vec<String>,
    /// Whether the tokens are those of the block `azure`.
    by_identity: bool,
}

/// What opens the storage: something in `storageOptions`, or the block `azure`.
struct Credential {
    name: &'static str,
    lake: Lake,
    block: Option<String>,
}

fn logins(broker: &Broker, rig: &Rig) -> Vec<Login> {
    let fact = |pointer: &str| broker.fact(pointer).to_owned();
    let login = |name, format, listener: &str, options: Vec<String>| {
        let address =
            format!("kafka.bootstrap.servers: '{}'", broker.fact(&format!("/bootstrap/{listener}")));
        Login { name, format, options: with(vec![address], &options), by_identity: false }
    };
    let ca = format!("kafka.ssl.ca.location: '{}'", broker.fact("/ca"));
    let certificate = [
        format!("kafka.ssl.certificate.location: '{}'", fact("/client/certificate")),
        format!("kafka.ssl.key.location: '{}'", fact("/client/encryptedKey")),
        format!("kafka.ssl.key.password: '{}'", fact("/client/password")),
    ];
    let p12 = [
        format!("kafka.ssl.keystore.location: '{}'", fact("/client/p12")),
        "kafka.ssl.keystore.type: PKCS12".into(),
        format!("kafka.ssl.keystore.password: '{}'", fact("/client/password")),
    ];
    let (alice, hub) = (fact("/scram/password"), fact("/eventhubs/password"));
    let namespace = fact("/tokens/audience").trim_start_matches("https://").to_owned();
    let over_tls = |mechanism| with(scram("SASL_SSL", mechanism, &alice), std::slice::from_ref(&ca));
    let secret = rig.folder.path().join("secret");
    vec![
        login("PLAINTEXT", "kafka", "plaintext", Vec::new()),
        login("SSL", "kafka", "tls", tls(broker)),
        login("SSL, a certificate as PEM", "kafka", "mtls", with(tls(broker), &certificate)),
        login("SSL, a certificate as PKCS#12", "kafka", "mtls", with(tls(broker), &p12)),
        login("PLAIN over TLS", "kafka", "eventhubs", plain(broker, &hub)),
        login(
            "a connection string",
            "eventhubs",
            "eventhubs",
            vec![format!("connectionString: '{hub}'"), ca.clone()],
        ),
        login("SCRAM-SHA-256", "kafka", "scram", scram("SASL_PLAINTEXT", "SCRAM-SHA-256", &alice)),
        login("SCRAM-SHA-512", "kafka", "scram", scram("SASL_PLAINTEXT", "SCRAM-SHA-512", &alice)),
        login("SCRAM-SHA-256 over TLS", "kafka", "scramtls", over_tls("SCRAM-SHA-256")),
        login("SCRAM-SHA-512 over TLS", "kafka", "scramtls", over_tls("SCRAM-SHA-512")),
        login("OAUTHBEARER over TLS", "kafka", "tokens", databricks(broker, &rig.entra, &secret)),
        Login {
            by_identity: true,
            ..login("an identity", "eventhubs", "tokens", vec![format!("namespace: {namespace}"), ca.clone()])
        },
    ]
}

fn credentials(rig: &Rig, http: &'static Azurite, https: &'static Azurite) -> Vec<Credential> {
    let sas = |azurite: &'static Azurite| {
        move |container: &str| vec![("azure_storage_sas_token", azurite.sas(container, "racwdl", 3600))]
    };
    let application = |_: &str| {
        let options = [
            ("azure_tenant_id", "tenant"),
            ("azure_client_id", "app"),
            ("azure_client_secret", "s3cr3t-of-the-app"),
        ];
        options.map(|(key, value)| (key, value.to_owned())).to_vec()
    };
    let given = |name, lake| Credential { name, lake, block: None };
    let identity = |name, block| Credential {
        name,
        lake: Lake::with(https, "pairs", |_| Vec::new()),
        block: Some(block),
    };
    let named = "tenantId: tenant, clientId: app";
    vec![
        given("account key", Lake::new(http, "pairs")),
        given("account key over TLS", Lake::new(https, "pairs")),
        given("SAS", Lake::with(http, "pairs", sas(http))),
        given("SAS over TLS", Lake::with(https, "pairs", sas(https))),
        given("token", Lake::with(https, "pairs", |_| vec![("azure_storage_token", token(3600))])),
        given("client secret in storageOptions", Lake::with(https, "pairs", application)),
        identity("client secret", format!("{named}, clientSecret: '${{file:{}}}'", rig.path("secret"))),
        identity(
            "client certificate",
            format!(
                "{named}, clientCertificate: '{}', clientCertificatePassword: p12-p4ssword",
                rig.path("app.p12")
            ),
        ),
        identity("workload identity", format!("{named}, federatedTokenFile: '{}'", rig.path("federated"))),
        identity("managed identity", "credential: managedIdentity, clientId: app".to_owned()),
        identity("Azure CLI", "credential: azureCli".to_owned()),
    ]
}

/// All pairs of `rows` and `columns`, so that the first ones have every row and every column.
fn pairs(rows: usize, columns: usize, first: usize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for shift in 0..columns {
        for at in 0..rows.max(columns) {
            let pair = (at % rows, (at + shift + first) % columns);
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
    }
    assert_eq!(pairs.len(), rows * columns);
    pairs
}

/// Every login and every credential at least once, then further pairs while there is time.
fn run(budget: Duration) {
    let (Some(broker), Some(http), Some(https)) =
        (Broker::shared(), Azurite::shared(Scheme::Http), Azurite::shared(Scheme::Https))
    else {
        return;
    };
    let started = Instant::now();
    let rig = Rig::start(broker, 3600);
    let (logins, credentials) = (logins(broker, &rig), credentials(&rig, http, https));
    let scene = Scene::new(broker, "pairs", 2, 10_000, 6_000);
    let (msi, cli, trusted) =
        (format!("{}/msi/token", rig.entra.metadata), with_azure_cli(), trust(&rig, broker, https));
    let environment = every_source(&rig, &trusted, &msi, &cli);
    let first = (seed("pairs of logins and credentials") % credentials.len() as u64) as usize;
    let pairs = pairs(logins.len(), credentials.len(), first);
    let numbered: Vec<_> = pairs.iter().enumerate().collect();
    let done = AtomicUsize::new(0);
    each(&numbered, |(number, (login, credential))| {
        if *number >= logins.len().max(credentials.len()) && started.elapsed() > budget {
            return;
        }
        let (login, credential) = (&logins[*login], &credentials[*credential]);
        let what = format!("{} with {}", login.name, credential.name);
        let of_app = "tenantId: tenant, clientId: app, clientSecret: s3cr3t-of-the-app".to_owned();
        let block = credential.block.clone().or_else(|| login.by_identity.then_some(of_app));
        let block = block.map_or(String::new(), |block| format!("    azure: {{ {block} }}\n"));
        let yaml = format!("{}{block}", scene.yaml_by(login.format, &login.options));
        let (folder, at) = (tempfile::tempdir().unwrap(), format!("pair-{number}"));
        let ended = credential.lake.run(&credential.lake.moved(&yaml, &at), folder.path(), &environment);
        let ended = ended.wait(BOUND);
        assert_eq!(ended.code(), 0, "{what}:\n{}", ended.stderr);
        credential.lake.check(&scene, &at, &what);
        done.fetch_add(1, Ordering::Relaxed);
    });
    eprintln!("{} of {} pairs", done.into_inner(), pairs.len());
}

#[test]
fn a_topic_is_in_the_table_once_by_every_login_and_with_every_credential_of_storage() {
    run(Duration::from_secs(35));
}

#[test]
#[ignore = "minutes long: make soak"]
fn soak_of_every_login_with_every_credential_of_storage() {
    run(Duration::MAX);
}
