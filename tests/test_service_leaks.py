"""A server that has stopped leaves nothing behind, however often it was started, and whatever went on meanwhile."""

import contextlib
import gc
import os
import smtplib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.tls.support import authority, issue, write
from twistsmtp.config import load
from twistsmtp.protocol import SMTPProtocol
from twistsmtp.service import SMTPService
from twistsmtp.session import Session

#: How often it is started.
TIMES = 20
MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


class LeakTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        certificate = write(folder / "mx.pem", issue("mx.test", "127.0.0.1"))
        self.context = ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())
        self.socket = f"/tmp/twistsmtp-{os.getpid()}-{id(self):x}"
        self.settings: dict[str, object] = {
            "listen": ["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1", "proxy:tcp:0:interface=127.0.0.1"],
            "listen-lmtp": [f"unix:{self.socket}"],
            "proxy-trusted": ["127.0.0.1"],
            "hostname": "mx.test",
            "domain": ["mx.test"],
            "delivery": f"maildir:{(folder / 'Maildir').absolute()}:create=yes",
            "tls-cert": [str(certificate)],
            "auth": ["memory:ada:secret"],
            "relay-authenticated": True,
            "drain-time": 0.05,
            "limits.auth-delay": 0.001,
            "limits.auth-delay-most": 0.001,
            "limits.auth-failures-per-client": 10000,
        }

    def talk(self, ports: list[int]) -> list[Any]:
        """Send messages in all ways, and leave clients that are idle, in the middle of something, or silent."""
        for tls in False, True:
            where: Any = {"host": "127.0.0.1", "port": ports[int(tls)], "timeout": 30}
            with smtplib.SMTP_SSL(**where, context=self.context) if tls else smtplib.SMTP(**where) as client:
                if not tls:
                    client.starttls(context=self.context)
                self.assertRaises(smtplib.SMTPAuthenticationError, client.login, "ada", "wrong")
            with smtplib.SMTP_SSL(**where, context=self.context) if tls else smtplib.SMTP(**where) as client:
                if not tls:
                    client.starttls(context=self.context)
                client.login("ada", "secret")
                client.sendmail("a@client.test", ["b@elsewhere.test"], MESSAGE)
        lmtp = smtplib.LMTP(self.socket)
        lmtp.sendmail("a@client.test", ["b@mx.test"], MESSAGE)
        idle = smtplib.SMTP("127.0.0.1", ports[0], timeout=30)
        encrypted = smtplib.SMTP_SSL("127.0.0.1", ports[1], timeout=30, context=self.context)
        encrypted.ehlo()
        amid = smtplib.SMTP("127.0.0.1", ports[0], timeout=30)
        amid.ehlo()
        for command in "MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", "DATA":
            amid.docmd(command)
        amid.send(b"Subject: half\r\n")
        silent = [socket.create_connection(("127.0.0.1", port), 30) for port in ports]
        clients = lmtp, idle, encrypted, amid
        for each in clients:
            cast(Any, each.file).close()  # else the socket would not be closed when it is
        return [*silent, *(each.sock for each in clients)]

    async def once(self, service: SMTPService, *, started: bool = False) -> None:
        """Start it, have clients talk to it, and stop it."""
        if not started:
            service.startService()
        listening: list[Any] = service.ports
        ports = [each.getHost().port for each in listening[:3]]
        sockets = await deferToThread(self.talk, ports)
        await service.reload()
        ended = deferToThread(read_to_the_end, sockets)
        await service.stopService()
        await ended
        await turns()

    async def test_nothing_is_left(self) -> None:
        service = SMTPService(load(self.settings))
        await self.once(service)  # what is made once and kept, as the threads of the pool, is made now
        before = left()
        for _ in range(TIMES):
            await self.once(service)
        self.assert_left(before)

    async def test_several_in_one_process(self) -> None:
        """Each is a service of its own, and one that stops is of no concern to the others."""
        more = f"{self.socket}2"
        services = [SMTPService(load({**self.settings, "listen-lmtp": f"unix:{path}"})) for path in (self.socket, more)]
        await self.once(services[0])
        before = left()
        services[1].startService()
        await self.once(services[0])
        self.socket = more
        await self.once(services[1], started=True)
        self.assert_left(before)

    def assert_left(self, before: dict[str, Any]) -> None:
        after = left()
        for what, found in before.items():
            self.assertEqual(after[what], found, what)


def read_to_the_end(sockets: list[Any]) -> None:
    """Have each client notice that the server ends its connection, and close its side."""
    for each in sockets:
        with each, contextlib.suppress(OSError):
            while each.recv(1000):
                pass


def left() -> dict[str, Any]:
    """What the reactor, the system and this process still have."""
    from twisted.internet import reactor

    gc.collect()
    has: Any = reactor
    kinds = SMTPProtocol, Session
    return {
        "readers": sorted(map(repr, has.getReaders())),
        "writers": sorted(map(repr, has.getWriters())),
        "calls": sorted(each.func.__qualname__ for each in has.getDelayedCalls()),
        "threads": threading.active_count() - len(has.getThreadPool().threads),
        "descriptors": Counter(_descriptors()),
        "objects": {kind.__name__: sum(type(each) is kind for each in gc.get_objects()) for kind in kinds},
    }


def _descriptors() -> Iterator[str]:
    """What the descriptors of this process are, where the system tells."""
    with contextlib.suppress(FileNotFoundError):
        for each in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # that of the listing itself
                yield os.readlink(f"/proc/self/fd/{each}")


async def turns() -> None:
    """Let the reactor turn a few times."""
    from twisted.internet import reactor

    for _ in range(5):
        await deferLater(cast(IReactorTime, reactor), 0)
