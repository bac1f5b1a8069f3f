"""Servers: a socket that connections are accepted from, and what becomes of messages."""

import errno
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twistsmtp.compat.methods import House, Words
from twistsmtp.compat.smtpd.channel import SMTPChannel
from twistsmtp.compat.smtpd.connection import REPLIES
from twistsmtp.compat.smtpd.dispatcher import Dispatcher
from twistsmtp.compat.smtpd.loops import add, in_loop, remove
from twistsmtp.compat.smtpd.values import DATA_SIZE_DEFAULT, debug, package
from twistsmtp.later import Later
from twistsmtp.limits import Limits
from twistsmtp.wire.dotstream import BareNewline

__all__ = ["DebuggingServer", "SMTPServer"]

_log = Logger(namespace="twistsmtp.compat.smtpd")

#: Nobody is there, or not any more.
_NOBODY = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.ECONNABORTED, errno.EPERM})
#: Seconds without accepting anybody, where there is no descriptor for them.
_REST = 1.0


@implementer(IReadDescriptor)
class SMTPServer(Dispatcher):
    """A server. Programs override `process_message`.

    :param localaddr: host and port to listen on.
    :param remoteaddr: host and port of the server that proxies relay to.
    :param data_size_limit: octets of a message; ``None`` or 0 for the most that there can be, a gibibyte.
    :param map: where `loop` finds the server, if not among all others.
    :raises ValueError: both *enable_SMTPUTF8* and *decode_data*.
    :raises OSError: the address cannot be had.
    """

    #: What makes the channel of a connection.
    channel_class: Any = SMTPChannel
    #: Whether `process_message` is called in a thread of its own, one message at a time: for one that takes its time.
    #: Not in the original, which stood still meanwhile.
    in_thread = False
    #: What else is limited. Not in the original.
    limits = Limits(bare_newline=BareNewline.ACCEPT)

    def __init__(  # noqa: PLR0917  # as in the original
        self,
        localaddr: tuple[str, int],
        remoteaddr: tuple[str, int] | None,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: dict[int, Any] | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        self._take_options(data_size_limit, map, enable_SMTPUTF8, decode_data)
        self._localaddr = localaddr
        self._remoteaddr = remoteaddr
        self._house = House(self.limits, Words(REPLIES))
        self._one_at_a_time = DeferredLock()
        self._reactor: Any = None
        self._descriptor = -1
        self.socket: Any = None
        try:
            family, kind, *_ = package().socket.getaddrinfo(*localaddr, type=socket.SOCK_STREAM)[0]
            self.create_socket(family, kind)
            self.set_reuse_addr()
            self.bind(localaddr)
            self.listen(5)
        except BaseException:
            self.close()
            raise
        debug(f"{type(self).__name__} started at {time.ctime()}, local addr: {localaddr}, remote addr: {remoteaddr}")

    # --- the socket: what programs know of asyncore's dispatcher ----------------------------------------------

    def create_socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> None:
        """Make the socket, and be looked after by `loop`."""
        self.socket = package().socket.socket(family, type)
        self.socket.setblocking(False)
        self._descriptor = self.socket.fileno()
        add(self._map, self._descriptor, self)

    def set_reuse_addr(self) -> None:
        """Let the address be had although connections of another server may linger there."""
        module = package().socket
        with suppress(OSError):
            self.socket.setsockopt(module.SOL_SOCKET, module.SO_REUSEADDR, 1)

    def bind(self, addr: Any) -> None:
        """Have the address *addr*."""
        self.addr = addr
        self.socket.bind(addr)

    def listen(self, num: int) -> None:
        """Let clients connect; so many may wait, and a hundred in any case."""
        self.accepting = True
        self.socket.listen(max(num, 100))

    def accept(self) -> tuple[Any, Any] | None:
        """The next connection and its address; ``None`` if there is none."""
        try:
            conn, addr = self.socket.accept()
        except OSError as error:
            if error.errno in _NOBODY:
                return None
            raise
        return conn, addr

    def handle_accept(self) -> None:
        """There is a connection."""
        pair = self.accept()
        if pair is not None:
            self.handle_accepted(*pair)

    def handle_accepted(self, conn: Any, addr: Any) -> None:
        """There is the connection *conn*: make a channel of it."""
        debug(f"Incoming connection from {addr!r}")
        self.channel_class(self, conn, addr, self.data_size_limit, self._map, self.enable_SMTPUTF8, self._decode_data)

    def close(self) -> None:
        """Accept no more connections. Those that there are go on; any thread may call it."""
        taken, self.socket, self.accepting = self.socket, None, False
        if taken is None:
            return
        with suppress(OSError, AttributeError):  # from now on, whatever the reactor does at the moment
            taken.shutdown(socket.SHUT_RDWR)
        in_loop(self._reactor, lambda: self._close(taken))

    def _close(self, taken: Any) -> None:
        if self._reactor is not None:
            self._reactor.removeReader(self)
        remove(self._map, self._descriptor, self)
        taken.close()

    # --- Twisted's words -------------------------------------------------------------------------------------

    def _attend(self, reactor: Any) -> None:
        if self._reactor is not reactor and self.socket is not None:
            self._reactor = reactor
            reactor.addReader(self)

    def fileno(self) -> int:
        """The socket's."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For the log."""
        return type(self).__name__

    def doRead(self) -> None:
        """Somebody connects."""
        if self.socket is None:
            return
        try:
            self.handle_accept()
        except OSError as error:
            _log.error("cannot accept a connection: {error}", error=error)
            self._reactor.removeReader(self)
            self._reactor.callLater(_REST, lambda: self.socket is not None and self._reactor.addReader(self))
        except Exception:
            _log.failure("cannot accept a connection")
            self.handle_error()

    def connectionLost(self, reason: object) -> None:
        """The reactor has no more use for it."""
        self.close()

    # --- messages --------------------------------------------------------------------------------------------

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> "Later[str | None]":
        """A message has come.

        :param peer: address and port of the client.
        :param mailfrom: whom it is from.
        :param rcpttos: whom it is for.
        :param data: the message, with LF line ends: text with ``decode_data=True``, else octets.
        :param kwargs: where it is octets, ``mail_options`` and ``rcpt_options``, in upper case.
        :returns: ``None`` for ``250 OK``, or a reply. It may be ``async def``, or a Deferred.
        """
        raise NotImplementedError

    def _process(self, *arguments: Any, **kwargs: Any) -> "Later[str | None]":
        if not self.in_thread:
            return self.process_message(*arguments, **kwargs)
        from twisted.internet import reactor

        lock: Any = self._one_at_a_time
        pool: Any = reactor
        answer: Deferred[str | None] = lock.run(
            deferToThreadPool, reactor, pool.getThreadPool(), self.process_message, *arguments, **kwargs
        )
        return answer


class DebuggingServer(SMTPServer):
    """Prints each message."""

    def _print_message_content(self, peer: Sequence[Any], data: str | bytes) -> None:
        in_headers = True
        header = f"X-Peer: {peer[0]}"
        for line in data.splitlines():
            if in_headers and not line:
                print(header if isinstance(data, str) else repr(header.encode()))  # noqa: T201
                in_headers = False
            print(line if isinstance(data, str) else repr(line))  # noqa: T201

    def process_message(self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any) -> None:
        """Print it."""
        print("---------- MESSAGE FOLLOWS ----------")  # noqa: T201
        if kwargs.get("mail_options"):
            print(f"mail options: {kwargs['mail_options']}")  # noqa: T201
        if kwargs.get("rcpt_options"):
            print(f"rcpt options: {kwargs['rcpt_options']}\n")  # noqa: T201
        self._print_message_content(peer, data)
        print("------------ END MESSAGE ------------", flush=True)  # noqa: T201
