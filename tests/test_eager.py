"""Connections that send at once: what they send, in which order, and how they end."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor, tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    SSL4ClientEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    serverFromString,
)
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from twistsmtp.eager import EagerServer, EagerUNIXServer, eager
from twistsmtp.hub import Hub


class Socket:
    """A socket that takes as many octets with each send as it is told, and all of them from then on.

    An ``int`` in *answers* is how many it takes, 0 that it would block, and ``None`` that the peer is gone.
    """

    def __init__(self, answers: list[int | None]) -> None:
        self.answers = answers
        self.sent = b""
        self.shut: list[int] = []

    def send(self, octets: bytes) -> int:
        answer = self.answers.pop(0) if self.answers else len(octets)
        if answer is None:
            raise OSError(errno.EPIPE, "the peer is gone")
        if answer == 0 and octets:
            raise OSError(errno.EWOULDBLOCK, "it would block")
        self.sent += octets[:answer]
        return min(answer, len(octets))

    def shutdown(self, how: int) -> None:
        self.shut.append(how)

    def fileno(self) -> int:
        return 99

    def setblocking(self, flag: bool) -> None:
        pass

    def setsockopt(self, *option: object) -> None:
        pass

    def close(self) -> None:
        pass


class Recorder(Protocol):
    """Remembers what it was sent, and how its connection ended."""

    reason: Failure | None = None

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


@implementer(IFileDescriptorReceiver)
class FileRecorder(Recorder):
    """Remembers which open files it was sent, too."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[int] = []

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802  # Twisted's name
        self.files.append(descriptor)


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """Remembers that its sending side was closed, too."""

    write_lost = False

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        self.write_lost = True


class Connection:
    """A connection of a class, on a fake socket and in a fake reactor."""

    def __init__(self, kind: Callable[..., tcp.Server], *answers: int | None, protocol: Recorder | None = None) -> None:
        self.reactor = MemoryReactorClock()
        self.socket = Socket(list(answers))
        self.protocol = protocol or Recorder()
        self.transport = kind(self.socket, self.protocol, ("192.0.2.1", 25), None, 0, self.reactor)
        self.protocol.makeConnection(self.transport)

    def turn(self) -> bool:
        """Do what a reactor does when a socket can be written to. False if nobody asked for it."""
        self.reactor.advance(0)
        if self.transport not in self.reactor.writers:
            return False
        why = self.transport.doWrite()
        if why:
            self.reactor.removeReader(self.transport)
            self.reactor.removeWriter(self.transport)
            self.transport.connectionLost(Failure(why))
        return True

    def run(self) -> None:
        """Turn until nothing is left to do."""
        while self.turn():
            pass


class PushProducer:
    """Writes pieces to a consumer until it is paused, as a streaming producer does."""

    def __init__(self, consumer: Any, pieces: list[bytes], end: Callable[[], object] = lambda: None) -> None:
        self.consumer = consumer
        self.pieces = pieces
        self.end = end
        self.paused = False
        self.pauses = 0
        self.depth = 0

    def start(self) -> None:
        self.consumer.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        assert not self.depth, "resumeProducing was called from within itself"
        self.depth += 1
        self.paused = False
        while self.pieces and not self.paused:
            self.consumer.write(self.pieces.pop(0))
        if not self.pieces and not self.paused:
            self.consumer.unregisterProducer()
            self.end()
        self.depth -= 1

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def stopProducing(self) -> None:
        self.pieces.clear()


class PullProducer:
    """Writes one piece each time it is asked."""

    def __init__(self, consumer: Any, pieces: list[bytes]) -> None:
        self.consumer = consumer
        self.pieces = pieces

    def resumeProducing(self) -> None:
        if self.pieces:
            self.consumer.write(self.pieces.pop(0))
        else:
            self.consumer.unregisterProducer()

    def stopProducing(self) -> None:
        self.pieces.clear()


