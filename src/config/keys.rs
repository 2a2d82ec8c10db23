//! Every key of the stream file, in one table: its meaning, and whether this version has it.
//!
//! The reader refuses any other key, and `docs/reference/stream-file.md` is generated from this table.

use super::option_lists::{self, OptionRow};

/// The keys of one mapping.
pub(super) struct Section {
    /// The path of the mapping, as the documentation writes it.
    pub path: &'static str,
    /// Its keys, in the order of the documentation.
    pub keys: &'static [Key],
    /// The options under its key `options`.
    pub options: &'static [OptionRow],
}

/// One key.
pub(super) struct Key {
    pub name: &'static str,
    pub status: Status,
    /// Its meaning and its default; for a later key, what to do instead.
    pub text: &'static str,
}

/// Whether a key can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It must be given.
    Required,
    /// It may be given.
    Optional,
    /// The design has it, but this version does not.
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

/// The top level of a file.
pub(super) static FILE: Section = Section {
    path: "",
    keys: &[
        required("streams", "The list of streams; all of them run in one process."),
        optional("warehouse", "The URL or path under which `table: NAME` is found. No default."),
    ],
    options: &[],
};

/// A stream.
pub(super) static STREAM: Section = Section {
    path: "streams[]",
    keys: &[
        required(
            "name",
            "Spark's `queryName`: unique in the process, at most 128 characters, no slashes or control characters, no dot at the start.",
        ),
        required("source", "The source to read."),
        required("sink", "The sink to write to."),
        optional(
            "deadLetter",
            "A Delta table that receives every rejected record with the reason: malformed records, records that the table cannot hold (NOT NULL, a cast, a length), and records for which an expression fails. Default: none; then Spark's rules for `mode` apply.",
        ),
        optional(
            "trigger",
            "When micro-batches start: `{processingTime: 5 seconds}` (or just `5 seconds`), `availableNow` or `once`. Default: `asSoonAsPossible`, when the previous micro-batch is done.",
        ),
        required("checkpointLocation", "A URL or path. Every stream needs its own checkpoint."),
        optional(
            "outputMode",
            "Which rows of the result a micro-batch writes: `append` (the default; rows that will not change any more), `update` (rows that have changed) or `complete` (all rows; they replace those in the sink).",
        ),
        optional(
            "azure",
            "The stream's Azure identity. Used for Event Hubs if there is no connection string or JAAS configuration, and for storage if there is no account key or SAS. Default: from the environment, see `streams[].azure`.",
        ),
        optional(
            "storageOptions",
            "Object store settings for the sink, the dead letters, the checkpoint and the static tables, under the names of object_store (`azure_storage_account_key`, …) or Hadoop (`fs.azure.account.key.…`). Default: from the environment.",
        ),
        optional(
            "shutdownTimeout",
            "How long a stop waits for the running micro-batch before abandoning it, which is safe. Default `30 seconds`.",
        ),
        optional(
            "minCommitInterval",
            "Minimum time between the starts of two micro-batches if no trigger is given. Default `1 second`.",
        ),
        optional(
            "memoryLimit",
            "The memory that the stream's buffers are sized for, such as `512 MiB`; at least `32 MiB`. Default: none; the buffers have fixed sizes (`docs/ARCHITECTURE.md`, Memory).",
        ),
        optional(
            "lanes",
            "Number of threads that fetch, decode and encode, at most 1024. Default: one per core, at most 16.",
        ),
        optional(
            "minBatchesToRetain",
            "Number of batches to keep in the checkpoint's logs. Default: Spark's `spark.sql.streaming.minBatchesToRetain` in `conf`, else `100`.",
        ),
        optional("restart", "What happens after a transient error."),
        optional(
            "stateFolder",
            "A folder on a local disk for a working copy of the query's state, if the query is stateful. The stream creates its own subfolder there. The copy may be lost at any time. Default: in the checkpoint if that is on a local disk, else in the user's cache folder (`XDG_CACHE_HOME`).",
        ),
        optional("conf", "Spark settings that change results, under Spark's names."),
        later(
            "sources",
            "Joins of several inputs are not supported yet: give each input its own stream with `source`",
        ),
        optional(
            "sql",
            "One SELECT in Spark's dialect over the view `input`, run on every micro-batch. Default: every column of the input. See the page on SQL.",
        ),
        optional(
            "views",
            "A list of named SELECTs between `input` and `sql`. Each view can read the views before it.",
        ),
        optional(
            "tables",
            "Static tables for `sql` to join, each under the name that `sql` uses for it. They are read again when they change.",
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
            "`clientSecret`, `clientCertificate`, `workloadIdentity`, `managedIdentity` or `azureCli`. Default: chosen by the one of `clientSecret`, `clientCertificate` and `federatedTokenFile` that is given here (if several are given, `credential` is required); else by the first of `AZURE_CLIENT_SECRET`, `AZURE_CLIENT_CERTIFICATE_PATH` and `AZURE_FEDERATED_TOKEN_FILE` that is set in the environment; else `managedIdentity`.",
        ),
        optional(
            "tenantId",
            "The tenant's id or domain. Default: `AZURE_TENANT_ID`; for `azureCli`, the CLI's own default.",
        ),
        optional(
            "clientId",
            "The id of the application or of the user-assigned identity. Default: `AZURE_CLIENT_ID`; if that is not set either, `managedIdentity` means the system-assigned identity.",
        ),
        optional(
            "clientSecret",
            "A client secret of the application. If it is given as `${file:/path}`, the file is read again for every token. Default: `AZURE_CLIENT_SECRET`.",
        ),
        optional(
            "clientCertificate",
            "A PKCS#12 file with the application's certificate and its RSA key. Default: `AZURE_CLIENT_CERTIFICATE_PATH`.",
        ),
        optional(
            "clientCertificatePassword",
            "The password of that file. Default: `AZURE_CLIENT_CERTIFICATE_PASSWORD`, else none.",
        ),
        optional(
            "federatedTokenFile",
            "A file with the token of a Kubernetes service account or from another issuer that the identity trusts. Default: `AZURE_FEDERATED_TOKEN_FILE`.",
        ),
        optional(
            "authorityHost",
            "The address at which Entra ID issues tokens. Default: `AZURE_AUTHORITY_HOST`, else the address for the cloud of the service: `https://login.microsoftonline.com`, `https://login.microsoftonline.us` or `https://login.chinacloudapi.cn`.",
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
            "Spark's options for the source: see the page on Kafka options; for `rate` and `socket`, see the page on Spark options.",
        ),
        optional(
            "value",
            "How the value of a record is decoded; for `kafka` and `eventhubs` only. Default: the rows have the raw Kafka columns, as in Spark.",
        ),
        optional(
            "watermark",
            "Spark's `withWatermark`: `{eventTime: COLUMN, delayThreshold: 10 minutes}`. The watermark follows the latest event time read so far, minus the delay.",
        ),
        optional(
            "dropDuplicates",
            "Spark's `dropDuplicates`: a list of columns, or `[]` for all. The first of several rows with the same values is kept. If the watermark column is among them, keys are eventually removed from the state; otherwise never.",
        ),
        optional(
            "dropDuplicatesWithinWatermark",
            "Spark's `dropDuplicatesWithinWatermark`: a list of columns, or `[]` for all. A key is removed from the state when the watermark passes the event time of its first row plus the delay.",
        ),
    ],
    options: option_lists::SOURCE,
};

