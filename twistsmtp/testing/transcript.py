"""A conversation in the notation of `twistsmtp.testing.notation`, step by step.

``C:`` and ``S:`` are who says it, and ``T:`` is time that passes, in seconds. A recorded line has the time in front, in
seconds since the connection was made, or a ``+`` if it came in one piece with the line above::

    0 S: 220 mx.test ESMTP twistsmtp
    0.25 C: MAIL FROM:<a@client.test>
    + C: RCPT TO:<b@mx.test>
    0.25 S: 250 2.1.0 Sender OK

An empty line, and one that begins with ``#``, says nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import dedent

from twistsmtp.testing.notation import Event, Token, parse_octets

__all__ = ["Step", "differences", "parse"]

_TIME = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_LINE = re.compile(rf"(?:(?P<time>{_TIME.pattern}|\+)[ \t]+)?(?P<side>[CST]):(?: (?P<text>.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One line."""

    #: ``"C"``, ``"S"`` or ``"T"``.
    side: str
    #: As it is written.
    text: str
    #: Seconds since the beginning; ``None`` where the line does not say.
    time: float | None = None
    #: Whether it came in one piece with the line above.
    joined: bool = False

    @property
    def event(self) -> Event | None:
        """What happens, if it is not octets."""
        return Event(self.text) if self.text in [*Event] else None

    @property
    def tokens(self) -> list[Token]:
        """The octets.

        :raises ValueError: they are not well written.
        """
        return [] if self.event else parse_octets(self.text)

    @property
    def seconds(self) -> float:
        """The time that passes.

        :raises ValueError: it is none.
        """
        if not _TIME.fullmatch(self.text):
            raise ValueError(f"{self.text!r} is no time in seconds")
        return float(self.text)

    def __str__(self) -> str:
        return f"{self.side}: {self.text}".rstrip(" ")


def parse(text: str) -> list[Step]:
    """The steps of *text*.

    :raises ValueError: a line is none; it says which.
    """
    return [_step(number, line) for number, line in _lines(text)]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(dedent(text).split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _step(number: int, line: str) -> Step:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"line {number} is not of a conversation: {line!r}")
    time = match["time"]
    step = Step(match["side"], match["text"] or "", float(time) if time and time != "+" else None, time == "+")
    try:
        _ = step.seconds if step.side == "T" else step.tokens
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    return step


def differences(wanted: Sequence[str], got: Sequence[str]) -> list[str]:
    """What is in one and not in the other, with what both have around it; nothing if they are the same."""
    if list(wanted) == list(got):
        return []
    lines: list[str] = []
    for kind, first, last, start, end in SequenceMatcher(None, wanted, got, autojunk=False).get_opcodes():
        if kind == "equal":
            lines += [f"  {line}" for line in wanted[first:last]]
        else:
            lines += [f"- {line}" for line in wanted[first:last]] + [f"+ {line}" for line in got[start:end]]
    return lines
