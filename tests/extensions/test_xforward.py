"""XFORWARD, by Postfix's XFORWARD_README."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.support import Client, Server, logged
from twistsmtp.delivery.api import Delivery, DeliveryTransaction, ReversePath
from twistsmtp.extensions import load_extensions
from twistsmtp.extensions.xforward import Forwarded, Source, forwarded_of, xforward
from twistsmtp.session import Session

TRUSTED, OTHER = "192.0.2.1", "198.51.100.1"
OFFER = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
ALL = "XFORWARD NAME=spike.test ADDR=203.0.113.2 PORT=7 PROTO=ESMTP HELO=spike.test IDENT=3CF6B2AAE8 SOURCE=REMOTE"
FORWARDED = Forwarded(
    name="spike.test",
    address="203.0.113.2",
    port=7,
    protocol="ESMTP",
    helo="spike.test",
    ident="3CF6B2AAE8",
    source=Source.REMOTE,
)


class Noting(Delivery):
    """Notes what is forwarded with each transaction."""

    def __init__(self) -> None:
        self.forwarded: list[Forwarded | None] = []

    def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
        self.forwarded.append(forwarded_of(session))
        return NotingOne()


class NotingOne(DeliveryTransaction):
    pass


class XForwardTestCase(SynchronousTestCase):
    def connect(self, peer: str = TRUSTED, **settings: Any) -> Client:
        self.delivery = Noting()
        self.server = Server(self.delivery, extensions=(*load_extensions(), xforward(["192.0.2.0/24"])), **settings)
        client = self.server.connect(peer)
        client.read()
        return client


class OfferTests(XForwardTestCase):
    def test_who_is_trusted(self) -> None:
        client = self.connect()
        self.assertIn(OFFER, client.say("EHLO x")[0])
        self.assertEqual(client.codes(ALL), ["250 2.0.0"])

    def test_who_is_not(self) -> None:
        client = self.connect(OTHER)
        self.assertNotIn("XFORWARD", client.say("EHLO x")[0])
        self.assertEqual(client.codes(ALL, "XFORWARD"), ["550 5.7.0"] * 2)
        self.assertIsNone(forwarded_of(client.session))


class OperationTests(XForwardTestCase):
    def test_the_example(self) -> None:
        client = self.connect()
        client.say("EHLO client.example.com")
        codes = client.codes(
            "XFORWARD NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP", "XFORWARD HELO=spike.porcupine.org"
        )
        self.assertEqual(codes, ["250 2.0.0"] * 2)
        self.assertEqual([reply[:3] for reply in client.message()], ["250"])
        name = "spike.porcupine.org"
        self.assertEqual(
            self.delivery.forwarded, [Forwarded(name=name, address="168.100.189.2", protocol="ESMTP", helo=name)]
        )

    def test_all_of_it(self) -> None:
        client = self.connect().hello()
        client.say(ALL)
        self.assertEqual(forwarded_of(client.session), FORWARDED)
        self.assertEqual(client.session.client, TRUSTED)

    def test_it_is_erased_by_unavailable(self) -> None:
        client = self.connect()
        client.say(ALL, "XFORWARD ADDR=[unavailable] PORT=[UNAVAILABLE] SOURCE=[Unavailable] NAME=b.test")
        self.assertEqual(
            forwarded_of(client.session),
            Forwarded(name="b.test", protocol="ESMTP", helo="spike.test", ident="3CF6B2AAE8"),
        )

    def test_it_ends_with_the_transaction(self) -> None:
        client = self.connect().hello()
        client.say(ALL)
        client.message()
        client.message()
        for end in "RSET", "EHLO x", "HELO x":
            client.say(ALL, "MAIL FROM:<a@b.test>", end, "MAIL FROM:<a@b.test>", "RSET")
        self.assertEqual(self.delivery.forwarded, [FORWARDED, None] * 4)

    def test_it_lasts_as_long_as_the_transaction(self) -> None:
        client = self.connect().hello()
        client.say(ALL)
        client.begin().say("DATA")
        self.assertEqual(forwarded_of(client.session), FORWARDED)
        client.send(b"x\r\n.\r\n")
        self.assertIsNone(forwarded_of(client.session))

    def test_not_in_a_transaction(self) -> None:
        client = self.connect().hello()
        client.say("MAIL FROM:<a@b.test>")
        self.assertEqual(client.codes(ALL), ["503 5.5.1"])
        client.say("RCPT TO:<b@mx.test>")
        self.assertEqual(client.codes(ALL), ["503 5.5.1"])

    def test_rset_forgets_it(self) -> None:
        client = self.connect().hello()
        client.say(ALL, "RSET")
        self.assertIsNone(forwarded_of(client.session))

    def test_in_the_log(self) -> None:
        """With the id of the message to come."""
        with logged("twistsmtp.xforward") as forwards, logged("twistsmtp.message") as messages:
            client = self.connect().hello()
            client.message()
            client.say(ALL)
            client.message()
        [forward] = forwards
        self.assertEqual(forward["id"], messages[1]["id"])
        self.assertEqual((forward["client"], forward["address"], forward["source"]), (TRUSTED, "203.0.113.2", "REMOTE"))


class ValuesTests(XForwardTestCase):
    def test_what_may_not_be_in_a_header_field(self) -> None:
        client = self.connect()
        client.say("XFORWARD HELO=a+20b+0D+0Ac+3Ed+FFe ADDR=IPV6:2001:db8::1 NAME=[203.0.113.2]")
        self.assertEqual(
            forwarded_of(client.session),
            Forwarded(helo="a?b??c?d?e", address="IPV6:2001:db8::1", name="[203.0.113.2]"),
        )

    def test_syntax(self) -> None:
        client = self.connect()
        for attributes in (
            "",
            "NAME",
            "NAME=",
            "LOGIN=x",
            "PORT=x",
            "PORT=65536",
            "PROTO=" + "x" * 65,
            "SOURCE=ELSEWHERE",
            "NAME=[TEMPUNAVAIL]",
            "NAME=a+0",
            "NAME=" + "x" * 256,
            "NAME=x SOURCE=y",
        ):
            self.assertEqual([code[:3] for code in client.codes(f"XFORWARD {attributes}")], ["501"], attributes)
        self.assertIsNone(forwarded_of(client.session))

    @given(st.lists(st.sampled_from(OFFER.split()[1:]), max_size=3), st.text(st.characters(codec="utf-8"), max_size=40))
    def test_whatever_comes(self, names: list[str], text: str) -> None:
        client = self.connect()
        argument = " ".join(f"{name}={text}" for name in names) or text
        for reply in client.say(f"XFORWARD {argument}".replace("\r\n", "")):
            self.assertIn(reply[:3], ("250", "500", "501"))
        self.assertEqual(self.flushLoggedErrors(), [])
        forwarded = forwarded_of(client.session)
        for value in (forwarded.name, forwarded.helo, forwarded.ident) if forwarded else ():
            self.assertTrue(value is None or (value.isascii() and value.isprintable() and " " not in value))
