"""Logins by tokens."""

import json
import os
import time
from pathlib import Path
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from tests.checkers.kit import Log, WebCase, need, refused
from tests.checkers.test_keyset import EC, OTHER, entry, signed
from twistsmtp.checkers import oauth
from twistsmtp.checkers.claims import Rules
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.oauth import Introspection, OAuthChecker
from twistsmtp.checkers.web import Web
from twistsmtp.sasl.credentials import BearerToken

TOKEN = "hunter2.hunter2.hunter2"
ISSUER = "https://id.example.org"
MAIL = "ada@example.org"


class Source:
    """Vouches for any token."""

    def __init__(self, claims: Any) -> None:
        self.answer = claims
        self.asked = 0

    def claims(self, token: str) -> Deferred[Any]:
        self.asked += 1
        return succeed(self.answer)


class CheckerTests(SynchronousTestCase):
    def ask(self, credentials: BearerToken, **claims: Any) -> Deferred[Any]:
        self.source = Source({"email": MAIL, "exp": 1000, **claims})
        checker = OAuthChecker(self.source, Rules(), lambda: 999.0)
        verifyObject(ICredentialsChecker, checker)
        return checker.requestAvatarId(credentials)

    def test_accepts(self) -> None:
        """With the right name, or with none, and the owner is left in the credentials."""
        for name in (MAIL, None, "a\u00adda@example.org"):
            credentials = BearerToken(TOKEN, name)
            self.assertEqual(MAIL.encode(), self.successResultOf(self.ask(credentials)))
            self.assertEqual(MAIL, credentials.username)

    def test_another(self) -> None:
        """A token of one user is no token of another, and why is logged without it."""
        log = Log(self)
        for name in ("bob@example.org", "Ada@example.org", "ada", ""):
            credentials = BearerToken(TOKEN, name)
            self.failureResultOf(self.ask(credentials), UnauthorizedLogin)
            self.assertEqual(name, credentials.username)
        self.assertIn("a token is refused: it is not of the user that the client says", str(log))
        self.assertNotIn("hunter2", str(log))

    def test_rules(self) -> None:
        """Rules are kept, and the reason is in the log and not in the error."""
        log = Log(self)
        failure = self.failureResultOf(self.ask(BearerToken(TOKEN, MAIL), exp=1), UnauthorizedLogin)
        self.assertEqual(("", True), (str(failure.value), failure.value.__suppress_context__))
        self.assertIn("a token is refused: it has expired", str(log))

    def test_no_token(self) -> None:
        """What cannot be a token is asked about nowhere."""
        for token in ("", "a\nb", "é", "x" * 20_000):
            self.failureResultOf(self.ask(BearerToken(token, None)), UnauthorizedLogin)
            self.assertEqual(0, self.source.asked)


