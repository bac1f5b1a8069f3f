"""kill -9 while mail pours in: what got its 250 is in ``new``, whole, and nothing is there by half.

Each round starts ``twistd smtp``, pours mail into it over many connections, and kills it at some moment. It is killed
in the very call that sees the moment, while the other connections are anywhere: in the middle of a message, or between
its end and its 250.
"""

import random
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from tests.clients.kit import ROOT, TWISTD, ClientTestCase, Process, Stored, start

MAILBOXES = 5


# --- messages ------------------------------------------------------------------------------------------------


def _lines() -> list[bytes]:
    rng = random.Random(1)
    return [
        rng.choice((b"", b".", b"..")) + rng.randbytes(rng.randrange(120)).translate(None, b"\r\n") + b"\r\n"
        for _ in range(20_000)
    ]


_LINES = _lines()
#: How many lines messages have, at most.
_SIZES = (0, 5, 20, 60, 60, 60, 200, 1000, 8000)


def message(number: int) -> bytes:
    """The message of this number: a few hundred octets, mostly, and some of half a megabyte."""
    rng = random.Random(number)
    lines = rng.randrange(rng.choice(_SIZES) + 1)
    first = rng.randrange(len(_LINES) - lines)
    return b"Subject: %d\r\n\r\n" % number + b"".join(_LINES[first : first + lines])


def recipients(number: int) -> list[str]:
    """Whom it is for: one mailbox or two."""
    return [f"r{each % MAILBOXES}" for each in (number, number + 1)[: 1 + (number % 3 == 0)]]


# --- the flood -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: at the so-manieth message that got its 250, or of which the end is sent."""

    what: Literal["accepted", "sent"]
    count: int

    @classmethod
    def all(cls, *counts: int) -> list["Moment"]:
        """Both kinds of moments at these counts."""
        return [cls("accepted", each) for each in counts] + [cls("sent", each) for each in counts]


class Flood:
    """What was sent into one server, and what it said to that."""

    def __init__(self, moment: Moment, numbers: Iterator[int]) -> None:
        self.numbers = numbers
        #: Messages that were sent to their end, and those of them that got their 250.
        self.sent: set[int] = set()
        self.accepted: set[int] = set()
        #: Fires at the moment; fails when something goes wrong before.
        self.reached: Deferred[None] = Deferred()
        self._moment = moment

    def note(self, what: Literal["accepted", "sent"], number: int) -> None:
        numbers = getattr(self, what)
        numbers.add(number)
        if what == self._moment.what and len(numbers) == self._moment.count:
            self.reached.callback(None)

    def failed(self, error: Exception | Failure) -> None:
        """Only what happens before the moment is of interest: then the server dies."""
        if not self.reached.called:
            self.reached.errback(error)


class Pouring(LineOnlyReceiver):
    """A connection that sends message after message, each in two pieces.

    :param pipelines: whether the commands of the next message go behind the end of one, in the same write.
    :param last: after so many messages it sends the first piece of one more, and then nothing.
    """

    transport: Any

    def __init__(self, flood: Flood, *, pipelines: bool, last: float) -> None:
        self._flood = flood
        self._pipelines = pipelines
        self._left = last
        self._number = 0
        #: The codes of the replies that are to come, and what to do then.
        self._expected: deque[tuple[bytes, Callable[[], object]]] = deque([(b"220", self._hello)])
        self.lost: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        if line[3:4] == b"-":
            return
        code, go_on = self._expected.popleft()
        if line.startswith(code):
            go_on()
        else:
            self._flood.failed(AssertionError(f"{line!r} is no {code!r}"))

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self._flood.failed(AssertionError("the server closed a connection"))
        self.lost.callback(None)

    def _hello(self) -> None:
        self.sendLine(b"EHLO client.test")
        self._expected.append((b"250", self._begin))

    def _begin(self) -> None:
        self.transport.write(self._next())

    def _next(self) -> bytes:
        """The commands of the next message."""
        self._number = next(self._flood.numbers)
        to = [f"RCPT TO:<{each}@mx.test>\r\n" for each in recipients(self._number)]
        self._expected.extend([(b"250", lambda: None)] * (1 + len(to)))
        self._expected.append((b"354", self._send))
        return f"MAIL FROM:<s@client.test>\r\n{''.join(to)}DATA\r\n".encode()

    def _send(self) -> None:
        from twisted.internet import reactor

        octets = b"%b\r\n.\r\n" % message(self._number).replace(b"\r\n.", b"\r\n..")[:-2]
        cut = random.Random(self._number).randrange(len(octets))
        self.transport.write(octets[:cut])
        self._left -= 1
        if self._left >= 0:
            scheduler: Any = reactor
            scheduler.callLater(0, self._send_rest, octets[cut:])

    def _send_rest(self, octets: bytes) -> None:
        number = self._number
        self._expected.append((b"250", lambda: self._accepted(number)))
        self.transport.write(octets + self._next() if self._pipelines else octets)
        self._flood.note("sent", number)

    def _accepted(self, number: int) -> None:
        self._flood.note("accepted", number)
        if not self._pipelines:
            self._begin()


