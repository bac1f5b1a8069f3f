"""Logins by a web server."""

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.internet.tcp import Client
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from tests.checkers.kit import Log, WebCase, need, refused
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.http import HTTPChecker
from twistsmtp.checkers.web import Answer, Web


class AnswerTests(WebCase):
    """With a real server."""

    def check(self, answer: Any, name: str = "ada", password: str = "hunter2") -> Deferred[Any]:
        self.url, self.page = self.serve(answer)
        checker = HTTPChecker(self.url + "?key=hunter3", self.web)
        verifyObject(ICredentialsChecker, checker)
        return checker.requestAvatarId(UsernamePassword(name.encode(), password.encode()))

    def code(self, code: int) -> Any:
        def answer(request: Any) -> bytes:
            request.setResponseCode(code)
            return b""

        return answer

    async def test_yes(self) -> None:
        for code in (200, 204, 299):
            self.assertEqual(b"ada", await self.check(self.code(code)))
        [request] = self.page.requests
        self.assertEqual((b"GET", b"ada", b"hunter2"), (request.method, request.getUser(), request.getPassword()))

    async def test_stopped(self) -> None:
        """The connection that was kept is closed; and it may be asked again."""
        from twisted.internet import reactor

        self.url, _ = self.serve(self.code(200))
        checker = HTTPChecker(self.url, self.web)
        for _ in range(2):
            await checker.requestAvatarId(UsernamePassword(b"ada", b"hunter2"))
            [kept] = [each for each in reactor.getReaders() if isinstance(each, Client)]
            await checker.stop()
            self.assertNotIn(kept, reactor.getReaders())

    async def test_not_ascii(self) -> None:
        self.assertEqual("amélie".encode(), await self.check(self.code(200), "amélie", "pässwörd:x"))
        [request] = self.page.requests
        self.assertEqual(("amélie".encode(), "pässwörd:x".encode()), (request.getUser(), request.getPassword()))

    async def test_no(self) -> None:
        for code in (401, 403):
            await refused(self.check(self.code(code)))

    async def test_anything_else(self) -> None:
        """It says nothing about the credentials, and the error says nothing of them."""
        log = Log(self)
        for code in (301, 302, 400, 404, 429, 500, 503):
            with self.assertRaises(Unavailable) as caught:
                await self.check(self.code(code))
            self.assertEqual(f"{self.url} answered {code}", str(caught.exception))
        self.web = Web(timeout=0.05)
        self.addCleanup(self.web.close)
        with self.assertRaises(Unavailable) as caught:
            await self.check(lambda request: NOT_DONE_YET)
        for text in (str(caught.exception), str(log), repr(caught.exception.__context__)):
            self.assertNotIn("hunter", text)
            self.assertNotIn("YWRhOmh1bnRlcjI", text)


class Recording:
    """Says yes."""

    def __init__(self) -> None:
        self.asked = 0

    def request(self, *args: Any, **kwargs: Any) -> Deferred[Answer]:
        self.asked += 1
        return succeed(Answer(200, b""))


class NameTests(SynchronousTestCase):
    def test_not_sent(self) -> None:
        """What HTTP cannot carry is refused, and nobody is asked: another name would be meant."""
        web: Any = Recording()
        checker = HTTPChecker("https://a.example/", web)
        for name, password in (
            (b"ada:admin", b"x"),
            (b"", b"x"),
            (b"ada", b""),
            (b"ada\n", b"x"),
            (b"ada", b"x\0"),
            (b"\xff", b"x"),
            ("a\x85".encode(), b"x"),
            (b"a" * 1025, b"x"),
        ):
            self.failureResultOf(checker.requestAvatarId(UsernamePassword(name, password)))
        self.assertEqual(0, web.asked)
        self.assertEqual(b"ada", self.successResultOf(checker.requestAvatarId(UsernamePassword(b"ada", b":"))))


class OptionsTests(SynchronousTestCase):
    def test_options(self) -> None:
        need("treq")
        HTTPChecker.from_options("http://a.example/", insecure="yes", timeout="0.5")
        for options in ({"insecure": "maybe"}, {"timeout": "0"}, {}):
            self.assertRaises(ValueError, HTTPChecker.from_options, "http://a.example/", **options)
