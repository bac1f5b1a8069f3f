"""ANONYMOUS: the example of RFC 4505, and traces that must not be let in."""

from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess
from twisted.cred.credentials import IAnonymous
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import failure, talk
from twistsmtp.sasl.api import Malformed


class AnonymousTests(SynchronousTestCase):
    def test_the_example_of_rfc_4505(self) -> None:
        done = talk("ANONYMOUS", [b"sirhc"])
        self.assertEqual((done.challenges, done.identity, done.error), ([b""], ("anonymous", None), None))
        verifyObject(IAnonymous, done.credentials)
        self.assertEqual(done.credentials.trace, "sirhc")
        self.assertIs(self.successResultOf(AllowAnonymousAccess().requestAvatarId(done.credentials)), ANONYMOUS)

    def test_traces(self) -> None:
        for trace in ("", "chris@client.test", "x" * 255, "\u20ac" * 255, "\U0001f600" * 10, "\u05d0\u05d1"):
            self.assertEqual(talk("ANONYMOUS", [trace.encode()]).credentials.trace, trace)

    def test_what_is_malformed(self) -> None:
        for trace in (
            b"a\r\nb",
            b"\0",
            b"\x1b[2J",
            b"\x7f",
            b"\xff",
            b"x" * 256,
            "\u20ac".encode() * 256,
            "a\u202eb".encode(),
            "a\u2028b".encode(),
            "\ue000".encode(),
            "\u05d0a\u05d1".encode(),
            "\u05d0.".encode(),
        ):
            self.assertIs(failure("ANONYMOUS", trace), Malformed, trace[:40])
