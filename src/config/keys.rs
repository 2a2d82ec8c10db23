//! Every key of the stream file, in one table: what is read, what comes later, what it means.
//!
//! The reader refuses what is not here, and `docs/reference/stream-file.md` is generated from it.

use super::option_lists::{self, OptionRow};

/// The keys that may stand in one mapping.
pub(super) struct Section {
    /// Where the mapping stands, as the documentation says it.
    pub path: &'static str,
    /// Its keys, in the order in which the documentation shows them.
    pub keys: &'static [Key],
    /// What may stand under its key `options`.
    pub options: &'static [OptionRow],
}

/// One key.
pub(super) struct Key {
    pub name: &'static str,
    pub status: Status,
    /// What it means and what it is if absent; of a later key, what to do instead.
    pub text: &'static str,
}

/// Whether a key can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It must be there.
    Required,
    /// It may be there.
    Optional,
    /// The design has it, this version does not.
    Later,
}

const fn required(name: &'static str, text: &'static str) -> Key {
    Key { name, status: Status::Required, text }
}

const fn optional(name: &'static str, text: &'static str) -> Key {
    Key { name, status: Status::Optional, text }
}

const fn later(name: &'static str, text: &'static str) -> Key {
    Key { name, status: Status::Later, text }
}

/// The top of a file.
pub(super) static FILE: Section = Section {
    path: "",
    keys: &[
        required("streams", "The streams, a list; all of them run in one process."),
        optional("warehouse", "A URL or path under which `table: NAME` is found. No default."),
    ],
    options: &[],
};

/// A stream.
pub(super) static STREAM: Section = Section {
    path: "streams[]",
    keys: &[
        required(
            "name",
            "Spark's `queryName`, unique in the process; no slashes, not more than 128 characters.",
        ),
        required("source", "What is read."),
        required("sink", "What is written."),
        optional(
            "deadLetter",
            "A Delta table that takes every record that becomes no row, with the reason: malformed ones, those that the table cannot hold (NOT NULL, a cast, a length), failed expressions. Absent: Spark's rules by `mode`.",
        ),
        optional(
            "trigger",
            "When a micro-batch starts: `{processingTime: 5 seconds}` (or just `5 seconds`), `availableNow` or `once`. Absent (or `asSoonAsPossible`): when the last one is done.",
        ),
        required("checkpointLocation", "A URL or path; one checkpoint serves one stream."),
        optional(
            "outputMode",
            "Which rows of the result a micro-batch writes: `append` (default: rows that will not change any more), `update` (rows that changed) or `complete` (all rows; the sink's are replaced).",
        ),
        optional(
            "azure",
            "Who the stream is to Azure: to Event Hubs, where neither a connection string nor a JAAS line logs in, and to storage without a key or a signature. Absent: from the environment, as `azure` says.",
        ),
        optional(
            "storageOptions",
            "Settings of the object store for the sink, the dead letters and the checkpoint, under object_store's names (`azure_storage_account_key`, …) or Hadoop's (`fs.azure.account.key.…`). Default: from the environment.",
        ),
        optional(
            "shutdownTimeout",
            "How long a stop waits for the running batch before it is abandoned, which is safe. Default `30 seconds`.",
        ),
        optional(
            "minCommitInterval",
            "The least time between two commits if no trigger is given. Default `1 second`.",
        ),
        optional(
            "memoryLimit",
            "What the buffers of the stream are sized for, such as `512 MiB`; at least `32 MiB`. Default: none, the buffers have fixed sizes (`docs/ARCHITECTURE.md`, Memory).",
        ),
        optional("lanes", "How many threads fetch, decode and encode. Default: one per core."),
        optional(
            "minBatchesToRetain",
            "How many batches stay in the checkpoint's logs. Default `100`, as Spark's `spark.sql.streaming.minBatchesToRetain`.",
        ),
        optional("restart", "What happens after an error that may pass."),
        optional(
            "stateFolder",
            "A folder on a local disk for the copy of the state of a query that keeps some; what is there may be lost at any time. Default: in the checkpoint's folder if that is local, else in the cache folder of the system.",
        ),
        optional("conf", "Spark settings that change results, under Spark's names."),
        later("sources", "Joins of several inputs are not there yet: give each its own stream with `source`"),
        optional(
            "sql",
            "One SELECT in Spark's dialect over the view `input`, run on every micro-batch. Absent: every column of the input. See the page on SQL.",
        ),
        optional("views", "Named SELECTs between `input` and `sql`, a list; each sees those before it."),
        optional(
            "tables",
            "Static tables that `sql` joins, by the names that it calls them by; read again when they change.",
        ),
    ],
    options: &[],
};

