"""docs/embedding.rst: each block of code is run."""

from __future__ import annotations

import hashlib
import smtplib
import sqlite3
import ssl
import subprocess
import sys
from base64 import b64encode
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest import TestResult, TestSuite

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.clients.kit import start
from tests.docs.pages import ROOT, Client, all_blocks, block
from tests.docs.running import MESSAGE, in_client, listen_anywhere, port_number, send
from tests.tls.support import authority, issue, write
from twistsmtp.delivery.discard import Discard
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule

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

    async def test_serve(self) -> None:
        """It is a program, and takes mail."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        text = block(PAGE, "serve").text.replace("tcp:8025", "tcp:0:interface=127.0.0.1")
        program = start(self, [sys.executable, "-c", text], folder=folder, PYTHONPATH=str(ROOT))
        port = int((await program.says(r"\Alistening on (\d+)\n"))[1])
        self.assertEqual(["me@localhost"], list(await send(port, to=("me@example.org", "me@localhost"))))
        self.assertEqual(1, len(list((folder / "Maildir" / "new").iterdir())))
        program.signal("TERM")
        self.assertEqual(0, (await program.ended()).status)

    async def test_few_lines(self) -> None:
        """They take mail, and the function is called with the message."""
        listening = listen_anywhere(self)
        names = run_block("few-lines")
        printed: list[tuple[str, ...]] = []
        names["print"] = lambda *facts: printed.append(tuple(map(str, facts)))
        [(text, port)] = listening
        self.assertEqual("tcp:8025", text)
        self.assertEqual({}, await send(port_number(port)))
        self.assertEqual([("ada@example.net", "Hello")], printed)
        self.assertIs(port, await names["listening"])

    async def test_several(self) -> None:
        """Each factory has what it was given: limits, policies, and one delivery for both."""
        listening = listen_anywhere(self)
        names = run_block("several")
        await names["listen"](reactor)
        self.assertEqual(["tcp:8025", "unix:lmtp.sock"], [text for text, _ in listening])
        world, local = (port_number(port) for _, port in listening)
        refused = await send(world, to=("me@example.org", "me@example.com"))
        self.assertEqual({"me@example.com": 550}, {name: code for name, (code, _) in refused.items()})

        def hand_over() -> dict[str, tuple[int, bytes]]:
            with smtplib.LMTP("127.0.0.1", local) as client:
                return client.sendmail("", ["me@example.com"], MESSAGE)

        self.assertEqual({}, await deferToThread(hand_over))
        self.assertEqual(2, len(names["inbox"].messages))
        self.assertEqual((1_000_000, 33_554_432), tuple(names[each].limits.message_size for each in ("world", "local")))

    async def test_ways(self) -> None:
        """Each of the four functions is called; the one that blocks is in a thread, and keeps the message."""
        folder = Path(self.mktemp())
        folder.mkdir()
        names = run_block("ways")
        sizes: list[int] = []
        names["print"] = sizes.append
        names["sqlite3"] = Databases(folder)
        for delivery in names["deliveries"]:
            factory = SMTPFactory(delivery)
            port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
            self.assertEqual({}, await send(port_number(port)))
            await port.stopListening()
        self.assertEqual(3, len(sizes))
        with closing(sqlite3.connect(folder / "mail.db")) as database:
            [(octets,)] = database.execute("SELECT octets FROM mail")
        self.assertTrue(octets.endswith(MESSAGE.encode()))

    async def test_security(self) -> None:
        """Over TLS a user logs in, and has a Maildir of what was sent; nobody else gets anything taken."""
        folder = Path(self.mktemp())
        write(folder / "mail.example.org.pem", issue("127.0.0.1"))
        authorities = authority().cert_pem.bytes().decode()
        (folder / "users").write_text(f"ada:{{SHA}}{b64encode(hashlib.sha1(b'secret').digest()).decode()}\n")
        names = run_block("security")
        for name in ("Certificates", "PasswdFile", "Maildir"):
            names[name] = partial(self.within, folder, names[name])
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(names["submission"]())
        self.addCleanup(port.stopListening)

        def talk(client: smtplib.SMTP) -> int:
            client.starttls(context=ssl.create_default_context(cadata=authorities))
            client.ehlo()
            code, _ = client.mail("ada@example.org")
            client.login("ada", "secret")
            client.sendmail("ada@example.org", "me@example.net", MESSAGE)
            return code

        self.assertEqual(530, await in_client(port_number(port), talk))
        [path] = (folder / "var" / "sent" / "ada" / "new").iterdir()
        self.assertTrue(path.read_bytes().endswith(MESSAGE.encode()))

    def within(self, folder: Path, kind: Any, path: str, **more: Any) -> Any:
        """What *kind* makes of a path of the page."""
        return kind(str(folder / path), **more)

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


class Databases:
    """The module sqlite3, with its files in another folder. It tells that it is not called by the reactor."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def connect(self, name: str) -> sqlite3.Connection:
        if isInIOThread():
            raise AssertionError("the reactor waits for the disk")
        return sqlite3.connect(self.folder / name)


