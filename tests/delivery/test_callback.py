"""Mail for a function."""

from threading import Event, get_ident
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.lmtp import LMTPServer
from tests.support import Server
from twistsmtp.delivery.api import Delivery, DeliveryTransaction
from twistsmtp.delivery.callback import Callback, Mail, MailStream, StreamCallback
from twistsmtp.envelope import Envelope, Recipient, ReversePath
from twistsmtp.held import IN_MEMORY, Held
from twistsmtp.later import Later
from twistsmtp.session import Session
from twistsmtp.wire.reply import Refusal, Reply

BODY = b"Subject: one\r\n\r\ntext\r\n"
NO = Reply(554, "5.6.0", "No")
GREAT = b"x" * 98 + b"\r\n"
GREAT *= 2 * IN_MEMORY // len(GREAT)

#: What a message's structure is made of.
HEADS = [
    *(
        b"Content-Type: ",
        b"text/plain",
        b"text/html",
        b"multipart/mixed",
        b"multipart/related",
        b"multipart/alternative",
    ),
    *(b"; boundary=x", b"; charset=utf-8", b'; charset="\xff"', b"; charset*=a'b'%ff"),
    *(b"\r\n", b"\r\n\r\n", b"--x", b"--x--", b"Content-Transfer-Encoding: ", b"base64", b"uuencode", b"=E4=zz"),
    *(b"Content-Disposition: attachment; filename=x", b"Content-Disposition: ;;", b"Content-ID: <a>", b"text"),
]


class AskingTests(SynchronousTestCase):
    """Both kinds ask about senders and recipients."""

    def kinds(self, **more: Any) -> list[Delivery]:
        async def take(mail: MailStream) -> None:
            async for _ in mail:
                pass

        return [Callback(lambda mail: None, **more), StreamCallback(take, **more)]

    def test_everybody(self) -> None:
        for delivery in self.kinds():
            self.assertEqual(Server(delivery).connect().hello().message(BODY)[-1][:3], "250")

    def test_refusals(self) -> None:
        async def on_mail(session: Session, reverse_path: ReversePath) -> None:
            if str(reverse_path) == "spam@client.test":
                raise Refusal(NO)

        def on_rcpt(session: Session, recipient: Recipient) -> Later[None]:
            if recipient.mailbox.local == session.helo:
                raise Refusal(NO)
            return succeed(None)

        for delivery in self.kinds(on_mail=on_mail, on_rcpt=on_rcpt):
            client = Server(delivery).connect().hello()
            said = client.codes(
                "MAIL FROM:<spam@client.test>",
                "MAIL FROM:<a@client.test>",
                "RCPT TO:<client.test@mx.test>",
                "RCPT TO:<b@mx.test>",
            )
            self.assertEqual(said, ["554 5.6.0", "250 2.1.0", "554 5.6.0", "250 2.1.5"])

    def test_refusals_that_are_returned(self) -> None:
        """They let nobody pass: the log says what is wrong."""
        asked: tuple[Any, ...] = (lambda session, path: NO), (lambda session, path: succeed(NO))
        for function in asked:
            for place, (name, who) in enumerate((("on_mail", "on_mail"), ("on_rcpt", "rcpt() of a delivery"))):
                for delivery in self.kinds(**{name: function}):
                    client = Server(delivery).connect().hello()
                    said = client.codes("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>")
                    self.assertEqual(said[place], "451 4.3.0")
                    [failure] = self.flushLoggedErrors(TypeError)
                    self.assertIn(f"{who} refuses by raising Refusal", str(failure.value))

    def test_what_they_honour(self) -> None:
        for delivery in self.kinds(honours=["dsn"]):
            client = Server(delivery).connect()
            client.read()
            self.assertIn("DSN", client.say("EHLO client.test")[0])


class OpeningTests(SynchronousTestCase):
    """A delivery of one's own."""

    def test_a_refusal_that_is_returned(self) -> None:
        """It lets nothing pass, either."""

        class Returning(DeliveryTransaction):
            def __init__(self, function: Any) -> None:
                self.function = function

            def open(self, envelope: Envelope) -> Any:
                return self.function()

        class Wrong(Delivery):
            def __init__(self, function: Any) -> None:
                self.function = function

            def begin(self, session: Session, reverse_path: ReversePath) -> DeliveryTransaction:
                return Returning(self.function)

        functions: tuple[Any, ...] = (lambda: NO), (lambda: succeed(NO))
        for function in functions:
            for command in "DATA", "BDAT 0 LAST":
                client = Server(Wrong(function)).connect().hello()
                said = client.codes("MAIL FROM:<a@client.test>", "RCPT TO:<b@mx.test>", command)
                self.assertEqual(said[2], "451 4.3.0", command)
                [failure] = self.flushLoggedErrors(TypeError)
                self.assertIn("open() of a delivery refuses by raising Refusal", str(failure.value))


