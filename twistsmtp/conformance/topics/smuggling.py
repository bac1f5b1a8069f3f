"""Mail smuggling: only CRLF.CRLF ends a message (RFC 5321 sections 2.3.8, 4.1.1.4).

Each message has something in it that another server might take for its end, and behind that the commands and the text
of another message. It is sent in one piece, and once more in many, each of those octets in one of its own.
"""

from functools import partial

from ..check import SECURITY, check
from ..talk import END, Failed, Start, Talk

__all__: list[str] = []

#: What does not end a message, by name.
NO_ENDS = {
    "lf-dot-lf": b"\n.\n",
    "lf-dot-cr": b"\n.\r",
    "lf-dot-crlf": b"\n.\r\n",
    "cr-dot-lf": b"\r.\n",
    "cr-dot-cr": b"\r.\r",
    "cr-dot-crlf": b"\r.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "crlf-dot-cr": b"\r\n.\r",
    "crlf-dot-crcrlf": b"\r\n.\r\r\n",
    "crlf-dot-lfcr": b"\r\n.\n\r",
    "crcrlf-dot-crcrlf": b"\r\r\n.\r\r\n",
    "lfcr-dot-lfcr": b"\n\r.\n\r",
    "lflf-dot-lf": b"\n\n.\n",
    "lf-dot-crcrlf": b"\n.\r\r\n",
    "crcr-dot-crcr": b"\r\r.\r\r",
    "crlf-dot-space-crlf": b"\r\n. \r\n",
    "crlf-space-dot-crlf": b"\r\n .\r\n",
    "crlf-tab-dot-crlf": b"\r\n\t.\r\n",
    "crlf-dot-tab-crlf": b"\r\n.\t\r\n",
    "crlf-dot-dot-crlf": b"\r\n..\r\n",
    "crlf-dot-nul-crlf": b"\r\n.\0\r\n",
    "crlf-nul-dot-crlf": b"\r\n\0.\r\n",
    "cr-nul-lf-dot-cr-nul-lf": b"\r\0\n.\r\0\n",
    "crlf-dot-cr-nul-lf": b"\r\n.\r\0\n",
    "nul-dot-nul": b"\0.\0",
    "vt-dot-vt": b"\x0b.\x0b",
    "ff-dot-ff": b"\x0c.\x0c",
    "rs-dot-rs": b"\x1e.\x1e",
    "c1-nel-dot-nel": b"\x85.\x85",
    "nel-dot-nel": b"\xc2\x85.\xc2\x85",
    "ls-dot-ls": b"\xe2\x80\xa8.\xe2\x80\xa8",
    "crlf-fullwidth-dot-crlf": b"\r\n\xef\xbc\x8e\r\n",
    "crlf-eight-bit-dot-crlf": b"\r\n\xae\r\n",
    "eight-bit-crlf-dot-crlf": b"\x8d\x8a.\x8d\x8a",
    "crlf-backspace-dot-crlf": b"\r\nx\x08.\r\n",
    "crlf-eot-crlf": b"\r\n\x04\r\n",
    "crlf-sub-crlf": b"\r\n\x1a\r\n",
}
#: The same where the message begins: what stands before is the CRLF of DATA.
NO_FIRST_ENDS = {
    "dot-lf": b".\n",
    "dot-cr": b".\r",
    "lf-dot-lf": b"\n.\n",
    "lf-dot-crlf": b"\n.\r\n",
    "dot-space": b". \r\n",
}


def _inner(talk: Talk) -> bytes:
    commands = f"{talk.mail}\r\n{talk.rcpt}\r\nDATA\r\n"
    return commands.encode() + b"Subject: smuggled by the conformance tests\r\n\r\nsmuggled" + END


def _judge(talk: Talk, what: str) -> None:
    talk.alone(f"{what} in a message")


def _whole(octets: bytes, what: str, talk: Talk) -> None:
    talk.link.send(b"Subject: conformance\r\n\r\ntext" + octets + _inner(talk))
    _judge(talk, what)


def _pieces(octets: bytes, what: str, talk: Talk) -> None:
    cuts = [octets[place : place + 1] for place in range(len(octets))]
    talk.link.send_pieces(b"Subject: conformance\r\n\r\ntext", *cuts, _inner(talk))
    _judge(talk, what)


def _first(octets: bytes, what: str, talk: Talk) -> None:
    talk.link.send(octets + _inner(talk))
    _judge(talk, what)


def _shown(octets: bytes) -> str:
    return octets.decode("latin-1").encode("unicode_escape").decode()


for _name, _octets in NO_ENDS.items():
    for _way, _run, _how in (("", _whole, ""), (".pieces", _pieces, ", its octets apart")):
        check(
            f"smuggling.{_name}{_way}",
            5321,
            "4.1.1.4",
            SECURITY,
            start=Start.DATA,
            says=f"{_shown(_octets)}{_how} does not end a message",
        )(partial(_run, _octets, _shown(_octets)))

for _name, _octets in NO_FIRST_ENDS.items():
    check(
        f"smuggling.first.{_name}",
        5321,
        "4.1.1.4",
        SECURITY,
        start=Start.DATA,
        says=f"{_shown(_octets)} at the start does not end a message",
    )(partial(_first, _octets, f"{_shown(_octets)} at the start"))


@check("smuggling.early-body", 5321, "3.3", SECURITY)
def early_body(talk: Talk) -> None:
    """Where DATA is refused, what follows is commands, and brings no mail in."""
    talk.send_lines("DATA")
    first = talk.link.read()
    if first.code == 354:
        talk.link.send(b".\r\n")
        talk.link.read()
        return
    talk.link.send(b"Subject: conformance\r\n\r\ntext" + END)
    accepted = [reply for reply in talk.unasked() if reply.is_one_of("250", "354")]
    if accepted:
        raise Failed(f"text behind a DATA that was refused was answered by {accepted[0]}")
