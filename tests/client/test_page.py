"""docs/client.rst: its code sends mail."""

import re
from email.message import EmailMessage
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.authentication import PASSWORD, Passwords, Realm, portal
from tests.docs.pages import ROOT, block
from twistsmtp import client
from twistsmtp.client import errors
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.sasl.client_api import NAMES
from twistsmtp.security import Security

PAGE = "client.rst"
TEXT = (ROOT / "docs" / PAGE).read_text()


def names_of(name: str) -> dict[str, Any]:
    """What a block of the page defines."""
    names: dict[str, Any] = {}
    exec(compile(block(PAGE, name).text, f"{PAGE}:{name}", "exec"), names)
    return names


class PageTests(TestCase):
    timeout = 60

    async def serve(self, **settings: Any) -> int:
        from twisted.internet import reactor

        self.memory = Memory()
        factory = SMTPFactory(self.memory, hostname="mx.test", **settings)
        port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(factory.shutdown, 0.1)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_send(self) -> None:
        """It is sent to whom it says, with TLS, by whom it says: so the server is another, and the rest is the same."""
        realm = Realm()
        port = await self.serve(security=Security(portal=portal(Passwords(), realm=realm), plaintext_auth=True))
        realm.delivery = self.memory
        names = names_of("send")
        real, asked = names["send"], {}

        async def send(*args: Any, **settings: Any) -> Any:
            asked.update(settings)
            credentials = client.Credentials(username="tim", password=settings["password"], plaintext=True)
            return await real(*args, host="127.0.0.1", port=port, credentials=credentials, tls="none")

        names["send"] = send
        await names["greet"](PASSWORD)
        self.assertEqual((asked["host"], asked["username"]), ("mail.example.org", "ada"))
        [message] = self.memory.messages
        self.assertEqual(len(message.envelope.recipients), 2)
        self.assertTrue(message.octets.endswith(b"Subject: Hello\r\n\r\nHow are you?\r\n"))

    async def test_email(self) -> None:
        port = await self.serve()
        await names_of("email")["report"]("All is well.", port)
        self.assertEqual(self.memory.messages[0].email["Subject"], "Grüße")

    async def test_envelope(self) -> None:
        port = await self.serve()
        message = EmailMessage()
        message["From"], message["To"], message["Bcc"] = "Ada <a@x.test>", "b@mx.test", "c@mx.test"
        await names_of("envelope")["forward"](message, host="127.0.0.1", port=port)
        [taken] = self.memory.messages
        self.assertEqual([str(each) for each in taken.envelope.recipients], ["b@mx.test", "c@mx.test"])
        self.assertNotIn(b"c@mx.test", taken.octets)

    async def test_errors(self) -> None:
        try_to_send = names_of("errors")["try_to_send"]
        port = await self.serve(limits=Limits(message_size=1000))
        server = {"host": "127.0.0.1", "port": port}
        self.assertEqual(await try_to_send("Subject: x\n\n", **server), "sent")
        self.assertTrue((await try_to_send("x" * 2000, **server)).startswith("never: 552 5.3.4"))
        self.assertEqual(await try_to_send("Subject: x\n\n", **server, tls="required"), "later")

    async def test_pool(self) -> None:
        port = await self.serve()
        readers = [f"reader{number}@mx.test" for number in range(5)]
        await names_of("pool")["newsletter"]("Subject: News\n\n", readers, host="127.0.0.1", port=port)
        self.assertEqual([str(m.envelope.recipients[0]) for m in self.memory.messages], readers)
        self.assertEqual(len({message.envelope.id.rpartition("-")[0] for message in self.memory.messages}), 1)


class TableTests(SynchronousTestCase):
    def test_errors(self) -> None:
        """All that there are, each once."""
        table = TEXT.split("   * - Error\n")[1].split("\n\n")[0]
        rows = re.findall(r"^   \* - (.*)$", table, re.MULTILINE)
        named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        self.assertEqual(sorted(named), sorted(set(errors.__all__) - {"ClientError"}))

    def test_mechanisms(self) -> None:
        """In the order in which they are tried."""
        text = TEXT.split("of these in this order:")[1].split("By SCRAM")[0]
        self.assertEqual(tuple(re.findall(r"\b[A-Z0-9][A-Z0-9-]{4,}\b", text)), NAMES)

    def test_names(self) -> None:
        """What is exported is there, and what the page names is exported."""
        for name in client.__all__:
            self.assertTrue(hasattr(client, name), name)
        for name in re.findall(r"(?<!`)`(\w+)`(?!`)", TEXT):
            self.assertTrue(name == "Reply" or name in client.__all__, name)
