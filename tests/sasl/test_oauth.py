"""OAUTHBEARER and XOAUTH2: the examples of RFC 7628 and of those who made the other."""

import json
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.sasl.kit import Talk, failure, talk
from twistsmtp.sasl.api import Denied, Malformed
from twistsmtp.sasl.credentials import BearerToken, IBearerToken

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
HEAD = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"


def bearer(token: bytes) -> bytes:
    """A response with *token*."""
    return HEAD + b"auth=Bearer " + token + b"\x01\x01"


class OAuthBearerTests(SynchronousTestCase):
    def denied(self, message: bytes, response: bytes = b"\x01") -> Talk:
        done = talk("OAUTHBEARER", [message, response], check=lambda credentials: False)
        self.assertIsInstance(done.error, Denied)
        return done

    def test_the_example_of_rfc_7628_section_4_1(self) -> None:
        # That for IMAP, and that for SMTP.
        for port in ("MTQz", "NTg3"):
            encoded = (
                f"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9{port}AWF1dGg9QmVhcmVyI"
                "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
            )
            done = talk("OAUTHBEARER", [b64decode(encoded)])
            self.assertEqual((done.challenges, done.error), ([b""], None))
            self.assertEqual(done.identity, ("user@example.com", None))
            verifyObject(IBearerToken, done.credentials)
            self.assertEqual(done.credentials.username, "user@example.com")
            self.assertEqual(done.credentials.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")

    def test_the_example_of_rfc_7628_section_4_3(self) -> None:
        """A client that asks what it needs, by a header that is empty."""
        encoded = "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE="
        done = self.denied(b64decode(encoded), b64decode("AQ=="))
        self.assertEqual(json.loads(done.challenges[1]), {"status": "invalid_token", "schemes": "bearer"})
        self.assertEqual(done.logins, [])

    def test_the_example_of_rfc_7628_section_4_4_is_no_gs2_header(self) -> None:
        encoded = (
            "bix1c2VyPXNvbWV1c2VyQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB2RjlkZnQ0cW1UYzJOdmIzUmxja0JoZEhSaGRtbHpkR0V1"
            "WTI5dENnPT0BAQ=="
        )
        self.assertIs(failure("OAUTHBEARER", b64decode(encoded)), Malformed)

    def test_a_token_that_is_not_right(self) -> None:
        for response in (b"\x01", b"", b"anything"):
            done = self.denied(bearer(TOKEN.encode()), response)
            self.assertEqual(json.loads(done.challenges[1]), {"status": "invalid_token", "schemes": "bearer"})
            self.assertEqual(len(done.logins), 1)

    def test_what_is_no_bearer_token(self) -> None:
        for auth in (b"Basic dTpw", b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer =", b'Bearer "a"', b"Bearer a\r\nb"):
            done = self.denied(HEAD + b"auth=" + auth + b"\x01\x01")
            self.assertEqual(json.loads(done.challenges[1])["status"], "invalid_request", auth)
            self.assertEqual(done.logins, [])

    def test_a_key_that_is_missing(self) -> None:
        self.assertEqual(self.denied(HEAD + b"\x01").logins, [])

    def test_who_it_is_may_be_left_to_the_token(self) -> None:
        done = talk("OAUTHBEARER", [b"n,,\x01auth=bEaReR  a.b-c_d~e+f/g=\x01\x01"])
        self.assertEqual((done.identity, done.credentials.username), ((None, None), None))
        self.assertEqual(done.credentials.token, "a.b-c_d~e+f/g=")

    def test_names(self) -> None:
        done = talk("OAUTHBEARER", ["y,a=\u20ac=2C=3D2C,\x01auth=Bearer a\x01\x01".encode()])
        self.assertEqual(done.identity, ("\u20ac,=2C", None))

    def test_other_keys_are_ignored(self) -> None:
        done = talk("OAUTHBEARER", [b"n,,\x01mthd=POST\x01x=\x01auth=Bearer a\x01post=a=b\t\r\n\x01\x01"])
        self.assertEqual(done.credentials.token, "a")

    def test_as_long_as_can_be(self) -> None:
        self.assertEqual(talk("OAUTHBEARER", [bearer(b"a" * 8192)]).credentials.token, "a" * 8192)

    def test_what_is_malformed(self) -> None:
        for message in (
            b"",
            b"\x01",
            b"n,,",
            b"n,,\x01",
            b"n,\x01\x01",
            b",,\x01auth=Bearer a\x01\x01",
            b"p=tls-exporter,,\x01auth=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer a",
            b"n,,\x01auth=Bearer a\x01",
            b"n,,\x01auth=Bearer a\x01\x01\x01",
            b"n,,\x01auth=Bearer a\x01\x01x",
            b"n,,\x01\x01auth=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            b"n,,\x01=x\x01auth=Bearer a\x01\x01",
            b"n,,\x01a1=x\x01auth=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer a\0\x01\x01",
            b"n,,\x01auth=Bearer \xe2\x82\xac\x01\x01",
            b"n,a=,\x01auth=Bearer a\x01\x01",
            b"n,a=x=y,\x01auth=Bearer a\x01\x01",
            b"n,a=\xff,\x01auth=Bearer a\x01\x01",
            b"n,a=a\nb,\x01auth=Bearer a\x01\x01",
            b"n,a=" + b"a" * 1025 + b",\x01auth=Bearer a\x01\x01",
            bearer(b"a" * 8193),
            HEAD + b"x=" + b"y" * 16384 + b"\x01auth=Bearer a\x01\x01",
        ):
            self.assertIs(failure("OAUTHBEARER", message), Malformed, message[:60])

    def test_the_token_is_not_shown(self) -> None:
        self.assertEqual(repr(BearerToken(TOKEN, "user")), "BearerToken(username='user')")


class XOAuth2Tests(SynchronousTestCase):
    def test_googles_example(self) -> None:
        encoded = (
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0"
            "Q2cBAQ=="
        )
        done = talk("XOAUTH2", [b64decode(encoded)])
        self.assertEqual((done.challenges, done.error), ([b""], None))
        self.assertEqual(done.identity, ("someuser@example.com", None))
        self.assertEqual(done.credentials.username, "someuser@example.com")
        self.assertEqual(done.credentials.token, "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")

    def test_a_token_that_is_not_right(self) -> None:
        message = b"user=tim@example.com\x01auth=Bearer a\x01\x01"
        done = talk("XOAUTH2", [message, b""], check=lambda credentials: False)
        self.assertIsInstance(done.error, Denied)
        self.assertEqual(json.loads(done.challenges[1]), {"status": "401", "schemes": "bearer"})

    def test_what_is_no_bearer_token(self) -> None:
        for auth, status in ((b"", "401"), (b"Basic x", "400")):
            done = talk("XOAUTH2", [b"user=tim\x01auth=" + auth + b"\x01\x01", b""])
            self.assertIsInstance(done.error, Denied)
            self.assertEqual((json.loads(done.challenges[1])["status"], done.logins), (status, []))

    def test_an_international_address(self) -> None:
        done = talk("XOAUTH2", ["user=t\xefm@example.com\x01auth=Bearer a\x01\x01".encode()])
        self.assertEqual(done.identity, ("t\xefm@example.com", None))

    def test_what_is_malformed(self) -> None:
        for message in (
            b"",
            b"\x01\x01",
            b"auth=Bearer a\x01\x01",
            b"user=\x01auth=Bearer a\x01\x01",
            b"user=\xff\x01auth=Bearer a\x01\x01",
            b"user=a\nb\x01auth=Bearer a\x01\x01",
            b"user=tim\x01auth=Bearer a\x01",
            b"user=tim\x01user=tim\x01auth=Bearer a\x01\x01",
            b"user=" + b"a" * 1025 + b"\x01auth=Bearer a\x01\x01",
            b"user=tim\x01auth=Bearer " + b"a" * 8193 + b"\x01\x01",
            b"user=tim\x01x=" + b"a" * 16384 + b"\x01auth=Bearer a\x01\x01",
        ):
            self.assertIs(failure("XOAUTH2", message), Malformed, message[:60])
