"""docs/lmtp.rst: its conversation is what is said, its settings are those that Postfix is tested with."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import Block, all_blocks, block, hold
from tests.docs.test_pages import smtp_commands
from twistsmtp.config import load
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import load_extensions
from twistsmtp.factory import LMTPFactory
from twistsmtp.options import Options
from twistsmtp.policy.relay import RelayRule

PAGE = "lmtp.rst"
ENDPOINT = "unix:/run/twistsmtp/lmtp:mode=660"


class ConversationTests(SynchronousTestCase):
    def test_conversation(self) -> None:
        """A reply for each recipient. What else is offered is another page's affair."""
        extensions = load_extensions(["pipelining", "size", "eightbitmime", "enhancedstatuscodes"])
        memory = Memory()
        policies = [RelayRule(["example.org"])]
        factory = LMTPFactory(
            memory, hostname="mx.example.org", policies=policies, extensions=extensions, reactor=Clock()
        )
        self.assertEqual(*hold(block(PAGE, "conversation").text, factory))
        self.assertEqual(
            [str(each) for each in memory.messages[0].envelope.recipients], ["bob@example.org", "dan@example.org"]
        )


class SettingTests(SynchronousTestCase):
    def the(self, language: str) -> Block:
        [found] = [each for each in all_blocks(language) if each.page == PAGE]
        return found

    def test_command(self) -> None:
        [words] = [words for each, words in smtp_commands() if each.page == PAGE]
        options = Options()
        options.parseOptions(words)
        self.assertEqual(options.config.listen_lmtp, (ENDPOINT,))
        self.assertNotEqual(options.config.listen, ())

    def test_file(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(self.the("toml").text)
        config = load({}, path)
        self.assertEqual((config.listen, config.listen_lmtp), ((), (f"{ENDPOINT}:group=postfix",)))

    def test_postfix(self) -> None:
        """As in tests/clients/test_postfix.py."""
        settings = dict(line.split(" =") for line in block(PAGE, "postfix").text.splitlines())
        path = ENDPOINT.split(":")[1]
        expected = {"mailbox_transport": f" lmtp:unix:{path}", "local_recipient_maps": ""}
        self.assertEqual(settings, expected)
