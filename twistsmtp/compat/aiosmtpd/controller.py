"""Controllers: they listen, in a thread of their own or in a loop that is given, and make a server for each connection.

The thread of the first one that runs has the reactor of this process, so that handlers may use what Twisted has: see
`loops`. A second one at the same time has a loop of its own, as a handler of the one may wait for the other.
"""

import asyncio
import errno
import os
import ssl
import threading
import time
import weakref
from abc import ABCMeta, abstractmethod
from collections.abc import Awaitable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from socket import AF_INET6, AF_UNIX, SOCK_STREAM, create_connection, has_ipv6
from socket import socket as makesock
from typing import Any, Literal
from warnings import warn

from twistsmtp.compat.aiosmtpd import loops
from twistsmtp.compat.aiosmtpd.probe import (
    _FakeServer,
    _server_to_client_ssl_ctx,  # noqa: F401  # programs look for it here
    hear_from,
)
from twistsmtp.compat.aiosmtpd.smtp import SMTP

__all__ = [
    "IP6_IS",
    "BaseController",
    "BaseThreadedController",
    "BaseUnthreadedController",
    "Controller",
    "InetMixin",
    "UnixSocketController",
    "UnixSocketMixin",
    "UnixSocketUnthreadedController",
    "UnthreadedController",
    "get_localhost",
]

DEFAULT_READY_TIMEOUT = 5.0  # seconds


class IP6_IS:
    """What an error says about whether this host has IPv6."""

    NO = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
    YES = frozenset({errno.EADDRINUSE})


def _has_ipv6() -> bool:
    return has_ipv6


def get_localhost() -> Literal["::1", "127.0.0.1"]:
    """The address of this host, of IPv6 if it has that."""
    if not _has_ipv6():
        return "127.0.0.1"
    try:
        with makesock(AF_INET6, SOCK_STREAM) as socket:
            socket.bind(("::1", 0))
    except OSError as error:
        if error.errno in IP6_IS.NO:
            return "127.0.0.1"
        if error.errno not in IP6_IS.YES:
            raise
    return "::1"