class WriteTests(SynchronousTestCase):
    """Octets on a socket that takes all, some or none of them."""

    def test_at_once(self) -> None:
        connection = Connection(EagerServer)
        connection.transport.write(b"250 OK\r\n")
        self.assertEqual(connection.socket.sent, b"250 OK\r\n")
        self.assertFalse(connection.reactor.writers)

    def test_stock_connections_do_not(self) -> None:
        """What all this is for; if Twisted's own ever send at once, this module can go."""
        connection = Connection(tcp.Server)
        connection.transport.write(b"250 OK\r\n")
        self.assertEqual(connection.socket.sent, b"")

    def test_again_and_again(self) -> None:
        connection = Connection(EagerServer)
        for line in (b"one", b"two", b"three"):
            connection.transport.write(line)
        self.assertEqual(connection.socket.sent, b"onetwothree")

    def test_sequence_is_one_send(self) -> None:
        connection = Connection(EagerServer, 4, 0)
        connection.transport.writeSequence([b"one", b"two"])
        self.assertEqual(connection.socket.sent, b"onet")
        self.assertEqual(connection.socket.answers, [0])

    def test_nothing(self) -> None:
        connection = Connection(EagerServer, 5)
        connection.transport.write(b"")
        connection.transport.writeSequence([])
        self.assertEqual(connection.socket.answers, [5])
        self.assertFalse(connection.reactor.writers)

    def test_not_octets(self) -> None:
        connection = Connection(EagerServer)
        self.assertRaises(TypeError, connection.transport.write, "text")
        self.assertRaises(TypeError, connection.transport.writeSequence, ["text"])

    def test_rest_waits(self) -> None:
        connection = Connection(EagerServer, 3)
        connection.transport.write(b"abcdef")
        self.assertEqual(connection.socket.sent, b"abc")
        connection.transport.write(b"ghi")
        self.assertEqual(connection.socket.sent, b"abc")
        connection.run()
        self.assertEqual(connection.socket.sent, b"abcdefghi")

    def test_would_block(self) -> None:
        connection = Connection(EagerServer, 0)
        connection.transport.write(b"abc")
        self.assertEqual(connection.socket.sent, b"")
        connection.run()
        self.assertEqual(connection.socket.sent, b"abc")

    def test_at_once_again_when_nothing_waits(self) -> None:
        connection = Connection(EagerServer, 0)
        connection.transport.write(b"abc")
        connection.run()
        connection.transport.write(b"def")
        self.assertEqual(connection.socket.sent, b"abcdef")
        self.assertFalse(connection.reactor.writers)

    def test_as_much_as_the_socket_takes(self) -> None:
        connection = Connection(EagerServer)
        much = os.urandom(EagerServer.SEND_LIMIT * 3 + 1)
        connection.transport.write(much)
        self.assertEqual(connection.socket.sent, much)
        self.assertFalse(connection.reactor.writers)

    def test_unix(self) -> None:
        connection = Connection(EagerUNIXServer, 2)
        connection.transport.write(b"abc")
        self.assertEqual(connection.socket.sent, b"ab")
        connection.run()
        self.assertEqual(connection.socket.sent, b"abc")


class ReadTests(SynchronousTestCase):
    """What the reactor is told of a read."""

    def read(self, answer: bytes | OSError) -> tuple[object, list[bytes]]:
        """What comes of a read that the socket answers so, and what the protocol is given."""
        connection = Connection(EagerServer)
        received = connection.protocol.received

        def recv(size: int) -> bytes:
            self.assertEqual(size, 65536)
            if isinstance(answer, OSError):
                raise answer
            return answer

        connection.socket.recv = recv  # type: ignore[attr-defined]  # no other test reads
        return connection.transport.doRead(), received

    def test_octets(self) -> None:
        self.assertEqual(self.read(b"abc"), (None, [b"abc"]))

    def test_nothing(self) -> None:
        self.assertEqual(self.read(OSError(errno.EWOULDBLOCK, "it would block")), (None, []))

    def test_end(self) -> None:
        self.assertEqual(self.read(b""), (CONNECTION_DONE, []))

    def test_lost(self) -> None:
        self.assertEqual(self.read(OSError(errno.ECONNRESET, "the peer is gone")), (CONNECTION_LOST, []))

    def test_open_files(self) -> None:
        """As Twisted has it, they may come along on a UNIX socket."""
        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        protocol = FileRecorder()
        connection = EagerUNIXServer(ours, protocol, b"", None, 0, MemoryReactorClock())
        protocol.makeConnection(connection)
        socket.send_fds(peer, [b"abc"], [peer.fileno()])
        self.assertIsNone(connection.doRead())
        self.assertEqual(protocol.received, [b"abc"])
        [number] = protocol.files
        os.close(number)
        connection.connectionLost(Failure(ConnectionDone()))


