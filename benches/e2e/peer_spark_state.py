"""W3's queries in Spark Structured Streaming (`availableNow`, append, exactly once into Delta); run by spark-submit.

    peer_spark_state.py BOOTSTRAP TOPIC TABLE CHECKPOINT SCHEMA_DDL ROWS --delay DELAY [--sql SQL] [--distinct COLUMNS]

ROWS rows a batch. Prints {"rows", "cpuSeconds", "batchMs", "queryMs"}: CPU of the Java process while the query ran.
"""
import argparse
import json
import time

from pyspark.sql import SparkSession

from peer_spark import cpu_seconds, events, progress_of


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "table", "checkpoint", "ddl", "rows"):
        parser.add_argument(name)
    parser.add_argument("--delay", required=True)
    parser.add_argument("--sql")
    parser.add_argument("--distinct")
    return parser.parse_args()


def main(given):
    spark = SparkSession.builder.appName("peer-spark-state").config("spark.sql.shuffle.partitions", 2).getOrCreate()
    rows = events(spark, given.bootstrap, given.topic, given.ddl, given.rows).withWatermark("event_time", given.delay)
    if given.distinct:
        rows = rows.dropDuplicatesWithinWatermark(given.distinct.split(","))
    if given.sql:
        rows.createOrReplaceTempView("input")
        rows = spark.sql(given.sql)
    before, started = cpu_seconds(), time.monotonic()
    sink = rows.writeStream.format("delta").option("checkpointLocation", given.checkpoint).trigger(availableNow=True)
    running = sink.start(given.table)
    running.awaitTermination()
    spent = {"queryMs": (time.monotonic() - started) * 1e3, "cpuSeconds": cpu_seconds() - before}
    print(json.dumps(progress_of(running) | spent))
    spark.stop()


if __name__ == "__main__":
    main(arguments())
