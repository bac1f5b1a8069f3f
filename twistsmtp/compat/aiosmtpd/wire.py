"""Twisted's words for what asyncio has: a transport, a clock, and Deferreds that a task of asyncio's awaits."""

import asyncio
import ssl
import types
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twistsmtp.compat.aiosmtpd.server import Server

__all__ = ["LoopClock", "Wire", "address_of", "bridged", "facts_of"]

T = TypeVar("T")


# --- Deferreds -----------------------------------------------------------------------------------------------


async def bridged(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """*coroutine* for a task of asyncio's, where it may await Deferreds, too."""
    return await _bridge(coroutine, loop)


@types.coroutine
def _bridge(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, T]:
    step: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            pending = step(value)
        except StopIteration as stop:
            return cast(T, stop.value)
        try:
            value = None
            if isinstance(pending, Deferred):
                yield from _fired(pending, loop)
            else:
                value = yield pending
            step = coroutine.send
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step, value = coroutine.throw, error


def _fired(deferred: "Deferred[Any]", loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, None]:
    """Wait until *deferred* has fired. Who awaits it gets its result by itself."""
    fired = loop.create_future()

    def wake(result: Any) -> Any:
        if asyncio._get_running_loop() is loop:
            go_on()
        elif not loop.is_closed():  # the reactor's thread is another one
            loop.call_soon_threadsafe(go_on)
        return result

    def go_on() -> None:
        if not fired.done():
            fired.set_result(None)

    deferred.addBoth(wake)
    try:
        yield from fired
    except asyncio.CancelledError:
        deferred.addErrback(_ignore)
        deferred.cancel()
        raise


def _ignore(failure: Failure) -> None:
    """Nobody waits for it any more."""


# --- time ----------------------------------------------------------------------------------------------------


@implementer(IReactorTime)
class LoopClock:
    """The clock of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handles: dict[DelayedCall, asyncio.TimerHandle] = {}

    def seconds(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> DelayedCall:
        """Call *callable* in *delay* seconds."""
        call = DelayedCall(self.seconds() + delay, callable, args, kwargs, self._forget, self._arm, self.seconds)
        self._arm(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:
        """The calls that are still to come."""
        return list(self._handles)

    def _arm(self, call: DelayedCall) -> None:
        self._forget(call)
        self._handles[call] = self._loop.call_at(call.getTime(), self._call, call)

    def _forget(self, call: DelayedCall) -> None:
        handle = self._handles.pop(call, None)
        if handle is not None:
            handle.cancel()

    def _call(self, call: DelayedCall) -> None:
        del self._handles[call]
        if call.delayed_time > 0:  # it was put off meanwhile
            call.activate_delay()
            self._arm(call)
            return
        call.called = 1
        call.func(*call.args, **call.kw)


# --- transport -----------------------------------------------------------------------------------------------


def address_of(peername: object) -> IAddress:
    """The address that asyncio writes as *peername*."""
    if isinstance(peername, tuple) and len(peername) >= 2 and isinstance(peername[0], str):
        kind = IPv6Address if ":" in peername[0] else IPv4Address
        return cast(IAddress, kind("TCP", *peername[:2]))
    return cast(IAddress, UNIXAddress(None))


def facts_of(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    """What asyncio knows of the encryption."""
    if not isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject):
        return None
    names = ("sslcontext", "ssl_object", "peercert", "cipher", "compression")
    return {name: transport.get_extra_info(name) for name in names}


class _Handle:
    """What `twistsmtp.tls.facts.TLS` asks a connection of OpenSSL's, of one that asyncio has."""

    def __init__(self, connection: ssl.SSLObject) -> None:
        self._connection = connection

    def get_servername(self) -> None:
        """Nothing: Python tells it in a callback only, which is the application's."""

    def get_alpn_proto_negotiated(self) -> bytes:
        """The application protocol."""
        return (self._connection.selected_alpn_protocol() or "").encode()

    def get_protocol_version(self) -> int:
        """Not known as a number."""
        return 0

    def get_protocol_version_name(self) -> str:
        """As ``"TLSv1.3"``."""
        return self._connection.version() or ""

    def get_cipher_name(self) -> str:
        """As ``"TLS_AES_256_GCM_SHA384"``."""
        cipher = self._connection.cipher()
        return cipher[0] if cipher else ""


class Wire:
    """A transport of asyncio's, as our protocol wants it.

    :param server: is told when TLS stands, or could not begin.
    """

    def __init__(self, transport: asyncio.Transport, server: "Server", loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self._server = server
        self._loop = loop
        self._upgrade: asyncio.Task[None] | None = None
        #: What is told when the client does not read, and when it does again.
        self.producer: Any = None
        #: Octets that came under TLS before we were told that it stands; ``None`` where there is nothing to wait for.
        self.early: list[bytes] | None = None
        #: Whether TLS is about to begin: what comes until then is plain text.
        self.expects_tls = False

    def write(self, octets: bytes) -> None:
        """Send *octets*."""
        self.transport.write(octets)

    def close(self) -> None:
        """End the connection when everything is sent."""
        self.transport.close()

    def loseConnection(self) -> None:
        """End the connection when everything is sent."""
        self.close()

    def abortConnection(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell *producer* when the client does not read."""
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Tell nobody."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Do not read from the client."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resumeProducing(self) -> None:
        """Read again."""
        if self._upgrade is None and not self.transport.is_closing():
            self.transport.resume_reading()

    def getPeer(self) -> IAddress:
        """Whom the connection is with."""
        return address_of(self.transport.get_extra_info("peername"))

    @property
    def encrypted(self) -> bool:
        """Whether TLS stands."""
        return isinstance(self.transport.get_extra_info("ssl_object"), ssl.SSLObject)

    def getHandle(self) -> Any:
        """The connection of OpenSSL's, to be asked about itself."""
        return _Handle(self.transport.get_extra_info("ssl_object"))

    def startTLS(self, context: ssl.SSLContext) -> None:
        """Begin TLS. Nothing is read until asyncio does it for TLS."""
        self.transport.pause_reading()
        self.expects_tls = True
        self._upgrade = self._loop.create_task(self._begin_tls(context))

    async def _begin_tls(self, context: ssl.SSLContext) -> None:
        self.expects_tls, self.early = False, []
        try:
            transport = await self._loop.start_tls(self.transport, self._server, context, server_side=True)
            if transport is None:
                raise ConnectionResetError("the client is gone")
        except Exception as error:
            self._upgrade = self.early = None
            self._server._tls_failed(error)
            return
        early, self._upgrade, self.early = self.early, None, None
        self.transport = transport
        self._server._tls_stands(transport, b"".join(early or ()))
