"""Connections that send at once.

Twisted's own connections put what is written into a buffer, ask the reactor when the socket can take it, and send it
one turn of the loop later. That is two more system calls and a callback for each reply, though a socket nearly always
takes a reply at once. The connections here try the socket first, and leave to Twisted's way what it did not take::

    serverFromString(reactor, "tcp:8025").listen(factory).addCallback(eager)

One rule keeps the octets in order: straight to the socket only while nothing waits. Twisted has a writer
registered just as long as something waits (octets, a close, a half-close), so `startWriting` and
`stopWriting` say when that is.

What they are sent they read through the `Hub` of their port, where the system has epoll. While it has several of them
read, what they write is put aside until all have been, and is sent before anything else happens to the connection.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeVar

from twisted.internet import tcp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from twistsmtp.hub import Hub
from twistsmtp.tls.transport import TLSFactory, TLSTransport

__all__ = ["EagerServer", "EagerUNIXServer", "eager"]

P = TypeVar("P")

#: Octets that one read takes at most.
_READ = FileDescriptor.bufferSize
#: Octets that may be put aside before more of them are sent.
_ASIDE = 4096
#: Why a connection ends that has been closed here. Reactors have one for all, too.
_DONE = Failure(CONNECTION_DONE)


def eager(port: P) -> P:
    """Have the connections that *port* accepts from now on send at once, and read through a hub.

    :param port: what an endpoint's ``listen`` gave. Those of ``tcp:``, ``ssl:``, ``unix:``, ``systemd:`` and
        ``haproxy:`` have connections that can; a port of another kind is left as it is.
    :returns: *port*.
    """
    if isinstance(port, tcp.Port) and port.transport in _EAGER:
        hub = Hub(port.reactor) if Hub.is_possible() else None
        transport: Any = partial(_EAGER[port.transport], hub=hub)
        # The attribute is there to be replaced; `Port` says so.
        port.transport = transport
    return port


class EagerServer(tcp.Server):
    """An accepted TCP connection that sends at once.

    :param hub: what it is read through. Without one it is a reader of its own to the reactor.
    """

    def __init__(self, *args: Any, hub: Hub | None = None) -> None:
        self.hub = hub
        #: What goes out when others of the same round have been read, too.
        self.aside = b""
        #: Whether something waits for the reactor to say that the socket can take it.
        self.waiting = False
        #: Whether nothing may be sent any more, now or soon.
        self.ended = False
        #: Whether a producer is asked for more by a writer that has sent what it gave: then there must be one.
        self.pulling = False
        self.TLS = False  # also here, as an attribute of the class takes longer to read
        super().__init__(*args)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Have *producer* write here."""
        self.pulling = not streaming
        tcp.Server.registerProducer(self, producer, streaming)

    def unregisterProducer(self) -> None:
        """Have it no more."""
        self.pulling = False
        tcp.Server.unregisterProducer(self)

    def startReading(self) -> None:
        """Read when there is something."""
        if self.hub is None:
            FileDescriptor.startReading(self)
        else:
            self.hub.add(self)

    def stopReading(self) -> None:
        """Do not read."""
        if self.hub is None:
            FileDescriptor.stopReading(self)
        else:
            self.hub.remove(self)

    def doRead(self) -> Any:
        """Read, and pass it on.

        :returns: why that was the last time, or ``None``.
        """
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def startWriting(self) -> None:
        """Something waits."""
        self.send_aside()
        self.waiting = True
        FileDescriptor.startWriting(self)

    def stopWriting(self) -> None:
        """Nothing waits any more."""
        self.waiting = False
        FileDescriptor.stopWriting(self)

    def write(self, data: bytes) -> None:
        """Send *data*, at once if that can be, and behind all that was written before. Once TLS has begun, that of TLS
        stands in its place."""
        at_end = None if self.hub is None else self.hub.shared_round
        if self.waiting or self.ended or self.pulling:
            self.send_aside()
            FileDescriptor.write(self, data)
        elif at_end is not None and len(self.aside) <= _ASIDE:
            if not self.aside:
                at_end.append(self.send_aside)
            self.aside += data
        elif data:
            self.aside += data
            self.send_aside()

    #: The same, for what is beneath TLS.
    write_through = write

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send the octets of *iovec* as `write` does."""
        self.write(b"".join(iovec))

    def send_aside(self) -> None:
        """Send what was put aside, if that has not been done by now."""
        octets = self.aside
        if octets:
            self.aside = b""
            try:
                sent = self.socket.send(octets)
            except OSError:
                # It takes nothing now, or it is lost: then that is left to the reactor to find, as whoever writes does
                # not expect to be told before `write` has returned.
                sent = 0
            if sent < len(octets):
                FileDescriptor.write(self, octets[sent:])

    def _close(self) -> None:
        """Close, as all of the round have been read, unless something has come between."""
        self.send_aside()
        if self.disconnecting and not self._aborting:
            if self.waiting or self.producer is not None:
                self.startWriting()  # and Twisted does the rest
            else:
                log.callWithLogger(self, self.connectionLost, _DONE)

    def loseConnection(self) -> None:
        """Close when all that waits is sent."""
        if self.TLS:
            tcp.Server.loseConnection(self)
        else:
            self.close_through()

    def close_through(self) -> None:
        """Close what is beneath TLS, if that has begun: at the end of the round, if there is one and nothing waits."""
        self.ended = True
        at_end = None if self.hub is None else self.hub.round
        if at_end is None or self._writeDisconnected:
            FileDescriptor.loseConnection(self)
        elif self.connected and not self.disconnecting:
            self.stopReading()
            self.disconnecting = 1
            at_end.append(self._close)

    def loseWriteConnection(self) -> None:
        """Close the sending side when all that waits is sent."""
        self.ended = True
        tcp.Server.loseWriteConnection(self)

    def connectionLost(self, reason: Any) -> None:
        """It is closed."""
        self.connected = 0  # what the socket does not take now is not kept
        self.send_aside()
        self.ended = True
        tcp.Server.connectionLost(self, reason)
        for name in "write", "getHandle", "getPeerCertificate":
            vars(self).pop(name, None)

    def abortConnection(self) -> None:
        """Close at once, whatever waits."""
        self.ended = True
        tcp.Server.abortConnection(self)

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        """Begin TLS, as Twisted does. Its records are sent at once, too."""
        producer, streaming = self.producer, self.streamingProducer
        if producer is not None:
            self.unregisterProducer()
        factory = TLSFactory(ctx, not normal, None, self.reactor)  # type: ignore[arg-type]  # there is none inside
        transport: Any = TLSTransport
        self.protocol = tls = transport(factory, self.protocol, False)
        # Twisted has most of them on the instance, too. They are taken off in the end, or it would keep itself.
        vars(self).update(write=super().write, getHandle=tls.getHandle, getPeerCertificate=tls.getPeerCertificate)
        directlyProvides(self, ISSLTransport)
        self.TLS = True
        tls.makeConnection(_Beneath(self))
        if producer is not None:
            self.registerProducer(producer, streaming)


class EagerUNIXServer(EagerServer, unix.Server):
    """An accepted connection of a UNIX socket that sends at once."""

    doRead = unix.Server.doRead  # it takes the descriptors that may come along


class _Beneath:
    """What TLS writes its records to: the connection as it is without TLS."""

    def __init__(self, server: EagerServer) -> None:
        self._server = server
        self.write = server.write_through
        self.loseConnection = server.close_through

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        FileDescriptor.registerProducer(self._server, producer, streaming)

    def unregisterProducer(self) -> None:
        FileDescriptor.unregisterProducer(self._server)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


_EAGER: dict[type[tcp.Server], type[EagerServer]] = {tcp.Server: EagerServer, unix.Server: EagerUNIXServer}
