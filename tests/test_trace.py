"""Received and Return-Path, read back by the grammar of RFC 5321 section 4.4."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.support import Server
from tests.tls.support import build
from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.session import Session
from twistsmtp.tls.facts import TLS, Known, Peer
from twistsmtp.trace import date_time, received, return_path
from twistsmtp.wire.grammar import parse_mailbox

NOON = 1795262400
NULL = ReversePath(mailbox=None)

# Stamp = From-domain By-domain Opt-info [CFWS] ";" FWS date-time, folded; TCP-info as a literal, or a word for a
# client that has no IP address.
_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_STAMP = re.compile(
    r"Received: from (?P<helo>\S+) \((?P<tcp_info>\[[^\]\s]+\]|local)\)\r\n"
    r"\tby (?P<by>\S+) \(twistsmtp\) with (?P<protocol>[A-Z0-9]+) id (?P<id>\S+)\r\n"
    r"\t(?:for <(?P<to>[^>\r\n]+)>)?(?:(?:\r\n\t)?(?P<tls>(?:tls \S+ )?\((?:[^()\\\r\n]|\\[()\\])+\)))?"
    r"; (?P<date>\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d \+0000)\r\n"
)


def new_session(peer: IAddress | None = None, hostname: str = "mx.test") -> Session:
    session = Server(hostname=hostname).factory.new_session(StringTransport(peerAddress=peer))
    session.hello("client.test", esmtp=True)
    return session


def envelope(*recipients: str, reverse_path: ReversePath = NULL) -> Envelope:
    return Envelope("6b02-1-1-1", reverse_path, tuple(Recipient(mailbox=parse_mailbox(each)) for each in recipients))


def stamp(session: Session, an_envelope: Envelope) -> dict[str, str | None]:
    """The parts of the Received field."""
    text = received(session, an_envelope, NOON).decode()
    match = _STAMP.fullmatch(text)
    assert match, text
    return match.groupdict()


class ReceivedTests(SynchronousTestCase):
    def test_the_whole_of_it(self) -> None:
        self.assertEqual(
            received(new_session(IPv4Address("TCP", "192.0.2.1", 1)), envelope("bob@mx.test"), NOON),
            b"Received: from client.test ([192.0.2.1])\r\n"
            b"\tby mx.test (twistsmtp) with ESMTP id 6b02-1-1-1\r\n"
            b"\tfor <bob@mx.test>; Sat, 21 Nov 2026 12:00:00 +0000\r\n",
        )

    def test_of_several_recipients_none_is_named(self) -> None:
        for recipients in ((), ("bob@mx.test", "cem@mx.test")):
            self.assertIsNone(stamp(new_session(), envelope(*recipients))["to"])

    def test_the_client_is_an_address_literal(self) -> None:
        # Section 4.1.3: an IPv6 address has its tag; a zone is this host's own affair.
        for peer, literal in (
            (IPv4Address("TCP", "192.0.2.1", 1), "[192.0.2.1]"),
            (IPv6Address("TCP", "2001:db8::1", 1), "[IPv6:2001:db8::1]"),
            (IPv6Address("TCP", "::1", 1), "[IPv6:::1]"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "[IPv6:fe80::1]"),
            (IPv6Address("TCP", "fe80::1", 1, 0, 2), "[IPv6:fe80::1]"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "[192.0.2.1]"),
            (IPv6Address("TCP", "a::1", 1), "[IPv6:a::1]"),
            (UNIXAddress("/run/smtp"), "local"),
        ):
            self.assertEqual(stamp(new_session(peer), envelope())["tcp_info"], literal)

    def test_the_protocol(self) -> None:
        # RFC 3848 section 2 and RFC 6531 section 4.3.
        for esmtp, tls, identity, utf8, expected in (
            (False, False, False, False, "SMTP"),
            (True, False, False, False, "ESMTP"),
            (True, True, False, False, "ESMTPS"),
            (True, False, True, False, "ESMTPA"),
            (True, True, True, False, "ESMTPSA"),
            (True, False, False, True, "UTF8SMTP"),
            (True, True, False, True, "UTF8SMTPS"),
            (True, False, True, True, "UTF8SMTPA"),
            (True, True, True, True, "UTF8SMTPSA"),
        ):
            session = new_session()
            session.hello("client.test", esmtp=esmtp)
            session.tls = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None
            session.identity = "ann" if identity else None
            path = ReversePath(mailbox=None, internationalized=utf8)
            self.assertEqual(stamp(session, envelope(reverse_path=path))["protocol"], expected)

    def test_the_cipher_suite_has_ianas_name(self) -> None:
        # RFC 8314 section 4.3.
        for version, cipher, expected in (
            ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "tls TLS_AES_256_GCM_SHA384 (TLSv1.3)"),
            ("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256", "tls TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 (TLSv1.2)"),
            ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", "tls TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 (TLSv1.2)"),
            ("TLSv1.2", "DHE-RSA-CHACHA20-POLY1305", "tls TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256 (TLSv1.2)"),
            ("TLSv1.2", "AES256-SHA256", "(TLSv1.2 AES256-SHA256)"),
        ):
            session = new_session()
            session.tls = TLS(version, cipher)
            for recipients in (["bob@mx.test"], ["bob@mx.test", "joe@mx.test"]):
                self.assertEqual(stamp(session, envelope(*recipients))["tls"], expected)

    def test_what_the_client_said_of_itself(self) -> None:
        """SNI, ALPN and the verified certificate are in the comment, and nothing in them ends it."""
        for name, alpn, subject, expected in (
            ("mx.test", "", None, "TLSv1.3 sni=mx.test"),
            (None, "smtp", "ada", "TLSv1.3 alpn=smtp peer=CN=ada"),
            (") by evil (", "", "a)(b\\", r"TLSv1.3 sni=\) by evil \( peer=CN=a\)\(b" + "\\" * 4),
            ("a" * 255, "b" * 255, None, f"TLSv1.3 sni={'a' * 200} alpn={'b' * 200}"),
        ):
            session = new_session()
            peer = None if subject is None else Peer(build(subject).certificate)
            session.tls = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", name, alpn, Known(peer=peer))
            for recipients in (["bob@mx.test"], ["bob@mx.test", "joe@mx.test"]):
                clause = stamp(session, envelope(*recipients))["tls"]
                self.assertEqual(clause, f"tls TLS_AES_256_GCM_SHA384 ({expected})")

    def test_the_greeting_is_shown_as_it_was_given(self) -> None:
        for name in ("client.test", "[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost", "a" * 63):
            session = new_session()
            session.hello(name, esmtp=False)
            self.assertEqual(stamp(session, envelope())["helo"], name)

    def test_mailboxes_keep_their_quotes_and_their_language(self) -> None:
        for address in ('"a b"@mx.test', '"\\""@mx.test', "jörg@bücher.example", "bob@[IPv6:::1]"):
            self.assertEqual(stamp(new_session(), envelope(address))["to"], address)

    def test_the_id_is_an_atom(self) -> None:
        # Section 4.4: ID = CFWS "ID" FWS ( Atom / msg-id ), and an Atom has no dot.
        server = Server()
        server.connect().hello().message()
        match = _STAMP.match(server.delivery.transactions[0].octets.decode())
        assert match
        self.assertRegex(match["id"], rf"^{_ATOM}$")
        self.assertEqual(match["id"], server.delivery.transactions[0].envelope.id)

    @given(st.integers(0, 4102444800))
    def test_the_date(self, seconds: int) -> None:
        text = date_time(seconds)
        self.assertEqual(parsedate_to_datetime(text), datetime.fromtimestamp(seconds, UTC))
        self.assertEqual(parsedate_to_datetime(text).strftime("%a"), text[:3])

    def test_no_line_is_too_long(self) -> None:
        # RFC 5322 section 2.1.1: 998, whatever the client sent within its limits.
        session = new_session(IPv6Address("TCP", "2001:db8:1111:2222:3333:4444:5555:6666", 1), "m" * 63 + ".test")
        session.hello("a" * 250 + ".test", esmtp=True)
        octets = received(session, envelope("b" * 64 + "@" + "c" * 63 + ".test"), NOON)
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 998)


class ReturnPathTests(SynchronousTestCase):
    def test_the_reverse_path(self) -> None:
        for address in ("ann@client.test", '"a b"@client.test', "jörg@bücher.example"):
            self.assertEqual(
                return_path(ReversePath(mailbox=parse_mailbox(address))), f"Return-Path: <{address}>\r\n".encode()
            )

    def test_the_null_reverse_path(self) -> None:
        self.assertEqual(return_path(NULL), b"Return-Path: <>\r\n")
