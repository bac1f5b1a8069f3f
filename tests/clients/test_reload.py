"""What is read again when ``twistd smtp`` is told to, and nobody's connection is touched; and what systemd hears."""

import json
import shutil
import signal
import smtplib
import ssl
import sys
import tempfile
from contextlib import ExitStack
from typing import Any, cast

from twisted.internet.defer import DeferredQueue
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread

from tests.clients.kit import ROOT, TWISTD, Process, start
from tests.clients.submission import ANN, SubmissionTestCase, Way

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


class ConfigurationTests(SubmissionTestCase):
    """Everything else: domains, limits, users and maps."""

    def configure(self, **settings: object) -> str:
        """The path of the file that the server reads."""
        lines = {
            "listen": "tcp:0:interface=127.0.0.1",
            "hostname": "mx.test",
            "auth": f"passwd:{self.folder.resolve()}/users",
            "plaintext-auth": True,
            "relay-authenticated": True,
            "sender-login": f"{self.folder.resolve()}/senders",
            "delivery": f"maildir:{self.maildir.resolve()}:create=yes",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
        return self.file("smtp.toml", text.encode())

    async def begin(self, **env: Any) -> Process:
        """A server that runs."""
        command = [sys.executable, "-c", TWISTD, "--nodaemon", "--pidfile=", "smtp", "--config", self.configure()]
        process = start(self, command, folder=self.folder, PYTHONPATH=str(ROOT), **env)
        where = await process.says(r"listens on 127\.0\.0\.1:(\d+) ")
        self.port = int(where[1])
        await process.says("gives it to ")
        return process

    def connect(self) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", self.port, timeout=60)
        client.ehlo("client.test")
        self.addCleanup(client.close)
        return client

    def codes(self, client: smtplib.SMTP, *commands: str) -> list[int]:
        return [client.docmd(command)[0] for command in commands]

    async def test_on_sighup(self) -> None:
        self.file("senders", b"ann@mx.test ann\n")
        self.file("users", b"")
        process = await self.begin()
        before = await deferToThread(self.connect)
        first = await deferToThread(self.codes, before, "MAIL FROM:<a@client.test>", "RCPT TO:<b@new.test>")
        self.assertEqual(first, [250, 550])
        size = before.esmtp_features["size"]

        await self.accounts()
        self.file("senders", b"ann@new.test ann\n")
        self.configure(domain=["mx.test", "new.test"], max_size="1M", extension="size")
        process.signal("HUP")
        await process.says(r"users [^\n]+ was read again")
        await process.says(r"senders [^\n]+ was read again")
        await process.says("the configuration was read again: domain, max-size changed")
        await process.says("these have changed as well, and take a restart: extension\n")

        # Who was there goes on as before, in the transaction that was open.
        self.assertEqual(await deferToThread(self.codes, before, "RCPT TO:<b@new.test>", "RSET"), [550, 250])
        await deferToThread(before.ehlo, "client.test")
        self.assertEqual(before.esmtp_features["size"], size)

        after = await deferToThread(self.connect)
        self.assertEqual(after.esmtp_features["size"], str(1 << 20))
        await deferToThread(after.login, ANN.user, ANN.password)
        mine = await deferToThread(self.codes, after, "MAIL FROM:<ann@mx.test>", "MAIL FROM:<ann@new.test>")
        self.assertEqual(mine, [553, 250])
        await deferToThread(after.docmd, "RSET")
        stranger = await deferToThread(self.connect)
        theirs = await deferToThread(self.codes, stranger, "MAIL FROM:<a@client.test>", "RCPT TO:<b@new.test>")
        self.assertEqual(theirs, [250, 250])

        self.file("smtp.toml", b"nonsense\n")
        process.signal("HUP")
        await process.says(r"the configuration stays as it is: [^\n]+smtp\.toml: [^\n]+at line 1")
        again = await deferToThread(self.connect)
        self.assertEqual(again.esmtp_features["size"], str(1 << 20))
        self.assertIsNone(process.status)
        self.assertNotIn("Traceback", str(process))

    async def test_systemd_hears_of_it(self) -> None:
        from twisted.internet import reactor

        words: DeferredQueue[list[str]] = DeferredQueue()

        class Manager(DatagramProtocol):
            def datagramReceived(self, datagram: bytes, addr: object) -> None:  # noqa: N802
                words.put(datagram.decode().split("\n"))

        folder = tempfile.mkdtemp()  # a short path, as sockets have them
        self.addCleanup(shutil.rmtree, folder)
        port = cast(Any, reactor).listenUNIXDatagram(f"{folder}/notify", Manager())
        self.addCleanup(port.stopListening)
        self.file("senders", b"")
        self.file("users", b"")
        process = await self.begin(NOTIFY_SOCKET=f"{folder}/notify", WATCHDOG_USEC="3600000000")
        status = f"STATUS=listens on 127.0.0.1:{self.port}; gives mail to maildir:{self.maildir.resolve()}:create=yes"
        self.assertEqual(await words.get(), ["WATCHDOG=1"])
        self.assertEqual(await words.get(), ["READY=1", status])
        process.signal("HUP")
        reloading, since = await words.get()
        self.assertEqual(reloading, "RELOADING=1")
        self.assertRegex(since, r"\AMONOTONIC_USEC=\d+\Z")
        self.assertEqual(await words.get(), ["READY=1", status])
        client = await deferToThread(self.connect)
        process.signal("TERM")
        self.assertEqual(await words.get(), ["STOPPING=1", "STATUS=connections to end: 1"])
        client.close()
        await process.ended()
        self.assertEqual(process.status, -signal.SIGTERM)
        self.assertEqual(words.pending, [])
