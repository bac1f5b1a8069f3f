"""Endpoints on sockets that another process has opened: whatever they are, they listen there and nowhere else."""

import os
import socket
from contextlib import closing
from typing import Any

from tests.loopback import CODES, CONVERSATION, codes, connect, read_all
from tests.test_endpoints import EndpointTestCase
from twistsmtp.config import Config
from twistsmtp.service import SMTPService

HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 25\r\n"


class PassedTests(EndpointTestCase):
    async def passed(self, text: str, family: int = socket.AF_INET, header: bytes = b"", **settings: Any) -> None:
        """A client of a socket that was opened for *text* is served."""
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(self.path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        listening.listen()
        common: dict[str, Any] = {"hostname": "mx.test", "domains": ("mx.test",), "delivery": "memory:"}
        config = Config(listen=(text,), **common, **settings)
        service = SMTPService(config, sockets=[os.dup(listening.fileno())])
        service.startService()
        address = listening.getsockname()

        def run() -> bytes:
            with closing(connect(address, family)) as client:
                client.sendall(header + CONVERSATION)
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(run)), CODES, text)
        self.assertEqual(len(service.ports), 1)
        await service.stopService()
        # It is not ours to end: others listen there.
        with closing(connect(address, family)):
            pass

    async def test_all_kinds(self) -> None:
        for text in "tcp:1", "tcp6:1", "unix:/nowhere/at/all", "systemd:domain=INET:name=smtp", "fd:999":
            await self.passed(text)
        await self.passed("unix:/nowhere/at/all:mode=600:user=0", socket.AF_UNIX)
        await self.passed("haproxy:tcp:1", header=HEADER)
        await self.passed("proxy:tcp:1", header=HEADER, proxy_trusted=("127.0.0.1",))

    async def test_each_has_its_own(self) -> None:
        """In the order in which they stand there, LMTP behind SMTP."""
        listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        config = Config(
            listen=("tcp:1", "tcp:2", "tcp:1"), listen_lmtp=("tcp:1",), hostname="mx.test", delivery="discard:"
        )
        service = SMTPService(config, sockets=[os.dup(each.fileno()) for each in listening])
        service.startService()
        self.addCleanup(service.stopService)
        ports: list[Any] = [*service.ports]
        self.assertEqual([each.getHost().port for each in ports], [each.getsockname()[1] for each in listening])
        self.assertEqual([each.factory.lmtp for each in ports], [False, False, True])
        for each in listening:
            each.close()
