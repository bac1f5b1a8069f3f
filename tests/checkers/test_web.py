"""Requests to web servers."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import NOT_DONE_YET, Site

from tests.checkers.kit import Scripted, WebCase, need
from twistsmtp.checkers import web
from twistsmtp.checkers.errors import Unavailable
from twistsmtp.checkers.web import Answer, Web, basic
from twistsmtp.web import checked_url, place


class URLTests(SynchronousTestCase):
    def test_good(self) -> None:
        for url in (
            "https://a.example/x?y=z",
            "https://a.example:8443",
            "http://localhost:1/",
            "http://127.0.0.1/x",
            "http://[::1]:8/x",
        ):
            self.assertEqual(url, checked_url(url))
        self.assertEqual("http://a.example/", checked_url("http://a.example/", insecure=True))

    def test_bad(self) -> None:
        """What is no URL to send secrets to, and the error does not show it."""
        for url in (
            "",
            "a.example/x",
            "ftp://a.example/",
            "https://ada:hunter2@a.example/",
            "https:///x",
            "https://a.example:port/",
            "https://[::1/",
            "https://a.example/\r\nx",
            "https://a.example/ x",
            "https://é.example/",
        ):
            self.assertNotIn("hunter2", str(self.assertRaises(ValueError, checked_url, url, insecure=True)), url)
        for url in ("http://a.example/", "http://127.0.0.1.example/"):
            self.assertIn("insecure=yes", str(self.assertRaises(ValueError, checked_url, url)))

    def test_place(self) -> None:
        self.assertEqual("https://a.example:1/b", place("https://a.example:1/b?key=hunter2#x"))

    def test_basic(self) -> None:
        """RFC 7617 section 2."""
        self.assertEqual({"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, basic(b"Aladdin", b"open sesame"))


class RequestTests(WebCase):
    async def unavailable(self, *args: Any, **kwargs: Any) -> str:
        with self.assertRaises(Unavailable) as caught:
            await self.web.request(*args, **kwargs)
        return str(caught.exception)

    async def test_answer(self) -> None:
        url, page = self.serve(lambda request: b"x" * 1000)
        answer = await self.web.request("GET", url + "?a=b", headers={"X-One": "1"})
        self.assertEqual(Answer(200, b"x" * 1000), answer)
        [request] = page.requests
        self.assertEqual(
            (b"GET", b"/check?a=b", "1", "twistsmtp"),
            (request.method, request.uri, request.getHeader("X-One"), request.getHeader("User-Agent")),
        )
        self.assertNotIn("xxx", repr(answer))

    async def test_form(self) -> None:
        url, page = self.serve(lambda request: b"")
        await self.web.request("POST", url, form={"token": "a&b=é"})
        self.assertEqual({b"token": ["a&b=é".encode()]}, page.requests[0].args)

    async def test_redirect(self) -> None:
        """It is an answer: secrets go where they were meant to go, and nowhere else."""

        def answer(request: Any) -> bytes:
            request.redirect(b"/elsewhere")
            return b""

        url, page = self.serve(answer)
        self.assertEqual(302, (await self.web.request("GET", url)).code)
        self.assertEqual(1, len(page.requests))

    async def test_cookies(self) -> None:
        """What a server remembers one user by is not sent with the next request."""

        def answer(request: Any) -> bytes:
            request.addCookie("session", "ada")
            return b""

        url, page = self.serve(answer)
        for _ in range(2):
            await self.web.request("GET", url)
        self.assertEqual([None, None], [request.getHeader("cookie") for request in page.requests])

    async def test_too_long(self) -> None:
        self.patch(web, "BODY_LIMIT", 1000)
        url, _ = self.serve(lambda request: b"x" * 1001)
        self.assertEqual(f"{url}: the answer is too long", await self.unavailable("GET", url + "?key=hunter2"))

    async def test_timeout(self) -> None:
        """No answer, and an answer that does not end."""
        self.web = Web(timeout=0.05)
        self.addCleanup(self.web.close)

        def begin(request: Any) -> int:
            request.write(b"x")
            return NOT_DONE_YET

        for answer in (lambda request: NOT_DONE_YET, begin):
            url, _ = self.serve(answer)
            self.assertEqual(f"{url}: no answer in 0.05 s", await self.unavailable("GET", url))

    async def test_nobody(self) -> None:
        port: Any = reactor
        port = port.listenTCP(0, Factory(), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await port.stopListening()
        self.assertEqual(f"{url}: ConnectionRefusedError", await self.unavailable("GET", url))

    async def test_broken_off(self) -> None:
        """An answer that ends too early, and what is no answer."""
        for answer, reason in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhunter2", ": ConnectionDone"),
            (b"hunter2\r\n\r\n", ": ParseError"),
        ):

            class Rude(Protocol):
                said = answer

                def dataReceived(self, data: bytes) -> None:
                    if self.transport:
                        self.transport.write(self.said)
                        self.transport.loseConnection()

            listening: Any = reactor
            port = listening.listenTCP(0, Factory.forProtocol(Rude), interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            text = await self.unavailable("GET", f"http://127.0.0.1:{port.getHost().port}/")
            self.assertTrue(text.endswith(reason), text)
            self.assertNotIn("hunter2", text)

    async def test_cancel(self) -> None:
        asked: Deferred[None] = Deferred()

        def answer(request: Any) -> int:
            gone = request.notifyFinish()
            gone.addBoth(lambda _: asked.callback(None))
            request.write(b"x")
            deferred.cancel()
            return NOT_DONE_YET

        url, _ = self.serve(answer)
        deferred = self.web.request("GET", url)
        with self.assertRaises(CancelledError):
            await deferred
        await asked


class TLSTests(TestCase):
    """https is verified."""

    def setUp(self) -> None:
        need("treq", "trustme")
        import trustme
        from twisted.internet.ssl import PrivateCertificate

        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        pem = issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes()
        self.ca = Path(self.mktemp())
        self.ca.write_bytes(authority.cert_pem.bytes())
        self.page = Scripted(lambda request: b"")
        listening: Any = reactor
        port = listening.listenSSL(0, Site(self.page), PrivateCertificate.loadPEM(pem).options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def request(self, host: str, **options: Any) -> Deferred[Answer]:
        asks = Web(timeout=30, **options)
        self.addCleanup(asks.close)
        return asks.request("GET", f"https://{host}:{self.port}/")

    async def test_trusted(self) -> None:
        self.assertEqual(200, (await self.request("localhost", ca=str(self.ca))).code)

    async def test_not_trusted(self) -> None:
        """An authority that the system does not know, and a name that the certificate has not."""
        for host, options in (("localhost", {}), ("127.0.0.1", {"ca": str(self.ca)})):
            with self.assertRaises(Unavailable):
                await self.request(host, **options)
        self.assertEqual([], self.page.requests)

    def test_bad_ca(self) -> None:
        empty = Path(self.mktemp())
        for content in (b"", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
            empty.write_bytes(content)
            self.assertRaises(ValueError, Web, ca=str(empty))
        self.assertRaises(FileNotFoundError, Web, ca="/no/such/file")
