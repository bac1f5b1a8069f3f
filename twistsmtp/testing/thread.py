"""A server in a thread, for whoever has a program that blocks: a test with `smtplib`, a script, another framework.

::

    with ServerThread(Memory()) as server:
        smtplib.SMTP(server.host, server.port).sendmail(...)

It listens on 127.0.0.1 and a port that the system chooses, unless it is told otherwise, and may be started and stopped
as often as you like. The reactor is run in a thread of its own, which ends with the last server that needs it; if one
runs already in this process, it serves.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.task import deferLater

from twistsmtp.factory import SMTPFactory
from twistsmtp.reactorthread import PATIENCE, HeldReactor, hold_reactor

__all__ = ["ServerThread"]

T = TypeVar("T")


class ServerThread:
    """A running server. As a context manager it is started and stopped.

    :param delivery: where mail goes; see `SMTPFactory`, whose parameters the others are.
    :param factory: what makes connections, in place of one that is made here: any of Twisted's server factories.
    :param host: an IP address of this machine.
    :param port: 0 for any that is free.
    """

    def __init__(
        self,
        delivery: Any = None,
        *,
        factory: Any = None,
        host: str = "127.0.0.1",
        port: int = 0,
        **settings: Any,
    ) -> None:
        if factory is not None and (delivery is not None or settings):
            raise TypeError("a factory has its own delivery and settings")
        self.host = host
        self._port = port
        self._make: Callable[[], Any] = partial(SMTPFactory, delivery, **settings)
        self._factory = factory
        self._ports: list[Any] = []
        self._held: HeldReactor | None = None

    @property
    def factory(self) -> Any:
        """What makes the connections."""
        if self._factory is None:
            self._factory = self._make()
        return self._factory

    @property
    def port(self) -> int:
        """The port that it listens on.

        :raises RuntimeError: it is not running.
        """
        return self.port_of(0)

    def port_of(self, index: int) -> int:
        """The port of that *index*, where there are several.

        :raises RuntimeError: it is not running.
        """
        if not self._ports:
            raise RuntimeError("the server is not running: start() it, or use it in a with statement")
        number: int = self._ports[index].getHost().port
        return number

    @property
    def running(self) -> bool:
        """Whether it is."""
        return self._held is not None

    # --- its life --------------------------------------------------------------------------------------------

    def start(self) -> "ServerThread":
        """Begin to listen. Once this has returned clients can connect.

        :raises RuntimeError: it runs already; or this is the reactor's own thread, where you want an endpoint.
        :raises twisted.internet.error.CannotListenError: the port is taken.
        """
        if self._held is not None:
            raise RuntimeError("the server is running already")
        self._held = hold_reactor()
        try:
            self._held.call(self._listen)
        except BaseException:
            self.stop(0)
            raise
        return self

    def stop(self, grace: float = 0.2) -> None:
        """End: nothing is listened on any more, and no connection is left. Does nothing if it is not running.

        :param grace: seconds that messages on their way have to arrive.
        """
        held, self._held = self._held, None
        if held is None:
            return
        try:
            held.call(self._end, grace)
        finally:
            self._ports = []
            held.release()

    def __enter__(self) -> "ServerThread":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def call(self, function: Callable[..., "T | Deferred[T]"], *arguments: object, timeout: float = PATIENCE) -> T:
        """Call *function* in the reactor's thread, where all of the server is: `HeldReactor.call`.

        :raises RuntimeError: the server is not running.
        """
        if self._held is None:
            raise RuntimeError("the server is not running")
        return self._held.call(function, *arguments, timeout=timeout)

    # --- in the reactor's thread -----------------------------------------------------------------------------

    def _listen(self) -> None:
        from twisted.internet import reactor

        listener: Any = reactor
        for number, factory in enumerate(self._listeners()):
            port = 0 if number else self._port
            self._ports.append(listener.listenTCP(port, factory, interface=self.host))

    def _listeners(self) -> list[Any]:
        """What is listened with, on a port for each."""
        return [self.factory]

    def _end(self, grace: float) -> Deferred[Any]:
        from twisted.internet import reactor

        closed = DeferredList([maybeDeferred(port.stopListening) for port in self._ports])
        connections = getattr(self.factory, "connections", None)
        if not connections:
            return closed
        late = deferLater(reactor, grace, self._abort)
        drained = self.factory.shutdown(max(grace, 0.01))
        drained.addCallback(lambda _: late.cancel())
        late.addErrback(lambda _: None)
        return DeferredList([closed, drained])

    def _abort(self) -> None:
        for protocol in tuple(self.factory.connections):
            protocol.transport.abortConnection()
