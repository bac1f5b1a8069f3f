"""Recorded sessions, replayed: does the server still say what it said?

::

    class RegressionTests(SynchronousTestCase):
        def test_sessions(self):
            for path in sorted(Path("sessions").glob("*.smtp")):
                assert_replay(path, make_factory())

The client's octets come in the pieces in which they came then, each at its time, on a `Clock`. What the server says is
compared octet for octet. The recording has no secrets in it; whoever replays one that needs them gives them again.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from twistsmtp.factory import SMTPFactory
from twistsmtp.testing.memory import MemoryClient, MemoryServer
from twistsmtp.testing.notation import Event, Secret, Token, lines_of, written
from twistsmtp.testing.transcript import Step, differences, parse

__all__ = ["assert_replay", "replay"]

#: Lines of the server that are not compared: this one has the time of day in it.
IGNORED = (r"250[ -]FUTURERELEASE .*",)

_FACT = re.compile(r"^# (id|client|tls): (.+)$", re.MULTILINE)

#: What makes the octets of a secret, of the challenge that it answers, without its 334, and is called in order; or the
#: secrets themselves.
Secrets = Sequence[bytes] | Callable[[bytes], bytes]


def assert_replay(
    path: str | os.PathLike[str], factory: SMTPFactory, *, secrets: Secrets = (), ignore: Sequence[str] = IGNORED
) -> None:
    """See that there are no differences; see `replay`.

    :raises AssertionError: there are.
    """
    __tracebackhide__ = True
    found = replay(path, factory, secrets=secrets, ignore=ignore)
    if found:
        raise AssertionError("\n".join([f"{path}: the server says other things (- then, + now):", *found]))


def replay(
    path: str | os.PathLike[str], factory: SMTPFactory, *, secrets: Secrets = (), ignore: Sequence[str] = IGNORED
) -> list[str]:
    """Replay the session that was recorded at *path* with *factory*.

    :param factory: its clock must be a `Clock`, or not be chosen yet.
    :param secrets: what was left out of the client's lines, in order; or a function that makes it of the server's last
        challenge, in base64 as both are.
    :param ignore: expressions of lines of the server that may differ.
    :returns: the differences, as the lines of the conversation with a ``-`` or ``+`` in front; none if there are none.
    :raises OSError: the recording cannot be read.
    :raises ValueError: it is none, or there are fewer secrets than it needs; or the factory has another clock.
    """
    text = Path(path).read_text(encoding="ascii")
    facts = dict(_FACT.findall(text))
    client = facts.get("client", "192.0.2.1")
    server = MemoryServer(factory=factory)
    if "id" in facts:
        _have_id(factory, facts["id"])
    replaying = _Replaying(
        server.connect("192.0.2.1" if client == "local" else client, tls=facts.get("tls") == "implicit"),
        secrets,
        [re.compile(each) for each in ignore],
    )
    for steps in _pieces(parse(text)):
        replaying.take(steps)
    return replaying.finish()


def _have_id(factory: SMTPFactory, id: str) -> None:
    """Have the next session of *factory* go by *id*, as messages have it in theirs."""
    factory._id_prefix, _, number = id.rpartition("-")
    factory._sessions = int(number or "1", 16) - 1


def _pieces(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """What came together."""
    piece: list[Step] = []
    for step in steps:
        if piece and not step.joined:
            yield piece
            piece = []
        piece.append(step)
    if piece:
        yield piece


class _Replaying:
    """A session that is being replayed."""

    def __init__(self, client: MemoryClient, secrets: Secrets, ignored: Sequence[re.Pattern[str]]) -> None:
        self._client = client
        self._began = client.server.clock.seconds()
        self._secrets = secrets if callable(secrets) else iter(secrets)
        self._ignored = ignored
        #: What is in the recording, and what was said now: the lines in order, and the server's alone.
        self._then: list[Step] = []
        self._now: list[str] = []
        self._wanted: list[list[Token]] = [[]]
        self._said = b""
        self._closed_then = False

    def take(self, steps: Sequence[Step]) -> None:
        """The next piece."""
        first = steps[0]
        if first.time is not None:
            clock = self._client.server.clock
            self._client.server.advance(max(0.0, self._began + first.time - clock.seconds()))
        self._then += steps
        if first.side == "C":
            self._hear()
            self._act(steps)
        elif first.event is Event.CLOSES:
            self._closed_then = True
        else:
            self._wanted.append([token for step in steps for token in step.tokens])

    def _hear(self) -> None:
        self._note(self._client.read())

    def _note(self, octets: bytes) -> None:
        self._said += octets
        self._now += [f"S: {line}" for line in lines_of([octets])]

    def _act(self, steps: Sequence[Step]) -> None:
        self._now += map(str, steps)
        client = self._client
        match steps[0].event:
            case Event.TLS:
                if client.session.tls is None:
                    client.begin_tls()
            case Event.HALF_CLOSES:
                client.half_close()
            case Event.CLOSES:
                client.close()
            case None:
                octets = b"".join(self._octets(token) for step in steps for token in step.tokens)
                self._note(client.send(octets))

    def _octets(self, token: Token) -> bytes:
        if not isinstance(token, Secret):
            return token
        if callable(self._secrets):
            challenges = re.findall(rb"^334 (.*)\r\n", self._said, re.MULTILINE)
            return self._secrets(challenges[-1] if challenges else b"")
        try:
            return next(self._secrets)
        except StopIteration:
            raise ValueError("the recording has secrets left out: replay(..., secrets=[...])") from None

    def finish(self) -> list[str]:
        """The differences."""
        self._hear()
        closed = self._client.closed and not any(each.side == "C" and each.event is Event.CLOSES for each in self._then)
        if closed:
            self._now.append(f"S: {Event.CLOSES}")
        wanted = lines_of(chain.from_iterable(self._wanted))
        said = lines_of([self._said])
        alike = len(wanted) == len(said) and all(map(self._is, wanted, said))
        if alike and closed == self._closed_then:
            return []
        return differences([str(step) for step in self._then], self._as_then())

    def _as_then(self) -> list[str]:
        """What was said now, with what may differ as it was then."""
        then = [str(step) for step in self._then if step.side == "S"]
        shown = []
        for line in self._now:
            same = next((each for each in then if self._is(each, line)), None) if line.startswith("S: ") else None
            shown.append(line if same is None else same)
        return shown

    def _is(self, wanted: str, said: str) -> bool:
        if wanted == said or any(
            each.fullmatch(wanted.removeprefix("S: ")) and each.fullmatch(said.removeprefix("S: "))
            for each in self._ignored
        ):
            return True
        mark = written([Secret()])
        return wanted.endswith(mark) and said.startswith(wanted.removesuffix(mark))
