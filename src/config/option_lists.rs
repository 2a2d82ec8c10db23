//! The three lists of options that users may paste: honoured; accepted, has no effect here; refused.
//!
//! One table per place, read by the parsers and by the generator of `docs/reference/kafka-options.md`
//! and `docs/reference/spark-options.md`. Sources: Spark's `KafkaSourceProvider`, `JSONOptions` and
//! `DeltaOptions`, Kafka's `ConsumerConfig`, librdkafka's CONFIGURATION.md.

use crate::decode::json;

/// In which list an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// It does what it does in Spark.
    Honoured,
    /// Honoured under these names of librdkafka.
    Renamed(&'static [&'static str]),
    /// It is accepted with one warning.
    NoEffect,
    /// It stops the start.
    Refused,
}

/// One option.
#[derive(Clone, Copy)]
pub(super) struct OptionRow {
    /// As Spark or Kafka spells it; compared without case. `*` at its end stands for any rest.
    pub name: &'static str,
    pub list: List,
    /// Of an honoured option: what to know; of the others: why, and what to do instead.
    pub text: &'static str,
}

impl OptionRow {
    /// Whether it stands for all names that begin as it does.
    pub(super) fn is_pattern(&self) -> bool {
        self.name.ends_with('*')
    }
}

const fn honoured(name: &'static str, text: &'static str) -> OptionRow {
    OptionRow { name, list: List::Honoured, text }
}

const fn renamed(name: &'static str, to: &'static [&'static str], text: &'static str) -> OptionRow {
    OptionRow { name, list: List::Renamed(to), text }
}

const fn no_effect(name: &'static str, text: &'static str) -> OptionRow {
    OptionRow { name, list: List::NoEffect, text }
}

const fn refused(name: &'static str, text: &'static str) -> OptionRow {
    OptionRow { name, list: List::Refused, text }
}

/// The row of `name` in `table`, compared without case.
pub(super) fn find(table: &'static [OptionRow], name: &str) -> Option<&'static OptionRow> {
    let begins = |start: &str| name.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start));
    let exact = table.iter().find(|row| row.name.eq_ignore_ascii_case(name));
    exact.or_else(|| table.iter().find(|row| row.name.strip_suffix('*').is_some_and(begins)))
}

