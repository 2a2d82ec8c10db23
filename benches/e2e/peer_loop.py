"""What a user would write by hand: consume, pyarrow.json, write_deltalake, a commit per 500,000 rows; no guarantee at all.

    peer_loop.py BOOTSTRAP TOPIC TABLE      reads the topic from its beginning to the end it has now
The consumer has the raw limit's settings: the default queue backoff alone would cost a factor of three.
"""
import io
import sys

import pyarrow as pa
import pyarrow.json as pj
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from deltalake import write_deltalake

ROWS_PER_COMMIT = 500_000
SCHEMA = pa.schema([
    ("event_id", pa.string()), ("device", pa.string()), ("status", pa.string()), ("temperature", pa.float64()),
    ("humidity", pa.float64()), ("battery", pa.int32()), ("seq", pa.int64()), ("event_time", pa.timestamp("us", "UTC")),
    ("location", pa.struct([("lat", pa.float64()), ("lon", pa.float64())])),
])


def main(bootstrap, topic, table):
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "broker.address.family": "v4", "group.id": "peer-loop", "enable.auto.commit": False,
        "fetch.queue.backoff.ms": 5, "fetch.min.bytes": 1 << 20, "max.partition.fetch.bytes": 8 << 20,
        "queued.max.messages.kbytes": 262144,
    })
    partitions = consumer.list_topics(topic).topics[topic].partitions
    total = sum(high - low for low, high in (consumer.get_watermark_offsets(TopicPartition(topic, p)) for p in partitions))
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    values, seen = [], 0
    while seen < total:
        for message in consumer.consume(50_000, timeout=30):
            if message.error():
                sys.exit(str(message.error()))
            values.append(message.value())
            seen += 1
        if len(values) >= ROWS_PER_COMMIT or seen == total:
            options = pj.ParseOptions(explicit_schema=SCHEMA)
            rows = pj.read_json(io.BytesIO(b"\n".join(values)), parse_options=options)
            write_deltalake(table, rows, mode="append")
            values.clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
