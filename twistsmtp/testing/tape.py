"""What was said in one session, and how it is written down without what is secret."""

import re
from bisect import bisect_right
from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import accumulate

from twistsmtp.session import Session
from twistsmtp.testing.notation import SECRET, Event, Token, lines_of
from twistsmtp.wire.text import printable

__all__ = ["Tape"]

#: Octets that an entry counts for besides its own, as a session may come in pieces of one octet.
ENTRY = 128

#: The verb, also behind something that a client did not mean to send; but not in the midst of base64.
_AUTH = re.compile(rb"(?<![A-Za-z0-9+/=])AUTH(?![^ \t\r\n])", re.IGNORECASE)
#: What is a secret in a command line, as its group.
_SECRETS = (
    re.compile(_AUTH.pattern + rb"[ \t]+[^ \t\r\n]+[ \t]+(?!=\s*\Z)([^\r\n]+)", re.IGNORECASE),
    re.compile(rb"XCLIENT[ \t].*?\bLOGIN=([^ \t\r\n]+)", re.IGNORECASE),
)
_WORD = re.compile(rb"\s*([A-Z]+)(?![^ \t\r\n])", re.IGNORECASE)
_CHALLENGE = re.compile(rb"(334 )([^\r\n]+)")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    side: str
    time: float
    octets: bytes = b""
    event: Event | None = None


class Tape:
    """A session, while it goes on and when it has ended.

    :param room: octets that are kept; what goes beyond is not, nor is anything that follows.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._entries: list[_Entry] = []
        self._about = ""
        self._verbs: Container[str] = ()
        self._full = False
        #: Where in what the client sent messages are, and lines that answered a challenge.
        self._messages: list[Range] = []
        self._hidden: set[bytes] = set()

    # --- while it goes on ------------------------------------------------------------------------------------

    def about(self, session: Session, verbs: Container[str], *, implicit: bool) -> None:
        """Whose session it is.

        :param verbs: what the server knows.
        :param implicit: whether it begins with TLS.
        """
        self._verbs = verbs
        facts = {"id": session.id, "client": session.client, "hostname": session.hostname}
        self._about = "".join(f"# {name}: {printable(value)}\n" for name, value in facts.items())
        if implicit:
            self._about += "# tls: implicit\n"

    def heard(self, time: float, octets: bytes) -> None:
        """The client has sent *octets*, in one piece."""
        self._add(_Entry("C", time, octets))

    def said(self, time: float, octets: bytes) -> None:
        """The server has."""
        self._add(_Entry("S", time, octets))

    def happened(self, side: str, time: float, event: Event) -> None:
        """Something besides octets."""
        self._add(_Entry(side, time, event=event))

    def message(self, begin: int, end: int) -> None:
        """These of the client's octets are of a message, not of commands."""
        if self._full:
            return
        if self._messages and self._messages[-1][1] == begin:
            begin, _ = self._messages.pop()
        self._messages.append((begin, end))

    def hide(self, line: bytes) -> None:
        """The client's *line* answers a challenge."""
        if not self._full:
            self._hidden.add(line)

    def _add(self, entry: _Entry) -> None:
        self._room -= len(entry.octets) + ENTRY
        self._full = self._full or self._room < 0
        if not self._full:
            self._entries.append(entry)

    # --- when it has ended -----------------------------------------------------------------------------------

    def text(self) -> str:
        """The recording."""
        lines = ["# A session with twistsmtp. \\* stands for a secret that was left out.\n", self._about]
        pieces = iter(self._client_pieces())
        for entry in self._entries:
            time = f"{entry.time:.6f}".rstrip("0").rstrip(".")
            if entry.event is not None:
                lines.append(f"{time} {entry.side}: {entry.event}\n")
                continue
            tokens = next(pieces) if entry.side == "C" else _without_challenges(entry.octets)
            for number, line in enumerate(lines_of(tokens)):
                lines.append(f"{time if not number else '+'} {entry.side}: {line}\n")
        if self._full:
            lines.append("# It went on, but was too long.\n")
        return "".join(lines)

    def _client_pieces(self) -> Iterator[list[Token]]:
        """The client's octets, piece by piece, without secrets."""
        position = 0
        secrets = self._secrets()
        for entry in self._entries:
            if entry.side == "C" and entry.event is None:
                end = position + len(entry.octets)
                yield _cut(entry.octets, position, [each for each in secrets if each[0] < end and each[1] > position])
                position = end

    def _secrets(self) -> list[Range]:
        """Where the client's secrets are, in order."""
        stream = b"".join(each.octets for each in self._entries if each.side == "C")
        exchanges = list(self._exchanges(stream))
        found: list[Range] = []
        refused = False
        for begin, line in self._command_lines(stream):
            end = begin + len(line.rstrip(b"\r\n"))
            inside = any(first <= begin < last for first, last in exchanges)
            # Where AUTH is refused, a client that does not wait goes on to answer challenges that there are not.
            refused = refused and (inside or not self._is_command(line))
            if ((inside or refused) and not _AUTH.match(line.lstrip())) or line.rstrip(b"\r\n") in self._hidden:
                found.append((begin, end))
            else:
                spans = (match.span(1) for match in (each.search(line) for each in _SECRETS) if match)
                found += [(begin + first, begin + last) for first, last in spans]
            refused = refused or _AUTH.search(line) is not None
        return [each for each in found if each[0] < each[1]]

    def _is_command(self, line: bytes) -> bool:
        word = _WORD.match(line)
        return word is not None and word[1].decode().upper() in self._verbs

    def _command_lines(self, stream: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines that are not of a message, and where they begin."""
        position = 0
        for begin, end in [*self._messages, (len(stream), len(stream))]:
            for match in _LINE.finditer(stream, position, max(position, min(begin, len(stream)))):
                if match[0]:
                    yield match.start(), match[0]
            position = max(position, end)

    def _exchanges(self, stream: bytes) -> Iterator[Range]:
        """From where to where the client may be authenticating. Rather too much than too little: an exchange begins
        behind AUTH, and with each challenge; and it ends with the first reply behind that which is no challenge."""
        received, begin = 0, -1
        auths = [begin + len(line) for begin, line in self._command_lines(stream) if _AUTH.search(line)]
        ends = list(accumulate((len(each.octets) for each in self._entries if each.side == "C"), initial=0))
        for entry in self._entries:
            if entry.side == "C":
                before, received = received, received + len(entry.octets)
                first = bisect_right(auths, before)
                if begin < 0 and first < len(auths) and auths[first] <= received:
                    begin = auths[first]
            elif entry.octets:
                goes_on = entry.octets.splitlines()[-1].startswith(b"334")
                if begin >= 0 and not goes_on:
                    yield begin, received
                begin = (received if begin < 0 else begin) if goes_on else -1
        if begin >= 0:
            yield begin, ends[-1] + 1


def _cut(octets: bytes, position: int, secrets: list[Range]) -> list[Token]:
    """*octets*, which stand at *position*, without *secrets*. One that began before is left out without a mark."""
    tokens: list[Token] = []
    done = 0
    for begin, end in secrets:
        first, last = max(begin - position, 0), min(end - position, len(octets))
        tokens.append(octets[done:first])
        if begin >= position:
            tokens.append(SECRET)
        done = last
    return [*tokens, octets[done:]]


def _without_challenges(octets: bytes) -> list[Token]:
    tokens: list[Token] = []
    done = 0
    for match in _CHALLENGE.finditer(octets):
        tokens += [octets[done : match.start(2)], SECRET]
        done = match.end()
    return [*tokens, octets[done:]]
