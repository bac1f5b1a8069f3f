"""What was measured, as values, and as tables that can be read."""

import os
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

from benchmarks.load import Load

__all__ = ["Footprint", "Run", "Workload", "circumstances", "footprint_table", "tables"]


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of mail.

    :param load: what to send; how many messages is found out.
    """

    name: str
    title: str
    load: Load


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one server.

    :param seconds: that it took.
    :param server_cpu: processor seconds of the server.
    :param load_cpu: processor seconds of the load generator.
    :param other_cpu: processor seconds of whatever else ran, and what the host took away.
    :param start_memory: MiB that the server had when it had started.
    :param peak_memory: MiB that it had at most during the run.
    """

    workload: str
    server: str
    repetition: int
    messages: int
    octets: int
    seconds: float
    server_cpu: float
    load_cpu: float
    other_cpu: float
    start_memory: float
    peak_memory: float

    @property
    def cost(self) -> float:
        """Processor seconds of the server for 1,000 messages."""
        return self.server_cpu / self.messages * 1000

    @property
    def rate(self) -> float:
        """Messages in a second."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of this server under messages of one size: MiB when it had started, and at most."""

    delivery: str
    octets: int
    messages: int
    start_memory: float
    peak_memory: float


def circumstances() -> dict[str, str]:
    """When, where and with what it was measured."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_build()}",
        "twisted": metadata.version("twisted"),
    }


def _build() -> str:
    """How Python was compiled: that makes much of what it does slower or faster, though not all by the same."""
    flags = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return "optimized" if "--enable-optimizations" in flags else "not optimized"


def tables(workloads: Sequence[Workload], runs: Sequence[Run]) -> Iterator[str]:
    """The lines of a table for each workload that has runs; the first server is what the others are compared with."""
    for workload in workloads:
        of_workload = [run for run in runs if run.workload == workload.name]
        if of_workload:
            yield from _table(workload, of_workload)


def _table(workload: Workload, runs: Sequence[Run]) -> Iterator[str]:
    servers = list(dict.fromkeys(run.server for run in runs))
    ours = {run.repetition: run.cost for run in runs if run.server == servers[0]}
    elsewhere = sum(run.other_cpu for run in runs) / sum(run.seconds for run in runs)
    yield f"{workload.name}: {workload.title}; {len(ours)} repetitions"
    yield (
        "  "
        + " " * 14
        + f"{'CPU s/1,000':>12}{'ratio':>8}{'least-most':>14}{'msg/s':>10}{'MB/s':>8}{'start MiB':>11}{'peak':>8}"
    )
    for server in servers:
        own = [run for run in runs if run.server == server]
        ratios = [run.cost / ours[run.repetition] for run in own if ours.get(run.repetition)]
        rate = median(run.rate for run in own)
        yield (
            f"  {server:14}{median(run.cost for run in own):12.4f}"
            + (f"{median(ratios):8.2f}{f'{min(ratios):.2f}-{max(ratios):.2f}':>14}" if ratios else f"{'-':>8}{'-':>14}")
            + f"{rate:10,.0f}{rate * own[0].octets / 1e6:8.1f}"
            + f"{own[0].start_memory:11.1f}{max(run.peak_memory for run in own):8.1f}"
        )
    yield f"  meanwhile other processes took {elsewhere:.0%} of a processor"
    yield ""


def footprint_table(footprints: Sequence[Footprint]) -> Iterator[str]:
    """The lines of the table of memory; growth is over the smallest size with the same delivery."""
    yield f"  {'delivery':12}{'octets':>14}{'messages':>10}{'start MiB':>11}{'peak MiB':>10}{'growth':>8}"
    least = {each.delivery: each.peak_memory for each in reversed(footprints)}
    for each in footprints:
        yield (
            f"  {each.delivery:12}{each.octets:14,}{each.messages:10,}{each.start_memory:11.1f}"
            f"{each.peak_memory:10.1f}{each.peak_memory - least[each.delivery]:+8.1f}"
        )
