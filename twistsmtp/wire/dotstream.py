"""The DATA stream decoded (RFC 5321 section 4.5.2): octets in, message octets out, in bulk.

Only CRLF "." CRLF ends a message, and only behind CRLF is a dot taken for stuffing. A bare CR or LF never ends
anything: not the message, not a line whose next dot would be stripped. What becomes of one is `BareNewline`'s choice.

The one subtlety is the cut. A read may end anywhere, so the octets at the end of a chunk that may be the beginning
of CRLF.CRLF are held back until the next one. That also means that no output chunk ends between CR and LF, so
each chunk can be searched for bare ones by itself::

    ... text CR LF | . X        held: CR LF        the dot is stuffing, and goes
    ... text CR LF . | CR LF    held: CR LF .      the message ends here
    ... text CR | X             held: CR           it was bare

The message begins as if a CRLF stood before it: a first line of "." alone is an empty message.
"""

import re
from enum import Enum

__all__ = ["BareNewline", "DotStream"]

_TERMINATOR = b"\r\n.\r\n"
# A line that begins with a dot, or a bare LF. Most of what comes has neither, and is looked at only once more, for CR.
_MARK = re.compile(rb"\n(?:\.|(?<!\r\n))")
# Expressions that are led by a literal are ten times as fast as one with an alternative: on text without a bare newline
# each costs 20 microseconds in 64 KiB, which is what `bytes.find` for two octets takes, too.
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE = re.compile(rb"\r(?!\n)|\n(?<!\r\n)")


class BareNewline(Enum):
    """What becomes of a CR or LF in a message that is not part of a CRLF."""

    #: Remembered in `DotStream.bare_newline`; the message is to be refused when it has ended.
    REFUSE = "refuse"
    #: Made a CRLF, after the dots are dealt with: what was no line end on the wire cannot become the message's end.
    NORMALIZE = "normalize"
    #: Passed on as it is.
    ACCEPT = "accept"


# An enumeration takes longer to look its member up than to make all else that a decoder begins with.
_ACCEPT = BareNewline.ACCEPT


def _held_back(octets: bytes) -> int:
    """How many octets at the end may be the beginning of CRLF.CRLF."""
    if octets[-1:] not in (b"\r", b"\n", b"."):
        return 0
    return next((n for n in (4, 3, 2, 1) if octets.endswith(_TERMINATOR[:n])), 0)


class DotStream:
    """The decoder of one message.

    :param bare_newlines: what becomes of a bare CR or LF.
    :param line_limit: the most octets that a line of the message may have, its CRLF not counted.
    """

    __slots__ = (
        "_bare_newlines",
        "_held",
        "_line_limit",
        "_line_octets",
        "_searching",
        "_skip",
        "bare_newline",
        "line_too_long",
    )

    def __init__(self, bare_newlines: BareNewline = BareNewline.REFUSE, line_limit: int = 1 << 20) -> None:
        self._bare_newlines = bare_newlines
        self._searching = bare_newlines is not _ACCEPT
        self._line_limit = line_limit
        #: Octets of the line that is not ended yet.
        self._line_octets = 0
        self._held = b"\r\n"
        #: Octets to drop from the first output: the CRLF that was only imagined.
        self._skip = 2
        #: The first bare newline found, ``"CR"`` or ``"LF"``, where they are to be refused.
        self.bare_newline: str | None = None
        #: Whether a line had more octets than the limit.
        self.line_too_long = False

    def feed(self, data: bytes, start: int = 0) -> tuple[bytes, int]:
        """Decode *data* from *start* on.

        :returns: the message octets that are certain by now, and the position in *data* behind the end of the
            message, or -1 while it has not ended. Nothing may be fed once it has.
        """
        held = len(self._held)
        octets = self._held + (data[start:] if start else data)
        mark = _MARK.search(octets)
        plain = mark is None or octets.startswith(_TERMINATOR, mark.start() - 1)
        if plain:  # but for the message's end
            dot = end = -1 if mark is None else mark.start() - 1
        else:
            dot = octets.find(b"\r\n.")
            end = dot if dot < 0 or octets.startswith(b"\r\n", dot + 3) else octets.find(_TERMINATOR, dot)
        if end >= 0:
            stop = end + 2
        else:
            stop = len(octets) - _held_back(octets)
            self._held = octets[stop:]
        stuffed = -1 < dot < stop - 2
        body = octets[:stop].replace(b"\r\n.", b"\r\n")[self._skip :] if stuffed else octets[self._skip : stop]
        # Until the first octet is certain the imagined CRLF is still held, and still to be dropped.
        if stop >= 2:
            self._skip = 0
        if body:
            # Of the last chunk, only a line that may be too long is of interest.
            if not self.line_too_long and (end < 0 or self._line_octets + len(body) > self._line_limit):
                self._measure(body)
            # Nothing more is to be found where one was found, or where they do not matter.
            if self._searching and ((not plain and _BARE_LF.search(body)) or _BARE_CR.search(body)):
                body = self._found_bare(body)
        return body, (start + end + len(_TERMINATOR) - held if end >= 0 else -1)

    def _found_bare(self, body: bytes) -> bytes:
        if self._bare_newlines is BareNewline.NORMALIZE:
            return _BARE.sub(b"\r\n", body)
        self._searching = False
        first = _BARE.search(body)
        self.bare_newline = "CR" if first and first[0] == b"\r" else "LF"
        return body

    def _measure(self, body: bytes) -> None:
        """Look for a line over the limit, from the last CRLF near enough to the next: never line by line."""
        line = -self._line_octets
        limit = self._line_limit
        while line + limit < len(body):
            newline = body.rfind(b"\r\n", max(line, 0), line + limit + 2)
            if newline < 0:
                self.line_too_long = True
                return
            line = newline + 2
        newline = body.rfind(b"\r\n", max(line, 0))
        self._line_octets = len(body) - (newline + 2 if newline >= 0 else line)