class EndTests(SynchronousTestCase):
    """Connections that end, from either side."""

    def test_close_behind_what_was_sent(self) -> None:
        connection = Connection(EagerServer)
        connection.transport.write(b"221 Bye\r\n")
        connection.transport.loseConnection()
        self.assertIsNone(connection.protocol.reason)
        connection.run()
        self.assertEqual(connection.socket.sent, b"221 Bye\r\n")
        self.assertIsNotNone(connection.protocol.reason)

    def test_close_behind_what_waits(self) -> None:
        connection = Connection(EagerServer, 1, 1, 0)
        connection.transport.write(b"221 Bye\r\n")
        connection.transport.loseConnection()
        connection.run()
        self.assertEqual(connection.socket.sent, b"221 Bye\r\n")
        self.assertIsNotNone(connection.protocol.reason)

    def test_write_behind_close(self) -> None:
        """Twisted still sends it, in order; so does this."""
        connection = Connection(EagerServer)
        connection.transport.loseConnection()
        connection.transport.write(b"late")
        self.assertEqual(connection.socket.sent, b"")
        connection.run()
        self.assertEqual(connection.socket.sent, b"late")
        self.assertIsNotNone(connection.protocol.reason)

    def test_peer_gone(self) -> None:
        """Nobody hears of it while `write` runs; then the reactor finds it."""
        connection = Connection(EagerServer, None, None)
        connection.transport.write(b"abc")
        self.assertIsNone(connection.protocol.reason)
        connection.run()
        assert connection.protocol.reason is not None
        connection.protocol.reason.trap(ConnectionLost)

    def test_write_when_lost(self) -> None:
        connection = Connection(EagerServer)
        connection.transport.connectionLost(Failure(ConnectionDone()))
        connection.transport.write(b"abc")
        connection.transport.writeSequence([b"abc"])
        self.assertEqual(connection.socket.sent, b"")
        self.assertFalse(connection.reactor.writers)

    def test_abort(self) -> None:
        connection = Connection(EagerServer)
        connection.transport.abortConnection()
        connection.transport.write(b"abc")
        connection.run()
        self.assertEqual(connection.socket.sent, b"")
        assert connection.protocol.reason is not None
        connection.protocol.reason.trap(ConnectionAborted)

    def test_half_close(self) -> None:
        protocol = HalfRecorder()
        connection = Connection(EagerServer, 2, protocol=protocol)
        connection.transport.write(b"abc")
        connection.transport.loseWriteConnection()
        self.assertEqual(connection.socket.shut, [])
        connection.run()
        self.assertEqual(connection.socket.sent, b"abc")
        self.assertEqual(connection.socket.shut, [socket.SHUT_WR])
        self.assertTrue(protocol.write_lost)

    def test_write_behind_half_close(self) -> None:
        connection = Connection(EagerServer, protocol=HalfRecorder())
        connection.transport.loseWriteConnection()
        connection.run()
        connection.transport.write(b"abc")
        connection.run()
        self.assertEqual(connection.socket.sent, b"")