/// An identity of Entra ID.
pub(super) static AZURE: Section = Section {
    path: "streams[].azure",
    keys: &[
        optional(
            "credential",
            "`clientSecret`, `clientCertificate`, `workloadIdentity`, `managedIdentity` or `azureCli`. Absent: the first that is there of `clientSecret`, `clientCertificate` and `federatedTokenFile`, here; else of `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_CERTIFICATE_PATH` and `AZURE_FEDERATED_TOKEN_FILE` in the environment; else `managedIdentity`.",
        ),
        optional("tenantId", "The tenant's id or domain. Default: `AZURE_TENANT_ID`."),
        optional(
            "clientId",
            "The id of the application or of the user-assigned identity. Default: `AZURE_CLIENT_ID`; without both, `managedIdentity` is the system-assigned one.",
        ),
        optional(
            "clientSecret",
            "A secret of the application; as `${file:/path}` it is read again for every token. Default: `AZURE_CLIENT_SECRET`.",
        ),
        optional(
            "clientCertificate",
            "A PKCS#12 file with the application's certificate and its RSA key. Default: `AZURE_CLIENT_CERTIFICATE_PATH`.",
        ),
        optional(
            "clientCertificatePassword",
            "That file's password. Default: `AZURE_CLIENT_CERTIFICATE_PASSWORD`, else none.",
        ),
        optional(
            "federatedTokenFile",
            "The file with the token of a Kubernetes service account, or of another issuer that the identity trusts. Default: `AZURE_FEDERATED_TOKEN_FILE`.",
        ),
        optional(
            "authorityHost",
            "Where Entra ID gives tokens. Default: `AZURE_AUTHORITY_HOST`, else what belongs to the cloud of the service: `https://login.microsoftonline.com`, `.us`, or `https://login.chinacloudapi.cn`.",
        ),
    ],
    options: &[],
};

/// A source.
pub(super) static SOURCE: Section = Section {
    path: "streams[].source",
    keys: &[
        required("format", "`kafka`, `eventhubs`, `rate` or `socket`."),
        optional(
            "options",
            "Spark's options of the source: see the page on Kafka options; of `rate` and `socket`, the page on Spark options.",
        ),
        optional(
            "value",
            "What becomes of a record's value; of `kafka` only. Absent: the raw Kafka columns, as in Spark.",
        ),
        optional(
            "watermark",
            "Spark's `withWatermark`: `{eventTime: COLUMN, delayThreshold: 10 minutes}`. It moves with the greatest event time that was read, less the delay.",
        ),
        optional(
            "dropDuplicates",
            "Spark's `dropDuplicates`: a list of columns, or `[]` for all; of rows with the same values the first passes. With the watermark's column among them keys are forgotten, else never.",
        ),
        optional(
            "dropDuplicatesWithinWatermark",
            "Spark's `dropDuplicatesWithinWatermark`: a list of columns, or `[]` for all; a key is forgotten when the watermark passes its first row's time and the delay.",
        ),
    ],
    options: option_lists::SOURCE,
};

/// How values are decoded.
pub(super) static VALUE: Section = Section {
    path: "streams[].source.value",
    keys: &[
        required("format", "`json`."),
        required("schema", "The columns as Spark DDL: `event_id STRING, temperature DOUBLE`."),
        optional(
            "mode",
            "`PERMISSIVE`, `FAILFAST` or `DROPMALFORMED`: what becomes of a malformed record without `deadLetter`. Default `PERMISSIVE`.",
        ),
        optional(
            "columnNameOfCorruptRecord",
            "The STRING column of the schema that takes the text of a malformed record. Default `_corrupt_record`.",
        ),
        optional(
            "options",
            "Spark's JSON options: `timestampFormat`, `dateFormat`, … ; see the page on Spark options.",
        ),
        optional(
            "keep",
            "Kafka's columns behind the decoded ones: any of `key`, `value`, `topic`, `partition`, `offset`, `timestamp`, `timestampType`, `headers`. Default: none.",
        ),
    ],
    options: option_lists::JSON,
};

