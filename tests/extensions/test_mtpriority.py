"""MT-PRIORITY: RFC 6710."""

from typing import Any

from tests.extensions.parameters import ParameterTestCase
from tests.lmtp import LMTPServer
from tests.scripted import Answer, Script
from tests.support import Client, Server, split_replies
from twistsmtp.delivery.memory import Memory
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.mtpriority import MT_PRIORITY, Priority, extension
from twistsmtp.wire.reply import Reply


class PriorityTests(ParameterTestCase):
    def user(self) -> Client:
        client = self.client()
        client.session.authenticated("ada", client.session.delivery, lambda: None)
        return client

    def test_rfc6710_it_is_offered_where_the_delivery_has_priorities(self) -> None:
        self.assert_offered_where_honoured("MT-PRIORITY", mail="MT-PRIORITY=1")

    def test_rfc6710_7_the_policy_that_it_names(self) -> None:
        self.assertEqual(extension().keyword, "MT-PRIORITY")
        offers = self.offers(self.client(extensions=[*load_extensions(["size"]), extension("MIXER")]))
        self.assertEqual(offers[-1], "MT-PRIORITY MIXER")
        # Section 7: priority-profile = 1*20(ALPHA / DIGIT / "-" / "_" / ".")
        for each in ("STANAG4406", "a", "-x", "_.-", "x" * 20):
            self.assertEqual(extension(each).keyword, f"MT-PRIORITY {each}")
        for each in ("", "two words", "a\r\nb", "ä", "a+b", "a\n", "x" * 21):
            self.assertRaises(ValueError, extension, each)

    def test_rfc6710_4_1_a_user_has_what_was_asked_for(self) -> None:
        # Section 4.1.
        for number in range(-9, 10):
            priority = self.mail(f"MT-PRIORITY={number}", self.user()).get(MT_PRIORITY)
            self.assertEqual(priority, Priority(number, number))

    def test_rfc6710_a_stranger_gets_nothing_above_the_usual(self) -> None:
        for number in range(-9, 10):
            priority = self.mail(f"mt-priority={number}").get(MT_PRIORITY)
            self.assertEqual(priority, Priority(number, min(number, 0)))

    def test_rfc6710_4_1_the_received_field_has_what_was_granted(self) -> None:
        """Section 4.1, and RFC 5321 section 4.4 for its place."""
        for client, recipients, clause in (
            (self.user(), ["b@mx.test"], b"\r\n\tfor <b@mx.test> PRIORITY 3; "),
            (self.user(), ["b@mx.test", "c@mx.test"], b"\r\n\tPRIORITY 3; "),
            (self.client(), ["b@mx.test"], b"\r\n\tfor <b@mx.test> PRIORITY 0; "),
        ):
            client.say(
                "MAIL FROM:<> MT-PRIORITY=3 BODY=8BITMIME", *[f"RCPT TO:<{each}>" for each in recipients], "DATA"
            )
            client.send(b".\r\n")
            memory: Any = client.server.delivery
            self.assertIn(clause, memory.messages[0].octets)

    def send(self, client: Client, number: int) -> str:
        """The reply to a message of this priority."""
        client.say(f"MAIL FROM:<> MT-PRIORITY={number}", "RCPT TO:<b@mx.test>", "DATA")
        [reply] = split_replies(client.send(b".\r\n"))
        return reply

    def test_rfc6710_who_gets_another_priority_is_told_so(self) -> None:
        # X.3.6 is for a text with "the new priority, followed by SP and explanatory human readable text".
        said = self.send(self.client(), 3)
        self.assertRegex(said, r"250 2\.3\.6 0 is the priority of this message: OK: message \S+ accepted\Z")
        for client, number in ((self.user(), 3), (self.client(), -3), (self.client(), 0)):
            self.assertEqual(self.send(client, number)[:9], "250 2.0.0")

    def test_rfc6710_the_deliverys_own_word_is_told_as_well(self) -> None:
        for own, told in (
            (Reply(250, "2.6.0", "Taken\nas 17"), "250 2.3.6 0 is the priority of this message: Taken as 17"),
            (Reply(250, "2.3.6", "-2 is what we have"), "250 2.3.6 -2 is what we have"),
            (Reply(452, "4.3.1", "Full"), "452 4.3.1 Full"),
        ):
            script = Script(commit=[Answer(result=own)])
            server = Server.scripted(script)
            server.delivery.honours = frozenset({"mtpriority"})
            self.assertEqual(self.send(server.connect().hello(), 3), told)

    def test_rfc6710_over_lmtp(self) -> None:
        """Who speaks it has asked its own clients."""
        self.assertEqual(self.mail("MT-PRIORITY=3", LMTPServer(Memory()).connect().hello()).get(MT_PRIORITY).granted, 3)

    def test_rfc6710_without_it(self) -> None:
        self.assertEqual(self.mail("", self.user()).get(MT_PRIORITY), Priority(0, 0))

    def test_rfc6710_7_what_is_no_priority(self) -> None:
        # Section 7: priority-value = (["-"] NZDIGIT) / "0"; section 4.1: 501, with 5.5.2.
        for each in ("", "=", "=10", "=-10", "=+1", "=00", "=01", "=-0", "=1.0", "=x", "=\u00b2", "=\u0661", "=--1"):
            self.mail_refused("501 5.5.4" if each == "=" else "501 5.5.2", f"MT-PRIORITY{each}")
        self.mail_refused("501 5.5.4", "MT-PRIORITY=1 MT-PRIORITY=1")
