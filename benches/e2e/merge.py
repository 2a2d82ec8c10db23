"""`make bench-merge`: workload W2, W1's events with 20 % repeats merged by `event_id` into tables that already hold many keys.

Run by `tests/rig/readers python benches/e2e/merge.py`. For each size of table: the build of the key index (a start on ten
messages), all messages in batches of 100,000 rows, then batches of 10 rows in a running stream. W1, as many messages appended,
runs in the same rounds. delta-rs' MERGE from Python takes a part of the messages, and `--peers` adds Spark's MERGE in
foreachBatch. After every run each new event is in the table once. Topics and tables are kept in the cache.
"""
import argparse
import os
import statistics
import sys
import time

import pyarrow.dataset as ds
from deltalake import DeltaTable

from harness import (
    HERE, HOME, SCRATCH, answer_of, arguments_of, broker, build, check, check_table, fill, finish, fresh, measured, medians, must,
    print_small, progress_of, said, schema_of, size_of, small_batches, spark_submit, stream_file,
)

SMALL_BATCH = 10
PEER_SMALL_BATCHES = 4
REPEATS = 20
# Numbers of the new events of each topic: no table and no other topic has them.
FIRST = {"build": 1_000_000_000, "main": 1_100_000_000, "trickle": 1_300_000_000, "peer": 1_400_000_000, "small": 1_500_000_000}


# ---- topics and tables ---------------------------------------------------------------------------------------------


def repeating(bench):
    """`fill`'s options: half of the repeats are events of the smallest table, half came in the topic shortly before."""
    return ("--repeats", REPEATS, "--repeats-of", min(bench.keys))


def topic_of(bench, name, messages, partitions=4):
    """A filled topic, and its new events."""
    topic, first = f"w2-{name}-{messages}-of-{min(bench.keys)}", FIRST[name]
    fill(bench, topic, messages, "--first", first, "--partitions", partitions, *repeating(bench))
    return topic, new_events(first, messages)