class CallbackTests(SynchronousTestCase):
    def test_a_mail(self) -> None:
        seen: list[Any] = []

        def take(mail: Mail) -> None:
            octets = mail.octets
            seen.extend((mail.session.helo, str(mail.envelope.reverse_path), mail.email["Subject"], octets))
            self.assertEqual((mail.open().read(), mail.size), (octets, len(octets)))

        Server(Callback(take)).connect().hello().message(BODY)
        helo, sender, subject, octets = seen
        self.assertEqual((helo, sender, subject), ("client.test", "a@client.test", "one"))
        self.assertTrue(octets.startswith(b"Received: from client.test "))
        self.assertTrue(octets.endswith(b"+0000\r\n" + BODY))

    def text(self, *lines: bytes) -> str:
        """The text of a message."""
        texts: list[str] = []
        Server(Callback(lambda mail: texts.append(mail.text))).connect().hello().message(b"\r\n".join([*lines, b""]))
        return texts[0]

    def test_text(self) -> None:
        latin = b"Content-Type: text/plain; charset=iso-8859-1"
        self.assertEqual(self.text(b"Subject: one", b"", b"two", b"three"), "two\nthree\n")
        self.assertEqual(self.text(latin, b"", b"gr\xfc\xdfe"), "gr\u00fc\u00dfe\n")
        quoted = b"Content-Transfer-Encoding: quoted-printable"
        self.assertEqual(self.text(latin, quoted, b"", b"gr=FC=DFe"), "gr\u00fc\u00dfe\n")
        self.assertEqual(self.text(b"Content-Type: text/html", b"", b"<p>"), "")
        parts = (b"--x", b"Content-Type: text/html", b"", b"<p>", b"--x", b"", b"plain", b"--x--")
        self.assertEqual(self.text(b"Content-Type: multipart/alternative; boundary=x", b"", *parts), "plain")

    def test_text_that_cannot_be_decoded(self) -> None:
        """Whatever a client calls it, there is a text; and in no time."""
        for charset in (b"us-ascii", b"nope", b"base64", b"idna", b"punycode"):
            text = self.text(b"Content-Type: text/plain; charset=" + charset, b"", b"a\xff")
            self.assertEqual(text, "a\ufffd\n", charset)

    @given(st.lists(st.sampled_from(HEADS) | st.binary(max_size=4), max_size=20))
    def test_text_of_anything(self, pieces: list[bytes]) -> None:
        held = Held()
        held.write(b"".join(pieces))
        self.assertIsInstance(Mail(None, None, held).text, str)  # type: ignore[arg-type]  # nobody asks them
        held.close()

    def test_answers(self) -> None:
        def refuse(mail: Mail) -> None:
            raise Refusal(NO)

        async def a_reply(mail: Mail) -> Reply:
            return Reply(250, "2.6.0", "Thank you")

        for function, expected in ((refuse, "554 5.6.0"), (a_reply, "250 2.6.0"), (lambda mail: None, "250 2.0.0")):
            said = Server(Callback(function)).connect().hello().message(BODY)[-1]
            self.assertEqual(said[:9], expected)

    def test_what_is_no_answer(self) -> None:
        answer: Any = True
        self.assertEqual(Server(Callback(lambda mail: answer)).connect().hello().message(BODY)[-1][:9], "451 4.3.0")
        [failure] = self.flushLoggedErrors(TypeError)
        self.assertIn("one for each recipient, or None, not bool", str(failure.value))

    def test_a_reply_for_each(self) -> None:
        """As LMTP has it (RFC 2033 section 4.2)."""
        server = LMTPServer(
            Callback(lambda mail: [Reply(250, "2.0.0", str(each)) for each in mail.envelope.recipients])
        )
        client = server.connect().hello().begin("a@mx.test", "b@mx.test")
        client.say("DATA")
        self.assertEqual(client.send(b".\r\n"), b"250 2.0.0 a@mx.test\r\n250 2.0.0 b@mx.test\r\n")

    def test_a_great_message(self) -> None:
        sizes: list[int] = []
        Server(Callback(lambda mail: sizes.append(len(mail.octets)))).connect().hello().message(GREAT)
        self.assertGreater(sizes[0], len(GREAT))

    def test_a_failure(self) -> None:
        def fail(mail: Mail) -> None:
            raise RuntimeError("a secret")

        self.assertEqual(Server(Callback(fail)).connect().hello().message(BODY)[-1][:9], "451 4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nothing_is_read_when_it_has_answered(self) -> None:
        kept: list[Mail] = []
        client = Server(Callback(kept.append)).connect().hello()
        client.message(BODY)
        with self.assertRaises(ValueError):
            kept[0].open()

    def test_given_up(self) -> None:
        called: list[Mail] = []
        client = Server(Callback(called.append)).connect().hello()
        client.begin().say("DATA")
        client.send(BODY)
        client.vanish()
        self.assertEqual(called, [])


class ThreadTests(TestCase):
    async def test_in_a_thread(self) -> None:
        threads: list[int] = []

        def store(mail: Mail) -> Reply:
            threads.append(get_ident())
            return Reply(250, "2.0.0", mail.email["Subject"])

        delivery = Callback(store, in_thread=True)
        session: Any = Server(delivery).connect().hello().session
        transaction: Any = delivery.begin(session, ReversePath(mailbox=None))
        transaction.open(None)
        transaction.write(BODY)
        reply = await transaction.commit()
        self.assertEqual(str(reply), "250 2.0.0 one")
        self.assertNotEqual(threads, [get_ident()])

    async def test_a_client_that_goes_does_not_close_it(self) -> None:
        """The thread reads what it was called for."""
        go, done = Event(), Event()
        read: list[bytes] = []

        def store(mail: Mail) -> None:
            go.wait(10)
            read.append(mail.octets)
            done.set()

        delivery = Callback(store, in_thread=True)
        transaction: Any = delivery.begin(None, ReversePath(mailbox=None))  # type: ignore[arg-type]  # nobody asks it
        transaction.open(None)
        transaction.write(BODY)
        pending = Deferred.fromCoroutine(transaction.commit()).addErrback(lambda _: None)
        pending.cancel()
        transaction.abort()
        go.set()
        await deferToThread(done.wait, 10)
        self.assertEqual(read, [BODY])


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.got: list[bytes] = []
        self.done: list[str] = []

    async def take(self, mail: MailStream) -> Reply:
        try:
            async for octets in mail:
                self.got.append(octets)
        except BaseException as error:
            self.done.append(type(error).__name__)
            raise
        self.done.append("end")
        return Reply(250, "2.0.0", f"{len(b''.join(self.got))} octets for {mail.envelope.recipients[0]}")

    @given(st.lists(st.integers(1, 200), max_size=6))
    def test_all_of_it(self, cuts: list[int]) -> None:
        """However it comes."""
        self.setUp()
        client = Server(StreamCallback(self.take)).connect().hello()
        client.begin().say("DATA")
        rest = GREAT[:1000] + b".\r\n"
        said = b""
        for cut in [*cuts, len(rest)]:
            piece, rest = rest[:cut], rest[cut:]
            said += client.send(piece)
        whole = b"".join(self.got)
        self.assertTrue(whole.endswith(b"+0000\r\n" + GREAT[:1000]))
        self.assertEqual(said.decode(), f"250 2.0.0 {len(whole)} octets for b@mx.test\r\n")

    def test_an_empty_message(self) -> None:
        client = Server(StreamCallback(self.take)).connect().hello()
        self.assertEqual(client.message(b"")[-1][:3], "250")
        self.assertEqual(self.done, ["end"])

    def test_the_client_waits_for_the_function(self) -> None:
        """What nobody has asked for holds the client up."""
        slow: Deferred[None] = Deferred()

        async def take(mail: MailStream) -> None:
            await slow
            await self.take(mail)

        client = Server(StreamCallback(take)).connect().hello()
        client.begin().say("DATA")
        client.send(GREAT)
        client.send(GREAT)
        self.assertEqual((client.wire.producerState, self.got), ("paused", []))
        client.send(b".\r\n")
        slow.callback(None)
        self.assertEqual(client.read()[:3], b"250")
        self.assertTrue(b"".join(self.got).endswith(b" +0000\r\n" + GREAT + GREAT))

    def test_refused_in_the_middle(self) -> None:
        """The rest is thrown away; the client is told at the end."""

        async def refuse(mail: MailStream) -> None:
            async for _ in mail:
                raise Refusal(NO)

        client = Server(StreamCallback(refuse)).connect().hello()
        client.begin().say("DATA")
        self.assertEqual(client.send(b"one\r\n") + client.send(b"two\r\n"), b"")
        self.assertEqual(client.send(b".\r\n"), b"554 5.6.0 No\r\n")
        self.assertEqual(client.message(BODY)[-1], "554 5.6.0 No")

    def test_answered_early(self) -> None:
        """Who has heard enough, has the message: the rest is for nobody."""

        async def first(mail: MailStream) -> None:
            self.got.append(await anext(mail))

        client = Server(StreamCallback(first)).connect().hello()
        client.begin().say("DATA")
        client.send(b"one\r\ntwo")
        client.send(b"three\r\n")
        self.assertEqual(client.send(b".\r\n")[:3], b"250")
        self.assertTrue(self.got[0].endswith(b"one\r\ntwo"))

    def test_the_client_goes(self) -> None:
        for turn in ("waiting for octets", "waiting for something else"):
            self.setUp()
            slow: Deferred[None] = Deferred()

            async def take(mail: MailStream, turn: str = turn, slow: Deferred[None] = slow) -> None:
                if turn == "waiting for something else":
                    try:
                        await slow
                    except BaseException as error:
                        self.done.append(type(error).__name__)
                        raise
                await self.take(mail)

            client = Server(StreamCallback(take)).connect().hello()
            client.begin().say("DATA")
            client.send(b"one\r\n")
            client.vanish()
            self.assertEqual(self.done, ["CancelledError"], turn)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_failure(self) -> None:
        async def fail(mail: MailStream) -> None:
            raise RuntimeError("a secret")

        self.assertEqual(Server(StreamCallback(fail)).connect().hello().message(BODY)[-1][:9], "451 4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
