"""MT-PRIORITY: RFC 6710."""

from typing import Any

from tests.extensions.parameters import ParameterTestCase
from tests.support import Client
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.mtpriority import MT_PRIORITY, Priority, extension


class PriorityTests(ParameterTestCase):
    def user(self) -> Client:
        client = self.client()
        client.session.authenticated("ada", client.session.delivery, lambda: None)
        return client

    def test_it_is_offered_where_the_delivery_has_priorities(self) -> None:
        self.assert_offered_where_honoured("MT-PRIORITY", mail="MT-PRIORITY=1")

    def test_the_policy_that_it_names(self) -> None:
        self.assertEqual(extension().keyword, "MT-PRIORITY")
        offers = self.offers(self.client(extensions=[*load_extensions(["size"]), extension("MIXER")]))
        self.assertEqual(offers[-1], "MT-PRIORITY MIXER")
        # Section 7: priority-profile = 1*20(ALPHA / DIGIT / "-" / "_" / ".")
        for each in ("STANAG4406", "a", "-x", "_.-", "x" * 20):
            self.assertEqual(extension(each).keyword, f"MT-PRIORITY {each}")
        for each in ("", "two words", "a\r\nb", "ä", "a+b", "a\n", "x" * 21):
            self.assertRaises(ValueError, extension, each)

    def test_a_user_has_what_was_asked_for(self) -> None:
        # Section 4.1.
        for number in range(-9, 10):
            priority = self.mail(f"MT-PRIORITY={number}", self.user()).get(MT_PRIORITY)
            self.assertEqual(priority, Priority(number, number))

    def test_a_stranger_gets_nothing_above_the_usual(self) -> None:
        for number in range(-9, 10):
            priority = self.mail(f"mt-priority={number}").get(MT_PRIORITY)
            self.assertEqual(priority, Priority(number, min(number, 0)))

    def test_the_received_field_has_what_was_granted(self) -> None:
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

    def test_without_it(self) -> None:
        self.assertEqual(self.mail("", self.user()).get(MT_PRIORITY), Priority(0, 0))

    def test_what_is_no_priority(self) -> None:
        # Section 7: priority-value = (["-"] NZDIGIT) / "0"; section 4.1: 501, with 5.5.2.
        for each in ("", "=", "=10", "=-10", "=+1", "=00", "=01", "=-0", "=1.0", "=x", "=\u00b2", "=\u0661", "=--1"):
            self.mail_refused("501 5.5.4" if each == "=" else "501 5.5.2", f"MT-PRIORITY{each}")
        self.mail_refused("501 5.5.4", "MT-PRIORITY=1 MT-PRIORITY=1")
