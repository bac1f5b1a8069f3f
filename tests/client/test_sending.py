"""`send_to`: what goes out for what is given."""

import io
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP, default
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.client.kit import ALL, Far, Net, extensions, result_of
from tests.scripted import Answer, How, Script, ScriptedDelivery
from twistsmtp.client import BadMessage, ClientError, NotOffered, Pool, Refused, Result, send_to
from twistsmtp.client.sending import destination_of
from twistsmtp.client.tls import TLSMode
from twistsmtp.delivery.memory import Memory
from twistsmtp.envelope import Recipient
from twistsmtp.factory import LMTPFactory
from twistsmtp.sasl.client_api import Credentials
from twistsmtp.wire.grammar import Mailbox, parse_mailbox
from twistsmtp.wire.reply import Refusal, Reply

MESSAGE = b"Subject: x\r\n\r\n.text\r\n"
EIGHT_BIT = "Subject: x\r\n\r\nGrüße\r\n".encode()


class SendingTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.net = Net.scripted(*ALL)

    def offer(self, *offers: str, **replies: str) -> None:
        """The far side offers and says this from now on."""
        self.net = Net.scripted(*offers, **replies)

    def begin(self, message: Any = MESSAGE, to: Any = "b@far.test", sender: Any = "a@x.test", **more: Any) -> Any:
        pool = Pool(self.net.connector)
        self.addCleanup(pool.close)
        destination = self.net.destination(**more.pop("settings", {}))
        return self.net.run(send_to(pool, destination, sender, to, message, **more))

    def send(self, *args: Any, **more: Any) -> Result:
        result: Result = result_of(self.begin(*args, **more))
        return result

    @property
    def octets(self) -> bytes:
        """The last message that was taken."""
        octets: bytes = self.net.far.taken[-1][2]
        return octets

    def said(self, verb: str) -> list[str]:
        """The lines that begin with *verb*."""
        return [line for line in self.net.far.heard if line.startswith(verb)]


