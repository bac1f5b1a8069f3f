"""What Twisted's transports do not tell: what waits in a socket, unread, and why a connection was lost."""

import socket
from contextlib import suppress

from OpenSSL import SSL
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

__all__ = ["discard_input", "has_input", "why_lost"]

#: How to look at what waits. To put the two together takes as long as to look.
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


def why_lost(reason: Failure, *, handshake: bool) -> str:
    """Why a connection was lost, for the log."""
    why = "closed by client" if reason.check(ConnectionDone) else "connection lost"
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        why = str(error.args[0][-1][-1])  # OpenSSL's own words, without the routine that says them
    return f"TLS handshake failed: {why}" if handshake else why


def discard_input(transport: object) -> None:
    """Throw away what waits in a plain socket, unread. Of one that is being flooded not all: what is left then does not
    begin as TLS does, and ends the connection."""
    handle: object = getattr(transport, "socket", None) if isinstance(transport, FileDescriptor) else None
    if isinstance(handle, socket.socket):
        with suppress(OSError):  # none wait, or the client is gone already
            for _ in range(16):
                if not handle.recv(65536, socket.MSG_DONTWAIT):
                    break


def has_input(transport: object) -> bool:
    """Whether octets wait in a plain socket, unread."""
    handle: object = getattr(transport, "socket", None) if isinstance(transport, FileDescriptor) else None
    if not isinstance(handle, socket.socket):
        return False
    try:
        return bool(handle.recv(1, _PEEK))
    except OSError:  # none wait, or the client is gone already
        return False
