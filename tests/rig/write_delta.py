"""Writes to a Delta table of columns k, seq, day, pad with Python `deltalake`, beside other writers; run by `tests/rig/readers python`.

    write_delta.py TABLE ROUND    appends the keys rs-0 to rs-19 in round 0; updates those that are there and adds rs-20 to rs-29 by a
                                  MERGE; deletes rs-ROUND; compacts. What another writer is faster at is tried again.
"""
import sys
import time

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake


def rows(keys, seq):
    keys = list(keys)
    return pa.table({
        "k": pa.array([f"rs-{key}" for key in keys], pa.string()),
        "seq": pa.array([seq] * len(keys), pa.int64()),
        "day": pa.array(["d0"] * len(keys), pa.string()),
        "pad": pa.array(["rs"] * len(keys), pa.string()),
    })


def insist(step):
    for attempt in range(60):
        try:
            return step()
        except Exception as error:  # noqa: BLE001: the types differ from release to release
            if "onflict" not in str(error) and "oncurrent" not in str(error) and "ransaction" not in str(error):
                raise
            time.sleep(0.02 * (attempt % 5))
    raise SystemExit("other writers were always faster")


def merge(table, number):
    merged = DeltaTable(table).merge(rows(range(30), number), "t.k = s.k", source_alias="s", target_alias="t")
    merged.when_matched_update_all().when_not_matched_insert_all().execute()


def main():
    table, number = sys.argv[1], int(sys.argv[2])
    if number == 0:
        insist(lambda: write_deltalake(table, rows(range(20), 0), mode="append"))
    insist(lambda: merge(table, number))
    insist(lambda: DeltaTable(table).delete(f"k = 'rs-{number}'"))
    insist(lambda: DeltaTable(table).optimize.compact())


if __name__ == "__main__":
    main()
