"""What a running server tells of itself, asked over real sockets."""

import smtplib
import socket
import ssl
import sys
from http.client import HTTPConnection, HTTPSConnection
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.loopback import connect
from tests.support import logged
from tests.test_metrics import read
from tests.test_service_leaks import left, turns
from tests.tls.support import authority, issue, write
from twistsmtp import monitor as module
from twistsmtp.check import check
from twistsmtp.config import ConfigError, load
from twistsmtp.service import SMTPService, StartError

LOCAL = "tcp:0:interface=127.0.0.1"


def settings(**more: object) -> dict[str, object]:
    """Of a server that keeps nothing, and tells of itself."""
    return {
        "listen": LOCAL,
        "metrics": LOCAL,
        "hostname": "mx.test",
        "domain": "mx.test",
        "delivery": "discard:",
    } | more


def request(
    port: int, path: str, method: str = "GET", tls: ssl.SSLContext | None = None, **headers: str
) -> tuple[int, str]:
    """The status and the body of an answer; ``(0, "")`` where the connection is closed instead."""
    host = "127.0.0.1"
    client = HTTPSConnection(host, port, timeout=30, context=tls) if tls else HTTPConnection(host, port, timeout=30)
    try:
        client.putrequest(method, path)
        for name, value in headers.items():
            client.putheader(name.replace("_", "-"), value)
        client.endheaders()
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionError:
        return 0, ""
    finally:
        client.close()


def send(port: int, count: int) -> None:
    """Send messages on one connection."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        for _ in range(count):
            client.sendmail("a@client.test", ["b@mx.test"], "Subject: hello\r\n\r\nhello\r\n")


class MonitorTestCase(TestCase):
    timeout = 60

    def serve(self, **more: object) -> SMTPService:
        service = SMTPService(load(settings(**more)))
        service.startService()
        self.addCleanup(lambda: service.stopService() if service.running else None)
        return service

    def port(self, service: SMTPService) -> int:
        """Where it tells of itself."""
        assert service.monitor is not None
        port: Any = service.monitor.port
        number: int = port.getHost().port
        return number

    def smtp_port(self, service: SMTPService, n: int = 0) -> int:
        port: Any = service.ports[n]
        number: int = port.getHost().port
        return number

    def ask(self, service: SMTPService, path: str, *arguments: Any, **headers: Any) -> "Deferred[tuple[int, str]]":
        return deferToThread(request, self.port(service), path, *arguments, **headers)

    async def scrape(self, service: SMTPService) -> dict[str, float]:
        status, text = await self.ask(service, "/metrics")
        self.assertEqual(status, 200)
        return read(text)


class MetricsTests(MonitorTestCase):
    async def test_while_mail_flows(self) -> None:
        """Each scrape is whole, and no count falls; in the end each message is there."""
        service = self.serve()
        flow = gatherResults([deferToThread(send, self.smtp_port(service), 100) for _ in range(3)])
        scrapes = []
        while not flow.called:
            scrapes.append(await self.scrape(service))
        await flow
        scrapes.append(await self.scrape(service))
        self.assertGreater(len(scrapes), 2)
        rising = [name for name in scrapes[-1] if "_total" in name or "_bucket" in name]
        for earlier, later in pairwise(scrapes):
            for name in rising:
                self.assertLessEqual(earlier.get(name, 0), later.get(name, 0), name)
        last = scrapes[-1]
        self.assertEqual(last["messages_total{result=accepted}"], 300)
        self.assertEqual(last["replies_total{code=354}"], 300)
        self.assertEqual(last["message_duration_seconds_count"], 300)
        self.assertGreater(last["process_resident_memory_bytes"], 1024 * 1024)

    async def test_forms(self) -> None:
        """What Prometheus asks for is what it gets, and a part of it where only that is asked for."""
        service = self.serve()
        accept = "application/openmetrics-text; version=1.0.0"
        status, text = await self.ask(service, "/metrics", accept=accept)
        self.assertEqual((status, text.splitlines()[-1]), (200, "# EOF"))
        status, text = await self.ask(service, "/metrics?name[]=twistsmtp_connections_open")
        self.assertEqual([each.name for each in text_string_to_metric_families(text)], ["twistsmtp_connections_open"])

    async def test_several(self) -> None:
        """Services of one process: each tells of itself alone, and one that has stopped is of no concern to another."""
        first, second = self.serve(), self.serve(**{"listen-lmtp": LOCAL})
        await deferToThread(send, self.smtp_port(first), 3)
        self.assertEqual((await self.scrape(first))["messages_total{result=accepted}"], 3)
        found = await self.scrape(second)
        self.assertEqual(found["messages_total{result=accepted}"], 0)
        self.assertEqual(found["messages_total{protocol=lmtp,result=accepted}"], 0)
        self.assertNotIn("messages_total{protocol=lmtp,result=accepted}", await self.scrape(first))
        await first.stopService()
        await deferToThread(send, self.smtp_port(second), 2)
        self.assertEqual((await self.scrape(second))["messages_total{result=accepted}"], 2)

    async def test_encrypted(self) -> None:
        """By the server's own certificates."""
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        certificate = write(folder / "mx.pem", issue("mx.test", "127.0.0.1"))
        service = self.serve(**{"tls-cert": str(certificate), "metrics": "tls:0:interface=127.0.0.1"})
        context = ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())
        self.assertEqual(await self.ask(service, "/ready", tls=context), (200, "yes\n"))