class IntrospectionTests(WebCase):
    """An issuer's server is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)

    def check(self, answer: Any, name: str | None = None) -> Deferred[Any]:
        """What comes of an answer: text, claims, or a function."""

        def render(request: Any) -> Any:
            if callable(answer):
                return answer(request)
            request.setHeader("Content-Type", "application/json")
            return (answer if isinstance(answer, str) else json.dumps(answer)).encode()

        self.url, self.page = self.serve(render)
        source = Introspection(self.web, self.url, "smtp server", "s3cret:?")
        return OAuthChecker(source, Rules(expires=False)).requestAvatarId(BearerToken(TOKEN, name))

    async def test_accepts(self) -> None:
        self.assertEqual(MAIL.encode(), await self.check({"active": True, "email": MAIL}))
        [request] = self.page.requests
        self.assertEqual(b"POST", request.method)
        self.assertEqual({b"token": [TOKEN.encode()], b"token_type_hint": [b"access_token"]}, request.args)
        self.assertEqual((b"smtp+server", b"s3cret%3A%3F"), (request.getUser(), request.getPassword()))

    async def test_refuses(self) -> None:
        for answer in (
            {"active": False},
            {"active": "true", "email": MAIL},
            {"email": MAIL},
            {"active": True},
            {"active": True, "email": MAIL, "exp": 1},
        ):
            await refused(self.check(answer))
        await refused(self.check({"active": True, "email": MAIL}, "bob@example.org"))

    async def test_unavailable(self) -> None:
        """What is no answer about the token: the client may come again."""

        def denied(request: Any) -> bytes:
            request.setResponseCode(401)  # it is us who have no access
            return b"hunter2"

        self.web = Web(timeout=0.05)
        self.addCleanup(self.web.close)
        for answer in (denied, "hunter2", "[]", "null", "[" * 100_000, lambda request: NOT_DONE_YET):
            with self.assertRaises(Unavailable) as caught:
                await self.check(answer)
            self.assertIn(self.url, str(caught.exception))
            for text in (str(caught.exception), str(self.log), repr(caught.exception.__cause__)):
                self.assertNotIn("hunter2", text)
                self.assertNotIn("s3cret", text)


class OptionsTests(WebCase):
    """As the command line has it."""

    def setUp(self) -> None:
        super().setUp()
        need("jwt")
        self.log = Log(self)
        self.patch(oauth, "Web", self.make_web)

    def make_web(self, **options: Any) -> Web:
        """One that is closed at the end."""
        made = Web(**options)
        self.addCleanup(made.close)
        return made

    def file(self, content: Any) -> str:
        path = Path(self.mktemp())
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def token(self, key: Any = EC, **claims: Any) -> str:
        now = time.time()
        return signed(
            key, "ES256", "e", **{"iss": ISSUER, "aud": "smtp", "exp": now + 3600, "nbf": now, "email": MAIL, **claims}
        )

    async def check(self, token: str, **options: str) -> Any:
        options = {"issuer": ISSUER, "audience": "other,smtp", **options}
        return await OAuthChecker.from_options(**options).requestAvatarId(BearerToken(token, None))

    async def test_signed(self) -> None:
        """With keys in a file, and with keys at a URL."""
        keys = {"keys": [entry(EC, kid="e")]}
        url, page = self.serve(lambda request: json.dumps(keys).encode())
        for place in (self.file(keys), url):
            checker = OAuthChecker.from_options(jwks=place, issuer=ISSUER, audience="smtp")
            for _ in range(2):
                self.assertEqual(MAIL.encode(), await checker.requestAvatarId(BearerToken(self.token(), MAIL)))
            await refused(checker.requestAvatarId(BearerToken(self.token(), "bob")))
            await refused(checker.requestAvatarId(BearerToken(self.token(OTHER), None)))
        self.assertEqual(1, len(page.requests))

    async def test_in_another_folder(self) -> None:
        """A server that becomes a daemon goes to another."""
        keys = Path(self.file({"keys": [entry(EC, kid="e")]}))
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(keys.parent)
        checker = OAuthChecker.from_options(jwks=keys.name, issuer=ISSUER, audience="smtp")
        os.chdir("/")
        self.assertEqual(MAIL.encode(), await checker.requestAvatarId(BearerToken(self.token(), MAIL)))

    async def test_rules(self) -> None:
        """Each rule is there, and holds."""
        jwks = self.file({"keys": [entry(EC, kid="e")]})
        for claims in (
            {"exp": 1},
            {"exp": None},
            {"nbf": time.time() + 3600},
            {"iss": "https://other.example"},
            {"aud": "else"},
            {"email": None, "sub": MAIL},
            {"email_verified": False},
        ):
            await refused(self.check(self.token(**claims), jwks=jwks))
        await refused(self.check(self.token(scope="mail"), jwks=jwks, scope="mail,send"))
        self.assertEqual(MAIL.encode(), await self.check(self.token(scope="send mail"), jwks=jwks, scope="mail, send"))
        self.assertEqual(b"ada", await self.check(self.token(email=None), jwks=jwks, claim="email,sub"))
        self.assertNotIn(self.token().split(".")[0], str(self.log))

    async def test_introspection(self) -> None:
        url, page = self.serve(lambda request: json.dumps({"active": True, "username": "ada"}).encode())
        client = self.file("smtp:s3cret\n")
        checker = OAuthChecker.from_options(introspect=url, client=client, claim="username")
        self.assertEqual(b"ada", await checker.requestAvatarId(BearerToken(TOKEN, None)))
        self.assertEqual((b"smtp", b"s3cret"), (page.requests[0].getUser(), page.requests[0].getPassword()))

    async def test_no_server(self) -> None:
        """Keys that are not to be had: the client may come again."""

        def answer(request: Any) -> bytes:
            request.setResponseCode(404)
            return b""

        url, page = self.serve(answer)
        with self.assertRaises(Unavailable):
            await self.check(self.token(), jwks=url)
        self.assertEqual(1, len(page.requests))
        self.assertIn(f"keys of tokens cannot be fetched: {url} answered 404", str(self.log))

    def test_wrong(self) -> None:
        """What is wrong is said, and no secret is."""
        client, nobody = self.file("smtp:s3cret"), self.file("s3cret")
        keys = {"issuer": ISSUER, "audience": "smtp"}
        for options, text in (
            ({}, "either"),
            ({"introspect": "https://a.example/", "jwks": "x", "client": client}, "either"),
            ({"introspect": "https://a.example/"}, "client=FILE"),
            ({"jwks": "https://a.example/", "client": client, **keys}, "client=FILE"),
            ({"introspect": "https://a.example/", "client": nobody}, "no id:secret"),
            ({"introspect": "http://a.example/", "client": client}, "insecure=yes"),
            ({"jwks": "http://a.example/", **keys}, "insecure=yes"),
            ({"jwks": "https://a.example/", "issuer": ISSUER}, "audience="),
            ({"jwks": "https://a.example/", "audience": "smtp"}, "issuer="),
            ({"jwks": "https://a.example/", "timeout": "0", **keys}, "timeout"),
            ({"jwks": "https://a.example/", "insecure": "maybe", **keys}, "insecure"),
        ):
            error = self.assertRaises(ValueError, OAuthChecker.from_options, **options)
            self.assertIn(text, str(error))
            self.assertNotIn("s3cret", str(error))
        for options in ({"introspect": "https://a.example/", "client": "/no/file"}, {"jwks": "/no/file", **keys}):
            self.assertRaises(FileNotFoundError, OAuthChecker.from_options, **options)
