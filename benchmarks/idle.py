"""What a connection that does nothing takes of a server's memory: it has said EHLO, and that is all."""

import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import Starter
from benchmarks.report import Crowd

__all__ = ["measure_idle", "room_for_files"]

CONNECTIONS = 10_000
#: Connections that are made at a time: under the backlog of 50 that servers often have.
BATCH = 32
#: Descriptors that are open besides the connections.
OTHERS = 500
HELLO = b"EHLO client.example.com\r\n"
#: Of a connection that has no answer yet.
TIMEOUT = 20.0
#: Seconds until a server has done all that it does for the last of them.
SETTLE = 2.0
#: More that are there beforehand: what the first ones need is not theirs.
FIRST = 100


def room_for_files() -> int:
    """How many connections this process and those that it starts may have, after it has asked for all it can get."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(CONNECTIONS, hard - OTHERS)


def measure_idle(
    starters: Mapping[str, Starter], folder: Path, processor: int, say: Callable[[str], object]
) -> Iterator[Crowd]:
    """Make many connections to each server, one server after the other, and hold them."""
    connections = room_for_files()
    for name, start in starters.items():
        say(f"{connections:,} idle connections to {name}")
        with start(folder / name, processor) as server, ExitStack() as held:
            try:
                _fill(held, server.port, FIRST)
                before = server.memory("VmRSS")
                _fill(held, server.port, connections)
            except OSError as error:
                say(f"{name} is left out, because it does not hold so many: {error}")
                continue
            time.sleep(SETTLE)
            yield Crowd(name, connections, before, server.memory("VmRSS"))


def _fill(held: ExitStack, port: int, connections: int) -> None:
    """Make so many more connections, a few at a time.

    :raises OSError: one was not made, or had no answer.
    """
    for begin in range(0, connections, BATCH):
        batch = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT))
            for _ in range(min(BATCH, connections - begin))
        ]
        for client in batch:
            _hear(client)
            client.sendall(HELLO)
        for client in batch:
            _hear(client)


def _hear(client: socket.socket) -> None:
    """Read what there is, and see that there is something."""
    if not client.recv(4000):
        raise ConnectionError("it closed a connection")
