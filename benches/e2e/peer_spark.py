"""The same work as a Spark Structured Streaming query (`availableNow`, exactly once); run by spark-submit.

    peer_spark.py BOOTSTRAP TOPIC TABLE CHECKPOINT SCHEMA_DDL
"""
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json


def main(bootstrap, topic, table, checkpoint, ddl):
    spark = SparkSession.builder.appName("peer-spark").getOrCreate()
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    records = source.option("subscribe", topic).option("startingOffsets", "earliest").load()
    rows = records.select(from_json(col("value").cast("string"), ddl).alias("row")).select("row.*")
    sink = rows.writeStream.format("delta").option("checkpointLocation", checkpoint).trigger(availableNow=True)
    sink.start(table).awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
