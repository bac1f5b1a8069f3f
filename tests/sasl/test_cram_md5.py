"""CRAM-MD5: the example of RFC 2195, and clients of other houses."""

import hmac
import re
from functools import partial

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.mail._cred import CramMD5ClientAuthenticator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import failure, talk
from twistsmtp.sasl import cram_md5
from twistsmtp.sasl.api import Malformed
from twistsmtp.sasl.cram_md5 import CramMD5Response


class CramMD5Tests(SynchronousTestCase):
    def test_the_example_of_rfc_2195(self) -> None:
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        self.patch(cram_md5, "_challenge", lambda hostname: challenge)
        done = talk("CRAM-MD5", [b"tim b913a602c7eda7a495b4e6e7334d3890"])
        self.assertEqual((done.challenges, done.identity, done.error), ([challenge], ("tim", None), None))
        verifyObject(IUsernameHashedPassword, done.credentials)
        for password in (b"tanstaaftanstaaf", "tanstaaftanstaaf"):
            self.assertTrue(done.credentials.checkPassword(password))
        for password in (b"tanstaaftanstaa", b"", "", "\u20ac"):
            self.assertFalse(done.credentials.checkPassword(password))

    def test_a_challenge_is_never_the_same_and_has_our_name(self) -> None:
        challenges = {talk("CRAM-MD5", [b"tim " + b"0" * 32]).challenges[0] for _ in range(100)}
        self.assertEqual(len(challenges), 100)
        for challenge in challenges:
            self.assertTrue(re.fullmatch(rb"<\d+\.\d+@mx\.test>", challenge), challenge)

    def test_twisteds_client_and_twisteds_checker(self) -> None:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(b"tim", b"secret")
        client = CramMD5ClientAuthenticator(b"tim")
        for password, right in ((b"secret", True), (b"Secret", False)):
            done = talk("CRAM-MD5", partial(client.challengeResponse, password))
            checked = checker.requestAvatarId(done.credentials)
            if right:
                self.assertEqual(self.successResultOf(checked), b"tim")
            else:
                self.failureResultOf(checked)

    def test_a_name_may_have_spaces_and_a_password_any_octets(self) -> None:
        password = bytes(range(256))

        def client(challenge: bytes) -> bytes:
            return b"tim the boss " + hmac.new(password, challenge, "md5").hexdigest().encode()

        done = talk("CRAM-MD5", client)
        self.assertEqual(done.identity, ("tim the boss", None))
        self.assertTrue(done.credentials.checkPassword(password))

    def test_what_is_malformed(self) -> None:
        digest = b"b913a602c7eda7a495b4e6e7334d3890"
        for response in (
            b"",
            b"tim",
            digest,
            b" " + digest,
            b"tim " + digest[:-1],
            b"tim " + digest + b"0",
            b"tim " + digest + b"\n",
            b"tim " + digest.upper(),
            b"tim\n " + digest,
            b"t\xffm " + digest,
            b"t\0m " + digest,
            b"a" * 1025 + b" " + digest,
        ):
            self.assertIs(failure("CRAM-MD5", response), Malformed, response[:60])

    def test_nothing_that_helps_to_guess_is_shown(self) -> None:
        self.assertEqual(repr(CramMD5Response(b"tim", b"<challenge>", b"digest")), "CramMD5Response(username=b'tim')")
