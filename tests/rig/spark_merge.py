"""Merges micro-batches into a Delta table as a Spark user does in foreachBatch; run by `tests/rig/readers python`.

    spark_merge.py TABLE SCHEMA KEYS BATCH …    TABLE is made; SCHEMA is DDL; KEYS are comma-separated, fields as `s.x`; each BATCH
                                                is a file of JSON lines, which `from_json` reads

Each batch: `dropDuplicates` by the keys, then MERGE … WHEN NOT MATCHED THEN INSERT *.
"""
import os
import sys
import tempfile

from delta.tables import DeltaTable
from pyspark.sql import functions as F

from spark_read import session


def merge(spark, table, schema, keys, batch):
    text = spark.read.text(batch)
    rows = text.select(F.from_json("value", schema).alias("row")).select("row.*")
    # dropDuplicates takes top-level columns only.
    names = [f"__key{i}" for i in range(len(keys))]
    for name, key in zip(names, keys):
        rows = rows.withColumn(name, F.col(key))
    rows = rows.dropDuplicates(names).drop(*names)
    condition = " AND ".join(f"t.{key} = s.{key}" for key in keys)
    target = DeltaTable.forPath(spark, table)
    target.alias("t").merge(rows.alias("s"), condition).whenNotMatchedInsertAll().execute()


def main():
    table, schema, keys, *batches = sys.argv[1:]
    keys = keys.split(",")
    with tempfile.TemporaryDirectory(prefix="alluvia-spark-") as scratch:
        os.chdir(scratch)
        spark = session(scratch)
        spark.createDataFrame([], schema).write.format("delta").save(table)
        for batch in batches:
            merge(spark, table, schema, keys, batch)
        spark.stop()


if __name__ == "__main__":
    main()
