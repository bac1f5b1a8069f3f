"""Hubs: who is read from, when, and what becomes of those who fail, end, and come."""

import os
import select
import socket
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twistsmtp import hub as module
from twistsmtp.eager import EagerServer
from twistsmtp.hub import BATCH, Hub
from twistsmtp.openfiles import raise_file_limit


class Reader(Protocol):
    """Keeps what it is sent, and how it ended, and does what a test says with what comes."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.reason: Failure | None = None
        self.act: Callable[[], object] = lambda: None
        self.end: Callable[[], object] = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self.act()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.end()


@implementer(IHalfCloseableProtocol)
class HalfReader(Reader):
    """Lives on when the peer has no more to say."""

    halves = 0

    def readConnectionLost(self) -> None:
        self.halves += 1

    def writeConnectionLost(self) -> None:
        pass


class Accepted:
    """A connection in a hub, and the peer's socket."""

    def __init__(self, hub: Hub, protocol: Reader, pair: tuple[socket.socket, socket.socket] | None = None) -> None:
        ours, self.peer = pair or socket.socketpair()
        self.protocol = protocol
        reactor = hub._reactor
        self.transport = EagerServer(ours, protocol, ("192.0.2.1", 25), None, 0, reactor, hub=hub)
        self.transport.repstr = f"<connection {id(self)}>"
        protocol.makeConnection(self.transport)

    def lose(self) -> None:
        """End it here and now."""
        self.transport.connectionLost(Failure(ConnectionDone()))


