"""The running server: a configuration as a Twisted service.

To run it in an application that is there already::

    service = SMTPService(Config(listen=("tcp:2525",), domains=("example.org",), delivery="maildir:/srv/mail"))
    service.setServiceParent(application)

``twistd smtp`` and ``twist smtp`` make it a `Command`: `twistsmtp.command`.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from twistsmtp.assembly import make_certificates, make_endpoint, make_factories, make_monitor, parts_of, reason
from twistsmtp.config import Config, ConfigError
from twistsmtp.eager import eager
from twistsmtp.factory import SMTPFactory
from twistsmtp.lifecycle import PartError, Parts
from twistsmtp.log import logs_by_itself, one_line, twistd_observer
from twistsmtp.notify import Notifier
from twistsmtp.openfiles import allow_connections
from twistsmtp.renewal import take_up
from twistsmtp.tls.certificates import Certificates
from twistsmtp.tls.development import is_development

__all__ = ["Command", "SMTPService", "StartError"]

#: Connections that wait to be accepted; the system may allow fewer.
BACKLOG = 1024

#: Where LMTP must not be spoken.
SMTP_PORT = 25

_log = Logger(namespace="twistsmtp.service")


class StartError(Exception):
    """An endpoint cannot be listened on, or the delivery, a policy or a checker does not start. The text is one line
    that names it and why."""


class SMTPService(MultiService):
    """An SMTP server.

    The delivery, the checkers and the policies take part in its life where they can: `twistsmtp.lifecycle`. They are
    started as the user that the server will run as, and stopped when the last connection has ended. It may be started
    again.

    :param config: all that it is told.
    :param reactor: where it listens, and its clock; by default the global reactor.
    :param read: the configuration as it is now, told the name that the server goes by. Without it there is none to be
        read again.
    :param in_thread: calls a function in a thread, as `deferToThread`.
    :param sockets: descriptors of the sockets of all endpoints, where another process has opened them.
    :raises ConfigError: an endpoint, the delivery, a certificate, a checker, a mechanism or an extension cannot be made
        of its text.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any = None,
        *,
        read: Callable[[str], Config] | None = None,
        in_thread: Callable[..., "Deferred[Any]"] = deferToThread,
        sockets: Iterable[int] = (),
    ) -> None:
        MultiService.__init__(self)
        if reactor is None:
            from twisted.internet import reactor
        self.config = config
        self._reactor = reactor
        self._read = read
        self._in_thread = in_thread
        self._reading = DeferredLock()
        self._parts = Parts(self._find_parts, reactor)
        #: The certificates of the server, if it has any.
        self.certificates = self._make_certificates()
        self.factory, self.lmtp_factory = make_factories(config, self.certificates, reactor)
        places, opened = {"listen": config.listen, "listen-lmtp": config.listen_lmtp}, iter(sockets)
        make = partial(make_endpoint, certificates=self.certificates, reactor=reactor, proxies=config.proxy_trusted)
        self.endpoints, self.lmtp_endpoints = (
            {text: make(text, setting=name, descriptor=next(opened, None)) for text in dict.fromkeys(texts)}
            for name, texts in places.items()
        )
        #: What is listened on while the service runs: ``ports[0].getHost().port`` is the port of ``tcp:0``.
        self.ports: list[IListeningPort] = []
        self._listening: list[Deferred[None]] = []
        #: What tells of the service by HTTP, if something is to.
        self.monitor = self._make_monitor()
        self._tell: Callable[[StartError], object] = self.start_failed

    def privilegedStartService(self) -> None:
        """Listen. Ports below 1024 want this to be done before privileges are given up.

        :raises StartError: an endpoint cannot be listened on; then none is.
        """
        MultiService.privilegedStartService(self)
        allow_connections(self.config.limits.connections)
        errors: list[StartError] = []
        self._tell = errors.append
        self._listening = [
            *(self._listen(text, endpoint, self.factory) for text, endpoint in self.endpoints.items()),
            *(self._listen(text, endpoint, self.lmtp_factory) for text, endpoint in self.lmtp_endpoints.items()),
        ]
        self._tell = self.start_failed
        if errors:
            self._stop_listening()
            raise errors[0]

    def startService(self) -> None:
        """Listen, unless that has been done, start the parts, and log what the server does.

        :raises StartError: one of these failed; then nothing is listened on.
        """
        if not self._listening:
            self.privilegedStartService()
        try:
            self._parts.start()
        except PartError as error:
            self._stop_listening()
            Deferred.fromCoroutine(self._parts.stop())
            raise StartError(f"{error.name}: {reason(error.error)}") from error
        MultiService.startService(self)
        domains = ("every domain" if domain == "*" else domain for domain in self.config.domains)
        _log.info("takes mail for {domains}", domains=", ".join(domains))
        _log.info("gives it to {delivery}", delivery="; ".join(self.config.destinations))

    def stopService(self) -> "Deferred[None]":
        """Listen no more, end the connections in order, and then stop the parts. Messages that are under way have
        `Config.drain_time` to end.

        :returns: fires when that is done.
        """
        return Deferred.fromCoroutine(self._stop())

    def hurry(self) -> None:
        """The service is being stopped: wait no longer for the messages that are under way."""
        for factory in self._factories:
            factory.shutdown(0)

    def reload(self) -> "Deferred[None]":
        """Read again what can be: the certificates, what the parts read, and the configuration. No connection is
        dropped, and what cannot be read stays as it is; the log says so. SIGHUP does this where the service is a
        process of its own.

        :returns: fires when that is done.
        """
        self._reload_certificates()
        self._parts.reload()
        if self._read is None:
            return succeed(None)
        return self._reading.run(self._read_again, self._read)

    def start_failed(self, error: StartError) -> None:
        """An endpoint has failed that took its time to. The others are still listened on."""
        _log.critical("{error}", error=str(error))

    # --- the parts of its life ---------------------------------------------------------------------------------

    @property
    def _factories(self) -> tuple[SMTPFactory, ...]:
        return self.factory, self.lmtp_factory

    def _make_certificates(self) -> Certificates | None:
        return make_certificates(self.config, self._reactor)

    def _make_monitor(self) -> Any:
        return make_monitor(self.config, self.certificates, self._factories, lambda: self.running and self.ports)

    def _find_parts(self) -> Iterator[tuple[str, object]]:
        """The parts, and what the operator calls them."""
        yield f"metrics {self.config.metrics!r}", self.monitor  # which is the last to stop
        yield from parts_of(self.config, self._factories)

    async def _stop(self) -> None:
        stopped = maybeDeferred(MultiService.stopService, self)
        closed = self._stop_listening()
        await self._drain()
        await closed
        await self._drain()  # of those that a proxy's header came for when there was nobody left
        await self._parts.stop()
        await stopped

    def _drain(self) -> "Deferred[Any]":
        grace = self.config.drain_time
        return DeferredList([factory.shutdown(grace) for factory in self._factories], consumeErrors=True)

    def _read_again(self, read: Callable[[str], Config]) -> "Deferred[None]":
        return self._in_thread(read, self.config.hostname).addCallbacks(self._take_up, self._keep)

    def _take_up(self, config: Config) -> None:
        self.config = take_up(config, self.config, self._factories)
        allow_connections(self.config.limits.connections)

    def _keep(self, failure: Failure) -> None:
        if failure.check(ConfigError) is None:
            _log.failure("the configuration could not be read again, and stays as it is", failure)
        else:
            _log.error("the configuration stays as it is: {error}", error=one_line(str(failure.value)))

    def _reload_certificates(self) -> None:
        """A development certificate comes too late now to be refused; but the log says what is wrong with it."""
        if self.certificates is None:
            return
        self.certificates.reload()
        if self._is_for_development():
            for port in self.ports:
                if not _is_loopback(port):
                    _log.error(
                        "a development certificate is in use, which is for this machine alone, and others can reach "
                        "{address}: put another one in its place",
                        address=_address(port),
                    )

    # --- listening ---------------------------------------------------------------------------------------------

    def _listen(self, text: str, endpoint: Any, factory: SMTPFactory) -> "Deferred[None]":
        port = maybeDeferred(endpoint.listen, factory)
        return port.addCallbacks(partial(self._listens, text, factory), partial(self._listens_not, text))

    def _listens(self, text: str, factory: SMTPFactory, port: IListeningPort) -> None:
        objection = ""
        if self._is_for_development() and not _is_loopback(port):
            objection = "a development certificate is for this machine alone"
        elif factory.lmtp and getattr(port.getHost(), "port", None) == SMTP_PORT:
            objection = "LMTP is not for the port of SMTP (RFC 2033 section 5)"
        if objection:
            port.stopListening()
            self._tell(StartError(f"cannot listen on {text}: {objection}"))
            return
        self.ports.append(eager(port))
        listening = getattr(port, "socket", None)
        if listening is not None:
            # The endpoints' own backlog is 50: of more clients that connect at once some would believe that they are
            # connected, and wait for a greeting that never comes.
            listening.listen(BACKLOG)
        _log.info("listens on {address} ({endpoint})", address=_address(port), endpoint=text)

    def _listens_not(self, text: str, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._tell(StartError(f"cannot listen on {text}: {reason(failure.value)}"))

    def _is_for_development(self) -> bool:
        return self.certificates is not None and any(map(is_development, self.certificates.certificates))

    def _stop_listening(self) -> "Deferred[Any]":
        for pending in self._listening:
            pending.cancel()
        ports, self.ports, self._listening = self.ports, [], []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports], consumeErrors=True)


