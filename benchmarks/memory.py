"""How much memory this server has while it takes messages of 1 KB, of 1 MB and of 100 MB.

A server that keeps messages whole grows with them. Each size and delivery has a server of its own, so that nothing is
left over from another size.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.contenders import serve_ours
from benchmarks.load import Load
from benchmarks.report import Footprint

__all__ = ["measure_memory"]

#: Octets of a message, and how many are sent: on the same number of connections each, so that only the size differs.
SIZES = {1_000: 2_000, 1_000_000: 100, 100_000_000: 4}
CONNECTIONS = 2
DELIVERIES = {"discard:": "discard:", "maildir:": "maildir:Maildir:create=yes"}
TIMEOUT = 300


def measure_memory(program: Path, folder: Path, processor: int, say: Callable[[str], object]) -> Iterator[Footprint]:
    """Measure it.

    :param program: the load generator.
    :param folder: for the servers' files, which are taken away again.
    :param say: told before each step.
    """
    for name, delivery in DELIVERIES.items():
        for octets, messages in SIZES.items():
            say(f"{name} {messages:,} messages of {octets:,} octets")
            home = folder / "memory"
            with serve_ours(home, processor, delivery=delivery, options=["--max-size", "200M"]) as server:
                start = server.memory("VmRSS")
                Load("kept", CONNECTIONS, messages, octets).send(program, server.port, timeout=TIMEOUT)
                yield Footprint(name, octets, messages, start, server.memory("VmHWM"))
            shutil.rmtree(home)