/// How values are decoded.
pub(super) static VALUE: Section = Section {
    path: "streams[].source.value",
    keys: &[
        required("format", "`json`."),
        required(
            "schema",
            "The columns, as Spark DDL: `event_id STRING, temperature DOUBLE`, or in Spark's JSON form (`df.schema.json()`). `@FILE` is the text of a file, as `${file:FILE}`.",
        ),
        optional(
            "mode",
            "What happens to a malformed record if there is no `deadLetter`: `PERMISSIVE`, `FAILFAST` or `DROPMALFORMED`. Default `PERMISSIVE`.",
        ),
        optional(
            "columnNameOfCorruptRecord",
            "The STRING column of the schema that receives the text of a malformed record. Default: Spark's `spark.sql.columnNameOfCorruptRecord` in `conf`, else `_corrupt_record`.",
        ),
        optional(
            "options",
            "Spark's JSON options: `timestampFormat`, `dateFormat`, …; see the page on Spark options.",
        ),
        optional(
            "keep",
            "Kafka's columns to add after the decoded ones: any of `key`, `value`, `topic`, `partition`, `offset`, `timestamp`, `timestampType`, `headers`. Default: none.",
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
            "`delta`, `console` or `memory`. All keys below except `options` are for `delta` only.",
        ),
        optional("path", "The table's URL or path. A relative path starts at the current directory."),
        optional("table", "The table's name under `warehouse`, instead of `path`."),
        optional("partitionBy", "The list of partition columns. Default: none."),
        optional(
            "options",
            "Spark's writer options: `mergeSchema`, `numRows`, …; see the page on Spark options.",
        ),
        optional("tableProperties", "Table properties (`delta.…`), set if this stream creates the table."),
        optional("merge", "Merges rows into the table by key. Default: rows are appended."),
        optional(
            "autoCompact",
            "`true`: once a partition has 50 small files, they are compacted into larger ones while micro-batches continue (Delta's auto compaction). `false`: never. Default: the table's `delta.autoOptimize.autoCompact`.",
        ),
        optional(
            "autoVacuum",
            "How often to delete files that the table no longer needs, such as `1 day`, while micro-batches continue. As with `alluvia table vacuum`, these are files that left the table longer ago than its `delta.deletedFileRetentionDuration` (default: one week), and orphaned files of runs that were never committed. The first micro-batch of each interval (counted from the Unix epoch) starts it. Default: never.",
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
            "The list of columns that form a row's key. Write `column.field` for a field of a struct, and put a name that contains a dot in backquotes. Any type that Spark can compare. A key that holds a NULL is in no table, as in Spark's MERGE: its row is inserted; the rows of one micro-batch with the same such key become one.",
        ),
        optional(
            "whenMatched",
            "`ignore` (the default): a row is inserted if its key is not in the table; if a micro-batch has several rows with that key, the first by topic, partition and offset is used. This is Spark's `dropDuplicates` in the batch and `MERGE … WHEN NOT MATCHED THEN INSERT *`. `update`: a row replaces every row of the table that has its key, or is inserted if there is none; if a micro-batch has several rows with that key, the last by topic, partition and offset is used. This is `MERGE … WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *`.",
        ),
        optional(
            "orderBy",
            "With `update`: the column that decides which of two rows with the same key is newer, both within the micro-batch and against the table. An older row never replaces a newer one. NULL is older than every value; if the values are equal, the later row by topic, partition and offset is kept. The column holds numbers, strings, dates or timestamps. Dead letters are replayed into an update only if `orderBy` is set and `deleteWhen` is not, or with `--overwrite-newer`.",
        ),
        optional(
            "deleteWhen",
            "With `update`: which rows delete the rows of the table that have their key. Default: none.",
        ),
        optional(
            "exceptColumns",
            "The list of columns of the stream that are not written to the table, such as the `op` of a change feed: Databricks' `except_column_list`, or `COLUMNS * EXCEPT (op)`. `deleteWhen.column` may be one of them. They are not columns of a new table, `mergeSchema` does not add them, and the table must not have columns of these names. Each is a top-level column that neither is nor contains a key, or the column of `orderBy`, `eventTime` or `partitionBy`. Default: none.",
        ),
        optional(
            "within",
            "With `ignore`: rows with the same key are at most this far apart in event time, such as `7 days`. The index then holds only the keys of files with rows within this time before the newest row; older files are not read for it. An older row is inserted unless its key is in a file that the index holds; the progress counts the inserted ones (`numInsertedRowsNotWithin`). Default: the index holds all keys.",
        ),
        optional(
            "eventTime",
            "With `within`: the event-time column, a TIMESTAMP, TIMESTAMP_NTZ or DATE; `column.field` for a field of a struct. Its newest value is taken from the table's statistics or partition values. A row whose event time is NULL counts as older.",
        ),
        optional(
            "indexFolder",
            "A folder on a local disk for the index of the table's keys. The stream creates its own subfolder there. If the index is lost, it is restored from its snapshot in the checkpoint or rebuilt. Default: in the checkpoint if that is on a local disk, else in the user's cache folder (`XDG_CACHE_HOME`).",
        ),
    ],
    options: &[],
};

