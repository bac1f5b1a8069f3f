"""Connections that are kept and used again.

To connect, encrypt and authenticate takes several times as long as a message does. `Pool` keeps connections for a
while when they are given back, hands them out again, and has no more of them to one destination than it may; who comes
when all are in use waits.

A server may close a connection that nobody uses, and that is seen only when it is used. Nothing is asked beforehand:
what is said first on a kept connection is MAIL, and where that is lost, or answered by 421, it is said again on
another. Nothing has been sent by then.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall

from twistsmtp.client.connection import Connection
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import ConnectError, ConnectionLost, Refused, TimedOut
from twistsmtp.client.opening import Connector
from twistsmtp.client.transaction import ClientTransaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Pool"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Shelf:
    """The connections to one destination."""

    #: How many are made at the moment.
    making: int = 0
    busy: set[Connection] = field(default_factory=set)
    #: Each with the call that ends it; the one that was used last comes last.
    idle: dict[Connection, IDelayedCall] = field(default_factory=dict)
    waiting: deque[Deferred[None]] = field(default_factory=deque)

    @property
    def count(self) -> int:
        return self.making + len(self.busy) + len(self.idle)


class Pool:
    """Keeps connections.

    :param connector: makes them.
    :param connections: the most to one destination.
    :param idle: seconds that one is kept when it is not used.
    :param messages: the most in one connection.
    :param waiting: the most that may wait for a connection to one destination.
    :param patience: seconds that one waits for a connection.
    :raises ValueError: one of these is not positive.
    """

    def __init__(
        self,
        connector: Connector | None = None,
        *,
        connections: int = 10,
        idle: float = 30.0,
        messages: int = 100,
        waiting: int = 1000,
        patience: float = 60.0,
    ) -> None:
        if min(connections, idle, messages, waiting, patience) <= 0:
            raise ValueError("what bounds a pool is more than 0")
        self.connector = connector or Connector()
        self._connections = connections
        self._idle = idle
        self._messages = messages
        self._waiting = waiting
        self._patience = patience
        self._shelves: dict[Destination, _Shelf] = {}
        #: Connections that have been told to go.
        self._leaving: set[Connection] = set()

    async def begin(
        self, destination: Destination, first: "Callable[[ClientTransaction], Awaitable[T]]"
    ) -> tuple[ClientTransaction, T]:
        """A transaction on a connection to *destination*, on which *first* has been done. When it has ended, the
        connection is to be given back.

        :param first: says MAIL, and no octet of a message. It is called again where a kept connection turns out to be
            gone.
        :returns: the transaction, and what *first* returned.
        :raises ClientError: there is no connection, or *first* raised it.
        """
        while True:
            connection, kept = await self._take(destination)
            transaction = ClientTransaction(connection, chunking=destination.chunking)
            try:
                return transaction, await first(transaction)
            except BaseException as error:
                transaction.abort()
                self.give_back(destination, connection)
                if not (kept and _was_gone(error)):
                    raise

    def give_back(self, destination: Destination, connection: Connection) -> None:
        """*connection* is not used any more; its transaction has ended, or was aborted."""
        if connection.usable and connection.waiting:  # for the reply to RSET
            connection.at_rest().addCallback(lambda _: self.give_back(destination, connection))
            return
        shelf = self._shelf(destination)
        shelf.busy.discard(connection)
        if connection.usable:
            limit = connection.capabilities.limit("MAILMAX") or self._messages
            if connection.messages < min(limit, self._messages):
                self._keep(destination, shelf, connection)
            else:
                self._leave(connection)
        self._wake(destination, shelf)

    def close(self) -> "Deferred[None]":
        """Close all connections; those that are in use at once. The pool may be used again.

        :returns: a Deferred for when they are gone.
        """
        for destination, shelf in list(self._shelves.items()):
            for waiting in list(shelf.waiting):
                waiting.errback(ConnectError("the client has been closed"))
            for connection in list(shelf.idle):
                self._expire(destination, shelf, connection)
            for connection in list(shelf.busy):
                self._leave(connection)
        return DeferredList([each.when_gone() for each in self._leaving]).addCallback(_nothing)

    # --- inside -----------------------------------------------------------------------------------------------

    async def _take(self, destination: Destination) -> tuple[Connection, bool]:
        """A connection, and whether it was kept."""
        while True:
            shelf = self._shelf(destination)
            if shelf.idle:
                connection, call = shelf.idle.popitem()
                call.cancel()
                connection.on_end = _nothing
                shelf.busy.add(connection)
                return connection, True
            if shelf.count < self._connections:
                return await self._make(destination, shelf), False
            await self._wait(destination, shelf)

    async def _make(self, destination: Destination, shelf: _Shelf) -> Connection:
        shelf.making += 1
        try:
            connection = await self.connector.connect(destination)
            shelf.busy.add(connection)
            return connection
        finally:
            shelf.making -= 1
            self._wake(destination, shelf)

    def _wait(self, destination: Destination, shelf: _Shelf) -> Deferred[None]:
        """A Deferred for when it is worth to look again."""
        if len(shelf.waiting) >= self._waiting:
            raise ConnectError(f"{destination}: too many wait for a connection")
        turn: Deferred[None] = Deferred()
        shelf.waiting.append(turn)
        late = self.connector.reactor.callLater(
            self._patience, turn.errback, ConnectError(f"{destination}: all connections are in use")
        )

        def end(result: T) -> T:
            if turn in shelf.waiting:
                shelf.waiting.remove(turn)
            if late.active():
                late.cancel()
            return result

        return turn.addBoth(end)

    def _keep(self, destination: Destination, shelf: _Shelf, connection: Connection) -> None:
        def gone() -> None:
            call = shelf.idle.pop(connection, None)
            if call is not None and call.active():
                call.cancel()
            self._wake(destination, shelf)

        connection.on_end = gone
        shelf.idle[connection] = self.connector.reactor.callLater(
            self._idle, self._expire, destination, shelf, connection
        )

    def _expire(self, destination: Destination, shelf: _Shelf, connection: Connection) -> None:
        """*connection* has been idle for long enough."""
        call = shelf.idle.pop(connection)
        if call.active():
            call.cancel()
        connection.on_end = _nothing
        self._leave(connection)
        self._wake(destination, shelf)

    def _leave(self, connection: Connection) -> None:
        """Have *connection* go."""
        self._leaving.add(connection)
        connection.quit().addCallback(lambda _: self._leaving.discard(connection))

    def _shelf(self, destination: Destination) -> _Shelf:
        return self._shelves.setdefault(destination, _Shelf())

    def _wake(self, destination: Destination, shelf: _Shelf) -> None:
        """There may be a connection for somebody who waits."""
        if shelf.waiting and (shelf.idle or shelf.count < self._connections):
            shelf.waiting.popleft().callback(None)
        elif not shelf.count and not shelf.waiting and self._shelves.get(destination) is shelf:
            del self._shelves[destination]


def _nothing(*_: object) -> None:
    """What is done where there is nothing to do."""


def _was_gone(error: BaseException) -> bool:
    """Whether *error* says that a kept connection had ended by the time that it was used."""
    if isinstance(error, ConnectionLost):
        return not isinstance(error, TimedOut)  # who takes all the time there is has it once, and not on each of them
    return isinstance(error, Refused) and error.reply.code == 421
