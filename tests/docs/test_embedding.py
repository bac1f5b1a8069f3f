"""docs/embedding.rst: each block of code is run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from unittest import TestResult, TestSuite

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.docs.pages import ROOT, Client, block
from tests.docs.running import in_client, listen_anywhere, port_number, send
from twistsmtp.delivery.discard import Discard
from twistsmtp.factory import SMTPFactory

PAGE = "embedding.rst"


def run_block(name: str) -> dict[str, Any]:
    """Run a block; what it names."""
    names: dict[str, Any] = {"__name__": name}
    exec(block(PAGE, name).text, names)
    return names


class ListeningTests(TestCase):
    """Blocks that listen."""

    async def takes_mail(self, name: str) -> dict[str, Any]:
        listening = listen_anywhere(self)
        names = run_block(name)
        [(text, port)] = listening
        self.assertEqual("tcp:8025", text)
        self.assertEqual({}, await send(port_number(port)))
        self.assertIs(port, await names["listening"])
        return names

    async def test_five_lines(self) -> None:
        """They take mail, and `wait` has the message."""
        names = await self.takes_mail("five-lines")
        [message] = await names["memory"].wait()
        self.assertIs(message, names["memory"].messages[0])

    async def test_eager(self) -> None:
        """A port whose connections send at once takes mail just the same."""
        await self.takes_mail("eager")

    async def test_service(self) -> None:
        """The service is part of the application, and takes mail for its domains."""
        listening = listen_anywhere(self)
        service = run_block("service")["service"]
        self.addCleanup(service.stopService)
        service.startService()
        [(_, port)] = listening
        refused = await send(port_number(port), to=("me@example.org", "me@example.com"))
        self.assertEqual({"me@example.com": 550}, {name: code for name, (code, _) in refused.items()})

    async def test_shutdown(self) -> None:
        """It ends the port and its connections."""
        factory = SMTPFactory(Discard())
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        stopped: list[Any] = []

        def stop() -> None:
            stopped.append(ensureDeferred(run_block("shutdown")["stop"](port, factory)))

        def talk(client: Any) -> tuple[int, bytes]:
            client.noop()
            IReactorFromThreads(reactor).callFromThread(stop)
            return client.getreply()  # type: ignore[no-any-return]  # smtplib says so

        code, _ = await in_client(port_number(port), talk)
        self.assertEqual(421, code)
        await stopped[0]
        self.assertEqual(set(), factory.connections)

    async def test_observer(self) -> None:
        """The page's observer sees each message."""
        names = run_block("observer")
        self.addCleanup(globalLogPublisher.removeObserver, names["count"])
        seen: list[tuple[object, ...]] = []
        names["print"] = lambda *facts: seen.append(facts)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(SMTPFactory(Discard()))
        self.addCleanup(port.stopListening)
        await send(port_number(port))
        self.assertEqual([(27, "accepted")], seen)


class PolicyTests(TestCase):
    """The three ways to answer."""

    async def test_three_ways(self) -> None:
        """Each of them refuses the same recipients, and takes the same."""
        names = run_block("three-ways")
        for way in ("Now", "WithADeferred", "WithACoroutine"):
            factory = SMTPFactory(Discard(), policies=[names[way]()])
            port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
            refused = await send(port_number(port), to=("ada@localhost", "bob@localhost"))
            await port.stopListening()
            self.assertEqual({"bob@localhost": (550, b"5.1.1 No such mailbox here")}, refused, way)


class MemoryTests(SynchronousTestCase):
    """Blocks that need no network."""

    def test_relay_rule(self) -> None:
        """The factory takes mail for its domains alone."""
        client = Client(run_block("relay-rule")["factory"])
        self.addCleanup(client.leave)
        for line in ("EHLO client", "MAIL FROM:<>"):
            client.say(line)
        client.hear()
        for domain in ("example.org", "EXAMPLE.NET", "example.com"):
            client.say(f"RCPT TO:<ada@{domain}>")
        self.assertEqual(["250", "250", "550"], [line[:3] for line in client.hear()])

    def test_limits(self) -> None:
        """The limits are the factory's own."""
        limits = run_block("other-limits")["factory"].limits
        self.assertEqual((104857600, 100), (limits.message_size, limits.recipients))
        self.assertNotEqual(limits, SMTPFactory(Discard()).limits)

    def test_in_memory_test(self) -> None:
        """The page's test case passes: each of its three tests."""
        case = run_block("in-memory-test")["RelayTests"]
        result = run_case(case)
        self.assertEqual(([], [], 3), (result.errors, result.failures, result.testsRun))

    def test_in_memory_test_can_fail(self) -> None:
        """And it does not where the server does something else."""
        names = run_block("in-memory-test")
        names["RelayRule"] = lambda domains: object()
        result = run_case(names["RelayTests"])
        self.assertEqual(1, len(result.failures))

    def test_no_reactor(self) -> None:
        """Importing what the page imports installs no reactor."""
        code = (
            "import sys, twistsmtp.factory, twistsmtp.service, twistsmtp.delivery.memory, twistsmtp.delivery.maildir\n"
            "sys.exit('twisted.internet.reactor' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=120)
        self.assertEqual(0, done.returncode)


def run_case(case: type[SynchronousTestCase]) -> TestResult:
    """Run all tests of a case."""
    result = TestResult()
    TestSuite([case(name) for name in dir(case) if name.startswith("test")]).run(result)
    return result
