"""`make bench-topics`: what a stream over many topics costs while nothing comes, and how long it takes to see what does.

A stream with `subscribePattern` over 1,000 topics of 4 partitions, both listeners on, a trigger every second:

idle     CPU of the process in percent of one core while nothing comes, and its resident memory
look     milliseconds in which a trigger asks all partitions for their ends (`durationMs.latestOffset` of batches of one record)
first    seconds from the start of the process to the first batch
scrape   milliseconds of `/metrics`, the page and the status API with a series for each partition

Run by `tests/rig/readers python benches/e2e/topics.py`. Topics are kept in the cache.
"""
import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from harness import RUN_LIMIT_S, SCRATCH, arguments_of, await_batches, broker, build, finish, fresh, progress_of, stream_file

PARTITIONS = 4
SCHEMA = "id BIGINT"
PATTERN = "many-{count}-[0-9]+"


def make_topics(bootstrap, count):
    """Makes the topics that are missing."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    there = set(admin.list_topics(timeout=60).topics)
    names = [f"many-{count}-{number}" for number in range(count)]
    missing = [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in names if name not in there]
    for start in range(0, len(missing), 100):
        for made in admin.create_topics(missing[start : start + 100], operation_timeout=120, request_timeout=180).values():
            made.result()
    # A topic that was made is known, and has leaders, a moment later.
    deadline = time.monotonic() + 300
    while True:
        known = admin.list_topics(timeout=60).topics
        if all(led(known, name) for name in names):
            return names
        if time.monotonic() > deadline:
            sys.exit("bench: the topics have no leaders")
        time.sleep(1)


def led(topics, name):
    partitions = topics[name].partitions.values() if name in topics else ()
    return len(partitions) == PARTITIONS and all(partition.leader >= 0 for partition in partitions)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Resident memory in MiB: all of it, and without the pages of files."""
    with open(f"/proc/{pid}/status") as status:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in status if line.startswith(("VmRSS", "RssAnon"))}
    return kib["VmRSS"] / 1024, kib["RssAnon"] / 1024


def send(bootstrap, topic, value):
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    if producer.flush(60):
        sys.exit("bench: a message was not taken")


def answered_ms(port, path):
    started = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        size = len(answer.read())
    return (time.monotonic() - started) * 1e3, size


def run(bench, topics):
    folder, port = fresh("topics"), free_port()
    pattern = {"subscribePattern": PATTERN.format(count=len(topics))}
    file = stream_file(folder, bench, None, {"processingTime": "1 second"}, options={**pattern, "startingOffsets": "latest"})
    log = folder / "alluvia.log"
    listen = ["--listen", f"127.0.0.1:{port}", "--control-listen", "127.0.0.1:0"]
    with open(log, "wb") as out:
        started = time.monotonic()
        child = subprocess.Popen([str(bench.alluvia), "run", str(file), *listen], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            while not ready(port):
                if child.poll() is not None or time.monotonic() - started > RUN_LIMIT_S:
                    sys.exit(f"bench: the stream did not start; Alluvia said:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.02)
            first_s = time.monotonic() - started
            time.sleep(5)
            before, since = cpu_seconds(child.pid), time.monotonic()
            time.sleep(bench.seconds)
            idle = (cpu_seconds(child.pid) - before) / (time.monotonic() - since) * 100
            rss, anonymous = resident(child.pid)
            for number in range(bench.looks):
                send(bench.bootstrap, topics[number * 37 % len(topics)], json.dumps({"id": number}))
                await_batches(child, log, 1, number + 1, RUN_LIMIT_S)
            paths = ["/metrics", "/", "/api/v1/streams", "/api/v1/streams/bench"]
            answers = {path: [answered_ms(port, path) for _ in range(bench.looks)] for path in paths}
        finally:
            child.terminate()
            child.wait(timeout=120)
    looks = [progress["durationMs"]["latestOffset"] for progress in progress_of(log)]
    return {
        "topics": len(topics), "partitions": len(topics) * PARTITIONS, "readyS": first_s, "idleCpuPercent": idle, "rssMiB": rss,
        "ownMemoryMiB": anonymous, "lookMs": looks,
        "answers": {path: {"ms": [ms for ms, _ in all], "bytes": all[-1][1]} for path, all in answers.items()},
    }


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def show(found):
    print(f"{found['topics']} topics, {found['partitions']} partitions: ready after {found['readyS']:.1f} s")
    print(f"  idle      {found['idleCpuPercent']:5.1f} % of a core, {found['rssMiB']:.0f} MiB resident, {found['ownMemoryMiB']:.0f} MiB without pages of files")
    print(f"  a look    {statistics.median(found['lookMs']):5.0f} ms, longest {max(found['lookMs'])} ms of {len(found['lookMs'])}")
    for path, answer in found["answers"].items():
        print(f"  {path:<24} {statistics.median(answer['ms']):5.1f} ms, longest {max(answer['ms']):.1f} ms, {answer['bytes']} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments_of(parser)
    parser.add_argument("--topics", default="1,250,1000", help="how many topics, comma-separated")
    parser.add_argument("--seconds", type=float, default=60, help="how long the idle stream is watched")
    parser.add_argument("--looks", type=int, default=15, help="batches of one record, and requests of each kind")
    bench = parser.parse_args()
    bench.alluvia, bench.programs = build(bench)
    bench.ddl = SCHEMA
    started_load = os.getloadavg()[0]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    results = []
    with broker() as bench.bootstrap:
        for count in map(int, bench.topics.split(",")):
            results.append(run(bench, make_topics(bench.bootstrap, count)))
            show(results[-1])
    finish(bench, "topics", started_load, results)


if __name__ == "__main__":
    main()
