"""What was measured, as tables: those that `bench.py` prints are those that the documentation shows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contest import WORKLOADS
from benchmarks.report import Crowd, Delay, Footprint, Report, Run, Soak, by_workload, cost_ratios, meanwhile, typical

__all__ = ["TABLES", "Table", "details"]


@dataclass(frozen=True, slots=True)
class Table:
    """Heads, rows of the same length, and what is to be said below it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def lines(self) -> Iterator[str]:
        """It, to be read in a terminal."""
        widths = [max(map(len, column)) for column in zip(self.heads, *self.rows, strict=True)]
        yield self.title
        for row in (self.heads, *self.rows):
            first, *rest = (
                cell.rjust(width) if n else cell.ljust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            yield "  ".join([f"  {first}", *rest]).rstrip()
        if self.note:
            yield f"  {self.note}"
        yield ""


def details(runs: Sequence[Run]) -> Iterator[Table]:
    """A table for each workload that has runs; the first server is what the others are compared with."""
    for workload, servers in by_workload(runs).items():
        ours = next(iter(servers.values()))
        rows = []
        for server, own in servers.items():
            ratios, rate = cost_ratios(own, ours), median(run.rate for run in own)
            rows.append(
                (
                    server,
                    f"{median(run.cost for run in own):.4f}",
                    *((f"{median(ratios):.2f}", _range(ratios)) if ratios else ("-", "-")),
                    f"{rate:,.0f}",
                    f"{rate * own[0].octets / 1e6:.1f}",
                    f"{own[0].start_memory:.1f}",
                    f"{max(run.peak_memory for run in own):.1f}",
                )
            )
        heads = ("", "CPU s/1,000", "ratio", "least-most", "msg/s", "MB/s", "start MiB", "peak MiB")
        note = meanwhile([run for own in servers.values() for run in own])
        yield Table(f"{workload}: {_title(workload)}; {len(ours)} repetitions", heads, rows, note)


def ratios(runs: Sequence[Run]) -> Table:
    """How many times the first server's processor time the others take: the median, the least and the most."""
    workloads = by_workload(runs)
    ours, *others = dict.fromkeys(server for servers in workloads.values() for server in servers)

    def cell(workload: str, server: str) -> str:
        servers = workloads[workload]
        found = cost_ratios(servers.get(server, ()), servers[ours])
        return f"{median(found):.2f} ({_range(found)})" if found else "-"

    rows = [(f"{each}, {_title(each)}", *(cell(each, other) for other in others)) for each in workloads]
    return Table(f"Processor time of the others over that of {ours}", ("Mail", *others), rows)


def costs(runs: Sequence[Run]) -> Table:
    """Processor seconds for 1,000 messages, and messages in a second: medians."""
    workloads = by_workload(runs)
    names = tuple(dict.fromkeys(server for servers in workloads.values() for server in servers))

    def cell(workload: str, server: str) -> str:
        own = workloads[workload].get(server, ())
        cost, rate = median(run.cost for run in own) if own else 0, median(run.rate for run in own) if own else 0
        return f"{cost:.3g} s, {rate:,.0f}/s" if own else "-"

    rows = [(each, *(cell(each, name) for name in names)) for each in workloads]
    return Table("Processor seconds for 1,000 messages, and messages in a second", ("Mail", *names), rows)


def latencies(delays: Sequence[Delay]) -> Table:
    """How long messages took: a row for each load, a column for each server."""
    servers = tuple(dict.fromkeys(delay.server for delay in delays))
    found = {(delay.rate, delay.server): delay for delay in typical(delays)}

    def cell(rate: int, server: str) -> str:
        delay = found.get((rate, server))
        if delay is None or not delay.latency:
            return "too much"
        return " / ".join(f"{seconds * 1000:.3g}" for seconds in delay.latency[:3])

    rows = [(f"{rate:,}", *(cell(rate, server) for server in servers)) for rate in sorted({d.rate for d in delays})]
    return Table("Latency in milliseconds: p50 / p99 / p99.9", ("Messages/s", *servers), rows)


def footprints(measured: Sequence[Footprint]) -> Table:
    """The memory of large messages; growth is over the smallest size with the same delivery."""
    least = {each.delivery: each.peak_memory for each in reversed(measured)}
    rows = [
        (
            each.delivery,
            f"{each.messages:,} × {each.octets:,}",
            f"{each.start_memory:.1f}",
            f"{each.peak_memory:.1f}",
            f"{each.peak_memory - least[each.delivery]:+.1f}",
        )
        for each in measured
    ]
    return Table("Memory under messages of some sizes", ("Delivery", "Octets", "Start MiB", "Peak MiB", "Growth"), rows)


def crowds(measured: Sequence[Crowd]) -> Table:
    """The memory of idle connections."""
    rows = [
        (each.server, f"{each.connections:,}", f"{each.before:.1f}", f"{each.after:.1f}", f"{each.each:.1f}")
        for each in measured
    ]
    return Table("Idle connections", ("", "Connections", "MiB before", "MiB with them", "KiB each"), rows)


def soaks(measured: Sequence[Soak]) -> Table:
    """Memory over a long time: after a fifth of it, after half, and at the end."""
    rows = [
        (
            f"{each.messages:,}",
            f"{each.connections:,}",
            f"{each.seconds:,.0f}",
            *(f"{each.memory[int(part * (len(each.memory) - 1))]:.1f}" for part in (0, 0.2, 0.5, 1)),
            f"{each.growth:+.2f}",
        )
        for each in measured
    ]
    heads = (
        "Messages",
        "Connections",
        "Seconds",
        "MiB at first",
        "After a fifth",
        "After half",
        "In the end",
        "Growth",
    )
    return Table("Memory over a long time", heads, rows)


#: The tables of a report, by name: nothing where there is nothing to show.
TABLES: Mapping[str, Callable[[Report], Table | None]] = {
    "ratios": lambda report: ratios(report.accept) if report.accept else None,
    "costs": lambda report: costs(report.accept) if report.accept else None,
    "durable": lambda report: ratios(report.durable) if report.durable else None,
    "durable-costs": lambda report: costs(report.durable) if report.durable else None,
    "latency": lambda report: _latencies(report, durable=False),
    "durable-latency": lambda report: _latencies(report, durable=True),
    "memory": lambda report: footprints(report.memory) if report.memory else None,
    "idle": lambda report: crowds(report.idle) if report.idle else None,
    "soak": lambda report: soaks(report.soak) if report.soak else None,
}


def _latencies(report: Report, *, durable: bool) -> Table | None:
    chosen = [delay for delay in report.latency if delay.durable is durable]
    return latencies(chosen) if chosen else None


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.2f}-{max(numbers):.2f}"


def _title(workload: str) -> str:
    return WORKLOADS[workload].title