def _is_loopback(port: IListeningPort) -> bool:
    """Whether nobody but this machine can reach *port*."""
    host = port.getHost()
    if isinstance(host, (IPv4Address, IPv6Address)):
        return ip_address(host.host.partition("%")[0]).is_loopback
    return isinstance(host, UNIXAddress)


def _address(port: IListeningPort) -> str:
    """Where *port* really is."""
    host = port.getHost()
    if isinstance(host, IPv6Address):
        return f"[{host.host}]:{host.port}"
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    return os.fsdecode(host.name or b"") if isinstance(host, UNIXAddress) else str(host)


# --- twistd and twist --------------------------------------------------------------------------------------


class Command(SMTPService):
    """The server as the only business of twistd or twist: it writes the log, and ends the process if it cannot start.

    :param parent: the options of twistd or twist.
    :raises OSError: the log cannot be opened.
    """

    def __init__(self, config: Config, parent: Mapping[str, Any], read: Callable[[str], Config] | None) -> None:
        super().__init__(config, read=read)
        self._parent = parent
        self._notifier = Notifier.from_environment()
        self._handlers: dict[int, Any] = {}
        self._told_to_end = False
        self._observer = twistd_observer(parent, config.log_format)
        owner = logs_by_itself(parent)
        if owner and config.log_format != "text":
            _log.warn("log-format {name} has no effect: {owner}", name=config.log_format, owner=owner)

    def setServiceParent(self, parent: Any) -> None:
        """Have the log be ours, too."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # twistd takes the log's observer from there
        MultiService.setServiceParent(self, parent)

    def privilegedStartService(self) -> None:
        """Listen, or end the process."""
        with self._giving_up():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start, or end the process."""
        with self._giving_up():
            super().startService()
        self._take(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self._reactor.callWhenRunning(self._take_endings)  # which the reactor takes for itself when it begins to run
        self._notifier.keep_alive(self._reactor)
        DeferredList(self._listening).addCallback(self._is_ready)

    def stopService(self) -> "Deferred[None]":
        """Stop, and say so to the service manager."""
        waiting = sum(len(each.connections) for each in self._factories)
        self._notifier.stopping(f"connections to end: {waiting}")
        return super().stopService().addBoth(self._has_stopped)

    def reload(self) -> "Deferred[None]":
        """The same, said to the service manager."""
        if not self.running:
            return succeed(None)
        self._notifier.reloading()
        return super().reload().addBoth(self._is_ready)

    def _is_ready(self, _: object) -> None:
        if self.running:
            where = ", ".join(map(_address, self.ports))
            self._notifier.ready(f"listens on {where}; gives mail to {'; '.join(self.config.destinations)}")

    def _has_stopped(self, _: object) -> None:
        self._notifier.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._told_to_end = False

    # --- signals -----------------------------------------------------------------------------------------------

    def _take(self, number: int, handler: Callable[[int, Any], object]) -> None:
        before = signal.signal(number, handler)
        self._handlers.setdefault(number, before)

    def _take_endings(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            reactors = signal.getsignal(number)
            if self.running and callable(reactors):
                self._take(number, partial(self._end, reactors))

    def _end(self, reactors: Callable[[int, Any], object], number: int, frame: Any) -> None:
        """SIGTERM or SIGINT has come. The first stops the reactor, which knows no better answer to a second one than a
        traceback."""
        if self._told_to_end or not self.running:
            self._reactor.callFromThread(self.hurry)
        else:
            self._told_to_end = True
            reactors(number, frame)

    def start_failed(self, error: StartError) -> None:
        """The process ends, too."""
        super().start_failed(error)
        signal.raise_signal(signal.SIGTERM)  # ends the reactor, and is an exit status other than 0

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except StartError as error:
            self._give_up(one_line(str(error)))

    def _give_up(self, text: str) -> NoReturn:
        """End the process, before the reactor runs, without the traceback that twistd would print."""
        _log.critical("{text}", text=text)
        pipe = self._parent.get("statusPipe")
        if pipe is not None:  # twistd has forked, and its parent waits to hear how the start went
            os.write(pipe, f"1 {text}".encode()[:100])
        elif sys.__stderr__ and any(self._parent.get(name) not in (None, "", "-", 0) for name in _ELSEWHERE):
            sys.__stderr__.write(text + "\n")
        with suppress(OSError):
            os.unlink(self._parent.get("pidfile") or "")
        raise SystemExit(1)


#: Options of twistd that take the log away from the terminal.
_ELSEWHERE = ("logfile", "logger", "syslog")
