//! One identity of Entra ID for an event hub, its tables in Azure and the lease: over HTTPS, with tokens that end.

use std::fs;
use std::time::{Duration, Instant};

use crate::azure::lake::Lake;
use crate::kafka::faults::numbered;
use crate::kafka::identities::{Rig, longest_gap_ms, with_azure_cli};
use crate::rig::{Alluvia, Azurite, Broker, Scheme};
use crate::scene::{BOUND, each};

fn rig() -> Option<(&'static Broker, &'static Azurite)> {
    Some((Broker::shared()?, Azurite::shared(Scheme::Https)?))
}

/// A file with the certificates of both servers' authorities.
pub fn trust(rig: &Rig, broker: &Broker, azurite: &Azurite) -> String {
    let path = rig.path("trusted.pem");
    let both = [broker.fact("/ca"), azurite.ca()].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&path, both.concat()).unwrap();
    path
}

/// The environment in which an identity of each kind is found.
pub fn every_source<'a>(
    rig: &'a Rig,
    trusted: &'a str,
    msi: &'a str,
    cli: &'a str,
) -> [(&'static str, &'a str); 6] {
    [
        ("AZURE_AUTHORITY_HOST", rig.entra.url.as_str()),
        ("SSL_CERT_FILE", trusted),
        ("IDENTITY_ENDPOINT", msi),
        ("IDENTITY_HEADER", "rig-header"),
        ("RIG_METADATA", &rig.entra.metadata),
        ("PATH", cli),
    ]
}

#[test]
fn one_identity_opens_the_event_hub_the_tables_and_the_lease() {
    let Some((broker, azurite)) = rig() else { return };
    let rig = Rig::start(broker, 3600);
    let topic = broker.topic("azure-identities", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let trusted = trust(&rig, broker, azurite);
    let named = "tenantId: tenant, clientId: app";
    let p12 = format!(
        "{named}, clientCertificate: '{}', clientCertificatePassword: p12-p4ssword",
        rig.path("app.p12")
    );
    let identities = [
        format!("{named}, clientSecret: '${{file:{}}}'", rig.path("secret")),
        p12,
        format!("{named}, federatedTokenFile: '{}'", rig.path("federated")),
        "credential: managedIdentity, clientId: app".to_owned(),
        "credential: azureCli".to_owned(),
    ];
    let msi = format!("{}/msi/token", rig.entra.metadata);
    let cli = with_azure_cli();
    each(&identities, |identity| {
        let lake = Lake::with(azurite, "identity", |_| Vec::new());
        let folder = tempfile::tempdir().unwrap();
        let yaml = lake.moved(&rig.yaml(&topic, identity, "availableNow"), "main");
        let environment = every_source(&rig, &trusted, &msi, &cli);
        lake.run(&yaml, folder.path(), &environment).wait(BOUND).success();
        assert_eq!(lake.digest("main", "table", &["partition", "offset"]).distinct, 5, "{identity}");
    });
}

/// Sends a record every 200 ms until `done`.
fn produce_until(broker: &Broker, topic: &str, sent: &mut u32, done: impl Fn() -> bool) {
    while !done() {
        broker.produce(topic, numbered("v", *sent..*sent + 1));
        *sent += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn tokens_for_broker_tables_and_lease_that_end_are_renewed_without_a_gap_and_a_second_owner_takes_over() {
    let life = Duration::from_secs(30);
    let Some((broker, azurite)) = rig() else { return };
    let mut rig = Rig::start(broker, u32::try_from(life.as_secs()).unwrap());
    let topic = broker.topic("azure-tokens", 1);
    let trusted = trust(&rig, broker, azurite);
    let identity = "tenantId: tenant, clientId: app, clientSecret: s3cr3t-of-the-app";
    let lake = Lake::with(azurite, "tokens", |_| Vec::new());
    let yaml = lake.moved(&rig.yaml(&topic, identity, "{ processingTime: 100 ms }"), "main");
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |rig: &Rig, owner: usize, flags: &[&str], more: &[(&str, &str)]| {
        let (folder, name) = (folders[owner].path(), format!("pod-{owner}"));
        fs::write(folder.join("stream.yaml"), &yaml).unwrap();
        let environment = [
            ("AZURE_AUTHORITY_HOST", rig.entra.url.as_str()),
            ("SSL_CERT_FILE", &trusted),
            ("ALLUVIA_OWNER", &name),
        ];
        let environment = [&environment[..], more].concat();
        Alluvia::start([&["run", "stream.yaml"][..], flags].concat(), folder, &environment)
    };
    let mut sent = 1;
    broker.produce(&topic, numbered("v", 0..1));
    let first = start(&rig, 0, &[], &[("ALLUVIA_PROGRESS_FILE", "progress")]);
    first.wait_for("micro-batch committed", BOUND);
    // Entra ID is away for longer than the margin with which tokens are renewed, which is half of their life, and back before they end.
    let (secret, aside) = (rig.path("secret"), rig.path("aside"));
    let away = Instant::now();
    fs::rename(&secret, &aside).unwrap();
    produce_until(broker, &topic, &mut sent, || away.elapsed() > life / 2 + Duration::from_secs(1));
    fs::rename(&aside, &secret).unwrap();
    rig.entra.wait_for("503");
    rig.entra.wait_for("200");
    // Beyond the end of the first tokens: what is read and written now is so by later ones.
    produce_until(broker, &topic, &mut sent, || away.elapsed() > life + Duration::from_secs(4));
    // Another owner takes the lease, by a token of its own; the first one ends, and has committed at its pace until then.
    let second = start(&rig, 1, &["--take-over"], &[]);
    second.wait_for("took over from another process", BOUND);
    let ended = first.wait(BOUND);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
    for says in ["the token could not be renewed", "another process took over stream identity"] {
        assert!(ended.stderr.contains(says), "no `{says}` in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
    let gap_ms = longest_gap_ms(folders[0].path());
    assert!(u128::try_from(gap_ms).unwrap() < life.as_millis() / 3, "{gap_ms} ms");
    let goal = sent + 5;
    broker.produce(&topic, numbered("v", sent..goal));
    second.wait_for(&format!("\"endOffset\":{{\"{topic}\":{{\"0\":{goal}}}}}"), BOUND);
    second.terminate();
    second.wait(BOUND).success();
    let rows = lake.digest("main", "table", &["partition", "offset"]);
    assert_eq!((rows.rows, rows.distinct), (u64::from(goal), u64::from(goal)));
}
