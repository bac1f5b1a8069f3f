"""README.md: its five lines take mail from a real client, and its claims hold."""

from __future__ import annotations

import re
import smtplib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.docs.pages import ROOT, Client, block
from tests.docs.running import MESSAGE, in_client, listen_anywhere, port_number, send
from twistsmtp.delivery.api import Session
from twistsmtp.delivery.discard import Discard
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions.etrn import Pending, QueueRequest
from twistsmtp.factory import SMTPFactory
from twistsmtp.tls.facts import TLS

PAGE = "README.md"


def write_certificate(path: Path) -> None:
    """A key and its certificate, as PEM in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(Encoding.PEM))


class EmbedTests(TestCase):
    """The embedding, as it stands there."""

    async def test_takes_mail(self) -> None:
        """It listens, and the function is called with the message that a client sends."""
        listening = listen_anywhere(self)
        printed: list[tuple[str, ...]] = []
        names: dict[str, Any] = {"print": lambda *facts: printed.append(tuple(map(str, facts)))}
        exec(block(PAGE, "embed").text, names)
        [(text, port)] = listening
        self.assertEqual("tcp:8025", text)
        self.assertEqual({}, await send(port_number(port), to=("ada@example.org", "bob@example.com")))
        self.assertEqual([("ada@example.net", "Hello")], printed)

    async def test_client(self) -> None:
        """The client beside it sends its message."""
        memory = Memory()
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(SMTPFactory(memory))
        self.addCleanup(port.stopListening)
        code = block(PAGE, "send").text
        self.assertIn("8025", code)
        await deferToThread(exec, code.replace("8025", str(port_number(port))), {})
        [message] = memory.messages
        self.assertEqual("Hello", message.email["Subject"])


class ComparisonTests(TestCase):
    """The rows of the table that take a real client."""

    async def test_tls(self) -> None:
        """TLS from the first octet on."""
        path = Path(self.mktemp())
        write_certificate(path)
        memory = Memory()
        endpoint = serverFromString(reactor, f"ssl:0:privateKey={path}:certKey={path}:interface=127.0.0.1")
        port = await endpoint.listen(SMTPFactory(memory))
        self.addCleanup(port.stopListening)
        context = ssl.create_default_context(cafile=str(path))
        context.check_hostname = False

        def talk() -> None:
            with smtplib.SMTP_SSL("127.0.0.1", port_number(port), timeout=10, context=context) as client:
                client.sendmail("ada@example.net", ["me@localhost"], MESSAGE)

        await deferToThread(talk)
        [message] = memory.messages
        self.assertIn(b" with ESMTPS id ", message.octets)

    async def test_long_line(self) -> None:
        """A line of 20,000 octets is taken."""
        memory = Memory()
        factory = SMTPFactory(memory)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(factory.shutdown)
        self.addCleanup(port.stopListening)
        line = "x" * 20_000
        await in_client(port_number(port), lambda client: client.sendmail("", ["me@localhost"], f"\r\n{line}\r\n"))
        self.assertIn(line.encode(), memory.messages[0].octets)


class Runner(Memory):
    """Honours all, and has a queue."""

    def run_queue(self, session: Session, request: QueueRequest) -> Pending:
        """See `QueueRunner`."""
        return Pending()


def offers(client: Client) -> set[str]:
    """The keywords in the reply to EHLO."""
    client.hear()
    client.say("EHLO client.example.net")
    return {line[4:].split()[0] for line in client.hear()[1:]}


class DialogueTests(SynchronousTestCase):
    """The rows of the table that are seen in a dialogue."""

    def setUp(self) -> None:
        self.memory = Memory()
        self.client = Client(SMTPFactory(self.memory, reactor=Clock()))
        self.client.say("EHLO client.example.net")
        self.client.hear()

    def codes(self, *lines: str) -> list[str]:
        for line in lines:
            self.client.say(line)
        return [line[:3] for line in self.client.hear()]

    def test_ehlo(self) -> None:
        """EHLO offers what the table says, and nothing else."""
        rows = re.findall(r"^\| EHLO offers[^|]* \| ([^|]+) \|", (ROOT / PAGE).read_text(), re.MULTILINE)
        always, honoured = (set(row.split(", ")) for row in rows)
        self.assertEqual(always, offers(Client(SMTPFactory(Discard(), reactor=Clock()))))
        client = Client(SMTPFactory(Runner(), reactor=Clock()))
        client.protocol.session.encrypted(TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        self.assertEqual(honoured, offers(client) - always)

    def test_bare_newline(self) -> None:
        """A message with a bare LF is refused, and ends where it ends."""
        self.codes("MAIL FROM:<>", "RCPT TO:<me@localhost>", "DATA")
        self.assertEqual(["550"], self.codes("x\n.\nMAIL FROM:<evil@example.net>", "."))
        self.assertEqual([], self.memory.messages)

    def test_what_is_not_there_yet(self) -> None:
        """What is not spoken here is unknown."""
        self.assertEqual(["500"], self.codes("LHLO client"))
