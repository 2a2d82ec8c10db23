"""`make bench`: workload W1 through Alluvia and through the raw limit, alternating, on one real broker; medians.

Run by `tests/rig/readers python benches/e2e/run.py`. Builds both in release, keeps the filled topic in the cache, checks
after every run that each message is in the result once, prints the table. `--peers` adds what a user would otherwise do,
`--tls` Alluvia over TLS with a password (SASL_SSL, PLAIN), as an Event Hubs namespace is read, `--before FILE` another build of Alluvia.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable

from harness import (
    HERE, SCRATCH, arguments_of, broker, build, check, check_table, commits, epoch_ms, facts_of_broker, fill, finish, fresh, measured,
    medians, progress_of, schema_of, spark_submit, stream_file,
)

SMALL_BATCH = 10
TLS = "Alluvia by TLS"
BEFORE = "Alluvia before"


# ---- throughput ------------------------------------------------------------------------------------------------


def raw_limit(bench):
    folder = fresh("raw")
    call = [bench.programs, "raw-limit", "--bootstrap", bench.bootstrap, "--topic", bench.topic, "--out", folder]
    run = measured(call, SCRATCH / "raw.log")
    check(pq.read_table(folder, columns=["seq"]).column("seq"), [range(bench.messages)])
    bench.value_bytes = json.loads((SCRATCH / "raw.log").read_text())["valueBytes"]
    return run | {"files": len(list(folder.glob("*.parquet")))}


def alluvia(bench, options=(), program=None):
    folder = fresh("alluvia")
    file = stream_file(folder, bench, bench.topic, "availableNow", options=options)
    return of_table(measured([program or bench.alluvia, "run", file], SCRATCH / "alluvia.log"), folder / "table", bench)


def alluvia_before(bench):
    return alluvia(bench, program=bench.before)


def alluvia_by_tls(bench):
    facts = facts_of_broker()
    user, password = facts["eventhubs"]["user"], facts["eventhubs"]["password"]
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{user}" password="{password}";'
    return alluvia(bench, {
        "kafka.bootstrap.servers": facts["bootstrap"]["eventhubs"], "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "PLAIN", "kafka.sasl.jaas.config": login, "kafka.ssl.ca.location": facts["ca"],
    })


def python_loop(bench):
    table = fresh("loop") / "table"
    call = [sys.executable, HERE / "peer_loop.py", bench.bootstrap, bench.topic, table]
    return of_table(measured(call, SCRATCH / "loop.log"), table, bench)


def spark(bench):
    folder = fresh("spark")
    arguments = (bench.bootstrap, bench.topic, folder / "table", folder / "checkpoint", bench.ddl)
    return of_table(spark_submit(folder, SCRATCH / "spark.log", "peer_spark.py", *arguments), folder / "table", bench)


def of_table(run, table, bench):
    check_table(table, range(bench.messages))
    first_ns = commits(table)[0][0]
    files = len(DeltaTable(str(table)).file_uris())
    return run | {"first_commit": (first_ns - run["started_ns"]) / 1e9, "files": files}


def throughput(bench, rounds, contenders):
    raw_limit(bench)  # unmeasured: the topic into the page cache
    runs = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            run = contender(bench)
            runs[name].append(run)
            print(f"  round {number + 1}  {name:<14} {run['wall']:7.2f} s  {run['cpu']:7.2f} CPU s", file=sys.stderr, flush=True)
    return {name: medians(of) for name, of in runs.items()}


def print_table(bench, result):
    print(f"\nW1: {bench.messages:,} messages, {bench.value_bytes / bench.messages:.0f} bytes each, 4 partitions; medians")
    print(
        f"{'':<14} {'wall s':>8} {'rows/s':>10} {'MB/s':>7} {'CPU s/M rows':>13} {'kernel':>7} {'faults':>8} {'peak RSS MiB':>13}"
        f" {'files':>6} {'of raw limit':>13}"
    )
    raw = result["raw limit"]
    for name, run in result.items():
        print(
            f"{name:<14} {run['wall']:>8.2f} {bench.messages / run['wall']:>10,.0f} {bench.value_bytes / run['wall'] / 1e6:>7.1f}"
            f" {run['cpu'] / bench.messages * 1e6:>13.2f} {run['kernel'] / run['cpu']:>7.0%} {run['faults']:>8,.0f} {run['rss']:>13.0f}"
            f" {run['files']:>6.0f} {raw['wall'] / run['wall']:>13.2f}"
        )
    ours = result.get("Alluvia")
    for name, run in result.items():
        if ours and name != "Alluvia":
            print(f"Alluvia : {name:<14} {run['wall'] / ours['wall']:6.2f} x the rows/s, {run['cpu'] / ours['cpu']:6.2f} x the rows per CPU second")
    if TLS in result:
        print(f"TLS: {result[TLS]['cpu'] / ours['cpu']:.2f} x the CPU seconds of Alluvia's process")


# ---- latency ---------------------------------------------------------------------------------------------------


def start_up(bench, rounds):
    """A new process on a topic of ten messages: seconds from its start to its first commit, and to its end."""
    topic = "w1-ten"
    fill(bench, topic, SMALL_BATCH)
    runs = []
    for _ in range(rounds):
        folder = fresh("start")
        file = stream_file(folder, bench, topic, "availableNow")
        run = measured([bench.alluvia, "run", file], SCRATCH / "start.log")
        check_table(folder / "table", range(SMALL_BATCH))
        runs.append(run | {"first_commit": (commits(folder / "table")[0][0] - run["started_ns"]) / 1e9})
    return medians(runs)


def small_batches(bench, count):
    """Batches of ten messages in a running stream: milliseconds from the trigger to the commit, two ways.

    By Alluvia's word: `durationMs.triggerExecution` of its progress events. From outside: the commit file's time minus the
    progress event's `timestamp` (the trigger's time), joined by the transaction's version, which is the batch id.
    """
    topic, folder = f"w1-trickle-{time.time_ns()}", fresh("trickle")
    log = SCRATCH / "trickle.log"
    one_partition = ("--partitions", 1)  # ten messages go there in one request, so in one micro-batch
    fill(bench, topic, SMALL_BATCH, *one_partition)
    file = stream_file(folder, bench, topic, {"processingTime": "500 milliseconds"})
    with open(log, "wb") as out:
        child = subprocess.Popen([str(bench.alluvia), "run", str(file)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            for number in range(1, count + 1):
                await_rows(child, folder / "table", number * SMALL_BATCH, log)
                fill(bench, topic, SMALL_BATCH, "--append", "--first", number * SMALL_BATCH, *one_partition)
            await_rows(child, folder / "table", (count + 1) * SMALL_BATCH, log)
        finally:
            child.terminate()
            child.wait(timeout=30)
    check_table(folder / "table", range(SMALL_BATCH * (count + 1)))
    progress = [p for p in progress_of(log) if p["numInputRows"] == SMALL_BATCH][1:]
    if not progress:
        sys.exit(f"bench: no progress event of {SMALL_BATCH} rows in Alluvia's output:\n{log.read_text()[-2000:]}")
    when = {batch: time_ns for time_ns, batch, _ in commits(folder / "table")}
    outside = [when[p["batchId"]] / 1e6 - epoch_ms(p["timestamp"]) for p in progress if p["batchId"] in when]
    return [p["durationMs"]["triggerExecution"] for p in progress], outside


def await_rows(child, table, count, log):
    deadline = time.monotonic() + 30
    while sum(rows for _, _, rows in commits(table)) < count:
        if child.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: row {count} did not come; Alluvia said:\n{log.read_text()[-3000:]}")
        time.sleep(0.01)


def print_latency(start, batches):
    said, outside = batches
    print(f"\nstart-up (10 messages): first commit after {start['first_commit'] * 1e3:.0f} ms, ended after {start['wall'] * 1e3:.0f} ms")
    for name, values in {"by its progress": said, "seen from outside": outside}.items():
        print(
            f"10-message batch, trigger to commit, {name:<18} median {statistics.median(values):5.0f} ms,"
            f" longest {max(values):5.0f} ms of {len(values)} batches"
        )


# ---- all of it -------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments_of(parser)
    parser.add_argument("--peers", action="store_true", help="also a Python loop and Spark")
    parser.add_argument("--tls", action="store_true", help="also Alluvia over SASL_SSL")
    parser.add_argument("--only", choices=["all", "throughput", "latency", "raw"], default="all", help="raw: without Alluvia")
    parser.add_argument("--before", type=Path, metavar="FILE", help="also a release binary of another version of Alluvia")
    bench = parser.parse_args()
    if bench.only == "raw":
        bench.alluvia = bench.alluvia or Path("not-needed")
    bench.alluvia, bench.programs = build(bench)
    bench.topic = f"w1-{bench.messages}"
    bench.ddl = schema_of(bench)
    load, results = os.getloadavg()[0], {}
    contenders = {"raw limit": raw_limit}
    contenders |= {"Alluvia": alluvia} if bench.only != "raw" else {}
    contenders |= {BEFORE: alluvia_before} if bench.before and bench.only != "raw" else {}
    contenders |= {TLS: alluvia_by_tls} if bench.tls and bench.only != "raw" else {}
    contenders |= {"Python loop": python_loop, "Spark 4.0": spark} if bench.peers else {}
    with broker() as bench.bootstrap:
        if bench.only != "latency":
            fill(bench, bench.topic, bench.messages)
            results["throughput"] = throughput(bench, bench.rounds, contenders)
            print_table(bench, results["throughput"])
        if bench.only in ("all", "latency"):
            start, (said, outside) = start_up(bench, 5), small_batches(bench, 15)
            results["latency"] = {"start": start, "saidMs": said, "outsideMs": outside}
            print_latency(start, (said, outside))
    finish(bench, "W1", load, results)


if __name__ == "__main__":
    main()
