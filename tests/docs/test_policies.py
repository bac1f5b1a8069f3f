"""docs/policies.rst: its policies do what its tables and conversations say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import ROOT, Block, Client, all_blocks, block, hold
from twistsmtp.config import load
from twistsmtp.delivery.memory import Memory
from twistsmtp.factory import SMTPFactory
from twistsmtp.limits import Limits
from twistsmtp.policy.api import Policy
from twistsmtp.policy.find import make_policy, policy_makers
from twistsmtp.policy.relay import RelayRule
from twistsmtp.policy.senders import SenderLogins
from twistsmtp.session import Phase

PAGE = "policies.rst"
#: Enough for conversations that move no mail.
PATIENT = Limits(idle_commands=1000)
TEXT = (ROOT / "docs" / PAGE).read_text()


def table(head: str) -> list[list[str]]:
    """The rows of the table whose head begins with *head*, as cells without backquotes."""
    rows = TEXT.partition(f"\n{head}  ")[2].split("\n")[2:]
    return [re.split(r"``? {2,}| {2,}", row.lstrip("`")) for row in rows[: rows.index("") - 1]]


def run_block(name: str) -> dict[str, Any]:
    """Run a block; what it names."""
    names: dict[str, Any] = {"__name__": name}
    exec(block(PAGE, name).text, names)
    return names


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
        rule, logins, *others = names["policies"]
        self.assertEqual(["EarlyTalkers", "RateLimits", "HeloSanity"], [type(each).__name__ for each in others])
        assert isinstance(rule, RelayRule)
        self.assertEqual((set(config.domains), config.relay_authenticated), (rule.hosts, rule.authenticated))
        self.assertIsInstance(logins, SenderLogins)
        caption = re.findall(r":name: senders\n   :caption: (\S+)", (ROOT / "docs" / PAGE).read_text())
        self.assertEqual([config.sender_login], caption)

    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


class Talking(SynchronousTestCase):
    """Clients of servers with some policies."""

    def client(self, *policies: Policy) -> Client:
        self.clock = Clock()
        self.memory = Memory()
        factory = SMTPFactory(
            self.memory, hostname="mx.example.org", policies=policies, limits=PATIENT, reactor=self.clock
        )
        client = Client(factory)
        self.addCleanup(client.leave)
        return client

    def say(self, client: Client, *lines: str) -> list[str]:
        """What the server says to *lines*."""
        for line in lines:
            client.say(line)
        return client.hear()


class NamedTests(Talking):
    """The policies that have names."""

    def policies(self, name: str) -> list[Policy]:
        """Those of a configuration of the page, with files as the page has them."""
        return self.made(block(PAGE, name))

    def made(self, configuration: Block) -> list[Policy]:
        path = Path(self.mktemp())
        path.write_text(configuration.text)
        return [make_policy(self.here(text)) for text in load({}, str(path)).policies]

    def here(self, text: str) -> str:
        """The *text* of a policy, its file being here."""
        for place in re.findall(r"/etc/[\w/-]+", text):
            name = place.rpartition("/")[2]
            self.assertIn(f":name: {name}\n   :caption: {place}\n", TEXT)
            path = Path(self.mktemp()).absolute()
            path.write_text(block(PAGE, name).text)
            text = text.replace(place, str(path))
        return text

    def test_all_are_made(self) -> None:
        """Each that a configuration of the page names there is, and each that there is has its place on the page."""
        named = set()
        for each in all_blocks("toml"):
            if each.page == PAGE and each.name != "own-policy-setting":
                named |= {type(policy).__name__ for policy in self.made(each)}
        self.assertGreaterEqual(len(named), 5)
        for maker in policy_makers():
            self.assertRegex(TEXT, rf"``{maker.name}\b")

    def test_backslashes(self) -> None:
        [text] = re.findall(r"``'(.+)'``", TEXT)
        make_policy(text)

    def test_recipients(self) -> None:
        rows = table("RCPT TO")
        self.assertEqual(11, len(rows))
        for asked, outcome in rows:
            client = self.client(*self.policies("recipients-setting"))
            self.say(client, "EHLO client", "MAIL FROM:<a@example.net>")
            [reply] = self.say(client, f"RCPT TO:{asked}")
            if reply.startswith("250"):
                self.say(client, "DATA", "", ".")
                [message] = self.memory.messages
                got = " ".join(str(each.mailbox) for each in message.envelope.recipients)
            else:
                got = " ".join(reply.split()[:2])
            self.assertEqual(outcome, got, asked)

    def test_sender_access(self) -> None:
        factory = SMTPFactory(
            Memory(), hostname="mx.example.org", policies=self.policies("sender-access-setting"), reactor=Clock()
        )
        self.assertEqual(*hold(block(PAGE, "sender-access-conversation").text, factory))

    def test_rate(self) -> None:
        """100 at once, and then one every 36 seconds."""
        client = self.client(make_policy("rate:client=100/h"))
        client.hear()
        self.say(client, "EHLO client")

        def taken(count: int) -> int:
            lines = [line for _ in range(count) for line in ("MAIL FROM:<a@example.net>", "RSET")]
            return sum(reply.startswith("250 2.1.0") for reply in self.say(client, *lines))

        self.assertEqual(100, taken(110))
        self.clock.advance(36)
        self.assertEqual(1, taken(3))

    def test_helo(self) -> None:
        config = load({}, self.write(block(PAGE, "helo").text))
        self.assertEqual("mx.example.org", config.hostname)
        [text] = config.policies
        rows = table("HELO")
        self.assertEqual(7, len(rows))
        for name, default, strict, _ in rows:
            for option, outcome in (("", default), (":strict=yes", strict)):
                client = self.client(make_policy(text + option))
                *_, reply = self.say(client, f"HELO {name}", "MAIL FROM:<a@example.net>")
                self.assertEqual(outcome, {"250": "taken", "550": "refused"}[reply[:3]], (name, option))

    def test_early_talker(self) -> None:
        self.assertEqual(["554 5.5.1"], self.greeted("EHLO client"))
        self.assertEqual(["220 mx.example.org"], self.greeted())

    def greeted(self, *early: str) -> list[str]:
        """What is said in the time that the page's policy has clients wait, who say *early*."""
        client = self.client(*self.policies("early-talker"))
        said = self.say(client, *early)
        self.clock.advance(4.9)
        self.assertEqual([], client.hear())
        self.clock.advance(0.1)
        return [" ".join(reply.split()[:2]) for reply in said + client.hear()]

    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