# --- the tests -----------------------------------------------------------------------------------------------


class CrashTests(ClientTestCase):
    timeout = 300

    def setUp(self) -> None:
        super().setUp()
        self.numbers = count()
        #: Files that were left in tmp by servers that were killed.
        self.torn = 0

    async def start_server(self, path: str) -> tuple[Process, int]:
        """``twistd smtp`` with Maildirs at *path*, and its port."""
        listen = ("--listen", "tcp:0:interface=127.0.0.1", "--hostname", "mx.test")
        command = (sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", *listen)
        delivery = ("--delivery", f"maildir:{path}:create=yes")
        process = start(self, [*command, *delivery], folder=self.folder, PYTHONPATH=str(ROOT))
        match = await process.says(r"listens on 127\.0\.0\.1:(\d+) ")
        return process, int(match[1])

    async def crash(self, path: str, moment: Moment) -> Flood:
        """One round."""
        from twisted.internet import reactor

        process, port = await self.start_server(path)
        flood = Flood(moment, self.numbers)
        rng = random.Random(f"{moment}")
        pourings = [
            Pouring(flood, pipelines=number % 2 == 0, last=rng.randrange(5) if number < 3 else float("inf"))
            for number in range(16)
        ]
        killed = flood.reached.addCallback(lambda _: process.kill())
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        connecting = [connectProtocol(endpoint, pouring).addErrback(flood.failed) for pouring in pourings]
        await killed
        self.assertEqual((await process.ended()).status, -signal.SIGKILL)
        await gatherResults(connecting)
        await gatherResults([pouring.lost for pouring in pourings if pouring.transport is not None])
        return flood

    def assert_safe(self, maildir: Path, floods: Sequence[Flood], mailbox: str | None = None) -> None:
        """Whatever got its 250 is in *maildir* once, whole; and so is all else that is there.

        :param mailbox: whose Maildir it is; ``None`` if it is everybody's.
        """
        found: list[int] = []
        for each in Stored.all_in(maildir):
            subject = re.match(rb"Subject: (\d+)\r\n", each.octets)
            if subject is None or each.octets != message(int(subject[1])):
                self.fail(f"not a whole message: {each.octets[:1000]!r}")
            found.append(int(subject[1]))
        stored = set(found)
        self.assertEqual(len(found), len(stored), "a message is there twice")

        def ours(numbers: set[int]) -> set[int]:
            return {number for number in numbers if mailbox in (None, *recipients(number))}

        self.assertEqual(ours(set().union(*(flood.accepted for flood in floods))) - stored, set())
        self.assertEqual(stored - ours(set().union(*(flood.sent for flood in floods))), set())
        self.torn += len(list((maildir / "tmp").iterdir()))

    async def test_one_maildir_again_and_again(self) -> None:
        """Each server finds what those before it have left, and harms nothing of it."""
        maildir = self.folder / "Maildir"
        floods: list[Flood] = []
        counts = (1, 2, 9, 25, 50, 80, 120, 180, 250, 400)
        for moment in Moment.all(*counts):
            floods.append(await self.crash("Maildir", moment))
            self.assert_safe(maildir, floods)
        self.assertGreaterEqual(sum(len(flood.accepted) for flood in floods), sum(counts))
        self.assertGreater(self.torn, 0, "no server was killed in the middle of anything")

    async def test_a_maildir_for_each_mailbox(self) -> None:
        """They are made by the first messages; a message for two is in both."""
        for round_, moment in enumerate(Moment.all(1, 20, 150)):
            mail = self.folder / str(round_)
            flood = await self.crash(f"{round_}/{{local}}", moment)
            # Of a Maildir that nothing was accepted for there may be a part.
            there = {folder.parent.name for folder in mail.glob("*/new")}
            for mailbox in there.union(*(recipients(number) for number in flood.accepted)):
                self.assert_safe(mail / mailbox, [flood], mailbox)
