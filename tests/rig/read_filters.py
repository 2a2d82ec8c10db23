"""Filters over a Delta table in readers that skip files by statistics; run by `tests/rig/readers python`.

    read_filters.py TABLE    one JSON object per filter whose count is not that of a full scan: reader, filter, rows, expected

Each column is compared with every value it holds and with the ends of its type, in Python `deltalake` (pyarrow's dataset and its
own SQL) and in DuckDB. What is expected is counted by the same reader over all rows, with no filter to push down.
`--but READER` leaves one out.
"""
import argparse
import json
import operator
import os
import sys
from pathlib import Path

import duckdb
import duckdb_extension_delta
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable, QueryBuilder

OPERATORS = {"=": operator.eq, "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
DAYS = [-5_000_000, -719_163, -719_162, 2_932_896, 2_932_897, 5_000_000]
MICROS = [-62_135_596_800_000_001, -1, 0, 253_402_300_799_999_999, 253_402_300_800_000_000, 9_000_000_000_000_000_000]


def ends(kind):
    if pa.types.is_date(kind):
        return [pa.scalar(days, pa.int32()).cast(kind) for days in DAYS]
    if pa.types.is_timestamp(kind):
        return [pa.scalar(micros, pa.int64()).cast(kind) for micros in MICROS]
    if pa.types.is_floating(kind):
        return [pa.scalar(number, kind) for number in (0.0, -0.0, 100.0, -1e30, float("inf"), float("-inf"))]
    return []


def literals(column):
    held = [value for value in pc.unique(column.combine_chunks()) if value.is_valid]
    if pa.types.is_timestamp(column.type):
        held = [value for value in held if abs(value.cast(pa.int64()).as_py()) < 9_100_000_000_000_000_000]
    return held + ends(column.type)


def sql_literal(value, kind, duck):
    """A literal of the kind in DuckDB's or DataFusion's SQL."""
    if pa.types.is_date(kind):
        days = value.cast(pa.int32()).as_py()
        return f"(DATE '1970-01-01' + ({days}))" if duck else f"arrow_cast({days}, 'Date32')"
    if pa.types.is_timestamp(kind):
        micros, zone = value.cast(pa.int64()).as_py(), kind.tz is not None
        if duck:
            return f"make_timestamp{'tz' if zone else ''}({micros})"
        zone = 'Some("UTC")' if zone else "None"
        return f"arrow_cast(arrow_cast({micros}, 'Int64'), 'Timestamp(Microsecond, {zone})')"
    if pa.types.is_floating(kind):
        return f"CAST('{value.as_py()!r}' AS {'FLOAT' if pa.types.is_float32(kind) else 'DOUBLE'})"
    if pa.types.is_decimal(kind):
        return f"CAST('{value.as_py():f}' AS DECIMAL({kind.precision}, {kind.scale}))"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "'" + value.as_py().replace("'", "''") + "'"
    return str(value.as_py())


def by_pyarrow(table, filters):
    dataset = table.to_pyarrow_dataset()
    whole = dataset.to_table()
    for name, sign, value in filters:
        condition = OPERATORS[sign](ds.field(name), value)
        yield dataset.to_table(filter=condition, columns=[name]).num_rows, whole.filter(condition).num_rows


def by_sql(filters, ask, duck, kinds):
    conditions = [f'"{name}" {sign} {sql_literal(value, kinds[name], duck)}' for name, sign, value in filters]
    for condition in conditions:
        counted = ask(f"SELECT count(*) FROM t WHERE {condition}")
        yield counted, ask(f"SELECT count(*) FILTER (WHERE {condition}) FROM t")


def duck(path):
    connection = duckdb.connect()
    for extension in Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"):
        connection.execute(f"LOAD '{extension}'")
    connection.execute(f"CREATE VIEW t AS SELECT * FROM delta_scan('{path}')")
    return lambda query: connection.execute(query).fetchone()[0]


def data_fusion(table):
    builder = QueryBuilder().register("t", table)
    return lambda query: pa.table(builder.execute(query).read_all()).column(0)[0].as_py()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--but", action="append", default=[])
    given = parser.parse_args()
    table = DeltaTable(given.table)
    rows = pa.concat_tables(pa.parquet.read_table(path) for path in map(str, Path(given.table).rglob("*.parquet")) if "_delta_log" not in path)
    plain = [field for field in rows.schema if not pa.types.is_nested(field.type)]
    kinds = {field.name: field.type for field in plain}
    filters = [(field.name, sign, value) for field in plain for value in literals(rows.column(field.name)) for sign in OPERATORS]
    readers = {
        "pyarrow": lambda: by_pyarrow(table, filters),
        "deltalake SQL": lambda: by_sql(filters, data_fusion(table), False, kinds),
        "DuckDB": lambda: by_sql(filters, duck(given.table), True, kinds),
    }
    checked = 0
    for reader, counts in readers.items():
        if reader in given.but:
            continue
        for (name, sign, value), (counted, expected) in zip(filters, counts()):
            checked += 1
            if counted != expected:
                what = value.cast(pa.int32()).as_py() if pa.types.is_date(value.type) else str(value)
                print(json.dumps({"reader": reader, "filter": f"{name} {sign} {what}", "rows": counted, "expected": expected}))
    print(json.dumps({"checked": checked}))


if __name__ == "__main__":
    import pyarrow.parquet

    main()
    sys.stdout.flush()
    os._exit(0)
