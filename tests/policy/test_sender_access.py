"""Sender access: who may not send here at all."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.policy.maps import MapFile, known, offers
from tests.support import Client, Server
from tests.test_textfile import at_once
from twistsmtp.policy.addresses import Verdict
from twistsmtp.policy.find import make_policy
from twistsmtp.policy.sender_access import SenderAccess, parse_access_map
from twistsmtp.textfile import BadLines
from twistsmtp.wire.grammar import parse_mailbox

MAP = """\
@spam.test        reject
ada@spam.test     OK
news@mx.test      defer Once a day is enough
@angry.test       554 5.7.0 We have agreed on that
"""

OK, REFUSED = "250 2.1.0", "550 5.7.1"


class MapTests(SynchronousTestCase):
    def test_lines(self) -> None:
        map = parse_access_map(b"@a.test reject\nada@a.test ok\n* defer\nbob@b.test ok\n")
        for address, verdict in {
            "x@A.test": Verdict(False),
            "ada@a.test": None,
            "ADA+x@a.test": None,
            "bob@b.test": None,
            "x@b.test": Verdict(True),
        }.items():
            self.assertEqual(verdict, map.find(parse_mailbox(address)), address)
        self.assertIsNone(parse_access_map(b"").find(parse_mailbox("x@b.test")))

    def test_bad_lines(self) -> None:
        unsaid = "not an address, @domain or *, with ok, reject, defer or a reply's code behind it"
        for line, problem in (
            ("@b.test", unsaid),
            ("@b.test rejected", unsaid),
            ("@b.test ok then", unsaid),
            ("@b.test 550 4.0.0 x", "enhanced code 4.0.0 is not of the class of 550"),
            ("<> reject", "Syntax: Local-part is malformed"),
            ("@A.test ok", "another line says something else of @a.test"),
        ):
            error = self.assertRaises(BadLines, parse_access_map, f"@a.test reject\n{line}\n".encode())
            self.assertEqual({2: problem}, error.problems, line)

    @given(st.binary())
    def test_anything(self, octets: bytes) -> None:
        try:
            parse_access_map(octets)
        except BadLines:
            return


class PolicyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = MapFile(self.mktemp(), MAP)

    def connect(self) -> Client:
        policy = SenderAccess(self.file.path, seconds=self.file.clock.seconds, in_thread=at_once)
        return Server(policies=[policy]).connect().hello()

    def test_who_may_send(self) -> None:
        senders = ["x@spam.test", "ada@spam.test", "news@mx.test", "x@angry.test", "x@mx.test", "x@sub.spam.test", ""]
        codes = [REFUSED, OK, "450 4.7.1", "554 5.7.0", OK, OK, OK]
        self.assertEqual(codes, offers(self.connect(), *senders))
        self.assertEqual(codes, offers(known(self.connect(), "ada"), *senders))

    def test_what_it_says(self) -> None:
        self.assertEqual(
            [
                "550 5.7.1 Mail from this sender is not taken here",
                "450 4.7.1 Once a day is enough",
                "554 5.7.0 We have agreed on that",
            ],
            self.connect().say("MAIL FROM:<x@spam.test>", "MAIL FROM:<news@mx.test>", "MAIL FROM:<x@angry.test>"),
        )

    def test_null_reverse_path(self) -> None:
        """Even where nobody may send, notifications come."""
        self.file.change("* reject\n")
        self.assertEqual([REFUSED, OK], offers(self.connect(), "x@mx.test", ""))

    def test_change(self) -> None:
        client = self.connect()
        self.assertEqual([REFUSED], offers(client, "x@spam.test"))
        self.file.change("@other.test defer\n")
        self.assertEqual([OK, "450 4.7.1"], offers(client, "x@spam.test", "x@other.test"))

    def test_by_name(self) -> None:
        self.assertIsInstance(make_policy(f"sender-access:{self.file.path}"), SenderAccess)
        self.file.change("@spam.test\n")
        error = self.assertRaises(ValueError, make_policy, f"sender-access:{self.file.path}")
        self.assertTrue(str(error).startswith(f"sender-access: {self.file.path}: line 1: not an address"), error)
