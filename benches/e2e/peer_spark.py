"""The same work as a Spark Structured Streaming query (`availableNow`, exactly once); run by spark-submit.

    peer_spark.py BOOTSTRAP TOPIC TABLE CHECKPOINT SCHEMA_DDL
"""
import json
import os
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json


def events(spark, bootstrap, topic, ddl, rows=None):
    """The topic's events as columns, at most `rows` of them a batch."""
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    if rows:
        source = source.option("maxOffsetsPerTrigger", rows)
    records = source.option("subscribe", topic).option("startingOffsets", "earliest").load()
    return records.select(from_json(col("value").cast("string"), ddl).alias("row")).select("row.*")


def cpu_seconds():
    """CPU seconds of the Java process, which has started this one."""
    with open(f"/proc/{os.getppid()}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def progress_of(query):
    """Rows and times of an ended query's batches with data."""
    batches = [p for p in (json.loads(p.json) for p in query.recentProgress) if p["numInputRows"] > 0]
    return {
        "rows": sum(p["numInputRows"] for p in batches),
        "batchMs": [p["durationMs"]["triggerExecution"] for p in batches],
    }


def main(bootstrap, topic, table, checkpoint, ddl):
    spark = SparkSession.builder.appName("peer-spark").getOrCreate()
    rows = events(spark, bootstrap, topic, ddl)
    sink = rows.writeStream.format("delta").option("checkpointLocation", checkpoint).trigger(availableNow=True)
    sink.start(table).awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
