"""`make bench-sql`: workload W4, what a query costs a stream, each part beside the same stream without it in the same run.

W4   all of W1's columns, one filter and two expressions, against W1: CPU seconds per million rows; and the same with the
     expressions in the place of two columns, so that no more columns are written
W4b  3 of 100 columns against all 100: rows per CPU second
W4c  batches of 8 rows with a LEFT JOIN of a Delta table of 100,000 rows, against the same without: milliseconds a batch
W4d  100,000 batches of 8 rows in a row, with that join: resident memory by tenths of the run

Run by `tests/rig/readers python benches/e2e/sql.py`. Rows are counted after every run. Topics are kept in the cache.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Producer
from deltalake import DeltaTable, write_deltalake

from harness import (
    RUN_LIMIT_S, SCRATCH, arguments_of, broker, build, check_table, fill, finish, fresh, measured, medians, print_small, said, schema_of,
    small_batches, stream_file,
)

SMALL_BATCH = 8
COLUMNS = 100
TABLE_ROWS = 100_000
# The filter takes nothing away, so that both streams write the same number of rows.
QUERY = """
SELECT event_id, device, status, temperature, humidity, battery, seq, event_time, location,
       temperature * 1.8 + 32 AS fahrenheit, upper(status) AS state
FROM input WHERE battery >= 0
"""
# The same as many columns as W1 writes, so that the difference is the query and not the writer.
IN_PLACE = """
SELECT event_id, device, upper(status) AS status, temperature * 1.8 + 32 AS temperature, humidity, battery, seq, event_time, location
FROM input WHERE battery >= 0
"""
FEW = "SELECT n_3, t_40, n_75 FROM input"
JOIN = "SELECT i.event_id, i.device, i.seq, d.site FROM input i LEFT JOIN devices d ON i.device = d.device"
PLAIN = "SELECT event_id, device, seq FROM input"


# ---- throughput ----------------------------------------------------------------------------------------------------


def run(bench, name, topic, **more):
    folder = fresh(name)
    file = stream_file(folder, bench, topic, "availableNow", **more)
    return folder, said(measured([bench.alluvia, "run", file], folder / "alluvia.log") | {"label": name})


def w1(bench):
    folder, found = run(bench, "W1", bench.topic)
    check_table(folder / "table", range(bench.messages))
    return found


def queried(bench, name, query, status, temperature):
    folder, found = run(bench, name, bench.topic, sql=query)
    check_table(folder / "table", range(bench.messages))
    rows = DeltaTable(str(folder / "table")).to_pyarrow_table(columns=[status, temperature])
    values = rows.column(temperature)
    if values.null_count or pc.min(values).as_py() < 32 or "OK" not in rows.column(status).unique().to_pylist():
        sys.exit("bench: the query's columns are not what they should be")
    return found


def wide_column(number):
    """A third of the columns are numbers, a third texts, a third fractions."""
    name = f"{'ntd'[number % 3]}_{number}"
    return name, ("BIGINT", "STRING", "DOUBLE")[number % 3], (number * 1_000_003, f"text of {number}", number / 7)[number % 3]


def wide_topic(bench):
    """A topic of messages of 100 columns, which differ in one of them; filled unless it is there."""
    topic = f"w4-wide-{bench.wide_messages}"
    producer = Producer({"bootstrap.servers": bench.bootstrap, "linger.ms": 20, "enable.idempotence": True})
    if topic in producer.list_topics(timeout=30).topics:
        return topic
    fill(bench, topic, 0)  # makes it, with its partitions
    values = {name: value for name, _, value in map(wide_column, range(COLUMNS))}
    head = json.dumps(values, separators=(",", ":")).removeprefix('{"n_0":0')
    for number in range(bench.wide_messages):
        message = f'{{"n_0":{number}{head}'
        while True:
            try:
                producer.produce(topic, message, partition=number % 4)
                break
            except BufferError:
                producer.poll(0.05)
    if producer.flush(120):
        sys.exit("bench: the broker did not take all wide messages")
    return topic


def wide(bench, name, sql=None):
    ddl = ", ".join(f"{name} {kind}" for name, kind, _ in map(wide_column, range(COLUMNS)))
    source = {"value": {"format": "json", "schema": ddl}}
    more = {"sql": sql} if sql else {}
    folder, found = run(bench, name, bench.wide, source=source, **more)
    rows = DeltaTable(str(folder / "table")).to_pyarrow_dataset().count_rows()
    if rows != bench.wide_messages:
        sys.exit(f"bench: the table holds {rows} rows, the topic {bench.wide_messages}")
    return found


def throughput(bench):
    contenders = {
        "W1": w1, "W4": lambda b: queried(b, "W4", QUERY, "state", "fahrenheit"),
        "W4 in place": lambda b: queried(b, "W4 in place", IN_PLACE, "status", "temperature"),
        "100 of 100 columns": lambda b: wide(b, "all"), "3 of 100 columns": lambda b: wide(b, "few", FEW),
    }
    runs = {name: [] for name in contenders}
    for _ in range(bench.rounds):
        for name, contender in contenders.items():
            runs[name].append(contender(bench))
    return {name: medians(of) for name, of in runs.items()}


def print_throughput(bench, results):
    print(f"\nW4: {bench.messages:,} messages, {bench.wide_messages:,} of {COLUMNS} columns; medians")
    print(f"{'':<20} {'rows/s':>10} {'CPU s/M rows':>13} {'ratio':>6} {'peak RSS MiB':>13}")
    for name, found in results.items():
        messages = bench.wide_messages if "columns" in name else bench.messages
        base = results["100 of 100 columns" if "columns" in name else "W1"]
        print(
            f"{name:<20} {messages / found['wall']:>10,.0f} {found['cpu'] / messages * 1e6:>13.2f} {found['cpu'] / base['cpu']:>6.2f}"
            f" {found['rss']:>13.0f}"
        )
    few = results["100 of 100 columns"]["cpu"] / results["3 of 100 columns"]["cpu"]
    of_w1 = {name: results[name]["cpu"] / results["W1"]["cpu"] for name in ("W4", "W4 in place")}
    print(f"W4 : W1 {of_w1['W4']:.2f} x the CPU seconds, in place {of_w1['W4 in place']:.2f} x; 3 of 100 columns: {few:.2f} x the rows per CPU second of all")


# ---- small batches -------------------------------------------------------------------------------------------------


def devices(bench):
    """The static table: more devices than W1 has, each once."""
    bench.devices = SCRATCH / "devices"
    names = [f"device-{n:05}" for n in range(TABLE_ROWS)]
    write_deltalake(str(bench.devices), pa.table({"device": names, "site": [f"site-{n % 97}" for n in range(TABLE_ROWS)]}))


def with_join(bench):
    return {"sql": JOIN, "tables": {"devices": {"format": "delta", "path": str(bench.devices)}}}


def joined(bench, name, more):
    topic, folder = f"w4-trickle-{time.time_ns()}", fresh(name)
    fill(bench, topic, 0, "--partitions", 1)
    file = stream_file(folder, bench, topic, {"processingTime": "500 milliseconds"}, **more)
    batches = small_batches(bench, folder, file, topic, SMALL_BATCH, bench.small_batches, 0)
    check_table(folder / "table", range((bench.small_batches + 1) * SMALL_BATCH))
    return batches


def print_joined(results):
    for name, batches in results.items():
        print_small(name, batches)
    added = {key: statistics.median(results["join"][key]) - statistics.median(results["no join"][key]) for key in ("said_ms", "outside_ms")}
    print(
        f"the join with {TABLE_ROWS:,} rows adds {added['said_ms']:.1f} ms to a batch by its progress, {added['outside_ms']:.1f} ms seen from outside;"
        f" first batch after {results['join']['first_s']:.2f} s, without {results['no join']['first_s']:.2f} s"
    )


# ---- many batches --------------------------------------------------------------------------------------------------


def resident(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")), None)
    except OSError:
        return None


def many(bench):
    """Resident memory in MiB, the median of each tenth of a run of many batches; nothing is printed or kept of the rows."""
    topic, folder = f"w1-{bench.batches * SMALL_BATCH}", fresh("many")
    fill(bench, topic, bench.batches * SMALL_BATCH)
    file = stream_file(
        folder, bench, topic, "availableNow", options={"maxOffsetsPerTrigger": str(SMALL_BATCH)}, **with_join(bench),
    )
    stream = json.loads(file.read_text())
    stream["streams"][0]["sink"] = {"format": "console", "options": {"numRows": "1"}}
    file.write_text(json.dumps(stream))
    found, started = [], time.monotonic()
    with open(folder / "many.log", "wb") as log:
        call = [str(bench.alluvia), "run", str(file), "--log", "warn"]
        child = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        while child.poll() is None:
            if (mib := resident(child.pid)) is not None:
                found.append(mib)
            time.sleep(0.5)
    if child.returncode != 0:
        sys.exit(f"bench: the run of many batches ended with {child.returncode}:\n{(folder / 'many.log').read_text()[-3000:]}")
    last = max(int(file.name) for file in (folder / "checkpoint" / "commits").iterdir() if file.name.isdigit())
    tenths = [found[len(found) * n // 10 : len(found) * (n + 1) // 10] for n in range(10)]
    return {"batches": last + 1, "seconds": time.monotonic() - started, "tenths": [statistics.median(part) if part else None for part in tenths]}


def print_many(result):
    shown = ", ".join(f"{mib:.0f}" for mib in result["tenths"] if mib is not None)
    print(f"{result['batches']:,} batches of {SMALL_BATCH} rows in {result['seconds']:.0f} s: resident memory by tenths of the run {shown} MiB")


# ---- all of it -----------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments_of(parser)
    parser.add_argument("--wide-messages", type=int, default=300_000, help=f"messages of {COLUMNS} columns")
    parser.add_argument("--small-batches", type=int, default=15, help=f"how many batches of {SMALL_BATCH} rows")
    parser.add_argument("--batches", type=int, default=100_000, help=f"how many batches of {SMALL_BATCH} rows in a row")
    parser.add_argument("--only", choices=["all", "throughput", "join", "many"], default="all")
    return parser.parse_args()


def main():
    bench = arguments()
    bench.alluvia, bench.programs = build(bench)
    bench.ddl, load, results = schema_of(bench), os.getloadavg()[0], {}
    bench.topic = f"w1-{bench.messages}"
    with broker() as bench.bootstrap:
        if bench.only in ("all", "throughput"):
            fill(bench, bench.topic, bench.messages)
            bench.wide = wide_topic(bench)
            w1(bench)  # unmeasured: the topic into the page cache
            results["throughput"] = throughput(bench)
            print_throughput(bench, results["throughput"])
        if bench.only != "throughput":
            devices(bench)
        if bench.only in ("all", "join"):
            results["join"] = {"no join": joined(bench, "plain", {"sql": PLAIN}), "join": joined(bench, "joined", with_join(bench))}
            print_joined(results["join"])
        if bench.only in ("all", "many"):
            results["many"] = many(bench)
            print_many(results["many"])
    finish(bench, "W4", load, results)


if __name__ == "__main__":
    main()
