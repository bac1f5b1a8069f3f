"""CHUNKING and BINARYMIME (RFC 3030): what is taken, and in which order."""

from ..check import MUST, check
from ..talk import Failed, Start, Talk, expect

__all__ = ["bdat"]

_KEYWORD = ("CHUNKING",)
_MESSAGE = b"Subject: conformance\r\n\r\ntext\r\n"


def bdat(octets: bytes, last: bool = False) -> bytes:
    """A chunk, and the command in front of it."""
    return b"BDAT %d%b\r\n%b" % (len(octets), b" LAST" if last else b"", octets)


@check("chunking.last", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def last(talk: Talk) -> None:
    """A message in one chunk is taken."""
    talk.link.send(bdat(_MESSAGE, True))
    expect(talk.link.read(), "250", what="the chunk")
    talk.silence("a chunk")


@check("chunking.chunks", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def chunks(talk: Talk) -> None:
    """A message in three chunks, the last of them empty, is taken, with a 250 for each."""
    for octets, is_last in ((_MESSAGE[:9], False), (_MESSAGE[9:], False), (b"", True)):
        talk.link.send(bdat(octets, is_last))
        expect(talk.link.read(), "250", what="a chunk")
    talk.silence("three chunks")


@check("chunking.case", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def case(talk: Talk) -> None:
    """BDAT and LAST are understood in lower case."""
    talk.link.send(bdat(_MESSAGE, True).replace(b"BDAT", b"bdat").replace(b"LAST", b"last"))
    expect(talk.link.read(), "250", what="the chunk")


@check("chunking.pieces", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def pieces(talk: Talk) -> None:
    """A chunk is one however its octets arrive."""
    talk.link.send_apart(bdat(_MESSAGE[:20]) + bdat(_MESSAGE[20:], True))
    expect(talk.link.read(), "250", what="the first chunk")
    expect(talk.link.read(), "250", what="the last chunk")
    talk.silence("two chunks, octet by octet")


@check("chunking.pipelined", 3030, "2", MUST, needs=("CHUNKING", "PIPELINING"))
def pipelined(talk: Talk) -> None:
    """MAIL, RCPT and chunks go in one segment."""
    talk.link.send(f"{talk.mail}\r\n{talk.rcpt}\r\n".encode() + bdat(_MESSAGE) + bdat(b"", True) + b"NOOP\r\n")
    for place, reply in enumerate(talk.read(5), 1):
        expect(reply, "25", what=f"command {place}")


@check("chunking.data-still", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def data_still(talk: Talk) -> None:
    """DATA works where CHUNKING is offered, and behind a message in chunks."""
    talk.link.send(bdat(_MESSAGE, True))
    expect(talk.link.read(), "250", what="the chunk")
    talk.begin()
    expect(talk.message(_MESSAGE[:-2]), "250", what="the message")


@check("chunking.data-between", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def data_between(talk: Talk) -> None:
    """DATA behind a chunk is answered by 503."""
    talk.link.send(bdat(_MESSAGE))
    expect(talk.link.read(), "250", what="the chunk")
    talk.ask("DATA", "503")


@check("chunking.behind-last", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def behind_last(talk: Talk) -> None:
    """A chunk behind the last is answered by 503."""
    for is_last, code in ((True, "250"), (False, "503")):
        talk.link.send(bdat(_MESSAGE, is_last))
        expect(talk.link.read(), code, what="a chunk")


@check("chunking.rset", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def rset(talk: Talk) -> None:
    """RSET between two chunks ends the transaction."""
    talk.link.send(bdat(_MESSAGE))
    expect(talk.link.read(), "250", what="the chunk")
    talk.ask("RSET", "250")
    talk.begin()
    expect(talk.message(_MESSAGE[:-2]), "250", what="the message")


@check("chunking.syntax", 3030, "2", MUST, needs=_KEYWORD, start=Start.RCPT)
def syntax(talk: Talk) -> None:
    """BDAT with a size that is no number is refused."""
    talk.ask("BDAT many", "5")


@check("binarymime.body", 3030, "3", MUST, needs=("CHUNKING", "BINARYMIME"))
def binary(talk: Talk) -> None:
    """A message with BODY=BINARYMIME is taken by BDAT."""
    talk.ask(f"{talk.mail} BODY=BINARYMIME", "250")
    talk.ask(talk.rcpt, "25")
    talk.link.send(bdat(b"Subject: conformance\r\nMIME-Version: 1.0\r\n\r\n" + bytes(range(256)), True))
    expect(talk.link.read(), "250", what="the chunk")


@check("binarymime.data", 3030, "3", MUST, needs=("CHUNKING", "BINARYMIME"))
def binary_data(talk: Talk) -> None:
    """DATA behind BODY=BINARYMIME is answered by 503."""
    talk.ask(f"{talk.mail} BODY=BINARYMIME", "250")
    talk.ask(talk.rcpt, "25")
    talk.ask("DATA", "503")


@check("binarymime.chunking", 3030, "3", MUST, needs=("BINARYMIME",))
def with_chunking(talk: Talk) -> None:
    """CHUNKING is offered beside BINARYMIME."""
    if "CHUNKING" not in talk.keywords:
        raise Failed("CHUNKING is not offered")
