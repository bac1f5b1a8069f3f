"""What may be sent as a message, how it becomes octets for one server, and whom its fields say that it is for."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from copy import copy
from email import policy
from email.message import Message as AnyEmail
from email.utils import getaddresses
from typing import Any, Protocol, TypeAlias, runtime_checkable

from twisted.internet.defer import Deferred

from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.stuffing import crlf
from twistsmtp.client.transaction import CHUNK

__all__ = ["File", "Message", "envelope_of", "render"]


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


def envelope_of(message: "AnyEmail[Any, Any]") -> tuple[str, list[str]]:
    """Whom *message* is from, and whom it is for, as its fields have it: Sender, or else From; To, Cc and Bcc. Of one
    that was sent again it is the fields that begin with ``Resent-`` (RFC 5322 section 3.6.6).

    :returns: the sender, and the recipients, each once; as `send` takes them.
    :raises ValueError: there is no sender, or more than one; there is no recipient; or it was sent again more than
        once, and whose fields are whose cannot be told.
    """
    again = len(message.get_all("Resent-Date", []))
    if again > 1:
        raise ValueError("the message was sent again more than once: say whom it is from and for")
    prefix = "Resent-" if again else ""
    senders = _addresses(message, f"{prefix}Sender") or _addresses(message, f"{prefix}From")
    if len(senders) != 1:
        raise ValueError(f"the message has {len(senders)} senders, and not one: say whom it is from")
    recipients = [to for name in ("To", "Cc", "Bcc") for to in _addresses(message, f"{prefix}{name}")]
    if not recipients:
        raise ValueError("the message is for nobody: say whom it is for")
    return senders[0], list(dict.fromkeys(recipients))


def _addresses(message: "AnyEmail[Any, Any]", name: str) -> list[str]:
    found: list[str] = []
    for field in message.get_all(name, []):
        parsed = getattr(field, "addresses", None)  # as fields of an EmailMessage have
        found += (
            [address for _, address in getaddresses([str(field)])]
            if parsed is None
            else [each.addr_spec for each in parsed]
        )
    return [each for each in found if each]


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