/// A sink.
pub(super) static SINK: Section = Section {
    path: "streams[].sink",
    keys: &[
        required(
            "format",
            "`delta`, `console` or `memory`; the keys below but `options` are those of `delta`.",
        ),
        optional("path", "The table's URL or path; relative paths start at the current directory."),
        optional("table", "Instead of `path`: the table's name under `warehouse`."),
        optional("partitionBy", "Partition columns, a list. Default: none."),
        optional(
            "options",
            "Spark's writer options: `mergeSchema`, `numRows`, …; see the page on Spark options.",
        ),
        optional("tableProperties", "Properties (`delta.…`) of the table if this stream makes it."),
        optional("merge", "Rows are merged into the table by their keys. Absent: they are appended."),
        optional(
            "autoCompact",
            "`true`: once a partition has 50 small files, they are joined into larger ones beside the micro-batches (Delta's auto compaction); `false`: never. Default: as the table's `delta.autoOptimize.autoCompact` says.",
        ),
        optional(
            "autoVacuum",
            "How often files that the table does not need any more are deleted beside the micro-batches, such as `1 day`, as `alluvia table vacuum` does: those that left the table longer ago than its `delta.deletedFileRetentionDuration` (one week), and orphans of runs that were never committed. The first micro-batch of each interval (from the Unix epoch on) starts it. Default: never.",
        ),
    ],
    options: option_lists::DELTA,
};

/// A merge.
pub(super) static MERGE: Section = Section {
    path: "streams[].sink.merge",
    keys: &[
        required(
            "keys",
            "The columns that make a row's key, a list; `column.field` for a field of a struct, a name with a dot in backquotes. Any type that Spark compares.",
        ),
        optional(
            "whenMatched",
            "`ignore`, which is the default: a row is inserted if the table lacks its key; of a micro-batch the first by topic, partition and offset. It is Spark's `dropDuplicates` in the batch and `MERGE … WHEN NOT MATCHED THEN INSERT *`. `update`: a row takes the place of every row of the table that has its key, or is inserted; of a micro-batch the last by topic, partition and offset. It is `MERGE … WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *`.",
        ),
        optional(
            "orderBy",
            "With `update`: the column by which a row is newer than another of its key, in the micro-batch and in the table; an older row never takes the place of a newer one. NULL is older than every value; of equal ones the later by topic, partition and offset stays. Numbers, texts, dates and timestamps.",
        ),
        optional(
            "deleteWhen",
            "With `update`: which rows delete the table's rows of their key. Default: none.",
        ),
        optional(
            "within",
            "With `ignore`: rows of one key are at most so far apart in event time, such as `7 days`. The index then holds the keys of files with rows of that time before the newest one only, and files that are older are not read for it. An older row is inserted unless a file that the index holds has its key; the progress counts those (`numInsertedRowsNotWithin`). Default: the index holds all keys.",
        ),
        optional(
            "eventTime",
            "With `within`: the column of event times, a TIMESTAMP, TIMESTAMP_NTZ or DATE, of which the table's statistics or its partitions say the newest; `column.field` for a field of a struct. A NULL counts as older.",
        ),
        optional(
            "indexFolder",
            "A folder on a local disk for the index of the table's keys, which is had from its snapshot in the checkpoint or built again if it is lost; the stream makes one of its own in it. Default: in the checkpoint if that is on a local disk, else in the user's cache (`XDG_CACHE_HOME`).",
        ),
    ],
    options: &[],
};

/// Rows of a merge that delete.
pub(super) static DELETE_WHEN: Section = Section {
    path: "streams[].sink.merge.deleteWhen",
    keys: &[
        required("column", "A column of the stream, STRING or BOOLEAN, such as the `op` of a change feed."),
        required(
            "values",
            "The values that delete, a list: `[d]`; of a BOOLEAN column `true` or `false`. Such a row is not inserted, and deletes nothing if the table lacks its key.",
        ),
    ],
    options: &[],
};

/// A dead-letter table.
pub(super) static DEAD_LETTER: Section = Section {
    path: "streams[].deadLetter",
    keys: &[
        required("format", "`delta`."),
        optional("path", "The table's URL or path."),
        optional("table", "Instead of `path`: the table's name under `warehouse`."),
        optional("tableProperties", "Properties (`delta.…`) of the table if this stream makes it."),
    ],
    options: &[],
};

/// A trigger.
pub(super) static TRIGGER: Section = Section {
    path: "streams[].trigger",
    keys: &[
        optional("processingTime", "An interval such as `5 seconds`, aligned to the Unix epoch as in Spark."),
        optional(
            "availableNow",
            "`true`: all there is at the start, in batches within the limits, then the end.",
        ),
        optional("once", "`true`: one batch of all there is, then the end. Prefer `availableNow`."),
        later("continuous", "Continuous processing is not there yet: use processingTime"),
        later("realTime", "Real-time mode is not there yet: use processingTime"),
    ],
    options: &[],
};

