"""XCLIENT, by Postfix's XCLIENT_README."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from tests.authentication import TLSClient, certificates
from tests.scripted import Answer, How, Script
from tests.support import Client, Server, logged
from twistsmtp.clients import UnknownAddress
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xclient import Claim, claim_of, xclient
from twistsmtp.policy.api import Policy
from twistsmtp.policy.relay import RelayRule
from twistsmtp.security import Security
from twistsmtp.session import Session
from twistsmtp.wire.attributes import Unstated
from twistsmtp.wire.reply import Refusal, Reply

TRUSTED, OTHER = "192.0.2.1", "198.51.100.1"
OFFER = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
CLAIM = "XCLIENT NAME=spike.test ADDR=203.0.113.2 PORT=4711"


class XClientTestCase(SynchronousTestCase):
    def connect(self, script: Script | None = None, peer: IAddress | str = TRUSTED, **settings: Any) -> Client:
        extensions = (*load_extensions(), xclient(["192.0.2.0/24"]))
        self.server = Server.scripted(script or Script(), extensions=extensions, **settings)
        return self.again(peer)

    def again(self, peer: IAddress | str = TRUSTED) -> Client:
        client = self.server.connect(peer)
        client.read()
        return client


class OfferTests(XClientTestCase):
    """Offered, and taken, where it is trusted."""

    def test_who_is_trusted(self) -> None:
        client = self.connect()
        self.assertIn(OFFER, client.say("EHLO x")[0])
        self.assertEqual(client.codes(CLAIM), ["220"])

    def test_who_is_not(self) -> None:
        for peer in OTHER, IPv6Address("TCP", "::1", 1), UNIXAddress(None):
            client = self.connect(peer=peer)
            self.assertNotIn("XCLIENT", client.say("EHLO x")[0])
            for line in CLAIM, "XCLIENT", "XCLIENT NAME":
                self.assertEqual(client.codes(line), ["550 5.7.0"])
            self.assertEqual(client.session.peer, client.session.origin)

    def test_it_does_not_override_who_may_say_it(self) -> None:
        """Neither by a trusted address, nor does another take the right away."""
        client = self.connect()
        self.assertEqual(client.codes(CLAIM, CLAIM), ["220", "220"])
        self.assertIn(OFFER, client.say("EHLO x")[0])
        other = self.again(OTHER)
        self.assertEqual(other.codes(f"XCLIENT ADDR={TRUSTED}", CLAIM), ["550 5.7.0"] * 2)

    def test_not_by_its_name(self) -> None:
        """There is nobody whom it could be offered to."""
        self.assertRaises(ValueError, load_extensions, ["xclient"])

    def test_networks(self) -> None:
        self.assertRaises(ValueError, xclient, ["example.org"])


class SessionTests(XClientTestCase):
    """The session begins anew, and is the client's."""

    def test_the_example(self) -> None:
        client = self.connect()
        client.say("EHLO client.example.com")
        self.assertEqual(
            client.say("XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2"), ["220 mx.test ESMTP twistsmtp"]
        )
        self.assertEqual(client.codes("MAIL FROM:<a@b.test>"), ["503 5.5.1"])
        client.say("EHLO spike.porcupine.org")
        self.assertEqual([reply[:3] for reply in client.message()], ["250"])
        [transaction] = self.server.delivery.transactions
        self.assertIn(
            b"Received: from spike.porcupine.org (spike.porcupine.org [168.100.189.2])\r\n", transaction.octets
        )

    def test_the_address(self) -> None:
        for attributes, peer, text in (
            ("ADDR=203.0.113.2 PORT=7", IPv4Address("TCP", "203.0.113.2", 7), "203.0.113.2"),
            ("ADDR=203.0.113.2", IPv4Address("TCP", "203.0.113.2", 0), "203.0.113.2"),
            ("ADDR=IPV6:2001:DB8::1 PORT=7", IPv6Address("TCP", "2001:db8::1", 7), "2001:db8::1"),
            ("ADDR=ipv6:2001:db8::1", IPv6Address("TCP", "2001:db8::1", 0), "2001:db8::1"),
            ("ADDR=203.0.113.2 PORT=[UNAVAILABLE]", IPv4Address("TCP", "203.0.113.2", 0), "203.0.113.2"),
            ("ADDR=[UNAVAILABLE]", UnknownAddress(), "unknown"),
        ):
            client = self.connect()
            self.assertEqual(client.codes(f"XCLIENT {attributes}"), ["220"])
            self.assertEqual((client.session.peer, client.session.client), (peer, text))
            self.assertEqual(client.session.origin.host, TRUSTED)  # type: ignore[attr-defined]  # an IPv4Address

    def test_without_an_address_it_stays(self) -> None:
        client = self.connect()
        client.say("XCLIENT NAME=spike.test PORT=1")
        self.assertEqual(client.session.peer, client.session.origin)

    def test_an_unknown_client_in_the_received_field(self) -> None:
        client = self.connect()
        client.say("XCLIENT ADDR=[UNAVAILABLE]")
        client.say("EHLO x.test")
        client.message()
        [transaction] = self.server.delivery.transactions
        self.assertIn(b"Received: from x.test (unknown)\r\n", transaction.octets)

    def test_several_add_up(self) -> None:
        client = self.connect()
        self.assertIsNone(claim_of(client.session))
        client.say("XCLIENT NAME=spike.test ADDR=203.0.113.2", "XCLIENT HELO=spike.test PROTO=esmtp")
        claim = Claim(name="spike.test", address="203.0.113.2", helo="spike.test", protocol="ESMTP")
        self.assertEqual(claim_of(client.session), claim)
        self.assertEqual(client.session.client, "203.0.113.2")
        client.say("XCLIENT NAME=[TEMPUNAVAIL] ADDR=203.0.113.3")
        self.assertEqual(client.session.client, "203.0.113.3")
        # HELO, PROTO and LOGIN are of the client that they were said of.
        self.assertEqual(claim_of(client.session), Claim(name=Unstated.TEMPUNAVAIL, address="203.0.113.3"))
        self.assertEqual((client.session.helo, client.session.esmtp), (None, False))

    def test_the_name(self) -> None:
        """It is in the Received field, behind what the client says itself."""
        client = self.connect()
        client.say("XCLIENT NAME=spike.test ADDR=203.0.113.2", "EHLO x.test")
        client.message()
        [transaction] = self.server.delivery.transactions
        self.assertIn(b"Received: from x.test (spike.test [203.0.113.2])\r\n", transaction.octets)
        for name in "[UNAVAILABLE]", "[TEMPUNAVAIL]":
            client.say(f"XCLIENT NAME={name}")
            self.assertIsNone(client.session.client_name)

    def test_what_it_says_of_the_server(self) -> None:
        client = self.connect()
        client.say("XCLIENT DESTADDR=IPV6:2001:db8::25 DESTPORT=25")
        claim = claim_of(client.session)
        self.assertEqual(claim and (claim.destination, claim.destination_port), ("2001:db8::25", 25))

    def test_helo_and_proto(self) -> None:
        """They hold, and what was said before does not."""
        for attributes, helo, esmtp in (
            ("HELO=spike.test PROTO=ESMTP", "spike.test", True),
            ("HELO=spike.test PROTO=SMTP", "spike.test", False),
            ("HELO=spike.test", "spike.test", False),
            ("HELO=[203.0.113.2]", "[203.0.113.2]", False),
            # What Postfix takes, which took it of a client that may say anything.
            ("HELO=-spike_7.test=x", "-spike_7.test=x", False),
            ("HELO=a+20b+0D+0a<c>+C3+A9", "a?b???c???", False),
            ("HELO=[UNAVAILABLE]", None, False),
            ("PROTO=ESMTP", None, False),
        ):
            client = self.connect()
            client.say("EHLO proxy.test", f"XCLIENT {attributes}")
            self.assertEqual((client.session.helo, client.session.esmtp), (helo, esmtp), attributes)
            ready = ["250 2.1.0"] if helo else ["503 5.5.1"]
            self.assertEqual(client.codes("MAIL FROM:<a@b.test>"), ready)

    def test_login(self) -> None:
        policies = [RelayRule(["mx.test"], authenticated=True)]
        extensions = (*load_extensions(), xclient(["192.0.2.0/24"]))
        client = Server(extensions=extensions, policies=policies).connect(TRUSTED).hello()
        client.say("XCLIENT LOGIN=ada+40mx.test")
        self.assertEqual(client.session.identity, "ada@mx.test")
        client.say("EHLO x.test")
        self.assertEqual(client.codes("MAIL FROM:<a@b.test>", "RCPT TO:<b@elsewhere.test>")[1], "250 2.1.5")
        client.say("RSET", "XCLIENT LOGIN=[UNAVAILABLE]")
        self.assertIsNone(client.session.identity)

    def test_the_login_of_the_client_before(self) -> None:
        """The next client of a connection is nobody, and reaches what anybody does."""
        policies = [RelayRule(["mx.test"], authenticated=True)]
        extensions = (*load_extensions(), xclient(["192.0.2.0/24"]))
        elsewhere = ("MAIL FROM:<a@b.test>", "RCPT TO:<b@elsewhere.test>", "RSET")
        for another in "XCLIENT ADDR=203.0.113.3", "XCLIENT ADDR=203.0.113.2", "XCLIENT NAME=other.test":
            client = Server(extensions=extensions, policies=policies).connect(TRUSTED).hello()
            client.say("XCLIENT ADDR=203.0.113.2 LOGIN=ada HELO=spike.test PROTO=ESMTP")
            self.assertEqual(client.codes(*elsewhere), ["250 2.1.0", "250 2.1.5", "250 2.0.0"])
            self.assertEqual(client.codes(another), ["220"])
            self.assertEqual((client.session.identity, client.session.helo), (None, None), another)
            client.say("EHLO x.test")
            self.assertEqual(client.codes(*elsewhere), ["250 2.1.0", "550 5.7.1", "250 2.0.0"], another)

    def test_who_had_authenticated_has_not(self) -> None:
        client = self.connect()
        session, log = client.session, list[str]()
        session.authenticated("proxy", session.delivery, lambda: log.append("out"))
        client.say(CLAIM)
        self.assertEqual((session.identity, log), (None, ["out"]))

    def test_counts_stay(self) -> None:
        client = self.connect()
        client.say("EHLO x", "NONSENSE", CLAIM)
        self.assertEqual(client.session.counts.errors, 1)

    def test_behind_other_commands_and_before_them(self) -> None:
        client = self.connect()
        self.assertEqual(client.codes("EHLO x", CLAIM, "EHLO y", "NOOP"), ["250", "220", "250", "250 2.0.0"])

    def test_starttls_behind_it(self) -> None:
        """The client is the same; what it said is not known."""
        client = self.connect(security=Security(tls=certificates()))
        client.say("XCLIENT ADDR=203.0.113.2 HELO=spike.test LOGIN=ada")
        client.session.restart()
        session = client.session
        self.assertEqual((session.client, session.helo, session.identity), ("203.0.113.2", None, None))

    def test_what_was_said_before_starttls_is_forgotten(self) -> None:
        """It may be anybody's word: what is said behind it adds nothing to it."""
        extensions = (*load_extensions(), xclient(["192.0.2.0/24"]))
        client = TLSClient(Server(extensions=extensions, security=Security(tls=certificates())), TRUSTED)
        client.hello()
        client.say("XCLIENT NAME=spike.test ADDR=203.0.113.2 LOGIN=ada HELO=spike.test")
        client.start_tls()
        self.assertIsNone(claim_of(client.session))
        self.assertEqual((client.session.helo, client.session.identity), (None, None))
        self.assertEqual(client.codes("XCLIENT PORT=7"), ["220"])
        self.assertEqual(claim_of(client.session), Claim(port=7))
        # Nor does who was spoken for become who speaks.
        self.assertEqual((client.session.client, client.session.identity), ("203.0.113.2", None))

    def test_in_the_log(self) -> None:
        with logged("twistsmtp.connection") as events:
            self.connect().say(CLAIM, "QUIT")
            self.server.clock.advance(0)
        self.assertEqual([each["client"] for each in events], ["203.0.113.2"])


