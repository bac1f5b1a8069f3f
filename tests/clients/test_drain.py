"""``twistd smtp`` is stopped, started and told to read its files again, and whoever is in the middle of a message
notices nothing of it.

Each server of `LoadTestCase` inherits the socket that the one before it listened on, as under systemd. So nobody is
turned away, either: who connects while there is no server waits for the next one.
"""

import json
import os
import signal
import smtplib
import socket
import sys
from functools import partial
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.clients.kit import ROOT, TWISTD, Process
from tests.clients.load import Load
from tests.clients.submission import SubmissionTestCase
from twistsmtp.config import load
from twistsmtp.service import SMTPService


class DrainTestCase(SubmissionTestCase):
    """The server as a process."""

    def setUp(self) -> None:
        super().setUp()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.addCleanup(self.listening.close)
        self.port: int = self.listening.getsockname()[1]

    def configure(self, **settings: object) -> None:
        """Write the file that the server reads."""
        lines = {
            "listen": "fd:3",
            "hostname": "mx.test",
            "domain": "mx.test",
            "delivery": f"maildir:{self.maildir.resolve()}:create=yes",
            "tls-cert": self.certificate,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        self.path = self.file("smtp.toml", text.encode())

    async def begin(self) -> Process:
        """A server that runs."""
        from twisted.internet import reactor

        process = Process()
        command = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", "--config", self.path]
        home = str(self.folder.resolve())
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "PYTHONPATH": str(ROOT)}
        descriptors = {0: "w", 1: "r", 2: "r", 3: self.listening.fileno()}
        spawn = cast(Any, reactor).spawnProcess
        spawn(process, command[0], command, env, home, childFDs=descriptors)

        def end() -> Deferred[Process]:
            process.kill()
            return process.ended()

        self.addCleanup(end)
        await process.says("gives it to ")
        return process

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=60)
        client.ehlo("client.test")
        return client

    def begin_message(self) -> smtplib.SMTP:
        client = self.connect()
        for command in "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA":
            client.docmd(command)
        client.send(b"Subject: hello\r\n")
        return client


class StopTests(DrainTestCase):
    """SIGTERM, and once more."""

    async def test_a_message_may_end(self) -> None:
        self.configure()
        process = await self.begin()
        idle = await deferToThread(self.connect)
        amid = await deferToThread(self.begin_message)
        process.signal("TERM")

        code, text = await deferToThread(idle.getreply)
        self.assertEqual((code, text[:5]), (421, b"4.3.2"))
        self.assertIsNone(process.status)

        def finish() -> list[tuple[int, bytes]]:
            amid.send(b"\r\nhello\r\n.\r\n")
            return [amid.getreply(), amid.getreply()]

        accepted, down = await deferToThread(finish)
        self.assertEqual((accepted[0], down[0]), (250, 421))
        for each in idle, amid:
            each.close()
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        self.assertNotIn("Traceback", str(process))
        (stored,) = self.stored_here()
        self.assertEqual(stored.octets, b"Subject: hello\r\n\r\nhello\r\n")

    async def test_at_once_on_a_second_signal(self) -> None:
        for first, second in ("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT"):
            self.configure(drain_time="1h")
            process = await self.begin()
            amid = await deferToThread(self.begin_message)
            process.signal(first)
            await process.says(rf"Received SIG{first}, shutting down")
            process.signal(second)
            code, text = await deferToThread(amid.getreply)
            self.assertEqual((code, text[:5]), (421, b"4.3.2"))
            await process.ended()
            self.assertEqual(process.status, -getattr(signal, f"SIG{first}"))
            self.assertNotIn("Traceback", str(process))
            amid.close()
            self.assertEqual([*self.stored_here()], [])

    async def test_who_does_not_go_is_left(self) -> None:
        """A client that is told to go, and keeps its side open, has a moment to go."""
        self.configure(drain_time="1h")
        process = await self.begin()
        idle = await deferToThread(self.connect)
        process.signal("TERM")
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        idle.close()

    async def test_when_the_time_is_over(self) -> None:
        self.configure(drain_time=0.1)
        process = await self.begin()
        amid = await deferToThread(self.begin_message)
        process.signal("TERM")
        code, _ = await deferToThread(amid.getreply)
        self.assertEqual(code, 421)
        await process.ended()
        amid.close()
        self.assertEqual([*self.stored_here()], [])


