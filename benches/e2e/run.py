"""`make bench`: workload W1 through Alluvia and through the raw limit, alternating, on one real broker; medians.

Run by `tests/rig/readers python benches/e2e/run.py`. Builds both in release, keeps the filled topic in the cache, checks
after every run that each message is in the result once, prints the table. `--peers` adds what a user would otherwise do.
CPU is that of the measured process and the children it waited for; the broker's comes on top and on the same cores.
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KAFKA = ROOT / "tests" / "rig" / "kafka"
CACHE = Path(os.environ.get("ALLUVIA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alluvia")
HOME = CACHE / "bench"
SCRATCH = HOME / "run"
SMALL_BATCH = 10
RUN_LIMIT_S = 600


# ---- parts -----------------------------------------------------------------------------------------------------


def build(given):
    """Paths of the release binary and of the programs beside this file, built unless they are given."""
    if given.alluvia is None:
        must(["cargo", "build", "--release", "--bin", "alluvia"])
    programs = given.programs
    if programs is None:
        call = ["cargo", "bench", "--bench", "e2e", "--no-run", "--message-format", "json-render-diagnostics"]
        for line in must(call, stdout=subprocess.PIPE).stdout.splitlines():
            message = json.loads(line)
            if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "e2e":
                programs = Path(message["executable"])
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return (given.alluvia or target / "release" / "alluvia").resolve(), programs.resolve()


def must(call, **how):
    done = subprocess.run([str(part) for part in call], cwd=ROOT, text=True, **how)
    if done.returncode != 0:
        sys.exit(f"bench: `{' '.join(map(str, call[:4]))} …` ended with {done.returncode}")
    return done


@contextmanager
def broker():
    """The bench's own broker, with its topics from earlier runs; yields its address."""
    home = HOME / "broker"
    must([KAFKA, "start", "--dir", home], stdout=subprocess.DEVNULL, env={**os.environ, "ALLUVIA_RIG_HEAP": "1g"})
    try:
        yield json.loads((home / "broker.json").read_text())["bootstrap"]["plaintext"]
    finally:
        must([KAFKA, "stop", "--dir", home], stdout=subprocess.DEVNULL)


def fresh(name):
    folder = SCRATCH / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def stream_file(folder, bootstrap, topic, ddl, trigger):
    """Alluvia's stream file for W1: JSON decoded by a schema into a local Delta table."""
    stream = {
        "name": "w1",
        "source": {
            "format": "kafka",
            "options": {"kafka.bootstrap.servers": bootstrap, "subscribe": topic, "startingOffsets": "earliest"},
            "value": {"format": "json", "schema": ddl},
        },
        "sink": {"format": "delta", "path": str(folder / "table")},
        "trigger": trigger,
        "checkpointLocation": str(folder / "checkpoint"),
    }
    file = folder / "stream.yaml"
    file.write_text(json.dumps({"streams": [stream]}, indent=1))  # JSON is YAML
    return file


