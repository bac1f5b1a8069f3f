"""The running server as a service, and as twistd's only business."""

import os
import resource
import shutil
import signal
import smtplib
import socket
import sys
import tempfile
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.tls.support import issue, write
from twistsmtp.command import makeService
from twistsmtp.config import Config, ConfigError
from twistsmtp.delivery.discard import Discard
from twistsmtp.eager import EagerServer
from twistsmtp.limits import Limits
from twistsmtp.log import TextObserver
from twistsmtp.openfiles import raise_file_limit
from twistsmtp.options import Options
from twistsmtp.service import SMTPService, StartError
from twistsmtp.tls.development import make_development_certificate


def config(*listen: str, **values: Any) -> Config:
    """A configuration that keeps nothing."""
    return Config(**{"listen": listen, "hostname": "mx.example", "delivery": "discard:"} | values)


@implementer(IListeningPort)
class Port:
    """A port that remembers whether it listens."""

    def __init__(self, address: object) -> None:
        self.address = address
        self.listens = True

    def startListening(self) -> None:  # noqa: N802
        pass

    def stopListening(self) -> None:  # noqa: N802
        self.listens = False

    def getHost(self) -> Any:
        return self.address


class Starting(Discard):
    """A delivery that has something to do at the start."""

    started = False
    error: Exception | None = None

    def start(self) -> None:
        if self.error:
            raise self.error
        self.started = True


class Endpoint:
    """An endpoint that gives what it is told."""

    def __init__(self, listen: Callable[[], Any]) -> None:
        self.listen = lambda factory: listen()


class ServiceTestCase(SynchronousTestCase):
    """Services in a reactor that is none, and what they log."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        observe: Any = self.events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.reactor = MemoryReactorClock()

    def logged(self) -> list[str]:
        """What the service logged, without the times."""
        file = StringIO()
        observer = TextObserver(file)
        for event in self.events:
            if event.get("log_namespace") == "twistsmtp.service":
                observer({**event, "log_time": None})
        return [line.removeprefix("- [twistsmtp.service") for line in file.getvalue().splitlines()]

    def service(self, **endpoints: Callable[[], Any]) -> SMTPService:
        """A service whose endpoints are of another making."""
        service = SMTPService(config(), self.reactor)
        service.endpoints = {name: Endpoint(listen) for name, listen in endpoints.items()}
        return service


class StartTests(ServiceTestCase):
    """Starting, where it works."""

    def test_listens_on_all(self) -> None:
        service = SMTPService(config("tcp:25", "tcp:587:interface=127.0.0.1"), self.reactor)
        service.startService()
        ports = [(port, interface) for port, _, _, interface in self.reactor.tcpServers]
        self.assertEqual(ports, [(25, ""), (587, "127.0.0.1")])
        self.assertEqual(len(service.ports), 2)
        self.assertTrue(service.running)

    def test_listens_while_privileged(self) -> None:
        service = SMTPService(config("tcp:25"), self.reactor)
        service.privilegedStartService()
        self.assertEqual(len(self.reactor.tcpServers), 1)
        service.startService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def test_delivery_starts_last(self) -> None:
        """When privileges are given up, so that what it makes is not root's."""
        service = SMTPService(config("tcp:25"), self.reactor)
        delivery = service.factory.delivery = Starting()
        service.privilegedStartService()
        self.assertFalse(delivery.started)
        service.startService()
        self.assertTrue(delivery.started)

    def test_factory(self) -> None:
        """All that is configured arrives where it works."""
        limits = Limits(message_size=1000)
        factory = SMTPService(
            config("tcp:25", domains=("a.example",), extensions=("size",), strict_greeting=True, limits=limits),
            self.reactor,
        ).factory
        self.assertEqual(factory.hostname, "mx.example")
        self.assertIs(factory.limits, limits)
        self.assertTrue(factory.strict_greeting)
        self.assertEqual([each.name for each in factory.registry.extensions], ["size"])
        self.assertIsInstance(factory.delivery, Discard)
        self.assertIs(factory.reactor, self.reactor)
        (check,) = factory.checks.values()
        self.assertEqual(check[0].__self__.hosts, {"a.example"})  # type: ignore[attr-defined]  # RelayRule's

    def test_says_what_it_does(self) -> None:
        service = self.service(
            four=lambda: Port(IPv4Address("TCP", "127.0.0.1", 25)),
            six=lambda: Port(IPv6Address("TCP", "::1", 25)),
            unix=lambda: Port(UNIXAddress("/run/smtp")),
            other=lambda: Port("elsewhere"),
        )
        service.startService()
        self.assertEqual(
            self.logged(),
            [
                "] listens on 127.0.0.1:25 (four)",
                "] listens on [::1]:25 (six)",
                "] listens on /run/smtp (unix)",
                "] listens on elsewhere (other)",
                "] takes mail for localhost, mx.example, mx",
                "] gives it to discard:",
            ],
        )

    def test_says_when_it_takes_everything(self) -> None:
        SMTPService(config("tcp:25", domains=("*",)), self.reactor).startService()
        self.assertIn("] takes mail for every domain", self.logged())

    def test_stops(self) -> None:
        ports = [Port("a"), Port("b")]
        service = self.service(a=lambda: ports[0], b=lambda: ports[1])
        service.startService()
        self.successResultOf(service.stopService())
        self.assertFalse(service.running)
        self.assertEqual(service.ports, [])
        self.assertEqual([port.listens for port in ports], [False, False])

    def test_starts_again(self) -> None:
        service = SMTPService(config("tcp:25"), self.reactor)
        for _ in range(2):
            service.startService()
            self.successResultOf(service.stopService())
        self.assertEqual(len(self.reactor.tcpServers), 2)

    def test_stops_without_a_start(self) -> None:
        self.successResultOf(SMTPService(config("tcp:25"), self.reactor).stopService())

    def test_endpoint_that_takes_its_time(self) -> None:
        ready: Deferred[Port] = Deferred()
        service = self.service(slow=lambda: ready)
        service.startService()
        self.assertEqual(service.ports, [])
        ready.callback(Port("here"))
        self.assertEqual(len(service.ports), 1)
        self.assertIn("] listens on here (slow)", self.logged())

    def test_stops_an_endpoint_that_takes_its_time(self) -> None:
        cancelled: list[object] = []
        service = self.service(slow=lambda: Deferred(cancelled.append))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(len(cancelled), 1)
        self.assertFalse([line for line in self.logged() if "cannot" in line])