class StateTests(MonitorTestCase):
    async def test_ready(self) -> None:
        service = self.serve()
        for path in "/health", "/ready":
            self.assertEqual(await self.ask(service, path), (200, "yes\n"))
            with logged("twistsmtp.monitor._Request") as warnings:
                self.assertEqual(await self.ask(service, path, "HEAD"), (200, ""))
            self.assertEqual(warnings, [])
        for path in "/", "/other", "/ready.html":
            self.assertEqual((await self.ask(service, path))[0], 404)
        self.assertEqual((await self.ask(service, "/ready", "DELETE"))[0], 501)

    async def test_draining(self) -> None:
        """It takes no more mail, and still tells so."""
        service = self.serve(**{"drain-time": 30})
        client = await deferToThread(smtplib.SMTP, "127.0.0.1", self.smtp_port(service), timeout=30)
        await deferToThread(client.ehlo)
        await deferToThread(client.mail, "a@client.test")
        await deferToThread(client.rcpt, "b@mx.test")
        port = self.port(service)
        stopped = service.stopService()
        await turns()
        self.assertEqual(await self.ask(service, "/ready"), (503, "no\n"))
        self.assertEqual(await self.ask(service, "/health"), (200, "yes\n"))
        found = await self.scrape(service)
        self.assertEqual(found["connections_open"], 1)
        self.assertFalse(stopped.called)
        self.assertEqual((await deferToThread(client.data, b"text\r\n"))[0], 250)
        await deferToThread(client.close)
        await stopped
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port), 5)

    async def test_started_again(self) -> None:
        service = self.serve()
        for count in 1, 2:
            await deferToThread(send, self.smtp_port(service), 1)
            self.assertEqual((await self.scrape(service))["messages_total{result=accepted}"], count)
            await service.stopService()
            service.startService()


class BoundTests(MonitorTestCase):
    async def test_bodies(self) -> None:
        """None is waited for, and so none kept."""
        service = self.serve()
        for headers in {"content_length": "1000000"}, {"transfer_encoding": "chunked"}:
            self.assertEqual(await self.ask(service, "/health", "POST", **headers), (0, ""))

    async def test_connections(self) -> None:
        self.patch(module, "CONNECTIONS", 2)
        service = self.serve()
        idle = [await deferToThread(connect, ("127.0.0.1", self.port(service))) for _ in range(2)]
        self.assertEqual(await self.ask(service, "/health"), (0, ""))
        idle.pop().close()
        while (await self.ask(service, "/health"))[0] != 200:
            await turns()
        idle.pop().close()


