"""Loopback ports for the servers of the rig, each given to one server only.

They lie below the range of outgoing connections, so that a client that dials a stopped server cannot take its place. All
programs of the rig take them in turn from one counter in the cache: a server that is still starting, or stopped for a
while, keeps its ports to itself.
"""
import contextlib
import fcntl
import socket

FIRST, LAST = 15000, 31999


def take_ports(cache, count):
    """`count` ports that nothing listens at, and that no other server of the rig was given lately."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "ports", "a+") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        counter.seek(0)
        text = counter.read()
        port, found = int(text) if text.isdigit() else FIRST, []
        for _ in range(LAST - FIRST + 1):
            if len(found) == count:
                break
            if is_free(port):
                found.append(port)
            port = FIRST if port == LAST else port + 1
        counter.seek(0)
        counter.truncate()
        counter.write(str(port))
    if len(found) < count:
        raise OSError(f"fewer than {count} ports between {FIRST} and {LAST} are free")
    return found


def is_free(port):
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