class FailureTests(ServiceTestCase):
    """Starting, where it does not work."""

    CASES = (
        (CannotListenError("", 25, OSError(13, "Permission denied")), "Permission denied"),
        (CannotListenError(None, "/x", "Cannot acquire lock"), "Cannot acquire lock"),
        (OverflowError("bind(): port must be 0-65535."), "bind(): port must be 0-65535."),
        (LookupError("no such descriptor"), "LookupError: no such descriptor"),
    )

    def test_cannot_listen(self) -> None:
        for error, expected in self.CASES:
            for listen in (lambda error=error: fail(error), lambda error=error: self.raise_(error)):
                start_error = self.assertRaises(StartError, self.service(tcp=listen).privilegedStartService)
                self.assertEqual(str(start_error), f"cannot listen on tcp: {expected}")

    def raise_(self, error: Exception) -> None:
        raise error

    def test_none_or_all(self) -> None:
        port = Port("here")
        service = self.service(first=lambda: port, second=lambda: fail(LookupError("no")))
        self.assertRaises(StartError, service.startService)
        self.assertFalse(port.listens)
        self.assertEqual(service.ports, [])
        self.assertFalse(service.running)

    def test_delivery(self) -> None:
        port = Port("here")
        service = self.service(first=lambda: port)
        delivery = service.factory.delivery = Starting()
        delivery.error = OSError(13, "Permission denied")
        error = self.assertRaises(StartError, service.startService)
        self.assertEqual(str(error), "delivery 'discard:': Permission denied")
        self.assertFalse(port.listens)
        self.assertFalse(service.running)

    def test_later(self) -> None:
        """An endpoint that finds out late does not take the others down."""
        late: Deferred[Port] = Deferred()
        service = self.service(first=lambda: Port("here"), second=lambda: late)
        service.startService()
        late.errback(LookupError("no"))
        self.assertIn("#critical] cannot listen on second: LookupError: no", self.logged())
        self.assertEqual(len(service.ports), 1)

    def test_cannot_be_made(self) -> None:
        cases = {
            "listen 'tcp:x': 'x' is not a number": config("tcp:x"),
            "listen 'tcp': missing 1 required positional argument: 'port'": config("tcp"),
            "listen 'tcp:25:a=1': got an unexpected keyword argument 'a'": config("tcp:25:a=1"),
            "listen 'udp:25': Unknown endpoint type: 'udp'": config("udp:25"),
            "listen '': Unknown endpoint type: ''": config(""),
            "listen 'ssl:1:privateKey=/no': No such file or directory: /no": config("ssl:1:privateKey=/no"),
            "extension: no extension 'x': No module named 'twistsmtp.extensions.x'": config(extensions=("x",)),
        }
        for expected, wrong in cases.items():
            error = self.assertRaises(ConfigError, SMTPService, wrong, self.reactor)
            self.assertEqual(str(error), expected)

    def test_no_such_delivery(self) -> None:
        error = self.assertRaises(ConfigError, SMTPService, config(delivery="nowhere:x"), self.reactor)
        self.assertRegex(str(error), r"\Adelivery 'nowhere:x': no delivery is called 'nowhere'[^\n]*\Z")


