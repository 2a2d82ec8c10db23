"""Runs Spark's own query Kafka -> from_json -> Delta, from the checkpoint it is given; run by `tests/rig/readers python`.

    spark_stream.py --serve      one JSON object (a query) per line of stdin, one JSON answer per line of stdout:
                                 {"batches": [{"batchId", "numInputRows", "endOffset"}…]} or {"error": "…"}; ends with stdin
    spark_stream.py '{…}' …      the same for each argument

A query: bootstrap, topics (list; each is a source of its own), schema (DDL), checkpoint, and table or sink: "noop"; if wanted,
options (of the Kafka source), writer (options of the writer), conf (of the session), aggregate (true: a stateful query; its
table gets counts), processingTime (a trigger that runs until there is nothing new; else availableNow).
The value's columns come first, then topic, partition and offset.
"""
import json
import os
import sys
import tempfile

from pyspark.sql import functions as F

from spark_read import session


def source(spark, query):
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", query["bootstrap"])
    reader = reader.option("startingOffsets", "earliest")
    for key, value in query.get("options", {}).items():
        reader = reader.option(key, value)
    frames = []
    for topic in query["topics"]:
        raw = reader.option("subscribe", topic).load()
        value = F.from_json(F.col("value").cast("string"), query["schema"])
        frames.append(raw.select(value.alias("v"), "topic", "partition", "offset").select("v.*", "topic", "partition", "offset"))
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.union(frame)
    return whole.groupBy("topic", "partition").count() if query.get("aggregate") else whole


def run(spark, query):
    for key, value in query.get("conf", {}).items():
        spark.conf.set(key, value)
    try:
        writer = source(spark, query).writeStream.option("checkpointLocation", query["checkpoint"])
        for key, value in query.get("writer", {}).items():
            writer = writer.option(key, value)
        if query.get("aggregate"):
            writer = writer.outputMode("complete")
        if query.get("sink") == "noop":
            writer = writer.format("noop")
        else:
            writer = writer.format("delta").option("path", query["table"])
        if "processingTime" in query:
            running = writer.trigger(processingTime=query["processingTime"]).start()
            running.processAllAvailable()
            running.stop()
        else:
            running = writer.trigger(availableNow=True).start()
            running.awaitTermination()
        found = [json.loads(p.json) for p in running.recentProgress]
    finally:
        for key in query.get("conf", {}):
            spark.conf.unset(key)
    return [
        {"batchId": p["batchId"], "numInputRows": p["numInputRows"], "endOffset": [s["endOffset"] for s in p["sources"]]}
        for p in found
    ]


def answer(spark, text):
    try:
        return {"batches": run(spark, json.loads(text))}
    except Exception as error:  # what Spark says is the answer: the test decides
        return {"error": str(error)}


def main():
    with tempfile.TemporaryDirectory(prefix="alluvia-spark-") as scratch:
        os.chdir(scratch)  # Spark leaves a folder `artifacts` wherever it runs
        spark = session(scratch)
        if sys.argv[1:] == ["--serve"]:
            print(json.dumps({"batches": []}), flush=True)
            for line in sys.stdin:
                print(json.dumps(answer(spark, line)), flush=True)
        else:
            for text in sys.argv[1:]:
                print(json.dumps(answer(spark, text)), flush=True)
        spark.stop()


if __name__ == "__main__":
    main()