class ProducerTests(SynchronousTestCase):
    """Producers are paused and asked for more as Twisted does it."""

    def test_push_pauses_when_full(self) -> None:
        size = EagerServer.bufferSize + 1
        connection = Connection(EagerServer, 1, 0)
        producer = PushProducer(connection.transport, [b"a" * size, b"b" * size, b"c"])
        producer.start()
        self.assertEqual(producer.pauses, 1)
        self.assertEqual(connection.socket.sent, b"a")
        connection.run()
        self.assertEqual(connection.socket.sent, b"a" * size + b"b" * size + b"c")

    def test_push_that_never_has_to_wait(self) -> None:
        connection = Connection(EagerServer)
        producer = PushProducer(connection.transport, [b"a"] * 1000)
        producer.start()
        self.assertEqual(producer.pauses, 0)
        self.assertEqual(connection.socket.sent, b"a" * 1000)

    def test_pull(self) -> None:
        connection = Connection(EagerServer, 1)
        pieces = [b"%d" % number for number in range(10)]
        connection.transport.registerProducer(PullProducer(connection.transport, pieces), False)
        connection.run()
        self.assertEqual(connection.socket.sent, b"0123456789")
        connection.transport.write(b"!")
        self.assertEqual(connection.socket.sent, b"0123456789!")

    def test_none_is_asked_for_more_when_the_peer_is_gone(self) -> None:
        """They are told to stop, as soon as the reactor finds out, and the connection is over."""
        for kind in (PushProducer, PullProducer):
            for sent in (0, 1):
                connection = Connection(EagerServer, sent, None)
                pieces = [b"a" * (EagerServer.bufferSize + 1), b"b", b"c"]
                producer = kind(connection.transport, pieces)
                connection.transport.registerProducer(producer, kind is PushProducer)
                producer.resumeProducing()
                connection.run()
                self.assertEqual(pieces, [])
                self.assertEqual(connection.socket.sent, b"a" * sent)
                self.assertIsNone(connection.transport.producer)
                assert connection.protocol.reason is not None
                connection.protocol.reason.trap(ConnectionLost)

    def test_close_waits_for_the_producer(self) -> None:
        connection = Connection(EagerServer, 0)
        pieces = [b"a" * EagerServer.bufferSize, b"b", b"c"]
        PushProducer(connection.transport, pieces).start()
        connection.transport.loseConnection()
        connection.run()
        self.assertEqual(connection.socket.sent, b"a" * EagerServer.bufferSize + b"bc")
        self.assertIsNotNone(connection.protocol.reason)


#: What a program may do with a connection, as the tests of equality play it.
STEPS = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=12)),
    st.tuples(st.just("writeSequence"), st.lists(st.binary(max_size=4), max_size=3)),
    st.tuples(st.just("turn"), st.none()),
    st.tuples(st.just("push"), st.lists(st.binary(min_size=1, max_size=8), max_size=4)),
    st.tuples(st.just("pull"), st.lists(st.binary(min_size=1, max_size=8), max_size=4)),
)
ENDS = st.sampled_from(["", "loseConnection", "loseWriteConnection", "abortConnection"])


def play(
    kind: Callable[..., tcp.Server], answers: list[int | None], steps: list[Any], end: str, turns: int
) -> tuple[object, ...]:
    """What becomes of a connection that all this is done with."""

    class Small(kind):  # type: ignore[misc, valid-type]  # the class is the parameter
        bufferSize = 6  # noqa: N815  # Twisted's name

    connection = Connection(Small, *answers, protocol=HalfRecorder())
    transport = connection.transport
    for name, argument in steps:
        # What others write while a producer is registered may go before or behind what that one writes.
        if name == "turn":
            connection.turn()
        elif transport.producer is not None:
            connection.run()
        if name == "push":
            PushProducer(transport, list(argument)).start()
        elif name == "pull":
            transport.registerProducer(PullProducer(transport, list(argument)), False)
        elif name != "turn":
            getattr(transport, name)(argument)
    for _ in range(turns):
        connection.turn()
    if transport.producer is not None or end == "abortConnection":
        connection.run()
    if end:
        getattr(transport, end)()
        transport.write(b"late")
    connection.run()
    reason = connection.protocol.reason
    return connection.socket.sent, connection.socket.shut, reason and reason.type


class EqualityTests(SynchronousTestCase):
    """Whatever is done with it, a connection of ours ends up where one of Twisted's does."""

    @given(
        st.lists(st.integers(0, 9), max_size=12),
        st.lists(STEPS, max_size=12),
        ENDS,
        st.integers(0, 3),
    )
    def test_the_same_octets_and_end(self, answers: list[Any], steps: list[Any], end: str, turns: int) -> None:
        expected = play(tcp.Server, list(answers), steps, end, turns)
        self.assertEqual(play(EagerServer, list(answers), steps, end, turns), expected)


#: More than sockets whose buffers are small take at once.
MUCH = os.urandom(300_000)


