"""TLS as a transport: Twisted's, without what costs a server time.

Twisted's factory makes transports that keep what is written until the reactor's next turn, to put small writes
together. Replies are put together already. It costs a timer for each write, and octets: if a client closes TLS
right behind its last command, what was kept for it is dropped. These transports write at once.

And Twisted's transport declares anew, one by one, each interface of the transport beneath, of which the last remains.
That is about a tenth of the time that a whole connection with a short handshake takes in Python; here there are none.

`TLSFactory` is for implicit TLS, and for who makes a transport's ``startTLS``::

    endpoint.listen(TLSFactory(certificates, False, smtp_factory))
"""

from typing import Any

from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

__all__ = ["TLSFactory", "TLSTransport"]


class _Beneath:
    """The transport beneath, but that it declares no interfaces."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        # Kept here, as this is what is called for each record.
        self.write = transport.write

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # zope.interface keeps its declarations under such names
            raise AttributeError(name)
        return getattr(self._transport, name)


class TLSTransport(TLSMemoryBIOProtocol):
    """A connection's TLS."""

    def makeConnection(self, transport: Any) -> None:
        """Twisted's word that there is a connection beneath."""
        TLSMemoryBIOProtocol.makeConnection(self, _Beneath(transport))


class TLSFactory(TLSMemoryBIOFactory):
    """Puts TLS around the connections of a factory."""

    protocol = TLSTransport
