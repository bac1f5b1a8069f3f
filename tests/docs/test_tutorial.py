"""docs/tutorial.rst: its client, its delivery and its two conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.docs.pages import block, hold
from tests.docs.running import port_number
from twistsmtp.delivery.maildir import Maildir
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.relay import RelayRule

PAGE = "tutorial.rst"


class Kept(Memory):
    """Keeps messages in memory, and is offered what a Maildir is."""

    honours = Maildir.honours


class ConversationTests(SynchronousTestCase):
    """What the page says that the server says."""

    def test_by_hand(self) -> None:
        """The conversation with the server that ``make run`` starts."""
        memory = Kept()
        rule = RelayRule(["localhost", "myhost"])
        factory = SMTPFactory(memory, hostname="myhost", policies=[rule], reactor=Clock())
        self.assertEqual(*hold(block(PAGE, "conversation").text, factory))
        self.assertEqual("By hand", memory.messages[0].email["Subject"])

    def test_counter(self) -> None:
        """The conversation with the page's own delivery."""
        names: dict[str, Any] = {"__name__": "counter"}
        exec(block(PAGE, "counter").text, names)
        factory = SMTPFactory(names["Counter"](), hostname="myhost", reactor=Clock())
        self.assertEqual(*hold(block(PAGE, "counter-conversation").text, factory))


class ClientTests(TestCase):
    """What the page has a client do."""

    async def test_into_a_maildir(self) -> None:
        """Its message arrives in the Maildir, below the two fields that the page shows."""
        folder = self.mktemp()
        factory = SMTPFactory(Maildir(folder, create=True), policies=[RelayRule(["localhost"])])
        port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        code = block(PAGE, "send").text
        self.assertIn("8025", code)
        await deferToThread(exec, code.replace("8025", str(port_number(port))), {})
        [stored] = list_new(folder)
        fields = [line.partition(b":")[0] for line in stored.splitlines() if not line.startswith(b"\t")]
        self.assertEqual([b"Return-Path", b"Received", b"From", b"To", b"Subject"], fields[:5])


def list_new(folder: str) -> list[bytes]:
    """The messages in a Maildir."""
    return [path.read_bytes() for path in Path(folder, "new").iterdir()]
