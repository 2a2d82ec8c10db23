//! What to write instead of a type that Spark does not have.

/// The type that a word of another system means in Spark.
pub(super) fn instead_of(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_uppercase().as_str() {
        "BOOL" | "BIT" => "BOOLEAN",
        "INT8" | "INT64" | "BIGINTEGER" | "UINT32" => "BIGINT",
        "INT4" | "INT32" | "MEDIUMINT" => "INT",
        "INT2" | "INT16" => "SMALLINT",
        "FLOAT4" | "FLOAT32" => "FLOAT",
        "FLOAT8" | "FLOAT64" => "DOUBLE",
        "NUMBER" | "MONEY" | "BIGNUMERIC" => "DECIMAL(38,10)",
        "TEXT" | "STR" | "NVARCHAR" | "VARCHAR2" | "CLOB" | "UUID" | "ENUM" | "JSON" | "TIME" | "OBJECT"
        | "ANY" => "STRING",
        "BLOB" | "BYTEA" | "VARBINARY" | "BYTES" => "BINARY",
        "DATETIME" | "DATETIME2" | "TIMESTAMPTZ" => "TIMESTAMP",
        "RECORD" | "ROW" => "STRUCT<…>",
        "LIST" => "ARRAY<…>",
        "DICT" | "HASH" => "MAP<…>",
        "NULL" | "UNKNOWN" => "VOID",
        _ => return None,
    })
}

/// All types, for the message about a word that means nothing.
pub(super) const ALL_TYPES: &str = "types are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p,s), \
     STRING, BINARY, DATE, TIMESTAMP, TIMESTAMP_NTZ, ARRAY<…>, MAP<…>, STRUCT<…>";
