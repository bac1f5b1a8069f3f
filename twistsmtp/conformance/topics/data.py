"""DATA (RFC 5321 sections 4.1.1.4, 4.5.2, 4.5.3.1)."""

from ..check import MUST, SECURITY, SHOULD, check
from ..talk import END, Failed, Start, Talk, expect

__all__: list[str] = []

HEADER = b"Subject: conformance\r\n\r\n"


@check("data.start", 5321, "4.1.1.4", MUST, start=Start.RCPT)
def start(talk: Talk) -> None:
    """DATA is answered by 354."""
    talk.ask("DATA", "354")


@check("data.accepted", 5321, "4.1.1.4", MUST, start=Start.DATA)
def accepted(talk: Talk) -> None:
    """A plain message is answered by 250, once."""
    talk.link.send(HEADER + b"text" + END)
    _one(talk, "250")


@check("data.empty", 5321, "4.1.1.4", MUST, start=Start.DATA)
def empty(talk: Talk) -> None:
    """A dot on the first line ends the message, which is empty."""
    talk.link.send(b".\r\n")
    _one(talk, "2", "4", "5")


@check("data.no-header", 5321, "3.3", SHOULD, start=Start.DATA)
def no_header(talk: Talk) -> None:
    """A message is not refused for what its header has not."""
    talk.link.send(b"text" + END)
    _one(talk, "250")


@check("data.dots", 5321, "4.5.2", MUST, start=Start.DATA)
def dots(talk: Talk) -> None:
    """Dots that are stuffed do not end the message."""
    talk.link.send(HEADER + b"..\r\n...\r\n.. \r\n..text" + END)
    _one(talk, "250")


@check("data.long-line", 5321, "4.5.3.1.6", MUST, start=Start.DATA)
def long_line(talk: Talk) -> None:
    """A text line of 1000 octets is taken."""
    talk.link.send(HEADER + b"x" * 998 + END)
    _one(talk, "250")


@check("data.long-line-dot", 5321, "4.5.3.1.6", MUST, start=Start.DATA)
def long_line_dot(talk: Talk) -> None:
    """A text line of 1000 octets is taken where stuffing adds one more."""
    talk.link.send(HEADER + b".." + b"x" * 997 + END)
    _one(talk, "250")


@check("data.64k", 5321, "4.5.3.1.7", MUST, start=Start.DATA)
def size_64k(talk: Talk) -> None:
    """A message of 64 KiB is taken."""
    talk.link.send(HEADER + (b"x" * 62 + b"\r\n") * 1023 + b"x" * 30 + END)
    _one(talk, "250")


@check("data.commands", 5321, "4.1.1.4", SECURITY, start=Start.DATA)
def commands(talk: Talk) -> None:
    """Commands in a message are text."""
    talk.link.send(HEADER + b"".join(_lines(talk, b"\r\n")) + END[2:])
    _one(talk, "2", "4", "5")


@check("data.commands-lf", 5321, "2.3.8", SECURITY, start=Start.DATA)
def commands_lf(talk: Talk) -> None:
    """Commands in a message whose lines end with LF are text."""
    talk.link.send(HEADER + b"".join(_lines(talk, b"\n")) + END)
    _one(talk, "2", "4", "5")


@check("data.commands-cr", 5321, "2.3.8", SECURITY, start=Start.DATA)
def commands_cr(talk: Talk) -> None:
    """Commands in a message whose lines end with CR are text."""
    talk.link.send(HEADER + b"".join(_lines(talk, b"\r")) + END)
    _one(talk, "2", "4", "5")


def _lines(talk: Talk, end: bytes) -> list[bytes]:
    commands = ("NOOP", "RSET", talk.mail, talk.rcpt, "DATA", "QUIT", "NOOP")
    return [command.encode() + end for command in commands]


@check("data.nul", 5321, "4.1.1.4", MUST, start=Start.DATA)
def nul(talk: Talk) -> None:
    """A message with NUL in it has one reply."""
    talk.link.send(HEADER + b"a\0b\r\n\0\r\n\0.\r\n" + b"NOOP" + END)
    _one(talk, "2", "4", "5")


@check("data.octets", 5321, "4.1.1.4", MUST, start=Start.DATA)
def octets(talk: Talk) -> None:
    """A message that comes octet by octet is one."""
    talk.link.send_apart(HEADER + b"..\r\na\r\n..b\r\n" + END[2:])
    _one(talk, "250")


@check("data.halves", 5321, "4.1.1.4", MUST)
def halves(talk: Talk) -> None:
    """A message is one wherever it is cut in two."""
    message = b"Subject: conformance\r\n\r\n..\r\n" + b"a\r\n" + b".." + END
    for place in range(len(message) - 14, len(message)):
        talk.begin()
        talk.ask("DATA", "354")
        talk.link.send_pieces(message[:place], message[place:])
        expect(talk.link.read(), "250", what=f"a message cut at octet {place} of {len(message)}")
    talk.silence("messages in two pieces")


def _one(talk: Talk, *codes: str) -> None:
    reply = talk.alone("the message")
    if reply is None:
        raise Failed("the server closed the connection")
    expect(reply, *codes, what="the message")
