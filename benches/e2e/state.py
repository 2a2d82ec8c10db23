"""`make bench-state`: workload W3, queries that keep state over W1's events, against W1 in the same run.

W3   count and average by status in windows of one minute, a watermark of ten seconds, append
W3b  count and average by event_id and window, a watermark of two hours: 5,000,000 live groups
W3c  dropDuplicatesWithinWatermark on event_id, a watermark of ten seconds; 20 % of the messages are repeats

Run by `tests/rig/readers python benches/e2e/state.py`. Then batches of eight rows in the running streams of W3 and W3b, and a
restart with the state of W3b and without its local copy. `--peers` runs the queries in Spark too. After every run the windows,
the groups or the distinct events are counted. Topics are kept in the cache.
"""
import argparse
import os
import shutil
import statistics
import sys
import time

import pyarrow.compute as pc
from deltalake import DeltaTable

from harness import (
    SCRATCH, answer_of, arguments_of, broker, build, check_table, fill, finish, fresh, measured, medians, print_small, progress_of, said,
    schema_of, size_of, small_batches, spark_submit, stream_file,
)

SMALL_BATCH = 8
REPEATS = 20
DELAY_MS = 10_000
WINDOW_MS = 60_000
GROUPED = "SELECT window.start AS start, {key}, count(*) AS events, avg(temperature) AS mean FROM input GROUP BY window(event_time, '1 minute'), {key}"
WINDOWS = {"delay": "10 seconds", "sql": GROUPED.format(key="status")}
KEYS = {"delay": "2 hours", "sql": GROUPED.format(key="event_id")}
DISTINCT = {"delay": "10 seconds", "distinct": ["event_id"]}


# ---- Alluvia -------------------------------------------------------------------------------------------------------


def state_file(bench, folder, topics, query, trigger):
    source, more = {}, {}
    if query:
        source = {"watermark": {"eventTime": "event_time", "delayThreshold": query["delay"]}}
        more = {"stateFolder": str(folder / "state")}
    if "distinct" in (query or {}):
        source["dropDuplicatesWithinWatermark"] = query["distinct"]
    if "sql" in (query or {}):
        more["sql"] = query["sql"]
    options = {"maxOffsetsPerTrigger": str(bench.batch_rows)}
    return stream_file(folder, bench, ",".join(topics), trigger, source=source, options=options, **more)


def run(bench, name, topic, query):
    folder = fresh(name)
    file = state_file(bench, folder, [topic], query, "availableNow")
    found = measured([bench.alluvia, "run", file], folder / "alluvia.log")
    return folder, said(found | {"label": name})


def w1(bench):
    folder, found = run(bench, "W1", bench.w1, None)
    check_table(folder / "table", range(bench.messages))
    return found


def windows(bench):
    folder, found = run(bench, "W3", bench.w1, WINDOWS)
    check_windows(folder / "table", bench.messages)
    return found


def distinct(bench):
    folder, found = run(bench, "W3c", bench.repeating, DISTINCT)
    check_distinct(folder / "table", bench.messages)
    return found


def keys(bench):
    """The groups of W3b: what they took, and how large their state is on the disk and in the checkpoint."""
    folder, found = run(bench, "W3b", bench.many, KEYS)
    last = list(progress_of(folder / "alluvia.log"))[-1]
    if (groups := last["stateOperators"][0]["numRowsTotal"]) != bench.live_keys:
        sys.exit(f"bench: the state holds {groups:,} groups and not {bench.live_keys:,}")
    changes = [file.stat().st_size for file in (folder / "checkpoint" / "state" / "changes").iterdir()]
    return found | {
        "copy_bytes": size_of(folder / "state"), "checkpoint_bytes": size_of(folder / "checkpoint" / "state"),
        "change_file_bytes": statistics.median(changes),
    }


