"""LMTP (RFC 2033)."""

from ..check import MUST, SHOULD, check
from ..talk import END, Failed, Start, Talk, expect
from .chunking import bdat

__all__: list[str] = []


@check("lmtp.helo", 2033, "4.1", MUST, only="lmtp", start=Start.GREETED)
def helo(talk: Talk) -> None:
    """HELO and EHLO are refused."""
    talk.ask("HELO client.example.com", "5")
    talk.ask("EHLO client.example.com", "5")


@check("lmtp.replies", 2033, "4.2", MUST, only="lmtp", start=Start.RCPT)
def replies(talk: Talk) -> None:
    """A message has a reply for each recipient that was taken, and none for others."""
    talk.ask("RCPT TO:", "5")
    talk.ask(talk.rcpt, "25")
    talk.ask("DATA", "354")
    talk.link.send(b"Subject: conformance\r\n\r\ntext" + END)
    for reply in talk.read(2):
        expect(reply, "250", what="the message")
    talk.silence("a message for two recipients")


@check("lmtp.chunk-replies", 2033, "4.3", MUST, only="lmtp", start=Start.RCPT, needs=("CHUNKING",))
def chunk_replies(talk: Talk) -> None:
    """The last chunk has a reply for each recipient that was taken, and any other has one."""
    talk.ask(talk.rcpt, "25")
    talk.link.send(bdat(b"Subject: conformance\r\n") + bdat(b"\r\ntext\r\n", True))
    for reply in talk.read(3):
        expect(reply, "250", what="a chunk")
    talk.silence("two chunks for two recipients")


@check("lmtp.data-first", 2033, "4.2", MUST, only="lmtp", start=Start.MAIL)
def data_first(talk: Talk) -> None:
    """DATA without a recipient that was taken is answered by 503."""
    talk.ask("RCPT TO:", "5")
    talk.ask("DATA", "503")


@check("lmtp.offered", 2033, "5", MUST, only="lmtp")
def offered(talk: Talk) -> None:
    """PIPELINING and ENHANCEDSTATUSCODES are offered."""
    missing = [keyword for keyword in ("PIPELINING", "ENHANCEDSTATUSCODES") if keyword not in talk.keywords]
    if missing:
        raise Failed(f"not offered: {', '.join(missing)}")


@check("lmtp.8bitmime", 2033, "5", SHOULD, only="lmtp")
def eight_bit(talk: Talk) -> None:
    """8BITMIME is offered."""
    if "8BITMIME" not in talk.keywords:
        raise Failed("it is not")