def certificate_pem() -> bytes:
    """A new key and its own certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1)).sign(key, SHA256())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)


class Server(Protocol):
    """Answers each word that it is sent."""

    certificate: CertificateOptions
    #: What ends with each connection.
    lost: "Deferred[None]"

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        for word in data.split():
            if word == b"STARTTLS":
                transport.write(b"ready ")
                transport.startTLS(self.certificate)
            elif word == b"GIVE":
                for start in range(0, len(MUCH), 7777):
                    transport.write(MUCH[start : start + 7777])
                transport.loseConnection()
            elif word == b"PRODUCE":
                pieces = [MUCH[start : start + 70_000] for start in range(0, len(MUCH), 70_000)]
                PushProducer(transport, pieces, transport.loseConnection).start()
            else:
                transport.write(word + b" ")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Client(Protocol):
    """Says one word after another, each when the one before was answered, and keeps what it is sent."""

    def __init__(self, *words: bytes) -> None:
        self.words = list(words)
        self.received = b""
        self.answered: Deferred[None] = Deferred()
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.words.pop(0))

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        self.received += data
        if self.received == b"ready ":
            self.received = b""
            transport.startTLS(CertificateOptions())
            transport.write(self.words.pop(0))
        elif self.received.endswith(b" ") and self.words:
            transport.write(self.words.pop(0))
        elif self.received == b"one two ":
            self.answered.callback(None)
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(self.received)


class Leaver(Client):
    """Says its words, and is gone when the last one is being answered: with a reset, as much has not been read."""

    def dataReceived(self, data: bytes) -> None:
        if self.words or data == b"ready ":
            super().dataReceived(data)
        else:
            transport: Any = self.transport
            transport.abortConnection()


class RealSocketTests(TestCase):
    """The endpoints that people listen on, with sockets that are soon full."""

    #: What fires when the last connection is over on the server's side.
    lost: "Deferred[None]"
    #: Whether connections read through a hub.
    hub = Hub.is_possible()

    def setUp(self) -> None:
        self.patch(Hub, "is_possible", lambda: self.hub)
        self.folder = Path(tempfile.mkdtemp())  # short, as paths of sockets have to be
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "pem").write_bytes(certificate_pem())
        self.waits: list[object] = []
        start = EagerServer.startWriting

        def start_writing(server: EagerServer) -> None:
            self.waits.append(server)
            start(server)

        self.patch(EagerServer, "startWriting", start_writing)

    async def listen(self, endpoint: Any) -> Any:
        """A port, whose connections have little room to send into."""
        test = self

        class TestServer(Server):
            certificate = PrivateCertificate.loadPEM((self.folder / "pem").read_bytes()).options()

            def connectionMade(self) -> None:
                self.lost = test.lost = Deferred()

        if isinstance(endpoint, str):
            endpoint = serverFromString(reactor, endpoint)
        port = eager(await endpoint.listen(Factory.forProtocol(TestServer)))
        self.addCleanup(port.stopListening)
        self.assertEqual(port.transport.keywords["hub"] is not None, self.hub)
        handle: socket.socket = port.socket
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return port

    async def talk(self, endpoint: Any, client: Client) -> bytes:
        """All that the server says to *client* until the connection ends."""
        await connectProtocol(endpoint, client)
        received = await client.done
        await self.lost
        return received

    async def talk_tcp(self, port: Any, *words: bytes) -> bytes:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        return await self.talk(endpoint, Client(*words))

    async def test_tcp(self) -> None:
        port = await self.listen("tcp:0:interface=127.0.0.1")
        self.assertEqual(await self.talk_tcp(port, b"GIVE"), MUCH)
        self.assertEqual(await self.talk_tcp(port, b"PRODUCE"), MUCH)

    async def test_tcp_never_waits_for_little(self) -> None:
        port = await self.listen("tcp:0:interface=127.0.0.1")
        self.assertEqual(await self.talk_tcp(port, b"one", b"two"), b"one two ")
        self.assertEqual(self.waits, [])

    async def test_unix(self) -> None:
        path = str(self.folder / "socket")
        port = await self.listen(f"unix:{path}")
        self.assertIs(port.transport.func, EagerUNIXServer)
        self.assertEqual(await self.talk(UNIXClientEndpoint(reactor, path), Client(b"GIVE")), MUCH)
        self.assertEqual(await self.talk(UNIXClientEndpoint(reactor, path), Client(b"PRODUCE")), MUCH)

    async def test_ssl(self) -> None:
        port = await self.listen(f"ssl:0:interface=127.0.0.1:privateKey={self.folder / 'pem'}")
        self.assertIs(port.transport.func, EagerServer)
        for word in (b"GIVE", b"PRODUCE"):
            client = SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, CertificateOptions())
            self.assertEqual(await self.talk(client, Client(word)), MUCH)

    async def test_haproxy(self) -> None:
        port = await self.listen("haproxy:tcp:0:interface=127.0.0.1")
        self.assertIs(port.transport.func, EagerServer)
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n"
        self.assertEqual(await self.talk_tcp(port, header + b"GIVE"), MUCH)

    async def test_adopted(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            endpoint = AdoptedStreamServerEndpoint(reactor, os.dup(listening.fileno()), socket.AF_INET)
            port = await self.listen(endpoint)
        self.assertIs(port.transport.func, EagerServer)
        self.assertEqual(await self.talk_tcp(port, b"GIVE"), MUCH)

    async def test_start_tls(self) -> None:
        port = await self.listen("tcp:0:interface=127.0.0.1")
        self.assertEqual(await self.talk_tcp(port, b"STARTTLS", b"GIVE"), MUCH)
        self.assertEqual(await self.talk_tcp(port, b"STARTTLS", b"PRODUCE"), MUCH)

    async def test_lost_in_the_middle(self) -> None:
        """Of what is to be sent much waits still: nothing of the connection is left, and nobody is told of an error."""
        port = await self.listen("tcp:0:interface=127.0.0.1")
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        for word in (b"GIVE", b"PRODUCE"):
            for words in ([word], [b"STARTTLS", word]):
                await self.talk(endpoint, Leaver(*words))
        hub = port.transport.keywords["hub"]
        self.assertEqual(repr(hub), "<Hub []>" if self.hub else "None")
        self.assertEqual([each for each in reactor.getWriters() if isinstance(each, EagerServer)], [])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_start_tls_never_waits_for_little(self) -> None:
        port = await self.listen("tcp:0:interface=127.0.0.1")
        client = Client(b"STARTTLS", b"one", b"two")
        client.answered.addCallback(lambda _: self.assertEqual(self.waits, []))
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        self.assertEqual(await self.talk(endpoint, client), b"one two ")
        await client.answered


class PlainReadingTests(RealSocketTests):
    """The same where there is no hub: the reactor has each of the connections read."""

    hub = False


class PortTests(SynchronousTestCase):
    """Which ports are changed."""

    def port(self, transport: type[tcp.Server]) -> Any:
        port = tcp.Port(0, Factory(), reactor=MemoryReactorClock())
        port.transport = transport
        return port

    def test_known(self) -> None:
        self.assertIs(eager(self.port(tcp.Server)).transport.func, EagerServer)
        self.assertIs(eager(self.port(unix.Server)).transport.func, EagerUNIXServer)

    def test_twice(self) -> None:
        port = eager(self.port(tcp.Server))
        transport = port.transport
        self.assertIs(eager(port).transport, transport)

    def test_hub_of_its_own(self) -> None:
        one, other = (eager(self.port(tcp.Server)).transport.keywords["hub"] for _ in range(2))
        self.assertIsInstance(one, Hub)
        self.assertIsNot(one, other)

    def test_no_hub(self) -> None:
        """Where the system has no epoll the reactor has each of the connections read."""
        self.patch(Hub, "is_possible", lambda: False)
        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        port = eager(self.port(tcp.Server))
        protocol = Recorder()
        connection = port.transport(ours, protocol, ("192.0.2.1", 25), None, 0, port.reactor)
        protocol.makeConnection(connection)
        self.assertEqual(port.reactor.readers, {connection})
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(port.reactor.readers, set())

    def test_of_others(self) -> None:
        """A port that somebody gave connections of their own keeps them."""

        class Other(tcp.Server):
            pass

        self.assertIs(eager(self.port(Other)).transport, Other)

    def test_of_another_kind(self) -> None:
        port = object()
        self.assertIs(eager(port), port)
