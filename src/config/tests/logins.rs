//! Logins at brokers and event hubs: what librdkafka is given, and that no secret is shown.

use super::*;

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
    assert!(kafka.token_login_may_change());
    // A certificate that is replaced changes nothing of what tokens are asked for with.
    let stream = one(&file_with("subscribe: t\nkafka.ssl.ca.location: /ca", "", ""));
    let kafka = stream.source.kafka().unwrap();
    assert!(kafka.credentials_may_change() && !kafka.token_login_may_change());
    assert!(!one(&file_with("subscribe: t", "", "")).source.kafka().unwrap().credentials_may_change());
}
