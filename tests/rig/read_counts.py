"""Counts the rows of a Delta table by reading them all, in readers no one here wrote; run by `tests/rig/readers python`.

    read_counts.py TABLE [--but READER]    one JSON object: the count of each reader

`deltalake` reads every column with pyarrow. DuckDB, where its packages are installed, reads them with its own Parquet reader.
"""
import argparse
import json
import os
import sys
from pathlib import Path


def deltalake(table):
    from deltalake import DeltaTable

    return DeltaTable(table).to_pyarrow_table().num_rows


def duckdb(table):
    import duckdb
    import duckdb_extension_delta

    connection = duckdb.connect()
    for extension in Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"):
        connection.execute(f"LOAD '{extension}'")
    # Arrow has times with a zone; rows of Python need a module for them.
    return connection.execute("SELECT * FROM delta_scan(?)", [table]).fetch_arrow_table().num_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--but", action="append", default=[])
    given = parser.parse_args()
    counts = {}
    for reader in (deltalake, duckdb):
        if reader.__name__ not in given.but:
            try:
                counts[reader.__name__] = reader(given.table)
            except ModuleNotFoundError:
                pass
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
    # Without the interpreter's long goodbye: a thread of a library that still runs would abort it.
    sys.stdout.flush()
    os._exit(0)