def high_water(pid):
    """The most memory that a running process has held so far, in MiB; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            kib = [line.split()[1] for line in status if line.startswith("VmHWM")]
        return int(kib[0]) / 1024 if kib else 0.0
    except OSError:
        return 0.0


def measured(call, log):
    """Runs a command to its end: wall and CPU seconds, peak RSS in MiB, start in ns of the wall clock."""
    os.sync()
    with open(log, "wb") as out:
        started_ns, started = time.time_ns(), time.monotonic()
        child = subprocess.Popen([str(part) for part in call], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=SCRATCH)
        signal.signal(signal.SIGALRM, lambda *_: child.kill())
        signal.alarm(RUN_LIMIT_S)
        # ru_maxrss would count the memory of this very process, which the child was for a moment before it was itself.
        peak, done = 0.0, 0
        while not done:
            peak = max(peak, high_water(child.pid))
            time.sleep(0.01)
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
        signal.alarm(0)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"bench: {Path(call[0]).name} ended with {child.returncode}; it said:\n{Path(log).read_text()[-3000:]}")
    return {
        "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": peak, "started_ns": started_ns,
    }


def check(seq, messages):
    """Every event once: the number, the sum and the distinct count of `seq`."""
    found = (len(seq), pc.sum(seq).as_py(), pc.count_distinct(seq).as_py())
    wanted = (messages, messages * (messages - 1) // 2, messages)
    if found != wanted:
        sys.exit(f"bench: the result holds (rows, sum of seq, distinct seq) {found}, the topic {wanted}")


def check_table(table, messages):
    check(DeltaTable(str(table)).to_pyarrow_table(columns=["seq"]).column("seq"), messages)


def commits(table):
    """The commits that add files, oldest first: (time in ns, batch id of the transaction or None, rows)."""
    found = []
    for file in sorted((Path(table) / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in file.read_text().splitlines()]
        adds = [action["add"] for action in actions if "add" in action]
        if adds:
            batch = next((action["txn"]["version"] for action in actions if "txn" in action), None)
            # The inode's change: when the finished file got its name.
            rows = sum(json.loads(add["stats"])["numRecords"] for add in adds)
            found.append((file.stat().st_ctime_ns, batch, rows))
    return found


# ---- throughput ------------------------------------------------------------------------------------------------


def raw_limit(bench):
    folder = fresh("raw")
    call = [bench.programs, "raw-limit", "--bootstrap", bench.bootstrap, "--topic", bench.topic, "--out", folder]
    run = measured(call, SCRATCH / "raw.log")
    check(pq.read_table(folder, columns=["seq"]).column("seq"), bench.messages)
    bench.value_bytes = json.loads((SCRATCH / "raw.log").read_text())["valueBytes"]
    return run | {"files": len(list(folder.glob("*.parquet")))}


def alluvia(bench):
    folder = fresh("alluvia")
    file = stream_file(folder, bench.bootstrap, bench.topic, bench.ddl, "availableNow")
    return of_table(measured([bench.alluvia, "run", file], SCRATCH / "alluvia.log"), folder / "table", bench)


def python_loop(bench):
    table = fresh("loop") / "table"
    call = [sys.executable, HERE / "peer_loop.py", bench.bootstrap, bench.topic, table]
    return of_table(measured(call, SCRATCH / "loop.log"), table, bench)


def spark(bench):
    folder = fresh("spark")
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false",
        "spark.local.dir": folder / "local", "spark.sql.session.timeZone": "UTC", "spark.log.level": "ERROR",
        "spark.sql.warehouse.dir": folder / "warehouse",
    }
    call = [Path(sys.executable).parent / "spark-submit", "--master", "local[2]", "--driver-memory", "2g"]
    call += ["--jars", os.environ["ALLUVIA_SPARK_JARS"]]
    call += [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    call += [HERE / "peer_spark.py", bench.bootstrap, bench.topic, folder / "table", folder / "checkpoint", bench.ddl]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return of_table(measured(call, SCRATCH / "spark.log"), folder / "table", bench)


def of_table(run, table, bench):
    check_table(table, bench.messages)
    first_ns = commits(table)[0][0]
    files = len(DeltaTable(str(table)).file_uris())
    return run | {"first_commit": (first_ns - run["started_ns"]) / 1e9, "files": files}


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "started_ns"}


def throughput(bench, rounds, contenders):
    raw_limit(bench)  # unmeasured: the topic into the page cache
    runs = {name: [] for name in contenders}
    for number in range(rounds):
        for name, contender in contenders.items():
            run = contender(bench)
            runs[name].append(run)
            print(f"  round {number + 1}  {name:<12} {run['wall']:7.2f} s  {run['cpu']:7.2f} CPU s", file=sys.stderr, flush=True)
    return {name: medians(of) for name, of in runs.items()}


def print_table(bench, result):
    print(f"\nW1: {bench.messages:,} messages, {bench.value_bytes / bench.messages:.0f} bytes each, 4 partitions; medians")
    print(f"{'':<12} {'wall s':>8} {'rows/s':>10} {'MB/s':>7} {'CPU s/M rows':>13} {'peak RSS MiB':>13} {'files':>6} {'of raw limit':>13}")
    raw = result["raw limit"]
    for name, run in result.items():
        print(
            f"{name:<12} {run['wall']:>8.2f} {bench.messages / run['wall']:>10,.0f} {bench.value_bytes / run['wall'] / 1e6:>7.1f}"
            f" {run['cpu'] / bench.messages * 1e6:>13.2f} {run['rss']:>13.0f} {run['files']:>6.0f} {raw['wall'] / run['wall']:>13.2f}"
        )
    ours = result.get("Alluvia")
    for name, run in result.items():
        if ours and name != "Alluvia":
            print(f"Alluvia : {name:<11} {run['wall'] / ours['wall']:6.2f} x the rows/s, {run['cpu'] / ours['cpu']:6.2f} x the rows per CPU second")


# ---- latency ---------------------------------------------------------------------------------------------------


def fill(bench, topic, messages, *more):
    call = [bench.programs, "fill", "--bootstrap", bench.bootstrap, "--topic", topic, "--messages", messages, *more]
    return json.loads(must(call, stdout=subprocess.PIPE).stdout)


def start_up(bench, rounds):
    """A new process on a topic of ten messages: seconds from its start to its first commit, and to its end."""
    topic = "w1-ten"
    fill(bench, topic, SMALL_BATCH)
    runs = []
    for _ in range(rounds):
        folder = fresh("start")
        file = stream_file(folder, bench.bootstrap, topic, bench.ddl, "availableNow")
        run = measured([bench.alluvia, "run", file], SCRATCH / "start.log")
        check_table(folder / "table", SMALL_BATCH)
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
    file = stream_file(folder, bench.bootstrap, topic, bench.ddl, {"processingTime": "500 milliseconds"})
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
    check_table(folder / "table", SMALL_BATCH * (count + 1))
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


def progress_of(log):
    """The progress events among JSON lines of Alluvia's output: {"event": "progress", "batchId": …, "durationMs": {…}, …}."""
    for line in log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "progress":
            yield event