/// Options of Spark's Kafka source without the `kafka.` ones.
pub(super) static SOURCE: &[OptionRow] = &[
    honoured(
        "subscribe",
        "Topics, separated by commas. Exactly one of subscribe, subscribePattern and assign.",
    ),
    honoured(
        "subscribePattern",
        "A regular expression that is found anywhere in a topic's name. Java's look-around and back-references are refused.",
    ),
    honoured("assign", "Partitions, such as {\"orders\":[0,1]}; those that do not exist are left out."),
    honoured(
        "startingOffsets",
        "earliest, latest or {\"orders\":{\"0\":23,\"1\":-1,\"2\":-2}} (-1 latest, -2 earliest) for every partition. Applies to new queries only. Default latest; alluvia ingest: earliest.",
    ),
    honoured(
        "startingTimestamp",
        "Milliseconds since the Unix epoch. Takes precedence over startingOffsetsByTimestamp.",
    ),
    honoured(
        "startingOffsetsByTimestamp",
        "{\"orders\":{\"0\":1000,\"1\":1000}}, milliseconds for every partition. Takes precedence over startingOffsets.",
    ),
    honoured(
        "startingOffsetsByTimestampStrategy",
        "error or latest: what to do if no record is at or after the timestamp. Default error.",
    ),
    honoured(
        "failOnDataLoss",
        "true stops the stream when offsets are lost; false records the loss and goes on. Default true.",
    ),
    honoured(
        "maxOffsetsPerTrigger",
        "At most about this many offsets per micro-batch. Default: 5,000,000 without a trigger, and what fits a quarter of memoryLimit at 200 bytes an offset with sink.merge, at 500 with state, where a watermark stays as it is until the whole batch is read; else no limit.",
    ),
    honoured("minOffsetsPerTrigger", "Wait until this many offsets are there. No default."),
    honoured("maxTriggerDelay", "The longest wait for minOffsetsPerTrigger. Default 15m."),
    honoured(
        "minPartitions",
        "Split the ranges of a micro-batch into at least this many pieces. No default.",
    ),
    honoured("includeHeaders", "true adds the column headers. Default false."),
    honoured("groupIdPrefix", "The start of the generated group id. Default spark-kafka-source."),
    honoured(
        "commitOffsets",
        "Alluvia's own. true commits where the stream is to a consumer group, for the tools that show a group's lag: to kafka.group.id, else to groupIdPrefix with - and the stream's name behind it. Give the stream a group of its own: offsets of others in it are overwritten. The group is never read or joined, and one that cannot be written costs a warning. Default false.",
    ),
    honoured(
        "kafkaConsumer.pollTimeoutMs",
        "How long a fetch may bring nothing while offsets are outstanding. Default 120000.",
    ),
    honoured("fetchOffset.numRetries", "How often offsets are asked for. Default 3."),
    honoured("fetchOffset.retryIntervalMs", "The wait between two such attempts. Default 1000."),
    no_effect("endingTimestamp", "a stream has no end; Spark ignores it in streams too"),
    no_effect("maxRecordsPerPartition", "lanes split ranges by themselves; the rows of a batch are the same"),
    refused(
        "endingOffsets",
        "it is for batch queries; use trigger availableNow to stop at the end there is now",
    ),
    refused(
        "endingOffsetsByTimestamp",
        "it is for batch queries; use trigger availableNow to stop at the end there is now",
    ),
    refused(
        "asyncProgressTrackingEnabled",
        "it gives up exactly-once; remove it, commits do not wait for the next batch's fetch here",
    ),
    refused("asyncProgressTrackingCheckpointIntervalMs", "it gives up exactly-once; remove it"),
    refused(
        "databricks.serviceCredential",
        "it works in Databricks only; remove it, and give the identity in the block azure",
    ),
    refused(
        "databricks.serviceCredential.scope",
        "it works in Databricks only; remove it, and give the identity in the block azure",
    ),
    refused("topic", "it is for writing to Kafka; use subscribe"),
];

/// Options of `format: eventhubs` beside those of the Kafka source, those of azure-event-hubs-spark included.
pub(super) static EVENT_HUBS: &[OptionRow] = &[
    honoured(
        "connectionString",
        "Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=…;SharedAccessKey=…, with ;EntityPath=HUB if you like. Logs in with SASL/PLAIN. eventhubs.connectionString is the same.",
    ),
    honoured(
        "namespace",
        "Instead of connectionString: my-namespace, or its host name in a sovereign cloud. Logs in with tokens of Entra ID for the identity of the block azure.",
    ),
    honoured(
        "eventHub",
        "The event hub; default: EntityPath. subscribe and its relatives may be given instead. eventhubs.name is the same.",
    ),
    honoured(
        "consumerGroup",
        "The group that clients name, and that commitOffsets commits to; no group is joined. eventhubs.consumerGroup is the same.",
    ),
    honoured("tenantId", "With namespace: instead of the block azure's."),
    honoured("clientId", "With namespace: instead of the block azure's."),
    honoured("clientSecret", "With namespace: instead of the block azure's."),
    honoured("eventhubs.maxEventsPerTrigger", "As maxOffsetsPerTrigger."),
    no_effect("eventhubs.receiverTimeout", "it is of AMQP; kafka.request.timeout.ms bounds a request here"),
    no_effect("eventhubs.operationTimeout", "it is of AMQP; kafka.request.timeout.ms bounds a request here"),
    no_effect("eventhubs.prefetchCount", "it is of AMQP; memoryLimit bounds what is fetched ahead"),
    no_effect("eventhubs.threadPoolSize", "it is of AMQP; lanes decides"),
    no_effect("eventhubs.maxSilentTime", "it is of AMQP; idle connections are kept alive"),
    no_effect(
        "eventhubs.useExclusiveReceiver",
        "the Kafka endpoint has no exclusive receivers; the checkpoint has one owner",
    ),
    no_effect("eventhubs.partitionPreferredLocationStrategy", "a partition stays on its lane"),
    no_effect("eventhubs.slowPartitionAdjustment", "lanes do not wait for each other's partitions"),
    no_effect("eventhubs.maxAcceptableBatchReceiveTime", "lanes do not wait for each other's partitions"),
    no_effect("eventhubs.dynamicPartitionDiscovery", "new partitions are always found"),
    no_effect("eventhubs.metricPlugin", "Java classes cannot run here; progress is always reported"),
    no_effect(
        "eventhubs.throttlingStatusPlugin",
        "Java classes cannot run here; throttle times are in the progress",
    ),
    refused(
        "eventhubs.startingPosition",
        "use startingOffsets (an offset of the Kafka endpoint is the sequence number of AMQP) or startingTimestamp for enqueuedTime",
    ),
    refused(
        "eventhubs.startingPositions",
        "use startingOffsets as JSON, {\"HUB\":{\"0\":23}} (an offset of the Kafka endpoint is the sequence number of AMQP), or startingOffsetsByTimestamp",
    ),
    refused("eventhubs.endingPosition", "it is for batch queries; use trigger availableNow"),
    refused("eventhubs.endingPositions", "it is for batch queries; use trigger availableNow"),
    refused(
        "eventhubs.useAadAuth",
        "give namespace instead of connectionString; the identity is that of the block azure",
    ),
    refused(
        "eventhubs.AadAuthCallback",
        "Java classes cannot run here; give namespace instead of connectionString; the identity is that of the block azure",
    ),
    refused(
        "eventhubs.AadAuthCallbackParams",
        "Java classes cannot run here; give namespace instead of connectionString; the identity is that of the block azure",
    ),
    refused("eventhubs.useSimulatedClient", "point kafka.bootstrap.servers at a broker that stands in"),
];

