//! Configurations printed as YAML load to the same ones; the examples and pages of the repository load.

use super::*;

#[test]
fn the_printed_configuration_loads_to_the_same_one() {
    let yaml = format!(
        "warehouse: ${{env:USER}}/lake\n{}",
        file_with(
            "subscribe: t\nstartingOffsets: {t: {0: 1}}\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"$ConnectionString\" password=\"${env:PASSWORD}\";'",
            "memoryLimit: 1g\ntrigger: {processingTime: 5 seconds}\nstorageOptions: {azure_storage_account_key: \"${file:/run/key}\"}\nconf: {}",
            "",
        )
        .replace("path: lake/s", "table: s")
    );
    let flags = [Setting::list(
        "--partition-by",
        &["sink", "partitionBy"],
        vec!["topic".into(), "timestampType".into()],
    )];
    let config = load_in(&world(), &yaml, &flags).unwrap();
    let printed = config.to_yaml();
    assert!(
        !printed.contains("hunter2") && !printed.contains("k3y") && !printed.contains("masked"),
        "{printed}"
    );
    assert!(printed.contains("path: ${env:USER}/lake/s\n"), "{printed}");
    let again = load(&printed).unwrap_or_else(|e| panic!("{printed}\n{e}"));
    assert_eq!(again.streams, config.streams);
    assert_eq!(again.to_yaml(), printed);
}

#[test]
fn a_text_that_looks_like_a_boolean_or_a_number_keeps_its_quotes() {
    let merge = "merge: {keys: [topic], whenMatched: update, deleteWhen: {column: key, values: ['true', \"1\", 'Y', 'd', false, x]}}";
    let config = load(&file_with("subscribe: t", "", merge)).unwrap();
    let printed = config.to_yaml();
    let values: Vec<&str> =
        printed.lines().skip_while(|line| line.trim() != "values:").skip(1).take(6).collect();
    let values: Vec<&str> = values.into_iter().map(str::trim).collect();
    assert_eq!(values, ["- \"true\"", "- \"1\"", "- \"Y\"", "- d", "- false", "- x"], "{printed}");
    assert_eq!(load(&printed).unwrap().streams, config.streams);
}

#[test]
fn literal_secrets_are_masked_in_print() {
    let yaml = file_with(
        "subscribe: t\nkafka.security.protocol: SASL_SSL\nkafka.sasl.mechanism: PLAIN\nkafka.sasl.jaas.config: 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"hunter2\";'\nkafka.ssl.key.password: x${env:USER}hunter2",
        "storageOptions: {azure_storage_sas_key: hunter2, azure_storage_master_key: hunter2, not_known_yet: hunter2, proxy_url: 'u:hunter2@p'}",
        "tableProperties: {team: hunter2}",
    );
    let printed = load(&yaml).unwrap().to_yaml();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(printed.matches("\"********\"").count(), 7, "{printed}");
    assert!(printed.starts_with("# Secrets are masked; write ${env:NAME}"), "{printed}");
}

#[test]
fn the_values_that_print_masks_are_named_and_refused_in_a_file() {
    let file = |key: &str| {
        file_with(
            "subscribe: t",
            &format!("storageOptions: {{azure_storage_sas_key: {key}}}"),
            "tableProperties: {team: lake}",
        )
    };
    let (printed, masked) = load(&file("hunter2")).unwrap().printed();
    let masked = masked.expect("values are masked");
    assert!(masked.contains("are masked: team, azure_storage_sas_key; write ${env:NAME}"), "{masked}");
    let refused = message(&printed);
    assert!(
        refused.contains("storageOptions.azure_storage_sas_key: this is what --print-config writes"),
        "{refused}"
    );
    let open = file("'${env:PASSWORD}'").replace("{team: lake}", "{delta.appendOnly: true}");
    assert_eq!(load(&open).unwrap().printed().1, None);
}

#[test]
fn a_default_is_masked_as_any_other_text_under_a_name_of_secrets() {
    let yaml = file_with(
        "subscribe: '${env:TOPIC:-t}'",
        "storageOptions: {azure_storage_sas_key: '${env:NOPE:-hunter2}'}",
        "",
    );
    let printed = load(&yaml).unwrap().to_yaml();
    assert!(printed.contains("${env:TOPIC:-t}") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn the_examples_of_the_repository_load_and_read_back() {
    let mut world = world();
    world.env.insert(
        "EVENT_HUBS_CONNECTION_STRING",
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=y",
    );
    let set = [("KAFKA_BOOTSTRAP_SERVERS", "b:9092"), ("KAFKA_USERNAME", "u"), ("KAFKA_PASSWORD", "p")];
    world.env.extend([("EVENT_HUBS_NAMESPACE", "ns"), ("STORAGE_ACCOUNT", "acc")]);
    world.env.extend([
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/t"),
    ]);
    world.env.extend(set);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let in_folder = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = in_folder(&folder).chain(in_folder(&folder.join("examples"))).collect();
    files.retain(|path| path.is_file());
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let config = load_in(&world, &text, &[]).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", file.display());
        let again = load_in(&world, &config.to_yaml(), &[]).unwrap();
        assert_eq!(again.streams, config.streams, "{}", file.display());
    }
}

#[test]
fn whole_stream_files_on_the_pages_are_read() {
    // As in a pod with workload identity.
    let env =
        ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"].map(|name| (name, "given"));
    let pod = World { env: env.into(), ..world() };
    let mut count = 0;
    for page in ["README.md", "docs/azure.md", "docs/from-spark.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if !block.starts_with("streams:\n") {
                continue;
            }
            let read = load_in(&pod, block, &[]);
            assert!(read.is_ok(), "{page}:\n{block}\n{}", read.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} files");
}
