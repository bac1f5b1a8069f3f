"""Messages in chunks: servers that take them, and what a client says."""

from typing import Any

from tests.scripted import Script, ScriptedDelivery, ScriptedTransaction
from tests.support import Client, Server, split_replies
from twistsmtp.extensions import DEFAULT, load_extensions
from twistsmtp.verb import Extension

__all__ = ["COMMANDS", "TRANSACTION", "bdat", "chunking", "codes", "in_rcpt", "only"]

#: What must not be carried out where it is part of a message.
COMMANDS = b"\r\nRSET\r\nQUIT\r\nMAIL FROM:<evil@client.test>\r\n.\r\nNOOP\r\n"
TRANSACTION = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@mx.test>\r\n"


def chunking() -> tuple[Extension, ...]:
    """The extensions that are on by default, and those of RFC 3030."""
    return load_extensions(dict.fromkeys([*DEFAULT, "chunking", "binarymime"]))


def bdat(octets: bytes, last: bool = False) -> bytes:
    """The command and its chunk."""
    return b"BDAT %d%s\r\n%s" % (len(octets), b" LAST" * last, octets)


def in_rcpt(script: Script | None = None, **settings: Any) -> Client:
    """A client that may send its message, by *script* as its delivery has it."""
    return Server(ScriptedDelivery(script), **{"extensions": chunking(), **settings}).connect().hello().begin()


def codes(octets: bytes) -> list[str]:
    """The codes of whole replies."""
    return [reply[:9].removesuffix(" ") for reply in split_replies(octets)]


def only(client: Client) -> ScriptedTransaction:
    """The transaction that there was."""
    [transaction] = client.server.delivery.transactions
    return transaction
