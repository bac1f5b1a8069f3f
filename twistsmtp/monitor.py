"""What a running server tells about itself by HTTP: metrics for Prometheus, and whether it can take mail.

``/metrics`` is what `twistsmtp.metrics` counts, and what `prometheus_client` tells of the process. ``/health`` is 200
for as long as the process lives; ``/ready`` is 200 while mail is taken, and 503 before and after: while the server
drains, for instance.

Whoever can connect may ask, and is told. So it listens where only the operator's own can connect.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from twistsmtp.metrics import Metrics

__all__ = ["Gatherer", "Monitor"]

#: Connections at a time, and seconds that one may be idle.
CONNECTIONS, IDLE_TIME = 100, 60

_log = Logger(namespace="twistsmtp.service")


@runtime_checkable
class Gatherer(Protocol):
    """Metrics that are elsewhere until somebody asks."""

    def start(self) -> object:
        """Begin to count."""

    def stop(self) -> object:
        """Count no more."""

    def gather(self) -> "Deferred[Any]":
        """Have them where `prometheus_client` collects them."""

    def collect(self) -> Iterable[Any]:
        """What it asks for."""


class Monitor:
    """Listens, and tells. It is a part of a server, in the sense of `twistsmtp.lifecycle`.

    :param endpoint: where it listens.
    :param name: what the operator calls that.
    :param metrics: `Metrics`, or who has gathered those of several processes.
    :param ready: whether the server takes mail now.
    :param reactor: its clock.
    :param healthy: whether it is as it should be.
    :raises ValueError: `prometheus_client` is not installed.
    """

    def __init__(
        self,
        endpoint: Any,
        name: str,
        metrics: Metrics | Gatherer,
        ready: Callable[[], object],
        reactor: Any,
        *,
        healthy: Callable[[], object] = lambda: True,
    ) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise ValueError(f"{error.name} is not installed (pip install 'twistsmtp[metrics]')") from error
        self._endpoint, self._name = endpoint, name
        self._metrics, self._ready, self._healthy = metrics, ready, healthy
        self._reactor = reactor
        #: What a scrape collects from: of this server alone, however many there are in the process.
        self.registry = prometheus_client.CollectorRegistry()
        self.registry.register(metrics)
        prometheus_client.ProcessCollector(registry=self.registry)
        #: What is listened on, while that is so.
        self.port: IListeningPort | None = None
        self._connections: _Connections | None = None
        self._listening: Deferred[None] | None = None
        self._tell: Callable[[Failure], object] = self._listens_not

    def of(self, metrics: Gatherer, ready: Callable[[], object], healthy: Callable[[], object]) -> "Monitor":
        """One that listens in the same place, and tells of something else."""
        return Monitor(self._endpoint, self._name, metrics, ready, self._reactor, healthy=healthy)

    def start(self) -> None:
        """Listen, and begin to count.

        :raises Exception: it cannot listen.
        """
        self._connections = _Connections(self._site())
        failures: list[Failure] = []
        self._tell = failures.append
        listening = maybeDeferred(self._endpoint.listen, self._connections)
        self._listening = listening.addCallbacks(self._listens, lambda failure: self._tell(failure))  # noqa: PLW0108  # `_tell` changes
        self._tell = self._listens_not
        if failures:
            failures[0].raiseException()
        self._metrics.start()

    async def stop(self) -> None:
        """Count no more, listen no more, and cut off who is connected."""
        self._metrics.stop()
        if self._listening is not None:
            self._listening.cancel()
        port, self.port = self.port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        connections, self._connections = self._connections, None
        if connections is not None:
            await connections.end()

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        _log.info("tells of itself on {endpoint}: /metrics, /health, /ready", endpoint=self._name)

    def _listens_not(self, failure: Failure) -> None:
        """The endpoint has failed, and took its time to. Mail is taken all the same."""
        if not failure.check(CancelledError):
            _log.error("metrics {name!r}: cannot listen: {error}", name=self._name, error=str(failure.value))

    def _site(self) -> Site:
        # Its resource asks the registry in a thread of the reactor's pool. It is looked for here, as this names the
        # global reactor.
        from prometheus_client.twisted import MetricsResource

        root = Resource()
        resource: Any = MetricsResource
        said = resource(self.registry)
        root.putChild(b"metrics", _Gathering(self._metrics, said) if isinstance(self._metrics, Gatherer) else said)
        root.putChild(b"health", _State(self._healthy))
        root.putChild(b"ready", _State(self._ready))
        make: Any = _Site
        site: Site = make(root, requestFactory=_Request, timeout=IDLE_TIME, reactor=self._reactor)
        return site


class _Gathering(Resource):
    """Says what another resource says, when that has been gathered."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, metrics: Gatherer, resource: Any) -> None:
        Resource.__init__(self)
        self._metrics, self._resource = metrics, resource

    def render(self, request: Any) -> int:
        """Twisted's word that somebody asks."""
        ended = request.notifyFinish()
        ended.addErrback(lambda _: None)  # who has gone is not answered
        gathered = self._metrics.gather().addErrback(lambda failure: _log.failure("metrics are missing", failure))
        gathered.addCallback(lambda _: None if ended.called else self._resource.render(request))
        return NOT_DONE_YET


class _State(Resource):
    """Says in the status whether something holds: 200 or 503."""

    isLeaf = True  # noqa: N815  # Twisted's name

    def __init__(self, holds: Callable[[], object]) -> None:
        Resource.__init__(self)
        self._holds = holds

    def render_GET(self, request: Any) -> bytes:  # noqa: N802
        """Twisted's word that somebody asks."""
        holds = self._holds()
        request.setResponseCode(200 if holds else 503)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        return b"yes\n" if holds else b"no\n"

    def render_HEAD(self, request: Any) -> bytes:  # noqa: N802
        """The same, for who wants the status only."""
        self.render_GET(request)
        return b""


class _Request(Request):
    """A request that has no body: it would be kept until it has come."""

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Twisted's word how long the body is; ``None`` where it comes in chunks."""
        if length != 0:
            transport: Any = self.transport
            transport.abortConnection()
        Request.gotLength(self, 0)


class _Site(Site):
    """Keeps no log of requests, and so needs no clock for it."""

    noisy = False
    displayTracebacks = False  # noqa: N815  # Twisted's name

    def startFactory(self) -> None:
        """Twisted's word that somebody listens."""

    def stopFactory(self) -> None:
        """Twisted's word that nobody does."""


class _Connections(WrappingFactory[ProtocolWrapper]):
    """Knows its connections, so that they can be ended, and has no more than so many."""

    noisy = False

    def __init__(self, site: Site) -> None:
        super().__init__(site)  # type: ignore[no-untyped-call]  # Twisted's, as the other
        self._ended: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Twisted's word that there is a connection; ``None`` closes it."""
        if len(self.protocols) >= CONNECTIONS or self._ended is not None:
            return None
        return super().buildProtocol(addr)

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:  # noqa: N802
        """Twisted's word that one is gone."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if self._ended is not None and not self.protocols:
            self._ended.callback(None)

    def end(self) -> "Deferred[None]":
        """Cut all off; fires when they are gone."""
        self._ended = Deferred()
        if not self.protocols:
            self._ended.callback(None)
        for protocol in tuple(self.protocols):
            protocol.abortConnection()
        return self._ended
