"""Replies (RFC 5321 section 4.2), read leniently, with all that is wrong with them noted."""

import re
from dataclasses import dataclass

__all__ = ["Reply", "ReplyReader", "escape"]

#: RFC 5321 section 4.5.3.1.5.
LINE_LIMIT = 512
#: RFC 4954 section 4: a challenge may be longer.
CHALLENGE_LIMIT = 12288
#: Octets of one reply that are kept: there is no end to what a server may say.
REPLY_LIMIT = 256 * 1024

_LINE = re.compile(rb"([0-9]{3})(?:([ -])(.*))?", re.DOTALL)
#: textstring = 1*(%d09 / %d32-126), which RFC 6531 adds UTF-8 to for those who asked for it.
_NO_TEXT = re.compile(rb"[^\t -~]")


def escape(octets: bytes, limit: int = 200) -> str:
    """*octets* as printable ASCII, in *limit* characters at the most, with how many there are if some are left out."""
    text = octets[:limit].decode("latin-1").encode("unicode_escape").decode("ascii")
    if len(octets) > limit or len(text) > limit:
        return f"{text[: limit * 3 // 4]}... ({len(octets)} octets)"
    return text


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.

    :param code: its code; 0 where it has none.
    :param lines: the text of each of its lines, behind the code.
    :param problems: what is wrong with its form.
    """

    code: int
    lines: tuple[str, ...]
    octets: bytes
    problems: tuple[str, ...] = ()

    def is_one_of(self, *codes: str) -> bool:
        """Whether the code is, or begins with, one of *codes*: ``"503"``, ``"2"``."""
        return str(self.code).startswith(codes)

    def __str__(self) -> str:
        return escape(self.octets.removesuffix(b"\r\n"))


class ReplyReader:
    """Cuts replies out of octets as they come."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []

    @property
    def rest(self) -> bytes:
        """What has come and is no whole reply."""
        return b"".join(self._lines) + self._buffer

    def feed(self, octets: bytes) -> None:
        """Octets have come."""
        self._buffer += octets

    def next(self) -> Reply | None:
        """The next reply; ``None`` if it has not come as a whole."""
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if not end:
                if len(self.rest) > REPLY_LIMIT:
                    return self._reply(("a reply without end",))
                return None
            self._buffer = rest
            self._lines.append(line + end)
            match = _LINE.match(line)
            if match is None or match[2] != b"-":
                return self._reply(())

    def _reply(self, problems: tuple[str, ...]) -> Reply:
        lines, self._lines = self._lines, []
        if problems:
            lines, self._buffer = [*lines, self._buffer], b""
        return _parse(lines, list(problems))


def _parse(lines: list[bytes], problems: list[str]) -> Reply:
    codes, texts = [], []
    for line in lines:
        if not line.endswith(b"\r\n"):
            problems.append("a line that does not end with CRLF")
        content = line.removesuffix(b"\n").removesuffix(b"\r")
        match = _LINE.fullmatch(content)
        if match is None:
            problems.append("a line that does not begin with a code and a separator")
            continue
        code, separator, text = match.groups(b"")
        codes.append(int(code))
        texts.append(text.decode("utf-8", "replace"))
        problems += _problems_of(int(code), separator, text, len(line))
    if len(set(codes)) > 1:
        problems.append("lines with different codes")
    return Reply(codes[0] if codes else 0, tuple(texts), b"".join(lines), tuple(dict.fromkeys(problems)))


def _problems_of(code: int, separator: bytes, text: bytes, length: int) -> list[str]:
    problems = []
    if not 200 <= code <= 559 or code // 10 % 10 > 5:
        problems.append(f"the code {code}, which RFC 5321 section 4.2 has no place for")
    if length > (CHALLENGE_LIMIT if code == 334 else LINE_LIMIT):
        problems.append(f"a line of {length} octets")
    if not separator:
        problems.append("a code without a space behind it")
    if _NO_TEXT.search(text):
        problems.append("octets that are neither printable ASCII nor a tab")
    return problems