class FileLimitTests(ServiceTestCase):
    """How many files may be open, and whether that is enough."""

    def set_limits(self, soft: int, hard: int, *, root: bool = False) -> None:
        """Have the system allow *soft* files now and, but for root, *hard* at most."""
        self.limits = (soft, hard)

        def setrlimit(which: int, limits: tuple[int, int]) -> None:
            infinite = resource.RLIM_INFINITY
            if not root and self.limits[1] != infinite and (limits[1] == infinite or limits[1] > self.limits[1]):
                raise ValueError("not allowed to raise maximum limit")
            self.limits = limits

        self.patch(resource, "getrlimit", lambda which: self.limits)
        self.patch(resource, "setrlimit", setrlimit)

    def test_raised(self) -> None:
        endless = resource.RLIM_INFINITY
        cases: list[tuple[int, int, bool, int, tuple[int, int]]] = [
            (1024, 4096, False, 2000, (2000, 4096)),
            (1024, 4096, False, 9000, (4096, 4096)),
            (1024, 4096, True, 9000, (9000, 9000)),
            (1024, endless, False, 9000, (9000, endless)),
            (1024, 4096, False, 500, (1024, 4096)),
            (endless, endless, False, 9000, (endless, endless)),
        ]
        for soft, hard, root, wanted, expected in cases:
            self.set_limits(soft, hard, root=root)
            allowed = raise_file_limit(wanted)
            self.assertEqual(self.limits, expected)
            self.assertEqual(allowed, wanted if expected[0] == endless else expected[0])

    def test_enough_for_the_connections(self) -> None:
        self.set_limits(1024, 100_000)
        SMTPService(config(limits=Limits(connections=5000)), self.reactor).startService()
        self.assertEqual(self.limits, (10_100, 100_000))
        self.assertFalse([line for line in self.logged() if "files" in line])

    def test_not_enough(self) -> None:
        self.set_limits(1024, 4096)
        SMTPService(config(limits=Limits(connections=5000)), self.reactor).startService()
        (line,) = [line for line in self.logged() if "files" in line]
        self.assertEqual(
            line,
            "#warn] only 4096 files may be open (ulimit -n), so there can be no more than 3996 connections, though "
            "max-connections is 5000",
        )


