"""Measure this server beside aiosmtpd and twisted.mail, in one run.

Each server runs on one processor, and the load generator on another where there is one. All accept every message and
drop it; this one with all that production has on. The repetitions are interleaved, so that what else the machine does
falls on all alike. Believe processor seconds for 1,000 messages, and the ratios of one run; an absolute rate says as
much about the machine. docs/performance.rst has more.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from benchmarks.contenders import NAMES, OURS, InstallError, install_peers, serve
from benchmarks.load import Load, LoadError, compile_load
from benchmarks.memory import measure_memory
from benchmarks.processes import Server, ServerError, busy_seconds, processors
from benchmarks.report import Run, Workload, circumstances, footprint_table, tables

#: For the load generator and the peers' environment; no part of the repository.
CACHE = Path(__file__).resolve().parent / ".cache"

WORKLOADS = {
    each.name: each
    for each in (
        Workload("kept", "1 KB on 20 kept connections", Load("kept", 20, 400, 1_000)),
        Workload("new", "1 KB, a new connection for each", Load("new", 20, 200, 1_000)),
        Workload("100k", "100 KB on 10 kept connections", Load("kept", 10, 40, 100_000)),
        Workload("10m", "10 MB on 2 kept connections", Load("kept", 2, 4, 10_000_000)),
        Workload("pipelined", "1 KB on 10 kept connections, commands pipelined", Load("pipelined", 10, 400, 1_000)),
        Workload("starttls", "1 KB, a new connection with STARTTLS for each", Load("starttls", 8, 100, 1_000)),
    )
}
#: The most messages of a run: a connection for each leaves a port that is not free again for a while.
MOST = {"kept": 100_000, "new": 10_000, "pipelined": 100_000, "starttls": 10_000}
#: Seconds for a server to be done with connections that the load generator saw closed.
SETTLE = 0.1


@dataclass(slots=True)
class Contest:
    """Servers that run side by side, and what is sent to them.

    :param program: the load generator.
    :param seconds: that a run is to take, about.
    :param messages: of each run, in place of *seconds*.
    """

    program: Path
    servers: Sequence[Server]
    seconds: float
    messages: int | None

    def runs(self, workloads: Sequence[Workload], repetitions: int) -> Iterator[Run]:
        """All runs, the servers taking turns."""
        start = {server.name: server.memory("VmRSS") for server in self.servers}
        loads = {
            (each.name, server.name): self._sized(each.load, server) for each in workloads for server in self.servers
        }
        for repetition in range(repetitions):
            for workload in workloads:
                for server in self.servers:
                    load = loads[workload.name, server.name]
                    yield self._run(workload.name, load, server, repetition, start[server.name])

    def _sized(self, load: Load, server: Server) -> Load:
        """*load* with as many messages as *server* takes in the time, found by a first go that also warms it up."""
        if self.messages is not None:
            return replace(load, messages=self.messages)
        first = load.send(self.program, server.port)
        messages = int(first.messages / first.seconds * self.seconds)
        return replace(load, messages=min(max(messages, load.messages), MOST[load.mode]))

    def _run(self, workload: str, load: Load, server: Server, repetition: int, start_memory: float) -> Run:
        server.forget_peak()
        busy, cpu = busy_seconds(), server.cpu_seconds()
        sent = load.send(self.program, server.port, timeout=int(self.seconds * 10) + 60)
        time.sleep(SETTLE)
        cpu = server.cpu_seconds() - cpu
        return Run(
            workload=workload,
            server=server.name,
            repetition=repetition,
            messages=sent.messages,
            octets=load.octets,
            seconds=sent.seconds,
            server_cpu=cpu,
            load_cpu=sent.cpu,
            other_cpu=max(0.0, busy_seconds() - busy - cpu - sent.cpu),
            start_memory=start_memory,
            peak_memory=server.memory("VmHWM"),
        )


def compare(options: argparse.Namespace, program: Path, folder: Path, processor: int) -> dict[str, object]:
    """Measure the servers beside each other on *processor*, and print how they compare."""
    peers = install_peers(CACHE, say) if set(options.only) - {OURS} else None
    workloads = [WORKLOADS[name] for name in options.work]
    runs: list[Run] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(serve(name, folder / name, processor, peers)) for name in options.only]
        for run in Contest(program, servers, options.secs, options.messages).runs(workloads, options.reps):
            say(f"{run.repetition + 1}/{options.reps} {run.workload:10}{run.server:13}{run.cost:9.4f} CPU s/1,000")
            runs.append(run)
    print("\n".join(tables(workloads, runs)))
    return {"runs": [asdict(run) for run in runs]}


def memory(program: Path, folder: Path, processor: int) -> dict[str, object]:
    """Measure the memory of this server, and print it."""
    footprints = list(measure_memory(program, folder, processor, say))
    print("\n".join(footprint_table(footprints)))
    return {"memory": [asdict(each) for each in footprints]}


def say(text: str) -> None:
    """Tell how far it is, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit status.
    """
    options = parse(arguments)
    facts = circumstances()
    for_server, for_load = processors()
    os.sched_setaffinity(0, {for_load})  # the load generator inherits it
    say(", ".join(f"{name} {value}" for name, value in facts.items()))
    if for_server == for_load:
        say("there is one processor only: the load generator shares it with the servers")
    try:
        program = compile_load(CACHE)
        with tempfile.TemporaryDirectory(prefix="twistsmtp-bench-") as folder:
            if options.memory:
                result = memory(program, Path(folder), for_server)
            else:
                result = compare(options, program, Path(folder), for_server)
    except (InstallError, LoadError, ServerError) as error:
        say(f"bench: {error}")
        return 1
    if options.json:
        options.json.write_text(json.dumps(facts | result, indent=1) + "\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=positive, default=5, metavar="N", help="repetitions (default: 5)")
    parser.add_argument("--secs", type=float, default=2.0, metavar="S", help="seconds of a run, about (default: 2)")
    parser.add_argument("--messages", type=positive, metavar="N", help="messages of a run, in place of --secs")
    parser.add_argument(
        "--work", type=names(WORKLOADS), default=[*WORKLOADS], metavar="NAME,...", help=", ".join(WORKLOADS)
    )
    parser.add_argument("--only", type=names(NAMES), default=[*NAMES], metavar="NAME,...", help=", ".join(NAMES))
    parser.add_argument(
        "--memory", action="store_true", help="measure this server's memory, from 1 KB to 100 MB messages"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """A number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Parses some of *known*, with commas between them, into the order that *known* has."""

    def parse_names(text: str) -> list[str]:
        given = text.split(",")
        if strange := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(strange))}: not one of {', '.join(known)}")
        return [name for name in known if name in given]

    return parse_names


if __name__ == "__main__":
    sys.exit(main())