/// Properties of Kafka's Java consumer, named without `kafka.`, as far as they differ from
/// librdkafka's or need a word. What is neither here nor in [`super::librdkafka`] is refused.
pub(super) static KAFKA: &[OptionRow] = &[
    honoured("bootstrap.servers", "Required."),
    honoured(
        "group.id",
        "Used as it is, instead of groupIdPrefix, also by commitOffsets; no group is joined.",
    ),
    honoured(
        "isolation.level",
        "read_committed or read_uncommitted, for the data and for where the log ends. Default read_uncommitted, as in Java and Spark.",
    ),
    honoured("security.protocol", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."),
    honoured("sasl.mechanism", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (tokens of Entra ID)."),
    honoured(
        "sasl.jaas.config",
        "PlainLoginModule or ScramLoginModule with username and password, or OAuthBearerLoginModule with clientId, clientSecret and scope; kafkashaded. in front is cut off.",
    ),
    honoured(
        "sasl.oauthbearer.token.endpoint.url",
        "Where tokens are asked for: https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, or the same of another cloud of Entra ID.",
    ),
    honoured(
        "sasl.login.callback.handler.class",
        "Only OAuthBearerLoginCallbackHandler, with sasl.mechanism OAUTHBEARER; it names what is built in here.",
    ),
    renamed("request.timeout.ms", &["socket.timeout.ms"], ""),
    renamed("fetch.max.wait.ms", &["fetch.wait.max.ms"], ""),
    renamed("metadata.max.age.ms", &["topic.metadata.refresh.interval.ms", "metadata.max.age.ms"], ""),
    renamed("receive.buffer.bytes", &["socket.receive.buffer.bytes"], "-1 (the system's default) becomes 0."),
    renamed("send.buffer.bytes", &["socket.send.buffer.bytes"], "-1 (the system's default) becomes 0."),
    honoured(
        "ssl.endpoint.identification.algorithm",
        "https, or empty for none (no check of the broker's name).",
    ),
    honoured("ssl.truststore.type", "PEM. JKS and PKCS12 are refused, see ssl.truststore.location."),
    honoured(
        "ssl.truststore.location",
        "A PEM file, becomes ssl.ca.location. Turn others into PEM: keytool -list -rfc -keystore truststore.jks > ca.pem",
    ),
    honoured("ssl.truststore.certificates", "PEM text, becomes ssl.ca.pem."),
    no_effect("ssl.truststore.password", "a PEM truststore has none"),
    honoured("ssl.keystore.type", "PEM or PKCS12. JKS is refused, see ssl.keystore.location."),
    honoured(
        "ssl.keystore.location",
        "A PEM file (key and certificates, becomes ssl.key.location and ssl.certificate.location) or a PKCS#12 file. Turn JKS into PKCS#12: keytool -importkeystore -srckeystore keystore.jks -destkeystore keystore.p12 -deststoretype PKCS12",
    ),
    honoured("ssl.keystore.password", "Of a PKCS#12 file."),
    honoured("ssl.keystore.certificate.chain", "PEM text, becomes ssl.certificate.pem."),
    honoured("ssl.keystore.key", "PEM text, becomes ssl.key.pem."),
    no_effect("ssl.protocol", "OpenSSL takes the best version that both sides know"),
    no_effect(
        "ssl.enabled.protocols",
        "OpenSSL takes the best version that both sides know, TLS 1.2 or newer",
    ),
    no_effect("ssl.provider", "there is no JVM; OpenSSL is built in"),
    no_effect("ssl.keymanager.algorithm", "there is no JVM; OpenSSL is built in"),
    no_effect("ssl.trustmanager.algorithm", "there is no JVM; OpenSSL is built in"),
    no_effect("ssl.secure.random.implementation", "there is no JVM; OpenSSL is built in"),
    no_effect("security.providers", "there is no JVM; OpenSSL is built in"),
    no_effect(
        "max.poll.records",
        "records are not polled one list at a time; maxOffsetsPerTrigger bounds a batch",
    ),
    no_effect(
        "default.api.timeout.ms",
        "kafkaConsumer.pollTimeoutMs and request.timeout.ms bound every wait",
    ),
    no_effect(
        "auto.commit.interval.ms",
        "offsets are kept in the checkpoint, not committed to Kafka by the client",
    ),
    no_effect("partition.assignment.strategy", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("group.protocol", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("group.remote.assignor", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("group.instance.id", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("heartbeat.interval.ms", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("session.timeout.ms", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("max.poll.interval.ms", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("coordinator.query.interval.ms", "partitions are assigned by Alluvia; no group is joined"),
    no_effect("allow.auto.create.topics", "a topic that does not exist is never created"),
    no_effect("log_level", "the log level decides: ALLUVIA_LOG=librdkafka=debug"),
    no_effect("exclude.internal.topics", "internal topics never match a pattern"),
    no_effect(
        "socket.connection.setup.timeout.max.ms",
        "socket.connection.setup.timeout.ms is the one bound here",
    ),
    no_effect("metric.reporters", "there is no JVM to report for"),
    no_effect("metrics.num.samples", "there is no JVM to report for"),
    no_effect("metrics.recording.level", "there is no JVM to report for"),
    no_effect("metrics.sample.window.ms", "there is no JVM to report for"),
    no_effect("auto.include.jmx.reporter", "there is no JVM to report for"),
    no_effect("share.acknowledgement.mode", "share groups are not used"),
    refused(
        "auto.offset.reset",
        "where to start is decided by startingOffsets, and what to do about lost offsets by failOnDataLoss",
    ),
    refused("enable.auto.commit", "offsets are kept in the checkpoint; remove it"),
    refused("key.deserializer", "keys are always bytes; remove it"),
    refused("value.deserializer", "values are bytes, or decoded by source.value; remove it"),
    refused("key.serializer", "nothing is written to Kafka; remove it"),
    refused("value.serializer", "nothing is written to Kafka; remove it"),
    refused("interceptor.classes", "Java classes cannot run here; remove it"),
    refused("config.providers", "Java classes cannot run here; use ${env:NAME} or ${file:/path}"),
    refused(
        "ssl.engine.factory.class",
        "Java classes cannot run here; use ssl.truststore.* and ssl.keystore.*",
    ),
    refused("sasl.login.class", "Java classes cannot run here; use sasl.mechanism PLAIN or SCRAM-SHA-512"),
    refused(
        "sasl.client.callback.handler.class",
        "Java classes cannot run here; use sasl.mechanism PLAIN or SCRAM-SHA-512",
    ),
    refused(
        "sasl.kerberos.service.name",
        "Kerberos is not built in; use sasl.mechanism PLAIN or SCRAM-SHA-512",
    ),
    refused("enable.auto.offset.store", "offsets are kept in the checkpoint; remove it"),
    refused("enable.partition.eof", "Alluvia sets it to know the end of a range; remove it"),
    refused("auto.commit.enable", "offsets are kept in the checkpoint; remove it"),
    refused("metadata.broker.list", "use kafka.bootstrap.servers"),
    refused("sasl.mechanisms", "use kafka.sasl.mechanism"),
    refused("plugin.library.paths", "plug-ins cannot be loaded; remove it"),
];

/// Spark's options of JSON (`JSONOptions`): those that the decoder knows, which reads their values, and those that are refused.
pub(super) static JSON: &[OptionRow] = &json_rows();

const JSON_REFUSED: [OptionRow; 3] = [
    refused("mode", "write it beside schema: value.mode"),
    refused("columnNameOfCorruptRecord", "write it beside schema: value.columnNameOfCorruptRecord"),
    refused("singleVariantColumn", "VARIANT is not available in this version; use a STRING column"),
];

const fn json_rows() -> [OptionRow; json::HONOURED.len() + json::NO_EFFECT.len() + JSON_REFUSED.len()] {
    let mut rows = [JSON_REFUSED[0]; json::HONOURED.len() + json::NO_EFFECT.len() + JSON_REFUSED.len()];
    let mut at = 0;
    while at < rows.len() {
        rows[at] = if at < json::HONOURED.len() {
            let (name, text) = json::HONOURED[at];
            honoured(name, text)
        } else if at - json::HONOURED.len() < json::NO_EFFECT.len() {
            let (name, text) = json::NO_EFFECT[at - json::HONOURED.len()];
            no_effect(name, text)
        } else {
            JSON_REFUSED[at - json::HONOURED.len() - json::NO_EFFECT.len()]
        };
        at += 1;
    }
    rows
}

/// Options of Spark's rate source.
pub(super) static RATE: &[OptionRow] = &[
    honoured("rowsPerSecond", "How many rows a second. Default 1."),
    honoured(
        "rampUpTime",
        "How long the rate takes to grow to that, such as 5s; whole seconds count. Default 0s.",
    ),
    honoured("numPartitions", "Into how many parts a batch is split. Default: one per lane."),
];

/// Options of Spark's socket source.
pub(super) static SOCKET: &[OptionRow] = &[
    honoured("host", "Required. The server to connect to."),
    honoured("port", "Required. Its port."),
    honoured("includeTimestamp", "true adds the column timestamp: when the line came. Default false."),
    no_effect("numPartitions", "the lines are read by one lane"),
];

/// Options of Spark's console sink.
pub(super) static CONSOLE: &[OptionRow] = &[
    honoured("numRows", "How many rows of a batch are shown. Default 20."),
    honoured("truncate", "true cuts values after 20 characters. Default true."),
];

/// Spark's options of the Delta sink (`DeltaOptions`).
pub(super) static DELTA: &[OptionRow] = &[
    honoured("mergeSchema", "true adds new columns to an existing table. Default false."),
    honoured(
        "compression",
        "Sets the table property delta.parquet.compression.codec, if this stream creates the table.",
    ),
    honoured("delta.*", "Set the table properties of these names, if this stream creates the table."),
    no_effect("optimizeWrite", "a batch is written in few files of the target size anyway"),
    no_effect("autoCompact", "the sink's key autoCompact joins small files"),
    no_effect("maxRecordsPerFile", "files are closed by size"),
    refused("path", "write it beside format: sink.path"),
    refused("checkpointLocation", "write it in the stream: checkpointLocation"),
    refused("queryName", "write it in the stream: name"),
    refused("overwriteSchema", "a stream appends; use mergeSchema, or replace the table before the start"),
    refused("replaceWhere", "a stream appends; remove it"),
    refused("partitionOverwriteMode", "a stream appends; remove it"),
    refused("txnAppId", "Alluvia writes the query's own txn; remove it"),
    refused("txnVersion", "Alluvia writes the query's own txn; remove it"),
    refused("userMetadata", "commitInfo carries what the checkpoint needs; remove it"),
    refused("dataChange", "appended rows are always a change; remove it"),
];

/// Options of Spark's file formats, for static tables.
pub(super) static TABLE: &[OptionRow] = &[
    honoured("header", "Of csv: whether the first line of a file has names. Default false."),
    honoured("sep", "Of csv: the one character between two values. Default a comma."),
    no_effect("inferSchema", "the columns are those of schema"),
    refused("multiLine", "only files with one record a line are read"),
    refused("versionAsOf", "a table is read as it is when a micro-batch is planned"),
    refused("timestampAsOf", "a table is read as it is when a micro-batch is planned"),
];

/// Why settings of executors, memory, shuffles and the like do nothing.
const NO_CLUSTER: &str = "there is no Spark cluster and no JVM";

/// Settings of a Spark session.
pub(super) static CONF: &[OptionRow] = &[
    honoured("spark.sql.session.timeZone", "Of timestamps without a zone. Default UTC."),
    honoured(
        "spark.sql.ansi.enabled",
        "Whether overflow, bad casts and bad indices in sql are errors (true) or NULL. Default true.",
    ),
    honoured("spark.sql.caseSensitive", "Whether sql compares names in exact case. Default false."),
    honoured("spark.sql.columnNameOfCorruptRecord", "If value.columnNameOfCorruptRecord is absent."),
    honoured("spark.sql.streaming.minBatchesToRetain", "If minBatchesToRetain is absent."),
    honoured(
        "spark.sql.streaming.multipleWatermarkPolicy",
        "Which of several watermarks counts: min (the default) or max.",
    ),
    honoured(
        "spark.sql.streaming.noDataMicroBatches.enabled",
        "Whether a batch without data writes what the watermark has completed. Default true.",
    ),
    honoured(
        "spark.sql.parquet.compression.codec",
        "Sets the table property delta.parquet.compression.codec, if this stream creates the table and nothing nearer to the sink sets it.",
    ),
    honoured(
        "spark.databricks.delta.properties.defaults.*",
        "Set the table properties delta.*, if this stream creates the table and sink.tableProperties does not set them. Not for the table of dead letters.",
    ),
    no_effect("spark.sql.shuffle.partitions", "nothing is shuffled"),
    no_effect("spark.default.parallelism", "lanes decides"),
    no_effect("spark.sql.adaptive.enabled", "there is no plan to adapt"),
    no_effect("spark.sql.streaming.pollingDelay", "new offsets are asked for as the trigger says"),
    no_effect("spark.sql.streaming.metricsEnabled", "progress is always reported"),
    no_effect("spark.sql.streaming.stopActiveRunOnRestart", "one checkpoint has one owner"),
    no_effect("spark.sql.streaming.stateStore.providerClass", "there is one kind of state store"),
    no_effect("spark.databricks.delta.optimizeWrite.enabled", "a batch is written in few files anyway"),
    no_effect("spark.databricks.delta.autoCompact.enabled", "the sink's key autoCompact joins small files"),
    no_effect("spark.master", NO_CLUSTER),
    no_effect("spark.serializer", NO_CLUSTER),
    no_effect("spark.plugins", NO_CLUSTER),
    no_effect("spark.extraListeners", NO_CLUSTER),
    no_effect("spark.sql.extensions", "there are no extensions; Delta is built in"),
    no_effect("spark.sql.catalogImplementation", "there is no catalog; tables are named by path"),
    no_effect("spark.sql.warehouse.dir", "the file's key warehouse decides"),
    no_effect("spark.sql.autoBroadcastJoinThreshold", "static tables are always joined in memory"),
    no_effect("spark.sql.broadcastTimeout", "nothing is broadcast"),
    no_effect("spark.sql.queryExecutionListeners", "Java classes cannot run here"),
    no_effect("spark.sql.streaming.streamingQueryListeners", "Java classes cannot run here"),
    no_effect("spark.databricks.delta.preview.enabled", "Delta is built in"),
    no_effect(
        "spark.databricks.delta.retentionDurationCheck.enabled",
        "alluvia table vacuum has flags of its own",
    ),
    no_effect("spark.app.*", NO_CLUSTER),
    no_effect("spark.blockManager.*", NO_CLUSTER),
    no_effect("spark.broadcast.*", NO_CLUSTER),
    no_effect("spark.cleaner.*", NO_CLUSTER),
    no_effect("spark.cores.*", NO_CLUSTER),
    no_effect("spark.decommission.*", NO_CLUSTER),
    no_effect("spark.driver.*", NO_CLUSTER),
    no_effect("spark.dynamicAllocation.*", NO_CLUSTER),
    no_effect("spark.eventLog.*", NO_CLUSTER),
    no_effect("spark.excludeOnFailure.*", NO_CLUSTER),
    no_effect("spark.executor.*", NO_CLUSTER),
    no_effect("spark.executorEnv.*", NO_CLUSTER),
    no_effect("spark.files.*", NO_CLUSTER),
    no_effect("spark.history.*", NO_CLUSTER),
    no_effect("spark.io.*", NO_CLUSTER),
    no_effect("spark.kryo.*", NO_CLUSTER),
    no_effect("spark.kubernetes.*", NO_CLUSTER),
    no_effect("spark.local.*", NO_CLUSTER),
    no_effect("spark.locality.*", NO_CLUSTER),
    no_effect("spark.memory.*", NO_CLUSTER),
    no_effect("spark.metrics.*", NO_CLUSTER),
    no_effect("spark.network.*", NO_CLUSTER),
    no_effect("spark.port.*", NO_CLUSTER),
    no_effect("spark.pyspark.*", NO_CLUSTER),
    no_effect("spark.python.*", NO_CLUSTER),
    no_effect("spark.rdd.*", NO_CLUSTER),
    no_effect("spark.rpc.*", NO_CLUSTER),
    no_effect("spark.scheduler.*", NO_CLUSTER),
    no_effect("spark.shuffle.*", NO_CLUSTER),
    no_effect("spark.speculation.*", NO_CLUSTER),
    no_effect("spark.stage.*", NO_CLUSTER),
    no_effect("spark.storage.*", NO_CLUSTER),
    no_effect("spark.submit.*", NO_CLUSTER),
    no_effect("spark.task.*", NO_CLUSTER),
    no_effect("spark.ui.*", NO_CLUSTER),
    no_effect("spark.yarn.*", NO_CLUSTER),
    no_effect("spark.jars*", NO_CLUSTER),
    no_effect("spark.kryoserializer.*", NO_CLUSTER),
    no_effect("spark.databricks.cluster*", NO_CLUSTER),
    no_effect("spark.databricks.io.*", NO_CLUSTER),
    no_effect("spark.databricks.photon.*", NO_CLUSTER),
    no_effect("spark.databricks.passthrough.*", NO_CLUSTER),
    no_effect("spark.databricks.preemption.*", NO_CLUSTER),
    no_effect("spark.sql.adaptive.*", "there is no plan to adapt"),
    no_effect("spark.sql.catalog.*", "there is no catalog; tables are named by path"),
    no_effect("spark.sql.codegen.*", "there is no JVM to generate code for"),
    no_effect("spark.sql.files.*", "files are closed and read by size"),
    no_effect("spark.sql.hive.*", "there is no metastore; tables are named by path"),
    no_effect("spark.sql.inMemoryColumnarStorage.*", "nothing is cached"),
    no_effect("spark.sql.streaming.stateStore.*", "there is one kind of state store"),
    no_effect("spark.sql.streaming.ui.*", "there is a status page of its own"),
    no_effect("spark.sql.ui.*", "there is a status page of its own"),
    no_effect(
        "spark.databricks.delta.optimize.*",
        "alluvia table compact and the sink's key autoCompact join small files",
    ),
    refused("spark.sql.streaming.checkpointLocation", "write it in the stream: checkpointLocation"),
    refused("spark.sql.streaming.stopTimeout", "write it in the stream: shutdownTimeout"),
    refused(
        "spark.databricks.delta.schema.autoMerge.enabled",
        "write it in the sink: options: {mergeSchema: true}",
    ),
    refused("spark.sql.timestampType", "write TIMESTAMP_NTZ in the schema"),
    refused(
        "spark.sql.legacy.timeParserPolicy",
        "patterns are read as Spark 3 and later read them; remove it",
    ),
];
