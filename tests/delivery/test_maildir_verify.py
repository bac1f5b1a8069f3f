"""VRFY of mailboxes that have Maildirs, as the delivery answers it and as a client gets it."""

import smtplib
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread

from tests.delivery.kit import new_session, settled
from tests.delivery.test_maildir import REPLIES, MaildirTestCase
from twistsmtp.assembly import make_factories
from twistsmtp.config import load
from twistsmtp.delivery.api import Refusal, Reply, Verifier
from twistsmtp.delivery.maildir import Maildir

USER, PASSWORD = "ann", "a-secret"


class VerifyTests(MaildirTestCase):
    """What the delivery says. It is at mx.example."""

    async def found(self, delivery: Maildir, text: str) -> Sequence[str] | Reply:
        """The mailboxes, or what refuses."""
        self.assertIsInstance(delivery, Verifier)
        try:
            answer = delivery.verify(new_session(delivery), text)
            return answer if isinstance(answer, tuple) else tuple(await settled(answer))
        except Refusal as refusal:
            return refusal.reply

    async def test_a_folder_for_each_domain(self) -> None:
        self.exist("two.example/joe", "xn--bcher-kva.example/joe", "mx.example/joe")
        delivery = self.new("{domain}/{local}", create=False)
        for text, mailbox in (
            ("joe@two.example", "<joe@two.example>"),
            ("<joe@two.example>", "<joe@two.example>"),
            ("JOE@Two.Example", "<JOE@Two.Example>"),
            ("joe@xn--bcher-kva.example", "<joe@xn--bcher-kva.example>"),
            ("joe", "<joe@mx.example>"),
        ):
            self.assertEqual(await self.found(delivery, text), (mailbox,), text)
        for text in ("sue@two.example", "joe@three.example", "sue", '".."@two.example', "a/b@two.example"):
            self.assertEqual(await self.found(delivery, text), REPLIES.mailbox_unknown, text)

    async def test_a_folder_for_each_user(self) -> None:
        """Whether a domain is one of ours is not known here, but that the server's name is."""
        self.exist("joe")
        delivery = self.new("{local}", create=False)
        for text in ("joe", "joe@mx.example", "joe@MX.example"):
            self.assertEqual(str(await self.found(delivery, text)).lower(), "('<joe@mx.example>',)")
        self.assertEqual(await self.found(delivery, "sue"), REPLIES.mailbox_unknown)
        looked = self.threads.count
        self.assertEqual(await self.found(delivery, "joe@two.example"), ())
        self.assertEqual(self.threads.count, looked)

    async def test_where_there_is_nothing_to_know(self) -> None:
        self.exist("mx.example/joe")
        for delivery in (self.new(), self.new("{domain}/{local}"), self.new("{local}")):
            for text in ("joe", "joe@mx.example"):
                self.assertEqual(await self.found(delivery, text), ())

    async def test_what_is_no_mailbox(self) -> None:
        delivery = self.new("{domain}/{local}", create=False)
        for text in (
            "Joe Smith",
            "Joe Smith <joe@two.example>",
            "<>",
            "@",
            "joe@",
            "@two.example",
            "joe@a@b",
            "j\u00f6",
        ):
            self.assertEqual(await self.found(delivery, text), (), text)

    async def test_details(self) -> None:
        self.exist("joe")
        delivery = self.new("{local}", create=False, layout="maildir++")
        self.assertEqual(await self.found(delivery, "joe+lists"), ("<joe+lists@mx.example>",))
        self.assertEqual(await self.found(delivery, "sue+lists"), REPLIES.mailbox_unknown)

    async def test_a_disk_that_is_gone(self) -> None:
        delivery = self.new("{local}", create=False)
        self.root.rmdir()
        answer: Any = delivery.verify(new_session(delivery), "joe")
        await self.assertFailure(answer, FileNotFoundError)


class LoopbackTests(MaildirTestCase):
    """What a client is told by a server that is set up by its configuration."""

    async def told(self, verify: str) -> dict[str, list[int]]:
        """The codes of VRFY for a mailbox, for one that is none, and of EXPN: of a client, and of a user."""
        self.exist("joe")
        options: dict[str, Any] = {
            "hostname": "mx.example",
            "delivery": f"maildir:{self.root}/{{local}}",
            "auth": [f"memory:{USER}:{PASSWORD}"],
            "plaintext-auth": True,
            "verify": verify,
        }
        factory, _ = make_factories(load(options), None, reactor)
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)

        def ask(client: smtplib.SMTP) -> list[int]:
            return [client.verify("joe")[0], client.verify("sue@mx.example")[0], client.expn("list")[0]]

        def talk() -> dict[str, list[int]]:
            with smtplib.SMTP("127.0.0.1", port.getHost().port, local_hostname="client.test", timeout=60) as client:
                anybody = ask(client)
                client.login(USER, PASSWORD)
                return {"anybody": anybody, "a user": ask(client)}

        try:
            return await deferToThread(talk)
        finally:
            await port.stopListening()
            await factory.shutdown()

    async def test_nobody(self) -> None:
        self.assertEqual(await self.told("nobody"), {"anybody": [252, 252, 502], "a user": [252, 252, 502]})

    async def test_users(self) -> None:
        self.assertEqual(await self.told("users"), {"anybody": [252, 252, 502], "a user": [250, 550, 502]})

    async def test_everybody(self) -> None:
        self.assertEqual(await self.told("everybody"), {"anybody": [250, 550, 502], "a user": [250, 550, 502]})
