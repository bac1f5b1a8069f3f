"""Mail sent to a web server: a real one."""

import hashlib
import hmac
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import unquote

import trustme
from twisted.internet import reactor, ssl
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.delivery.kit import ANN, envelope, new_session, settled, to
from twistsmtp.delivery.api import Envelope, Refusal, Reply, ReversePath
from twistsmtp.delivery.find import make_delivery
from twistsmtp.delivery.spool import CHUNK, PIECE
from twistsmtp.delivery.webhook import Webhook, address, signature

MAIL = b"Subject: x\r\n\r\nhello\r\n"
JOE = "joe@two.example"
SECRET = b"hunter2 hunter2 hunter2"

try:
    import treq  # noqa: F401
except ImportError:
    raise SkipTest("treq is not installed") from None

Answer = Callable[[Request], Any]


class Page(Resource):
    """Answers as it is told, and keeps what it was sent."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.isLeaf = True
        self.answer = answer
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.begun: Deferred[None] = Deferred()

    def render_POST(self, request: Any) -> Any:  # noqa: N802 (Twisted's name)
        self.bodies.append(request.content.read())
        self.headers.append({k.decode(): v[0].decode() for k, v in request.requestHeaders.getAllRawHeaders()})
        if not self.begun.called:
            self.begun.callback(None)
        return self.answer(request)


def coded(code: int, body: bytes = b"") -> Answer:
    def answer(request: Request) -> bytes:
        request.setResponseCode(code)
        request.setHeader(b"Location", b"/elsewhere")
        return body

    return answer


def taken(request: Request) -> bytes:
    return b""


class WebCase(TestCase):
    def listen(self, factory: Any, context: Any = None) -> int:
        real = cast(Any, reactor)
        settings = {"interface": "127.0.0.1"}
        port = real.listenSSL(0, factory, context, **settings) if context else real.listenTCP(0, factory, **settings)
        self.addCleanup(port.stopListening)
        return cast(IPv4Address, port.getHost()).port

    def serve(self, answer: Answer = taken, context: Any = None, **settings: Any) -> Webhook:
        self.page = Page(answer)
        site = Site(self.page)
        site.log = lambda request: None  # type: ignore[method-assign]  # what a server logs of itself is not looked at
        port = self.listen(site, context)
        scheme, host = ("https", "localhost") if context else ("http", "127.0.0.1")
        return self.new(f"{scheme}://{host}:{port}/mail?key=hunter3", **settings)

    def new(self, url: str, **settings: Any) -> Webhook:
        webhook = Webhook(url, **settings)
        self.addCleanup(webhook.stop)
        return webhook

    def secret(self, octets: bytes = SECRET) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(octets + b"\n")
        return str(path)

    async def deliver(self, webhook: Webhook, *pieces: bytes, sent: Envelope | None = None) -> Any:
        sent = sent or envelope(JOE)
        session = new_session(webhook)
        session.helo = "mail.example"
        self.transaction: Any = webhook.begin(session, sent.reverse_path)
        try:
            for each in sent.recipients:
                self.transaction.rcpt(each)
            self.transaction.open(sent)
            for octets in pieces or (MAIL,):
                await settled(self.transaction.write(octets))
            return await settled(self.transaction.commit())
        except BaseException:
            self.transaction.abort()
            raise

    async def refusal(self, webhook: Webhook, *pieces: bytes) -> Reply:
        with self.assertRaises(Refusal) as caught:
            await self.deliver(webhook, *pieces)
        reply: Reply = caught.exception.reply
        return reply


class RequestTests(WebCase):
    async def test_request(self) -> None:
        webhook = self.serve()
        self.assertIsNone(await self.deliver(webhook))
        [body], [headers] = self.page.bodies, self.page.headers
        self.assertEqual(MAIL, body)
        ours = {name.lower(): value for name, value in headers.items() if name.startswith("X-")}
        self.assertEqual(
            {
                "x-envelope-id": "s.1",
                "x-envelope-from": "ann@one.example",
                "x-envelope-to": JOE,
                "x-client-address": "192.168.1.1",
                "x-client-helo": "mail.example",
            },
            ours,
        )
        self.assertEqual(("message/rfc822", str(len(MAIL))), (headers["Content-Type"], headers["Content-Length"]))

    async def test_addresses(self) -> None:
        """What is not plain is percent-encoded: no address can be two, or another field."""
        odd = ['"a,b\\"c"@two.example', "jörg@ß.example", "x%41@two.example", JOE]
        sent = Envelope("s.1", ReversePath(mailbox=None), tuple(map(to, odd)))
        webhook = self.serve()
        await self.deliver(webhook, sent=sent)
        [headers] = self.page.headers
        self.assertEqual("", headers["X-Envelope-From"])
        self.assertEqual(odd, [unquote(each) for each in headers["X-Envelope-To"].split(",")])

    async def test_login(self) -> None:
        webhook = self.serve()
        session = new_session(webhook)
        session.identity = "amélie\r\nX-Evil: 1"
        transaction: Any = webhook.begin(session, ANN)
        transaction.open(envelope(JOE))
        await transaction.commit()
        [headers] = self.page.headers
        self.assertEqual("am%C3%A9lie%0D%0AX-Evil:%201", headers["X-Client-Login"])
        self.assertNotIn("X-Evil", headers)

    async def test_large(self) -> None:
        """It is streamed from its file; and many go by one connection."""
        octets = bytes(range(256)) * (CHUNK // 256)
        webhook = self.serve()
        for pieces in ((octets, octets, b"x" * (PIECE + 1)), (MAIL,), (b"",)):
            await self.deliver(webhook, *pieces)
            self.assertEqual(b"".join(pieces), self.page.bodies[-1])

    async def test_signed(self) -> None:
        """By the secret, over the envelope and the body, as it stands when it was read last."""
        path = self.secret()
        webhook = self.serve(secret=path, now=lambda: 1234567.8)
        octets = [b"x" * CHUNK, b"y"]
        for secret in (SECRET, b"another secret, longer"):
            Path(path).write_bytes(secret + b"\n")
            webhook.reload()
            await self.deliver(webhook, *octets)
            headers = self.page.headers[-1]
            signed = b"1234567\nann@one.example\njoe@two.example\n" + b"".join(octets)
            expected = hmac.new(secret, signed, hashlib.sha256).hexdigest()
            self.assertEqual(("1234567", f"sha256={expected}"), (headers["X-Timestamp"], headers["X-Signature"]))
        Path(path).write_bytes(b"short")
        with capturedLogs() as events:
            webhook.reload()
        self.assertIn("16 octets at least", formatEvent(events[0]))
        self.assertEqual(b"another secret, longer", webhook._secret)

    def test_signature(self) -> None:
        """Whatever is changed, it is another."""
        asked: list[Any] = [SECRET, "1", "a@b", "c@d", lambda: [b"x", b"y"]]
        signed = signature(*asked)
        self.assertEqual(signed, signature(SECRET, "1", "a@b", "c@d", lambda: [b"xy"]))
        for index, other in enumerate((b"other", "2", "a@c", "c@e", lambda: [b"x"])):
            changed = [*asked]
            changed[index] = other
            self.assertNotEqual(signed, signature(*changed))

    def test_many_recipients(self) -> None:
        webhook = self.new("http://localhost/")
        transaction: Any = webhook.begin(new_session(webhook), ANN)
        with self.assertRaises(Refusal) as caught:
            for number in range(1000):
                transaction.rcpt(to(f"joe{number}@two.example"))
        self.assertEqual(452, caught.exception.reply.code)
        self.assertGreater(number, 100)

    def test_plain_address(self) -> None:
        self.assertEqual("Joe+x_y-z~1@[192.0.2.1]", address("Joe+x_y-z~1@[192.0.2.1]"))
        self.assertEqual("%C3%A9%2C%25%0A", address("é,%\n"))


class VerdictTests(WebCase):
    async def test_codes(self) -> None:
        webhook = self.serve()
        for code, verdict in {
            200: None,
            204: None,
            301: "451 4.3.0",
            307: "451 4.3.0",
            400: "554 5.6.0",
            401: "451 4.3.0",
            403: "550 5.7.1",
            404: "550 5.1.1",
            405: "451 4.3.0",
            408: "451 4.3.0",
            410: "550 5.1.1",
            413: "552 5.3.4",
            422: "554 5.6.0",
            425: "451 4.3.0",
            429: "451 4.3.0",
            500: "451 4.3.0",
            503: "451 4.3.0",
        }.items():
            self.page.answer = coded(code)
            try:
                answer = await self.deliver(webhook)
            except Refusal as refusal:
                answer = f"{refusal.reply.code} {refusal.reply.enhanced}"
            self.assertEqual(verdict, answer, code)

    async def test_what_it_says(self) -> None:
        """It goes to the log, printable, and not to the client; what may be a secret of the URL goes nowhere."""
        webhook = self.serve(coded(422, b"no\x1b[2J such\r\nlist " + b"x" * 10_000_000))
        with capturedLogs() as events:
            reply = await self.refusal(webhook)
        [text] = [text for each in events if "answered 422" in (text := formatEvent(each))]
        self.assertIn(r"no\x1b[2J such list x", text)
        self.assertLess(len(text), 400)
        self.assertNotIn("hunter3", text)
        self.assertNotIn("list", str(reply))

    async def test_does_not_answer(self) -> None:
        """In time."""
        webhook = self.serve(lambda request: NOT_DONE_YET, timeout=0.2)
        with capturedLogs() as events:
            self.assertEqual(451, (await self.refusal(webhook)).code)
        [text] = [text for each in events if "no answer in 0.2 s" in (text := formatEvent(each))]
        self.assertNotIn("hunter3", text)

    async def test_does_not_end_its_answer(self) -> None:
        """The status is the verdict; but nobody waits for long."""
        code = 200

        def answer(request: Request) -> int:
            request.setResponseCode(code)
            request.write(b"x")
            return NOT_DONE_YET

        webhook = self.serve(answer, timeout=0.3)
        self.assertIsNone(await self.deliver(webhook))
        code = 404
        self.assertEqual(550, (await self.refusal(webhook)).code)

    async def test_nobody_listens(self) -> None:
        port = cast(Any, reactor).listenTCP(0, Factory(), interface="127.0.0.1")
        url = f"http://127.0.0.1:{port.getHost().port}/"
        await port.stopListening()
        self.assertEqual(451, (await self.refusal(self.new(url))).code)

    async def test_goes_away(self) -> None:
        """While it is sent the message: 451, and nothing is sent twice."""
        connections = 0

        class Leaving(Protocol):
            def connectionMade(self) -> None:
                nonlocal connections
                connections += 1

            def dataReceived(self, data: bytes) -> None:
                cast(Any, self.transport).abortConnection()

        port = self.listen(Factory.forProtocol(Leaving))
        webhook = self.new(f"http://127.0.0.1:{port}/")
        for pieces in ((MAIL,), (b"x" * CHUNK,) * 20):
            self.assertEqual(451, (await self.refusal(webhook, *pieces)).code)
        self.assertEqual(2, connections)

    async def test_answers_early(self) -> None:
        """Before it has all of the message: what it answered is the verdict."""

        class Early(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport = cast(Any, self.transport)
                transport.write(b"HTTP/1.1 413 Too big\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                transport.loseConnection()

        webhook = self.new(f"http://127.0.0.1:{self.listen(Factory.forProtocol(Early))}/")
        self.assertIn((await self.refusal(webhook, *(b"x" * CHUNK,) * 20)).code, (552, 451))

    async def test_takes_what_it_has_not_got(self) -> None:
        """What says 200 before it has all of the message has not taken it."""

        class Hasty(Protocol):
            def connectionMade(self) -> None:
                transport = cast(Any, self.transport)
                transport.pauseProducing()
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        webhook = self.new(f"http://127.0.0.1:{self.listen(Factory.forProtocol(Hasty))}/")
        with capturedLogs() as events:
            self.assertEqual(451, (await self.refusal(webhook, *(b"x" * CHUNK,) * 60)).code)
        self.assertTrue([each for each in events if "200 before it had the message" in formatEvent(each)])

    async def test_client_goes(self) -> None:
        """The request is cut off."""
        webhook = self.serve(lambda request: NOT_DONE_YET)
        committing = ensureDeferred(self.deliver(webhook))
        await self.page.begun
        committing.cancel()
        with self.assertRaises(CancelledError):
            await committing

    async def test_aborted(self) -> None:
        """Of a message that does not end the web server never knows."""
        webhook = self.serve()
        transaction: Any = webhook.begin(new_session(webhook), ANN)
        transaction.open(envelope(JOE))
        transaction.write(MAIL)
        transaction.abort()
        self.assertIsNone(webhook._agent)


class TLSTests(WebCase):
    def context(self) -> tuple[Any, str]:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        path = Path(self.mktemp()).absolute()
        authority.cert_pem.write_to_path(str(path))
        pem = certificate.private_key_and_cert_chain_pem.bytes()
        return ssl.PrivateCertificate.loadPEM(pem).options(), str(path)

    async def test_trusted(self) -> None:
        context, ca = self.context()
        self.assertIsNone(await self.deliver(self.serve(context=context, ca=ca)))
        self.assertEqual([MAIL], self.page.bodies)

    async def test_not_trusted(self) -> None:
        """A certificate of somebody else's: nothing is sent."""
        context, _ = self.context()
        _, other = self.context()
        for ca in ("", other):
            self.assertEqual(451, (await self.refusal(self.serve(context=context, ca=ca))).code)
            self.assertEqual([], self.page.bodies)


