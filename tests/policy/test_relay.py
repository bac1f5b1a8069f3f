"""The relay rule: no open relay."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import PASSWORD, Anybody, Realm, TLSClient, authenticate, certificates, plain, secured
from tests.scripted import ScriptedDelivery
from tests.support import Client, Server
from twistsmtp.policy.relay import RelayRule
from twistsmtp.sasl import load_mechanisms
from twistsmtp.wire.grammar import GrammarError


def begun(*domains: str) -> Client:
    client = Server(policies=[RelayRule(domains)]).connect().hello()
    client.say("MAIL FROM:<> SMTPUTF8")
    return client


class RelayRuleTests(SynchronousTestCase):
    def test_only_what_is_configured(self) -> None:
        client = begun("mx.test", "other.test")
        for address, code in (
            ("a@mx.test", "250 2.1.5"),
            ("a@MX.Test", "250 2.1.5"),
            ("a@other.test", "250 2.1.5"),
            ("a@elsewhere.test", "550 5.7.1"),
            ("a@sub.mx.test", "550 5.7.1"),
            ("a@test", "550 5.7.1"),
            ("a@xmx.test", "550 5.7.1"),
            ("a@mx.test.elsewhere.test", "550 5.7.1"),
            ("a@[192.0.2.7]", "550 5.7.1"),
        ):
            self.assertEqual(client.codes(f"RCPT TO:<{address}>"), [code], address)

    def test_what_it_says(self) -> None:
        [reply] = begun("mx.test").say("RCPT TO:<a@elsewhere.test>")
        self.assertEqual(reply, "550 5.7.1 Relaying denied: mail for this domain is not taken here")

    def test_old_tricks(self) -> None:
        # A route is dropped, and what looks like one in a local part is the local part's own affair.
        client = begun("mx.test")
        self.assertEqual(client.codes("RCPT TO:<@mx.test:a@elsewhere.test>"), ["550 5.7.1"])
        self.assertEqual(client.codes("RCPT TO:<@elsewhere.test:a@mx.test>"), ["250 2.1.5"])
        self.assertEqual(client.codes('RCPT TO:<"a@mx.test"@elsewhere.test>'), ["550 5.7.1"])
        self.assertEqual(client.codes("RCPT TO:<a%elsewhere.test@mx.test>"), ["250 2.1.5"])

    def test_postmaster_is_always_ours(self) -> None:
        # RFC 5321 section 4.5.1.
        client = begun("mx.test")
        self.assertEqual(client.codes("RCPT TO:<postmaster>", "RCPT TO:<POSTMASTER>"), ["250 2.1.5"] * 2)
        self.assertEqual(client.codes("RCPT TO:<postmaster@elsewhere.test>"), ["550 5.7.1"])
        self.assertEqual(begun().codes("RCPT TO:<postmaster>"), ["250 2.1.5"])

    def test_no_domain_takes_nothing_else(self) -> None:
        self.assertEqual(begun().codes("RCPT TO:<a@mx.test>"), ["550 5.7.1"])

    def test_domains_in_any_form(self) -> None:
        client = begun("Bücher.example", "[192.0.2.7]", "[IPv6:2001:DB8:0::1]", "xn--bcher-kva.test")
        for address in (
            "a@bücher.example",
            "a@BÜCHER.example",
            "a@xn--bcher-kva.example",
            "a@bücher.test",
            "a@[192.0.2.7]",
            "a@[IPv6:2001:db8::1]",
        ):
            self.assertEqual(client.codes(f"RCPT TO:<{address}>"), ["250 2.1.5"], address)

    def test_a_star_takes_everything(self) -> None:
        self.assertEqual(
            begun("*", "mx.test").codes("RCPT TO:<a@elsewhere.test>", "RCPT TO:<a@[::1]>"), ["250 2.1.5", "501 5.1.3"]
        )

    def test_what_is_no_domain(self) -> None:
        for name in ("", "a b", "a@b", "*.mx.test", "[x]", "-"):
            self.assertRaises(GrammarError, RelayRule, [name])


class AuthenticatedTests(SynchronousTestCase):
    """Users, who may relay where they are allowed to."""

    def relay(self, client: Client) -> list[str]:
        """What a recipient elsewhere gets, and one of ours, and one without a domain."""
        client.say("MAIL FROM:<a@mx.test>")
        return client.codes("RCPT TO:<b@elsewhere.test>", "RCPT TO:<b@mx.test>", "RCPT TO:<postmaster>")

    def connect(self, *checkers: Any, authenticated: bool = True, **settings: Any) -> Client:
        rule = RelayRule(["mx.test"], authenticated=authenticated)
        return secured(*checkers, policies=[rule], **settings).connect().hello()

    def test_user(self) -> None:
        client = self.connect()
        client.say(f"AUTH PLAIN {plain()}")
        self.assertEqual(["250 2.1.5"] * 3, self.relay(client))

    def test_user_without_the_setting(self) -> None:
        client = self.connect(authenticated=False)
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain()}"))
        self.assertEqual(["550 5.7.1", "250 2.1.5", "250 2.1.5"], self.relay(client))

    def test_by_default_users_do_not_relay(self) -> None:
        self.assertFalse(RelayRule(["mx.test"]).authenticated)

    def test_nobody(self) -> None:
        self.assertEqual(["550 5.7.1", "250 2.1.5", "250 2.1.5"], self.relay(self.connect()))

    def test_wrong_password(self) -> None:
        client = self.connect()
        self.assertIn("535 5.7.8", authenticate(client, "PLAIN", "wrong")[-1])
        self.assertEqual(["550 5.7.1", "250 2.1.5", "250 2.1.5"], self.relay(client))

    def test_anonymous(self) -> None:
        """Whoever asks is let in as nobody in particular: to relay for them is to relay for everybody."""
        realm = Realm(visitors=ScriptedDelivery())
        client = self.connect(Anybody(), realm=realm, mechanisms=load_mechanisms(["ANONYMOUS"]))
        self.assertIn("235 2.7.0", authenticate(client, "ANONYMOUS")[-1])
        self.assertEqual(["550 5.7.1", "250 2.1.5", "250 2.1.5"], self.relay(client))

    def test_no_longer_a_user_behind_starttls(self) -> None:
        """What a client was in plain text it is not under TLS (RFC 3207 section 4.2)."""
        server = secured(policies=[RelayRule(["mx.test"], authenticated=True)], tls=certificates())
        client = TLSClient(server).hello()
        self.assertEqual(["235 2.7.0"], client.codes(f"AUTH PLAIN {plain(PASSWORD)}"))
        assert isinstance(client, TLSClient)
        client.start_tls().say("EHLO client.test")
        self.assertEqual(["550 5.7.1", "250 2.1.5", "250 2.1.5"], self.relay(client))