class LoadTestCase(DrainTestCase):
    """Many clients, and what becomes of their messages."""

    #: Clients, lines of each message, messages between one signal and the next, and how often there is one: by turns
    #: the server is told to read its files again, and is stopped and started.
    CLIENTS, LINES, BETWEEN, TIMES = 16, 500, 24, 0

    async def reload(self, turn: int) -> None:
        """Have the server read its files, of which *turn* has changed something."""
        raise NotImplementedError

    async def restart(self) -> None:
        """Stop it, and start it."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop it."""
        raise NotImplementedError

    async def trouble(self) -> None:
        """Reload and restart it in the middle of everything, and see that nobody is the worse for it."""
        clients = Load(self.port, self.CLIENTS, lines=self.LINES)
        for turn in range(self.TIMES):
            await clients.more(self.BETWEEN)
            if turn % 2 == 0:
                self.issue("mx.pem", "mx.test", f"{turn}.test")
                self.configure(max_size=1_000_000 + turn)
                await self.reload(turn)
            else:
                await self.restart()
        await clients.more(self.BETWEEN)
        await clients.end()
        await self.stop()
        self.assertEqual(clients.broken, [])
        numbers = sorted(int(each.octets.split()[1]) for each in self.stored_here())
        self.assertEqual(numbers, sorted(clients.accepted))
        self.assertGreater(clients.dismissed, self.TIMES // 2)


class ProcessTests(LoadTestCase):
    """The server as a process of its own, and signals."""

    TIMES = int(os.environ.get("TWISTSMTP_DRAINS", "8"))
    timeout = 60 + 5 * TIMES

    async def reload(self, turn: int) -> None:
        self.process.signal("HUP")
        await self.process.says("the configuration was read again: max-size changed")

    async def restart(self) -> None:
        await self.stop()
        self.process = await self.begin()

    async def stop(self) -> None:
        self.process.signal("TERM")
        await self.process.ended()
        self.assertEqual(self.process.status, -signal.SIGTERM, str(self.process))
        self.assertNotIn("Traceback", str(self.process))

    async def test_nobody_is_broken_off(self) -> None:
        self.configure()
        self.process = await self.begin()
        await self.trouble()


class ServiceTests(LoadTestCase):
    """The server as a service of this process: so it is quick, and can be done often."""

    CLIENTS, LINES, BETWEEN, TIMES = 4, 20, 3, 200
    timeout = 120

    def begin_here(self) -> None:
        read = partial(load, {"listen": f"fd:{os.dup(self.listening.fileno())}"}, self.path)
        self.service = SMTPService(read(), read=read)
        self.service.startService()

    async def reload(self, turn: int) -> None:
        await self.service.reload()
        self.assertEqual(self.service.factory.limits.message_size, 1_000_000 + turn)

    async def restart(self) -> None:
        await self.stop()
        self.begin_here()

    async def stop(self) -> None:
        sessions = [each.session for each in self.service.factory.connections]
        self.amid.append(sum(each.transaction is not None and each.transaction.opened is not None for each in sessions))
        await self.service.stopService()

    async def test_nobody_is_broken_off(self) -> None:
        #: How many clients were in the middle of a message, each time that the service was stopped.
        self.amid: list[int] = []
        self.configure()
        self.begin_here()
        self.addCleanup(lambda: self.service.running and self.service.stopService())
        await self.trouble()
        self.assertGreater(sum(map(bool, self.amid)), self.TIMES // 4, self.amid)
