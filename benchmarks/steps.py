"""Measure what each step of a message costs within this process: MAIL, RCPT, DATA, the body. No sockets, no peers.

The factory is that of production, with its policy, limits and log. A machine's speed changes from one minute to the
next; so a fixed loop of Python runs before and behind each handful of messages. Where the two differ the handful does
not count; else the steps are told in that loop's time as well. Compare two versions of the code by that column.
"""

import argparse
import cProfile
import os
import pstats
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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

__all__ = ["HELLO", "Connection", "Conversation", "Figure", "logging_to_nowhere", "measure", "production"]

HELLO = b"EHLO client.example.com\r\n"
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


def production() -> SMTPFactory:
    """A factory with what there is in production: its policy, and its limits but for the messages of a connection."""
    return SMTPFactory(
        Discard(),
        hostname="mx.example.com",
        policies=[RelayRule(["example.com"])],
        limits=Limits(messages=1 << 40),
    )


@contextmanager
def logging_to_nowhere() -> Iterator[None]:
    """Write the log as production does, from now on; nobody reads it."""
    with Path(os.devnull).open("w") as nowhere:
        globalLogBeginner.beginLoggingTo([TextObserver(nowhere)], redirectStandardIO=False)
        yield


class Connection:
    """A connection in memory to a server of *factory*."""

    def __init__(self, factory: SMTPFactory) -> None:
        address = IPv4Address("TCP", "127.0.0.1", 50000)
        self.transport = Void(peerAddress=address)
        self._protocol = cast(SMTPProtocol, factory.buildProtocol(address))
        self._protocol.makeConnection(cast(Any, self.transport))

    def say(self, *reads: bytes) -> None:
        """Have the server read each of *reads*."""
        for octets in reads:
            self._protocol.dataReceived(octets)

    def expect(self, reply: bytes) -> None:
        """See that the last that the server wrote begins with *reply*.

        :raises RuntimeError: it does not.
        """
        if not self.transport.last.startswith(reply):
            raise RuntimeError(f"{self.transport.last!r} was said in place of {reply!r}")

    def leave(self) -> None:
        """End the connection."""
        self._protocol.connectionLost()


class Conversation(Connection):
    """A connection that has said EHLO, and the steps of a message on it.

    :param octets: of a message.
    """

    def __init__(self, octets: int = 1_000) -> None:
        super().__init__(production())
        self.say(HELLO)
        lines = HEADER + (b"x" * 76 + b"\r\n") * (octets // 78 + 1)
        body = lines[: octets - 2] + b"\r\n.\r\n"
        self.steps: Mapping[str, tuple[bytes, ...]] = {
            "MAIL": (b"MAIL FROM:<a@example.com>\r\n",),
            "RCPT": (b"RCPT TO:<b@example.com>\r\n",),
            "DATA": (b"DATA\r\n",),
            "body": tuple(body[start : start + READ] for start in range(0, len(body), READ)),
        }

    def message(self, clock: Clock, times: dict[str, float]) -> None:
        """Send a message, and add to *times* what each step took."""
        for name, reads in self.steps.items():
            begin = clock()
            self.say(*reads)
            times[name] += clock() - begin
        self.expect(b"250 2.0.0 ")


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
    with logging_to_nowhere():
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
