"""The same merge as a Spark user has it: foreachBatch, dropDuplicates, MERGE … WHEN NOT MATCHED THEN INSERT *; run by spark-submit.

    peer_spark_merge.py BOOTSTRAP TOPIC TABLE CHECKPOINT SCHEMA_DDL ROWS      ROWS rows a batch

Prints {"rows", "cpuSeconds", "batchMs"}: CPU of the Java process while the query ran, times by Spark's progress.
"""
import json
import sys

from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from peer_spark import cpu_seconds, events, progress_of


def main(bootstrap, topic, table, checkpoint, ddl, rows):
    spark = SparkSession.builder.appName("peer-spark-merge").config("spark.sql.shuffle.partitions", 2).getOrCreate()

    def merge(batch, _):
        target = DeltaTable.forPath(spark, table).alias("t")
        merged = target.merge(batch.dropDuplicates(["event_id"]).alias("s"), "t.event_id = s.event_id")
        merged.whenNotMatchedInsertAll().execute()

    before = cpu_seconds()
    sink = events(spark, bootstrap, topic, ddl, rows).writeStream.foreachBatch(merge)
    running = sink.option("checkpointLocation", checkpoint).trigger(availableNow=True).start()
    running.awaitTermination()
    print(json.dumps(progress_of(running) | {"cpuSeconds": cpu_seconds() - before}))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
