"""What the end-to-end benchmarks share: programs, broker, topics, stream files, measured processes, checks, output.

CPU is that of the measured process and the children it waited for; the broker's comes on top and on the same cores.
"""
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
from deltalake import DeltaTable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KAFKA = ROOT / "tests" / "rig" / "kafka"
CACHE = Path(os.environ.get("ALLUVIA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alluvia")
HOME = CACHE / "bench"
SCRATCH = HOME / "run"
RUN_LIMIT_S = 600


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
    """The bench's own broker, with its topics from earlier runs; yields its address (`facts_of_broker` has the others)."""
    home = HOME / "broker"
    must([KAFKA, "start", "--dir", home], stdout=subprocess.DEVNULL, env={**os.environ, "ALLUVIA_RIG_HEAP": "1g"})
    try:
        yield facts_of_broker()["bootstrap"]["plaintext"]
    finally:
        must([KAFKA, "stop", "--dir", home], stdout=subprocess.DEVNULL)


def facts_of_broker():
    """The addresses of the bench's broker by listener, and what opens them."""
    return json.loads((HOME / "broker" / "broker.json").read_text())


def fresh(name):
    folder = SCRATCH / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def stream_file(folder, bench, topic, trigger, source=(), options=(), sink=(), **more):
    """Alluvia's stream file: JSON of W1's events decoded by a schema into a local Delta table; the rest adds keys to its parts."""
    kafka = {"kafka.bootstrap.servers": bench.bootstrap, "startingOffsets": "earliest", **({"subscribe": topic} if topic else {}), **dict(options)}
    stream = {
        "name": "bench",
        "source": {"format": "kafka", "options": kafka, "value": {"format": "json", "schema": bench.ddl}, **dict(source)},
        "sink": {"format": "delta", "path": str(folder / "table"), **dict(sink)},
        "trigger": trigger,
        "checkpointLocation": str(folder / "checkpoint"),
        **more,
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
    """Runs a command to its end: wall and CPU seconds, those of the kernel, page faults, peak RSS in MiB, start in ns of the wall clock."""
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
        "wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "kernel": usage.ru_stime, "faults": usage.ru_minflt, "rss": peak,
        "started_ns": started_ns,
    }


def check(seq, events):
    """Every event of the ranges once: the number, the sum and the distinct count of `seq`."""
    found = (len(seq), pc.sum(seq).as_py() or 0, pc.count_distinct(seq).as_py())
    count = sum(len(part) for part in events)
    wanted = (count, sum(len(part) * (part[0] + part[-1]) // 2 for part in events if part), count)
    if found != wanted:
        sys.exit(f"bench: the result holds (rows, sum of seq, distinct seq) {found}, the topic {wanted}")


def check_table(table, *events):
    check(DeltaTable(str(table)).to_pyarrow_table(columns=["seq"]).column("seq"), events)


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


def fill(bench, topic, messages, *more):
    call = [bench.programs, "fill", "--bootstrap", bench.bootstrap, "--topic", topic, "--messages", messages, *more]
    filled = json.loads(must(call, stdout=subprocess.PIPE).stdout)
    if messages >= 100_000:
        print(f"topic {topic}: {'filled' if filled['sent'] else 'kept'} ({filled['seconds']} s)", file=sys.stderr)
    return filled


def progress_of(log):
    """The progress events among JSON lines of Alluvia's output: {"event": "progress", "batchId": …, "durationMs": {…}, …}."""
    for line in Path(log).read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and event.get("event") == "progress":
            yield event


def epoch_ms(text):
    return datetime.fromisoformat(text).timestamp() * 1e3


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "started_ns"}


def size_of(folder):
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def said(run):
    """One line of a measured run, for those who wait."""
    print(f"  {run.pop('label'):<28} {run['wall']:7.2f} s  {run['cpu']:7.2f} CPU s  {run['rss']:6.0f} MiB", file=sys.stderr, flush=True)
    return run


# ---- small batches in a running stream ---------------------------------------------------------------------------------


def small_batches(bench, folder, file, topic, rows, count, first, more=()):
    """Runs a stream and sends it `rows` messages `count` times, and once before it starts; what its batches of so many rows took.

    `first_s`: from the start of the process to the end of the first such batch. Milliseconds of the others from the trigger to
    the entry in the checkpoint's commit log: `said_ms` by the progress events (`durationMs.triggerExecution`), `outside_ms` by
    the time of that file. `rss`: MiB at the end.
    """
    log = folder / "small-batches.log"
    append = ("--append", "--partitions", 1, *more)  # one partition: in one request, so in one micro-batch
    fill(bench, topic, rows, "--first", first, *append)
    with open(log, "wb") as out:
        started = time.monotonic()
        child = subprocess.Popen([str(bench.alluvia), "run", str(file)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            await_batches(child, log, rows, 1, RUN_LIMIT_S)
            first_s = time.monotonic() - started
            for number in range(1, count + 1):
                fill(bench, topic, rows, "--first", first + number * rows, *append)
                await_batches(child, log, rows, number + 1, 60)
            rss = high_water(child.pid)
        finally:
            child.terminate()
            child.wait(timeout=60)
    progress = of_size(log, rows)[1:]
    ended = {p["batchId"]: (folder / "checkpoint" / "commits" / str(p["batchId"])).stat().st_ctime_ns / 1e6 for p in progress}
    return {
        "rows": rows, "first_s": first_s, "rss": rss,
        "said_ms": [p["durationMs"]["triggerExecution"] for p in progress],
        "outside_ms": [ended[p["batchId"]] - epoch_ms(p["timestamp"]) for p in progress],
    }


def of_size(log, rows):
    return [p for p in progress_of(log) if p["numInputRows"] == rows]


def await_batches(child, log, rows, count, bound_s):
    deadline = time.monotonic() + bound_s
    while len(of_size(log, rows)) < count:
        if child.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"bench: batch {count} of {rows} rows did not come; Alluvia said:\n{log.read_text()[-3000:]}")
        time.sleep(0.01)


def print_small(name, batches):
    of = {"by its progress": batches["said_ms"], "seen from outside": batches["outside_ms"]}
    for what, values in of.items():
        print(
            f"{name}, batches of {batches['rows']} rows, trigger to commit log, {what:<18} median {statistics.median(values):5.0f} ms,"
            f" longest {max(values):5.0f} ms of {len(values)}"
        )


# ---- Spark -------------------------------------------------------------------------------------------------------------


def spark_submit(folder, log, script, *arguments, memory="2g", **more):
    """Runs a script by spark-submit on `local[2]`; as `measured`."""
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false",
        "spark.local.dir": folder / "local", "spark.sql.session.timeZone": "UTC", "spark.log.level": "ERROR",
        "spark.sql.warehouse.dir": folder / "warehouse", **more,
    }
    call = [Path(sys.executable).parent / "spark-submit", "--master", "local[2]", "--driver-memory", memory]
    call += ["--jars", os.environ["ALLUVIA_SPARK_JARS"]]
    call += [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    return measured([*call, HERE / script, *arguments], log)


def answer_of(log):
    """The JSON object that a peer prints as its last line."""
    lines = [line for line in Path(log).read_text(errors="replace").splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


# ---- the command -------------------------------------------------------------------------------------------------------


def arguments_of(parser):
    """What every benchmark takes."""
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--alluvia", type=Path, help="a built binary; default: built in release")
    parser.add_argument("--programs", type=Path, help="the built e2e programs; default: built in release")
    parser.add_argument("--json", type=Path, help="a file that takes the results as one JSON object")


def schema_of(bench):
    return must([bench.programs, "schema"], stdout=subprocess.PIPE).stdout.strip()


def finish(bench, workload, started_load, results):
    """Writes the results where `--json` says, with what the machine was busy with besides; removes scratch data."""
    load = {"loadBefore": round(started_load, 2), "loadAfter": round(os.getloadavg()[0], 2), "cores": os.cpu_count()}
    print(f"load of the last minute: {load['loadBefore']} before, {load['loadAfter']} after, on {load['cores']} cores")
    if bench.json:
        whole = {"workload": workload, "messages": bench.messages, "rounds": bench.rounds, "machine": load, "results": results}
        bench.json.write_text(json.dumps(whole, indent=1) + "\n")
    shutil.rmtree(SCRATCH, ignore_errors=True)
