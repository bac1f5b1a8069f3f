"""PLAIN: the examples of RFC 4616, and what is none."""

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import failure, talk
from twistsmtp.sasl.api import Denied, Malformed


class PlainTests(SynchronousTestCase):
    def test_the_first_example_of_rfc_4616(self) -> None:
        done = talk("PLAIN", [b"\0tim\0tanstaaftanstaaf"])
        self.assertEqual((done.challenges, done.identity, done.error), ([b""], ("tim", None), None))
        verifyObject(IUsernamePassword, done.credentials)
        self.assertEqual((done.credentials.username, done.credentials.password), (b"tim", b"tanstaaftanstaaf"))

    def test_the_second_example_of_rfc_4616(self) -> None:
        done = talk("PLAIN", [b"Ursel\0Kurt\0xipj3plmq"], check=lambda credentials: False)
        self.assertEqual(done.identity, ("Ursel", "Kurt"))
        self.assertIsInstance(done.error, Denied)

    def test_a_checker_of_twisteds_takes_the_credentials(self) -> None:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(b"tim", b"tanstaaf")
        right = talk("PLAIN", [b"\0tim\0tanstaaf"]).credentials
        self.assertEqual(self.successResultOf(checker.requestAvatarId(right)), b"tim")
        self.failureResultOf(checker.requestAvatarId(talk("PLAIN", [b"\0tim\0wrong"]).credentials))

    def test_who_asks_to_act_as_itself_acts_for_nobody_else(self) -> None:
        self.assertEqual(talk("PLAIN", [b"tim\0tim\0x"]).identity, ("tim", None))
        # Another spelling of the same name: a soft hyphen, and a ligature.
        self.assertEqual(talk("PLAIN", ["o\xadffice\0o\ufb03ce\0x".encode()]).identity, ("office", None))

    def test_names_and_passwords_are_prepared(self) -> None:
        done = talk("PLAIN", ["\0Ti\xadm\0\u2168\xa0\xaa".encode()])
        self.assertEqual((done.credentials.username, done.credentials.password), (b"Tim", b"IX a"))

    def test_as_long_as_can_be(self) -> None:
        long = b"\0".join([b"a" * 1024, b"b" * 1024, b"c" * 1024])
        self.assertEqual(talk("PLAIN", [long]).identity, ("a" * 1024, "b" * 1024))

    def test_what_is_malformed(self) -> None:
        for message in (
            b"",
            b"tim",
            b"\0tim",
            b"\0tim\0",
            b"\0\0x",
            b"tim\0\0x",
            b"\0tim\0x\0",
            b"\0tim\0x\0y\0z",
            b"\0t\xffm\0x",
            b"\0tim\0\xed\xa0\x80",
            b"\xc0\x80\0tim\0x",
            b"\0t\nm\0x",
            b"\0tim\0\x7f",
            b"\0\xc2\xad\0x",
            b"a" * 1025 + b"\0tim\0x",
            b"\0" + b"a" * 1025 + b"\0x",
            b"\0tim\0" + b"a" * 1025,
            b"\0tim\0" + "\ufdfa".encode() * 341,
        ):
            self.assertIs(failure("PLAIN", message), Malformed, message[:40])