class AbilityTests(Talking):
    """What a policy may do."""

    def send(self, *policies: Policy, body: tuple[str, ...] = ("Subject: Hello", "", "."), to: str = "ada") -> bytes:
        """Send a message; what has been delivered."""
        client = self.client(*policies)
        self.say(client, "EHLO client", "MAIL FROM:<a@example.net>", f"RCPT TO:<{to}@example.org>", "DATA", *body)
        return self.memory.messages[-1].octets

    def test_phases(self) -> None:
        [phases] = block(PAGE, "phases").text.split("\n")[:-1]
        self.assertEqual([phase.value for phase in Phase], phases.split())

    def test_fields(self) -> None:
        names = run_block("fields")
        self.assertTrue(self.send(names["Countries"]()).startswith(b"X-Country: NL\r\n"))
        recipients = [f"RCPT TO:<a{number}@example.org>" for number in range(3)]
        for country, code in (("NL", "250"), ("unknown", "452")):
            if country != "NL":
                names["COUNTRIES"].clear()
            client = self.client(names["Countries"](), names["FewFromAbroad"]())
            for _ in range(2):  # the notes of a message are gone with it
                *_, last = self.say(client, "EHLO client", "MAIL FROM:<>", *recipients)
                self.assertEqual(code, last[:3], country)

    def test_at_end(self) -> None:
        """Who has gone makes room for another."""
        countries, few = run_block("fields")["Countries"](), run_block("at-end")["FewAtOnce"]()
        factory = SMTPFactory(Memory(), policies=[countries, few], reactor=Clock())
        clients = [Client(factory) for _ in range(4)]
        self.assertEqual(["220"] * 3 + ["421"], [client.hear()[0][:3] for client in clients])
        clients[0].leave()
        clients[3].leave()
        clients += [Client(factory), Client(factory)]
        self.assertEqual(["220", "421"], [client.hear()[0][:3] for client in clients[4:]])
        for client in clients:
            client.leave()
        self.assertEqual(0, few.there.total())

    def test_redirect(self) -> None:
        self.send(run_block("redirect")["OnHoliday"]())
        recipients = [str(each.mailbox) for each in self.memory.messages[-1].envelope.recipients]
        self.assertEqual(["ada@example.org", "bob@example.org"], recipients)

    def test_reads_message(self) -> None:
        flags = run_block("reads-message")["Flags"]
        flagged = self.send(flags(), body=("Subject: The best CASINO", "", "."))
        self.assertTrue(flagged.startswith(b"X-Spam-Flag: YES\r\n"))
        self.assertNotIn(b"X-Spam-Flag", self.send(flags()))
        # Without a subject it fails, and the message passes.
        self.assertNotIn(b"X-Spam-Flag", self.send(flags(), body=("From: a@example.net", "", ".")))
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))


class OwnTests(SynchronousTestCase):
    """The page's own policy, in a package of its own."""

    def test_is_found(self) -> None:
        """The page's configuration has it, and it does what the page says."""
        folder = Path(self.mktemp()).absolute()
        for name in ("own-policy", "own-policy-plugin"):
            path = folder / TEXT.split(f":name: {name}\n   :caption: ")[1].split("\n")[0]
            path.parent.mkdir(parents=True)
            path.write_text(block(PAGE, name).text)
        (folder / "yourpackage" / "__init__.py").touch()
        (folder / "twistsmtp.toml").write_text(block(PAGE, "own-policy-setting").text)
        done = subprocess.run(
            [sys.executable, "-c", OWN, str(folder / "twistsmtp.toml")],
            env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(("TLSFrom HeloSanity\n530 5.7.0\n250 2.1.0\n", ""), (done.stdout, done.stderr))


#: A program that makes the server of a configuration, and says what MAIL gets from a domain of the policy, and another.
OWN = """
import sys
from tests.docs.pages import Client
from twisted.internet.task import Clock
from twistsmtp.config import load
from twistsmtp.service import SMTPService

factory = SMTPService(load({"delivery": "memory:"}, sys.argv[1]), Clock()).factory
print(*[type(policy).__name__ for policy in factory.policies[1:]])
for domain in ("bank.example", "example.com"):
    client = Client(factory)
    client.say("EHLO client.example.net")
    client.hear()
    client.say(f"MAIL FROM:<ada@{domain}>")
    print(client.hear()[0][:9])
"""
