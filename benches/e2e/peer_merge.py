"""What a user would write by hand with delta-rs: consume a batch, drop duplicates in it, MERGE it into the table.

    peer_merge.py BOOTSTRAP TOPIC TABLE ROWS      reads the topic from its beginning to the end it has now, ROWS rows a batch

Prints {"rows", "cpuSeconds", "batchMs"} of the batches: consume, pyarrow.json, MERGE … WHEN NOT MATCHED THEN INSERT.
"""
import io
import json
import sys
import time

import pyarrow as pa
import pyarrow.json as pj
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from deltalake import DeltaTable

from peer_loop import SCHEMA


def consumer_of(bootstrap, topic):
    """A consumer at the beginning of the topic, and how many messages there are."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "broker.address.family": "v4", "group.id": "peer-merge", "enable.auto.commit": False,
        "fetch.queue.backoff.ms": 5, "fetch.min.bytes": 1 << 20, "max.partition.fetch.bytes": 8 << 20,
        "queued.max.messages.kbytes": 262144, "fetch.wait.max.ms": 10,
    })
    partitions = consumer.list_topics(topic).topics[topic].partitions
    total = sum(high - low for low, high in (consumer.get_watermark_offsets(TopicPartition(topic, p)) for p in partitions))
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
    return consumer, total


def batch_of(consumer, rows):
    values = []
    while len(values) < rows:
        for message in consumer.consume(min(50_000, rows - len(values)), timeout=30):
            if message.error():
                sys.exit(str(message.error()))
            values.append(message.value())
    return pj.read_json(io.BytesIO(b"\n".join(values)), parse_options=pj.ParseOptions(explicit_schema=SCHEMA))


def distinct(rows):
    """The first row of each event_id."""
    numbered = pa.table({"id": rows.column("event_id"), "at": pa.array(range(len(rows)), pa.int64())})
    return rows.take(numbered.group_by("id").aggregate([("at", "min")]).column("at_min"))


def main(bootstrap, topic, table, batch_rows):
    consumer, total = consumer_of(bootstrap, topic)
    seen, times, cpu = 0, [], time.process_time()
    while seen < total:
        started = time.monotonic()
        rows = batch_of(consumer, min(int(batch_rows), total - seen))
        seen += len(rows)
        merge = DeltaTable(table).merge(distinct(rows), "t.event_id = s.event_id", source_alias="s", target_alias="t")
        merge.when_not_matched_insert_all().execute()
        times.append((time.monotonic() - started) * 1e3)
    print(json.dumps({"rows": seen, "cpuSeconds": time.process_time() - cpu, "batchMs": times}))


if __name__ == "__main__":
    main(*sys.argv[1:])
