"""PIPELINING (RFC 2920)."""

from ..check import MUST, SECURITY, check
from ..replies import Reply
from ..talk import END, Start, Talk, expect

__all__: list[str] = []

_KEYWORD = ("PIPELINING",)
_MESSAGE = b"Subject: conformance\r\n\r\ntext" + END


@check("pipelining.group", 2920, "3.2", MUST, needs=_KEYWORD)
def group(talk: Talk) -> None:
    """The replies to a group come in the order of its commands, one for each."""
    talk.send_lines(talk.mail, talk.rcpt, "RCPT TO:", talk.rcpt, "DATA")
    _codes(talk, "250", "25", "5", "25", "354")
    talk.link.send(_MESSAGE)
    for _ in range(2 if talk.target.lmtp else 1):
        expect(talk.link.read(), "250", what="the message")
    talk.silence("a group and its message")


@check("pipelining.apart", 2920, "3.2", MUST, needs=_KEYWORD)
def apart(talk: Talk) -> None:
    """A group is one however its octets arrive."""
    talk.link.send_apart(f"RSET\r\n{talk.mail}\r\n{talk.rcpt}\r\nDATA\r\n".encode())
    _codes(talk, "250", "250", "25", "354")
    talk.link.send(_MESSAGE)
    expect(talk.link.read(), "250", what="the message")
    talk.silence("a group and its message")


@check("pipelining.behind-message", 2920, "3.2", MUST, needs=_KEYWORD, start=Start.DATA)
def behind_message(talk: Talk) -> None:
    """What stands behind the end of a message in the same segment is not lost."""
    talk.link.send(_MESSAGE + f"{talk.mail}\r\n{talk.rcpt}\r\nDATA\r\n".encode())
    _codes(talk, "250", "250", "25", "354")


@check("pipelining.many", 2920, "3.2", MUST, needs=_KEYWORD)
def many(talk: Talk) -> None:
    """Thirty commands in one segment have thirty replies."""
    talk.send_lines(talk.mail, *[talk.rcpt] * 28, "NOOP")
    _codes(talk, *["25"] * 30)
    talk.silence("thirty commands")


@check("pipelining.quit", 2920, "3.2", MUST, needs=_KEYWORD)
def quit(talk: Talk) -> None:
    """QUIT may end a group."""
    talk.send_lines("RSET", talk.mail, "QUIT")
    _codes(talk, "250", "250", "221")


@check("pipelining.data-refused", 2920, "3.2", SECURITY, needs=_KEYWORD, start=Start.MAIL)
def data_refused(talk: Talk) -> None:
    """Behind a DATA that is refused for want of recipients there are commands, and behind 354 there is a message."""
    talk.send_lines("RCPT TO:", "DATA")
    *_, data = _codes(talk, "5", "")
    if data.code == 354:
        talk.link.send(_inside(talk))
        reply = talk.alone("an empty message to nobody")
        if reply is not None:
            expect(reply, "5", what="a message to nobody")
    else:
        talk.send_lines("RSET", "NOOP")
        _codes(talk, "250", "250")
        talk.silence("commands behind a DATA that was refused")


def _inside(talk: Talk) -> bytes:
    return f"NOOP\r\nRSET\r\n{talk.mail}\r\n.\r\n".encode()


@check("pipelining.bad-command", 2920, "3.2", MUST, needs=_KEYWORD)
def bad_command(talk: Talk) -> None:
    """What stands behind a command that is refused is not lost."""
    talk.send_lines("FOOBAR", talk.mail, "RCPT TO:", talk.rcpt, "NOOP")
    _codes(talk, "5", "250", "5", "25", "250")


def _codes(talk: Talk, *codes: str) -> list[Reply]:
    replies = []
    for place, code in enumerate(codes, 1):
        replies.append(expect(talk.link.read(), code, what=f"command {place} of the group"))
    return replies