/// The rows of a merge that delete.
pub(super) static DELETE_WHEN: Section = Section {
    path: "streams[].sink.merge.deleteWhen",
    keys: &[
        required("column", "A STRING or BOOLEAN column of the stream, such as the `op` of a change feed."),
        required(
            "values",
            "The list of values that mean a delete: `[d]`; for a BOOLEAN column, `true` or `false`. For a STRING column, a value that YAML reads as a boolean or a number must be in quotes: `['1', 'true']`. A row with such a value is not inserted, and deletes nothing if its key is not in the table.",
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
        optional("table", "The table's name under `warehouse`, instead of `path`."),
        optional("tableProperties", "Table properties (`delta.…`), set if this stream creates the table."),
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
            "`true`: reads all records that exist at the start, in micro-batches within the limits, then ends.",
        ),
        optional(
            "once",
            "`true`: reads all existing records in one micro-batch, then ends. Prefer `availableNow`.",
        ),
        later("continuous", "Continuous processing is not supported yet: use processingTime"),
        later("realTime", "Real-time mode is not supported yet: use processingTime"),
    ],
    options: &[],
};

/// A restart policy.
pub(super) static RESTART: Section = Section {
    path: "streams[].restart",
    keys: &[
        optional(
            "maxAttempts",
            "How many times in a row a failed batch is run again before the stream fails; every commit resets the count. Default: no limit; for `alluvia ingest`, `3`.",
        ),
        optional(
            "backoff",
            "The wait before the first retry; it doubles with each retry, up to one minute. Default `1 second`.",
        ),
    ],
    options: &[],
};

