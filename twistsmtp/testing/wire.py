"""What lies between a server and a client in memory: a transport, and TLS as both sides have it."""

from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twistsmtp.tls.transport import TLSFactory

__all__ = ["ClientTLS", "Wire"]


class Wire(StringTransport):
    """The server's transport. It loses the connection one turn after it was told to, as a socket does."""

    producer: Any = None

    def __init__(self, clock: Clock, peer: IAddress) -> None:
        StringTransport.__init__(self, peerAddress=peer, lenient=True)
        self._clock = clock
        self._upper: Any = None
        self._encryption: Any = None
        #: Whether the connection has ended.
        self.lost = False

    # --- the client's end ------------------------------------------------------------------------------------

    def connect(self, protocol: Any, certificates: Any = None) -> None:
        """Have *protocol* be connected, with TLS from the first octet if there are *certificates*."""
        self._upper = protocol
        if certificates is None:
            protocol.makeConnection(self)
        else:
            self._encrypt(certificates, connect=True)

    @property
    def reading(self) -> bool:
        """Whether the server takes octets now."""
        return str(self.producerState) == "producing"

    def take(self) -> bytes:
        """What the server has written since the last time."""
        octets: bytes = StringTransport.value(self)
        StringTransport.clear(self)
        return octets

    def receive(self, octets: bytes) -> None:
        """The client has sent *octets*."""
        self._upper.dataReceived(octets)

    def receive_end(self) -> None:
        """The client has closed its side."""
        self._upper.readConnectionLost()

    def lose(self, reason: Exception) -> None:
        """The connection has ended."""
        if not self.lost:
            self.lost = True
            self._upper.connectionLost(Failure(reason))

    # --- the server's end ------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        if self._encryption is not None:
            self._encryption.write(data)
        elif not self.lost:
            StringTransport.write(self, data)

    def loseConnection(self) -> None:
        """See `ITransport`."""
        if self._encryption is not None:
            self._encryption.loseConnection()
        else:
            _Beneath(self).loseConnection()

    def abortConnection(self) -> None:
        """See `ITCPTransport`."""
        self.disconnecting = True
        self._clock.callLater(0, self.lose, ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer`."""
        if self._encryption is None:
            StringTransport.registerProducer(self, producer, streaming)
        else:
            self._encryption.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See `IConsumer`."""
        if self._encryption is None:
            self.producer = None
        else:
            self._encryption.unregisterProducer()

    def startTLS(self, certificates: Any, normal: bool = True) -> None:
        """See `ITLSTransport`."""
        producer, self.producer = self.producer, None
        self._encrypt(certificates, connect=False)
        if producer is not None:
            self.registerProducer(producer, True)

    def _encrypt(self, certificates: Any, *, connect: bool) -> None:
        nobody: Any = None  # makes the protocol, as there is one
        factory: Any = TLSFactory(certificates, False, nobody, self._clock)
        encryption = factory.protocol(factory, self._upper, connect)
        if not connect:
            self._encryption = encryption
            self.getHandle = encryption.getHandle
        self._upper = encryption
        encryption.makeConnection(_Beneath(self))


class _Beneath:
    """The wire as TLS has it: octets go out as they are."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    def write(self, data: bytes) -> None:
        if not self._wire.lost:
            StringTransport.write(self._wire, data)

    def loseConnection(self) -> None:
        wire = self._wire
        if not wire.disconnecting:
            wire.disconnecting = True
            wire._clock.callLater(0, wire.lose, ConnectionDone())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        StringTransport.registerProducer(self._wire, producer, streaming)

    def unregisterProducer(self) -> None:
        self._wire.producer = None


class ClientTLS:
    """The client's side of TLS, which believes every certificate."""

    def __init__(self) -> None:
        self._connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self._connection.set_connect_state()
        self._stands = False
        #: What is to be said when TLS stands.
        self._kept = b""

    def say(self, octets: bytes) -> None:
        """Say *octets*, now or as soon as that can be done."""
        self._kept += octets

    def turn(self, octets: bytes) -> tuple[bytes, bytes]:
        """*octets* came over the wire.

        :returns: what they say, and what is to go over the wire.
        :raises OpenSSL.SSL.Error: the server has no TLS for us.
        """
        if octets:
            self._connection.bio_write(octets)
        came = b""
        try:
            if not self._stands:
                self._connection.do_handshake()
                self._stands = True
            for start in range(0, len(self._kept), 16384):
                self._connection.send(self._kept[start : start + 16384])
            self._kept = b""
            while True:
                came += self._connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._connection.shutdown()
        return came, self._going()

    def _going(self) -> bytes:
        try:
            return self._connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""