class RefusedTests(XClientTestCase):
    def test_syntax(self) -> None:
        client = self.connect()
        for attributes in (
            "",
            "NAME",
            "NAME=",
            "FOO=x",
            "NAME=[203.0.113.2]",
            "NAME=a+20b",
            "NAME=a+0Db",
            "NAME=-+3C",
            "NAME=203.0.113.2",
            "NAME=7",
            "NAME=-a.test",
            "NAME=a-.test",
            "NAME=a.-b",
            "ADDR=[203.0.113.2]",
            "ADDR=203.0.113",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:203.0.113.2",
            "ADDR=IPV6:fe80::1+25eth0",
            "ADDR=IPV6:fe80::1%eth0",
            "ADDR=[TEMPUNAVAIL]",
            "PORT=x",
            "PORT=65536",
            "PROTO=LMTP",
            "PROTO=[UNAVAILABLE]",
            "HELO=",
            "HELO=" + "x" * 256,
            "LOGIN=a+00",
            "LOGIN=+FF",
            "DESTADDR=mx.test",
            "DESTPORT=-1",
            "ADDR=203.0.113.2 FOO=x",
        ):
            self.assertEqual([code[:3] for code in client.codes(f"XCLIENT {attributes}")], ["501"], attributes)
        self.assertIsNone(claim_of(client.session))
        self.assertEqual(client.session.client, TRUSTED)

    @given(st.lists(st.sampled_from(OFFER.split()[1:]), max_size=3), st.text(st.characters(codec="utf-8"), max_size=40))
    def test_whatever_comes(self, names: list[str], text: str) -> None:
        client = self.connect()
        argument = " ".join(f"{name}={text}" for name in names) or text
        self.flushLoggedErrors()
        for reply in client.say(f"XCLIENT {argument}".replace("\r\n", "")):
            self.assertIn(reply[:3], ("220", "500", "501"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_in_a_transaction(self) -> None:
        client = self.connect().hello()
        client.say("MAIL FROM:<a@b.test>")
        self.assertEqual(client.codes(CLAIM), ["503 5.5.1"])
        client.say("RCPT TO:<b@mx.test>")
        self.assertEqual(client.codes(CLAIM, "RSET", CLAIM), ["503 5.5.1", "250 2.0.0", "220"])


class Asked(Policy):
    """Notes for whom it is asked what, and refuses a client in one phase."""

    def __init__(self, phase: str = "", client: str = "") -> None:
        self.calls: list[tuple[str, ...]] = []
        self._refused = (client, phase)

    def _ask(self, session: Session, phase: str, *subject: str) -> None:
        self.calls.append((session.client, phase, *subject))
        if (session.client, phase) == self._refused:
            raise Refusal(Reply(554, "5.7.1", "Not you"))

    def connect(self, session: Session) -> None:
        self._ask(session, "connect")

    def hello(self, session: Session, name: str) -> None:
        self._ask(session, "hello", name)

    def auth(self, session: Session, identity: str) -> None:
        self._ask(session, "auth", identity)


class PoliciesTests(XClientTestCase):
    """Access decisions are made anew."""

    def test_they_are_asked_again(self) -> None:
        asked = Asked()
        extension = xclient(["192.0.2.0/24"])
        client = Server(policies=[asked], extensions=[extension]).connect(TRUSTED)
        client.say("XCLIENT ADDR=203.0.113.2 HELO=spike.test LOGIN=ada")
        ours, theirs = (TRUSTED, "connect"), [("connect",), ("hello", "spike.test"), ("auth", "ada")]
        self.assertEqual(asked.calls, [ours, *(("203.0.113.2", *each) for each in theirs)])

    def test_a_refusal(self) -> None:
        for phase in "connect", "hello", "auth":
            server = Server(policies=[Asked(phase, "203.0.113.2")], extensions=[xclient(["192.0.2.0/24"])])
            client = server.connect(TRUSTED)
            client.read()
            self.assertEqual(client.codes("XCLIENT ADDR=203.0.113.2 HELO=x.test LOGIN=ada", "NOOP"), ["554"])
            self.assertTrue(client.closed)

    def test_one_that_comes_later(self) -> None:
        for result, codes, closed in (None, ["220", "250"], False), (Refusal(Reply(554, "5.7.1", "No")), ["554"], True):
            script = Script(policy_connect=[Answer(), Answer(How.DEFERRED, result)])
            client = self.connect(script, strict_greeting=False)
            self.assertEqual(client.codes(CLAIM, "EHLO x"), [])
            script.release()
            self.assertEqual([code[:3] for code in client.codes()], codes)
            self.assertEqual(client.closed, closed)

    def test_one_that_fails(self) -> None:
        """Nobody goes on as somebody whom no policy has seen."""
        client = self.connect(Script(policy_connect=[Answer(), Answer(result=RuntimeError("secret"))]))
        self.assertEqual(client.codes(CLAIM), ["451 4.3.0"])
        self.assertTrue(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_client_that_goes_meanwhile(self) -> None:
        script = Script(policy_connect=[Answer(), Answer(How.AWAITING)])
        client = self.connect(script)
        client.say(CLAIM)
        client.vanish()
        self.assertEqual(script.waiting, [])
        self.assertEqual(self.server.factory.connections, set())
