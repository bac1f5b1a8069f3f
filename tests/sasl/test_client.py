"""Our clients of SASL against our mechanisms, and against servers that lie."""

import secrets
from base64 import b64decode, b64encode
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.scram_client import scram_keys
from twistsmtp.sasl.api import Challenge, Context, Login, Lookup
from twistsmtp.sasl.client import MECHANISMS, choose
from twistsmtp.sasl.client_api import NAMES, ClientContext, Credentials, Failed
from twistsmtp.sasl.prep import saslprep
from twistsmtp.sasl.scram import SHA_1, SHA_1_PLUS, SHA_256, SHA_256_PLUS

ADA = Credentials(username="ada", password="geheim")
TOKEN = Credentials(username="ada", token="abc")
SAFE = ClientContext(verified=True)
BOUND = ClientContext(verified=True, binding={"tls-exporter": b"octets"}.get)
SERVERS = {each.name: each for each in (SHA_1, SHA_1_PLUS, SHA_256, SHA_256_PLUS)}


def client(name: str, credentials: Credentials = ADA, context: ClientContext = SAFE) -> Any:
    [mechanism] = [each for each in MECHANISMS if each.name == name]
    return mechanism.start(credentials, context)


def exchange(name: str, credentials: Credentials, context: ClientContext, password: str) -> list[Any]:
    """Have both sides of SCRAM speak to each other.

    :param password: the one that the server has the keys of.
    :returns: the server's logins.
    """
    ours = client(name, credentials, context)
    theirs = SERVERS[name].start(Context(hostname="mx.test", binding=context.binding))
    logins: list[Any] = []
    digest = "sha-256" if "256" in name else "sha-1"
    keys = scram_keys(password, b"salt", 4096, digest)
    step: Any = next(theirs)
    response = next(ours)
    try:
        while True:
            match step:
                case Challenge():
                    if step.octets:
                        response = ours.send(step.octets)
                    step = theirs.send(response)
                case Lookup():
                    step = theirs.send(keys)
                case Login():
                    logins.append(step)
                    proved = step.credentials.proves(keys)  # type: ignore[attr-defined]  # of SCRAM they can
                    if not proved:
                        return []
                    step = theirs.send(None)
    except StopIteration:
        pass
    try:
        ours.send(None)
    except StopIteration:
        return logins
    raise AssertionError("the client has more to say")


