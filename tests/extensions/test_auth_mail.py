"""AUTH's parameter of MAIL: RFC 4954 section 5."""

from typing import Any

from tests.authentication import (
    plain,
)
from tests.extensions.test_auth import AuthTestCase
from tests.support import Client, Server
from twistsmtp.extensions.auth import AUTH
from twistsmtp.security import Security
from twistsmtp.wire.grammar import Mailbox


class MailTests(AuthTestCase):
    """Section 5: the AUTH parameter of MAIL."""

    def path(self, client: Client, parameter: str, sender: str = "a@client.test") -> Any:
        self.assertEqual(client.codes(f"MAIL FROM:<{sender}> {parameter}"), ["250 2.1.0"], parameter)
        reverse_path = client.session.current.reverse_path
        client.say("RSET")
        return reverse_path

    def test_rfc4954_5_who_submitted_it(self) -> None:
        client = self.client()
        for parameter, mailbox in (
            ("AUTH=ann@client.test", Mailbox("ann", "client.test")),
            ("auth=Ann@Client.Test", Mailbox("Ann", "Client.Test")),
            ("AUTH=e+3Dmc2@example.com", Mailbox("e=mc2", "example.com")),  # the section's own
            ("AUTH=a+2Bb@example.com", Mailbox("a+b", "example.com")),
            ("AUTH=+22a+20b+22@example.com", Mailbox("a b", "example.com")),
            ("AUTH=a@[192.0.2.1]", Mailbox("a", "[192.0.2.1]")),
            ("AUTH=+C3+BC@example.com", Mailbox("ü", "example.com")),
            ("AUTH=<>", None),
        ):
            path = self.path(client, parameter)
            self.assertEqual(path.get(AUTH), mailbox, parameter)
            self.assertEqual(path.options, (("AUTH", parameter[5:]),))

    def test_rfc4954_5_nobody_said(self) -> None:
        client = self.client()
        client.say("MAIL FROM:<>")
        self.assertIsNone(client.session.current.reverse_path.get(AUTH))

    def test_rfc4954_5_it_is_kept_for_the_delivery(self) -> None:
        client = self.client()
        client.say(f"AUTH PLAIN {plain()}", "MAIL FROM:<a@client.test> SIZE=9 AUTH=ann@client.test BODY=8BITMIME")
        delivery: Any = self.realm.delivery
        self.assertEqual(str(delivery.transactions[0].reverse_path.get(AUTH)), "ann@client.test")

    def test_rfc4954_5_what_it_is_not(self) -> None:
        client = self.client()
        for value in (
            "",
            "=",
            "=nonsense",
            "=<ann@client.test>",
            "=ann",
            "=ann@",
            "=@client.test",
            "=+3D",
            "=a+b@client.test",
            "=a+3d@client.test",
            "=a+4@client.test",
            "=a+3D@client.test=",
            "=a+0D+0AMAIL@client.test",
            "=a+00@client.test",
            "=+FF@client.test",
            "=ü@client.test",
            "=<",
            "=<>x",
            "=<> AUTH=<>",
        ):
            self.assertEqual([r[:3] for r in client.codes(f"MAIL FROM:<> AUTH{value}")], ["501"], value)
            self.assertIsNone(client.session.transaction)

    def test_rfc4954_3_its_length(self) -> None:
        # Section 3 (5): it extends the maximum length of MAIL by 500 octets.
        client = self.client()
        domain = ".".join(["d" * 60] * 3) + ".test"
        longest = f"MAIL FROM:<{'l' * 64}@{domain}> AUTH={'+6C' * 64}@{domain}"
        self.assertGreater(len(longest), 510)
        self.assertEqual(client.codes(longest), ["250 2.1.0"])
        self.assertEqual(client.session.current.reverse_path.get(AUTH), Mailbox("l" * 64, domain))

    def test_rfc4954_5_it_is_an_extension(self) -> None:
        client = Server().connect()
        self.assertEqual(client.codes("HELO client.test", "MAIL FROM:<> AUTH=<>"), ["220", "250", "555 5.5.4"])

    def test_rfc4954_5_not_without_a_portal(self) -> None:
        """It is of the extension, and that is not offered."""
        self.assertIsNone(Security().portal)
        client = Server().connect().hello()
        self.assertEqual(client.codes("MAIL FROM:<> AUTH=<>"), ["555 5.5.4"])
        self.assertNotIn("AUTH", client.say("HELP MAIL")[0])