/// A view.
pub(super) static VIEW: Section = Section {
    path: "streams[].views[]",
    keys: &[
        required("name", "The name of the view in later views and in `sql`; case does not matter."),
        required("sql", "One SELECT in Spark's dialect."),
        optional(
            "watermark",
            "Spark's `withWatermark`: `{eventTime: COLUMN, delayThreshold: 10 minutes}`. As for the source, but for the view's rows.",
        ),
        optional(
            "dropDuplicates",
            "Spark's `dropDuplicates`: a list of columns, or `[]` for all. The first of several rows with the same values is kept. If the watermark column is among them, keys are eventually removed from the state; otherwise never.",
        ),
        optional(
            "dropDuplicatesWithinWatermark",
            "Spark's `dropDuplicatesWithinWatermark`: a list of columns, or `[]` for all. A key is removed from the state when the watermark passes the event time of its first row plus the delay.",
        ),
    ],
    options: &[],
};

/// A watermark.
pub(super) static WATERMARK: Section = Section {
    path: "streams[].source.watermark",
    keys: &[
        required("eventTime", "The event-time column: a TIMESTAMP or a window."),
        required(
            "delayThreshold",
            "How late rows may be, as an interval in Spark's notation: `10 minutes`, `1 hour 30 minutes`.",
        ),
        optional(
            "maxFutureSkew",
            "Event times further ahead of the clock than this do not advance the watermark, so that one wrong clock does not close every window: `10 minutes`. Default: no limit, as in Spark.",
        ),
        optional(
            "idleTimeout",
            "After this long without rows, the watermark advances to the current time minus `idleTimeout` and `delayThreshold`, so that the last windows of an idle stream close: `5 minutes`. Default: never, as in Spark.",
        ),
    ],
    options: &[],
};

/// A static table.
pub(super) static TABLE: Section = Section {
    path: "streams[].tables.NAME",
    keys: &[
        required("format", "`delta`, `parquet`, `csv` or `json` (one object per line)."),
        optional("path", "The table's URL or path; for files, a folder or a single file."),
        optional("table", "The table's name under `warehouse`, instead of `path`."),
        optional(
            "schema",
            "The columns, as Spark DDL, in Spark's JSON form, or `@FILE`. Required for `csv` and `json`; Delta and Parquet files declare their own.",
        ),
        optional("options", "Spark's options for the format: `header` and `sep` for `csv`."),
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

/// What to use instead of a format that this version does not have yet.
pub(super) fn later_format(section: &str, format: &str) -> Option<&'static str> {
    let formats: &[(&str, &str)] = match section {
        "source" => &[
            ("json", "send the files through a topic and use kafka"),
            ("csv", "send the files through a topic and use kafka"),
            ("parquet", "send the files through a topic and use kafka"),
            ("text", "send the files through a topic and use kafka"),
            ("delta", "use kafka, eventhubs, rate or socket"),
        ],
        "value" => &[
            ("avro", "use json, or leave value out: the table then has the raw bytes"),
            ("protobuf", "use json, or leave value out: the table then has the raw bytes"),
            ("csv", "use json, or leave value out: the table then has the raw bytes"),
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
