"""LMTP on real sockets of this machine: TCP, and UNIX sockets with their mode and owner; clients of the standard
library and by hand."""

import os
import shutil
import smtplib
import socket
import stat
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest

from tests.chunks import bdat
from tests.loopback import LoopbackTestCase, codes, connect, read_all
from twistsmtp.config import Config
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import DEFAULT
from twistsmtp.service import SMTPService

MESSAGE = "From: <a@client.test>\r\nSubject: hello\r\n\r\n.\r\nhello\r\n"
#: One that is taken: that client reads one reply, however many recipients there are.
TO = ["b@mx.test", "c@elsewhere.test"]


class LMTPTests(LoopbackTestCase):
    def setUp(self) -> None:
        # A path of a UNIX socket has no more than about 100 octets.
        self.folder = Path(tempfile.mkdtemp(prefix="twistsmtp-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.socket = self.folder / "lmtp"

    def start(self, *listen: str, **values: Any) -> SMTPService:
        """The service, listening for LMTP, with a delivery that remembers."""
        config = Config(
            hostname="mx.test",
            listen=(),
            listen_lmtp=listen,
            domains=("mx.test",),
            delivery="memory:",
            extensions=tuple(dict.fromkeys([*DEFAULT, "chunking", "binarymime"])),
            **values,
        )
        service = SMTPService(config)
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def with_lmtplib(self, host: str, port: int, talk: Callable[[smtplib.LMTP], Any]) -> "Deferred[Any]":
        def run() -> Any:
            with smtplib.LMTP(host, port, local_hostname="client.test", timeout=20) as client:
                return talk(client)

        return self.in_thread(run)

    def stored(self, service: SMTPService) -> list[bytes]:
        delivery = service.lmtp_factory.delivery
        assert isinstance(delivery, Memory)
        return [message.octets for message in delivery.messages]

    async def test_the_standard_library_s_client(self) -> None:
        service = self.start("tcp:0:interface=127.0.0.1", f"unix:{self.socket}")
        port: Any = service.ports[0]
        places = [("127.0.0.1", port.getHost().port, b"[127.0.0.1]"), (str(self.socket), 0, b"local")]
        for number, (host, port_number, seen) in enumerate(places):
            refused = await self.with_lmtplib(
                host, port_number, lambda client: client.sendmail("a@client.test", TO, MESSAGE)
            )
            self.assertEqual({to: code for to, (code, _) in refused.items()}, {"c@elsewhere.test": 550})
            octets = self.stored(service)[number]
            self.assertTrue(octets.endswith(MESSAGE.encode()))
            self.assertIn(b"Received: from client.test (%s)\r\n\tby mx.test (twistsmtp) with LMTP id " % seen, octets)

    async def test_pipelined_over_a_unix_socket(self) -> None:
        service = self.start(f"unix:{self.socket}")
        mail = b"MAIL FROM:<>\r\nRCPT TO:<b@mx.test>\r\nRCPT TO:<c@elsewhere.test>\r\nRCPT TO:<d@mx.test>\r\n"
        octets = bytes(range(256)) * 5000
        stream = [
            *(b"LHLO client.test\r\n", mail, bdat(octets), bdat(b"\n.\n", True)),
            *(mail, b"DATA\r\ntext\r\n.\r\nQUIT\r\n"),
        ]

        def talk() -> bytes:
            with closing(connect(str(self.socket), socket.AF_UNIX)) as client:
                client.sendall(b"".join(stream))
                return read_all(client)

        said = codes(await self.in_thread(talk))
        begin = ["250", "250", "550", "250"]
        self.assertEqual(said, ["220", "250", *begin, "250", "250", "250", *begin, "354", "250", "250", "221"])
        first, second = self.stored(service)
        self.assertTrue(first.endswith(octets + b"\n.\n"))
        self.assertTrue(second.endswith(b"\r\ntext\r\n"))

    async def test_ehlo(self) -> None:
        service = self.start("tcp:0:interface=127.0.0.1")
        port: Any = service.ports[0]

        def talk() -> bytes:
            with closing(connect(("127.0.0.1", port.getHost().port))) as client:
                client.sendall(b"EHLO client.test\r\nHELO client.test\r\nQUIT\r\n")
                return read_all(client)

        self.assertEqual(codes(await self.in_thread(talk)), ["220", "500", "500", "221"])

    async def test_mode_and_owner(self) -> None:
        for mode in ("600", "660", "666"):
            service = self.start(f"unix:{self.socket}:mode={mode}")
            status = self.socket.stat()
            self.assertTrue(stat.S_ISSOCK(status.st_mode))
            self.assertEqual(stat.S_IMODE(status.st_mode), int(mode, 8))
            self.assertEqual(status.st_uid, os.geteuid())
            await service.stopService()
            self.assertFalse(self.socket.exists())

    async def test_whom_the_mode_keeps_out(self) -> None:
        if os.geteuid():
            raise SkipTest("only root can be somebody else")
        self.folder.chmod(0o755)
        for mode, possible in (("600", False), ("666", True)):
            service = self.start(f"unix:{self.socket}:mode={mode}")
            os.seteuid(65534)
            try:
                with closing(socket.socket(socket.AF_UNIX)) as client:
                    self.assertIs(client.connect_ex(str(self.socket)) == 0, possible, mode)
            finally:
                os.seteuid(0)
            await service.stopService()

    async def test_a_socket_that_a_server_left_behind(self) -> None:
        # As after kill -9: the file is there, and the lock of a process that is not.
        with closing(socket.socket(socket.AF_UNIX)) as dead:
            dead.bind(str(self.socket))
        Path(f"{self.socket}.lock").symlink_to("999999999")
        service = self.start(f"unix:{self.socket}")
        code = await self.with_lmtplib(str(self.socket), 0, lambda client: client.noop()[0])
        self.assertEqual(code, 250)
        await service.stopService()
        self.assertEqual(list(self.folder.iterdir()), [])
