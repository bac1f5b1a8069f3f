"""Send this server a million messages of all kinds, and see whether it grows.

It goes round after round through all that clients do: connections that stay, that come and go, that pipeline, that
shake hands, and large messages. After each round its resident memory is looked at. What it has after the first fifth
it may keep; more than ``--growth`` on top of that fails. Where it grows, ``--lines`` says which lines of Python
allocated what is left: it sends messages in this process, under tracemalloc. Takes some minutes, and is not run in CI.
"""

import argparse
import gc
import signal
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from benchmarks.bench import CACHE, positive, say
from benchmarks.contenders import serve_ours
from benchmarks.counts import WORKLOADS as ACTIONS
from benchmarks.load import Load, LoadError, compile_load
from benchmarks.processes import ServerError, processors
from benchmarks.report import Report, Soak, circumstances
from benchmarks.steps import logging_to_nowhere
from benchmarks.tables import TABLES

__all__ = ["ROUND", "soak"]

#: A round: 20,000 messages.
ROUND = (
    Load("kept", 20, 8_000, 1_000),
    Load("pipelined", 10, 8_900, 1_000),
    Load("new", 20, 2_500, 1_000),
    Load("starttls", 8, 200, 1_000),
    Load("kept", 10, 398, 100_000),
    Load("kept", 2, 2, 10_000_000),
)
ROUNDS = 50
TIMEOUT = 600
#: MiB that a server may have more in the end than after a fifth of the time.
GROWTH = 1.0
#: Under tracemalloc: messages of each kind before it counts, and then.
WARM_UP, MESSAGES = 500, 5_000
LINES = 10


def soak(program: Path, folder: Path, processor: int, rounds: int) -> Soak:
    """Send so many *rounds* to a server of ours.

    :param program: the load generator.
    """
    memory = []
    with serve_ours(folder, processor) as server:
        sent = []
        for number in range(rounds):
            sent += [load.send(program, server.port, timeout=TIMEOUT) for load in ROUND]
            memory.append(server.memory("VmRSS"))
            say(f"{number + 1}/{rounds} {sum(each.messages for each in sent):,} messages, {memory[-1]:.2f} MiB")
        return Soak(
            messages=sum(each.messages for each in sent),
            connections=sum(each.connections for each in sent),
            seconds=sum(each.seconds for each in sent),
            server_cpu=server.cpu_seconds(),
            memory=[round(each, 3) for each in memory],
        )


def lines() -> Iterator[str]:
    """The lines of Python whose memory is left after messages in this process."""
    from twisted.internet import reactor

    with logging_to_nowhere():
        for name, make in ACTIONS.items():
            action = make()
            for _ in range(WARM_UP):
                action()
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.take_snapshot()
            for _ in range(MESSAGES):
                action()
            cast(Any, reactor).runUntilCurrent()  # forgets calls that were cancelled
            gc.collect()
            after = tracemalloc.take_snapshot()
            tracemalloc.stop()
            found = [each for each in after.compare_to(before, "lineno") if each.size_diff > 0]
            left = sum(each.size_diff for each in found)
            yield f"{name}: {left:,} octets are left of {MESSAGES:,} messages"
            yield from (f"  {each}" for each in found[:LINES])


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit status: 1 if it has grown.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--growth", type=float, default=GROWTH, metavar="MIB", help=f"default: {GROWTH}")
    parser.add_argument("--lines", action="store_true", help="say which lines of Python what is left is of")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    options = parser.parse_args(arguments)
    if options.lines:
        print("\n".join(lines()))
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="twistsmtp-soak-") as folder:
            result = soak(compile_load(CACHE), Path(folder), processors()[0], options.rounds)
            report = Report(circumstances(Path(folder)), soak=[result])
    except (LoadError, ServerError) as error:
        say(f"soak: {error}")
        return 1
    if options.json:
        report.write(options.json)
    if table := TABLES["soak"](report):
        print("\n".join(table.lines()))
    return int(result.growth > options.growth)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers end as well
    sys.exit(main())
