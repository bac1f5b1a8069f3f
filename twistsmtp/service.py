"""The running server: a configuration as a Twisted service.

To run it in an application that is there already::

    service = SMTPService(Config(listen=("tcp:2525",), domains=("example.org",), delivery="maildir:/srv/mail"))
    service.setServiceParent(application)

``twistd smtp`` and ``twist smtp`` call `makeService`.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, NoReturn, cast

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorFromThreads
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from twistsmtp.assembly import make_certificates, make_endpoint, make_factories, reason
from twistsmtp.config import Config, ConfigError
from twistsmtp.delivery.api import Starter
from twistsmtp.eager import eager
from twistsmtp.factory import SMTPFactory
from twistsmtp.log import logs_by_itself, one_line, twistd_observer
from twistsmtp.options import Options, give_up
from twistsmtp.tls.development import is_development

__all__ = ["Options", "SMTPService", "StartError", "makeService", "raise_file_limit"]

#: Connections that wait to be accepted; the system may allow fewer.
BACKLOG = 1024

#: Where LMTP must not be spoken.
SMTP_PORT = 25

#: Files that are open apart from the connections': ports, the log, the reactor's own, what threads open.
OTHER_FILES = 100

_log = Logger(namespace="twistsmtp.service")


class StartError(Exception):
    """An endpoint cannot be listened on, or the delivery does not start. The text is one line that names it and why."""


class SMTPService(MultiService):
    """An SMTP server.

    A delivery that is a `Starter` is started as the user that the server will run as; what it raises ends the start.

    :param config: all that it is told.
    :param reactor: where it listens, and its clock; by default the global reactor.
    :raises ConfigError: an endpoint, the delivery, a certificate, a checker, a mechanism or an extension cannot be made
        of its text.
    """

    def __init__(self, config: Config, reactor: Any = None) -> None:
        MultiService.__init__(self)
        if reactor is None:
            from twisted.internet import reactor
        self.config = config
        #: The certificates of the server, if it has any.
        self.certificates = make_certificates(config, reactor)
        self.factory, self.lmtp_factory = make_factories(config, self.certificates, reactor)
        make = partial(make_endpoint, certificates=self.certificates, reactor=reactor, proxies=config.proxy_trusted)
        self.endpoints = {text: make(text) for text in config.listen}
        self.lmtp_endpoints = {text: make(text, setting="listen-lmtp") for text in config.listen_lmtp}
        #: What is listened on while the service runs: ``ports[0].getHost().port`` is the port of ``tcp:0``.
        self.ports: list[IListeningPort] = []
        self._listening: list[Deferred[None]] = []
        self._tell: Callable[[StartError], object] = self.start_failed

    def privilegedStartService(self) -> None:
        """Listen. Ports below 1024 want this to be done before privileges are given up.

        :raises StartError: an endpoint cannot be listened on; then none is.
        """
        MultiService.privilegedStartService(self)
        _allow_connections(self.config.limits.connections)
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
        """Listen, unless that has been done, start the delivery, and log what the server does.

        :raises StartError: one of these failed; then nothing is listened on.
        """
        if not self._listening:
            self.privilegedStartService()
        try:
            if isinstance(self.factory.delivery, Starter):
                self.factory.delivery.start()
        except Exception as error:
            self._stop_listening()
            raise StartError(f"delivery {self.config.delivery!r}: {reason(error)}") from error
        MultiService.startService(self)
        domains = ("every domain" if domain == "*" else domain for domain in self.config.domains)
        _log.info("takes mail for {domains}", domains=", ".join(domains))
        _log.info("gives it to {delivery}", delivery=self.config.delivery)

    def stopService(self) -> "Deferred[None]":
        """Listen no more, and end the connections in order.

        :returns: fires when that is done.
        """
        ended = [
            self._stop_listening(),
            self.factory.shutdown(),
            self.lmtp_factory.shutdown(),
            maybeDeferred(MultiService.stopService, self),
        ]
        return DeferredList(ended, consumeErrors=True).addCallback(lambda _: None)

    def reload(self) -> None:
        """Read the certificates again. SIGHUP does this where the service is a process of its own.

        A development certificate comes too late now to be refused; but the log says what is wrong with it.
        """
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

    def start_failed(self, error: StartError) -> None:
        """An endpoint has failed that took its time to. The others are still listened on."""
        _log.critical("{error}", error=str(error))

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


# --- open files --------------------------------------------------------------------------------------------


def raise_file_limit(wanted: int) -> int:
    """Have the system allow this process *wanted* open files, or as many as it will.

    :returns: how many it allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= wanted:
        return wanted if soft == endless else soft
    greater, possible = (hard, wanted) if hard == endless else (max(wanted, hard), min(wanted, hard))
    for limits in ((wanted, greater), (possible, hard)):  # the former may be for root alone
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
    return soft


def _allow_connections(connections: int) -> None:
    """Each connection is a file, and each message that comes may be another."""
    files = raise_file_limit(2 * connections + OTHER_FILES)
    if files < connections + OTHER_FILES:
        _log.warn(
            "only {files} files may be open (ulimit -n), so there can be no more than {possible} connections, "
            "though max-connections is {connections}",
            files=files,
            possible=max(files - OTHER_FILES, 0),
            connections=connections,
        )


# --- twistd and twist --------------------------------------------------------------------------------------


def makeService(options: Options) -> SMTPService:
    """The service that *options* describe.

    :raises ConfigError: it cannot be made.
    :raises SystemExit: the same under twistd or twist, after one line that says why.
    """
    if options.parent is None:
        return SMTPService(options.config)
    try:
        return _Command(options.config, options.parent)
    except (ConfigError, OSError) as error:
        give_up(options, error)


class _Command(SMTPService):
    """The server as twistd's or twist's only business: it writes the log, and ends the process if it cannot
    start."""

    def __init__(self, config: Config, parent: Mapping[str, Any]) -> None:
        super().__init__(config)
        self._parent = parent
        self._observer = twistd_observer(parent, config.log_format)
        owner = logs_by_itself(parent)
        if owner and config.log_format != "text":
            _log.warn("log-format {name} has no effect: {owner}", name=config.log_format, owner=owner)

    def setServiceParent(self, parent: Any) -> None:
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # twistd takes the log's observer from there
        MultiService.setServiceParent(self, parent)

    def privilegedStartService(self) -> None:
        with self._giving_up():
            super().privilegedStartService()

    def startService(self) -> None:
        with self._giving_up():
            super().startService()
        signal.signal(signal.SIGHUP, self._hang_up)

    def _hang_up(self, *_: object) -> None:
        from twisted.internet import reactor

        cast(IReactorFromThreads, reactor).callFromThread(self.reload)

    def start_failed(self, error: StartError) -> None:
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