class ScramTests(SynchronousTestCase):
    def test_each(self) -> None:
        for name in SERVERS:
            [login] = exchange(name, ADA, BOUND if "PLUS" in name else SAFE, "geheim")
            self.assertEqual((login.identity, login.authentication), ("ada", None))
            self.assertEqual(exchange(name, ADA, BOUND if "PLUS" in name else SAFE, "other"), [])

    @given(
        st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20),
        st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20),
    )
    def test_any_name_and_password(self, username: str, password: str) -> None:
        try:
            prepared, known = saslprep(username), saslprep(password)
        except ValueError:
            return
        if not (prepared and known):
            return
        credentials = Credentials(username=username, password=password)
        [login] = exchange("SCRAM-SHA-1", credentials, SAFE, known)
        self.assertEqual(login.identity, prepared)

    def test_for_somebody_else(self) -> None:
        credentials = Credentials(username="ada", password="geheim", authorization="a,b=c")
        [login] = exchange("SCRAM-SHA-256", credentials, SAFE, "geheim")
        self.assertEqual((login.identity, login.authentication), ("a,b=c", "ada"))

    def test_the_flag(self) -> None:
        """RFC 5802 section 6: "y" where we could bind, and the server does not offer it."""
        for offered, context, flag in (
            (("SCRAM-SHA-256",), BOUND, b"y,,"),
            (("SCRAM-SHA-256",), SAFE, b"n,,"),
            (("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"), BOUND, b"n,,"),
        ):
            offering = ClientContext(verified=True, binding=context.binding, offered=offered)
            self.assertTrue(next(client("SCRAM-SHA-256", context=offering)).startswith(flag + b"n=ada,r="))
        self.assertTrue(next(client("SCRAM-SHA-256-PLUS", context=BOUND)).startswith(b"p=tls-exporter,,"))

    def test_servers_that_lie(self) -> None:
        salt = b64encode(b"salt").decode()
        for first in (
            "",
            "e=other-error",
            f"s={salt},r={{nonce}}x,i=4096",
            f"r={{nonce}},s={salt},i=4096",
            f"r=x{{nonce}},s={salt},i=4096",
            f"r={{nonce}}x,s={salt},i=4095",
            f"r={{nonce}}x,s={salt},i=2000001",
            f"r={{nonce}}x,s={salt},i=99999999999",
            f"r={{nonce}}x,s={salt},i=0",
            f"r={{nonce}}x,s={salt},i=-1",
            "r={nonce}x,s=A,i=4096",
            f"m=x,r={{nonce}}x,s={salt},i=4096",
        ):
            ours = client("SCRAM-SHA-256")
            nonce = next(ours).decode().split("r=")[1]
            self.assertRaises(Failed, ours.send, first.format(nonce=nonce).encode())

    def test_a_server_that_does_not_know_us(self) -> None:
        for final in (b"", b"e=invalid-proof", b"v=", b"v=AAAA", b"v=" + b64encode(b"x" * 32), b"v=A"):
            ours = client("SCRAM-SHA-256")
            nonce = next(ours).decode().split("r=")[1]
            ours.send(f"r={nonce}x,s=c2FsdA==,i=4096".encode())
            self.assertRaises(Failed, ours.send, final)

    def test_let_in_too_early(self) -> None:
        ours = client("SCRAM-SHA-1")
        nonce = next(ours).decode().split("r=")[1]
        ours.send(f"r={nonce}x,s=c2FsdA==,i=4096".encode())
        self.assertRaises(Failed, ours.send, None)

    def test_the_rfc_s_example(self) -> None:
        """RFC 5802 section 5, with its nonce."""
        self.patch(secrets, "token_urlsafe", lambda size: "fyko+d2lbbFgONRv9qkxdawL")
        ours = client("SCRAM-SHA-1", Credentials(username="user", password="pencil"))
        self.assertEqual(next(ours), b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL")
        final = ours.send(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
        self.assertEqual(final, b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
        self.assertEqual(ours.send(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), b"")


class OtherTests(SynchronousTestCase):
    def test_messages(self) -> None:
        acting = Credentials(username="ada", password="geheim", authorization="bob")
        place = ClientContext(verified=True, host="mx.test", port=587)
        for name, credentials, context, said in (
            ("PLAIN", ADA, SAFE, [b"\0ada\0geheim"]),
            ("PLAIN", acting, SAFE, [b"bob\0ada\0geheim"]),
            ("LOGIN", ADA, SAFE, [None, b"ada", b"geheim"]),
            ("XOAUTH2", TOKEN, SAFE, [b"user=ada\x01auth=Bearer abc\x01\x01", b""]),
            ("OAUTHBEARER", TOKEN, SAFE, [b"n,a=ada,\x01auth=Bearer abc\x01\x01", b"\x01"]),
            (
                "OAUTHBEARER",
                Credentials(token="abc"),
                place,
                [b"n,,\x01host=mx.test\x01port=587\x01auth=Bearer abc\x01\x01"],
            ),
            ("EXTERNAL", Credentials(), SAFE, [b""]),
            ("EXTERNAL", Credentials(username="ada"), SAFE, [b"ada"]),
        ):
            ours = client(name, credentials, context)
            sent = [next(ours)] + [ours.send(b"a challenge") for _ in said[1:]]
            self.assertEqual(sent, said)
            self.assertRaises(StopIteration, ours.send, None)

    def test_cram_md5(self) -> None:
        """RFC 2195 section 2."""
        ours = client("CRAM-MD5", Credentials(username="tim", password="tanstaaftanstaaf"))
        self.assertIsNone(next(ours))
        challenge = b64decode("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+")
        self.assertEqual(ours.send(challenge), b"tim b913a602c7eda7a495b4e6e7334d3890")


class ChoiceTests(SynchronousTestCase):
    def names(self, credentials: Credentials = ADA, context: ClientContext = SAFE, *offered: str) -> list[str]:
        return [each.name for each in choose(offered or NAMES, credentials, context)]

    def test_the_strongest_first(self) -> None:
        scrams = ["SCRAM-SHA-256", "SCRAM-SHA-1"]
        self.assertEqual(self.names(), [*scrams, "CRAM-MD5", "PLAIN", "LOGIN"])
        bound = [f"{each}-PLUS" for each in scrams]
        self.assertEqual(self.names(ADA, BOUND), [*bound, *scrams, "CRAM-MD5", "PLAIN", "LOGIN"])
        self.assertEqual(self.names(TOKEN), ["OAUTHBEARER", "XOAUTH2"])
        self.assertEqual(self.names(Credentials(token="abc")), ["OAUTHBEARER"])

    def test_what_is_offered(self) -> None:
        self.assertEqual(self.names(ADA, SAFE, "login", "PLAIN", "NTLM", "GSSAPI"), ["PLAIN", "LOGIN"])
        self.assertEqual(self.names(ADA, SAFE, "NTLM"), [])

    def test_where_others_could_listen(self) -> None:
        open_ = ClientContext()
        self.assertEqual(self.names(ADA, open_), ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"])
        self.assertEqual(self.names(TOKEN, open_), [])
        asked = Credentials(username="ada", password="geheim", plaintext=True)
        self.assertEqual(self.names(asked, open_, "PLAIN"), ["PLAIN"])

    def test_ones_own_order(self) -> None:
        wanted = Credentials(username="ada", password="geheim", mechanisms=("plain", "SCRAM-SHA-1"))
        self.assertEqual(self.names(wanted), ["PLAIN", "SCRAM-SHA-1"])
        self.assertEqual(self.names(wanted, ClientContext()), ["SCRAM-SHA-1"])

    def test_a_certificate(self) -> None:
        ours = ClientContext(verified=True, certificate=True)
        self.assertEqual(self.names(Credentials(), ours), ["EXTERNAL"])
        self.assertEqual(self.names(Credentials(), SAFE), [])
        self.assertNotIn("EXTERNAL", self.names(ADA, ours))

    def test_who_has_room_for_another(self) -> None:
        acting = Credentials(username="ada", password="geheim", authorization="bob")
        self.assertEqual(self.names(acting), ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])


class CredentialsTests(SynchronousTestCase):
    def test_no_sense(self) -> None:
        for settings in (
            {"username": "a", "password": "b", "token": "c"},
            {"password": "b"},
            {"username": "a\0", "password": "b"},
            {"username": "a", "password": "b\0c"},
            {"username": "a", "password": "b\nc"},
            {"username": "a", "password": "\ud800"},
            {"token": "a\x01b"},
            {"token": "ä"},
            {"token": "a b"},
            {"username": "a", "mechanisms": ("NTLM",)},
        ):
            with self.assertRaises(ValueError) as caught:
                Credentials(**settings)
            self.assertNotIn("b\nc", str(caught.exception))

    def test_nothing_is_shown(self) -> None:
        self.assertNotIn("geheim", repr(ADA))
        self.assertNotIn("abc", repr(TOKEN))
        self.assertIn("ada", repr(ADA))