class DevelopmentCertificateTests(ServiceTestCase):
    """A certificate that was made to try with never gets into the world."""

    def setUp(self) -> None:
        super().setUp()
        self.path = make_development_certificate(Path(self.mktemp()))

    def start(self, address: Any) -> None:
        service = SMTPService(config(tls_cert=(str(self.path),)), self.reactor)
        self.port = Port(address)
        service.endpoints = {"where": Endpoint(lambda: self.port)}
        service.startService()

    def test_this_machine_alone(self) -> None:
        for address in (IPv4Address("TCP", "127.0.0.1", 25), IPv6Address("TCP", "::1", 25), UNIXAddress(b"socket")):
            self.start(address)
            self.assertTrue(self.port.listens)

    def test_everywhere(self) -> None:
        for address in (
            IPv4Address("TCP", "0.0.0.0", 25),
            IPv6Address("TCP", "::", 25),
            IPv4Address("TCP", "192.0.2.1", 1),
        ):
            error = self.assertRaises(StartError, self.start, address)
            self.assertEqual(str(error), "cannot listen on where: a development certificate is for this machine alone")
            self.assertFalse(self.port.listens)

    def test_another_certificate_may(self) -> None:
        self.path = write(self.path.with_name("mx.pem"), issue("mx.example"))
        self.start(IPv4Address("TCP", "0.0.0.0", 25))
        self.assertTrue(self.port.listens)

    def test_comes_later(self) -> None:
        """By a reload: that is too late to be refused, and is said."""
        path = write(self.path.with_name("mx.pem"), issue("mx.example"))
        service = SMTPService(config(tls_cert=(str(path),)), self.reactor)
        here, there = (Port(IPv4Address("TCP", host, 25)) for host in ("127.0.0.1", "192.0.2.1"))
        service.endpoints = {"here": Endpoint(lambda: here), "there": Endpoint(lambda: there)}
        service.startService()
        service.reload()
        self.assertEqual([line for line in self.logged() if "#error" in line], [])
        path.write_bytes(self.path.read_bytes())
        service.reload()
        (line,) = [line for line in self.logged() if "#error" in line]
        self.assertEqual(
            line,
            "#error] a development certificate is in use, which is for this machine alone, and others can reach "
            "192.0.2.1:25: put another one in its place",
        )


class ReloadTests(ServiceTestCase):
    def test_reload(self) -> None:
        path = write(Path(self.mktemp()) / "mx.pem", issue("a.example"))
        service = SMTPService(config(tls_cert=(str(path),)), self.reactor)
        write(path, issue("b.example"))
        service.reload()
        assert service.certificates is not None
        self.assertEqual(service.certificates.names, ("b.example",))

    def test_nothing_to_reload(self) -> None:
        SMTPService(config(), self.reactor).reload()