class BaseController(metaclass=ABCMeta):
    """What all controllers have.

    :param loop: where it listens.
    :param ssl_context: for TLS from the first octet on.
    :param server_hostname: `SMTP`'s parameter ``hostname``.
    :param SMTP_parameters: the others. ``enable_SMTPUTF8`` is true by default.
    """

    #: The server that was made last.
    smtpd: SMTP | None = None
    server: asyncio.AbstractServer | None = None
    server_coro: Awaitable[asyncio.AbstractServer] | None = None
    _thread_exception: Exception | None = None

    def __init__(
        self,
        handler: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        **SMTP_parameters: Any,
    ) -> None:
        self.handler = handler
        self._loop = loop
        self._loop_is_given = loop is not None
        #: One that somebody has asked for before there was any.
        self._spare_loop: asyncio.AbstractEventLoop | None = None
        self.ssl_context = ssl_context
        self.SMTP_kwargs: dict[str, Any] = {}
        if "server_kwargs" in SMTP_parameters:
            warn(
                "server_kwargs will be removed in version 2.0. Just specify the keyword arguments to forward to SMTP "
                "as kwargs to this __init__ method.",
                DeprecationWarning,
                stacklevel=2,
            )
            self.SMTP_kwargs = SMTP_parameters.pop("server_kwargs")
        self.SMTP_kwargs.update(SMTP_parameters)
        if server_hostname:
            self.SMTP_kwargs["hostname"] = server_hostname
        self.SMTP_kwargs.setdefault("enable_SMTPUTF8", True)
        self._factory_invoked = threading.Event()
        self._made: weakref.WeakSet[SMTP] = weakref.WeakSet()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it listens."""
        if self._loop is None:
            self._loop = self._spare_loop = asyncio.new_event_loop()
        return self._loop

    @loop.setter
    def loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._loop_is_given = loop, True

    def factory(self) -> Any:
        """Make the server of one connection. Subclasses make others here."""
        return SMTP(self.handler, **self.SMTP_kwargs)

    def _factory_invoker(self) -> asyncio.Protocol:
        """Make the server of one connection; what fails is told to who has started us."""
        try:
            self.smtpd = self.factory()
            if self.smtpd is None:
                raise RuntimeError("factory() returned None")
            self._made.add(self.smtpd)
            return self.smtpd
        except Exception as error:
            self._thread_exception = error
            return _FakeServer(self.loop)
        finally:
            self._factory_invoked.set()

    @abstractmethod
    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        """Listen, and call `_factory_invoker` for each connection."""

    def _cleanup(self) -> None:
        self._thread_exception = None
        self._factory_invoked.clear()
        self.server_coro = self.server = self.smtpd = None

    def cancel_tasks(self, stop_loop: bool = True) -> None:
        """Cancel what runs in the loop, and stop it. Call this by ``loop.call_soon_threadsafe``."""
        if stop_loop:
            self.loop.stop()
        for task in () if loops.is_shared(self.loop) else asyncio.all_tasks(self.loop):
            task.cancel()

    def _end_connections(self) -> None:
        for server in tuple(self._made):
            if server.transport is not None:
                server.transport.abort()


class BaseThreadedController(BaseController, metaclass=ABCMeta):
    """What those have that run in a thread.

    :param ready_timeout: seconds in which the server is to be there; the environment's AIOSMTPD_CONTROLLER_TIMEOUT has
        the last word.
    """

    _thread: threading.Thread | None = None
    _stopping = False

    def __init__(
        self,
        handler: Any,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        ready_timeout: float = DEFAULT_READY_TIMEOUT,
        **parameters: Any,
    ) -> None:
        super().__init__(handler, loop, **parameters)
        self.ready_timeout = float(os.getenv("AIOSMTPD_CONTROLLER_TIMEOUT", str(ready_timeout)))

    @abstractmethod
    def _trigger_server(self) -> None:
        """Connect once, so that `factory` is called."""

    def _run(self, ready_event: threading.Event) -> None:
        """What the thread does."""
        loop = self.loop
        asyncio.set_event_loop(loop)
        self.server_coro = self._create_server()
        try:
            self.server = loop.run_until_complete(self.server_coro)
        except asyncio.CancelledError:  # it was stopped meanwhile
            return
        except Exception as error:
            self._thread_exception = error
            ready_event.set()
            return
        if not self._stopping:
            loop.call_soon(ready_event.set)
            loop.run_forever()
        self.server.close()
        self._end_connections()
        loop.run_until_complete(loops.a_moment())
        self.server = None

    def _run_in_thread(self, ready_event: threading.Event) -> None:
        with nullcontext(self.loop) if self._loop_is_given else loops.running() as self._loop:
            self._run(ready_event)

    def start(self) -> None:
        """Start the thread, and wait until the server is there.

        :raises Exception: what has failed: the port is in use, or `factory` has failed.
        :raises TimeoutError: it is not there in time.
        """
        assert self._thread is None, "SMTP daemon already running"
        self._factory_invoked.clear()
        self._thread_exception, self._stopping = None, False
        if self._spare_loop is not None:
            self._spare_loop.close()
        ready_event = self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run_in_thread, args=(ready_event,), daemon=True)
        self._thread.start()
        begin = time.monotonic()
        if not ready_event.wait(self.ready_timeout):
            raise TimeoutError(
                "SMTP server failed to start within allotted time. This might happen if the system is too busy. "
                "Try increasing the `ready_timeout` parameter."
            )
        self._raise_what_has_failed()
        with suppress(TimeoutError):
            self._trigger_server()
        if not self._factory_invoked.wait(self.ready_timeout - (time.monotonic() - begin)):
            raise TimeoutError(
                "SMTP server started, but not responding within allotted time. This might happen if the system is too "
                "busy. Try increasing the `ready_timeout` parameter."
            )
        self._raise_what_has_failed()
        if self.smtpd is None:
            raise RuntimeError("Unknown Error, failed to init SMTP server")

    def _raise_what_has_failed(self) -> None:
        if self._thread_exception is not None:
            raise self._thread_exception

    def stop(self, no_assert: bool = False) -> None:
        """End all connections, and the thread.

        :param no_assert: it need not be running.
        """
        assert no_assert or self._thread is not None, "SMTP daemon not running"
        if self._thread is not None:
            self._stopping = True
            while self._thread.is_alive() and not self._ready.wait(0.1):
                pass  # it has not begun yet, and either sees that it is not to, or does
            if self._ready.is_set():
                with suppress(RuntimeError):  # it has failed, and the loop is closed by now
                    self.loop.call_soon_threadsafe(self._cancel_in, self._thread)
            self._thread.join()
            self._thread = None
        self._cleanup()

    def _cancel_in(self, thread: threading.Thread) -> None:
        if threading.current_thread() is thread:  # else others have the loop by now
            self.cancel_tasks()


class BaseUnthreadedController(BaseController, metaclass=ABCMeta):
    """What those have that listen in a loop which somebody else runs."""

    def __init__(self, handler: Any, loop: asyncio.AbstractEventLoop | None = None, **parameters: Any) -> None:
        super().__init__(handler, loop, **parameters)
        #: Set when `finalize` is done.
        self.ended = threading.Event()

    def begin(self) -> None:
        """Listen. The loop does not run yet, and is not run by this."""
        asyncio.set_event_loop(self.loop)
        self.server_coro = self._create_server()
        self.server = self.loop.run_until_complete(self.server_coro)

    async def finalize(self) -> None:
        """Do not listen any more. Connections that there are go on."""
        self.ended.clear()
        if self.server is not None:
            self.server.close()
        await asyncio.sleep(0)
        self._cleanup()
        self.ended.set()

    def end(self) -> None:
        """Have `finalize` done; ``ended.wait()`` waits for it. From another thread call this by
        ``loop.call_soon_threadsafe``."""
        self.ended.clear()
        if self.loop.is_running():
            self._finalizing = self.loop.create_task(self.finalize())
        else:
            self.loop.run_until_complete(self.finalize())


class InetMixin(BaseController, metaclass=ABCMeta):
    """What those have that listen on a port.

    :param hostname: the address; the local one by default, and all of them where it is empty.
    :param port: 0 for any; it is then the one that was found.
    """

    def __init__(
        self,
        handler: Any,
        hostname: str | None = None,
        port: int = 8025,
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, loop, **kwargs)
        self._localhost = get_localhost()
        self.hostname: str = self._localhost if hostname is None else hostname
        self.port = port

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._port = self._wanted_port = port

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self._listen()

    async def _listen(self) -> asyncio.AbstractServer:
        server, self._port = await loops.listen(self._listen_on, self._wanted_port)
        return server

    async def _listen_on(self, port: int) -> asyncio.Server:
        return await self.loop.create_server(self._factory_invoker, host=self.hostname, port=port, ssl=self.ssl_context)

    def _trigger_server(self) -> None:
        with ExitStack() as stack:
            socket: Any = stack.enter_context(create_connection((self.hostname or self._localhost, self.port), 1.0))
            hear_from(socket, self.ssl_context, stack)


class UnixSocketMixin(BaseController, metaclass=ABCMeta):
    """What those have that listen on a unix socket."""

    def __init__(
        self,
        handler: Any,
        unix_socket: str | Path,
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(handler, loop, **kwargs)
        self.unix_socket = str(unix_socket)

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self.loop.create_unix_server(self._factory_invoker, path=self.unix_socket, ssl=self.ssl_context)

    def _trigger_server(self) -> None:
        with ExitStack() as stack:
            socket = stack.enter_context(makesock(AF_UNIX, SOCK_STREAM))
            socket.settimeout(1.0)
            socket.connect(self.unix_socket)
            hear_from(socket, self.ssl_context, stack)


class Controller(InetMixin, BaseThreadedController):
    """Listens on a port, in a thread."""

    def _trigger_server(self) -> None:
        InetMixin._trigger_server(self)


class UnixSocketController(UnixSocketMixin, BaseThreadedController):
    """Listens on a unix socket, in a thread."""

    def _trigger_server(self) -> None:
        UnixSocketMixin._trigger_server(self)


class UnthreadedController(InetMixin, BaseUnthreadedController):
    """Listens on a port, in a loop that somebody else runs."""


class UnixSocketUnthreadedController(UnixSocketMixin, BaseUnthreadedController):
    """Listens on a unix socket, in a loop that somebody else runs."""
