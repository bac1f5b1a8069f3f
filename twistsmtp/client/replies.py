"""The far side's replies, read as they come (RFC 5321 section 4.2).

Sans-I/O: octets in, `Reply` values out, the same however the octets are cut. It is strict, as who could slip a line
into what a server says could make us believe that a message was taken: lines end with CRLF and with nothing else, all
lines of a reply have one code, and what is longer than any server's reply is none. Text is made printable.
"""

import re
from collections import deque

from twistsmtp.client.errors import ProtocolError
from twistsmtp.wire.reply import Reply
from twistsmtp.wire.text import printable

__all__ = ["LINES", "LINE_LIMIT", "ReplyReader"]

#: Octets of a line with its CRLF. RFC 5321 section 4.5.3.1.5 has 512, and not all servers keep to it.
LINE_LIMIT = 2048
#: Lines of a reply.
LINES = 256
#: Replies that are read and not asked for yet.
REPLIES = 4096

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
# Reply-code = %x32-35 %x30-35 %x30-39
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*))?")

# RFC 2034 section 4; RFC 3463 section 2
#   status-code = class "." subject "." detail
#   class = "2"/"4"/"5";  subject = 1*3digit;  detail = 1*3digit
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)")


class ReplyReader:
    """The replies of one connection.

    :param line_limit: octets of a line with its CRLF; it may be changed between two replies.
    """

    def __init__(self, line_limit: int = LINE_LIMIT) -> None:
        self.line_limit = line_limit
        self._buffer = b""
        #: The lines so far of a reply that has more than one, and their code.
        self._lines: list[bytes] = []
        self._code = b""
        self._replies: deque[Reply] = deque()
        self._error: ProtocolError | None = None

    def feed(self, octets: bytes) -> None:
        """The next octets. What is wrong with them is told by `next`, behind the replies before them."""
        if self._error is not None:
            return
        buffer = self._buffer + octets if self._buffer else octets
        start = 0
        try:
            while (end := buffer.find(b"\n", start)) >= 0:
                self._take(buffer[start : end + 1])
                start = end + 1
            if len(buffer) - start >= self.line_limit:
                raise ProtocolError("a line of its reply has no end")
        except ProtocolError as error:
            self._error, buffer, start = error, b"", 0
        self._buffer = buffer[start:]

    def next(self) -> Reply | None:
        """The next whole reply; ``None`` where it has not come yet.

        :raises ProtocolError: what has come is none. Nothing behind it is read.
        """
        if self._replies:
            return self._replies.popleft()
        if self._error is not None:
            raise self._error
        return None

    @property
    def empty(self) -> bool:
        """Whether nothing has come that `next` has not given."""
        return not (self._buffer or self._lines or self._replies or self._error)

    def _take(self, line: bytes) -> None:
        if len(line) > self.line_limit:
            raise ProtocolError("a line of its reply is too long")
        match = _LINE.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
        if match is None:
            raise ProtocolError(f"not a line of a reply: {_shown(line)}")
        code, separator, text = match[1], match[2], match[3] or b""
        if self._lines and code != self._code:
            raise ProtocolError(f"a reply of two codes: {_shown(line)}")
        self._code = code
        self._lines.append(text)
        if separator == b"-":
            if len(self._lines) >= LINES:
                raise ProtocolError("a reply of too many lines")
            return
        if len(self._replies) >= REPLIES:
            raise ProtocolError("too many replies")
        lines, self._lines = self._lines, []
        self._replies.append(_reply(int(code), lines))


def _shown(line: bytes) -> str:
    return printable(line.decode("ascii", "backslashreplace"), 80)


def _reply(code: int, lines: list[bytes]) -> Reply:
    texts = [_printable(line) for line in lines]
    match = _ENHANCED.match(texts[0])
    if match is None or ord(match[1][0]) - ord("0") != code // 100:
        return Reply(code, "", "\n".join(texts))
    enhanced = match[1]
    # RFC 2034 section 4: it stands on each line.
    return Reply(code, enhanced, "\n".join(_without(enhanced, text) for text in texts))


def _without(enhanced: str, text: str) -> str:
    if text == enhanced:
        return ""
    return text.removeprefix(f"{enhanced} ")


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return printable(text, max(len(text) * 10, 16))
