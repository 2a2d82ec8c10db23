"""Reads a Delta table with Python `deltalake` (delta-rs + pyarrow) and says what is in it; run by `tests/rig/readers python`.

    read_delta.py digest TABLE [COLUMN…]     one JSON object: version, rows, and what the columns hold together
    read_delta.py rows TABLE [COLUMN…]       one JSON object per row (every column when none is named), sorted by the first ones
    read_delta.py log TABLE                  one JSON object: version, files, schema, properties, history
A column inside a struct is named with dots. `--version N` reads an older version. ALLUVIA_STORAGE_OPTIONS (JSON) says how a table that
is not on a disk is reached.
"""
import argparse
import json
import os
import sys
import zlib
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable


def column(table, path):
    first, *rest = path.split(".")
    values = table.column(first)
    for name in rest:
        values = pc.struct_field(values, name)
    return values


def read(table, paths):
    whole = table.to_pyarrow_table(columns=sorted({p.split(".")[0] for p in paths}) or None)
    if not paths:
        return whole
    return pa.table({path: column(whole, path) for path in paths})


def plain(value):
    """JSON's spelling of what it has no type for: ISO times, hex bytes, decimals as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no JSON for {type(value)}")


def text(value):
    """The text that `Digest::of` in the Rust tests hashes: integers and strings as they are, null as \\N."""
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def digest(table, paths):
    if not paths:
        return {"version": table.version(), "rows": table.to_pyarrow_dataset().count_rows()}
    rows = read(table, paths)
    found = {"version": table.version(), "rows": rows.num_rows}
    total, distinct = 0, set()
    for batch in rows.to_batches(max_chunksize=65536):
        for row in zip(*(c.to_pylist() for c in batch.columns)):
            line = "\x1f".join(map(text, row)).encode()
            total = (total + (zlib.crc32(line) << 32 | zlib.crc32(line[::-1]))) & 0xFFFFFFFFFFFFFFFF
            distinct.add(line)
    found["distinct"], found["sum"] = len(distinct), total
    if {"topic", "partition", "offset"} <= set(paths):
        where = rows.group_by(["topic", "partition"]).aggregate(
            [("offset", "min"), ("offset", "max"), ("offset", "count"), ("offset", "count_distinct")]
        )
        found["partitions"] = [
            {
                "topic": r["topic"], "partition": r["partition"], "rows": r["offset_count"],
                "distinctOffsets": r["offset_count_distinct"], "minOffset": r["offset_min"], "maxOffset": r["offset_max"],
            }
            for r in sorted(where.to_pylist(), key=lambda r: (r["topic"], r["partition"]))
        ]
    return found


def log(table):
    adds = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    meta = table.metadata()
    return {
        "version": table.version(), "id": meta.id, "files": adds, "partitionColumns": meta.partition_columns,
        "configuration": meta.configuration, "schema": json.loads(table.schema().to_json()), "history": table.history(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["digest", "rows", "log"])
    parser.add_argument("table")
    parser.add_argument("columns", nargs="*")
    parser.add_argument("--version", type=int)
    given = parser.parse_args()
    options = json.loads(os.environ.get("ALLUVIA_STORAGE_OPTIONS", "null"))
    table = DeltaTable(given.table, version=given.version, storage_options=options)
    if given.what == "rows":
        rows = read(table, given.columns)
        keys = [n for n in rows.column_names if not pa.types.is_nested(rows.schema.field(n).type)][:4]
        for row in (rows.sort_by([(k, "ascending") for k in keys]) if keys else rows).to_pylist():
            sys.stdout.write(json.dumps(row, default=plain) + "\n")
    else:
        print(json.dumps(digest(table, given.columns) if given.what == "digest" else log(table), default=plain))


if __name__ == "__main__":
    main()
    # Without the interpreter's long goodbye: a thread of a library that still runs would abort it.
    sys.stdout.flush()
    os._exit(0)
