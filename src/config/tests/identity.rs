//! Who a stream is to Azure: one block for Event Hubs and storage, and the names that users bring along.

use super::*;
use crate::model::Identity;

const ABFSS: &str = "abfss://lake@acc.dfs.core.windows.net";

/// A stream from an event hub into a store of Azure, with more keys.
fn azure_stream(stream: &str) -> String {
    event_hubs("namespace: ns\neventHub: hub")
        .replace("path: lake/s", &format!("path: {ABFSS}/table"))
        .replace("checkpointLocation: cp/s\n", &format!("checkpointLocation: {ABFSS}/cp\n{stream}"))
}

/// The identities for Event Hubs and for storage.
fn identities(world: &World, stream: &str) -> (Identity, Option<Identity>) {
    let config = load_in(world, &azure_stream(stream), &[]).unwrap_or_else(|e| panic!("{stream}\n{e}"));
    let stream = &config.streams[0];
    let kafka = stream.source.kafka().unwrap().security.tokens.clone().expect("tokens log in");
    assert_eq!(kafka.scope, "https://ns.servicebus.windows.net/.default");
    (kafka.identity, Identity::from_options(&stream.storage.0).unwrap())
}

#[test]
fn one_block_serves_event_hubs_and_storage() {
    let world = world();
    let block = "    azure: {tenantId: t, clientId: c, clientSecret: '${env:PASSWORD}'}\n";
    let (kafka, storage) = identities(&world, block);
    assert_eq!(kafka.credential, application("t", "c", "hunter2"));
    assert_eq!(storage, Some(kafka));
    let file = "    azure: {tenantId: t, clientId: c, clientSecret: '${file:/run/key}'}\n";
    let (kafka, storage) = identities(&world, file);
    let Credential::ClientSecret { secret, .. } = &kafka.credential else { panic!("{kafka}") };
    assert_eq!(secret, &Secret::File("/run/key".into()), "it is read again for every token");
    assert_eq!(storage, Some(kafka));
    let config = load_in(&world, &azure_stream(&block.replace("${env:PASSWORD}", "hunter2")), &[]).unwrap();
    assert!(!format!("{config:?}{}", config.to_yaml()).contains("hunter2"));
    let shown = load_in(
        &world,
        &azure_stream(
            "    azure: {credential: workloadIdentity, tenantId: t, clientId: c, federatedTokenFile: /run/t}\n",
        ),
        &[],
    );
    let shown = shown.unwrap().to_yaml();
    assert!(shown.contains("credential: workloadIdentity") && shown.contains("/run/t"), "{shown}");
}

#[test]
fn without_a_block_the_environment_says_who_we_are() {
    let (kafka, storage) = identities(&World::default(), "");
    assert_eq!((kafka.to_string().as_str(), storage), ("the managed identity", Some(kafka.clone())));
    let env = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token"),
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"),
    ];
    let aks = World { env: env.into(), ..World::default() };
    let (kafka, storage) = identities(&aks, "");
    assert_eq!((kafka.to_string().as_str(), storage), ("workload identity c", Some(kafka.clone())));
    assert_eq!(kafka.authority, "https://login.microsoftonline.us");
}

#[test]
fn a_key_or_a_signature_opens_storage_without_an_identity() {
    for given in
        ["azure_storage_account_key: k", "sas_token: s", "fs.azure.account.key.acc.dfs.core.windows.net: k"]
    {
        let stream = format!("    storageOptions: {{ {given} }}\n");
        assert_eq!(identities(&world(), &stream).1, None, "{given}");
    }
    let mut keyed = world();
    keyed.env.insert("AZURE_STORAGE_ACCOUNT_KEY", "k");
    assert_eq!(identities(&keyed, "").1, None);
    assert!(
        identities(&keyed, "    azure: {credential: azureCli}\n").1.is_some(),
        "what the file says goes first"
    );
    let local = one(&file_with("subscribe: t", "azure: {credential: azureCli}", ""));
    assert!(local.storage.0.is_empty(), "nothing is on Azure");
}

#[test]
fn settings_of_hadoop_for_two_accounts_are_refused_and_repeated_ones_are_not() {
    let keys = |one: &str, other: &str| {
        format!(
            "    conf:\n      fs.azure.account.key.{one}: k\n      spark.hadoop.fs.azure.account.key.{other}\n"
        )
    };
    let (one, other) = ("acc.dfs.core.windows.net", "other.dfs.core.windows.net");
    let error = load(&azure_stream(&keys(one, &format!("{other}: hunter3")))).unwrap_err().to_string();
    assert!(
        error.contains(&format!("fs.azure.account.key is given for two accounts, {one} and {other}")),
        "{error}"
    );
    assert!(!error.contains("hunter3"), "{error}");
    for same in ["acc.blob.core.windows.net: k", "other.dfs.core.windows.net: k"] {
        assert!(load(&azure_stream(&keys(one, same))).is_ok(), "{same}");
    }
}

