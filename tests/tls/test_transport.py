"""TLS as a transport, in memory."""

# Not `suppress` by itself: trial would take that name in a module for its own setting.
import contextlib
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.tls.support import client, issue, write
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.transport import TLSFactory


class Shout(Protocol):
    """Says what it hears in capital letters."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        for octet in data:
            self.transport.write(bytes([octet]).upper())


class TransportTests(TestCase):
    """What a client gets."""

    def setUp(self) -> None:
        self.clock = Clock()
        certificates = Certificates(write(Path(self.mktemp()) / "a.pem", issue("mx.test")))
        factory = Factory()
        shout: Any = Shout
        factory.protocol = shout
        self.tls: Any = TLSFactory(certificates, False, factory, self.clock).buildProtocol(StringTransport().getPeer())
        self.beneath = StringTransport()
        self.tls.makeConnection(self.beneath)
        self.client = client()
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                self.client.do_handshake()
            self.carry()

    def carry(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self.tls.dataReceived(self.client.bio_read(1 << 16))
        octets = self.beneath.value()
        self.beneath.clear()
        if octets:
            self.client.bio_write(octets)

    def heard(self) -> bytes:
        said = b""
        with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
            while True:
                said += self.client.recv(1000)
        return said

    def test_what_is_written_is_sent_at_once(self) -> None:
        self.client.send(b"hello")
        self.carry()
        self.assertEqual(self.heard(), b"HELLO")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_closes_behind_its_last_word(self) -> None:
        self.client.send(b"quit")
        self.client.shutdown()
        self.carry()
        self.assertEqual(self.heard(), b"QUIT")
        self.assertTrue(self.beneath.disconnecting)
        self.tls.connectionLost(Failure(ConnectionDone()))

    def test_what_the_transport_beneath_is_asked(self) -> None:
        self.assertIsInstance(self.tls, TLSMemoryBIOProtocol)
        shout = self.tls.wrappedProtocol
        self.assertEqual(shout.transport.getPeer(), self.beneath.getPeer())
        self.assertRaises(AttributeError, lambda: shout.transport.setTcpNoDelay)
        shout.transport.loseConnection()
        self.carry()
        self.client.shutdown()
        self.carry()
        self.assertTrue(self.beneath.disconnecting)

    def test_producers(self) -> None:
        called: list[str] = []

        class Producer:
            def __getattr__(self, name: str) -> Any:
                return lambda: called.append(name)

        shout = self.tls.wrappedProtocol
        shout.transport.registerProducer(Producer(), True)
        self.assertTrue(self.beneath.streaming)
        producer: Any = self.beneath.producer
        producer.pauseProducing()
        producer.resumeProducing()
        self.assertEqual(called, ["pauseProducing", "resumeProducing"])
        shout.transport.unregisterProducer()
        self.assertIsNone(self.beneath.producer)