class RealTests(TestCase):
    """On real sockets, with a client that knows nothing of us."""

    async def test_takes_mail(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/socket"
        service = SMTPService(config("tcp:0:interface=127.0.0.1", f"unix:{path}", delivery="memory:"))
        service.startService()
        self.addCleanup(service.stopService)
        listening: Any = service.ports[0]
        self.assertIs(listening.transport.func, EagerServer)
        port = listening.getHost().port

        def send(connect: Callable[[], smtplib.SMTP]) -> None:
            with connect() as client:
                client.sendmail("a@a.example", ["b@mx.example"], b"Subject: hello\r\n\r\nhello\r\n")

        def over_unix() -> smtplib.SMTP:
            client = smtplib.SMTP()
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.settimeout(30)
            client.sock.connect(path)
            client.getreply()
            return client

        await deferToThread(send, lambda: smtplib.SMTP("127.0.0.1", port, timeout=30))
        await deferToThread(send, over_unix)
        delivery: Any = service.factory.delivery
        self.assertEqual([message.email["Subject"] for message in delivery.messages], ["hello", "hello"])

    async def test_stop_ends_connections(self) -> None:
        service = SMTPService(config("tcp:0:interface=127.0.0.1"))
        service.startService()
        self.addCleanup(service.stopService)
        listening: Any = service.ports[0]
        port = listening.getHost().port

        def connect() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.recv(1000)
            return client

        def read(client: socket.socket) -> bytes:
            with client, client.makefile("rb") as file:
                return file.read()

        client = await deferToThread(connect)
        stopped = service.stopService()
        self.assertRegex(await deferToThread(read, client), rb"\A421 [^\n]+\r\n\Z")
        await stopped
        self.assertEqual(service.factory.connections, set())
        self.assertRaises(OSError, socket.create_connection, ("127.0.0.1", port), 30)


class Parent(usage.Options):
    """As much of twistd's options as we look at."""

    def __init__(self, **values: object) -> None:
        super().__init__()
        self.update(values)


class CommandTests(ServiceTestCase):
    """What `makeService` makes under twistd and twist, and without them."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(sys, "argv", ["twistd"])
        self.stderr = StringIO()
        self.patch(sys, "__stderr__", self.stderr)

    def make(self, parent: Parent | None, *arguments: str) -> SMTPService:
        options = Options()
        options.parseOptions(["--hostname", "mx.example", "--delivery", "discard:", *arguments])
        options.parent = parent
        return makeService(options)

    def assert_ends(self, service: SMTPService) -> None:
        error = self.assertRaises(SystemExit, service.privilegedStartService)
        self.assertEqual(error.code, 1)
        self.assertIn("#critical] cannot listen on unix:/nowhere/x: No such file or directory", self.logged())

    def test_alone(self) -> None:
        service = self.make(None, "--listen", "unix:/nowhere/x")
        self.assertIs(type(service), SMTPService)
        self.assertRaises(StartError, service.startService)
        self.assertRaises(ConfigError, self.make, None, "--listen", "tcp:x")

    def test_wrong(self) -> None:
        error = self.assertRaises(SystemExit, self.make, Parent(nodaemon=1), "--listen", "tcp:x")
        self.assertEqual(error.code, "twistd smtp: listen 'tcp:x': 'x' is not a number")

    def test_log_file_cannot_be_opened(self) -> None:
        error = self.assertRaises(SystemExit, self.make, Parent(nodaemon=1, logfile="/nowhere/x"))
        self.assertRegex(str(error.code), r"\Atwistd smtp: [^\n]*/nowhere/x'\Z")

    def test_log_becomes_twistds(self) -> None:
        application: Any = Application("smtp")
        service = self.make(Parent(nodaemon=1))
        service.setServiceParent(application)
        self.assertIsInstance(application.getComponent(ILogObserver), TextObserver)
        self.assertIs(service.parent, application.getComponent(IService))

    def test_log_of_others_stays(self) -> None:
        for parent in (Parent(syslog=1), Parent(logger=print), Parent(fileLogObserverFactory=print)):
            application: Any = Application("smtp")
            self.make(parent).setServiceParent(application)
            self.assertIsNone(application.getComponent(ILogObserver, None))

    def test_log_format_without_effect(self) -> None:
        """That a file has one for twistd is no mistake under twist; but it is said."""
        path = Path(self.mktemp())
        path.write_text('log-format = "json"')
        self.make(Parent(syslog=1), "--config", str(path))
        self.assertEqual(
            self.logged(), ["#warn] log-format json has no effect: the log is written as twistd's --syslog says"]
        )

    def test_cannot_start(self) -> None:
        """The log goes to the terminal: one line there."""
        self.assert_ends(self.make(Parent(nodaemon=1), "--listen", "unix:/nowhere/x"))
        self.assertEqual(self.stderr.getvalue(), "")

    def test_cannot_start_and_logs_elsewhere(self) -> None:
        parent = Parent(nodaemon=1, logfile=self.mktemp())
        self.assert_ends(self.make(parent, "--listen", "unix:/nowhere/x"))
        self.assertEqual(self.stderr.getvalue(), "cannot listen on unix:/nowhere/x: No such file or directory\n")

    def test_cannot_start_as_a_daemon(self) -> None:
        """The process that forked waits for a word, and prints it."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        parent = Parent(logfile=self.mktemp(), statusPipe=write)
        self.assert_ends(self.make(parent, "--listen", "unix:/nowhere/x"))
        os.close(write)
        self.assertEqual(os.read(read, 1000), b"1 cannot listen on unix:/nowhere/x: No such file or directory")
        self.assertEqual(self.stderr.getvalue(), "")

    def test_cannot_start_and_takes_the_pid_file_along(self) -> None:
        path = Path(self.mktemp())
        path.write_text("1")
        self.assert_ends(self.make(Parent(nodaemon=1, pidfile=str(path)), "--listen", "unix:/nowhere/x"))
        self.assertFalse(path.exists())

    def test_delivery_does_not_start(self) -> None:
        service = self.make(Parent(nodaemon=1))
        service.endpoints = {"tcp": Endpoint(lambda: Port("here"))}
        delivery = service.factory.delivery = Starting()
        delivery.error = ValueError("no room")
        error = self.assertRaises(SystemExit, service.startService)
        self.assertEqual(error.code, 1)
        self.assertIn("#critical] delivery 'discard:': no room", self.logged())

    def test_fails_later(self) -> None:
        """The reactor runs by then: a signal ends it, and is the exit status."""
        received: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        self.addCleanup(signal.signal, signal.SIGTERM, before)
        self.make(Parent(nodaemon=1)).start_failed(StartError("cannot listen on tor: no"))
        self.assertEqual(received, [signal.SIGTERM])
        self.assertEqual(self.logged(), ["#critical] cannot listen on tor: no"])
