"""The command line (RFC 5321 sections 2.3.8, 2.4, 4.1.1, 4.5.3.1.4)."""

from functools import partial

from ..check import MUST, SECURITY, SHOULD, check
from ..talk import Failed, Skipped, Start, Talk, expect

__all__: list[str] = []

#: What some take for the end of a line, and what is none.
NO_LINE_ENDS = {
    "lf": b"\n",
    "cr": b"\r",
    "lf-cr": b"\n\r",
    "nul": b"\0",
    "vt": b"\x0b",
    "ff": b"\x0c",
    "rs": b"\x1e",
    "nel": b"\xc2\x85",
    "ls": b"\xe2\x80\xa8",
}
#: Octets of lines that are longer than RFC 5321 has them: at and about the sizes of buffers.
LONG = (513, 1001, 1025, 2049, 4097, 8193, 16385, 65537, 1024 * 1024)


@check("syntax.case", 5321, "2.4", MUST)
def case(talk: Talk) -> None:
    """Verbs and FROM: and TO: are understood in any case."""
    talk.ask("rSeT", "250")
    talk.ask(f"mAiL fRoM:<{talk.target.sender}>", "250")
    talk.ask(f"rcpt to:<{talk.target.recipient}>", "25")


@check("syntax.trailing-space", 5321, "4.1.1", SHOULD)
def trailing_space(talk: Talk) -> None:
    """Blanks before CRLF are put up with."""
    talk.ask("RSET ", "250")
    talk.ask("RSET  ", "250")
    talk.ask(f"{talk.mail} ", "250")
    talk.ask(f"{talk.rcpt} ", "25")


@check("syntax.unknown", 5321, "4.2.4", SHOULD)
def unknown(talk: Talk) -> None:
    """An unknown verb is answered by 500."""
    talk.ask("FOOBAR", "500")


@check("syntax.unknown-x", 5321, "4.1.5", SHOULD)
def unknown_private(talk: Talk) -> None:
    """An unknown verb that begins with X is answered by 500."""
    talk.ask("XFOOBAR baz", "500")


@check("syntax.unknown-nothing", 5321, "4.1.4", MUST, start=Start.RCPT)
def unknown_nothing(talk: Talk) -> None:
    """An unknown verb is refused, and changes nothing."""
    talk.ask("FOOBAR", "5")
    talk.ask("DATA", "354")


@check("syntax.prefix", 5321, "4.1.1", MUST)
def prefix(talk: Talk) -> None:
    """What only begins with a verb is none."""
    talk.ask("NOOPX", "5")
    talk.ask("RSETTLE", "5")


@check("syntax.empty", 5321, "4.2", SHOULD)
def empty(talk: Talk) -> None:
    """An empty line is refused, once."""
    talk.link.send(b"\r\n")
    reply = talk.alone("an empty line")
    if reply is not None:
        expect(reply, "5", what="an empty line")


@check("syntax.line-512", 5321, "4.5.3.1.4", MUST)
def line_512(talk: Talk) -> None:
    """A command line of 512 octets is taken."""
    if not talk.say("NOOP x").is_one_of("250"):
        raise Skipped("NOOP takes no argument")
    reply = talk.say("NOOP ".ljust(510, "x"))
    expect(reply, "250", what="NOOP with a line of 512 octets")
    talk.silence("a line of 512 octets")


def _long(size: int, talk: Talk) -> None:
    # Whatever the buffer, what stands where it ends is a command.
    line = (b"NOOP" + b" NOOP" * (size // 5 + 1))[: size - 2]
    talk.link.send(line + b"\r\n")
    talk.alone(f"a line of {size} octets")


for _size in LONG:
    check(
        f"syntax.line-{_size}",
        5321,
        "4.5.3.1.4",
        SECURITY,
        says=f"A command line of {_size} octets is one command, if that, and its end is none",
    )(partial(_long, _size))


def _line_end(octets: bytes, talk: Talk) -> None:
    talk.link.send(b"NOOP a" + octets + b"NOOP b\r\n")
    talk.alone("two commands on one line")


for _name, _octets in NO_LINE_ENDS.items():
    check(
        f"syntax.no-end-{_name}",
        5321,
        "2.3.8",
        SECURITY if _name in ("lf", "cr") else MUST,
        says=f"{_name.upper()} does not end a command line",
    )(partial(_line_end, _octets))


def _two_in_one(octets: bytes, talk: Talk) -> None:
    talk.link.send(talk.mail.encode() + octets + talk.rcpt.encode() + octets + b"DATA\r\n")
    talk.alone("MAIL, RCPT and DATA on one line")


for _name, _octets in (("lf", b"\n"), ("cr", b"\r")):
    check(
        f"syntax.transaction-{_name}",
        5321,
        "2.3.8",
        SECURITY,
        says=f"MAIL, RCPT and DATA on one line, parted by {_name.upper()}, are not three commands",
    )(partial(_two_in_one, _octets))


@check("syntax.lf-in-path", 5321, "4.1.2", SECURITY)
def lf_in_path(talk: Talk) -> None:
    """A bare LF in a path is refused."""
    talk.ask(b"MAIL FROM:<a\n@example.com>", "5")


@check("syntax.cr-in-path", 5321, "4.1.2", SECURITY)
def cr_in_path(talk: Talk) -> None:
    """A bare CR in a path is refused."""
    talk.ask(b"MAIL FROM:<a\r@example.com>", "5")


@check("syntax.nul-in-path", 5321, "4.1.2", MUST)
def nul_in_path(talk: Talk) -> None:
    """A NUL in a path is refused."""
    talk.ask(b"MAIL FROM:<a\0b@example.com>", "5")


@check("syntax.control-in-path", 5321, "4.1.2", MUST)
def control_in_path(talk: Talk) -> None:
    """A control character in a path is refused."""
    talk.ask(b"MAIL FROM:<a\x1b[2Jb@example.com>", "5")


@check("syntax.eight-bit-verb", 5321, "2.4", SHOULD)
def eight_bit_verb(talk: Talk) -> None:
    """A verb that is not ASCII is refused, once."""
    talk.link.send(b"\xcf\xf0\xe9\xe2\xe5\xf2\r\n")
    reply = talk.alone("a verb that is not ASCII")
    if reply is not None:
        expect(reply, "5", what="a verb that is not ASCII")


@check("syntax.pieces", 5321, "2.3.8", MUST)
def pieces(talk: Talk) -> None:
    """A command is one however its octets arrive."""
    for command in ("RSET", talk.mail, talk.rcpt):
        talk.link.send_apart(command.encode() + b"\r\n")
        expect(talk.link.read(), "250", what=command)
    talk.silence("commands that come octet by octet")


@check("syntax.reflected", 5321, "4.2", SECURITY)
def reflected(talk: Talk) -> None:
    """What a client sends brings no control characters into a reply."""
    for command in (b"X\x1b[2J", b"VRFY a\r250 b", b"MAIL FROM:<a\x1b[2Jb@example.com>", b"RCPT TO:<\x7f@example.com>"):
        reply = talk.say(command)
        if reply.problems:
            raise Failed(f"{reply} has {', '.join(reply.problems)}")
