"""docs/policies.rst: its map does what its table says."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, Client, block, hold
from twistsmtp.config import load
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.policy.api import Policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.senders import SenderLogins

PAGE = "policies.rst"


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(block(PAGE, "senders").text)

    def factory(self, *policies: Policy) -> SMTPFactory:
        return SMTPFactory(Memory(), hostname="mx.example.org", policies=policies, reactor=Clock())

    def test_conversation(self) -> None:
        """What the page says that a stranger is told."""
        factory = self.factory(SenderLogins(self.path))
        self.assertEqual(*hold(block(PAGE, "senders-conversation").text, factory))

    def test_table(self) -> None:
        """Who may send as whom."""
        table = (ROOT / "docs" / PAGE).read_text()
        [heads] = re.findall(r"^MAIL FROM +(.+)$", table, re.MULTILINE)
        rows = re.findall(r"^``<(\S*)>`` +((?:taken|refused)(?: +(?:taken|refused))+)$", table, re.MULTILINE)
        self.assertEqual(("a stranger  ada      bob", 7), (heads, len(rows)))
        codes = {"250": "taken", "553": "refused"}
        for column, user in enumerate((None, "ada", "bob")):
            client = Client(self.factory(SenderLogins(self.path)))
            client.say("HELO client")
            if user is not None:
                client.protocol.session.authenticated(user, Memory(), lambda: None)
            client.hear()
            for sender, outcomes in rows:
                client.say(f"MAIL FROM:<{sender}>")
                [reply] = client.hear()
                self.assertEqual(outcomes.split()[column], codes[reply[:3]], (sender, user))
                client.say("RSET")
                client.hear()
            client.leave()

    def test_code(self) -> None:
        """The page's policies are those that its configuration has."""
        config = load({}, self.write(block(PAGE, "submission").text))
        code = block(PAGE, "policies").text
        self.assertIn('"senders"', code)
        names: dict[str, list[Policy]] = {}
        exec(code.replace('"senders"', repr(str(self.path))), names)
        rule, logins = names["policies"]
        assert isinstance(rule, RelayRule)
        self.assertEqual((set(config.domains), config.relay_authenticated), (rule.hosts, rule.authenticated))
        self.assertIsInstance(logins, SenderLogins)
        caption = re.findall(r":name: senders\n   :caption: (\S+)", (ROOT / "docs" / PAGE).read_text())
        self.assertEqual([config.sender_login], caption)

    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)