class HubTestCase(SynchronousTestCase):
    """A hub on sockets of the system, in a fake reactor."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.hub = Hub(self.reactor)

    def accept(
        self, protocol: Reader | None = None, pair: tuple[socket.socket, socket.socket] | None = None
    ) -> Accepted:
        """A new connection."""
        accepted = Accepted(self.hub, protocol or Reader(), pair)
        self.addCleanup(accepted.peer.close)
        self.addCleanup(accepted.lose)
        return accepted

    def is_readable(self) -> bool:
        """Whether a reactor would find that the hub has something."""
        return bool(select.select([self.hub.fileno()], [], [], 0)[0])

    def pair_with(self, number: int) -> tuple[socket.socket, socket.socket]:
        """Two sockets, of which the first has *number*, which is free."""
        ours, peer = socket.socketpair()
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
            ours.close()
            ours = socket.socket(fileno=number)
        return ours, peer

    def tcp_pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            return listening.accept()[0], peer


class ReadTests(HubTestCase):
    """What is read, and when."""

    def test_interface(self) -> None:
        verifyObject(IReadDescriptor, self.hub)

    def test_one_reader(self) -> None:
        self.assertEqual(self.reactor.readers, set())
        for _ in range(3):
            self.accept()
        self.assertEqual(self.reactor.readers, {self.hub})

    def test_everybody_gets_their_own(self) -> None:
        accepted = [self.accept() for _ in range(5)]
        for number, each in enumerate(accepted):
            each.peer.send(b"%d" % number)
        self.assertTrue(self.is_readable())
        self.hub.doRead()
        self.assertEqual([each.protocol.received for each in accepted], [[b"0"], [b"1"], [b"2"], [b"3"], [b"4"]])
        self.assertFalse(self.is_readable())

    def test_nobody_has_anything(self) -> None:
        accepted = self.accept()
        self.hub.doRead()
        self.assertEqual(accepted.protocol.received, [])

    def test_a_thousand(self) -> None:
        if raise_file_limit(2100) < 2100:
            raise SkipTest("the system does not allow as many open files")
        accepted = [self.accept() for _ in range(1000)]
        for each in accepted:
            each.peer.send(b"x")
        turns = 0
        while self.is_readable():
            self.hub.doRead()
            turns += 1
            self.assertLessEqual(sum(len(each.protocol.received) for each in accepted), turns * BATCH)
        self.assertEqual([each.protocol.received for each in accepted], [[b"x"]] * 1000)
        self.assertLess(turns, 2000 // BATCH)

    def test_others_get_their_turn(self) -> None:
        """Two that always have something do not keep the reactor, nor a third from being read."""
        first, second = pair = [self.accept(), self.accept()]
        for each in pair:
            each.protocol.act = lambda each=each: each.peer.send(b"x")  # type: ignore[misc]  # mypy knows no defaults
            each.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(len(first.protocol.received) + len(second.protocol.received), BATCH)
        third = self.accept()
        third.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(third.protocol.received, [b"x"])

    def test_pause(self) -> None:
        paused, other = self.accept(), self.accept()
        paused.transport.pauseProducing()
        paused.transport.pauseProducing()
        paused.peer.send(b"x")
        self.assertFalse(self.is_readable())
        other.peer.send(b"y")
        self.hub.doRead()
        self.assertEqual((paused.protocol.received, other.protocol.received), ([], [b"y"]))
        paused.transport.resumeProducing()
        paused.transport.resumeProducing()
        self.hub.doRead()
        self.assertEqual(paused.protocol.received, [b"x"])

    def test_pause_of_all(self) -> None:
        accepted = self.accept()
        accepted.transport.pauseProducing()
        self.assertEqual(self.reactor.readers, set())
        accepted.peer.send(b"x")
        accepted.peer.close()
        accepted.transport.resumeProducing()
        self.assertEqual(self.reactor.readers, {self.hub})
        self.hub.doRead()
        self.assertEqual(accepted.protocol.received, [b"x"])

    def test_pause_by_another(self) -> None:
        """Both have something; the first to be read stops the other."""
        one, other = self.accept(), self.accept()
        one.protocol.act, other.protocol.act = other.transport.pauseProducing, one.transport.pauseProducing
        one.peer.send(b"x")
        other.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(len(one.protocol.received + other.protocol.received), 1)


class EndTests(HubTestCase):
    """Connections that end, and that are ended."""

    def ended(self, accepted: Accepted) -> type[BaseException] | None:
        """With what the connection ended; it is not in the hub any more."""
        self.assertNotIn(repr(accepted.transport), repr(self.hub))
        reason = accepted.protocol.reason
        return None if reason is None else reason.type

    def test_peer_closes(self) -> None:
        accepted = self.accept()
        accepted.peer.send(b"x")
        accepted.peer.close()
        self.hub.doRead()
        self.assertEqual(accepted.protocol.received, [b"x"])
        self.assertIsNone(accepted.protocol.reason)
        self.hub.doRead()
        self.assertIs(self.ended(accepted), ConnectionDone)

    def test_peer_resets(self) -> None:
        protocol = HalfReader()
        accepted = self.accept(protocol, self.tcp_pair())
        accepted.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.peer.close()
        self.hub.doRead()
        self.assertIs(self.ended(accepted), ConnectionLost)
        self.assertEqual(protocol.halves, 0)

    def test_peer_half_closes(self) -> None:
        protocol = HalfReader()
        accepted = self.accept(protocol)
        accepted.peer.shutdown(socket.SHUT_WR)
        self.hub.doRead()
        self.hub.doRead()
        self.assertEqual(protocol.halves, 1)
        self.assertIsNone(self.ended(accepted))
        self.assertEqual(self.reactor.readers, set())
        accepted.transport.write(b"still here")
        self.assertEqual(accepted.peer.recv(100), b"still here")

    def test_nothing_is_left(self) -> None:
        accepted = [self.accept() for _ in range(3)]
        number = self.hub.fileno()
        self.assertNotEqual(number, -1)
        for each in accepted:
            self.assertEqual(self.reactor.readers, {self.hub})
            each.lose()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.hub.fileno(), -1)
        self.assertRaises(OSError, os.fstat, number)
        self.hub.doRead()

    def test_another_after_the_last(self) -> None:
        self.accept().lose()
        accepted = self.accept()
        accepted.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(accepted.protocol.received, [b"x"])

    def test_failure(self) -> None:
        """It costs the connection that failed, and no other."""
        accepted = [self.accept() for _ in range(5)]
        accepted[2].protocol.act = lambda: 1 // 0
        for each in accepted:
            each.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual([each.protocol.received for each in accepted], [[b"x"]] * 5)
        self.assertIs(self.ended(accepted[2]), ZeroDivisionError)
        self.assertEqual([each.protocol.reason for each in accepted].count(None), 4)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_failure_in_the_log(self) -> None:
        """It names the connection."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        accepted = self.accept()
        accepted.protocol.act = lambda: 1 // 0
        accepted.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual([event["log_system"] for event in events], ["Reader,0,192.0.2.1"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_failure_is_not_half_a_close(self) -> None:
        """As the reactors have it: whatever was raised, the connection is over."""
        protocol = HalfReader()
        accepted = self.accept(protocol)

        def act() -> None:
            raise ConnectionDone

        protocol.act = act
        accepted.peer.send(b"x")
        self.hub.doRead()
        self.assertIs(self.ended(accepted), ConnectionDone)
        self.assertEqual(protocol.halves, 0)
        self.assertEqual(len(self.flushLoggedErrors(ConnectionDone)), 1)

    def test_failure_at_the_end(self) -> None:
        accepted = [self.accept() for _ in range(5)]
        for each in accepted:
            each.protocol.end = lambda: 1 // 0
            each.peer.close()
        self.hub.doRead()
        self.assertEqual({self.ended(each) for each in accepted}, {ConnectionDone})
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_ended_by_another(self) -> None:
        """Both have something; the first to be read ends the other."""
        one, other = self.accept(), self.accept()
        one.protocol.act, other.protocol.act = other.lose, one.lose
        one.peer.send(b"x")
        other.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(len(one.protocol.received + other.protocol.received), 1)

    def test_all_ended_by_one(self) -> None:
        accepted = [self.accept() for _ in range(5)]

        def end_all() -> None:
            for each in accepted:
                each.lose()

        for each in accepted:
            each.protocol.act = end_all
            each.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual([each.protocol.received for each in accepted].count([b"x"]), 1)
        self.assertEqual(self.reactor.readers, set())

    def test_abort_by_another(self) -> None:
        one, other = self.accept(), self.accept()
        one.protocol.act, other.protocol.act = other.transport.abortConnection, one.transport.abortConnection
        one.peer.send(b"x")
        other.peer.send(b"x")
        self.hub.doRead()
        self.reactor.advance(0)
        self.assertEqual(len(one.protocol.received + other.protocol.received), 1)
        reasons = [reason.type for reason in (one.protocol.reason, other.protocol.reason) if reason]
        self.assertEqual(reasons, [ConnectionAborted])

    def test_number_is_anothers(self) -> None:
        """The first to be read ends the other, whose number a new connection gets at once."""
        one, other = self.accept(), self.accept()
        new: list[Accepted] = []

        def replace(gone: Accepted) -> None:
            number = gone.transport.fileno()
            gone.lose()
            new.append(self.accept(pair=self.pair_with(number)))
            self.assertEqual(new[0].transport.fileno(), number)

        one.protocol.act, other.protocol.act = (lambda: replace(other)), (lambda: replace(one))
        one.peer.send(b"x")
        other.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(len(one.protocol.received + other.protocol.received), 1)
        self.assertEqual(new[0].protocol.received, [])
        self.assertIsNone(new[0].protocol.reason)
        new[0].peer.send(b"y")
        self.hub.doRead()
        self.assertEqual(new[0].protocol.received, [b"y"])

    def test_socket_closed_by_others(self) -> None:
        accepted, other = self.accept(), self.accept()
        accepted.transport.socket.close()
        self.hub.doRead()
        accepted.lose()
        other.lose()
        self.assertEqual(self.reactor.readers, set())

    def test_number_of_a_socket_closed_by_others(self) -> None:
        accepted = self.accept()
        number = accepted.transport.fileno()
        accepted.transport.socket.close()
        new = self.accept(pair=self.pair_with(number))
        accepted.lose()
        new.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(new.protocol.received, [b"x"])

    def test_open_in_another_process(self) -> None:
        """A child that was forked has the socket open still: nothing comes of it any more here."""
        self.accept()
        accepted = self.accept()
        childs = os.dup(accepted.transport.fileno())
        self.addCleanup(os.close, childs)
        accepted.transport._shouldShutdown = False
        accepted.lose()
        accepted.peer.send(b"x")
        self.assertFalse(self.is_readable())

    def test_reactor_ends_all(self) -> None:
        accepted = [self.accept() for _ in range(5)]
        accepted[2].protocol.end = lambda: 1 // 0
        self.reactor.removeReader(self.hub)
        self.hub.connectionLost(Failure(ConnectionLost()))
        self.assertEqual({self.ended(each) for each in accepted}, {ConnectionLost})
        self.assertEqual(self.hub.fileno(), -1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_room(self) -> None:
        def refuse() -> None:
            raise OSError(24, "Too many open files")

        pair = socket.socketpair()
        for each in pair:
            self.addCleanup(each.close)
        patch = self.patch(module, "select", SimpleNamespace(epoll=refuse))
        self.assertRaises(OSError, Accepted, self.hub, Reader(), pair)
        self.assertEqual(self.reactor.readers, set())
        patch.restore()
        accepted = self.accept()
        accepted.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual(accepted.protocol.received, [b"x"])


class SystemTests(SynchronousTestCase):
    """Where there are hubs."""

    def test_epoll(self) -> None:
        self.assertEqual(Hub.is_possible(), hasattr(select, "epoll"))

    def test_no_epoll(self) -> None:
        self.patch(module, "select", SimpleNamespace())
        self.assertFalse(Hub.is_possible())


class StaleEventTests(SynchronousTestCase):
    """Events of a turn in which a connection was closed, and a hub got its number."""

    def test_they_are_none_of_the_hubs(self) -> None:
        if not Hub.is_possible():
            raise SkipTest("there is no epoll")
        from twisted.internet.epollreactor import EPollReactor

        reactor = EPollReactor()
        self.addCleanup(reactor.waker.connectionLost, None)
        self.addCleanup(reactor._poller.close)
        hub = Hub(reactor)
        accepted = Accepted(hub, Reader())
        self.addCleanup(accepted.peer.close)
        for event in select.EPOLLOUT, select.EPOLLHUP, select.EPOLLERR, select.EPOLLOUT | select.EPOLLHUP:
            reactor._doReadOrWrite(hub, hub.fileno(), event)
            self.assertIn(hub, reactor.getReaders())
        accepted.peer.send(b"hello")
        reactor.doIteration(1)
        self.assertEqual((accepted.protocol.received, accepted.protocol.reason), ([b"hello"], None))
        accepted.lose()
        self.assertNotIn(hub, reactor.getReaders())