def new_events(first, messages):
    return range(first, first + messages - messages * REPEATS // 100)


def base_table(bench, keys):
    """The table that holds the keys of events 0 .. keys, made once."""
    table = HOME / "tables" / f"keys-{keys}"
    if not table.exists():
        started, unfinished = time.monotonic(), fresh("table") / "unfinished"
        must([bench.programs, "table", "--out", unfinished, "--keys", keys])
        table.parent.mkdir(exist_ok=True)
        unfinished.rename(table)
        print(f"table of {keys:,} keys: made ({time.monotonic() - started:.1f} s)", file=sys.stderr)
    return table


def table_for(bench, keys, folder):
    """A table of its own in `folder` with the same data files, by hard links."""
    base, table = base_table(bench, keys), folder / "table"
    (table / "_delta_log").mkdir(parents=True)
    for file in base.glob("*.parquet"):
        os.link(file, table / file.name)
    for file in (base / "_delta_log").iterdir():
        (table / "_delta_log" / file.name).write_bytes(file.read_bytes())
    return table


def check_merged(table, keys, *events):
    """Each of the new events is there once, and nothing else has come or gone."""
    delta = DeltaTable(str(table))
    new = delta.to_pyarrow_dataset().to_table(columns=["seq"], filter=ds.field("seq") >= min(FIRST.values()))
    check(new.column("seq"), events)
    rows = sum(delta.get_add_actions(flatten=True).column("num_records").to_pylist())
    wanted = keys + sum(len(part) for part in events)
    if rows != wanted:
        sys.exit(f"bench: the table has {rows:,} rows and not {wanted:,}")


# ---- Alluvia -------------------------------------------------------------------------------------------------------


def append(bench):
    """W1: as many messages, appended."""
    folder = fresh("append")
    file = stream_file(folder, bench, bench.w1, "availableNow")
    run = measured([bench.alluvia, "run", file], SCRATCH / "append.log")
    check_table(folder / "table", range(bench.messages))
    return said(run | {"label": "W1, appended"})


def merge(bench, keys):
    """The index built, then everything merged: what each of both took."""
    folder = fresh(f"merge-{keys}")
    table = table_for(bench, keys, folder)
    (ten, ten_new), (main, main_new) = bench.ten, bench.main
    build_run = run_merge(bench, folder, [ten], f"index of {keys:,} keys")
    index = index_of(folder)
    check_merged(table, keys, ten_new)
    run = run_merge(bench, folder, [ten, main], f"merged into {keys:,} keys")
    check_merged(table, keys, ten_new, main_new)
    batches = [p["durationMs"]["triggerExecution"] for p in progress_of(log_of(folder)) if p["numInputRows"] >= bench.batch_rows * 0.9]
    if not batches:
        sys.exit(f"bench: no batch of {bench.batch_rows} rows; Alluvia said:\n{log_of(folder).read_text()[-2000:]}")
    return run | {
        "batch_ms": statistics.median(batches), "index_bytes": index, "build_s": build_run["wall"],
        "build_cpu": build_run["cpu"], "build_rss": build_run["rss"],
    }


def run_merge(bench, folder, topics, label):
    file = merge_file(bench, folder, topics, "availableNow")
    return said(measured([bench.alluvia, "run", file], log_of(folder)) | {"label": label})


def merge_file(bench, folder, topics, trigger):
    options = {"maxOffsetsPerTrigger": str(bench.batch_rows)}
    sink = {"merge": {"keys": ["event_id"], "indexFolder": str(folder / "index")}}
    return stream_file(folder, bench, ",".join(topics), trigger, options=options, sink=sink)


def log_of(folder):
    return folder / "alluvia.log"


def index_of(folder):
    size = size_of(folder / "index")
    if size == 0:
        sys.exit(f"bench: there is no index in {folder / 'index'}")
    return size


def trickle(bench, keys):
    """Batches of ten rows into the table and with the index that the last round has left."""
    folder = SCRATCH / f"merge-{keys}"
    topic = f"w2-trickle-{time.time_ns()}"
    # Once before the stream starts; each batch has its own new events and repeats.
    fill(bench, topic, 0, "--partitions", 1)
    file = merge_file(bench, folder, [bench.ten[0], bench.main[0], topic], "500 milliseconds")
    count = bench.small_batches
    batches = small_batches(bench, folder, file, topic, SMALL_BATCH, count, FIRST["trickle"], repeating(bench))
    per_batch = [new_events(FIRST["trickle"] + n * SMALL_BATCH, SMALL_BATCH) for n in range(count + 1)]
    check_merged(folder / "table", keys, bench.ten[1], bench.main[1], *per_batch)
    return batches


# ---- the others ----------------------------------------------------------------------------------------------------


def delta_rs(bench, keys):
    """MERGE by Python's deltalake, batch by batch; both sizes of batches."""
    folder = fresh(f"delta-rs-{keys}")
    return peer(bench, keys, folder, "delta-rs", lambda topic, rows, log: measured(
        [sys.executable, HERE / "peer_merge.py", bench.bootstrap, topic, folder / "table", rows], log))


def spark(bench, keys):
    """MERGE in foreachBatch; both sizes of batches."""
    folder = fresh(f"spark-{keys}")
    return peer(bench, keys, folder, "Spark 4.0", lambda topic, rows, log: spark_submit(
        folder, log, "peer_spark_merge.py", bench.bootstrap, topic, folder / "table", folder / f"checkpoint-{rows}", bench.ddl, rows))


def peer(bench, keys, folder, name, run):
    table = table_for(bench, keys, folder)
    (many, many_new), (few, few_new) = bench.peer, bench.few
    results = {}
    for size, topic, rows in (("large", many, bench.batch_rows), ("small", few, SMALL_BATCH)):
        log = folder / f"{size}.log"
        whole = run(topic, rows, log)
        # Rows, the process's CPU seconds while they were merged, and the milliseconds of each batch.
        results[size] = answer_of(log) | {"rss": whole["rss"]}
        said(whole | {"label": f"{name}, {keys:,} keys, {size}"})
    check_merged(table, keys, many_new, few_new)
    return results


# ---- output --------------------------------------------------------------------------------------------------------


def print_alluvia(bench, results):
    w1 = results["w1"]
    per_million = bench.messages / 1e6
    print(f"\nW2: {bench.messages:,} messages, {REPEATS} % of them repeats, merged by event_id in batches of {bench.batch_rows:,} rows; medians")
    print(f"{'':<20} {'rows/s':>10} {'of W1':>6} {'CPU s/M rows':>13} {'of W1':>6} {'ms/batch':>9} {'peak RSS MiB':>13}")
    print(f"{'W1, appended':<20} {bench.messages / w1['wall']:>10,.0f} {1:>6.2f} {w1['cpu'] / per_million:>13.2f} {1:>6.2f} {'':>9} {w1['rss']:>13.0f}")
    for keys, run in results["alluvia"].items():
        print(
            f"{f'{keys:,} keys':<20} {bench.messages / run['wall']:>10,.0f} {w1['wall'] / run['wall']:>6.2f} {run['cpu'] / per_million:>13.2f}"
            f" {run['cpu'] / w1['cpu']:>6.2f} {run['batch_ms']:>9.0f} {run['rss']:>13.0f}"
        )
    print(f"\n{'the key index':<20} {'keys/s':>10} {'build s':>8} {'CPU s':>7} {'peak RSS MiB':>13} {'bytes/key':>10}   (with the start and ten rows)")
    for keys, run in results["alluvia"].items():
        print(
            f"{f'{keys:,} keys':<20} {keys / run['build_s']:>10,.0f} {run['build_s']:>8.2f} {run['build_cpu']:>7.2f} {run['build_rss']:>13.0f}"
            f" {run['index_bytes'] / keys:>10.1f}"
        )
    times = {keys: run["batch_ms"] for keys, run in results["alluvia"].items()}
    least, most = min(times), max(times)
    print(f"batch time at {most:,} keys : at {least:,} keys = {times[most] / times[least]:.2f}")


def print_peers(bench, results):
    for name, by_keys in results["peers"].items():
        for keys, sizes in by_keys.items():
            ours = results["alluvia"][keys]
            large, small = sizes["large"], sizes["small"]
            rows_s = large["rows"] / (sum(large["batchMs"]) / 1e3)
            cpu = large["cpuSeconds"] / large["rows"] * 1e6
            print(
                f"{name}, {keys:,} keys: {rows_s:,.0f} rows/s, {cpu:.1f} CPU s/M rows, {large['rss']:.0f} MiB, batches of {bench.batch_rows:,} rows"
                f" {statistics.median(large['batchMs']):.0f} ms, of {SMALL_BATCH} rows {statistics.median(small['batchMs'][1:]):.0f} ms;"
                f" Alluvia: {bench.messages / ours['wall'] / rows_s:.1f} x the rows/s,"
                f" {cpu / (ours['cpu'] / bench.messages * 1e6):.1f} x the rows per CPU second"
            )


# ---- all of it -----------------------------------------------------------------------------------------------------


def numbers(text):
    return [int(part.replace("_", "")) for part in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments_of(parser)
    parser.add_argument("--keys", type=numbers, default=[1_000_000, 10_000_000], help="keys of the tables, by commas; default 1000000,10000000")
    parser.add_argument("--batch-rows", type=int, default=100_000)
    parser.add_argument("--small-batches", type=int, default=15, help=f"how many batches of {SMALL_BATCH} rows")
    parser.add_argument("--peer-messages", type=int, default=300_000, help="the part that delta-rs and Spark merge")
    parser.add_argument("--peer-keys-max", type=int, default=10_000_000, help="larger tables are not given to them")
    parser.add_argument("--no-delta-rs", action="store_true", help="Alluvia alone")
    parser.add_argument("--peers", action="store_true", help="also Spark")
    return parser.parse_args()


def main():
    bench = arguments()
    bench.alluvia, bench.programs = build(bench)
    bench.ddl, load = schema_of(bench), os.getloadavg()[0]
    peers = ({} if bench.no_delta_rs else {"delta-rs": delta_rs}) | ({"Spark 4.0": spark} if bench.peers else {})
    with broker() as bench.bootstrap:
        bench.w1 = f"w1-{bench.messages}"
        fill(bench, bench.w1, bench.messages)
        bench.ten, bench.main = topic_of(bench, "build", SMALL_BATCH, 1), topic_of(bench, "main", bench.messages)
        for keys in bench.keys:
            base_table(bench, keys)
        rounds = []
        for _ in range(bench.rounds):
            rounds.append((append(bench), {keys: merge(bench, keys) for keys in bench.keys}))
        results = {
            "w1": medians([w1 for w1, _ in rounds]),
            "alluvia": {keys: medians([by_keys[keys] for _, by_keys in rounds]) for keys in bench.keys},
            "small": {keys: trickle(bench, keys) for keys in bench.keys},
            "peers": {},
        }
        print_alluvia(bench, results)
        for keys, batches in results["small"].items():
            print_small(f"{keys:,} keys", batches)
        if peers:
            bench.peer = topic_of(bench, "peer", bench.peer_messages)
            bench.few = topic_of(bench, "small", SMALL_BATCH * PEER_SMALL_BATCHES, 1)
        for name, run in peers.items():
            results["peers"][name] = {keys: run(bench, keys) for keys in bench.keys if keys <= bench.peer_keys_max}
        print_peers(bench, results)
    finish(bench, "W2", load, results)


if __name__ == "__main__":
    main()