def epoch_ms(text):
    return datetime.fromisoformat(text).timestamp() * 1e3


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--peers", action="store_true", help="also a Python loop and Spark")
    parser.add_argument("--only", choices=["all", "throughput", "latency", "raw"], default="all", help="raw: without Alluvia")
    parser.add_argument("--alluvia", type=Path, help="a built binary; default: built in release")
    parser.add_argument("--programs", type=Path, help="the built e2e programs; default: built in release")
    bench = parser.parse_args()
    if bench.only == "raw":
        bench.alluvia = bench.alluvia or Path("not-needed")
    bench.alluvia, bench.programs = build(bench)
    bench.topic = f"w1-{bench.messages}"
    bench.ddl = must([bench.programs, "schema"], stdout=subprocess.PIPE).stdout.strip()
    contenders = {"raw limit": raw_limit}
    contenders |= {"Alluvia": alluvia} if bench.only != "raw" else {}
    contenders |= {"Python loop": python_loop, "Spark 4.0": spark} if bench.peers else {}
    with broker() as bench.bootstrap:
        if bench.only != "latency":
            filled = fill(bench, bench.topic, bench.messages)
            print(f"topic {filled['topic']}: {'filled' if filled['sent'] else 'kept'} ({filled['seconds']} s)", file=sys.stderr)
            print_table(bench, throughput(bench, bench.rounds, contenders))
        if bench.only in ("all", "latency"):
            print_latency(start_up(bench, 5), small_batches(bench, 15))
    shutil.rmtree(SCRATCH, ignore_errors=True)


if __name__ == "__main__":
    main()
