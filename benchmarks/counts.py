"""Count what the server does for a message, in one process and without sockets: a guard of the hot path.

The counts are the same in each run, however busy the machine is: instructions of Python's machine, calls of functions
that are not Python, and the most octets that are allocated at one time. So a bound can be narrow. ``counts.json`` has
what each version of Python counted when it was last run with ``--write``, and three hundredths more is a regression.
Whoever makes the hot path longer, for a reason, or shorter, writes the counts anew.

What they do not show: a function of C that takes longer over what it is given, as a regular expression may, and what
the reactor and the sockets take. ``steps.py`` and ``bench.py`` show that.
"""

import argparse
import gc
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from statistics import median_low
from types import CodeType, FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from benchmarks.steps import HELLO, Connection, Conversation, logging_to_nowhere, production

__all__ = ["WORKLOADS", "Counts", "count", "count_calls", "count_instructions", "differences"]

BOUNDS = Path(__file__).with_suffix(".json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
#: More than this share above the bound is a regression. As much below it is told: the bound guards less then.
ROOM = 0.03
#: Messages beforehand, and those that are counted. The counts are the median: now and then, some message has more.
WARM_UP, MESSAGES = 20, 9
#: Functions that ``--functions`` shows.
FUNCTIONS = 40

#: Sends a message.
Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one message takes.

    :param instructions: of Python's machine.
    :param calls: of functions that are not Python.
    :param octets: that are allocated at most at one time, over those that were before.
    """

    instructions: int
    calls: int
    octets: int


def _kept(octets: int = 1_000) -> Action:
    """A message on a connection that stays, one command at a time."""
    conversation = Conversation(octets)
    return _on(conversation, *chain.from_iterable(conversation.steps.values()))


def _pipelined() -> Action:
    """A message on a connection that stays, with MAIL, RCPT and DATA in one read."""
    conversation = Conversation()
    *envelope, body = chain.from_iterable(conversation.steps.values())
    return _on(conversation, b"".join(envelope), body)


def _on(connection: Connection, *reads: bytes) -> Action:
    def message() -> None:
        connection.say(*reads)
        connection.expect(b"250 2.0.0 ")

    return message


def _new() -> Action:
    """A connection with one message, from its greeting to its end."""
    factory = production()
    reads = (HELLO, *chain.from_iterable(Conversation().steps.values()), b"QUIT\r\n")

    def message() -> None:
        connection = Connection(factory)
        connection.say(*reads)
        connection.expect(b"221 2.0.0 ")
        connection.leave()

    return message


#: What is counted; each makes an action that can be repeated.
WORKLOADS: Mapping[str, Callable[[], Action]] = {
    "kept": _kept,
    "new": _new,
    "pipelined": _pipelined,
    "100k": lambda: _kept(100_000),
}


def count(action: Action) -> Counts:
    """The counts of *action*."""
    for _ in range(WARM_UP):
        action()
    gc.collect()
    gc.disable()
    try:
        return Counts(
            _median(lambda: count_instructions(action).total()),
            _median(lambda: count_calls(action)),
            _median(lambda: _count_octets(action)),
        )
    finally:
        gc.enable()


def _median(measure: Callable[[], int]) -> int:
    return median_low([measure() for _ in range(MESSAGES)])


def count_instructions(action: Action) -> Counter[CodeType]:
    """How many instructions of Python's machine each function carries out in *action*."""
    found: Counter[CodeType] = Counter()
    trace = _monitor if sys.version_info >= (3, 12) else _trace
    trace(action, found)
    return found


def _trace(action: Action, found: Counter[CodeType]) -> None:
    def enter(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            found[frame.f_code] += 1
        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        action()
    finally:
        sys.settrace(before)


def _monitor(action: Action, found: Counter[CodeType]) -> None:
    """As `_trace`, from Python 3.12 on, where tracing misses instructions."""
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION

    def step(code: CodeType, offset: int) -> None:
        found[code] += 1

    monitoring.use_tool_id(tool, "counts")
    monitoring.register_callback(tool, event, step)
    monitoring.set_events(tool, event)
    try:
        action()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)


def count_calls(action: Action) -> int:
    """How often *action* calls a function that is not Python."""
    calls = 0

    def heed(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    before = sys.getprofile()
    sys.setprofile(heed)
    try:
        action()
    finally:
        sys.setprofile(before)
    return calls


def _count_octets(action: Action) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        action()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def differences(counts: Counts, bound: Counts) -> Iterator[tuple[float, str]]:
    """What is not within `ROOM` of *bound*: by which share, and in words."""
    for name, most in asdict(bound).items():
        found = getattr(counts, name)
        share = found / most - 1
        if abs(share) > ROOM:
            yield share, f"{found:,} {name} and not {most:,}: {share:+.1%}"


def functions(name: str) -> Iterator[str]:
    """Where the instructions of a workload are."""
    action = WORKLOADS[name]()
    for _ in range(WARM_UP):
        action()
    found = count_instructions(action)
    yield f"{name}: {found.total():,} instructions"
    for code, number in found.most_common(FUNCTIONS):
        where = Path(code.co_filename)
        yield f"  {number:6,}  {number / found.total():5.1%}  {where.parent.name}/{where.name} {code.co_qualname}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit status: 1 for counts that are out of bounds.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"make these counts the bounds of Python {VERSION}")
    parser.add_argument("--functions", choices=WORKLOADS, help="show which functions the instructions are in")
    options = parser.parse_args(arguments)
    kept = json.loads(BOUNDS.read_text())
    with logging_to_nowhere():
        if options.functions:
            print("\n".join(functions(options.functions)))
            return 0
        counts = {name: count(make()) for name, make in WORKLOADS.items()}
    print(f"{'':10}{'instructions':>14}{'calls':>8}{'octets':>10}")
    for name, each in counts.items():
        print(f"{name:10}{each.instructions:14,}{each.calls:8,}{each.octets:10,}")
    if options.write:
        kept[VERSION] = {name: asdict(each) for name, each in counts.items()}
        BOUNDS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    if VERSION not in kept:
        print(f"there are no bounds for Python {VERSION}")
        return 0
    found = [
        (share, f"{name}: {words}")
        for name, each in counts.items()
        for share, words in differences(each, Counts(**kept[VERSION][name]))
    ]
    print("\n".join(words for _, words in found) or f"all are within {ROOM:.0%} of the bounds of Python {VERSION}")
    return int(any(share > 0 for share, _ in found))


if __name__ == "__main__":
    sys.exit(main())
