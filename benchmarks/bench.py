"""Measure this server beside others, in one run.

Each server runs on one processor, and the load generator on another where there is one. All accept every message; this
one with all that production has on. Processor time and latency are measured of servers that drop what they accept,
and of those that keep it (this one's Maildir, and Postfix); memory under large messages, and with many idle
connections. A peer that cannot be had is left out, and that is said.

The repetitions are interleaved, so that what else the machine does falls on all alike. Believe processor seconds for
1,000 messages, and the ratios of one run; an absolute rate says as much about the machine. docs/performance.rst has
more.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from benchmarks.contenders import NAMES, Field, Starter, gather, gather_durable
from benchmarks.contest import DURABLE_WORKLOADS, WORKLOADS, Contest
from benchmarks.environments import InstallError
from benchmarks.idle import measure_idle
from benchmarks.latency import measure_latency
from benchmarks.load import LoadError, compile_load
from benchmarks.memory import measure_memory
from benchmarks.plots import draw
from benchmarks.processes import ServerError, processors
from benchmarks.report import Crowd, Delay, Footprint, Report, Run, circumstances
from benchmarks.tables import TABLES, details

#: For the load generator and the peers' environments; no part of the repository.
CACHE = Path(__file__).resolve().parent / ".cache"
#: How many times longer than a run each load lasts whose latency is measured.
LONGER = 2


def say(text: str) -> None:
    """Tell how far it is, apart from the results."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """The parts that can be measured, by the names that the command line has for them.

    :param options: the command line.
    :param folder: for the servers' files.
    :raises LoadError: there is no C compiler.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._processor, load_processor = processors()
        os.sched_setaffinity(0, {load_processor})  # the load generator inherits it
        if load_processor == self._processor:
            say("there is one processor only: the load generator shares it with the servers")
        self._program = compile_load(CACHE)
        self._left_out: dict[str, str] = {}

    def measure(self, facts: Mapping[str, str]) -> Report:
        """All parts that the command line asks for. One that fails is left out: the others may have taken long."""
        parts: dict[str, Any] = {}
        for part in self._options.parts:
            folder = self._folder / part
            folder.mkdir()
            try:
                parts[part] = list(getattr(self, part)(folder))
            except (InstallError, LoadError, ServerError, OSError) as error:
                say(f"{part} is left out, because {error}")
                self._left_out[part] = str(error)
        return Report(facts, self._left_out, **parts)

    def accept(self, folder: Path) -> Iterator[Run]:
        """Servers that drop what they accept."""
        return self._compete(self._droppers, self._options.work, folder)

    def durable(self, folder: Path) -> Iterator[Run]:
        """Servers that keep it."""
        work = [each for each in self._options.work if each in DURABLE_WORKLOADS]
        return self._compete(self._keepers, work, folder)

    def latency(self, folder: Path) -> Iterator[Delay]:
        """How long messages take at fixed loads, of both kinds of servers."""
        options = self._options
        measure = partial(measure_latency, seconds=options.secs * LONGER, repetitions=options.reps)
        yield from measure(self._program, self._droppers, folder / "dropped", self._processor, say)
        yield from measure(self._program, self._keepers, folder / "kept", self._processor, say, durable=True)

    def memory(self, folder: Path) -> Iterator[Footprint]:
        """The memory of this server, from 1 KB to 100 MB messages."""
        return measure_memory(self._program, folder, self._processor, say)

    def idle(self, folder: Path) -> Iterator[Crowd]:
        """What an idle connection takes."""
        return measure_idle(self._droppers, folder, self._processor, say)

    @cached_property
    def _droppers(self) -> Mapping[str, Starter]:
        return self._taking_part(gather(self._options.only, CACHE, say))

    @cached_property
    def _keepers(self) -> Mapping[str, Starter]:
        return self._taking_part(gather_durable(say))

    def _taking_part(self, field: Field) -> Mapping[str, Starter]:
        self._left_out |= field.left_out
        return field.starters

    def _compete(self, starters: Mapping[str, Starter], work: Sequence[str], folder: Path) -> Iterator[Run]:
        options = self._options
        with ExitStack() as stack:
            servers = [stack.enter_context(start(folder / name, self._processor)) for name, start in starters.items()]
            contest = Contest(self._program, servers, options.secs, options.messages, say)
            for run in contest.runs([WORKLOADS[name] for name in work], options.reps):
                say(f"{run.repetition + 1}/{options.reps} {run.workload:10}{run.server:16}{run.cost:9.4f} CPU s/1,000")
                yield run


PARTS = ("accept", "durable", "latency", "memory", "idle")


def show(report: Report) -> None:
    """Print all tables."""
    shown = (make(report) for make in TABLES.values())
    for table in (*details(report.accept), *details(report.durable), *filter(None, shown)):
        print("\n".join(table.lines()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit status.
    """
    options = parse(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="twistsmtp-bench-") as folder:
            Path(folder).chmod(0o755)  # Postfix has a user of its own
            facts = circumstances(Path(folder))
            say(", ".join(f"{name} {value}" for name, value in facts.items()))
            report = Bench(options, Path(folder)).measure(facts)
        show(report)
        if options.json:
            report.write(options.json)
        if options.figures:
            report.write(options.figures / "bench.json")
            draw(options.figures, CACHE, say)
    except (InstallError, LoadError, ServerError) as error:
        say(f"bench: {error}")
        return 1
    return int(any(part in report.left_out for part in options.parts))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=positive, default=5, metavar="N", help="repetitions (default: 5)")
    parser.add_argument("--secs", type=float, default=2.0, metavar="S", help="seconds of a run, about (default: 2)")
    parser.add_argument("--messages", type=positive, metavar="N", help="messages of a run, in place of --secs")
    for option, known in (("--parts", PARTS), ("--work", WORKLOADS), ("--only", NAMES)):
        parser.add_argument(option, type=names(known), default=[*known], metavar="NAME,...", help=", ".join(known))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="write it to bench.json there, and draw the plots beside it"
    )
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers end as well
    sys.exit(main())