class MemoryTests(SynchronousTestCase):
    """Blocks that need no network."""

    def say(self, factory: SMTPFactory, *lines: str) -> list[str]:
        """What the server of *factory* answers to the last of *lines*."""
        client = Client(factory)
        self.addCleanup(client.leave)
        for line in ("EHLO client", *lines):
            client.hear()
            client.say(line)
        return client.hear()

    def test_message(self) -> None:
        """The function finds all that the page says that there is."""
        folder = Path(self.mktemp())
        folder.mkdir()
        names = run_block("message")
        printed: list[str] = []
        names["print"] = lambda fact: printed.append(str(fact))
        names["open"] = lambda name, mode: open(folder / name, mode)  # noqa: SIM115  # the page closes it
        lines = ("MAIL FROM:<ada@example.net>", "RCPT TO:<me@localhost>", "RCPT TO:<you@localhost>", "DATA")
        [reply] = self.say(names["factory"], *lines, "Subject: Hello", "", "A body.", ".")
        self.assertTrue(reply.startswith("250 "))
        octets = (folder / "last.eml").read_bytes()
        self.assertTrue(octets.endswith(b"\r\nSubject: Hello\r\n\r\nA body.\r\n"))
        envelope = f"from ada@example.net for ['me@localhost', 'you@localhost']: {len(octets)} octets"
        self.assertEqual([envelope, "Hello", "A body.\n", hashlib.sha256(octets).hexdigest()], printed)

    def test_stream(self) -> None:
        """The function has the octets, and its reply is the server's."""
        factory = run_block("stream")["factory"]
        [reply] = self.say(
            factory, "MAIL FROM:<>", "RCPT TO:<me@localhost>", "DATA", "Subject: Hello", "", "A body.", "."
        )
        self.assertRegex(reply, r"\A250 2\.0\.0 [0-9a-f]{64}\Z")

    def test_refuse(self) -> None:
        """A sender, recipients, and messages that say nothing are refused."""
        factory = run_block("refuse")["factory"]
        begin = ("MAIL FROM:<ada@example.net>",)
        self.assertEqual(["550 5.7.1 No reports, please"], self.say(factory, "MAIL FROM:<>"))
        for recipient in ("help+1@example.com", "sales+1@example.org"):
            [reply] = self.say(factory, *begin, f"RCPT TO:<{recipient}>")
            self.assertEqual("550 5.1.1 No such mailbox here", reply)
        self.assertEqual(["550 5.1.1 There is no such ticket"], self.say(factory, *begin, "RCPT TO:<help@example.org>"))
        data = (*begin, "RCPT TO:<help+1@Example.ORG>", "DATA", "Subject: Hello", "")
        self.assertEqual(["554 5.6.0 Say something"], self.say(factory, *data, "."))
        self.assertEqual(["250 2.0.0 Thank you"], self.say(factory, *data, "Help", "."))

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
        names["RelayRule"] = lambda domains: RelayRule(["*"])
        result = run_case(names["RelayTests"])
        self.assertEqual(1, len(result.failures))

    def test_all(self) -> None:
        """Each block of the page is run here."""
        names = [each.name for each in all_blocks("python") if each.page == PAGE]
        here = Path(__file__).read_text()
        self.assertEqual([], [name for name in names if f'"{name}"' not in here])

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
