"""Many connections as one reader.

For each read of each connection Twisted's reactors set up a context for the log and find out in Python what the event
means. For a small message, which is four reads, that takes about a fifth of the server's time. A `Hub` is a reader that
stands for many: it has an epoll of its own, whose descriptor is all that the reactor watches. When one of the
connections has something to read, so has the hub, and it asks which, and lets them.

Where several have something to read, what they answer goes out when all of them have been read. A peer that gets an
answer is woken up, and on the same machine that is a good part of what `send` takes; of several answers in a row, only
the first finds it asleep. It is not worth waiting for long: `ROUND` says how many are read until then.

What a connection sees is the same. What its socket does not take at once stays with the reactor. Lines that go through
`twisted.python.log` meanwhile say ``connections`` where they would name the connection, but for those about its end.

A hub watches an epoll only as long as there is somebody to read from. So nothing is left when the last connection has
gone, and a process that forks before it has one shares nothing with its child.
"""

import select
from contextlib import suppress
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.internet.tcp import Connection
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ROUND", "TURN", "Hub"]

#: Seconds after which no further round is begun in one turn of the reactor. There may be more to read, but timers,
#: writers and new clients wait, too.
TURN = 0.005
#: Reads at most until what was answered goes out.
ROUND = 16


@implementer(IReadDescriptor, IHalfCloseableDescriptor)
class Hub:
    """The connections of *reactor* that have been added, as a reader of it."""

    def __init__(self, reactor: IReactorFDSet) -> None:
        self._reactor = reactor
        self._seconds = cast(IReactorTime, reactor).seconds
        #: Those to be read from, by the numbers of their sockets.
        self._connections: dict[int, Connection] = {}
        self._epoll: select.epoll | None = None
        #: While connections are being read, methods of theirs that are called when all of this round have been; and the
        #: same where they are several, so that what one of them has to send can wait for that.
        self.round: list[Any] | None = None
        self.shared_round: list[Any] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether the system has epoll."""
        return hasattr(select, "epoll")

    def __repr__(self) -> str:
        return f"<Hub {list(self._connections.values())}>"

    def add(self, connection: Connection) -> None:
        """Read from *connection* when it has something.

        :raises OSError: if the system has no room for more.
        """
        number, connections = connection.fileno(), self._connections
        if connections.get(number) is connection:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
        self._epoll.register(number, select.EPOLLIN)
        if not connections:
            self._reactor.addReader(self)
        connections[number] = connection

    def remove(self, connection: Connection) -> None:
        """Read from *connection* no more. It need not have been added."""
        number, connections = connection.fileno(), self._connections
        if number == -1:  # somebody closed its socket
            number = next((number for number, other in connections.items() if other is connection), -1)
        if self._epoll is None or connections.get(number) is not connection:
            return
        del connections[number]
        # Even of one that is about to be closed, as a process that was forked may have it open still.
        with suppress(OSError):
            self._epoll.unregister(number)
        if not connections:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None

    # --- what the reactor calls -------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor of the epoll."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """What the log says of whatever happens here."""
        return "connections"

    def doRead(self) -> None:
        """Have those connections read that have something, or have ended."""
        end = self._seconds() + TURN
        several = True
        while several and self._epoll is not None and self._seconds() < end:
            events = self._epoll.poll(0, ROUND)
            several = len(events) > 1  # and there may be more by the time that these are dealt with
            settling: list[Any] = []
            self.round, self.shared_round = settling, settling if several else None
            try:
                self._read(events)
            finally:
                self.round = self.shared_round = None
                self._settle(settling)

    def _read(self, events: list[tuple[int, int]]) -> None:
        connections = self._connections
        for number, _ in events:
            # An event is a hint. An earlier one may have ended the connection, and its number may be another's, who
            # finds that there is nothing to read.
            connection = connections.get(number)
            if connection is not None:
                try:
                    why = connection.doRead()
                except BaseException:  # as reactors do: it is this connection's end, and no other's
                    log.callWithLogger(connection, self._failed, connection, Failure())
                else:
                    if why:
                        log.callWithLogger(connection, self._ended, connection, why)

    def _settle(self, methods: list[Any]) -> None:
        for method in methods:
            try:
                method()
            except BaseException:  # as above: those that come next have something to send, too
                log.callWithLogger(method.__self__, self._failed, method.__self__, Failure())

    # Of what happened in one turn of the reactor, an event may be meant for a connection that was closed in the same
    # turn, and whose number the epoll has got since. To an epoll itself neither of these happens.

    def doWrite(self) -> None:
        """Nothing."""

    def readConnectionLost(self, reason: Failure) -> None:
        """The reactor watches no more what it thinks has ended: have it do so again."""
        if self._connections:
            self._reactor.addReader(self)

    def writeConnectionLost(self, reason: Failure) -> None:
        """Nothing."""

    def connectionLost(self, reason: Failure) -> None:
        """The reactor's word that it ends all that it has."""
        for connection in list(self._connections.values()):
            log.callWithLogger(connection, connection.connectionLost, reason)

    def _ended(self, connection: Connection, why: Exception) -> None:
        """There is no more to read."""
        self.remove(connection)
        if isinstance(why, ConnectionDone):
            connection.readConnectionLost(Failure(why))  # which is the end, unless the protocol knows half a close
        else:
            connection.connectionLost(Failure(why))

    def _failed(self, connection: Connection, failure: Failure) -> None:
        """Whoever was given what was read, or was asked to write less, raised an exception."""
        log.err(failure)
        connection.connectionLost(failure)