#[test]
fn hadoops_settings_are_taken_in_conf_and_in_storage_options() {
    let block = |prefix: &str, tail: &str| {
        format!(
            "{prefix}fs.azure.account.auth.type{tail}: OAuth
{prefix}fs.azure.account.oauth.provider.type{tail}: org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider
{prefix}fs.azure.account.oauth2.client.id{tail}: app
{prefix}fs.azure.account.oauth2.client.secret{tail}: ${{env:PASSWORD}}
{prefix}fs.azure.account.oauth2.client.endpoint{tail}: https://login.microsoftonline.us/tenant/oauth2/token
{prefix}fs.azure.io.retry.max.retries: 3"
        )
    };
    let indented = |section: &str, lines: &str| {
        let lines: String = lines.lines().map(|line| format!("      {line}\n")).collect();
        format!("    {section}:\n{lines}")
    };
    for stream in [
        indented("conf", &block("spark.hadoop.", ".acc.dfs.core.windows.net")),
        indented("conf", &block("", "")),
        indented("storageOptions", &block("", ".acc.dfs.core.windows.net")),
    ] {
        let storage = identities(&world(), &stream).1.unwrap();
        assert_eq!(storage.credential, application("tenant", "app", "hunter2"), "{stream}");
        assert_eq!(storage.authority, "https://login.microsoftonline.us");
        let warnings = load(&azure_stream(&stream)).unwrap().warnings.join("\n");
        assert!(warnings.contains("fs.azure.io.retry.max.retries has no effect here"), "{warnings}");
    }
    let msi = "    conf: {fs.azure.account.oauth.provider.type: org.apache.hadoop.fs.azurebfs.oauth2.MsiTokenProvider, fs.azure.account.oauth2.client.id: i}\n";
    assert_eq!(identities(&world(), msi).1.unwrap().to_string(), "managed identity i");
    let workload = "    conf: {fs.azure.account.oauth.provider.type: o.a.h.WorkloadIdentityTokenProvider, fs.azure.account.oauth2.client.id: i, fs.azure.account.oauth2.msi.tenant: t, fs.azure.account.oauth2.token.file: /t}\n";
    assert_eq!(identities(&world(), workload).1.unwrap().to_string(), "workload identity i");
}

#[test]
fn what_cannot_be_an_identity_is_refused_with_the_remedy_and_without_secrets() {
    let cases = [
        ("azure: {clientSecret: hunter2, tenantId: t}", "clientId is missing, and so is AZURE_CLIENT_ID"),
        ("azure: {credential: kerberos}", "credential is one of clientSecret"),
        ("azure: {password: hunter2}", "unknown key password"),
        ("storageOptions: {azure_msi_resource_id: x}", "name a user-assigned identity by azure_client_id"),
        (
            "storageOptions: {azure_client_secret: hunter2, azure_tenant_id: t}",
            "the identity for storage: clientId is missing",
        ),
        (
            "storageOptions: {fs.azure.account.oauth2.client.secret: '{{secrets/hunter2/key}}'}",
            "secret scopes are Databricks'",
        ),
        (
            "storageOptions: {user_agent: \"hunter2\\n\"}",
            "user_agent: the value cannot be sent as an HTTP header",
        ),
        ("conf: {fs.azure.account.auth.type: Custom}", "expected SharedKey, OAuth, SAS"),
        (
            "conf: {fs.azure.account.oauth.provider.type: com.example.hunter2}",
            "known are ClientCredsTokenProvider, MsiTokenProvider and WorkloadIdentityTokenProvider",
        ),
        (
            "conf: {fs.azure.account.oauth2.client.endpoint: 'https://hunter2/t'}",
            "the token endpoint is not an Entra ID endpoint",
        ),
    ];
    for (stream, says) in cases {
        let message = load_in(&World::default(), &azure_stream(&format!("    {stream}\n")), &[]);
        let message = message.err().map_or_else(|| panic!("{stream} loads"), |error| error.to_string());
        assert!(message.contains(says) && !message.contains("hunter2"), "no `{says}` in {message}");
    }
}