class MessageTests(SendingTestCase):
    """Every kind of message, by BDAT and by DATA."""

    def both(self, message: Any) -> bytes:
        """The octets that come of *message*, the same by either way."""
        sent = []
        for offers in (ALL, extensions("CHUNKING", "BINARYMIME"), extensions("CHUNKING", "PIPELINING")):
            self.offer(*offers)
            self.send(message() if callable(message) else message)
            self.assertEqual(bool(self.said("BDAT")), "CHUNKING" in offers)
            sent.append(self.octets)
        self.assertEqual(len(set(sent)), 1)
        return sent[0]

    def test_octets(self) -> None:
        for octets in (MESSAGE, b"", b".\r\n", b"\r\n.\r\n", b"x" * 200_000 + b"\r\n", b"a\r\n" * 100_000):
            self.assertEqual(self.both(octets), octets)
        self.assertEqual(self.both(bytearray(MESSAGE)), MESSAGE)

    def test_text(self) -> None:
        """Any line ends will do."""
        self.assertEqual(self.both("Subject: x\n\n.a\rb\r\nc\n"), b"Subject: x\r\n\r\n.a\r\nb\r\nc\r\n")
        self.assertEqual(self.both("Subject: x\n\nGrüße\n"), EIGHT_BIT)

    def test_a_file(self) -> None:
        self.assertEqual(self.both(lambda: io.BytesIO(MESSAGE * 9000)), MESSAGE * 9000)
        self.assertEqual(self.both(lambda: io.StringIO("Subject: x\n\nGrüße\n")), EIGHT_BIT)

    def test_pieces(self) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for octet in MESSAGE:
                yield bytes([octet])

        self.assertEqual(self.both(pieces), MESSAGE)

    def test_an_email(self) -> None:
        email = EmailMessage()
        email["From"], email["To"], email["Bcc"] = "a@x.test", "b@far.test", "secret@far.test"
        email["Subject"] = "Grüße"
        email.set_content("Grüße\n.\nEnde\n")
        octets = self.both(email)
        self.assertNotIn(b"\n", octets.replace(b"\r\n", b""))
        self.assertNotIn(b"secret", octets)
        self.assertEqual(email["Bcc"], "secret@far.test")
        parsed = BytesParser(policy=default).parsebytes(octets)
        self.assertEqual((parsed["Subject"], parsed.get_content().split()), ("Grüße", ["Grüße", ".", "Ende"]))
        self.assertIn(b"\r\n\r\nGr\xc3\xbc", octets)

    def test_an_email_for_seven_bits(self) -> None:
        """What is made for the server can be made of seven bits."""
        email = EmailMessage(policy=SMTP)
        email["Subject"] = "Grüße"
        email.set_content("Grüße\n", cte="8bit")
        self.offer(*extensions("8BITMIME", "SMTPUTF8"))
        self.send(email)
        self.assertTrue(self.octets.isascii())
        self.assertNotIn("BODY", self.said("MAIL")[0])
        self.assertEqual(BytesParser(policy=default).parsebytes(self.octets).get_content(), "Grüße\n")

    def test_nothing_that_can_be_sent(self) -> None:
        for message in (None, 7, ["x"]):
            with self.assertRaises(TypeError):
                self.send(message)

    def test_bare_newlines(self) -> None:
        for message in (b"a\nb\r\n", b"a\rb\r\n", b"a\r\n.\nb", b"a\r"):
            for offers in OFFERS:
                self.offer(*offers)
                with self.assertRaises(BadMessage) as caught:
                    self.send(message)
                self.assertEqual(caught.exception.reply.enhanced, "5.6.0")
                with self.assertRaises(BadMessage):
                    self.send(io.BytesIO(message))
                self.net.turn()
                self.assertEqual([octets for far in self.net.fars for _, _, octets in far.taken], [])

    def test_what_is_not_read_to_its_end(self) -> None:
        """It is closed."""
        closed = []

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"bare\n"
            finally:
                closed.append(True)

        message = pieces()
        with self.assertRaises(BadMessage):
            self.send(message)
        self.assertEqual(closed, [True])

    def test_a_message_that_fails(self) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield MESSAGE
            raise ZeroDivisionError

        for offers in OFFERS:
            self.offer(*offers)
            with self.assertRaises(ZeroDivisionError):
                self.send(pieces())
            self.net.turn()
            self.assertEqual(self.net.far.taken, [])

    def test_only_what_the_server_is_ready_for(self) -> None:
        """Nothing of the message before a recipient was taken, nor before 354."""
        for offers in OFFERS:
            self.offer(*offers, RCPT="")
            self.begin().addErrback(lambda failure: None)
            self.assertNotIn(b"Subject", b"".join(self.net.ends[0].written))


OFFERS = (ALL, extensions("CHUNKING", "BINARYMIME"), ())


