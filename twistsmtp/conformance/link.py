"""One connection to the server: octets out and replies in, within time limits, and a record of both."""

import contextlib
import socket
import ssl
import time
import warnings

from .replies import Reply, ReplyReader, escape
from .target import Security, Target

__all__ = ["Link", "Lost", "Silent", "Unreachable", "old_tls_context", "tls_context"]

#: Seconds between two pieces of what is to arrive in two reads.
PAUSE = 0.002
#: Entries of the record that are kept, at each end of it.
KEPT = 14


class Lost(Exception):
    """The server said nothing where it owes a reply."""


class Silent(Lost):
    """It did not answer in time."""


class Unreachable(Exception):
    """There is no connection."""


def tls_context() -> ssl.SSLContext:
    """What takes any certificate: whether it is good is not what is judged here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def old_tls_context() -> ssl.SSLContext:
    """What offers nothing that is newer than TLS 1.1."""
    context = tls_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


class Link:
    """A connection.

    :raises Unreachable: there is none to be had.
    """

    def __init__(self, target: Target, *, clear: bool = False, context: ssl.SSLContext | None = None) -> None:
        """
        :param clear: do not encrypt, whatever the target says.
        """
        self._target = target
        self._deadline = time.monotonic() + target.patience
        self._reader = ReplyReader()
        self._record: list[str] = []
        self._left_out = 0
        #: Whether the server has closed its side.
        self.closed = False
        #: Whether it is encrypted.
        self.encrypted = False
        try:
            self._socket: socket.socket = socket.create_connection((target.host, target.port), target.timeout)
        except OSError as error:
            raise Unreachable(f"no connection to {target.host}:{target.port}: {error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.security is Security.IMPLICIT and not clear:
            try:
                self.encrypt(context)
            except Lost as problem:
                self.close()
                raise Unreachable(str(problem)) from None

    @property
    def address(self) -> str:
        """The client's own IP address."""
        return str(self._socket.getsockname()[0])

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        peer = str(self._socket.getpeername()[0])
        return peer.startswith("127.") or peer == "::1"

    @property
    def record(self) -> list[str]:
        """What was said, the client's octets behind ``C:`` and the server's behind ``S:``, bounded."""
        if self._left_out:
            return [*self._record[:KEPT], f"   ... {self._left_out} more ...", *self._record[KEPT:]]
        return list(self._record)

    def note(self, text: str) -> None:
        """Put *text* on record."""
        self._record.append(text)
        if len(self._record) > 2 * KEPT:
            del self._record[KEPT]
            self._left_out += 1

    def encrypt(self, context: ssl.SSLContext | None = None) -> None:
        """The client's side of a TLS handshake.

        :raises Lost: there is none to be had.
        """
        if self._reader.rest:
            raise Lost(f"the server sent {escape(self._reader.rest)} before the TLS handshake")
        self._arm()
        try:
            encrypted = (context or tls_context()).wrap_socket(self._socket, server_hostname=_name(self._target.host))
        except (OSError, ValueError) as error:
            self.closed = True
            self.note(f"   TLS handshake: {error}")
            raise Lost(f"no TLS handshake: {error}") from None
        self._socket = encrypted
        self.encrypted = True
        self.note(f"   TLS handshake: {encrypted.version()}")

    def send(self, octets: bytes, *, shown: bytes | None = None) -> None:
        """Send *octets* in one piece. A server that has closed is noticed when it is to answer.

        :param shown: what goes on record instead of them.
        """
        self.note(f"C: {escape(octets if shown is None else shown)}")
        self._send(octets)

    def send_apart(self, octets: bytes) -> None:
        """Send *octets* one by one, each to be in a read of its own as far as a client has a say in that."""
        self.note(f"C: {escape(octets)}   (octet by octet)")
        for place in range(len(octets)):
            self._send(octets[place : place + 1])
            time.sleep(PAUSE)

    def send_pieces(self, *pieces: bytes) -> None:
        """Send each of *pieces* on its own."""
        for piece in pieces:
            self.send(piece)
            time.sleep(PAUSE)

    def _send(self, octets: bytes) -> None:
        self._arm()
        with contextlib.suppress(OSError):
            self._socket.sendall(octets)

    def read(self, within: float | None = None) -> Reply:
        """The next reply.

        :param within: seconds in which it has to come; by default those of the target.
        :raises Lost: there is none.
        """
        while True:
            reply = self._reader.next()
            if reply is not None:
                self.note(f"S: {escape(reply.octets)}")
                return reply
            self._receive(within)

    def _receive(self, within: float | None) -> None:
        if not self.closed:
            self._arm(within)
            try:
                octets = self._socket.recv(65536)
                self._acknowledge()
            except TimeoutError:
                self.note("   (no reply in time)")
                raise Silent("no reply in time") from None
            except OSError:
                octets = b""
            if octets:
                self._reader.feed(octets)
                return
            self.closed = True
            self.note("   (the server has closed the connection)")
        raise Lost("the server has closed the connection")

    def _acknowledge(self) -> None:
        """At once: a server that sends its replies in small pieces may wait for that, 40 ms each time."""
        if hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def is_ended(self) -> bool:
        """Whether the server closes the connection, with no word more, while the client waits for it."""
        with contextlib.suppress(Silent):
            try:
                self.read()
            except Lost:
                return self.closed
        return False

    def _arm(self, within: float | None = None) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Silent(f"the check has taken more than {self._target.patience:g} seconds")
        self._socket.settimeout(min(left, within or self._target.timeout))

    def close(self) -> None:
        """The client is gone."""
        with contextlib.suppress(OSError):
            self._socket.close()


def _name(host: str) -> str | None:
    """The name for SNI, which has no addresses."""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return host
    return None
