"""What was measured, as values, and the file that keeps them."""

import json
import os
import platform
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Self

__all__ = [
    "Crowd",
    "Delay",
    "Footprint",
    "Report",
    "Run",
    "Soak",
    "by_workload",
    "circumstances",
    "cost_ratios",
    "meanwhile",
    "typical",
]


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one server under one workload.

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
class Delay:
    """How long messages took at one load.

    :param rate: messages that were due in a second.
    :param busy: how much of a processor the server took.
    :param latency: seconds that half of them kept within, that 99 % did, that 99.9 % did, and the longest; none if the
        server did not keep up.
    """

    server: str
    durable: bool
    rate: int
    messages: int
    busy: float
    latency: Sequence[float]
    repetition: int = 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of this server under messages of one size: MiB when it had started, and at most."""

    delivery: str
    octets: int
    messages: int
    start_memory: float
    peak_memory: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """The memory of a server without and with so many idle connections, in MiB."""

    server: str
    connections: int
    before: float
    after: float

    @property
    def each(self) -> float:
        """KiB of one connection."""
        return (self.after - self.before) * 1024 / self.connections


@dataclass(frozen=True, slots=True)
class Soak:
    """What a server went through, one round after the other.

    :param connections: that were made, in all.
    :param memory: MiB that the server had after each round.
    """

    messages: int
    connections: int
    seconds: float
    server_cpu: float
    memory: Sequence[float]

    @property
    def growth(self) -> float:
        """MiB that it has grown since the end of the first fifth, in which it fills what it keeps."""
        return self.memory[-1] - self.memory[len(self.memory) // 5]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it.

    :param facts: when, where and with what it was measured.
    :param left_out: peers that took no part, and why.
    :param accept: servers that drop what they accept.
    :param durable: servers that keep it.
    """

    facts: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    accept: Sequence[Run] = ()
    durable: Sequence[Run] = ()
    latency: Sequence[Delay] = ()
    memory: Sequence[Footprint] = ()
    idle: Sequence[Crowd] = ()
    soak: Sequence[Soak] = ()

    @classmethod
    def read(cls, file: Path) -> Self:
        """The report that `write` has written."""
        kept = json.loads(file.read_text())
        for name, kind in _KINDS.items():
            kept[name] = [kind(**each) for each in kept[name]]
        return cls(**kept)

    def write(self, file: Path) -> None:
        """Keep it in *file*: a line for each measurement, so that two of them can be compared."""
        parts = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _KINDS:
                lines = ",\n".join("  " + json.dumps(_rounded(asdict(one))) for one in value)
                parts.append(f' "{each.name}": [\n{lines}\n ]' if lines else f' "{each.name}": []')
            else:
                parts.append(f' "{each.name}": {json.dumps(value, indent=2)}')
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def by_workload(runs: Sequence[Run]) -> dict[str, dict[str, list[Run]]]:
    """Runs by workload and by server, in the order in which they first came."""
    found: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        found.setdefault(run.workload, {}).setdefault(run.server, []).append(run)
    return found


def cost_ratios(runs: Sequence[Run], ours: Sequence[Run]) -> list[float]:
    """What each run cost over our run of the same repetition, which stands next to it in time."""
    costs = {run.repetition: run.cost for run in ours}
    return [run.cost / costs[run.repetition] for run in runs if costs.get(run.repetition)]


def typical(delays: Sequence[Delay]) -> list[Delay]:
    """The repetitions of each server and load in one, by the medians; without latency if it often did not keep up."""
    found: dict[tuple[str, int], list[Delay]] = {}
    for delay in delays:
        found.setdefault((delay.server, delay.rate), []).append(delay)
    half = (max((delay.repetition for delay in delays), default=0) + 1) / 2
    return [replace(own[0], latency=_medians(own) if len(_kept_up(own)) > half else ()) for own in found.values()]


def _kept_up(delays: Sequence[Delay]) -> list[Delay]:
    return [delay for delay in delays if delay.latency]


def _medians(delays: Sequence[Delay]) -> list[float]:
    return [median(each) for each in zip(*(delay.latency for delay in _kept_up(delays)), strict=True)]


def meanwhile(runs: Sequence[Run]) -> str:
    """How quiet the machine was, in words."""
    elsewhere = sum(run.other_cpu for run in runs) / sum(run.seconds for run in runs)
    return f"meanwhile other processes took {elsewhere:.0%} of a processor"


_KINDS = {"accept": Run, "durable": Run, "latency": Delay, "memory": Footprint, "idle": Crowd, "soak": Soak}


def _rounded(values: Mapping[str, object]) -> dict[str, object]:
    """*values* to the microsecond, and to the KiB."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def circumstances(folder: Path) -> dict[str, str]:
    """When, where and with what it was measured.

    :param folder: where servers keep mail.
    """
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": models[0].partition(":")[2].strip() if models else platform.machine(),
        "processors": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "disk": _file_system(folder.resolve()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {_build()}",
        "twisted": metadata.version("twisted"),
    }


def _build() -> str:
    """How Python was compiled: that makes much of what it does slower or faster, though not all by the same."""
    flags = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return "optimized" if "--enable-optimizations" in flags else "not optimized"


def _file_system(folder: Path) -> str:
    """The kind of file system that *folder* is on: one in memory has nothing to sync."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    kinds = {Path(mount[1]): mount[2] for mount in mounts}
    return next(kinds[each] for each in (folder, *folder.parents) if each in kinds)
