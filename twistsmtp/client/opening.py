"""How a connection begins: greeting, EHLO, STARTTLS, EHLO again, AUTH.

The same for every message, so that a connection which is open is one that mail can be sent on.
"""

from collections.abc import Callable
from typing import Any, NoReturn, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError as TwistedConnectError
from twisted.internet.error import DNSLookupError, UserError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from twistsmtp.client.auth import authenticate
from twistsmtp.client.capabilities import Capabilities
from twistsmtp.client.connection import Connection
from twistsmtp.client.destination import Destination
from twistsmtp.client.errors import AuthError, ClientError, ConnectError, ProtocolError, Refused, TLSError
from twistsmtp.client.tls import TLSMode
from twistsmtp.wire.reply import Reply

__all__ = ["Connector"]


class Connector:
    """Makes connections.

    :param reactor: the global one if none is given.
    :param endpoint: makes the endpoint of a destination, in place of the usual one: for proxies, and tests.
    :param in_thread: calls a function in a thread, as `deferToThread`.
    """

    def __init__(
        self,
        reactor: Any = None,
        *,
        endpoint: Callable[[Destination], IStreamClientEndpoint] | None = None,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint or self._usual_endpoint
        self.in_thread = in_thread

    @property
    def reactor(self) -> Any:
        """The one that it was given, or the global one."""
        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        return self._reactor

    async def connect(self, destination: Destination) -> Connection:
        """A connection that mail can be sent on.

        Where encryption is only opportunistic and a handshake fails, there is another attempt without.

        :raises ClientError: there is none. Nothing is left of it then.
        """

        def late(_: object, seconds: float) -> NoReturn:
            raise ConnectError(f"{destination}: not ready for mail in {seconds:g} seconds")

        opening = Deferred.fromCoroutine(self._connect(destination))
        return await opening.addTimeout(destination.timeouts.opening, self.reactor, late)

    async def _connect(self, destination: Destination) -> Connection:
        try:
            return await self._open(destination, destination.tls.mode)
        except TLSError:
            if destination.tls.mode is not TLSMode.OPPORTUNISTIC:
                raise
        return await self._open(destination, TLSMode.NONE)

    def _usual_endpoint(self, destination: Destination) -> IStreamClientEndpoint:
        seconds = destination.timeouts.connect
        if destination.path:
            return UNIXClientEndpoint(self.reactor, destination.path, seconds)
        return HostnameEndpoint(self.reactor, destination.host, destination.port, seconds)

    async def _open(self, destination: Destination, mode: TLSMode) -> Connection:
        creator = None
        if mode is not TLSMode.NONE:
            # Before anything is said: between the word to begin TLS and its beginning nobody may get a word in.
            try:
                creator = await self.in_thread(destination.tls.creator, destination.host)
            except ValueError as error:
                raise TLSError(str(error)) from None
        connection = await self._reach(destination)
        try:
            await _Opening(connection, destination, mode, creator, self.in_thread).run()
        except BaseException as error:
            connection.greeting.addErrback(_heard)
            if isinstance(error, AuthError | Refused):
                connection.quit()
            else:
                connection.abort()
            raise
        return connection

    async def _reach(self, destination: Destination) -> Connection:
        """A connection on which nothing has been said."""
        clock = cast(IReactorTime, self.reactor)
        factory = Factory.forProtocol(lambda: Connection(clock, destination.timeouts))
        factory.noisy = False
        try:
            connecting = self._endpoint(destination).connect(factory)
            return cast(Connection, await connecting)
        except CancelledError:
            raise
        except (TwistedConnectError, DNSLookupError, UserError, OSError, ValueError) as error:
            raise ConnectError(f"{destination}: {str(error) or type(error).__name__}") from None


class _Opening:
    """A connection that begins."""

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        mode: TLSMode,
        creator: Any,
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._connection = connection
        self._destination = destination
        self._mode = mode
        self._creator = creator
        self._in_thread = in_thread

    async def run(self) -> None:
        connection, destination = self._connection, self._destination
        connection.lmtp = destination.lmtp
        if self._mode is TLSMode.IMPLICIT:
            if not connection.waiting:
                raise TLSError("it greets in plain text")
            await self._encrypt()
        greeting = await connection.greeting
        if greeting.code != 220:
            raise _refused("greeting", greeting)
        await self._hello()
        if self._mode in {TLSMode.REQUIRED, TLSMode.OPPORTUNISTIC} and await self._start_tls():
            await self._hello()
        if destination.credentials is not None:
            await authenticate(connection, destination, destination.credentials, self._in_thread)

    async def _hello(self) -> None:
        """Say EHLO or LHLO; and HELO where EHLO is not known (RFC 5321 section 3.2)."""
        connection, hostname = self._connection, self._destination.own_name
        verb = "LHLO" if connection.lmtp else "EHLO"
        reply = await connection.command(f"{verb} {hostname}")
        if reply.code == 250:
            connection.capabilities = Capabilities.of(reply)
            return
        if connection.lmtp or reply.temporary:
            raise _refused(verb, reply)
        reply = await connection.command(f"HELO {hostname}")
        if reply.code != 250:
            raise _refused("HELO", reply)

    async def _start_tls(self) -> bool:
        """Say STARTTLS; whether there is TLS now."""
        connection = self._connection
        required = self._mode is TLSMode.REQUIRED
        if "STARTTLS" not in connection.capabilities:
            if required:
                raise TLSError("STARTTLS is not offered")
            return False
        reply = await connection.command("STARTTLS", alone=True)
        if reply.code != 220:
            if required:
                raise TLSError(f"STARTTLS: {reply}")
            return False
        await self._encrypt()
        return True

    async def _encrypt(self) -> None:
        await self._connection.start_tls(self._creator, verified=self._destination.tls.mode.verifies)


def _heard(_: object) -> None:
    """What is done about an error of which somebody knows."""


def _refused(step: str, reply: Reply) -> ClientError:
    """The error for a *reply* that is not the one to go on by."""
    if reply.positive:
        return ProtocolError(f"{step}: {reply.code}")
    return Refused(step, reply)
