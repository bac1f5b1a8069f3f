"""Connections that send at once: what they send, in which order, and how they end."""

import contextlib
import errno
import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
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

from twistsmtp import eager as module
from twistsmtp.eager import EagerServer, EagerUNIXServer, eager
from twistsmtp.hub import Hub


class Socket:
    """A socket that takes as many octets with each send as it is told, and all of them from then on.

    An ``int`` in *answers* is how many it takes, 0 that it would block, and ``None`` that the peer is gone.
    """

    def __init__(self, answers: list[int | None]) -> None:
        self.answers = answers
        self.sent = b""
        self.sends = 0
        self.shut: list[int] = []

    def send(self, octets: bytes) -> int:
        self.sends += 1
        answer = self.answers.pop(0) if self.answers else len(octets)
        if answer is None or self.shut:
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


class ReadableSocket(Socket):
    """One that *peer* can write to, too, and that an epoll can watch."""

    def __init__(self, answers: list[int | None]) -> None:
        super().__init__(answers)
        self._ours, self.peer = socket.socketpair()

    def recv(self, size: int) -> bytes:
        return self._ours.recv(size)

    def fileno(self) -> int:
        return self._ours.fileno()

    def setblocking(self, flag: bool) -> None:
        self._ours.setblocking(flag)

    def close(self) -> None:
        self._ours.close()
        self.peer.close()


class Recorder(Protocol):
    """Remembers what it was sent, and how its connection ended, and does what a test says with what comes."""

    reason: Failure | None = None

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ends = 0
        self.act: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self.act()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.ends += 1


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

    def __init__(self) -> None:
        super().__init__()
        self.read_lost: Callable[[], object] = lambda: None

    def readConnectionLost(self) -> None:
        self.read_lost()

    def writeConnectionLost(self) -> None:
        self.write_lost = True


class Connection:
    """A connection of a class, on a fake socket and in a fake reactor."""

    sockets: Callable[[list[int | None]], Socket] = Socket

    def __init__(self, kind: Callable[..., tcp.Server], *answers: int | None, protocol: Recorder | None = None) -> None:
        self.reactor = MemoryReactorClock()
        self.socket = self.sockets(list(answers))
        self.protocol = protocol or Recorder()
        self.transport = kind(self.socket, self.protocol, ("192.0.2.1", 25), None, 0, self.reactor)
        self.protocol.makeConnection(self.transport)

    def turn(self) -> bool:
        """Do what a reactor does when a socket can be written to. False if nobody asked for it."""
        self.reactor.advance(0)
        if self.transport not in self.reactor.writers:
            return False
        self._end(self.transport.doWrite())
        return True

    def _end(self, why: Any) -> None:
        if why:
            self.reactor.removeReader(self.transport)
            self.reactor.removeWriter(self.transport)
            self.transport.connectionLost(Failure(why))

    def run(self) -> None:
        """Turn until nothing is left to do."""
        while self.turn():
            pass

    @property
    def end(self) -> type[BaseException] | None:
        """With what it has ended."""
        return self.protocol.reason.type if self.protocol.reason else None


class ReadConnection(Connection):
    """A connection of a class that is read from, too: through *hub*, unless it is Twisted's own."""

    sockets = ReadableSocket
    socket: ReadableSocket

    def __init__(
        self, hub: Hub | None, kind: Callable[..., tcp.Server], *answers: int | None, protocol: Recorder | None = None
    ) -> None:
        self.hub = hub
        super().__init__(partial(kind, hub=hub) if hub else kind, *answers, protocol=protocol)

    def read(self, act: Callable[[], object], *others: "ReadConnection", octets: bytes = b"x") -> None:
        """Have it read *octets*, of which *act* comes, in one round with *others*."""
        self.protocol.act = act
        self.socket.peer.send(octets)
        for each in others:
            each.socket.peer.send(b"x")
        if self.hub:
            self.hub.doRead()
        elif self.transport in self.reactor.readers:
            self._end(self.transport.doRead())

    def close(self) -> None:
        """End it, and leave nothing open."""
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.socket.close()


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


