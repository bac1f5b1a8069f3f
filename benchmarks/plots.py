"""The plots of the documentation, drawn from what ``bench.py --figures`` has written.

matplotlib is in the peers' environment and not in that of development, so this is also a script that runs there:
``plots.py FOLDER``. A plot has the digest of the measurements that it is drawn from in it: so the documentation cannot
show it beside others.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from benchmarks.environments import ENVIRONMENTS, InstallError, Say
from benchmarks.report import Delay, Report, by_workload, cost_ratios, typical

__all__ = ["MEASUREMENTS", "PLOTS", "digest", "draw"]

MEASUREMENTS = "bench.json"
#: Their files, and what is seen there.
PLOTS = {
    "cost.svg": "Processor time of the other servers for the same mail, in that of this one",
    "latency.svg": "Latency of the servers over the load that is offered to them",
}

#: For eyes that tell few colours apart (Okabe and Ito); the first one is ours.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#56b4e9", "#cc79a7", "#e69f00", "#999999", "#000000")
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "twistsmtp",
}


def digest(folder: Path) -> str:
    """What tells the measurements in *folder* from others."""
    return hashlib.sha256((folder / MEASUREMENTS).read_bytes()).hexdigest()


def draw(folder: Path, cache: Path, say: Say) -> None:
    """Draw the plots of the measurements in *folder*, beside them.

    :param cache: where the peers are installed.
    :raises InstallError: matplotlib cannot be had, or does not do it.
    """
    environment = ENVIRONMENTS["pip"](cache, say)
    done = subprocess.run(
        [*environment.interpreter, __file__, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InstallError(f"the plots cannot be drawn: {done.stderr.strip()[-1000:]}")


def draw_costs(axes: Any, report: Report) -> None:
    """A group of bars for each workload: how many times our processor time the others take."""
    workloads = by_workload(report.accept)
    ours, *others = dict.fromkeys(run.server for run in report.accept)
    height = 0.8 / len(others)
    for n, other in enumerate(others):
        for place, servers in enumerate(workloads.values()):
            if not (found := cost_ratios(servers.get(other, ()), servers[ours])):
                continue
            middle, low, high = median(found), min(found), max(found)
            y = place + (n - (len(others) - 1) / 2) * height
            label = other if place == 0 else None
            axes.barh(y, middle - 1, height * 0.9, left=1, color=COLOURS[n + 1], label=label)
            axes.plot([low, high], [y, y], color="black", linewidth=0.6)
    axes.axvline(1, color=COLOURS[0])
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.25, 0.5, 1, 2, 4, 8, 16], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(workloads)), list(workloads))
    axes.invert_yaxis()
    axes.set_xlabel(f"times the processor time of {ours} (more is slower; median, least and most)")
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_latencies(axes: Any, delays: Sequence[Delay], title: str, colours: dict[str, str]) -> None:
    """A pair of lines for each server: p50 and p99.9 over the load."""
    for server in dict.fromkeys(delay.server for delay in delays):
        kept_up = [delay for delay in typical(delays) if delay.server == server and delay.latency]
        for place, line in (0, "-"), (2, "--"):
            axes.plot(
                [delay.rate for delay in kept_up],
                [delay.latency[place] * 1000 for delay in kept_up],
                line,
                marker=".",
                color=colours[server],
                label=server if line == "-" else None,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    rates = sorted({delay.rate for delay in delays})
    axes.set_xticks(rates, [f"{rate:,}" for rate in rates])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("messages offered in a second")
    axes.set_title(title)
    axes.legend()


def main(folder: Path) -> None:
    """Draw all of them."""
    import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]  # only in the peers' environment

    mpl.use("svg")
    from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]

    mpl.rcParams.update(STYLE)
    report = Report.read(folder / MEASUREMENTS)
    costs, latencies = PLOTS
    metadata = {"Description": f"{MEASUREMENTS} {digest(folder)}", "Date": None}

    figure, axes = pyplot.subplots(figsize=(7.5, 6))
    draw_costs(axes, report)
    figure.savefig(folder / costs, bbox_inches="tight", metadata=metadata)

    names = dict.fromkeys(delay.server for delay in report.latency)
    colours = dict(zip(names, COLOURS, strict=False))
    figure, pair = pyplot.subplots(1, 2, figsize=(9, 4.5))
    for axes, durable, title in zip(pair, (False, True), ("Accepted and dropped", "Accepted and kept"), strict=True):
        draw_latencies(axes, [each for each in report.latency if each.durable is durable], title, colours)
    pair[0].set_ylabel("latency in milliseconds: p50 (—) and p99.9 (- -)")
    figure.savefig(folder / latencies, bbox_inches="tight", metadata=metadata)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
