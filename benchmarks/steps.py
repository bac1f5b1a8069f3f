"""Measure what each step of a message costs within this process: MAIL, RCPT, DATA, the body. No sockets, no peers.

The factory is that of production, with its policy, limits and log. A machine's speed changes from one minute to the
next; so a fixed loop of Python runs before and behind each handful of messages. Where the two differ the handful does
not count; else the steps are told in that loop's time as well. Compare two versions of the code by that column.
"""

import argparse
import cProfile
import pstats
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where it is run as a script

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogBeginner

from twistsmtp.delivery.discard import Discard
from twistsmtp.factory import SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.log import TextObserver
from twistsmtp.policy.relay import RelayRule
from twistsmtp.protocol import SMTPProtocol

__all__ = ["Conversation", "Figure", "measure"]

HEADER = b"Subject: steps\r\n\r\n"
#: Messages of a handful, between two calibrations.
HANDFUL = 10
#: By how much the two may differ.
TOLERANCE = 1.15
#: Octets of the smallest message: its header.
SMALLEST = len(HEADER)
#: The most octets that a transport reads at once.
READ = 65536

Clock = Callable[[], float]


class Void(StringTransport):
    """A transport that keeps the last write only."""

    last = b""

    def write(self, data: bytes) -> None:
        self.last = data


class Conversation:
    """A connection in memory, and the steps of a message on it.

    :param octets: of a message.
    """

    def __init__(self, octets: int = 1_000) -> None:
        factory = SMTPFactory(
            Discard(),
            hostname="mx.example.com",
            policies=[RelayRule(["example.com"])],
            limits=Limits(messages=1 << 40),
        )
        address = IPv4Address("TCP", "127.0.0.1", 50000)
        self.transport = Void(peerAddress=address)
        self._protocol = cast(SMTPProtocol, factory.buildProtocol(address))
        self._protocol.makeConnection(cast(Any, self.transport))
        self.say(b"EHLO client.example.com\r\n")
        lines = HEADER + (b"x" * 76 + b"\r\n") * (octets // 78 + 1)
        body = lines[: octets - 2] + b"\r\n.\r\n"
        self.steps: Mapping[str, tuple[bytes, ...]] = {
            "MAIL": (b"MAIL FROM:<a@example.com>\r\n",),
            "RCPT": (b"RCPT TO:<b@example.com>\r\n",),
            "DATA": (b"DATA\r\n",),
            "body": tuple(body[start : start + READ] for start in range(0, len(body), READ)),
        }

    def say(self, octets: bytes) -> None:
        """Have the server read *octets*."""
        self._protocol.dataReceived(octets)

    def leave(self) -> None:
        """End the connection."""
        self._protocol.connectionLost()

    def message(self, clock: Clock, times: dict[str, float]) -> None:
        """Send a message, and add to *times* what each step took."""
        say = self.say
        for name, reads in self.steps.items():
            begin = clock()
            for octets in reads:
                say(octets)
            times[name] += clock() - begin
        if not self.transport.last.startswith(b"250 2.0.0 "):
            raise RuntimeError(f"the message was answered by {self.transport.last!r}")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one step costs.

    :param microseconds: the median.
    :param loops: the median in thousandths of the calibration's time.
    :param low: a tenth of the handfuls took less than this, in the same unit.
    """

    name: str
    microseconds: float
    loops: float
    low: float


def calibrate(clock: Clock) -> float:
    """Seconds that a fixed loop takes: numbers, text, a dictionary."""
    begin = clock()
    total, table = 0, {}
    for n in range(2000):
        total += n
        table[n & 15] = str(total)
    return clock() - begin


def measure(conversation: Conversation, handfuls: int, clock: Clock = perf_counter) -> tuple[list[Figure], int]:
    """Send *handfuls* of messages.

    :returns: the steps, then all of them together, and how many handfuls counted.
    """
    times: list[dict[str, float]] = []
    units: list[float] = []
    for _ in range(handfuls):
        taken = dict.fromkeys(conversation.steps, 0.0)
        before = calibrate(clock)
        for _ in range(HANDFUL):
            conversation.message(clock, taken)
        behind = calibrate(clock)
        if max(before, behind) <= TOLERANCE * min(before, behind):
            times.append({**taken, "all": sum(taken.values())})
            units.append((before + behind) / 2)
    return ([_figure(name, times, units) for name in times[0]] if times else []), len(times)


def _figure(name: str, times: Sequence[Mapping[str, float]], units: Sequence[float]) -> Figure:
    seconds = [each[name] / HANDFUL for each in times]
    loops = sorted(second / unit * 1000 for second, unit in zip(seconds, units, strict=True))
    return Figure(name, median(seconds) * 1e6, median(loops), loops[len(loops) // 10])


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says.

    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--handfuls", type=int, default=2000, metavar="N", help="of 10 messages (default: 2000)")
    parser.add_argument("--octets", type=int, default=1_000, metavar="N", help="of a message (default: 1000)")
    parser.add_argument("--profile", metavar="SORT", help="show what Python's profiler says, by tottime or cumtime")
    options = parser.parse_args(arguments)
    if options.octets < SMALLEST or options.handfuls < 1:
        parser.error(f"--octets must be {SMALLEST} or more, and --handfuls 1 or more")
    with Path("/dev/null").open("w") as nowhere:
        globalLogBeginner.beginLoggingTo([TextObserver(nowhere)], redirectStandardIO=False)
        conversation = Conversation(options.octets)
        measure(conversation, 20)  # warms up
        if options.profile:
            with cProfile.Profile() as profile:
                measure(conversation, options.handfuls)
            pstats.Stats(profile).sort_stats(options.profile).print_stats(40)
            return 0
        figures, counted = measure(conversation, options.handfuls)
    print(f"{'':6}{'us':>9}{'‰ of loop':>13}{'lowest 10 %':>13}")
    for each in figures:
        print(f"{each.name:6}{each.microseconds:9.2f}{each.loops:13.2f}{each.low:13.2f}")
    print(f"messages of {options.octets:,} octets; {counted} of {options.handfuls} handfuls counted")
    return 0 if figures else 1


if __name__ == "__main__":
    sys.exit(main())