class EnvelopeTests(SendingTestCase):
    def test_addresses(self) -> None:
        self.send(to=["b@far.test", parse_mailbox("c@far.test"), Recipient(mailbox=parse_mailbox("d@far.test"))])
        self.assertEqual(self.said("RCPT"), [f"RCPT TO:<{each}@far.test>" for each in "bcd"])
        for sender in ("", None):
            self.send(sender=sender, to='"odd \\" one"@far.test')
            self.assertTrue(self.said("MAIL")[0].startswith("MAIL FROM:<> SIZE="))
            self.assertEqual(self.said("RCPT"), ['RCPT TO:<"odd \\" one"@far.test>'])
        self.send(to="Postmaster")
        self.assertEqual(self.said("RCPT"), ["RCPT TO:<Postmaster>"])

    def test_no_addresses(self) -> None:
        for address in (
            "b@far.test> SIZE=1",
            "b@far.test\r\nRSET",
            "b@far.test\nRSET",
            "b@far.test>\r\nRCPT TO:<c@far.test",
            "b far.test",
            "<b@far.test>",
            "b@far.test ",
            " b@far.test",
            "@one.test:b@far.test",
            "b@far..test",
            "b",
            "b@far.test\0",
            Mailbox("b\r\nRSET", "far.test"),
            Mailbox("b", "far.test>\r\nRSET"),
            Mailbox("b", "far.test", "b@far.test>\r\nRSET\r\nNOOP <"),
            Mailbox("b", "far.test", "b@far.test> NOTIFY=NEVER X=y"),
            Mailbox("b", "far.test", "@one.test:b@far.test"),
            Mailbox("b", ""),
        ):
            with self.assertRaises(ValueError):
                self.send(to=address)
            with self.assertRaises(ValueError):
                self.send(sender=address)
        self.assertRaises(ValueError, self.send, to=[])
        self.assertEqual(self.net.fars, [])

    @given(st.text(st.characters(codec="utf-8", categories=["C", "L", "P", "Z", "N"]), max_size=20))
    def test_any_text(self, text: str) -> None:
        """Whatever is given for an address, what is said is one line for each, or nothing is."""
        net = Net.scripted(*ALL)
        pool = Pool(net.connector)
        sent = net.run(send_to(pool, net.destination(), text, [text, f"{text}@far.test"], MESSAGE))
        sent.addErrback(lambda failure: failure.trap(ValueError, ClientError))
        pool.close()
        net.turn()
        verbs = [line.split()[0] for far in net.fars for line in far.heard]
        self.assertIn(verbs, ([], ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT", "QUIT"]))

    def test_options(self) -> None:
        self.send(
            to=["b@far.test", Recipient(mailbox=parse_mailbox("c@far.test"), options=(("NOTIFY", "NEVER"),))],
            mail_options=["RET=HDRS", "ENVID=QQ314159"],
        )
        self.assertEqual(self.said("MAIL"), [f"MAIL FROM:<a@x.test> RET=HDRS ENVID=QQ314159 SIZE={len(MESSAGE)}"])
        self.assertEqual(self.said("RCPT"), ["RCPT TO:<b@far.test>", "RCPT TO:<c@far.test> NOTIFY=NEVER"])
        self.send(rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
        self.assertEqual(self.said("RCPT"), ["RCPT TO:<b@far.test> NOTIFY=SUCCESS,FAILURE"])

    def test_options_that_are_not_offered(self) -> None:
        self.offer(*extensions("DSN", "SIZE"))
        with self.assertRaises(NotOffered) as caught:
            self.send(mail_options=["RET=HDRS"])
        self.assertEqual(caught.exception.keyword, "DSN")
        with self.assertRaises(Refused) as refused:
            self.send(rcpt_options=["NOTIFY=NEVER"])
        self.assertEqual(refused.exception.verdicts[0].reply.text, "The next server does not offer DSN")
        self.send()
        self.assertNotIn("SIZE", self.said("MAIL")[0])

    def test_no_options(self) -> None:
        unknown = "NOTFY=NEVER", "AUTH=<>"
        for option in ("RET=HDRS\r\nRSET", "RET=\r", "=x", "RET=HDRS RET=FULL", "RET==", "ENVID=a b=\n", *unknown):
            with self.assertRaises(ValueError):
                self.send(mail_options=[option])
            with self.assertRaises(ValueError):
                self.send(rcpt_options=[option])

    def test_too_big(self) -> None:
        self.offer("SIZE 10")
        with self.assertRaises(NotOffered) as caught:
            self.send()
        self.assertEqual(str(caught.exception.reply)[:9], "552 5.3.4")
        self.assertEqual(self.said("MAIL"), [])
        for unlimited in ("SIZE", "SIZE 0", "SIZE much"):
            self.offer(unlimited)
            self.send()


class EightBitTests(SendingTestCase):
    def test_announced(self) -> None:
        self.send(EIGHT_BIT)
        self.assertIn(" BODY=8BITMIME", self.said("MAIL")[0])
        self.send(MESSAGE)
        self.assertNotIn("BODY", self.said("MAIL")[0])

    def test_of_a_stream_it_is_not_known(self) -> None:
        self.send(io.BytesIO(MESSAGE))
        self.assertIn(" BODY=8BITMIME", self.said("MAIL")[0])
        self.assertNotIn("SIZE", self.said("MAIL")[0])

    def test_not_offered(self) -> None:
        for offers in (extensions("8BITMIME"), extensions("8BITMIME", "CHUNKING"), ()):
            self.offer(*offers)
            for message in (EIGHT_BIT, io.BytesIO(EIGHT_BIT)):
                with self.assertRaises(NotOffered) as caught:
                    self.send(message)
                self.assertEqual(str(caught.exception.reply)[:9], "554 5.6.3")
                self.net.turn()
                self.assertEqual(self.net.far.taken, [])
            self.send(MESSAGE)

    def test_addresses(self) -> None:
        """RFC 6531: said where they are taken; a domain alone can be said in ASCII."""
        for sender, to in (("grün@x.test", "b@far.test"), ("a@x.test", "b@grün.test"), ("", "grün@grün.test")):
            self.send(sender=sender, to=to)
            self.assertIn(" SMTPUTF8", self.said("MAIL")[0])
            self.assertEqual(self.said("RCPT"), [f"RCPT TO:<{to}>"])
        self.offer(*extensions("SMTPUTF8"))
        self.send(to="b@grün.test")
        self.assertEqual(self.said("RCPT"), ["RCPT TO:<b@xn--grn-ioa.test>"])
        with self.assertRaises(NotOffered):
            self.send(sender="grün@x.test")
        result = self.send(to=["grün@far.test", "b@far.test"])
        self.assertEqual([v.reply.enhanced for v in result.verdicts], ["5.6.7", "2.0.0"])

    def test_header_fields(self) -> None:
        message = "Subject: Grüße\r\n\r\n".encode()
        self.send(message)
        self.assertIn(" SMTPUTF8", self.said("MAIL")[0])
        self.offer(*extensions("SMTPUTF8"))
        with self.assertRaises(NotOffered):
            self.send(message)

    def test_of_an_email(self) -> None:
        """In UTF-8 only where an address needs that anyway."""
        email = EmailMessage()
        email["Subject"] = "Grüße"
        self.send(email)
        self.assertTrue(self.octets.isascii())
        self.send(email, to="grün@far.test")
        self.assertIn("Subject: Grüße\r\n".encode(), self.octets)

    def test_binary(self) -> None:
        """RFC 3030: any octets, by BDAT."""
        octets = b"Subject: x\r\n\r\n\n\r\x00\xff" * 10_000
        for message in (lambda: octets, lambda: io.BytesIO(octets)):
            for settings in ({}, {"chunking": False}):
                self.send(message(), mail_options=["BODY=BINARYMIME"], settings=settings)
                self.assertEqual(self.octets, octets)
        self.offer(*extensions("BINARYMIME"))
        with self.assertRaises(NotOffered):
            self.send(octets, mail_options=["BODY=BINARYMIME"])


class FlightTests(SendingTestCase):
    """How many round trips a message takes."""

    def trips(self, *offers: str, settings: Any = None) -> list[str]:
        """What goes out in each, by verbs."""
        self.offer(*offers)
        self.send(to=["b@far.test", "c@far.test"], settings=settings or {})
        flights = [octets.decode() for octets in self.net.ends[0].written]
        return [" ".join(line.split()[0] for line in each.splitlines()[:6] if line[:1].isupper()) for each in flights]

    def test_pipelined(self) -> None:
        self.assertEqual(self.trips(*ALL), ["EHLO", "MAIL RCPT RCPT", "BDAT Subject:"])
        data = extensions("CHUNKING", "BINARYMIME")
        self.assertEqual(self.trips(*data), ["EHLO", "MAIL RCPT RCPT DATA", "Subject:", ""])
        self.assertEqual(
            self.trips(*ALL, settings={"chunking": False}), ["EHLO", "MAIL RCPT RCPT DATA", "Subject:", ""]
        )

    def test_one_by_one(self) -> None:
        self.assertEqual(self.trips(), ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "Subject:", ""])
        chunks = extensions("PIPELINING")
        self.assertEqual(self.trips(*chunks), ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT Subject:"])

    def test_nobody_to_send_to(self) -> None:
        """A server that says 354 all the same gets an empty message, which it has to refuse (RFC 2920 section 3.1)."""
        self.offer("PIPELINING", RCPT="550 5.1.1 No", DATA="354 Go", end="554 5.5.1 No valid recipients")
        pool = Pool(self.net.connector)
        self.addCleanup(pool.close)
        for _ in range(2):
            with self.assertRaises(Refused) as caught:
                result_of(self.net.run(send_to(pool, self.net.destination(), "a@x.test", "b@far.test", MESSAGE)))
            self.assertEqual(str(caught.exception.reply), "550 5.1.1 No")
        self.assertEqual((len(self.net.fars), self.net.far.taken), (1, []))

    def test_nobody_to_send_from(self) -> None:
        """The same where the sender is refused."""
        self.offer("PIPELINING", MAIL_1="550 5.1.8 No", DATA_1="354 Go", end_1="554 5.5.1 No valid recipients")
        pool = Pool(self.net.connector)
        self.addCleanup(pool.close)
        sending = self.net.run(send_to(pool, self.net.destination(), "a@x.test", "b@far.test", MESSAGE))
        self.assertEqual(str(self.failureResultOf(sending, Refused).value), "MAIL: 550 5.1.8 No")
        result_of(self.net.run(send_to(pool, self.net.destination(), "a@x.test", "b@far.test", MESSAGE)))
        self.assertEqual((len(self.net.fars), [octets for *_, octets in self.net.far.taken]), (1, [MESSAGE]))


class HelloTests(SendingTestCase):
    def test_helo(self) -> None:
        """An old server."""
        self.offer(*ALL, EHLO="500 5.5.1 What")
        self.send()
        self.assertEqual(self.net.far.heard[:3], ["EHLO client.test", "HELO client.test", "MAIL FROM:<a@x.test>"])

    def test_a_name(self) -> None:
        self.send(settings={"hostname": "[192.0.2.1]"})
        self.assertEqual(self.said("EHLO"), ["EHLO [192.0.2.1]"])
        for name in ("a b", "a\r\nRSET", "ü.test", "[x]"):
            self.assertRaises(ValueError, self.send, settings={"hostname": name})


class LMTPTests(SendingTestCase):
    """RFC 2033: a word for each recipient."""

    def offer(self, *offers: str, **replies: str) -> None:
        named = {name.replace("_", " "): reply for name, reply in replies.items()}
        self.net = Net(lambda: Far(offers, named, lmtp=True))

    def test_each(self) -> None:
        for offers in (*OFFERS, extensions("CHUNKING")):
            self.offer(*offers, RCPT_2="550 5.1.1 No", end_2="452 4.2.2 Full")
            result = self.send(to=[f"{each}@far.test" for each in "bcde"], settings={"lmtp": True})
            self.assertEqual([v.reply.code for v in result.verdicts], [250, 550, 452, 250])
            self.assertEqual(self.net.far.heard[0], "LHLO client.test")

    def test_none(self) -> None:
        self.offer(*ALL, end_1="452 4.2.2 Full", end_2="554 5.6.0 No")
        with self.assertRaises(Refused) as caught:
            self.send(to=["b@far.test", "c@far.test"], settings={"lmtp": True})
        self.assertEqual([v.reply.code for v in caught.exception.verdicts], [452, 554])

    def test_no_helo(self) -> None:
        self.offer(*ALL, LHLO="500 5.5.1 What")
        with self.assertRaises(Refused):
            self.send(settings={"lmtp": True})
        self.assertNotIn("HELO", " ".join(self.net.far.heard))


class OwnServerTests(SynchronousTestCase):
    """The real client and the real server, in memory."""

    def send(self, net: Net, message: Any, to: Any, **more: Any) -> "Deferred[Result]":
        pool = Pool(net.connector)
        self.addCleanup(pool.close)
        settings = more.pop("settings", {})
        return net.run(send_to(pool, net.destination(**settings), "a@client.test", to, message, **more))

    def test_a_message(self) -> None:
        for piece in (1 << 30, 100, 7):
            for kind in ({}, {"kind": LMTPFactory}):
                memory = Memory()
                net = Net.serving(memory, **kind)
                net.piece = piece
                to = ["b@mx.test", "c@mx.test"]
                result = result_of(self.send(net, MESSAGE * 20, to, settings={"lmtp": bool(kind)}))
                [message] = memory.messages
                self.assertTrue(message.octets.endswith(MESSAGE * 20))
                self.assertEqual([v.reply.code for v in result.accepted], [250, 250])
                self.assertIn(message.envelope.id, result.verdicts[0].reply.text)

    def test_a_slow_server(self) -> None:
        """What it does not take stays with us: of a long message there is never much on its way."""
        for settings in ({}, {"chunking": False}):
            script = Script(write=Answer(How.DEFERRED))
            net = Net.serving(delivery := ScriptedDelivery(script))
            asked = 0

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal asked
                for _ in range(1000):
                    asked += 1
                    yield b"x" * 9998 + b"\r\n"  # it is done with before the next turn

            sending = self.send(net, pieces(), "b@mx.test", settings=settings)
            most = 0
            while script.waiting:
                before = asked
                script.release()
                net.turn()
                most = max(most, asked - before)
            result_of(sending)
            self.assertEqual((asked, len(delivery.bodies[0])), (1000, 10_000_000))
            self.assertLess(most, 200)

    def test_refusals(self) -> None:
        no = Refusal(Reply(550, "5.7.1", "Not you"))
        script = Script(rcpt=[Answer(result=no), Answer()], commit=Answer(result=Refusal(Reply(451, "4.2.1", "Busy"))))
        net = Net.serving(ScriptedDelivery(script))
        with self.assertRaises(Refused) as caught:
            result_of(self.send(net, MESSAGE, ["b@mx.test", "c@mx.test"]))
        self.assertEqual([str(v.reply) for v in caught.exception.verdicts], ["550 5.7.1 Not you", "451 4.2.1 Busy"])
        self.assertTrue(caught.exception.temporary)


class DestinationTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        ada = Credentials(username="ada", password="x")
        for settings, port, mode in (
            ({}, 25, TLSMode.OPPORTUNISTIC),
            ({"credentials": ada}, 587, TLSMode.REQUIRED),
            ({"tls": "implicit"}, 465, TLSMode.IMPLICIT),
            ({"tls": "none"}, 25, TLSMode.NONE),
            ({"lmtp": True}, 24, TLSMode.OPPORTUNISTIC),
        ):
            made = destination_of("mx.test", None, **settings)
            self.assertEqual((made.port, made.tls.mode), (port, mode))
        self.assertIs(destination_of("mx.test", 465).tls.mode, TLSMode.IMPLICIT)
        self.assertIs(destination_of("", None, path="/run/lmtp").tls.mode, TLSMode.NONE)

    def test_no_sense(self) -> None:
        for host, port, settings in (
            ("", None, {}),
            ("mx.test", 0, {}),
            ("mx.test", 70000, {}),
            ("mx.test", None, {"tls": "maybe"}),
            ("mx.test", None, {"path": "/run/x"}),
            ("", None, {"path": "/run/x", "tls": "required"}),
            ("mx\r\n.test", None, {}),
        ):
            with self.assertRaises(ValueError):
                destination_of(host, port, **settings)  # type: ignore[arg-type]  # they are of many kinds

    def test_in_words(self) -> None:
        self.assertEqual(str(destination_of("mx.test", 26)), "mx.test:26")
        self.assertEqual(str(destination_of("2001:db8::1", 26)), "[2001:db8::1]:26")
        self.assertEqual(str(destination_of("", None, path="/run/x")), "/run/x")