class Pausable:
    """A producer of either kind that writes when a test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


class TLSClient:
    """What a peer says in TLS on *connection*, of which it has read *start* octets."""

    def __init__(self, connection: ReadConnection, start: int = 0) -> None:
        self._socket = connection.socket
        self._start = start
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    def shake_hands(self) -> bool:
        """Go on with that. False if it is the server's turn."""
        self._take()
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._give()
        return True

    def record(self, octets: bytes) -> bytes:
        """*octets* as they are to be sent."""
        self._tls.write(octets)
        return self._outgoing.read()

    def read(self) -> bytes:
        """All that the server has said before it ended TLS."""
        self._take()
        received = b""
        while octets := self._tls.read(100):
            received += octets
        return received

    def close(self) -> None:
        """End TLS."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._give()

    def _take(self) -> None:
        self._incoming.write(self._socket.sent[self._start :])
        self._start = len(self._socket.sent)

    def _give(self) -> None:
        self._socket.peer.send(self._outgoing.read())


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


class RoundTests(SynchronousTestCase):
    """Octets and ends while several connections are read."""

    def setUp(self) -> None:
        self.hub = Hub(MemoryReactorClock())
        self.other = self.accept()

    def accept(self, *answers: int | None, protocol: Recorder | None = None) -> ReadConnection:
        """A new connection of the hub."""
        connection = ReadConnection(self.hub, EagerServer, *answers, protocol=protocol)
        self.addCleanup(connection.close)
        return connection

    def read(
        self, connection: ReadConnection, *actions: tuple[Any, ...], octets: bytes = b"x"
    ) -> list[tuple[bytes, bool]]:
        """Have *connection* read *octets* in one round with another, and call methods of it meanwhile.

        :returns: what had been sent behind each call, and whether the connection had ended.
        """
        seen: list[tuple[bytes, bool]] = []

        def act() -> None:
            for name, *arguments in actions:
                getattr(connection.transport, name)(*arguments)
                seen.append((connection.socket.sent, connection.end is not None))

        connection.read(act, self.other, octets=octets)
        self.assertEqual(len(seen), len(actions))
        return seen

    def alone(self, connection: ReadConnection, *actions: tuple[Any, ...]) -> None:
        """The same, with *connection* alone in the round."""
        connection.read(lambda: [getattr(connection.transport, name)(*arguments) for name, *arguments in actions])

    def never_a_writer(self, connection: ReadConnection) -> None:
        self.patch(connection.reactor, "addWriter", self.fail)

    # --- octets -----------------------------------------------------------------------------------------------

    def test_one_send(self) -> None:
        connection = self.accept()
        seen = self.read(connection, ("write", b"one "), ("write", b""), ("writeSequence", [b"two ", b"three"]))
        self.assertEqual(seen, [(b"", False)] * 3)
        self.assertEqual((connection.socket.sent, connection.socket.sends), (b"one two three", 1))

    def test_alone(self) -> None:
        connection = self.accept()
        self.alone(connection, ("write", b"one "), ("write", b"two"))
        self.assertEqual((connection.socket.sent, connection.socket.sends), (b"one two", 2))

    def test_nothing(self) -> None:
        connection = self.accept()
        self.read(connection, ("write", b""), ("writeSequence", []))
        self.assertEqual(connection.socket.sends, 0)

    def test_not_octets(self) -> None:
        text: Any = "text"
        for first in (b"", b"x"):
            connection = self.accept()
            connection.transport.write(first)
            connection.read(partial(connection.transport.write, text), self.other)
            self.assertIs(connection.end, TypeError)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_much(self) -> None:
        """There is an end to what is put aside: more than that goes out at once, in one with all before."""
        size = module._ASIDE
        connection = self.accept()
        seen = self.read(
            connection, ("write", b"a" * size), ("write", b"b"), ("write", b"c"), ("write", b"d"), ("write", b"e")
        )
        much = b"a" * size + b"bc"
        self.assertEqual([sent for sent, _ in seen], [b"", b"", much, much, much])
        self.assertEqual((connection.socket.sent, connection.socket.sends), (much + b"de", 2))

    def test_rest_waits(self) -> None:
        connection = self.accept(3)
        self.read(connection, ("write", b"abc"), ("write", b"def"))
        self.assertEqual(connection.socket.sent, b"abc")
        self.read(connection, ("write", b"ghi"))
        self.assertEqual(connection.socket.sent, b"abc")
        connection.run()
        self.assertEqual(connection.socket.sent, b"abcdefghi")
        self.read(connection, ("write", b"jkl"))
        self.assertEqual(connection.socket.sent, b"abcdefghijkl")

    def test_rest_of_much_waits(self) -> None:
        size = module._ASIDE + 1
        connection = self.accept(3)
        self.read(connection, ("write", b"a" * size), ("write", b"b"), ("write", b"c"))
        self.assertEqual(connection.socket.sent, b"aaa")
        connection.run()
        self.assertEqual(connection.socket.sent, b"a" * size + b"bc")

    def test_would_block(self) -> None:
        connection = self.accept(0)
        self.read(connection, ("write", b"abc"), ("write", b"def"))
        self.assertEqual(connection.socket.sent, b"")
        connection.run()
        self.assertEqual(connection.socket.sent, b"abcdef")

    def test_peer_gone(self) -> None:
        for actions in ([("write", b"abc")], [("write", b"abc"), ("loseConnection",)]):
            connection = self.accept(None, None)
            self.read(connection, *actions)
            self.assertIsNone(connection.end)
            connection.run()
            self.assertIs(connection.end, ConnectionLost)

    def test_write_when_lost(self) -> None:
        connection = self.accept()
        self.read(connection, ("connectionLost", Failure(ConnectionDone())), ("write", b"abc"), ("loseConnection",))
        self.assertEqual((connection.socket.sent, connection.transport.disconnecting), (b"", 0))

    # --- ends -------------------------------------------------------------------------------------------------

    def test_close(self) -> None:
        """It asks for no turn of the reactor, and the protocol is not told while it is called."""
        for read in (self.read, self.alone):
            connection = self.accept()
            self.never_a_writer(connection)
            read(connection, ("write", b"bye"), ("loseConnection",), ("loseConnection",))
            self.assertEqual((connection.socket.sent, connection.socket.shut), (b"bye", [socket.SHUT_RDWR]))
            self.assertEqual((connection.end, connection.protocol.ends), (ConnectionDone, 1))
        seen = self.read(self.accept(), ("write", b"bye"), ("loseConnection",))
        self.assertEqual(seen, [(b"", False)] * 2)

    def test_close_behind_what_waits(self) -> None:
        for read in (self.read, self.alone):
            connection = self.accept(1, 1, 0)
            read(connection, ("write", b"bye"), ("loseConnection",))
            self.assertIsNone(connection.end)
            connection.run()
            self.assertEqual((connection.socket.sent, connection.end), (b"bye", ConnectionDone))

    def test_close_behind_what_waited_before(self) -> None:
        connection = self.accept(1, 0)
        connection.transport.write(b"one ")
        self.read(connection, ("write", b"two"), ("loseConnection",))
        self.assertIsNone(connection.end)
        connection.run()
        self.assertEqual((connection.socket.sent, connection.end), (b"one two", ConnectionDone))

    def test_write_behind_close(self) -> None:
        """Twisted still sends it, in order; so does this."""
        connection = self.accept()
        self.read(connection, ("write", b"bye "), ("loseConnection",), ("write", b"late"))
        connection.run()
        self.assertEqual((connection.socket.sent, connection.end), (b"bye late", ConnectionDone))

    def test_abort(self) -> None:
        connection = self.accept(1)
        self.read(connection, ("write", b"421"), ("abortConnection",), ("write", b"late"))
        connection.run()
        self.assertEqual((connection.socket.sent, connection.end), (b"4", ConnectionAborted))
        self.assertEqual(connection.socket.shut, [])

    def test_abort_and_close(self) -> None:
        for actions in (["loseConnection", "abortConnection"], ["abortConnection", "loseConnection"]):
            connection = self.accept()
            self.read(connection, ("write", b"421"), *((action,) for action in actions))
            self.assertIsNone(connection.end)
            connection.run()
            self.assertEqual((connection.socket.sent, connection.end), (b"421", ConnectionAborted))
            self.assertEqual((connection.socket.shut, connection.protocol.ends), ([], 1))

    def test_half_close(self) -> None:
        connection = self.accept(1, protocol=HalfRecorder())
        self.read(connection, ("write", b"abc"), ("loseWriteConnection",))
        self.assertEqual((connection.socket.sent, connection.socket.shut), (b"a", []))
        connection.run()
        self.assertEqual((connection.socket.sent, connection.socket.shut), (b"abc", [socket.SHUT_WR]))
        producer = Pausable()
        self.read(
            connection,
            ("write", b"late"),
            ("registerProducer", producer, False),
            ("loseConnection",),
            ("write", b"late"),
        )
        connection.run()
        self.assertEqual((connection.socket.sent, connection.end), (b"abc", ConnectionDone))
        self.assertEqual(producer.calls, ["resume", "stop"])

    def test_half_close_and_close(self) -> None:
        for actions in (["loseConnection", "loseWriteConnection"], ["loseWriteConnection", "loseConnection"]):
            connection = self.accept(1, protocol=HalfRecorder())
            self.read(connection, ("write", b"abc"), *((action,) for action in actions))
            connection.run()
            self.assertEqual((connection.socket.sent, connection.end), (b"abc", ConnectionDone))

    def test_turn_within_a_round(self) -> None:
        """Somebody has the reactor turn while they are called: it finds nothing to end before the rest is sent."""
        connection = self.accept(1, protocol=HalfRecorder())

        def act() -> None:
            connection.transport.write(b"abc")
            connection.transport.loseWriteConnection()
            connection.run()

        connection.read(act, self.other)
        self.assertEqual((connection.socket.sent, connection.socket.shut), (b"abc", [socket.SHUT_WR]))

    def test_peer_ends(self) -> None:
        """Protocols that live on with half a connection close it when they are told."""
        protocol = HalfRecorder()
        connection = self.accept(protocol=protocol)
        self.never_a_writer(connection)
        protocol.read_lost = lambda: [connection.transport.write(b"bye"), connection.transport.loseConnection()]
        connection.socket.peer.shutdown(socket.SHUT_WR)
        self.other.read(lambda: None)
        self.assertEqual((connection.socket.sent, connection.end), (b"bye", ConnectionDone))

    def test_lost(self) -> None:
        """Somebody ends it, and nothing of it is kept, not even by who was to be paused."""
        connection = self.accept(1)
        producer = PushProducer(connection.transport, [])
        self.read(
            connection,
            ("registerProducer", producer, True),
            ("write", b"a" * (EagerServer.bufferSize + 2)),
            ("connectionLost", Failure(ConnectionLost())),
            ("connectionLost", Failure(ConnectionDone())),
        )
        self.assertEqual((connection.socket.sent, connection.end, connection.protocol.ends), (b"a", ConnectionLost, 1))
        self.assertEqual(producer.pauses, 0)
        self.assertEqual(connection.reactor.writers, set())

    # --- producers --------------------------------------------------------------------------------------------

    def test_producers_come_behind(self) -> None:
        for kind in (PushProducer, PullProducer):
            for answers in ((), (1, 0), (0,)):
                connection = self.accept(*answers)
                producer = kind(connection.transport, [b"b", b"c"])
                register = ("registerProducer", producer, kind is PushProducer)
                self.read(connection, ("write", b"a"), register)
                producer.resumeProducing()
                connection.run()
                self.assertEqual(connection.socket.sent, b"abc")

    def test_close_waits_for_a_producer_that_was_paused(self) -> None:
        """And goes on by itself, some time later. A second word to close does not change that."""
        connection = self.accept(0)
        transport = connection.transport
        producer = Pausable()
        transport.registerProducer(producer, True)
        transport.write(b"a" * (EagerServer.bufferSize + 1))
        self.read(connection, ("loseConnection",))
        connection.run()
        self.assertEqual((producer.calls, connection.end), (["pause", "resume"], None))
        self.other.read(transport.loseConnection, self.accept())
        connection.run()
        self.assertIsNone(connection.end)
        transport.write(b"b")
        connection.run()
        self.assertEqual((connection.socket.sent[-2:], connection.end), (b"ab", ConnectionDone))

    def test_close_waits_for_another_producer(self) -> None:
        """As Twisted asks one to go on if one before it was paused."""
        connection = self.accept(0)
        transport = connection.transport
        transport.registerProducer(Pausable(), True)
        transport.write(b"a" * (EagerServer.bufferSize + 1))
        transport.unregisterProducer()
        connection.run()
        producer = Pausable()
        self.read(connection, ("registerProducer", producer, True), ("loseConnection",))
        connection.run()
        self.assertEqual((producer.calls, connection.end), (["resume"], None))
        transport.unregisterProducer()
        connection.run()
        self.assertIs(connection.end, ConnectionDone)

    def test_producer_behind_close(self) -> None:
        for pieces in (b"", b"bc"):
            connection = self.accept()
            producer = PullProducer(connection.transport, [b"%c" % piece for piece in pieces])
            self.read(connection, ("write", b"a"), ("loseConnection",), ("registerProducer", producer, False))
            connection.run()
            self.assertEqual((connection.socket.sent, connection.end), (b"a" + pieces, ConnectionDone))

    def test_producer_behind_close_that_has_nothing_yet(self) -> None:
        connection = self.accept()
        producer = Pausable()
        self.read(connection, ("loseConnection",), ("registerProducer", producer, False))
        connection.run()
        self.assertEqual((producer.calls, connection.end), (["resume", "resume"], None))
        connection.transport.unregisterProducer()
        connection.run()
        self.assertIs(connection.end, ConnectionDone)

    # --- UNIX sockets, and TLS --------------------------------------------------------------------------------

    def test_open_files(self) -> None:
        """They go out behind what was put aside, with what comes behind them."""
        ours, peer = socket.socketpair()
        self.addCleanup(peer.close)
        protocol = Recorder()
        reactor = MemoryReactorClock()
        transport = EagerUNIXServer(ours, protocol, b"", None, 0, reactor, hub=self.hub)
        protocol.makeConnection(transport)
        self.addCleanup(transport.connectionLost, Failure(ConnectionDone()))

        def act() -> None:
            transport.write(b"abc")
            transport.sendFileDescriptor(peer.fileno())
            transport.write(b"def")

        protocol.act = act
        peer.send(b"x")
        self.other.read(lambda: None)
        self.assertEqual(reactor.writers, {transport})
        transport.doWrite()
        octets, [number], _, _ = socket.recv_fds(peer, 100, 1)
        os.close(number)
        self.assertEqual(octets + peer.recv(100), b"abcdef")

    def test_start_tls(self) -> None:
        """The reply to STARTTLS is the last in plain text, and the end of TLS goes out with the last reply."""
        connection = self.accept()
        self.never_a_writer(connection)
        server = PrivateCertificate.loadPEM(certificate_pem()).options()
        self.read(connection, ("write", b"ready "), ("startTLS", server))
        self.assertEqual(connection.socket.sent, b"ready ")
        client = TLSClient(connection, len(b"ready "))
        while not client.shake_hands():
            self.other.read(lambda: None, self.accept())
        self.other.read(lambda: None, self.accept())

        sends = connection.socket.sends
        actions = ("write", b"bye "), ("write", b"bye"), ("loseConnection",), ("write", b"late")
        self.read(connection, *actions, octets=client.record(b"QUIT"))
        self.assertEqual(connection.socket.sends, sends + 1)
        self.assertEqual(client.read(), b"bye bye")
        self.assertIsNone(connection.end)
        client.close()
        self.other.read(lambda: None, self.accept())
        self.assertIs(connection.end, ConnectionDone)

    def test_producer_behind_the_end_of_tls(self) -> None:
        """It is told to stop, and holds up nothing."""
        connection = self.accept()
        self.alone(connection, ("startTLS", PrivateCertificate.loadPEM(certificate_pem()).options()))
        client = TLSClient(connection)
        while not client.shake_hands():
            self.hub.doRead()
        self.hub.doRead()
        producer = Pausable()
        client.close()

        def act() -> None:
            connection.transport.doRead()
            connection.transport.registerProducer(producer, False)

        self.other.read(act)
        self.assertEqual((producer.calls, connection.end), (["stop"], ConnectionDone))


#: What a program may do with a connection, as the tests of equality play it.
WRITES = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=12)),
    st.tuples(st.just("writeSequence"), st.lists(st.binary(max_size=4), max_size=3)),
)
PRODUCERS = st.tuples(st.sampled_from(["push", "pull"]), st.lists(st.binary(min_size=1, max_size=8), max_size=4))
#: And may do while it is read: alone, with another in one round, or (None) not at all.
SHARED = st.sampled_from([None, False, True])
STEPS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("turn"), st.just([]), SHARED),
    st.tuples(
        st.just("act"),
        st.builds(list.__add__, st.lists(WRITES, max_size=4), st.lists(PRODUCERS, max_size=1)),
        SHARED,
    ),
)
ENDS = st.lists(st.sampled_from(["loseConnection", "loseWriteConnection", "abortConnection"]), max_size=3)


class Play:
    """A connection that a program has, in a hub if it is one of ours, and what is done with it."""

    def __init__(self, hub: Hub | None, kind: Callable[..., tcp.Server], answers: list[int | None]) -> None:
        class Small(kind):  # type: ignore[misc, valid-type]  # the class is the parameter
            bufferSize = 6  # noqa: N815  # Twisted's name

        self.connection = ReadConnection(hub, Small, *answers, protocol=HalfRecorder())
        self.other = ReadConnection(hub, kind)

    def do(self, actions: list[Any], shared: bool | None) -> None:
        """Do all this with it."""
        transport = self.connection.transport

        def act() -> None:
            for name, *arguments in actions:
                if name == "push":
                    PushProducer(transport, list(*arguments)).start()
                elif name == "pull":
                    transport.registerProducer(PullProducer(transport, list(*arguments)), False)
                else:
                    getattr(transport, name)(*arguments)

        if shared is None:
            act()
        else:
            self.connection.read(act, *[self.other] * shared)

    def run(
        self, steps: list[Any], ends: list[str], shared: bool | None, turns: int
    ) -> tuple[bytes, list[int], type[BaseException] | None]:
        """What becomes of it."""
        connection = self.connection
        for name, actions, together in steps:
            # What others write while a producer is registered may go before or behind what that one writes.
            if name == "turn":
                connection.turn()
            elif connection.transport.producer is not None:
                connection.run()
            self.do(actions, together)
        for _ in range(turns):
            connection.turn()
        if connection.transport.producer is not None or "abortConnection" in ends:
            connection.run()
        if ends:
            self.do([*((end,) for end in ends), ("write", b"late")], shared)
        connection.run()
        return connection.socket.sent, connection.socket.shut, connection.end

    def close(self) -> None:
        """Leave nothing open."""
        self.connection.close()
        self.other.close()


class EqualityTests(SynchronousTestCase):
    """Whatever is done with it, a connection of ours ends up where one of Twisted's does."""

    def setUp(self) -> None:
        self.patch(module, "_ASIDE", 6)

    @settings(max_examples=300)
    @given(
        st.lists(st.integers(0, 9), max_size=12),
        st.lists(STEPS, max_size=12),
        ENDS,
        SHARED,
        st.integers(0, 3),
    )
    def test_the_same_octets_and_end(
        self, answers: list[Any], steps: list[Any], ends: list[str], shared: bool | None, turns: int
    ) -> None:
        stock, ours = Play(None, tcp.Server, answers), Play(Hub(MemoryReactorClock()), EagerServer, answers)
        try:
            expected = stock.run(steps, ends, shared, turns)
            self.assertEqual(ours.run(steps, ends, shared, turns), expected)
        finally:
            stock.close()
            ours.close()


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
