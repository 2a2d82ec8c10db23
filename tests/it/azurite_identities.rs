//! One identity of Entra ID for an event hub, its tables in Azure and the lease: over HTTPS, with tokens that end.

use std::fs;
use std::time::{Duration, Instant};

use crate::azurite::Lake;
use crate::identities::{Rig, with_azure_cli};
use crate::kafka_faults::numbered;
use crate::rig::{Azurite, Broker, Scheme, until};
use crate::scene::{BOUND, Scene, each};

fn rig() -> Option<(&'static Broker, &'static Azurite)> {
    Some((Broker::shared()?, Azurite::shared(Scheme::Https)?))
}

/// A file with the certificates of both servers' authorities.
fn trust(rig: &Rig, broker: &Broker, azurite: &Azurite) -> String {
    let path = rig.path("trusted.pem");
    let both = [broker.fact("/ca"), azurite.ca()].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&path, both.concat()).unwrap();
    path
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
        let environment = [
            ("AZURE_AUTHORITY_HOST", rig.entra.url.as_str()),
            ("SSL_CERT_FILE", &trusted),
            ("IDENTITY_ENDPOINT", &msi),
            ("IDENTITY_HEADER", "rig-header"),
            ("RIG_METADATA", &rig.entra.metadata),
            ("PATH", &cli),
        ];
        lake.run(&yaml, folder.path(), &environment).wait(BOUND).success();
        assert_eq!(lake.digest("main", "table", &["partition", "offset"]).distinct, 5, "{identity}");
    });
}

#[test]
fn a_token_for_storage_that_ends_is_renewed_without_a_gap_though_its_giver_is_away_for_a_while() {
    const LIFE_S: u32 = 8;
    let Some((broker, azurite)) = rig() else { return };
    let mut rig = Rig::start(broker, LIFE_S);
    let scene = Scene::new(broker, "azure-tokens", 1, 10_000, 500);
    let trusted = trust(&rig, broker, azurite);
    let identity = "    azure: { tenantId: tenant, clientId: app, clientSecret: s3cr3t-of-the-app }\n";
    let lake = Lake::with(azurite, "tokens", |_| Vec::new());
    let yaml = lake.moved(&format!("{}{identity}", scene.endless_yaml()), "main");
    let folder = tempfile::tempdir().unwrap();
    let environment = [("AZURE_AUTHORITY_HOST", rig.entra.url.as_str()), ("SSL_CERT_FILE", &trusted)];
    let program = lake.run(&yaml, folder.path(), &environment);
    program.wait_for("\"event\":\"progress\"", BOUND);
    let started = Instant::now();
    // The giver is away when the first renewal is due, for less than the token still holds.
    let (secret, aside) = (rig.path("secret"), rig.path("aside"));
    fs::rename(&secret, &aside).unwrap();
    rig.entra.wait_for("503");
    fs::rename(&aside, &secret).unwrap();
    // Commits go on over the end of two tokens and more.
    until("three lives of a token", Duration::from_secs(60), || {
        (started.elapsed() > Duration::from_secs(u64::from(3 * LIFE_S))).then_some(())
    });
    scene.produce(broker, 10_000);
    program.wait_for(&format!("\"endOffset\":{}", scene.end()), BOUND);
    program.terminate();
    let ended = program.wait(BOUND).success();
    assert!(ended.stderr.contains("the token could not be renewed"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("started again after a pause"), "{}", ended.stderr);
    lake.check(&scene, "main", "tokens that end");
}
