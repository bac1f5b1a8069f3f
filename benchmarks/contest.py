"""Servers beside each other under the same mail: what a message costs each, and how many it takes in a second."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.contenders import OURS, takes
from benchmarks.load import Load, LoadError
from benchmarks.processes import Server, busy_seconds
from benchmarks.report import Run

__all__ = ["DURABLE_WORKLOADS", "WORKLOADS", "Contest", "Workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of mail.

    :param load: what to send; how many messages is found out.
    """

    name: str
    title: str
    load: Load


WORKLOADS: Mapping[str, Workload] = {
    each.name: each
    for each in (
        Workload("kept", "1 KB on 20 kept connections", Load("kept", 20, 400, 1_000)),
        Workload("many", "1 KB on 500 kept connections", Load("kept", 500, 1_000, 1_000)),
        Workload("new", "1 KB, a new connection for each", Load("new", 20, 200, 1_000)),
        Workload("100k", "100 KB on 10 kept connections", Load("kept", 10, 40, 100_000)),
        Workload("10m", "10 MB on 2 kept connections", Load("kept", 2, 4, 10_000_000)),
        Workload("pipelined", "1 KB on 10 kept connections, commands pipelined", Load("pipelined", 10, 400, 1_000)),
        Workload("starttls", "1 KB, a new connection with STARTTLS for each", Load("starttls", 8, 100, 1_000)),
    )
}
#: What is sent to servers that keep it: they write to the same disk, so less of it.
DURABLE_WORKLOADS = ("kept", "new", "100k")
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
    :param say: told who does not take what.
    """

    program: Path
    servers: Sequence[Server]
    seconds: float
    messages: int | None
    say: Callable[[str], object]
    _loads: dict[tuple[str, str], Load] = field(default_factory=dict)

    def runs(self, workloads: Sequence[Workload], repetitions: int) -> Iterator[Run]:
        """All runs, the servers taking turns. A peer that does not take a workload is not asked again.

        :raises LoadError: this server does not.
        """
        start = {server.name: server.memory("VmRSS") for server in self.servers}
        pairs = [
            (workload, server) for workload in workloads for server in self.servers if takes(server, workload.load)
        ]
        for repetition in range(repetitions):
            for workload, server in list(pairs):
                try:
                    yield self._run(workload, server, repetition, start[server.name])
                except LoadError as error:
                    if server.name == OURS:
                        raise
                    self.say(f"{server.name} is left out of {workload.name}, because {error}")
                    pairs.remove((workload, server))

    def _run(self, workload: Workload, server: Server, repetition: int, start_memory: float) -> Run:
        key = workload.name, server.name
        if key not in self._loads:
            self._loads[key] = self._sized(workload.load, server)
        load = self._loads[key]
        server.forget_peak()
        busy, cpu = busy_seconds(), server.cpu_seconds()
        sent = load.send(self.program, server.port, timeout=int(self.seconds * 10) + 60)
        time.sleep(SETTLE)
        cpu = server.cpu_seconds() - cpu
        return Run(
            workload=workload.name,
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

    def _sized(self, load: Load, server: Server) -> Load:
        """*load* with as many messages as *server* takes in the time, found by a first go that also warms it up."""
        if self.messages is not None:
            return replace(load, messages=self.messages)
        first = load.send(self.program, server.port)
        messages = int(first.messages / first.seconds * self.seconds)
        return replace(load, messages=min(max(messages, load.messages), MOST[load.mode]))
