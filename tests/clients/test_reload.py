"""Certificates that are read again when ``twistd smtp`` is told to, and nobody's connection is touched."""

import smtplib
import ssl
import sys
from contextlib import ExitStack
from typing import Any

from twisted.internet.threads import deferToThread

from tests.clients.kit import ROOT, TWISTD, Process, start
from tests.clients.submission import SubmissionTestCase, Way

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


class ReloadTests(SubmissionTestCase):
    async def start_twistd(self) -> Process:
        """``twistd smtp``, and where it listens."""
        listen = ("--listen", "tcp:0:interface=127.0.0.1", "--listen", "tls:0:interface=127.0.0.1")
        process = start(
            self,
            [
                *(sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", *listen),
                *("--hostname", "mx.test", "--tls-cert", self.certificate),
                *("--delivery", f"maildir:{self.maildir.resolve()}:create=yes"),
            ],
            folder=self.folder,
            PYTHONPATH=str(ROOT),
        )
        tcp = await process.says(r"listens on 127\.0\.0\.1:(\d+) \(tcp:")
        tls = await process.says(r"listens on 127\.0\.0\.1:(\d+) \(tls:")
        await process.says("gives it to ")  # with which it has started
        self.ports = {Way.STARTTLS: int(tcp[1]), Way.IMPLICIT: int(tls[1])}
        return process

    def connect(self, way: Way) -> tuple[smtplib.SMTP, set[str]]:
        """A client with TLS, and the names in the certificate that it was shown."""
        context = ssl.create_default_context(cafile=self.authorities)
        where: Any = {"host": "127.0.0.1", "port": self.ports[way], "timeout": 60}
        client = smtplib.SMTP_SSL(**where, context=context) if way is Way.IMPLICIT else smtplib.SMTP(**where)
        if way is Way.STARTTLS:
            client.starttls(context=context)
        tls: Any = client.sock
        return client, {name for kind, name in tls.getpeercert()["subjectAltName"] if kind == "DNS"}

    async def test_on_sighup(self) -> None:
        process = await self.start_twistd()
        with ExitStack() as stack:
            clients: list[smtplib.SMTP] = []

            async def shown() -> list[set[str]]:
                """What new clients are shown, who all stay."""
                pairs = [await deferToThread(self.connect, way) for way in Way]
                for client, _ in pairs:
                    clients.append(stack.enter_context(client))
                return [names for _, names in pairs]

            self.assertEqual(await shown(), [{"mx.test"}] * 2)

            self.issue("mx.pem", "mx.test", "127.0.0.1", "new.test")
            self.assertEqual(await shown(), [{"mx.test"}] * 2)  # as long as nobody says anything
            process.signal("HUP")
            await process.says(r"the certificates were read again: [^\n]*new\.test")
            self.assertEqual(await shown(), [{"mx.test", "new.test"}] * 2)

            self.file("mx.pem", b"-----BEGIN CERTIFICATE-----\nbroken\n")
            process.signal("HUP")
            await process.says(r"mx\.pem: [^\n]+; what was read before stays in use")
            self.assertEqual(await shown(), [{"mx.test", "new.test"}] * 2)

            self.issue("mx.pem", "mx.test", "127.0.0.1", "mended.test")
            process.signal("HUP")
            await process.says(r"the certificates were read again: [^\n]*mended\.test")
            self.assertEqual(await shown(), [{"mx.test", "mended.test"}] * 2)

            def send() -> None:
                for client in clients:
                    client.sendmail("a@client.test", ["b@localhost"], MESSAGE)

            await deferToThread(send)
        stored = [*self.stored_here()]
        self.assertEqual([(each.protocol, each.octets) for each in stored], [("ESMTPS", MESSAGE)] * 10)
        self.assertIsNone(process.status)
        self.assertNotIn("Traceback", str(process))
