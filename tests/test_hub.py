"""Hubs: who is read from, when, and what becomes of those who fail, end, and come."""

import os
import select
import socket
import struct
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IReadDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twistsmtp import hub as module
from twistsmtp.eager import EagerServer
from twistsmtp.hub import ROUND, TURN, Hub
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


def in_turn(*functions: Callable[[], object]) -> Callable[[], object]:
    """One function that calls them all."""
    return lambda: [function() for function in functions]


class Producer:
    """Writes more than a socket takes, and raises an exception when it is told so."""

    is_stopped = False

    def __init__(self, transport: EagerServer) -> None:
        self._transport = transport

    def start(self) -> None:
        self._transport.registerProducer(self, True)
        self._transport.write(bytes(1_000_000))

    def pauseProducing(self) -> None:
        raise TypeError

    def stopProducing(self) -> None:
        self.is_stopped = True


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
            each.protocol.act = lambda: self.reactor.advance(TURN / 40)
            each.peer.send(b"x")
        turns = 0
        while self.is_readable():
            self.hub.doRead()
            turns += 1
            self.assertLess(sum(len(each.protocol.received) for each in accepted), turns * (40 + ROUND))
        self.assertEqual([each.protocol.received for each in accepted], [[b"x"]] * 1000)
        self.assertLessEqual(turns, 1000 // 40)

    def test_others_get_their_turn(self) -> None:
        """Two that always have something do not keep the reactor, nor a third from being read."""

        def act(accepted: Accepted) -> None:
            self.reactor.advance(TURN / 9)
            accepted.peer.send(b"x")

        first, second = pair = [self.accept(), self.accept()]
        for each in pair:
            each.protocol.act = partial(act, each)
            each.peer.send(b"x")
        self.hub.doRead()
        self.assertEqual((len(first.protocol.received), len(second.protocol.received)), (5, 5))
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


class RoundTests(HubTestCase):
    """What is done when all of a round have been read. How that goes is for `tests.test_eager` to say."""

    def accept_many(self, number: int, answer: bytes = b"x") -> list[Accepted]:
        """Connections that all have something to read, and to answer to it."""
        accepted = [self.accept() for _ in range(number)]
        for each in accepted:
            each.protocol.act = partial(each.transport.write, answer)
            each.peer.setblocking(False)
            each.peer.send(b"x")
        return accepted

    def answers(self, accepted: list[Accepted]) -> list[bytes]:
        """What has been sent to each by now, and not been taken."""
        return [each.peer.recv(100) if select.select([each.peer], [], [], 0)[0] else b"" for each in accepted]

    def ends(self, accepted: list[Accepted]) -> list[type[BaseException] | None]:
        """With what each has ended."""
        return [each.protocol.reason.type if each.protocol.reason else None for each in accepted]

    def watch(self, accepted: list[Accepted]) -> list[list[bytes]]:
        """What has been sent to them, once for each time that one of them is read."""
        seen: list[list[bytes]] = []
        for each in accepted:
            each.protocol.act = in_turn(each.protocol.act, lambda: seen.append(self.answers(accepted)))
        return seen

    def test_answers_leave_when_all_have_been_read(self) -> None:
        accepted = self.accept_many(ROUND)
        seen = self.watch(accepted)
        self.hub.doRead()
        self.assertEqual(seen, [[b""] * ROUND] * ROUND)
        self.assertEqual(self.answers(accepted), [b"x"] * ROUND)

    def test_nobody_waits_for_more_than_a_round(self) -> None:
        accepted = self.accept_many(ROUND * 2)
        seen = self.watch(accepted)
        self.hub.doRead()
        self.assertEqual([each.count(b"x") for each in seen], [0] * ROUND + [ROUND] + [0] * (ROUND - 1))
        self.assertEqual(self.answers(accepted).count(b"x"), ROUND)

    def test_answer_of_one_leaves_at_once(self) -> None:
        accepted = self.accept_many(1)
        seen = self.watch(accepted)
        self.hub.doRead()
        self.assertEqual(seen, [[b"x"]])

    def test_between_rounds(self) -> None:
        """What is written then does not wait for another."""
        accepted = self.accept_many(3)
        self.hub.doRead()
        self.answers(accepted)
        for each in accepted:
            each.transport.write(b"y")
        self.assertEqual(self.answers(accepted), [b"y"] * 3)
        self.assertEqual((self.hub.round, self.hub.shared_round), (None, None))

    def test_one_after_several(self) -> None:
        """The second round of the same turn has one of them alone."""
        accepted = self.accept_many(2)
        accepted[0].protocol.act = in_turn(accepted[0].protocol.act, partial(accepted[0].peer.send, b"again"))
        seen = self.watch(accepted)
        self.hub.doRead()
        self.assertEqual(seen, [[b"", b""], [b"", b""], [b"xx", b"x"]])

    def test_answer_to_another(self) -> None:
        """What is written to one that is not read in this round goes out at its end, too."""
        accepted, quiet = self.accept_many(2), self.accept()
        accepted[0].protocol.act = partial(quiet.transport.write, b"hello")
        seen = self.watch([accepted[0], quiet])
        self.hub.doRead()
        self.assertEqual(seen, [[b"", b""]])
        self.assertEqual(self.answers([quiet]), [b"hello"])

    def test_answer_through_another_hub(self) -> None:
        """There is no round there."""
        accepted = self.accept_many(2)
        other = Accepted(Hub(self.reactor), Reader())
        self.addCleanup(other.peer.close)
        self.addCleanup(other.lose)
        seen: list[list[bytes]] = []
        accepted[0].protocol.act = in_turn(
            partial(other.transport.write, b"hello"), lambda: seen.append(self.answers([other]))
        )
        self.hub.doRead()
        self.assertEqual(seen, [[b"hello"]])

    def test_failures(self) -> None:
        """Whatever one of them raises, its answer and those of all others go out."""
        for error in (ZeroDivisionError, SystemExit, KeyboardInterrupt, GeneratorExit):
            accepted = self.accept_many(5)

            def act(each: Accepted = accepted[2], error: type[BaseException] = error) -> None:
                each.transport.write(b"x")
                raise error

            accepted[2].protocol.act = act
            self.hub.doRead()
            self.assertEqual(self.answers(accepted), [b"x"] * 5)
            self.assertEqual(self.ends(accepted), [None, None, error, None, None])
            self.assertEqual(len(self.flushLoggedErrors(error)), 1)

    def test_failure_at_the_end(self) -> None:
        """Whoever is asked to write less and raises an exception ends with that, and no other does."""
        accepted = self.accept_many(5)
        producers: list[Producer] = []
        for each in accepted[:2]:
            each.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            producers.append(Producer(each.transport))
            each.protocol.act = producers[-1].start
        self.hub.doRead()
        self.assertEqual(self.ends(accepted), [TypeError, TypeError, None, None, None])
        self.assertEqual(self.answers(accepted[2:]), [b"x"] * 3)
        self.assertEqual([each.is_stopped for each in producers], [True, True])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)
        self.assertEqual(self.reactor.writers, set())

    def test_interrupt(self) -> None:
        """Even where Twisted has an exception pass, answers go out, and none is put aside from then on."""
        accepted = self.accept_many(5)

        def interrupt() -> None:
            raise KeyboardInterrupt

        accepted[4].protocol.act, accepted[4].protocol.end = (lambda: 1 // 0), interrupt
        self.assertRaises(KeyboardInterrupt, self.hub.doRead)
        self.assertEqual(self.answers(accepted[:4]), [b"x"] * 4)
        self.test_between_rounds()
        self.flushLoggedErrors(ZeroDivisionError)

    def test_interrupt_at_the_end(self) -> None:
        """That of one that is closed: all others settle."""
        accepted = self.accept_many(5)

        def interrupt() -> None:
            raise KeyboardInterrupt

        accepted[0].protocol.act, accepted[0].protocol.end = accepted[0].transport.loseConnection, interrupt
        self.hub.doRead()
        self.assertEqual(self.answers(accepted[1:]), [b"x"] * 4)
        self.assertEqual(self.ends(accepted), [ConnectionDone, None, None, None, None])
        self.assertEqual(len(self.flushLoggedErrors(KeyboardInterrupt)), 1)

    def test_closed_by_all(self) -> None:
        """The hub is left by everybody in its own round, and has no epoll any more."""
        accepted = self.accept_many(3, b"bye")
        number = self.hub.fileno()
        for each in accepted:
            each.protocol.act = in_turn(each.protocol.act, each.transport.loseConnection)
        self.hub.doRead()
        self.assertEqual(self.answers(accepted), [b"bye"] * 3)
        self.assertEqual([each.peer.recv(100) for each in accepted], [b""] * 3)
        self.assertEqual(self.ends(accepted), [ConnectionDone] * 3)
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assertRaises(OSError, os.fstat, number)
        self.assertEqual(self.hub.fileno(), -1)

    def test_written_at_the_end(self) -> None:
        """What a protocol writes to others when it is told of its end goes out at once: all have been read."""
        one, other = accepted = self.accept_many(2)
        seen: list[list[bytes]] = []
        one.protocol.act = one.transport.loseConnection
        one.protocol.end = in_turn(partial(other.transport.write, b"y"), lambda: seen.append(self.answers([other])))
        self.hub.doRead()
        self.assertEqual(seen, [[b"xy"]])
        self.assertEqual(self.ends(accepted), [ConnectionDone, None])

    def test_new_ones_at_the_end_of_all(self) -> None:
        """They are read in the same turn, by an epoll of their own."""
        accepted = self.accept_many(2)
        new: list[Accepted] = []
        for each in accepted:
            each.protocol.act = each.transport.loseConnection
            each.protocol.end = lambda: new.extend(self.accept_many(1))
        self.hub.doRead()
        self.assertEqual([each.protocol.received for each in new], [[b"x"]] * 2)
        self.assertEqual(self.answers(new), [b"x"] * 2)

    def test_closed_by_another(self) -> None:
        """Both have something: the first to be read closes the other, which is not read any more."""
        one, other = accepted = self.accept_many(2)
        one.protocol.act, other.protocol.act = other.transport.loseConnection, one.transport.loseConnection
        self.hub.doRead()
        self.assertEqual(len(one.protocol.received + other.protocol.received), 1)
        self.assertEqual(self.ends(accepted).count(ConnectionDone), 1)

    def test_reactor_ends_all_in_the_middle(self) -> None:
        """What was put aside goes out."""
        accepted, quiet = self.accept_many(2), self.accept()
        for each in accepted:
            end_all = partial(self.hub.connectionLost, Failure(ConnectionLost()))
            each.protocol.act = in_turn(partial(quiet.transport.write, b"bye"), end_all)
        self.hub.doRead()
        self.assertEqual(self.answers([quiet]), [b"bye"])
        self.assertEqual(self.ends([*accepted, quiet]), [ConnectionLost] * 3)

    def test_round_within_a_round(self) -> None:
        """Somebody has the reactor turn while they are called: what goes out before that goes out first."""
        accepted = self.accept_many(2)

        def act() -> None:
            each = next(each for each in accepted if each.protocol.received)
            each.transport.write(b"one ")
            for other in accepted:
                other.protocol.act = lambda: each.transport.write(b"two ")
            each.peer.send(b"y")
            self.hub.doRead()
            each.transport.write(b"three ")
            each.transport.loseConnection()

        for each in accepted:
            each.protocol.act = act
        self.hub.doRead()
        self.reactor.advance(0)
        for each in list(self.reactor.writers):
            self.assertIsInstance(each.doWrite(), ConnectionDone)
        self.assertEqual(sorted(self.answers(accepted)), [b"", b"one two two three "])

    def test_failure_of_a_protocol_that_was_closed(self) -> None:
        """It is logged in its name, and all others settle."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        accepted = self.accept_many(3)
        accepted[0].protocol.act = accepted[0].transport.loseConnection
        accepted[0].protocol.end = in_turn(partial(log.msg, "bye"), lambda: 1 // 0)
        self.hub.doRead()
        self.assertEqual(self.answers(accepted[1:]), [b"x"] * 2)
        self.assertEqual([event["log_system"] for event in events], ["Reader,0,192.0.2.1"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


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
