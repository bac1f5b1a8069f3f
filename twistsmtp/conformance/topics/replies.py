"""The form of replies (RFC 5321 section 4.2)."""

from collections.abc import Iterator

from ..check import MUST, SHOULD, check
from ..replies import Reply
from ..talk import Failed, Skipped, Start, Talk

__all__: list[str] = []


def _replies(talk: Talk) -> Iterator[Reply]:
    """Replies of many kinds, from the greeting on."""
    yield talk.link.read()
    for command in (
        f"{talk.target.hello} {talk.name}",
        "NOOP",
        "HELP",
        "VRFY postmaster",
        "FOOBAR",
        talk.mail,
        talk.rcpt,
        "RCPT TO:<a b@example.com>",
        "RSET",
        "QUIT",
    ):
        yield talk.say(command)


@check("replies.form", 5321, "4.2", MUST, start=Start.CONNECTED)
def form(talk: Talk) -> None:
    """Replies have one code, on each of their lines, and printable text, in 512 octets, and end with CRLF."""
    for reply in _replies(talk):
        if reply.problems:
            raise Failed(f"{reply} has {', '.join(reply.problems)}")


@check("replies.text", 5321, "4.2", SHOULD, start=Start.CONNECTED)
def text(talk: Talk) -> None:
    """Replies have a text behind their code."""
    for reply in _replies(talk):
        if not any(reply.lines):
            raise Failed(f"{reply} has no text")


@check("replies.one", 5321, "4.2", MUST)
def one(talk: Talk) -> None:
    """Each command has one reply."""
    for command in ("NOOP", "FOOBAR", "VRFY postmaster", "HELP", "RSET", talk.mail, talk.rcpt, "RSET"):
        talk.say(command)
    talk.silence("commands that have had their replies")


@check("replies.challenge", 5321, "4.2.1", MUST, start=Start.DATA)
def intermediate(talk: Talk) -> None:
    """The reply to DATA is one, and no other comes before the message has ended."""
    talk.link.send_pieces(b"Subject: conformance\r\n", b"\r\n", b"text\r\n")
    talk.link.send(b".\r\n")
    if talk.alone("a message") is None:
        raise Skipped("the server closed the connection")
