//! Passwords that are wrong or revoked, by SCRAM and as Event Hubs takes them.

use std::time::Duration;

use super::{BOUND, numbered, run, table_rows};
use crate::rig::{Alluvia, Broker};

/// A stream over a listener with a login.
fn login_yaml(bootstrap: &str, topic: &str, login: &str, trigger: &str) -> String {
    format!(
        "streams:
  - name: login
    source:
      format: kafka
      options:
        kafka.bootstrap.servers: '{bootstrap}'
        subscribe: '{topic}'
        startingOffsets: earliest
{login}
    sink: {{ format: delta, path: ./table }}
    trigger: {trigger}
    checkpointLocation: ./checkpoint
    restart: {{ maxAttempts: 30, backoff: 100 ms }}
"
    )
}

fn scram(password: &str) -> String {
    format!(
        "        kafka.security.protocol: SASL_PLAINTEXT
        kafka.sasl.mechanism: SCRAM-SHA-512
        kafka.sasl.jaas.config: 'org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{password}\";'"
    )
}

fn event_hubs(broker: &Broker, password: &str) -> String {
    format!(
        "        kafka.security.protocol: SASL_SSL
        kafka.sasl.mechanism: PLAIN
        kafka.ssl.ca.location: '{}'
        kafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"{password}\";'",
        broker.fact("/ca")
    )
}

#[test]
fn a_wrong_password_is_said_at_once_and_never_printed() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic("logins", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let secret = "SharedAccessKey-not-the-password";
    let (scram_at, hubs_at) = (broker.fact("/bootstrap/scram"), broker.fact("/bootstrap/eventhubs"));
    for (bootstrap, login) in [(scram_at, scram(secret)), (hubs_at, event_hubs(broker, secret))] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = login_yaml(bootstrap, &topic, &login, "availableNow");
        let environment = [("ALLUVIA_LOG", "debug")];
        let ended = Alluvia::run_with(&yaml, folder.path(), &environment).wait(Duration::from_secs(30));
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("kafka.sasl.jaas.config"), "{}", ended.stderr);
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{}", ended.stderr);
    }
    let right = [
        (scram_at, scram(broker.fact("/scram/password"))),
        (hubs_at, event_hubs(broker, broker.fact("/eventhubs/password"))),
    ];
    for (bootstrap, login) in right {
        let folder = tempfile::tempdir().unwrap();
        run(&login_yaml(bootstrap, &topic, &login, "availableNow"), folder.path());
        assert_eq!(table_rows(folder.path()), 5);
    }
}

#[test]
fn a_password_that_is_revoked_under_a_running_stream_stops_it() {
    let Some(mut broker) = Broker::private() else { return };
    let topic = broker.topic("revoked", 1);
    broker.produce(&topic, numbered("v", 0..5));
    let folder = tempfile::tempdir().unwrap();
    let login = scram(broker.fact("/scram/password"));
    let yaml = login_yaml(broker.fact("/bootstrap/scram"), &topic, &login, "{ processingTime: 50 ms }");
    let program = Alluvia::run(&yaml, folder.path());
    program.wait_for("\"endOffset\":{", BOUND);
    let of = ["configs", "--alter", "--entity-type", "users", "--entity-name", "alice"];
    let revoked = broker.tool(&[&of[..], &["--delete-config", "SCRAM-SHA-512"]].concat());
    revoked.unwrap_or_else(|said| panic!("the user could not be revoked: {said}"));
    // Connections outlive their user's revocation, but not the broker's restart.
    broker.kill();
    broker.start();
    let ended = program.wait(BOUND);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().contains("kafka.sasl.jaas.config"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("alice-secret"));
}