class LifeTests(MonitorTestCase):
    async def once(self, service: SMTPService) -> None:
        """Start it, ask it, leave a connection that is idle and one with half a request, and stop it."""
        service.startService()
        await deferToThread(send, self.smtp_port(service), 1)
        await self.scrape(service)
        clients = [await deferToThread(connect, ("127.0.0.1", self.port(service))) for _ in range(2)]
        clients[0].sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"200 OK", await deferToThread(clients[0].recv, 1000))
        clients[1].sendall(b"GET /metr")
        await turns()
        await service.stopService()
        await turns()
        for each in clients:
            each.close()

    async def test_nothing_is_left(self) -> None:
        service = SMTPService(load(settings()))
        observers = [*globalLogPublisher._observers]
        await self.once(service)
        before = left()
        for _ in range(5):
            await self.once(service)
        after = left()
        for what, found in before.items():
            self.assertEqual(after[what], found, what)
        self.assertEqual(globalLogPublisher._observers, observers)

    def test_in_use(self) -> None:
        """A port that is somebody else's stops the start, and nothing is left of it."""
        observers = [*globalLogPublisher._observers]
        with socket.create_server(("127.0.0.1", 0)) as other:
            where = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            service = SMTPService(load(settings(metrics=where)))
            error = self.assertRaises(StartError, service.startService)
        self.assertEqual(str(error), f"metrics '{where}': Address already in use")
        self.assertEqual((service.ports, service.running), ([], 0))
        self.assertEqual(globalLogPublisher._observers, observers)


class Endpoint:
    """One that takes its time."""

    def __init__(self) -> None:
        self.pending: Deferred[Any] = Deferred()

    def listen(self, factory: object) -> Deferred[Any]:
        return self.pending


class LateTests(SynchronousTestCase):
    """An endpoint that takes its time."""

    def start(self) -> tuple[SMTPService, Endpoint]:
        service, endpoint = SMTPService(load(settings()), MemoryReactorClock()), Endpoint()
        assert service.monitor is not None
        service.monitor._endpoint = endpoint
        service.startService()
        return service, endpoint

    def test_failure(self) -> None:
        """Mail is taken all the same, and the log says what is wrong."""
        service, endpoint = self.start()
        with logged("twistsmtp.service") as events:
            endpoint.pending.errback(CannotListenError("127.0.0.1", 9100, OSError(98, "in use")))
        self.assertIn("in use", events[0]["error"])
        self.assertTrue(service.running)
        self.successResultOf(service.stopService())

    def test_stopped_meanwhile(self) -> None:
        service, endpoint = self.start()
        with logged("twistsmtp.service") as events:
            self.successResultOf(service.stopService())
        self.assertTrue(endpoint.pending.called)
        self.assertEqual(events, [])


class SettingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def wrong(self, text: str) -> str:
        """What is wrong with an endpoint: a start and ``--check`` say the same."""
        config = load(settings(metrics=text))
        error = str(self.assertRaises(ConfigError, SMTPService, config, self.reactor))
        output, errors = StringIO(), StringIO()
        self.assertEqual(check(settings(metrics=text), None, output=output, errors=errors, reactor=self.reactor), 1)
        self.assertEqual(errors.getvalue(), f"{error}\n")
        return error

    def test_wrong(self) -> None:
        self.assertEqual(self.wrong("tcp:x"), "metrics 'tcp:x': 'x' is not a number")
        self.assertEqual(self.wrong("proxy:tcp:9100"), "metrics 'proxy:tcp:9100': proxy: is for mail")
        self.assertEqual(self.wrong("tls:9100"), "metrics 'tls:9100': tls: needs tls-cert")

    def test_not_installed(self) -> None:
        with patch.dict(sys.modules, {"prometheus_client": None}):
            self.assertEqual(
                self.wrong("tcp:9100"), "metrics: prometheus_client is not installed (pip install 'twistsmtp[metrics]')"
            )

    def test_check(self) -> None:
        output, errors = StringIO(), StringIO()
        self.assertEqual(check(settings(), None, output=output, errors=errors, reactor=self.reactor), 0)
        self.assertIn(f"- tell of itself by HTTP, whoever connects, on {LOCAL}\n", output.getvalue())
        self.assertEqual(errors.getvalue(), "")
        self.assertEqual(self.reactor.tcpServers, [])
        output = StringIO()
        check(settings(metrics=""), None, output=output, errors=errors, reactor=self.reactor)
        self.assertNotIn("HTTP", output.getvalue())

    def test_listens_where_it_is_told(self) -> None:
        service = SMTPService(load(settings(metrics="tcp:9100:interface=127.0.0.1")), self.reactor)
        service.startService()
        self.assertIn((9100, "127.0.0.1"), [(port, interface) for port, _, _, interface in self.reactor.tcpServers])
        self.assertEqual(len(service.ports), 1)
        self.successResultOf(service.stopService())
