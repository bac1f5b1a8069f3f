"""Conversations that a test writes down, and holds with a server::

    assert_conversation(MemoryServer().connect(), '''
        S: 220 mx.test ESMTP twistsmtp
        C: EHLO client.test
        S: 250-mx.test
        S: ...
        C: MAIL FROM:<a@client.test>
        C: RCPT TO:<b@mx.test>
        S: 250 2.1.0 Sender OK
        S: 250 2.1.5 ...
        T: 300
        S: 421 4.4.2 Idle for too long
        S: (closes)
    ''')

Lines of the client that follow on each other go in one piece. In a line of the server ``...`` is any text, and a line
of nothing else is any number of lines. The rest is in `twistsmtp.testing.notation`.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from twistsmtp.testing.memory import MemoryClient
from twistsmtp.testing.notation import Event, Secret, lines_of
from twistsmtp.testing.transcript import Step, differences, parse

__all__ = ["assert_conversation", "assert_replies"]

ANY = "..."


def assert_replies(replies: Sequence[str], *expected: str) -> None:
    """See whether *replies* are as *expected*: as many, and each begins with its text, up to a blank or the end of a
    line. A ``...`` is any text.

    :raises AssertionError: they are not; it shows where.
    """
    __tracebackhide__ = True
    shown = [_as_expected(*pair) for pair in zip(replies, expected, strict=False)] + list(replies[len(expected) :])
    found = differences(list(expected), shown)
    if found:
        lines = (line.replace("\r\n", "\n    ") for line in found)
        raise AssertionError("\n".join(["the replies are others (- expected, + got):", *lines]))


def _as_expected(reply: str, expected: str) -> str:
    return expected if re.fullmatch(_pattern(expected) + r"(?:[ \r-].*)?", reply, re.DOTALL) else reply


def assert_conversation(client: MemoryClient, text: str) -> None:
    """Hold the conversation *text* with a server.

    :raises AssertionError: it goes another way; it shows the whole of it, and where.
    :raises ValueError: *text* is no conversation.
    """
    __tracebackhide__ = True
    held = _Held(client)
    for side, group in groupby(parse(text), lambda step: step.side):
        steps = list(group)
        if side == "S":
            held.hear(steps)
        else:
            held.hear([])  # nothing, or what was heard and not written
            held.act(side, steps)
    held.hear([])
    found = differences(held.wanted, held.got)
    if found:
        raise AssertionError("\n".join(["the conversation went another way (- written, + held):", *found]))


class _Held:
    """A conversation that is being held."""

    def __init__(self, client: MemoryClient) -> None:
        self.wanted: list[str] = []
        self.got: list[str] = []
        self._client = client
        self._closed = False
        #: What was said and is not looked at yet.
        self._said = b""

    def hear(self, steps: Sequence[Step]) -> None:
        """Compare what is said with what is written."""
        wanted = [step.text for step in steps]
        octets, self._said = self._said + self._client.read(), b""
        said = lines_of([octets])
        if self._client.closed and not self._closed:
            self._closed = True
            said.append(Event.CLOSES)
        self.wanted += [f"S: {line}" for line in wanted]
        self.got += [f"S: {line}" for line in _shown(wanted, said)]

    def act(self, side: str, steps: Sequence[Step]) -> None:
        """Do what the client does."""
        self.wanted += map(str, steps)
        self.got += map(str, steps)
        for event, group in groupby(steps, lambda step: step.event):
            if event is not None:
                self._happen(event)
            elif side == "T":
                self._client.server.advance(sum(step.seconds for step in group))
            else:
                tokens = [token for step in group for token in step.tokens]
                self._said += self._client.send(b"".join(each for each in tokens if not isinstance(each, Secret)))

    def _happen(self, event: Event) -> None:
        if event is Event.TLS:
            self._client.begin_tls()
        elif event is Event.HALF_CLOSES:
            self._client.half_close()
        else:
            self._closed = True
            self._client.close()


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split(ANY)))


def _fits(line: str, said: str) -> bool:
    return re.fullmatch(_pattern(line), said, re.DOTALL) is not None


def _shown(wanted: list[str], said: list[str]) -> list[str]:
    """The lines that were *said*, each as the line that was *wanted* if it fits one, and as ``...`` what that has room
    for, so that as few as possible differ. It is what was *wanted* if nothing does."""
    alike = 0
    while alike < min(len(wanted), len(said)) and wanted[alike] != ANY and _fits(wanted[alike], said[alike]):
        alike += 1
    shown, (row, column) = list(wanted[:alike]), (alike, alike)
    ways = _ways(wanted, said, alike)
    while (row, column) != (len(wanted), len(said)):
        _, lines, (row, column) = ways[row, column]
        shown += lines
    return shown


#: What it costs that a line differs, and that there is none in its place. So one that is not as it was wanted is shown
#: in the place of that, where a ``...`` might have had room for it as well.
OTHER, NONE = 2, 3

#: By what is left of the lines wanted and said: the cost, the lines to show next, and what is left then.
_Ways = dict[tuple[int, int], tuple[int, list[str], tuple[int, int]]]


def _ways(wanted: list[str], said: list[str], first: int) -> _Ways:
    """The cheapest way on from each place, found from the end on."""
    ways: _Ways = {(len(wanted), len(said)): (0, [], (0, 0))}
    for row in range(len(wanted), first - 1, -1):
        for column in range(len(said), first - 1, -1):
            steps = []
            if row < len(wanted) and wanted[row] == ANY:
                steps += [(0, [ANY], (row + 1, column)), (0, [], (row, column + 1))]
            elif row < len(wanted):
                fits = column < len(said) and _fits(wanted[row], said[column])
                lines = [wanted[row]] if fits else list(said[column : column + 1])
                between = wanted[max(row - 1, 0) : row] == wanted[row + 1 : row + 2] == [ANY]  # it is in no one's place
                cost = 0 if fits else NONE if between else OTHER
                steps += [(NONE, [], (row + 1, column)), (cost, lines, (row + 1, column + 1))]
            steps.append((NONE, list(said[column : column + 1]), (row, column + 1)))
            found = [(cost + ways[next][0], lines, next) for cost, lines, next in steps if next in ways]
            if found:
                ways[row, column] = min(found, key=lambda way: way[0])
    return ways
