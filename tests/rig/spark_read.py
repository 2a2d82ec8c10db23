"""Reads Delta tables with Apache Spark and Delta Lake's own library; run by `tests/rig/readers python`.

    spark_read.py "DESCRIBE HISTORY delta.`/tmp/t`" …    each query's rows as JSON lines; absolute paths only
    spark_read.py --serve                                one JSON string (a query) per line of stdin, one JSON answer per line of
                                                         stdout: {"rows": […]} or {"error": "…"}; ends with stdin
A table in Azurite is delta.`wasb://CONTAINER@devstoreaccount1.blob.localhost:PORT/PATH`, with the account's key set before by
    SET `fs.azure.account.key.devstoreaccount1.blob.localhost:PORT`=`KEY`
Starting Spark takes some ten seconds, so the Rust tests keep one serving.
"""
import json
import os
import socket
import sys
import tempfile
from pathlib import Path

from pyspark.sql import SparkSession


def hosts(scratch):
    """A file of host names for the JVM, with the one under which Azurite knows its account."""
    file = Path(scratch, "hosts")
    file.write_text(f"127.0.0.1 localhost devstoreaccount1.blob.localhost {socket.gethostname()}\n")
    return file


def session(scratch):
    builder = SparkSession.builder.master("local[2]").appName("alluvia-rig")
    settings = {
        "spark.jars": os.environ["ALLUVIA_SPARK_JARS"],
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        "spark.local.dir": scratch,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": f"-Djdk.net.hosts.file={hosts(scratch)}",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.log.level": "ERROR",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def rows(spark, query):
    return [json.loads(line) for line in spark.sql(query).toJSON().collect()]


def main():
    with tempfile.TemporaryDirectory(prefix="alluvia-spark-") as scratch:
        os.chdir(scratch)  # Spark leaves a folder `artifacts` wherever it runs
        spark = session(scratch)
        if sys.argv[1:] == ["--serve"]:
            print(json.dumps({"rows": []}), flush=True)
            for line in sys.stdin:
                try:
                    answer = {"rows": rows(spark, json.loads(line))}
                except Exception as error:  # what Spark says is the answer: the test decides
                    answer = {"error": str(error)}
                print(json.dumps(answer), flush=True)
        else:
            for query in sys.argv[1:]:
                for row in rows(spark, query):
                    print(json.dumps(row))
        spark.stop()


if __name__ == "__main__":
    main()