/// A restart policy.
pub(super) static RESTART: Section = Section {
    path: "streams[].restart",
    keys: &[
        optional(
            "maxAttempts",
            "How many times in a row a failed batch is run again before the stream fails; the count restarts at every commit. Default: no limit; of `alluvia ingest` `3`.",
        ),
        optional(
            "backoff",
            "The wait before the first of them; it doubles, to at most a minute. Default `1 second`.",
        ),
    ],
    options: &[],
};

/// A view.
pub(super) static VIEW: Section = Section {
    path: "streams[].views[]",
    keys: &[
        required("name", "The name that later views and `sql` call it by; compared without case."),
        required("sql", "One SELECT in Spark's dialect."),
        optional(
            "watermark",
            "Spark's `withWatermark`: `{eventTime: COLUMN, delayThreshold: 10 minutes}`. As on the source, for the view's rows.",
        ),
        optional(
            "dropDuplicates",
            "Spark's `dropDuplicates`: a list of columns, or `[]` for all; of rows with the same values the first passes. With the watermark's column among them keys are forgotten, else never.",
        ),
        optional(
            "dropDuplicatesWithinWatermark",
            "Spark's `dropDuplicatesWithinWatermark`: a list of columns, or `[]` for all; a key is forgotten when the watermark passes its first row's time and the delay.",
        ),
    ],
    options: &[],
};

/// A watermark.
pub(super) static WATERMARK: Section = Section {
    path: "streams[].source.watermark",
    keys: &[
        required("eventTime", "The column of the event time: a TIMESTAMP, or a window."),
        required(
            "delayThreshold",
            "How late rows may come, in Spark's words: `10 minutes`, `1 hour 30 minutes`.",
        ),
        optional(
            "maxFutureSkew",
            "Event times that are further than this ahead of the clock do not raise the watermark, so that one wrong clock does not close every window: `10 minutes`. Default: none, as in Spark.",
        ),
        optional(
            "idleTimeout",
            "After this long without rows the watermark is moved to the clock less `idleTimeout` and `delayThreshold`, so that the last windows of a quiet stream close: `5 minutes`. Default: never, as in Spark.",
        ),
    ],
    options: &[],
};

/// A static table.
pub(super) static TABLE: Section = Section {
    path: "streams[].tables.NAME",
    keys: &[
        required("format", "`delta`, `parquet`, `csv` or `json` (one object a line)."),
        optional("path", "The table's URL or path; of files, the folder or the one file."),
        optional("table", "Instead of `path`: the table's name under `warehouse`."),
        optional(
            "schema",
            "The columns as Spark DDL. Required for `csv` and `json`; of Delta and Parquet they are known.",
        ),
        optional("options", "Spark's options of the format: of `csv` `header` and `sep`."),
    ],
    options: option_lists::TABLE,
};

/// Every section, from the outside in.
pub(super) static SECTIONS: [&Section; 14] = [
    &FILE,
    &STREAM,
    &AZURE,
    &SOURCE,
    &VALUE,
    &VIEW,
    &WATERMARK,
    &TABLE,
    &SINK,
    &MERGE,
    &DELETE_WHEN,
    &DEAD_LETTER,
    &TRIGGER,
    &RESTART,
];

/// What a format of the design that is not there yet answers.
pub(super) fn later_format(section: &str, format: &str) -> Option<&'static str> {
    let formats: &[(&str, &str)] = match section {
        "source" => &[
            ("json", "only kafka is there; send the files through a topic"),
            ("csv", "only kafka is there; send the files through a topic"),
            ("parquet", "only kafka is there; send the files through a topic"),
            ("text", "only kafka is there; send the files through a topic"),
            ("delta", "only kafka is there"),
        ],
        "value" => &[
            ("avro", "only json is there; without value the table has the raw bytes"),
            ("protobuf", "only json is there; without value the table has the raw bytes"),
            ("csv", "only json is there; without value the table has the raw bytes"),
        ],
        "sink" => &[
            ("parquet", "use delta, whose files are Parquet"),
            ("foreachBatch", "use delta and follow the table from your own program"),
            ("postgres", "use delta and load from the table"),
            ("kafka", "use delta"),
        ],
        _ => &[],
    };
    formats.iter().find(|(name, _)| name.eq_ignore_ascii_case(format)).map(|(_, instead)| *instead)
}