def trickle(bench, name, topic, query, first, count, trickled=None):
    """Batches of eight rows in the stream that the last round has left, started again with the state that it has.

    They come in a topic of their own, a new one unless it is given: a stream keeps the topics that it has read."""
    folder = SCRATCH / name
    if trickled is None:
        trickled = f"w3-trickle-{time.time_ns()}"
        fill(bench, trickled, 0, "--partitions", 1)
    file = state_file(bench, folder, [topic, trickled], query, "500 milliseconds")
    return small_batches(bench, folder, file, trickled, SMALL_BATCH, count, first) | {"topic": trickled}


def restart(bench, before):
    """W3b's stream started without the local copy, after the batches `before`: seconds to its first batch."""
    shutil.rmtree(SCRATCH / "W3b" / "state")
    first = bench.live_keys + (len(before["said_ms"]) + 1) * SMALL_BATCH
    return trickle(bench, "W3b", bench.many, KEYS, first, 0, before["topic"])


# ---- checks --------------------------------------------------------------------------------------------------------


def check_windows(table, messages):
    """The windows that the watermark has passed have each of their events, and no others are there."""
    closed = max(0, (messages - 1 - DELAY_MS) // WINDOW_MS)
    rows = DeltaTable(str(table)).to_pyarrow_table()
    found = (len(rows.group_by(["start"]).aggregate([])), len(rows.group_by(["start", "status"]).aggregate([])), len(rows))
    events = pc.sum(rows.column("events")).as_py() or 0
    if found[0] != closed or found[1] != found[2] or events != closed * WINDOW_MS:
        sys.exit(f"bench: (windows, groups, rows) {found} with {events:,} events; the topic has {closed} closed windows of {WINDOW_MS:,} events")


def check_distinct(table, messages):
    check_table(table, range(messages - messages * REPEATS // 100))


# ---- Spark ---------------------------------------------------------------------------------------------------------


def spark(bench, name, topic, query, check, rows=None):
    folder = fresh(f"spark-{name}")
    options = [part for key, value in query.items() for part in (f"--{key}", value if isinstance(value, str) else ",".join(value))]
    arguments = [bench.bootstrap, topic, folder / "table", folder / "checkpoint", bench.ddl, rows or bench.batch_rows, *options]
    # The default store keeps the state in the heap; RocksDB is what Spark's guide names for millions of keys.
    store = {"spark.sql.streaming.stateStore.providerClass": "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"}
    found = spark_submit(folder, folder / "spark.log", "peer_spark_state.py", *arguments, **(store if query is KEYS else {}))
    check(folder / "table")
    return answer_of(folder / "spark.log") | {"rss": found["rss"], "wall": said(found | {"label": f"Spark, {name}"})["wall"]}


def spark_all(bench):
    few = f"w3-few-{SMALL_BATCH * 6}"
    fill(bench, few, SMALL_BATCH * 6, "--partitions", 1)
    found = {
        "W3": spark(bench, "W3", bench.w1, WINDOWS, lambda table: check_windows(table, bench.messages)),
        "W3c": spark(bench, "W3c", bench.repeating, DISTINCT, lambda table: check_distinct(table, bench.messages)),
        "W3, 8 rows": spark(bench, "W3-few", few, WINDOWS, lambda _: None, SMALL_BATCH),
    }
    if bench.spark_keys:
        found["W3b"] = spark(bench, "W3b", bench.many, KEYS, lambda _: None)
    return found


# ---- output --------------------------------------------------------------------------------------------------------


def print_table(bench, results):
    base = results["W1"]["cpu"] / bench.messages
    print(f"\nW3: {bench.messages:,} messages (W3b: {bench.live_keys:,}) in batches of {bench.batch_rows:,} rows; medians")
    print(f"{'':<14} {'rows/s':>10} {'of W1':>6} {'CPU s/M rows':>13} {'of W1':>6} {'peak RSS MiB':>13}")
    for name, found in results.items():
        messages = bench.live_keys if name == "W3b" else bench.messages
        print(
            f"{name:<14} {messages / found['wall']:>10,.0f} {results['W1']['wall'] / bench.messages * messages / found['wall']:>6.2f}"
            f" {found['cpu'] / messages * 1e6:>13.2f} {found['cpu'] / messages / base:>6.2f} {found['rss']:>13.0f}"
        )


def print_state(bench, many, restarted):
    keys_held = bench.live_keys
    print(
        f"\nstate of {keys_held:,} groups: local copy {many['copy_bytes'] / 2**20:.0f} MiB ({many['copy_bytes'] / keys_held:.0f} bytes a group),"
        f" checkpoint {many['checkpoint_bytes'] / 2**20:.0f} MiB; a batch's file of changes {many['change_file_bytes'] / 2**20:.1f} MiB (median)"
    )
    print(
        f"restart with it and without the local copy: first batch after {restarted['first_s']:.2f} s, peak RSS {restarted['rss']:.0f} MiB"
    )


def print_peers(bench, results, found):
    for name, peer in found.items():
        if name == "W3, 8 rows":
            print(f"Spark 4.0, {name}: median {statistics.median(peer['batchMs'][1:]):.0f} ms a batch")
            continue
        ours = results[name]
        messages = bench.live_keys if name == "W3b" else bench.messages
        rows_s, cpu = peer["rows"] / (peer["queryMs"] / 1e3), peer["cpuSeconds"] / peer["rows"] * 1e6
        print(
            f"Spark 4.0, {name}: {rows_s:,.0f} rows/s, {cpu:.1f} CPU s/M rows (both without its start), {peer['rss']:.0f} MiB;"
            f" Alluvia: {messages / ours['wall'] / rows_s:.1f} x the rows/s, {cpu / (ours['cpu'] / messages * 1e6):.1f} x the rows per CPU second"
        )


# ---- all of it -----------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments_of(parser)
    parser.add_argument("--live-keys", type=int, default=5_000_000, help="messages and groups of W3b")
    parser.add_argument("--batch-rows", type=int, default=500_000, help="of all runs, W1 and Spark included")
    parser.add_argument("--small-batches", type=int, default=15, help=f"how many batches of {SMALL_BATCH} rows")
    parser.add_argument("--peers", action="store_true", help="also Spark")
    parser.add_argument("--spark-keys", action="store_true", help="with --peers: W3b in Spark too, some minutes more")
    return parser.parse_args()


def fill_topics(bench):
    bench.w1, bench.many, bench.repeating = f"w1-{bench.messages}", f"w1-{bench.live_keys}", f"w3-repeating-{bench.messages}"
    fill(bench, bench.w1, bench.messages)
    fill(bench, bench.many, bench.live_keys)
    fill(bench, bench.repeating, bench.messages, "--repeats", REPEATS)


def main():
    bench = arguments()
    bench.alluvia, bench.programs = build(bench)
    bench.ddl, load = schema_of(bench), os.getloadavg()[0]
    with broker() as bench.bootstrap:
        fill_topics(bench)
        contenders = {"W1": w1, "W3": windows, "W3c": distinct, "W3b": keys}
        rounds = [{name: contender(bench) for name, contender in contenders.items()} for _ in range(bench.rounds)]
        results = {name: medians([found[name] for found in rounds]) for name in contenders}
        print_table(bench, results)
        count = bench.small_batches
        small = {
            "W3": trickle(bench, "W3", bench.w1, WINDOWS, bench.messages, count),
            "W3b": trickle(bench, "W3b", bench.many, KEYS, bench.live_keys, count),
        }
        restarted = restart(bench, small["W3b"])
        for name, batches in small.items():
            print_small(name, batches)
        print_state(bench, results["W3b"], restarted)
        found = spark_all(bench) if bench.peers else {}
        print_peers(bench, results, found)
    finish(bench, "W3", load, results | {"small": small, "restart": restarted, "spark": found})


if __name__ == "__main__":
    main()
