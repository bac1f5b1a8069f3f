"""The message as DATA has it (RFC 5321 section 4.5.2): dots stuffed, the end marked, in bulk, whatever the cuts.

A bare CR or LF is never sent. What such octets are is a matter on which servers do not agree, so that a message in
which they stand could be the end of itself and the beginning of another somewhere (SMTP smuggling).
"""

from twistsmtp.client.errors import BadMessage
from twistsmtp.wire.reply import Reply

__all__ = ["DotStuffer", "LineCheck", "crlf"]

_BARE = Reply(550, "5.6.0", "The message has a bare CR or LF: lines end with CRLF (RFC 5321 section 2.3.8)")


def crlf(octets: bytes) -> bytes:
    """*octets* with each line's end, be it LF, CR or CRLF, made CRLF."""
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


class LineCheck:
    """Looks for a bare CR or LF."""

    __slots__ = ("_cr",)

    def __init__(self) -> None:
        #: Whether the last octet was CR.
        self._cr = False

    def feed(self, octets: bytes) -> None:
        """The next octets.

        :raises BadMessage: there is one.
        """
        if not octets:
            return
        text = b"\r" + octets if self._cr else octets
        lines = text.count(b"\r\n")
        self._cr = octets.endswith(b"\r")
        if text.count(b"\n") != lines or text.count(b"\r") - self._cr != lines:
            raise BadMessage(_BARE)

    def end(self) -> None:
        """All has come.

        :raises BadMessage: it ends with a bare CR.
        """
        if self._cr:
            raise BadMessage(_BARE)


class DotStuffer:
    """One message on its way to a server."""

    __slots__ = ("_check", "_tail")

    def __init__(self) -> None:
        self._check = LineCheck()
        # As if a CRLF stood before the message: a dot that begins it is stuffed as well.
        self._tail = b"\r\n"

    def feed(self, octets: bytes) -> bytes:
        """What to send for the next octets.

        :raises BadMessage: there is a bare CR or LF. The message must not be ended.
        """
        if not octets:
            return b""
        self._check.feed(octets)
        tail = self._tail
        text = tail + octets
        self._tail = b"\r\n" if text.endswith(b"\r\n") else b"\r" if text.endswith(b"\r") else b""
        return text.replace(b"\r\n.", b"\r\n..")[len(tail) :]

    def end(self) -> bytes:
        """What to send behind the last octets: a CRLF if the last line has none, and the dot.

        :raises BadMessage: they end with a bare CR.
        """
        self._check.end()
        return b".\r\n" if self._tail else b"\r\n.\r\n"
