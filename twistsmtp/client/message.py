"""What may be sent as a message, and how it becomes octets for one server."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from copy import copy
from email import policy
from email.message import Message as AnyEmail
from typing import Any, Protocol, TypeAlias, runtime_checkable

from twisted.internet.defer import Deferred

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.stuffing import crlf
from twistsmtp.client.transaction import CHUNK

__all__ = ["File", "Message", "render"]


@runtime_checkable
class File(Protocol):
    """What octets, or text, can be read from."""

    def read(self, size: int, /) -> bytes | str:
        """At most *size* octets or characters; none at the end."""
        ...


#: What may be sent. Octets, in whatever form they come, have CRLF line ends: a bare CR or LF in them is refused. Text
#: and `email.message.EmailMessage` are given such line ends. A file is read in a thread, and not closed.
Message: TypeAlias = bytes | bytearray | str | AnyEmail | File | AsyncIterable[bytes]

#: Calls a function in a thread.
InThread = Callable[..., "Deferred[Any]"]


async def render(
    message: Message, capabilities: Capabilities, *, utf8: bool, in_thread: InThread
) -> bytes | AsyncIterable[bytes]:
    """*message* as a server that offers *capabilities* is to get it.

    Of an e-mail the Bcc fields are left out, and what is not ASCII in it is encoded where the server takes nothing
    else.

    :param utf8: whether header fields may be in UTF-8 (RFC 6532), if the server takes them.
    :raises TypeError: it is nothing that can be sent.
    """
    if isinstance(message, AnyEmail):
        offered = "SMTPUTF8" in capabilities and utf8
        cte = "8bit" if "8BITMIME" in capabilities else "7bit"
        octets: bytes = await in_thread(_flattened, message, policy.SMTP.clone(cte_type=cte, utf8=offered))
        return octets
    if isinstance(message, str):
        return crlf(message.encode())
    if isinstance(message, bytes | bytearray):
        return bytes(message)
    if isinstance(message, AsyncIterable):
        return message
    if isinstance(message, File):
        return _pieces(message, in_thread)
    raise TypeError(f"a message is octets, text, an EmailMessage, a file or an async iterable, not {type(message)}")


def _flattened(message: "AnyEmail[Any, Any]", how: "policy.EmailPolicy[Any]") -> bytes:
    shown = copy(message)  # of which the header fields are a list of its own, once one is taken out
    for name in ("Bcc", "Resent-Bcc"):
        del shown[name]
    return crlf(shown.as_bytes(policy=how))


async def _pieces(file: File, in_thread: InThread) -> AsyncIterator[bytes]:
    while piece := await in_thread(file.read, CHUNK):
        # A file of text has LF line ends, whatever they are on the disk.
        yield piece if isinstance(piece, bytes) else piece.encode().replace(b"\n", b"\r\n")