class OptionsTests(SynchronousTestCase):
    def test_right(self) -> None:
        path = self.mktemp()
        Path(path).write_bytes(SECRET)
        made = make_delivery(rf"webhook:https://app.example.org:8443/mail?a\=b:secret={path}:timeout=5")
        assert isinstance(made, Webhook)
        self.assertEqual(
            ("https://app.example.org:8443/mail?a=b", SECRET, 5.0), (made._url, made._secret, made._timeout)
        )
        self.assertNotIn("hunter", repr(made))

    def test_wrong(self) -> None:
        short = self.mktemp()
        Path(short).write_bytes(b"short\n" + b" " * 20)
        for text, problem in {
            "webhook:": "it is no URL",
            "webhook:ftp://a.example": "it is no URL",
            "webhook:https://ada:hunter2@a.example/": "it is no URL",
            "webhook:http://a.example/": "http is not encrypted",
            f"webhook:https://a.example/:secret={short}": "a secret has 16 octets at least",
            "webhook:https://a.example/:secret=/nowhere": "No such file",
            f"webhook:https://a.example/:ca={short}": "is no file of certificates",
            "webhook:https://a.example/:timeout=0": "timeout is a number of seconds",
            "webhook:https://a.example/:insecure=1": "insecure is yes or no",
        }.items():
            error = str(self.assertRaises(ValueError, make_delivery, text))
            self.assertIn(problem, error)
            self.assertNotIn("hunter2", error)
        make_delivery("webhook:http://a.example/:insecure=yes")

    def test_not_installed(self) -> None:
        with patch.dict(sys.modules, {"treq": None}):
            error = str(self.assertRaises(ValueError, make_delivery, "webhook:https://a.example/"))
        self.assertIn("twistsmtp[http]", error)
